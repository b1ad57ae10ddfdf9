"""Public sources of measured affinities, one importer per file, and the table that names them.

>>> sorted(DATASETS)[:2]
['absci_her2', 'general']
"""

from pathlib import Path

from paratope.datasets.absci_her2 import ABSCI_HER2
from paratope.datasets.dataset import (
    DataFile,
    Dataset,
    Imported,
    checked,
    data_root,
    filter_licence,
    is_permissive,
)
from paratope.datasets.general import GENERAL
from paratope.datasets.sabdab import SABDAB
from paratope.datasets.skempi import SKEMPI, SKEMPI_RAW
from paratope.datasets.training import training_rows
from paratope.errors import InputError, unknown_name

__all__ = [
    "DATASETS",
    "DataFile",
    "Dataset",
    "Imported",
    "data_root",
    "filter_licence",
    "is_permissive",
    "load_dataset",
    "training_rows",
]

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        SKEMPI,
        SKEMPI_RAW,
        SABDAB,
        ABSCI_HER2,
        GENERAL,
    )
}


def load_dataset(name: str, root: Path | None = None, *, as_published: bool = False) -> Imported:
    """Import a data set.

    Parameters
    ----------
    name : str
        One of ``DATASETS``.
    root : Path, optional
        Folder of public data (default `data_root`); for a table format, the table.
    as_published : bool
        Keep flags as values and rows that are no antibodies, for comparison with published numbers.

    Returns
    -------
    Imported

    Raises
    ------
    InputError
        If the name is unknown, a file is missing (the message says which to put where) or damaged.
    """
    if name not in DATASETS:
        raise InputError(unknown_name("data set", name, DATASETS))
    dataset = DATASETS[name]
    if not dataset.files and root is None:
        raise InputError(f"{name} is a table format: give the path of a table")
    folder = Path(root) if root is not None else data_root()
    imported = dataset.load(folder, as_published=as_published)
    different = checked(folder, dataset.files)
    if not different:
        return imported
    return Imported(
        imported.measurements, imported.counts, imported.notes + different, imported.added
    )
