"""The next round as files: a table to fill in, a FASTA to order, the pool's refused rows."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN
from paratope.campaigns.suggestion.candidates import Candidate
from paratope.campaigns.suggestion.next_round import NextRound, Suggestion
from paratope.core.files import atomic_file
from paratope.data.tables import write_table
from paratope.molecules.mutations import format_mutations

# Predictions are called so that no reader takes them for measurements when the plate's values are
# added to the table.
_PREDICTED = "predicted_"
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx")


def suggestion_frame(found: NextRound) -> pl.DataFrame:
    """The suggestions as a table, in order of choice.

    Parameters
    ----------
    found : NextRound

    Returns
    -------
    polars.DataFrame
        ``rank, id, heavy, light, antigen, parent_name, mutations, mutations_imgt``, the prediction
        with its interval (``predicted_pkd`` … or ``predicted_score`` …), ``p_beats_best,
        p_beats_parent, reason, liabilities, mutation_count, distance``, then the pool's own
        columns. With a column of measured values added, it is a table that ``paratope adapt``
        reads.
    """
    rows = [_row(one, found) for one in found.suggestions]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if found.pool is None:
        return frame
    own = found.pool.frame[[one.candidate.row for one in found.suggestions]]
    return frame.hstack(own.select(name for name in own.columns if name not in frame.columns))


def _row(one: Suggestion, found: NextRound) -> dict[str, Any]:
    candidate, prediction = one.candidate, one.prediction
    antibody, antigen = candidate.pair.antibody, candidate.pair.antigen.chains
    parent = found.knowledge.parents[candidate.parent].antibody
    values = {
        f"{_PREDICTED}{found.label}{end}": getattr(prediction, f"{found.label}{end}")
        for end in ("", "_low", "_high")
    }
    if found.label == "pkd":
        values[f"{_PREDICTED}kd_nM"] = prediction.kd_nM
    return {
        "rank": one.rank,
        "id": candidate.name,
        "heavy": antibody.heavy,
        "light": antibody.light or "",
        "antigen": "" if antigen == UNKNOWN_ANTIGEN.chains else "|".join(antigen),
        "parent_name": found.knowledge.parent_name(candidate.parent),
        "mutations": format_mutations(candidate.mutations),
        "mutations_imgt": format_mutations(candidate.mutations, parent),
        **values,
        "p_beats_best": one.p_beats_best,
        "p_beats_parent": one.p_beats_parent,
        "reason": one.reason,
        "liabilities": "; ".join(str(liability) for liability in one.liabilities),
        "mutation_count": len(candidate.mutations),
        "distance": one.distance,
    }


def fasta_text(candidates: Sequence[Candidate]) -> str:
    """Both chains of each, as records ``id_H`` and ``id_L``; a single domain as ``id``.

    Parameters
    ----------
    candidates : sequence of Candidate
        An id that was used before gets a number.
    """
    lines = []
    used: Counter[str] = Counter()
    for one in candidates:
        used[one.name] += 1
        name = one.name if used[one.name] == 1 else f"{one.name}-{used[one.name]}"
        antibody = one.pair.antibody
        if antibody.light is None:
            lines += [f">{name}", antibody.heavy]
        else:
            lines += [f">{name}_H", antibody.heavy, f">{name}_L", antibody.light]
    return "\n".join(lines) + "\n"


def fasta_path(table: str | os.PathLike[str]) -> Path:
    """The FASTA file beside a table.

    >>> fasta_path("plates/next.csv.gz").as_posix()
    'plates/next.fasta'
    """
    path = Path(table)
    name = path.name.removesuffix(".gz")
    stem = next((name.removesuffix(s) for s in TABLE_SUFFIXES if name.endswith(s)), name)
    return path.with_name(f"{stem}.fasta")


def refused_path(table: str | os.PathLike[str]) -> Path:
    """The table of the pool's refused rows beside a table.

    >>> refused_path("next.csv").name
    'next-refused.csv'
    """
    fasta = fasta_path(table)
    return fasta.with_name(f"{fasta.stem}-refused.csv")


def write_next_round(found: NextRound, target: str | os.PathLike[str]) -> list[Path]:
    """Write the table, the FASTA beside it and, if there are any, the pool's refused rows.

    Parameters
    ----------
    found : NextRound
    target : path
        The table: ``.csv``, ``.tsv``, ``.parquet`` or ``.xlsx``; ``"-"`` is CSV on stdout alone.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    keep = set() if found.pool is None else set(found.pool.frame.columns)
    write_table(suggestion_frame(found), target, keep=keep)
    if str(target) == "-":
        return []
    written = [Path(target), fasta_path(target)]
    with atomic_file(written[1]) as file:
        file.write(fasta_text([one.candidate for one in found.suggestions]).encode())
    if found.refused:
        written.append(refused_path(target))
        write_table(pl.DataFrame(found.refused, schema=["id", "reason"], orient="row"), written[2])
    return written
