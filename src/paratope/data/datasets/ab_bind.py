"""AB-Bind, and the sets AttABseq made of it and of SKEMPI: ΔΔG of mutants, for benchmarks only.

AB645 and AB1101 (AB-Bind) and S1131 (SKEMPI) hold every chain's sequence; AB-Bind as published has
none, so its rows get those of AB1101. Traps: ddG = 8 is AB-Bind's flag for "does not bind", not a
measurement; complexes that hold no heavy chain are no antibodies (receptors, inhibitors, Fc
fragments; all of S1131); some rows name mutations that their mutant chains do not carry. As
published, every row is kept with its value as it stands, and chain one is then the "heavy" one.
``Origin.row`` - 1 is the row index that other people's folds use.
"""

import dataclasses
import functools
import operator
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from paratope.core.censoring import Censoring
from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data.datasets.dataset import (
    DataFile,
    Dataset,
    Outcome,
    Source,
    SourceRow,
    celsius_to_K,
    has_heavy_domain,
)
from paratope.data.measurements import Conditions, Measurement, Origin
from paratope.molecules.sequences import Pair

# AttABseq's repository is MIT, but its rows come from AB-Bind, which states no terms.
LICENCE = "none stated"
CITATION = "Sirin et al. 2016, AB-Bind, Protein Sci. 25:393"
ATTABSEQ_CITATION = (
    "Jin et al. 2024, AttABseq, Brief. Bioinform. 25:bbae304; data of AB-Bind and SKEMPI"
)
_CHAINS = ("antibody_light_seq", "antibody_heavy_seq", "antigen_a_seq", "antigen_b_seq")
_COLUMNS = ("PDB", "Partners", "Mutation", *_CHAINS, *(f"{name}_mut" for name in _CHAINS), "ddG")
_COMMIT = (
    "https://raw.githubusercontent.com/ruofanjin/AttABseq/"
    "4cc1a9f46b1af1aad249192691255f7d51cb59f6/attention_ablation/k-cv_no-attention/data"
)
TABLE = DataFile(
    "ab_bind/AB-Bind_experimental_data.csv",
    sha256="078ab9b5c64459d5aa2e39cfdfbabdedcd946fa6bccfb49d81f59df2e175e29f",
    url="https://raw.githubusercontent.com/sarahsirin/AB-Bind-Database/"
    "f5af13df80000ad9e438a6ccf1147bd5f9d55dba/AB-Bind_experimental_data.csv",
    columns=tuple(
        "#PDB,Partners(A_B),Mutation,ddG(kcal/mol),Assay Name,Assay Temp (Celcius)".split(",")
    ),
    encoding="latin-1",
)
AB645_FILE = DataFile(
    "attabseq/AB645.csv",
    sha256="ae4d6666f39ede6f7426d7c841a60dbbfa6fa3d6916fefa0a282e226756ade6d",
    url=f"{_COMMIT}/AB645.csv",
    columns=_COLUMNS,
)
AB1101_FILE = DataFile(
    "attabseq/AB1101.csv",
    sha256="0afc90b92f78902148e814d92f173f3a203a1fd60026333e383e126be4a7f449",
    url=f"{_COMMIT}/AB1101.csv",
    columns=(*_COLUMNS, "Mutation2"),
)
S1131_FILE = DataFile(
    "attabseq/S1131.csv",
    sha256="8d454a13ad1070816ed956224d81e2f8cd95bce985aa56d794700afeaec74fe8",
    url=f"{_COMMIT}/S1131.csv",
    columns=("PDB", "Partners", "mutation", "a", "b", "a_mut", "b_mut", "ddG"),
)
_FLAG_DDG_KCAL_MOL = 8.0
# Complexes without a variable domain: receptors, inhibitors, and Fc fragments with their receptors;
# homology models of them have HM_ in front.
_NO_ANTIBODY = frozenset({"1AK4", "1FFW", "1JTG", "1KTZ", "3K2M", "1T83", "3WJJ"})


def split_mutations(text: str) -> tuple[str, ...]:
    """Mutations of one field; they are separated by commas or by nothing.

    >>> split_mutations("A:Y32A,D:R106A"), split_mutations("D:L483TD:V486P")
    (('A:Y32A', 'D:R106A'), ('D:L483T', 'D:V486P'))
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1:
        return tuple(parts)
    return tuple(re.findall(r"\w:[A-Z]-?\d+[A-Za-z]*?[A-Z](?=\w:|$)", text)) or tuple(parts)


def _substitutions(mutations: Sequence[str]) -> list[tuple[str, str]]:
    """Residues before and after each mutation, without chains and positions."""
    names = (name.split(":")[-1] for name in mutations)
    return [(name[:1], name[-1:]) for name in names]


def _pair(row: SourceRow, suffix: str, name: str) -> Pair:
    """Pair of a row's chains: of the parent (`suffix` empty) or of the mutant (``"_mut"``)."""
    if "a" in row.values:  # of S1131
        return row.pair((row[f"a{suffix}"], "", name), (row[f"b{suffix}"], ""))
    light, heavy, antigen_a, antigen_b = (row[f"{chain}{suffix}"] for chain in _CHAINS)
    if not heavy:
        heavy, light = light, ""
    antigen = f"{antigen_a}:{antigen_b}" if antigen_b else antigen_a
    return row.pair((heavy, light, name), (antigen, row.values.get("Protein-2", "")))


