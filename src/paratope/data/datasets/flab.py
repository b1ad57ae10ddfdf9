"""FLAb-type tables: ``heavy,light,fitness``, one table an assay, higher = stronger.

What a fitness is differs from table to table (a negative log Kd, an enrichment), so it is a score,
unless the reader says that it is a pKd. The antigen is not in the table.
"""

from collections import Counter
from pathlib import Path

from paratope.core.errors import InputError
from paratope.core.units import parse_bounded_number
from paratope.data.datasets.dataset import Dataset, Imported, tally
from paratope.data.datasets.rows import UNKNOWN_ANTIGEN, pair_of, read_rows
from paratope.data.measurements import Measurement, Origin

CITATION = "Chungyoun et al. 2024, FLAb, bioRxiv 2024.01.13.575504"
COLUMNS = ("heavy", "light", "fitness")


def import_table(
    path: Path, *, antigen: str = "", is_pkd: bool = False, licence: str = "none stated"
) -> Imported:
    """Measurements of one FLAb-type table; the assay is the file's name.

    Parameters
    ----------
    path : Path
    antigen : str
        Residues of the antigen; one unknown residue if empty.
    is_pkd : bool
        The fitness of this table is a -log10(Kd / M).
    licence : str
        Terms under which the table was published.

    Returns
    -------
    Imported
        A ``<`` or ``>`` in front of a fitness is a bound on it.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    kind = "measured" if is_pkd else "score"
    for row in read_rows(path, COLUMNS):
        if not row.text("fitness"):
            counts["no affinity"] += 1
            continue
        if not row["heavy"]:
            counts["no heavy chain"] += 1
            continue
        value, censoring = row.read("fitness", parse_bounded_number)
        counts[kind] += 1
        light = row.text("light")
        measurements.append(
            Measurement(
                pair_of(row, (row["heavy"], light, ""), (antigen or UNKNOWN_ANTIGEN, "")),
                pkd=value if is_pkd else None,
                score=None if is_pkd else value,
                censoring=censoring,
                assay=path.stem,
                origin=Origin(path.stem, row.row, licence),
            )
        )
    notes = () if antigen else ("the antigen is not in the table; give its sequence",)
    return Imported(tuple(measurements), tally(counts), notes)


def load(path: Path, *, as_published: bool = False, antigen: str = "") -> Imported:
    """A FLAb-type table, or a folder of them, each an assay of its own."""
    del as_published
    if not path.is_dir():
        return import_table(path, antigen=antigen)
    tables = sorted(path.glob("*.csv"))
    if not tables:
        raise InputError(f"{path}: no .csv tables; expected columns {', '.join(COLUMNS)}")
    parts = [import_table(table, antigen=antigen) for table in tables]
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    rows = tuple(row for part in parts for row in part.measurements)
    return Imported(rows, tally(counts), notes)


FLAB = Dataset(
    "flab",
    "Format: FLAb-type tables, heavy, light, fitness, one assay each (give table or folder)",
    "none stated",
    permissive=False,
    may_train=False,
    files=(),
    citation=CITATION,
    load=load,
)
