"""SKEMPI v2: affinities of wild-type and mutant complexes, as published and joined with sequences.

The published table (``;``-separated) has no sequences; the joined one adds heavy, light and antigen
chains of the antibody–antigen complexes, in the published row order. An assay is one complex in one
publication: inside it values were measured side by side, so mutants compare with their wild type
and with each other.
"""

import dataclasses
import math
import re
from collections import Counter, defaultdict, deque
from pathlib import Path

from paratope.core.censoring import Censoring
from paratope.core.units import kd_M_to_pkd, parse_kd
from paratope.data.datasets.dataset import DataFile, Dataset, Imported, locate, require, tally
from paratope.data.datasets.rows import SourceRow, pair_of, read_rows
from paratope.data.measurements import Conditions, Measurement, Origin, bound_non_binders

CITATION = "Jankauskaite et al. 2019, SKEMPI 2.0, Bioinformatics 35:462"
LICENCE = "SKEMPI-v2"
RAW = DataFile(
    "skempi_v2/skempi_v2.csv",
    sha256="5e548b0fc5333bd4a1288f60915806fcae2a866debcba275c48fd62ea8065b88",
    url="https://raw.githubusercontent.com/victorfica/Master-thesis/"
    "5390d8d2df50300639d860a8d17ccd54445cf3a3/data/skempi_v2.csv",
)
JOINED = DataFile(
    "skempi_v2/skempi_v2_antibody_antigen.csv",
    sha256="16d4fbb244cca583386d453ea117c2a61a8ae52c51a43b7ed21c5207f2dd1608",
    made="antibody–antigen rows of skempi_v2.csv joined with the chains of their PDB entries, "
    "mutations applied, several antigen chains joined by ':'",
)
RAW_COLUMNS = (
    "#Pdb", "Mutation(s)_cleaned", "Hold_out_type", "Affinity_mut (M)", "Affinity_wt (M)",
    "Reference", "Temperature", "Method",
)  # fmt: skip
JOINED_COLUMNS = (
    "pdb", "partners", "mutation", "heavy_wt", "light_wt", "antigen_wt", "heavy", "light",
    "antigen", "antigen_name", "kd_wt_M", "raw_affinity_mut", "temperature", "method", "reference",
    "vh", "vl",
)  # fmt: skip

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


def import_joined(path: Path, raw: Path | None = None) -> Imported:
    """Measurements of the table joined with sequences.

    Parameters
    ----------
    path : Path
        The joined table.
    raw : Path, optional
        The published table, from which the bounds of wild-type affinities (``<1E-11``) are taken:
        the joined one keeps only their numbers.

    Returns
    -------
    Imported
        One measurement per row, with ``delta_pkd`` to its wild type, and one per distinct wild-type
        measurement.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    bounds = _wild_type_bounds(raw) if raw is not None else {}
    wild: dict[Wild, Measurement] = {}
    mutants: list[tuple[Measurement, Measurement]] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, JOINED_COLUMNS):
        measurement, parent = _joined_row(row, bounds, wild)
        mutants.append((measurement, parent))
        counts[_fate(measurement)] += 1
    measurements = _with_deltas(list(wild.values()), mutants)
    notes = []
    if raw is None:
        notes.append(
            "skempi_v2.csv is not there: wild-type affinities published as bounds count as exact"
        )
    bounded = sum(row.censoring is not Censoring.EXACT for row in wild.values())
    if bounded:
        notes.append(f"{bounded} wild types are bounds, not values")
    return Imported(measurements, tally(counts), tuple(notes), {"wild type": len(wild)})


def import_raw(path: Path, joined: Path | None = None) -> Imported:
    """Measurements of the table as published, with sequences where the joined table has them.

    Parameters
    ----------
    path : Path
        The published table.
    joined : Path, optional
        The joined table. Without it there are no sequences, hence no measurements: the counts and a
        note say so.

    Returns
    -------
    Imported
        Row numbers are those of the published table.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    sequences = _joined_rows(joined) if joined is not None else {}
    bounds = _wild_type_bounds(path)
    wild: dict[Wild, Measurement] = {}
    mutants: list[tuple[Measurement, Measurement]] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, RAW_COLUMNS, ";"):
        if "AB/AG" not in row["Hold_out_type"]:
            counts["not an antibody"] += 1
            continue
        row.read("Affinity_mut (M)", parse_affinity)
        waiting = sequences.get((row["#Pdb"], row["Mutation(s)_cleaned"], row["Reference"]))
        if not waiting:
            counts["antibody, no sequences"] += 1
            continue
        match = waiting.popleft()
        values = {**match.values, "raw_affinity_mut": row["Affinity_mut (M)"]}
        same = SourceRow(path, row.row, row.line, values)
        measurement, parent = _joined_row(same, bounds, wild)
        mutants.append((measurement, parent))
        counts[_fate(measurement)] += 1
    notes = []
    if counts["antibody, no sequences"]:
        notes.append(
            f"{counts['antibody, no sequences']} antibody rows have no sequences, as published. "
            f"Give them by joining the chains of each PDB entry into {JOINED.path} "
            f"(columns {', '.join(JOINED_COLUMNS)})"
        )
    measurements = _with_deltas(list(wild.values()), mutants)
    return Imported(measurements, tally(counts), tuple(notes), {"wild type": len(wild)})