def _outcome(
    source: Source,
    row: SourceRow,
    pdb: str,
    ddg_kcal_mol: float,
    origin: Origin,
    conditions: Conditions,
) -> Outcome:
    """What a row with chains gives: as it stands, or without a value where its ddG is the flag."""
    parent, mutant = _pair(row, "", pdb), _pair(row, "_mut", pdb)
    measurement = Measurement(
        mutant,
        assay=f"{origin.source}:{pdb}",
        # at 298.15 K in every row, so that they stay in proportion to the published ones
        delta_pkd=ddg_kcal_mol_to_delta_pkd(ddg_kcal_mol),
        parent=parent,
        conditions=conditions,
        origin=origin,
    )
    if source.as_published:
        return "as published", measurement
    if not has_heavy_domain(parent.antibody.heavy):
        return "not an antibody", None
    changed = sum(
        sum(map(operator.ne, before, after)) + abs(len(before) - len(after))
        for molecules in zip(parent.residues, mutant.residues, strict=True)
        for before, after in zip(*molecules, strict=True)
    )
    # some lists name a residue as mutated to itself
    if changed < sum(before != after for before, after in _substitutions(origin.mutations)):
        return "mutation not in the mutant's chains", None
    if ddg_kcal_mol != _FLAG_DDG_KCAL_MOL:
        return "measured", measurement
    bound = dataclasses.replace(measurement, delta_pkd=None, censoring=Censoring.AT_MOST)
    return "flag ddG = 8 as censored", bound


def _bound_flags(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Give flagged rows their bound: at most the weakest ΔpKd of their assay, if it has any."""
    weakest: dict[str, float] = {}
    for row in measurements:
        if row.delta_pkd is not None:
            weakest[row.assay] = min(row.delta_pkd, weakest.get(row.assay, row.delta_pkd))
    return [
        dataclasses.replace(row, delta_pkd=weakest.get(row.assay)) if row.delta_pkd is None else row
        for row in measurements
    ]


def _read_attabseq(source: Source, file: DataFile, name: str) -> Iterator[Outcome]:
    for row in source.rows(file):
        values = row.values  # AB1101 has mutations separated in a column of its own
        text = values.get("Mutation2") or values.get("Mutation") or row["mutation"]
        complex_id, mutations = f"{row['PDB']}_{row['Partners']}", split_mutations(text)
        origin = Origin(name, row.row, LICENCE, complex_id, mutations, reference=ATTABSEQ_CITATION)
        conditions = Conditions(method=values.get("Assay Name", ""))
        yield _outcome(source, row, row["PDB"], row.number("ddG"), origin, conditions)
    if set(source.counts) == {"not an antibody"}:
        source.notes.append("no row holds an antibody; as_published keeps them for comparison")


def _key(complex_id: str, mutations: Sequence[str], ddg_kcal_mol: float) -> tuple[object, ...]:
    """Complex, residues before and after each mutation, and ddG: what renumbering leaves alone."""
    return complex_id, tuple(sorted(_substitutions(mutations))), round(ddg_kcal_mol, 3)


def _read_ab_bind(source: Source) -> Iterator[Outcome]:
    # AB1101 renumbers some residues and renames some chains; where keys repeat, both go by position
    waiting: dict[object, deque[SourceRow]] = defaultdict(deque)
    for row in source.rows(AB1101_FILE) if source.has(AB1101_FILE) else ():
        key = _key(row["PDB"], split_mutations(row["Mutation2"]), row.number("ddG"))
        waiting[key].append(row)
    for row in source.rows(TABLE):
        ddg_kcal_mol, mutations = row.number("ddG(kcal/mol)"), split_mutations(row["Mutation"])
        if not source.as_published and row["#PDB"].removeprefix("HM_") in _NO_ANTIBODY:
            yield "not an antibody", None
            continue
        candidates = waiting.get(_key(row["#PDB"], mutations, ddg_kcal_mol))
        if not candidates:
            yield "no sequences", None
            continue
        pdb, celsius = row["#PDB"], row.optional_number("Assay Temp (Celcius)")
        complex_id = f"{pdb}_{row['Partners(A_B)']}"
        origin = Origin("ab_bind", row.row, LICENCE, complex_id, mutations, reference=CITATION)
        conditions = Conditions(method=row["Assay Name"], temperature_K=celsius_to_K(celsius))
        yield _outcome(source, candidates.popleft(), pdb, ddg_kcal_mol, origin, conditions)
    if source.counts["no sequences"]:
        source.notes.append(
            f"{source.counts['no sequences']} rows have no sequences; {AB1101_FILE.path} "
            f"beside the table has those of nearly all"
        )


AB_BIND = Dataset(
    "ab_bind",
    "AB-Bind as published, sequences from AB1101 where it is there; benchmark only",
    LICENCE,
    may_train=False,
    read=_read_ab_bind,
    files=(TABLE, AB1101_FILE.optional()),
    citation=CITATION,
    bound=_bound_flags,
)
AB645, AB1101, S1131 = (
    Dataset(
        name,
        f"{summary}; benchmark only",
        LICENCE,
        may_train=False,
        read=functools.partial(_read_attabseq, file=file, name=name),
        files=(file,),
        citation=ATTABSEQ_CITATION,
        bound=_bound_flags,
    )
    for name, summary, file in (
        ("ab645", "AB-Bind's single mutations with sequences (AttABseq)", AB645_FILE),
        (
            "ab1101",
            "AB-Bind's single and multiple mutations with sequences (AttABseq)",
            AB1101_FILE,
        ),
        ("s1131", "SKEMPI interface mutations (AttABseq), no antibody among them", S1131_FILE),
    )
)
