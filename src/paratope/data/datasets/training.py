"""The rows that may train a model that is passed on, each pair from one source only."""

from collections import Counter
from pathlib import Path

from paratope.data.datasets import absci_her2, sabdab, skempi
from paratope.data.datasets.dataset import Imported, data_root, is_permissive, tally
from paratope.data.measurements import Measurement
from paratope.molecules.sequences import Pair

# In order of precedence: a pair measured in an earlier source is not taken again from a later one,
# as collections quote each other.
TRAINING_SOURCES = (skempi.SKEMPI, sabdab.SABDAB, absci_her2.ABSCI_HER2)


def residues_of(pair: Pair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a pair is, whatever it is called: the chains of antibody and antigen."""
    return pair.antibody.chains, pair.antigen.chains


def training_rows(root: Path | None = None) -> Imported:
    """Measurements of SKEMPI, SAbDab and Absci HER2 that may train a model passed on.

    A pair that two sources hold is taken from the first in the order above; replicates inside one
    source all stay. An entry that both hold under one PDB code with the same antibody, while the
    antigen is resolved to another length, is the same pair too.

    Parameters
    ----------
    root : Path, optional
        Folder of public data (default `data_root`).

    Returns
    -------
    Imported
        Counts are of measurements: by source, and left out.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    folder = Path(root) if root is not None else data_root()
    kept: list[Measurement] = []
    owner: dict[object, str] = {}
    counts: Counter[str] = Counter()
    for dataset in TRAINING_SOURCES:
        for row in dataset.load(folder).measurements:
            if not is_permissive(row.origin.licence):
                counts[f"{dataset.name}, terms not permissive"] += 1
                continue
            code = row.origin.complex_id.split("_")[0].lower()
            keys = (residues_of(row.pair), (row.pair.antibody.chains, code))
            first = next((owner[key] for key in keys if key in owner), dataset.name)
            if first != dataset.name:
                counts[f"{dataset.name}, pair already in {first}"] += 1
                continue
            for key in keys:
                owner.setdefault(key, dataset.name)
            counts[dataset.name] += 1
            kept.append(row)
    return Imported(tuple(kept), tally(counts))
