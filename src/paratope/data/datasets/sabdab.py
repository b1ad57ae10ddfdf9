"""SAbDab: antibody structures with affinities, as published and joined with sequences.

An assay is one publication (its PubMed number), or the PDB entry where none is given: every
structure's Kd comes from its own paper, and values of different papers differ by half a log unit
before biology does.
"""

import dataclasses
import datetime
import re
from collections import Counter
from pathlib import Path

from paratope.core.errors import InputError
from paratope.core.units import kd_M_to_pkd
from paratope.data.datasets.dataset import DataFile, Dataset, Imported, locate, require, tally
from paratope.data.datasets.rows import SourceRow, pair_of, read_rows
from paratope.data.measurements import Conditions, Measurement, Origin

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
ZERO_CELSIUS_K = 273.15


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


def import_summary(path: Path, joined: Path | None = None) -> Imported:
    """Measurements of the summary as published.

    Parameters
    ----------
    path : Path
        The summary: tab-separated, blank lines, ``None`` and ``NA`` for missing values, and rows
        whose last fields are missing or have changed places.
    joined : Path, optional
        The table joined with sequences. Without it there are no sequences, hence no measurements:
        the counts and a note say so.

    Returns
    -------
    Imported
        An entry that lists several copies of one complex counts once. Row numbers are the
        summary's.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    sequences: dict[str, list[Measurement]] = {}
    if joined is not None:
        for known in import_joined(joined).measurements:
            sequences.setdefault(known.origin.complex_id, []).append(known)
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for row in read_rows(path, SUMMARY_COLUMNS, "\t", pad=True):
        if not row.text("affinity"):
            counts["no affinity"] += 1
            continue
        if row.number("affinity") <= 0:
            counts["affinity not positive"] += 1
            continue
        pkd = row.read("affinity", _pkd_of)
        key = (row["pdb"], f"{pkd:.6f}")
        match = _nearest(sequences.get(row["pdb"], []), pkd)
        if key in seen:
            counts["further copy of an entry"] += 1
        elif match is None:
            counts["affinity, no sequences"] += 1
        else:
            counts["measured"] += 1
            measurements.append(_summary_row(row, match, pkd))
        seen.add(key)
    notes = ()
    if counts["affinity, no sequences"]:
        notes = (
            f"{counts['affinity, no sequences']} entries with an affinity have no sequences: the "
            f"summary holds none. Join the chains of each PDB entry into {JOINED.path} "
            f"(columns {', '.join(JOINED_COLUMNS)})",
        )
    return Imported(tuple(measurements), tally(counts), notes)


def _nearest(known: list[Measurement], pkd: float) -> Measurement | None:
    """The entry's measurement of the same Kd (to 1 %), if there is one."""
    same = [row for row in known if row.pkd is not None and abs(row.pkd - pkd) < 0.005]
    return same[0] if same else None


def _summary_row(row: SourceRow, match: Measurement, pkd: float) -> Measurement:
    method, celsius, pubmed = _tail(row)
    origin = dataclasses.replace(
        match.origin,
        source="sabdab_summary",
        row=row.row,
        date=row.read("date", iso_date),
        reference=pubmed,
    )
    return dataclasses.replace(
        match,
        pkd=pkd,
        assay=f"sabdab:{pubmed or row['pdb']}",
        conditions=Conditions(
            "scFv" if row["scfv"] == "True" else "",
            method or match.conditions.method,
            None if celsius is None else celsius + ZERO_CELSIUS_K,
        ),
        origin=origin,
    )


def _tail(row: SourceRow) -> tuple[str, float | None, str]:
    """Method, temperature and PubMed number, by what they look like: some rows shift them."""
    method, celsius, pubmed = "", None, ""
    for column in ("affinity_method", "temperature", "pmid"):
        text = row.text(column)
        if re.fullmatch(r"\d{6,}", text):
            pubmed = text
        elif re.fullmatch(r"\d{1,2}(\.\d+)?", text):
            celsius = float(text)
        elif text and text != "Unknown":
            method = text
    return method, celsius, pubmed


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


def load_summary(root: Path, *, as_published: bool = False) -> Imported:
    """The summary under a data root, with the joined table's sequences if it is there."""
    del as_published
    return import_summary(require(root, SUMMARY), locate(root, JOINED))


SABDAB_SUMMARY = Dataset(
    "sabdab_summary",
    "SAbDab summary as published, sequences from the joined table where it is there",
    LICENCE,
    permissive=True,
    may_train=True,
    files=(SUMMARY, dataclasses.replace(JOINED, required=False)),
    citation=CITATION,
    load=load_summary,
)
