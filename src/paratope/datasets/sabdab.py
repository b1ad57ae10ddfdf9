"""SAbDab: antibody structures with affinities, as published and joined with sequences.

An assay is one publication (its PubMed number), or the PDB entry where none is given: every
structure's Kd comes from its own paper, and values of different papers differ by half a log unit
before biology does.
"""

import datetime
from collections import Counter
from pathlib import Path

from paratope.datasets.dataset import DataFile, Dataset, Imported, require, tally
from paratope.datasets.rows import SourceRow, pair_of, read_rows
from paratope.errors import InputError
from paratope.measurements import Conditions, Measurement, Origin
from paratope.units import kd_M_to_pkd

CITATION = (
    "Dunbar et al. 2014, SAbDab, Nucleic Acids Res. 42:D1140; Schneider et al. 2022, 50:D1368"
)
LICENCE = "CC-BY-4.0"
JOINED = DataFile(
    "sabdab/sabdab_affinity.csv",
    sha256="fd7abe855fa034add7889f3e4cc7dda104dc4551117b47de577caba94dfc93f8",
    made="SAbDab entries with an affinity joined with the chains of their PDB entries",
)
SUMMARY = DataFile(
    "sabdab/sabdab_summary.tsv",
    sha256="7c97c60a560f307be97f794452ee1eda38176eba26776b8892449393aa2bf901",
    url="https://raw.githubusercontent.com/mfz/sabdab/"
    "033e7485a4c3d916a941289fcb2f28eb4cb1162d/data/ab_ag.tsv",
)
JOINED_COLUMNS = (
    "pdb", "heavy", "light", "antigen", "antigen_name", "kd_M", "method", "pmid", "date",
    "vh", "vl",
)  # fmt: skip
SUMMARY_COLUMNS = (
    "pdb", "Hchain", "Lchain", "antigen_chain", "antigen_type", "date", "scfv", "affinity",
    "affinity_method", "temperature", "pmid",
)  # fmt: skip
KELVIN = 273.15


def iso_date(text: str) -> str:
    """ISO date of SAbDab's month/day/year; years from 69 on are of the last century.

    >>> iso_date("05/30/17"), iso_date("01/21/92")
    ('2017-05-30', '1992-01-21')
    """
    try:
        return datetime.datetime.strptime(text, "%m/%d/%y").date().isoformat()
    except ValueError:
        raise InputError(f"expected a date as month/day/year (05/30/17), got {text!r}") from None


def import_joined(path: Path) -> Imported:
    """Measurements of the table joined with sequences.

    Where only one variable domain was found although the chain is long, the antibody is a
    single-chain Fv: its whole chain is the heavy chain here, and numbering splits it. A row without
    any heavy chain is counted, not imported.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, JOINED_COLUMNS):
        if not row["heavy"]:
            counts["no heavy chain"] += 1
            continue
        single_chain = not row["light"]
        kind = "measured, single-chain antibody" if single_chain else "measured"
        counts[kind] += 1
        measurements.append(_joined_row(row, single_chain))
    return Imported(tuple(measurements), tally(counts))


def _joined_row(row: SourceRow, single_chain: bool) -> Measurement:
    heavy = row["heavy"] if single_chain else row["vh"] or row["heavy"]
    light = "" if single_chain else row["vl"] or row["light"]
    pair = pair_of(row, (heavy, light, row["pdb"]), (row["antigen"], row["antigen_name"]))
    pubmed = row["pmid"] if row["pmid"].isdigit() else ""
    return Measurement(
        pair,
        row.read("kd_M", _pkd_of),
        assay=f"sabdab:{pubmed or row['pdb']}",
        conditions=Conditions(method="" if row["method"] == "Unknown" else row["method"]),
        origin=Origin(
            "sabdab",
            row.row,
            LICENCE,
            row["pdb"],
            date=row.read("date", iso_date),
            reference=pubmed,
        ),
    )


def _pkd_of(text: str) -> float:
    try:
        kd_M = float(text)
    except ValueError:
        raise InputError(f"expected a Kd in mol/L, got {text!r}") from None
    return kd_M_to_pkd(kd_M)


def load_joined(root: Path, *, as_published: bool = False) -> Imported:
    """The joined table under a data root; it holds no flags `as_published` could keep."""
    del as_published
    return import_joined(require(root, JOINED))


SABDAB = Dataset(
    "sabdab",
    "SAbDab structures with a Kd and sequences; absolute pKd across papers",
    LICENCE,
    permissive=True,
    may_train=True,
    files=(JOINED,),
    citation=CITATION,
    load=load_joined,
)
