"""AttABseq's AB645, AB1101 (from AB-Bind) and S1131 (from SKEMPI): ΔΔG with every chain's sequence.

For benchmarks only. Traps: ddG = 8 is AB-Bind's flag for "does not bind", not a measurement;
complexes that hold no heavy chain are no antibodies (receptors, inhibitors, Fc fragments; all of
S1131); some rows name mutations that their mutant chains do not carry. ``Origin.row`` - 1 is the
row index that other people's folds use.
"""

import functools
import re
from collections import Counter
from pathlib import Path

from paratope.core.censoring import Censoring
from paratope.data.datasets.dataset import DataFile, Dataset, Imported, require, tally
from paratope.data.datasets.flagged import bound_flags, delta_of
from paratope.data.datasets.rows import SourceRow, pair_of, read_rows
from paratope.data.measurements import Conditions, Measurement, Origin
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Pair

# AttABseq's repository is MIT, but its rows come from AB-Bind, which states no terms.
LICENCE = "none stated"
CITATION = "Jin et al. 2024, AttABseq, Brief. Bioinform. 25:bbae304; data of AB-Bind and SKEMPI"
_COMMIT = (
    "https://raw.githubusercontent.com/ruofanjin/AttABseq/"
    "4cc1a9f46b1af1aad249192691255f7d51cb59f6/attention_ablation/k-cv_no-attention/data"
)
AB645_FILE = DataFile(
    "attabseq/AB645.csv",
    sha256="ae4d6666f39ede6f7426d7c841a60dbbfa6fa3d6916fefa0a282e226756ade6d",
    url=f"{_COMMIT}/AB645.csv",
)
AB1101_FILE = DataFile(
    "attabseq/AB1101.csv",
    sha256="0afc90b92f78902148e814d92f173f3a203a1fd60026333e383e126be4a7f449",
    url=f"{_COMMIT}/AB1101.csv",
)
S1131_FILE = DataFile(
    "attabseq/S1131.csv",
    sha256="8d454a13ad1070816ed956224d81e2f8cd95bce985aa56d794700afeaec74fe8",
    url=f"{_COMMIT}/S1131.csv",
)
FLAGGED = "flag ddG = 8 as censored"
_CHAINS = ("antibody_light_seq", "antibody_heavy_seq", "antigen_a_seq", "antigen_b_seq")
COLUMNS = ("PDB", "Partners", "Mutation", *_CHAINS, *(f"{name}_mut" for name in _CHAINS), "ddG")
S1131_COLUMNS = ("PDB", "Partners", "mutation", "a", "b", "a_mut", "b_mut", "ddG")


def split_mutations(text: str) -> tuple[str, ...]:
    """Mutations of one field; they are separated by commas or by nothing.

    >>> split_mutations("A:Y32A,D:R106A"), split_mutations("D:L483TD:V486P")
    (('A:Y32A', 'D:R106A'), ('D:L483T', 'D:V486P'))
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1:
        return tuple(parts)
    return tuple(re.findall(r"\w:[A-Z]-?\d+[A-Za-z]*?[A-Z](?=\w:|$)", text)) or tuple(parts)


def expected_changes(mutations: tuple[str, ...]) -> int:
    """How many residues a mutant differs in; some lists name a residue as mutated to itself."""
    letters = (name.split(":")[-1] for name in mutations)
    return sum(name[:1] != name[-1:] for name in letters)


def import_table(path: Path, source: str, *, as_published: bool = False) -> Imported:
    """Measurements of AB645 or AB1101.

    Parameters
    ----------
    path : Path
    source : str
        Name of the set, for the origin and the assays.
    as_published : bool
        Keep every row with its value as it stands: flags, complexes without a heavy chain (chain
        one is then the "heavy" one), mutations not carried.

    Returns
    -------
    Imported
        With ``delta_pkd`` and the parent's pair; flagged rows are at most the weakest ΔpKd of their
        complex.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, COLUMNS):
        parent, mutant = chains_of(row, "", row["PDB"]), chains_of(row, "_mut", row["PDB"])
        delta, flagged = delta_of(row, "ddG")
        fate = "as published" if as_published else _fate(row, flagged)
        counts[fate] += 1
        if fate.startswith(("not", "mutation")):
            continue
        measurements.append(
            _measurement(row, source, mutant, parent, None if fate == FLAGGED else delta)
        )
    return Imported(tuple(bound_flags(measurements)), tally(counts))


def chains_of(row: SourceRow, suffix: str, name: str) -> Pair:
    """Pair of a row's chains: of the parent (`suffix` empty) or of the mutant (``"_mut"``)."""
    light, heavy, antigen_a, antigen_b = (row[f"{chain}{suffix}"] for chain in _CHAINS)
    if not heavy:
        heavy, light = light, ""
    antigen = f"{antigen_a}:{antigen_b}" if antigen_b else antigen_a
    return pair_of(row, (heavy, light, name), (antigen, row.values.get("Protein-2", "")))


