"""Tables of AlphaSeq affinities: log10(Kd / nM), lower is stronger.

Two published headers are read: one row per antibody (``POI, Target, Assay, Replicate,
Pred_affinity, HC, LC``), whose antigen is only named, and one row per interaction (``mata_sequence,
matalpha_sequence, alphaseq_affinity``). A row without an affinity was not detected, which in this
assay is no bound, so it is counted and left out.
"""

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from paratope.core.errors import InputError
from paratope.data.datasets.dataset import Dataset, Imported, tally
from paratope.data.datasets.rows import UNKNOWN_ANTIGEN, SourceRow, header_of, pair_of, read_rows
from paratope.data.measurements import Conditions, Measurement, Origin
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Pair

CITATION = "Engelhart et al. 2022, Sci. Data 9:653; A-Alpha Bio's AlphaSeq tables"
ANTIBODY_COLUMNS = ("POI", "Target", "Assay", "Pred_affinity", "HC", "LC")
INTERACTION_COLUMNS = ("mata_sequence", "matalpha_sequence", "alphaseq_affinity")


def log10_kd_nM_to_pkd(log10_kd_nM: float) -> float:
    """pKd of a log10(Kd / nM).

    >>> log10_kd_nM_to_pkd(0.0), log10_kd_nM_to_pkd(2.5)
    (9.0, 6.5)
    """
    return 9.0 - log10_kd_nM


def import_table(
    path: Path, *, antigens: Mapping[str, str] | None = None, licence: str = "none stated"
) -> Imported:
    """Measurements of an AlphaSeq table.

    Parameters
    ----------
    path : Path
    antigens : mapping of str to str, optional
        Target's name to its residues, for the table that only names its targets: rows of other
        targets (negative controls) are then left out. Without it, every antigen is one unknown
        residue.
    licence : str
        Terms under which the table was published; those of the first public one are
        CC-BY-NC-SA-4.0.

    Returns
    -------
    Imported
        An assay is one run (column ``Assay``) against one target.

    Raises
    ------
    InputError
        If the file is damaged, has neither header, or no row is of a target given.
    """
    interactions = "alphaseq_affinity" in header_of(path)
    affinity = "alphaseq_affinity" if interactions else "Pred_affinity"
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    targets: set[str] = set()
    for row in read_rows(path, INTERACTION_COLUMNS if interactions else ANTIBODY_COLUMNS):
        targets.add(row.values.get("Target", ""))
        value = row.optional_number(affinity)
        if value is None:
            counts["no affinity"] += 1
        elif interactions:
            _take(measurements, counts, row, _interaction(row), value, licence)
        elif antigens and row["Target"] not in antigens:
            counts["target without a sequence"] += 1
        else:
            _take(measurements, counts, row, _antibody(row, antigens or {}), value, licence)
    if antigens and not targets & set(antigens):
        raise InputError(f"{path}: no row of {sorted(antigens)}; its targets: {sorted(targets)}")
    notes = ()
    if not interactions and not antigens:
        notes = (f"no sequences of the targets {sorted(targets)}; give them as the antigen",)
    return Imported(tuple(measurements), tally(counts), notes)


def _take(
    measurements: list[Measurement],
    counts: Counter[str],
    row: SourceRow,
    pair: Pair | None,
    log10_kd_nM: float,
    licence: str,
) -> None:
    """Count a row that has an affinity, and keep its measurement if it holds an antibody."""
    if pair is None:
        counts["not an antibody"] += 1
        return
    counts["measured"] += 1
    table = row.path.name.split(".")[0]
    run = f":{row['Target']}:{row['Assay']}" if "Target" in row.values else ""
    measurements.append(
        Measurement(
            pair,
            log10_kd_nM_to_pkd(log10_kd_nM),
            assay=f"{table}{run}",
            conditions=Conditions("scFv", "AlphaSeq"),
            origin=Origin(table, row.row, licence, row.values.get("POI", "")),
        )
    )


def _antibody(row: SourceRow, antigens: Mapping[str, str]) -> Pair:
    antigen = antigens.get(row["Target"], UNKNOWN_ANTIGEN)
    return pair_of(row, (row["HC"], row["LC"], row["POI"]), (antigen, row["Target"]))


def _interaction(row: SourceRow) -> Pair | None:
    """The antibody is whichever side holds a heavy domain, Mat-A where both do."""
    mata, matalpha = row["mata_sequence"], row["matalpha_sequence"]
    if _is_antibody(mata):
        return pair_of(row, (mata, "", row.values.get("mata_description", "")), (matalpha, ""))
    if _is_antibody(matalpha):
        return pair_of(row, (matalpha, "", row.values.get("matalpha_description", "")), (mata, ""))
    return None


@functools.lru_cache(maxsize=65536)
def _is_antibody(chain: str) -> bool:
    return any(domain.chain == "H" for domain in find_domains(chain.upper()))


def load(path: Path, *, as_published: bool = False, antigen: str = "") -> Imported:
    """An AlphaSeq table; `path` is the table itself.

    `antigen` is the residues of its target, or ``TARGET=RESIDUES,…`` where it has several.
    """
    del as_published
    return import_table(path, antigens=_antigens(path, antigen) if antigen else None)


def _antigens(path: Path, text: str) -> dict[str, str]:
    if "alphaseq_affinity" in header_of(path):
        raise InputError(f"{path} holds its antigens; give none")
    if "=" not in text:
        targets = sorted({row["Target"] for row in read_rows(path, ANTIBODY_COLUMNS)})
        if len(targets) > 1:
            raise InputError(
                f"{path} has the targets {targets}: give the antigen as TARGET=RESIDUES, several "
                f"separated by commas, got {text!r}"
            )
        return {targets[0]: text}
    antigens: dict[str, str] = {}
    for part in text.split(","):
        name, _, residues = (piece.strip() for piece in part.partition("="))
        if not (name and residues):
            raise InputError(f"expected the antigen as TARGET=RESIDUES, got {part!r}")
        antigens[name] = residues
    return antigens


ALPHASEQ = Dataset(
    "alphaseq",
    "Format: AlphaSeq tables, log10(Kd / nM), lower = stronger (give the table)",
    "none stated",
    permissive=False,
    may_train=False,
    files=(),
    citation=CITATION,
    load=load,
)
