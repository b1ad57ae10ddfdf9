"""AB-Bind as published: ΔΔG of mutants; AB1101 gives their sequences where it is there.

For benchmarks only (no terms are stated). The traps are those of `paratope.data.datasets.attabseq`.
AB1101 renumbers some residues and renames some chains, so rows meet by complex, residues before
and after the mutations, and ddG.
"""

import dataclasses
from collections import Counter, defaultdict, deque
from pathlib import Path

from paratope.core.censoring import Censoring
from paratope.data.datasets import attabseq
from paratope.data.datasets.dataset import DataFile, Dataset, Imported, locate, require, tally
from paratope.data.datasets.flagged import bound_flags, delta_of
from paratope.data.datasets.rows import SourceRow, celsius_as_K, read_rows
from paratope.data.measurements import Conditions, Measurement, Origin

LICENCE = "none stated"
CITATION = "Sirin et al. 2016, AB-Bind, Protein Sci. 25:393"
TABLE = DataFile(
    "ab_bind/AB-Bind_experimental_data.csv",
    sha256="078ab9b5c64459d5aa2e39cfdfbabdedcd946fa6bccfb49d81f59df2e175e29f",
    url="https://raw.githubusercontent.com/sarahsirin/AB-Bind-Database/"
    "f5af13df80000ad9e438a6ccf1147bd5f9d55dba/AB-Bind_experimental_data.csv",
)
DDG = "ddG(kcal/mol)"
COLUMNS = ("#PDB", "Partners(A_B)", "Mutation", DDG, "Assay Name", "Assay Temp (Celcius)")
# Complexes without a variable domain: receptors, inhibitors, and Fc fragments with their receptors;
# homology models of them have HM_ in front.
NO_ANTIBODY = frozenset({"1AK4", "1FFW", "1JTG", "1KTZ", "3K2M", "1T83", "3WJJ"})


def import_table(
    path: Path, sequences: Path | None = None, *, as_published: bool = False
) -> Imported:
    """Measurements of AB-Bind's table.

    Parameters
    ----------
    path : Path
        AB-Bind's table.
    sequences : Path, optional
        AB1101. Without it there are no sequences, hence no measurements: counts and a note say so.
    as_published : bool
        Keep flags as values and complexes that hold no antibody.

    Returns
    -------
    Imported

    Raises
    ------
    InputError
        If a file is damaged.
    """
    waiting = _sequences(sequences) if sequences is not None else {}
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, COLUMNS, encoding="latin-1"):
        delta, flagged = delta_of(row, DDG)
        if not as_published and row["#PDB"].removeprefix("HM_") in NO_ANTIBODY:
            counts["not an antibody"] += 1
            continue
        queue = waiting.get(_key(row, "#PDB", row["Mutation"], DDG))
        if not queue:
            counts["no sequences"] += 1
            continue
        match = queue.popleft()
        if not as_published and not attabseq.is_carried(match):
            counts["mutation not in the mutant's chains"] += 1
            continue
        flagged = flagged and not as_published
        fate = attabseq.FLAGGED if flagged else "measured"
        counts["as published" if as_published else fate] += 1
        measurements.append(_measurement(row, match, None if flagged else delta))
    notes = ()
    if counts["no sequences"]:
        notes = (
            f"{counts['no sequences']} rows have no sequences; {attabseq.AB1101_FILE.path} "
            f"beside the table has those of nearly all",
        )
    return Imported(tuple(bound_flags(measurements)), tally(counts), notes)


Key = tuple[str, tuple[str, ...], float]


def _key(row: SourceRow, complex_column: str, mutations: str, ddg_column: str) -> Key:
    """Complex, residues before and after each mutation, and ddG: what renumbering leaves alone."""
    names = (name.split(":")[-1] for name in attabseq.split_mutations(mutations))
    letters = tuple(sorted(name[:1] + name[-1:] for name in names))
    return row[complex_column], letters, round(row.number(ddg_column), 3)


def _sequences(path: Path) -> dict[Key, deque[SourceRow]]:
    """Rows of AB1101 by key, in file order."""
    waiting: dict[Key, deque[SourceRow]] = defaultdict(deque)
    for row in read_rows(path, (*attabseq.COLUMNS, "Mutation2")):
        waiting[_key(row, "PDB", row["Mutation2"], "ddG")].append(row)
    return waiting


def _measurement(row: SourceRow, match: SourceRow, delta: float | None) -> Measurement:
    name = f"{row['#PDB']}_{row['Partners(A_B)']}"
    return Measurement(
        attabseq.chains_of(match, "_mut", row["#PDB"]),
        censoring=Censoring.AT_MOST if delta is None else Censoring.EXACT,
        assay=f"ab_bind:{row['#PDB']}",
        delta_pkd=delta,
        parent=attabseq.chains_of(match, "", row["#PDB"]),
        conditions=Conditions(
            method=row["Assay Name"], temperature_K=celsius_as_K(row, "Assay Temp (Celcius)")
        ),
        origin=Origin(
            "ab_bind",
            row.row,
            LICENCE,
            name,
            attabseq.split_mutations(row["Mutation"]),
            reference=CITATION,
        ),
    )


def load(root: Path, *, as_published: bool = False) -> Imported:
    """AB-Bind under a data root, with AB1101's sequences where they are there."""
    sequences = locate(root, attabseq.AB1101_FILE)
    return import_table(require(root, TABLE), sequences, as_published=as_published)


AB_BIND = Dataset(
    "ab_bind",
    "AB-Bind as published, sequences from AB1101 where it is there; benchmark only",
    LICENCE,
    permissive=False,
    may_train=False,
    files=(TABLE, dataclasses.replace(attabseq.AB1101_FILE, required=False)),
    citation=CITATION,
    load=load,
)
