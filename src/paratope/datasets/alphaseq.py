"""Tables of AlphaSeq affinities: log10(Kd / nM), lower is stronger.

Two published headers are read: one row per antibody (``POI, Target, Assay, Replicate,
Pred_affinity, HC, LC``), whose antigen is only named, and one row per interaction (``mata_sequence,
matalpha_sequence, alphaseq_affinity``). A row without an affinity was not detected, which in this
assay is no bound, so it is counted and left out.
"""

import functools
from collections import Counter
from pathlib import Path

from paratope.datasets.dataset import Dataset, Imported, tally
from paratope.datasets.rows import UNKNOWN_ANTIGEN, SourceRow, header_of, pair_of, read_rows
from paratope.measurements import Conditions, Measurement, Origin
from paratope.numbering import find_domains
from paratope.sequences import Pair

CITATION = "Engelhart et al. 2022, Sci. Data 9:653; A-Alpha Bio's AlphaSeq tables"
ANTIBODY_COLUMNS = ("POI", "Target", "Assay", "Pred_affinity", "HC", "LC")
INTERACTION_COLUMNS = ("mata_sequence", "matalpha_sequence", "alphaseq_affinity")


def log10_kd_nM_to_pkd(log10_kd_nM: float) -> float:
    """pKd of a log10(Kd / nM).

    >>> log10_kd_nM_to_pkd(0.0), log10_kd_nM_to_pkd(2.5)
    (9.0, 6.5)
    """
    return 9.0 - log10_kd_nM


def import_table(path: Path, *, antigen: str = "", licence: str = "none stated") -> Imported:
    """Measurements of an AlphaSeq table.

    Parameters
    ----------
    path : Path
    antigen : str
        Residues of the target, for the table that only names it; one unknown residue if empty.
    licence : str
        Terms under which the table was published.

    Returns
    -------
    Imported
        An assay is one run (column ``Assay``) against one target.

    Raises
    ------
    InputError
        If the file is damaged or has neither header.
    """
    interactions = "alphaseq_affinity" in header_of(path)
    columns = INTERACTION_COLUMNS if interactions else ANTIBODY_COLUMNS
    affinity = columns[2] if interactions else "Pred_affinity"
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, columns):
        value = row.optional_number(affinity)
        if value is None:
            counts["no affinity"] += 1
            continue
        pair = _interaction(row) if interactions else _antibody(row, antigen)
        if pair is None:
            counts["not an antibody"] += 1
            continue
        counts["measured"] += 1
        run = "" if interactions else f":{row['Target']}:{row['Assay']}"
        origin = Origin(path.stem, row.row, licence, row.values.get("POI", ""))
        measurements.append(
            Measurement(
                pair,
                log10_kd_nM_to_pkd(value),
                assay=f"{path.stem}{run}",
                conditions=Conditions("scFv", "AlphaSeq"),
                origin=origin,
            )
        )
    notes = ()
    if not interactions and not antigen:
        notes = ("the target's sequence is not in the table; give it as the antigen",)
    return Imported(tuple(measurements), tally(counts), notes)


def _antibody(row: SourceRow, antigen: str) -> Pair:
    chains = (antigen or UNKNOWN_ANTIGEN, row["Target"])
    return pair_of(row, (row["HC"], row["LC"], row["POI"]), chains)


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
    """An AlphaSeq table; `path` is the table itself."""
    del as_published
    return import_table(path, antigen=antigen)


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