def mutations_of(row: SourceRow) -> tuple[str, ...]:
    """Mutations of a row; AB1101 has them separated in a column of its own."""
    return split_mutations(row.values.get("Mutation2") or row["Mutation"])


def is_antibody(row: SourceRow) -> bool:
    """True if the row has a heavy chain."""
    return bool(row["antibody_heavy_seq"])


def is_carried(row: SourceRow) -> bool:
    """True if the mutant's chains differ from the parent's in as many residues as are named."""
    changed = 0
    for chain in _CHAINS:
        before, after = row[chain], row[f"{chain}_mut"]
        changed += sum(a != b for a, b in zip(before, after, strict=False))
        changed += abs(len(before) - len(after))
    return changed >= expected_changes(mutations_of(row))


def _fate(row: SourceRow, flagged: bool) -> str:
    if not is_antibody(row):
        return "not an antibody"
    if not is_carried(row):
        return "mutation not in the mutant's chains"
    return FLAGGED if flagged else "measured"


def _measurement(
    row: SourceRow, source: str, mutant: Pair, parent: Pair, delta: float | None
) -> Measurement:
    return Measurement(
        mutant,
        censoring=Censoring.AT_MOST if delta is None else Censoring.EXACT,
        assay=f"{source}:{row['PDB']}",
        delta_pkd=delta,
        parent=parent,
        conditions=Conditions(method=row.values.get("Assay Name", "")),
        origin=Origin(
            source,
            row.row,
            LICENCE,
            f"{row['PDB']}_{row['Partners']}",
            mutations_of(row),
            reference=CITATION,
        ),
    )


def import_s1131(path: Path, *, as_published: bool = False) -> Imported:
    """Measurements of S1131; only `as_published` gives any, unless a chain is an antibody domain.

    Parameters and errors as `import_table`.
    """
    measurements: list[Measurement] = []
    counts: Counter[str] = Counter()
    for row in read_rows(path, S1131_COLUMNS):
        delta, _ = delta_of(row, "ddG")
        parent = pair_of(row, (row["a"], "", row["PDB"]), (row["b"], ""))
        mutant = pair_of(row, (row["a_mut"], "", row["PDB"]), (row["b_mut"], ""))
        if as_published:
            counts["as published"] += 1
        elif not _has_heavy_domain(parent.antibody.heavy):
            counts["not an antibody"] += 1
            continue
        else:
            counts["measured"] += 1
        name = f"{row['PDB']}_{row['Partners']}"
        measurements.append(
            Measurement(
                mutant,
                assay=f"s1131:{row['PDB']}",
                delta_pkd=delta,
                parent=parent,
                origin=Origin("s1131", row.row, LICENCE, name, split_mutations(row["mutation"])),
            )
        )
    notes = ()
    if not measurements:
        notes = ("no row holds an antibody; as_published keeps them for comparison",)
    return Imported(tuple(measurements), tally(counts), notes)


@functools.cache
def _has_heavy_domain(chain: str) -> bool:
    return any(domain.chain == "H" for domain in find_domains(chain))


def load_ab645(root: Path, *, as_published: bool = False) -> Imported:
    """AB645 under a data root."""
    return import_table(require(root, AB645_FILE), "ab645", as_published=as_published)


def load_ab1101(root: Path, *, as_published: bool = False) -> Imported:
    """AB1101 under a data root."""
    return import_table(require(root, AB1101_FILE), "ab1101", as_published=as_published)


def load_s1131(root: Path, *, as_published: bool = False) -> Imported:
    """S1131 under a data root."""
    return import_s1131(require(root, S1131_FILE), as_published=as_published)


AB645 = Dataset(
    "ab645",
    "AB-Bind's single mutations with sequences (AttABseq); benchmark only",
    LICENCE,
    permissive=False,
    may_train=False,
    files=(AB645_FILE,),
    citation=CITATION,
    load=load_ab645,
)
AB1101 = Dataset(
    "ab1101",
    "AB-Bind's single and multiple mutations with sequences (AttABseq); benchmark only",
    LICENCE,
    permissive=False,
    may_train=False,
    files=(AB1101_FILE,),
    citation=CITATION,
    load=load_ab1101,
)
S1131 = Dataset(
    "s1131",
    "SKEMPI interface mutations (AttABseq), no antibody among them; benchmark only",
    LICENCE,
    permissive=False,
    may_train=False,
    files=(S1131_FILE,),
    citation=CITATION,
    load=load_s1131,
)
