"""Why a prediction is what it is: the terms of a sum, or what each residue is worth to a model."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from paratope.models.general.substitutions import Change
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Antibody, Pair

_MASK = "X"
_OCCLUSION = (
    "occlusion: each residue of the antibody is masked as X in turn, and counts by what the pKd "
    "loses; these do not add up to the pKd"
)


class Explanation(NamedTuple):
    """A prediction in named parts and changes, in pKd or the scores of a campaign."""

    parts: dict[str, float]
    # Of a sum: each mutation from the parent. Of an occlusion: each residue, and the mask
    changes: tuple[tuple[Change, float], ...]
    pkd: float  # Predicted; of a sum, that of parts and changes
    note: str = ""  # What a reader should know, empty if nothing
    is_sum: bool = True
    label: str = "pkd"  # Or ``"score"``


class ExplainedRow(NamedTuple):
    """One row of a table; `explanation` is None where `error` is set."""

    id: str
    explanation: Explanation | None
    note: str = ""
    error: str = ""


COLUMNS: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("id", "part", "imgt", "chain", "region", "before", "after"), pl.String),
    "pkd": pl.Float64,
    **dict.fromkeys(("note", "error"), pl.String),
}


def explanation_frame(rows: Sequence[ExplainedRow]) -> pl.DataFrame:
    """Long form: one line a part or mutation, one for a row in error; columns are `COLUMNS`.

    Scores are in a column ``score`` in place of ``pkd``.
    """
    lines = []
    for row in rows:
        about = {"id": row.id, "note": row.note or None, "error": row.error or None}
        if row.explanation is None:
            lines.append(about)
            continue
        lines += [about | {"part": n, "pkd": value} for n, value in row.explanation.parts.items()]
        for change, value in row.explanation.changes:
            place = {"imgt": change.number, "chain": change.chain, "region": change.region or None}
            letters = {"before": change.before, "after": change.after}
            lines.append(about | {"part": str(change), "pkd": value} | place | letters)
    frame = pl.DataFrame(lines, schema=COLUMNS)
    scored = any(row.explanation and row.explanation.label == "score" for row in rows)
    return frame.rename({"pkd": "score"}) if scored else frame


def occlusion(
    predict: Callable[[Sequence[Pair]], np.ndarray], pairs: Sequence[Pair]
) -> list[Explanation]:
    """Each residue of the antibody by what the pKd loses with an X in its place.

    Zeiler & Fergus 2014, ECCV. `predict` gives n pairs' pKd, (n,), and is asked once a residue.
    """
    told = []
    for pair in pairs:
        places, variants, own = [], [], dict(zip("HL", pair.antibody.chains, strict=False))
        for name, chain in own.items():
            for domain in find_domains(chain):
                sites = zip(domain.positions, domain.regions, strict=True)
                for index, (imgt, region) in enumerate(sites, domain.start):
                    masked = own | {name: chain[:index] + _MASK + chain[index + 1 :]}
                    places.append(Change(name, imgt, region, chain[index], _MASK))
                    variants.append(Pair(Antibody(masked["H"], masked.get("L")), pair.antigen))
        pkd, *without = predict([pair, *variants]).tolist()
        changes = tuple((place, pkd - value) for place, value in zip(places, without, strict=True))
        told.append(Explanation({"predicted": pkd}, changes, pkd, _OCCLUSION, is_sum=False))
    return told
