"""SKEMPI v2: affinities of wild-type and mutant complexes, as published and joined with sequences.

The published table (``;``-separated) has no sequences; the joined one adds heavy, light and antigen
chains of the antibody–antigen complexes, in the published row order. An assay is one complex in one
publication: inside it values were measured side by side, so mutants compare with their wild type
and with each other.
"""

import dataclasses
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from paratope.core.censoring import Censoring
from paratope.core.units import kd_M_to_pkd, parse_kd
from paratope.data.datasets.dataset import DataFile, Dataset, Outcome, Source, SourceRow
from paratope.data.measurements import Conditions, Measurement, Origin, bound_non_binders

CITATION = "Jankauskaite et al. 2019, SKEMPI 2.0, Bioinformatics 35:462"
LICENCE = "SKEMPI-v2"
RAW = DataFile(
    "skempi_v2/skempi_v2.csv",
    sha256="5e548b0fc5333bd4a1288f60915806fcae2a866debcba275c48fd62ea8065b88",
    url="https://raw.githubusercontent.com/victorfica/Master-thesis/"
    "5390d8d2df50300639d860a8d17ccd54445cf3a3/data/skempi_v2.csv",
    columns=(
        "#Pdb",
        "Mutation(s)_cleaned",
        "Hold_out_type",
        "Affinity_mut (M)",
        "Affinity_wt (M)",
        "Reference",
        "Temperature",
        "Method",
    ),
    separator=";",
)
STRUCTURES = "https://life.bsc.es/pid/skempi2/database/download/SKEMPI2_PDBs.tgz"
JOINED = DataFile(
    "skempi_v2/skempi_v2_antibody_antigen.csv",
    sha256="16d4fbb244cca583386d453ea117c2a61a8ae52c51a43b7ed21c5207f2dd1608",
    made="antibody–antigen rows of skempi_v2.csv joined with the chains of their PDB entries "
    f"(download {STRUCTURES}), mutations applied, several antigen chains joined by ':'",
    columns=tuple(
        (
            "pdb partners mutation heavy_wt light_wt antigen_wt heavy light antigen antigen_name "
            "kd_wt_M raw_affinity_mut temperature method reference vh vl"
        ).split()
    ),
)
Wild = tuple[str, str, float]  # complex, publication, Kd in M


def parse_temperature_K(text: str) -> float | None:
    """Kelvin of SKEMPI's text, such as ``"298(assumed)"``; None if there is none.

    >>> parse_temperature_K("298(assumed)")
    298.0
    """
    match = re.match(r"\s*(\d+(?:\.\d+)?)", text)
    return float(match[1]) if match else None


def parse_affinity(text: str) -> tuple[float | None, Censoring]:
    """pKd and censoring of SKEMPI's affinity text; some rows have a decimal comma.

    >>> parse_affinity(">1E-05"), parse_affinity("5,00E-09")[1]
    ((5.0, <Censoring.AT_MOST: -1>), <Censoring.EXACT: 0>)
    """
    return parse_kd(text.replace(",", "."))


def _read_joined(source: Source) -> Iterator[Outcome]:
    wild: dict[Wild, Measurement] = {}
    yield from _outcomes(source, source.rows(JOINED), wild)
    if not source.has(RAW):
        source.notes.append(
            "skempi_v2.csv is not there: wild-type affinities published as bounds count as exact"
        )
    bounded = sum(row.censoring is not Censoring.EXACT for row in wild.values())
    if bounded:
        source.notes.append(f"{bounded} wild types are bounds, not values")


def _read_raw(source: Source) -> Iterator[Outcome]:
    # replicates of one mutant stand in the same order in both tables
    waiting: dict[tuple[str, str, str], deque[SourceRow]] = defaultdict(deque)
    for row in source.rows(JOINED) if source.has(JOINED) else ():
        key = (f"{row['pdb']}_{row['partners']}", row["mutation"], row["reference"])
        waiting[key].append(row)
    joined = []
    for row in source.rows(RAW):
        if "AB/AG" not in row["Hold_out_type"]:
            yield "not an antibody", None
            continue
        row.read("Affinity_mut (M)", parse_affinity)
        candidates = waiting.get((row["#Pdb"], row["Mutation(s)_cleaned"], row["Reference"]))
        if not candidates:
            yield "antibody, no sequences", None
            continue
        values = candidates.popleft().values | {"raw_affinity_mut": row["Affinity_mut (M)"]}
        joined.append(dataclasses.replace(row, values=values))
    yield from _outcomes(source, joined, {})
    lacking = source.counts["antibody, no sequences"]
    if lacking:
        source.notes.append(
            f"{lacking} antibody rows have no sequences, as published. Give them by joining the "
            f"chains of each PDB entry (download {STRUCTURES}) into {JOINED.path} "
            f"(columns {', '.join(JOINED.columns)})"
        )


