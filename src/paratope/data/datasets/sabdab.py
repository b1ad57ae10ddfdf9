"""SAbDab: antibody structures with affinities, as published and joined with sequences.

An assay is one publication (its PubMed number), or the PDB entry where none is given: every
structure's Kd comes from its own paper, and values of different papers differ by half a log unit
before biology does.
"""

import dataclasses
import datetime
import re
from collections.abc import Iterator

from paratope.core.errors import InputError
from paratope.core.units import kd_M_to_pkd
from paratope.data.datasets.dataset import DataFile, Dataset, Outcome, Source, celsius_to_K
from paratope.data.measurements import Conditions, Measurement, Origin

CITATION = (
    "Dunbar et al. 2014, SAbDab, Nucleic Acids Res. 42:D1140; Schneider et al. 2022, 50:D1368"
)
LICENCE = "CC-BY-4.0"
JOINED = DataFile(
    "sabdab/sabdab_affinity.csv",
    sha256="fd7abe855fa034add7889f3e4cc7dda104dc4551117b47de577caba94dfc93f8",
    made="SAbDab entries with an affinity joined with the chains of their PDB entries",
    columns=tuple("pdb heavy light antigen antigen_name kd_M method pmid date vh vl".split()),
)
# Tab-separated, with blank lines, ``None`` and ``NA`` for missing values, and rows whose last
# fields are missing or have changed places.
SUMMARY = DataFile(
    "sabdab/sabdab_summary.tsv",
    sha256="7c97c60a560f307be97f794452ee1eda38176eba26776b8892449393aa2bf901",
    url="https://raw.githubusercontent.com/mfz/sabdab/"
    "033e7485a4c3d916a941289fcb2f28eb4cb1162d/data/ab_ag.tsv",
    columns=tuple(
        "pdb Hchain Lchain antigen_chain antigen_type date scfv affinity affinity_method "
        "temperature pmid".split()
    ),
    separator="\t",
    pad=True,
)


def iso_date(text: str) -> str:
    """ISO date of SAbDab's month/day/year; years from 69 on are of the last century.

    >>> iso_date("05/30/17"), iso_date("01/21/92")
    ('2017-05-30', '1992-01-21')
    """
    try:
        return datetime.datetime.strptime(text, "%m/%d/%y").date().isoformat()
    except ValueError:
        raise InputError(f"expected a date as month/day/year (05/30/17), got {text!r}") from None


def _pkd_of(text: str) -> float:
    try:
        kd_M = float(text)
    except ValueError:
        raise InputError(f"expected a Kd in mol/L, got {text!r}") from None
    return kd_M_to_pkd(kd_M)


def _read_joined(source: Source) -> Iterator[Outcome]:
    for row in source.rows(JOINED):
        if not row["heavy"]:
            yield "no heavy chain", None
            continue
        # One variable domain was found in a long chain: a single-chain Fv. Its whole chain is the
        # heavy one here, and numbering splits it.
        single_chain = not row["light"]
        heavy = row["heavy"] if single_chain else row["vh"] or row["heavy"]
        light = "" if single_chain else row["vl"] or row["light"]
        pubmed = row["pmid"] if row["pmid"].isdigit() else ""
        fate = "measured, single-chain antibody" if single_chain else "measured"
        pair = row.pair((heavy, light, row["pdb"]), (row["antigen"], row["antigen_name"]))
        conditions = Conditions(method="" if row["method"] == "Unknown" else row["method"])
        date = row.read("date", iso_date)
        origin = Origin("sabdab", row.row, LICENCE, row["pdb"], date=date, reference=pubmed)
        assay, pkd = f"sabdab:{pubmed or row['pdb']}", row.read("kd_M", _pkd_of)
        yield fate, Measurement(pair, pkd, assay=assay, conditions=conditions, origin=origin)


def _read_summary(source: Source) -> Iterator[Outcome]:
    entries: dict[str, list[Measurement]] = {}
    for _, known in _read_joined(source) if source.has(JOINED) else ():
        if known is not None:
            entries.setdefault(known.origin.complex_id, []).append(known)
    seen: set[tuple[str, str]] = set()
    for row in source.rows(SUMMARY):
        if not row.text("affinity"):
            yield "no affinity", None
            continue
        if row.number("affinity") <= 0:
            yield "affinity not positive", None
            continue
        pkd = row.read("affinity", _pkd_of)
        # the entry's measurement of the same Kd, to 1 %
        known = entries.get(row["pdb"], ())
        match = next((each for each in known if abs((each.pkd or 0.0) - pkd) < 0.005), None)
        is_copy = (key := (row["pdb"], f"{pkd:.6f}")) in seen
        seen.add(key)
        if is_copy or match is None:  # an entry lists every copy of its complex
            yield "further copy of an entry" if is_copy else "affinity, no sequences", None
            continue
        method, celsius, pubmed = match.conditions.method, None, ""
        # some rows shift these three: they are told by what they look like
        for column in ("affinity_method", "temperature", "pmid"):
            text = row.text(column)
            if re.fullmatch(r"\d{6,}", text):
                pubmed = text
            elif re.fullmatch(r"\d{1,2}(\.\d+)?", text):
                celsius = float(text)
            elif text and text != "Unknown":
                method = text
        construct = "scFv" if row["scfv"] == "True" else ""
        conditions = Conditions(construct, method, celsius_to_K(celsius))
        fields = {"source": "sabdab_summary", "row": row.row, "reference": pubmed}
        origin = dataclasses.replace(match.origin, date=row.read("date", iso_date), **fields)
        assay = f"sabdab:{pubmed or row['pdb']}"
        measurement = dataclasses.replace(match, pkd=pkd, assay=assay)
        yield "measured", dataclasses.replace(measurement, conditions=conditions, origin=origin)
    lacking = source.counts["affinity, no sequences"]
    if lacking:
        source.notes.append(
            f"{lacking} entries with an affinity have no sequences: the summary holds none. Join "
            f"the chains of each PDB entry into {JOINED.path} (columns {', '.join(JOINED.columns)})"
        )


SABDAB = Dataset(
    "sabdab",
    "SAbDab structures with a Kd and sequences, the first join; sabdab_full supersedes it",
    LICENCE,
    read=_read_joined,
    files=(JOINED,),
    citation=CITATION,
    may_train=False,  # some of its antigens are kept for judging models
)
SABDAB_SUMMARY = Dataset(
    "sabdab_summary",
    "SAbDab summary as published, sequences from the joined table where it is there",
    LICENCE,
    read=_read_summary,
    files=(SUMMARY, JOINED.optional()),
    citation=CITATION,
    may_train=True,
)