def _joined_rows(path: Path) -> dict[tuple[str, str, str], deque[SourceRow]]:
    """Joined rows by complex, mutation and publication; replicates wait in file order."""
    waiting: dict[tuple[str, str, str], deque[SourceRow]] = defaultdict(deque)
    for row in read_rows(path, JOINED_COLUMNS):
        key = (f"{row['pdb']}_{row['partners']}", row["mutation"], row["reference"])
        waiting[key].append(row)
    return waiting


def _wild_type_bounds(raw: Path) -> dict[Wild, Censoring]:
    """Bounds of wild-type affinities in the published table."""
    bounds: dict[Wild, Censoring] = {}
    for row in read_rows(raw, RAW_COLUMNS, ";"):
        text = row["Affinity_wt (M)"].replace(",", ".")
        if text.startswith(("<", ">")):
            _, censoring = row.read("Affinity_wt (M)", parse_affinity)
            bounds[row["#Pdb"], row["Reference"], float(text.lstrip("<>= "))] = censoring
    return bounds


def _joined_row(
    row: SourceRow, bounds: dict[Wild, Censoring], wild: dict[Wild, Measurement]
) -> tuple[Measurement, Measurement]:
    """Measurement of a mutant and of its wild type, put into `wild` at its first appearance."""
    name = f"{row['pdb']}_{row['partners']}"
    kd_wt_M = row.number("kd_wt_M")
    if kd_wt_M <= 0:
        raise row.error("kd_wt_M", f"expected a positive number of mol/L, got {kd_wt_M}")
    assay = f"skempi_v2:{name}:{row['reference']}"
    conditions = Conditions(
        method=row["method"], temperature_K=parse_temperature_K(row["temperature"])
    )
    origin = Origin("skempi_v2", row.row, LICENCE, name, reference=row["reference"])
    key = (name, row["reference"], kd_wt_M)
    antigen = row["antigen_name"]
    if key not in wild:
        heavy = _same_slice(row, "heavy", "vh")
        light = _same_slice(row, "light", "vl")
        pair = pair_of(row, (heavy, light, row["pdb"]), (row["antigen_wt"], antigen))
        wild[key] = Measurement(
            pair,
            kd_M_to_pkd(kd_wt_M),
            bounds.get(key, Censoring.EXACT),
            assay,
            conditions=conditions,
            origin=origin,
        )
    mutations = tuple(row["mutation"].split(","))
    pkd, censoring = row.read("raw_affinity_mut", parse_affinity)
    pair = pair_of(row, (row["vh"], row["vl"], row["pdb"]), (row["antigen"], antigen))
    mutant = Measurement(
        pair,
        pkd,
        censoring,
        assay,
        conditions=conditions,
        origin=dataclasses.replace(origin, mutations=mutations),
    )
    return mutant, wild[key]


def _same_slice(row: SourceRow, chain: str, domain: str) -> str:
    """The wild-type chain cut where the mutant's variable domain is (only substitutions differ)."""
    start = row[chain].find(row[domain])
    whole = row[f"{chain}_wt"]
    if start < 0 or len(whole) != len(row[chain]):
        raise row.error(domain, f"expected a part of {chain!r} of the wild type's length")
    return whole[start : start + len(row[domain])]


def _fate(measurement: Measurement) -> str:
    if measurement.pkd is None:
        return "non-binder"
    return "measured" if measurement.censoring is Censoring.EXACT else "censored"


def _with_deltas(
    wild: list[Measurement], mutants: list[tuple[Measurement, Measurement]]
) -> tuple[Measurement, ...]:
    """Wild types, then mutants: non-binders bounded in their assay, ΔpKd to the wild type."""
    bounded = bound_non_binders(wild + [mutant for mutant, _ in mutants])
    result = bounded[: len(wild)]
    for mutant, (_, parent) in zip(bounded[len(wild) :], mutants, strict=True):
        if parent.censoring is not Censoring.EXACT or mutant.pkd is None or parent.pkd is None:
            result.append(dataclasses.replace(mutant, parent=parent.pair))
            continue
        delta = mutant.pkd - parent.pkd
        assert math.isfinite(delta)
        result.append(dataclasses.replace(mutant, delta_pkd=delta, parent=parent.pair))
    return tuple(result)


def load_joined(root: Path, *, as_published: bool = False) -> Imported:
    """The joined table under a data root; it holds no flags `as_published` could keep."""
    del as_published
    return import_joined(require(root, JOINED), locate(root, RAW))


def load_raw(root: Path, *, as_published: bool = False) -> Imported:
    """The published table under a data root, with the joined table's sequences if it is there."""
    del as_published
    return import_raw(require(root, RAW), locate(root, JOINED))


SKEMPI = Dataset(
    "skempi",
    "SKEMPI v2, antibody–antigen rows with sequences: wild types and mutants, pKd and ΔpKd",
    LICENCE,
    permissive=True,
    may_train=True,
    files=(JOINED, dataclasses.replace(RAW, required=False)),
    citation=CITATION,
    load=load_joined,
)
SKEMPI_RAW = Dataset(
    "skempi_raw",
    "SKEMPI v2 as published, sequences from the joined table where it is there",
    LICENCE,
    permissive=True,
    may_train=True,
    files=(RAW, dataclasses.replace(JOINED, required=False)),
    citation=CITATION,
    load=load_raw,
)