def _outcomes(
    source: Source, rows: Iterable[SourceRow], wild: dict[Wild, Measurement]
) -> Iterator[Outcome]:
    """Wild types (put into `wild`), then mutants: non-binders bounded, ΔpKd to the wild type."""
    # the joined table keeps only the numbers of wild types published as bounds (``<1E-11``)
    bounds: dict[Wild, Censoring] = {}
    for row in source.rows(RAW) if source.has(RAW) else ():
        text = row["Affinity_wt (M)"].replace(",", ".")
        if text.startswith(("<", ">")):
            _, censoring = row.read("Affinity_wt (M)", parse_affinity)
            bounds[row["#Pdb"], row["Reference"], float(text.lstrip("<>= "))] = censoring
    mutants = [_measurements(row, bounds, wild) for row in rows]
    source.added["wild type"] = len(wild)
    bounded = bound_non_binders([*wild.values(), *(mutant for mutant, _ in mutants)])
    for parent in bounded[: len(wild)]:
        yield None, parent
    for (unbounded, parent), mutant in zip(mutants, bounded[len(wild) :], strict=True):
        delta_pkd = None
        if parent.censoring is Censoring.EXACT and mutant.pkd is not None:
            assert parent.pkd is not None
            delta_pkd = mutant.pkd - parent.pkd
        fate = "measured" if mutant.censoring is Censoring.EXACT else "censored"
        if unbounded.pkd is None:
            fate = "non-binder"
        yield fate, dataclasses.replace(mutant, delta_pkd=delta_pkd, parent=parent.pair)


def _measurements(
    row: SourceRow, bounds: dict[Wild, Censoring], wild: dict[Wild, Measurement]
) -> tuple[Measurement, Measurement]:
    """A mutant and its wild type, which is put into `wild` at its first appearance."""
    name = f"{row['pdb']}_{row['partners']}"
    key = (name, row["reference"], row.positive_number("kd_wt_M", "mol/L"))
    conditions = Conditions(
        method=row["method"], temperature_K=parse_temperature_K(row["temperature"])
    )
    origin = Origin("skempi_v2", row.row, LICENCE, name, reference=row["reference"])
    if key not in wild:
        antibody = (
            _wild_type_domain(row, "heavy", "vh"),
            _wild_type_domain(row, "light", "vl"),
            row["pdb"],
        )
        wild[key] = Measurement(
            row.pair(antibody, (row["antigen_wt"], row["antigen_name"])),
            kd_M_to_pkd(key[2]),
            bounds.get(key, Censoring.EXACT),
            f"skempi_v2:{name}:{row['reference']}",
            conditions=conditions,
            origin=origin,
        )
    pkd, censoring = row.read("raw_affinity_mut", parse_affinity)
    antibody = (row["vh"], row["vl"], row["pdb"])
    mutant = Measurement(
        row.pair(antibody, (row["antigen"], row["antigen_name"])),
        pkd,
        censoring,
        wild[key].assay,
        conditions=conditions,
        origin=dataclasses.replace(origin, mutations=tuple(row["mutation"].split(","))),
    )
    return mutant, wild[key]


def _wild_type_domain(row: SourceRow, chain: str, domain: str) -> str:
    """The wild-type chain cut where the mutant's variable domain is (only substitutions differ)."""
    start = row[chain].find(row[domain])
    whole = row[f"{chain}_wt"]
    if start < 0 or len(whole) != len(row[chain]):
        raise row.error(domain, f"expected a part of {chain!r} of the wild type's length")
    return whole[start : start + len(row[domain])]


SKEMPI = Dataset(
    "skempi",
    "SKEMPI v2, antibody–antigen rows with sequences: wild types and mutants, pKd and ΔpKd",
    LICENCE,
    may_train=True,
    files=(JOINED, RAW.optional()),
    citation=CITATION,
    read=_read_joined,
)
SKEMPI_RAW = Dataset(
    "skempi_raw",
    "SKEMPI v2 as published, sequences from the joined table where it is there",
    LICENCE,
    may_train=True,
    files=(RAW, JOINED.optional()),
    citation=CITATION,
    read=_read_raw,
)
