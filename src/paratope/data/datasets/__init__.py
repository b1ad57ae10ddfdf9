"""Public sources of measured affinities, one importer per file, and the table that names them.

>>> sorted(DATASETS)[:2]
['ab1101', 'ab645']
"""

import dataclasses
from pathlib import Path

from paratope.core.errors import InputError, unknown_name
from paratope.data.datasets.ab_bind import AB_BIND
from paratope.data.datasets.abbibench import ABBIBENCH, abbibench_scores, published_spearman
from paratope.data.datasets.absci_her2 import ABSCI_HER2
from paratope.data.datasets.alphaseq import ALPHASEQ
from paratope.data.datasets.attabseq import AB645, AB1101, S1131
from paratope.data.datasets.dataset import (
    DataFile,
    Dataset,
    Imported,
    checked,
    data_root,
    filter_licence,
    is_permissive,
)
from paratope.data.datasets.flab import FLAB
from paratope.data.datasets.general import GENERAL
from paratope.data.datasets.plain import PLAIN
from paratope.data.datasets.sabdab import SABDAB, SABDAB_SUMMARY
from paratope.data.datasets.skempi import SKEMPI, SKEMPI_RAW
from paratope.data.datasets.training import training_rows

__all__ = [
    "DATASETS",
    "DataFile",
    "Dataset",
    "Imported",
    "abbibench_scores",
    "data_root",
    "filter_licence",
    "is_permissive",
    "load_dataset",
    "published_spearman",
    "training_rows",
]

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        SKEMPI,
        SKEMPI_RAW,
        SABDAB,
        SABDAB_SUMMARY,
        ABSCI_HER2,
        GENERAL,
        AB_BIND,
        AB645,
        AB1101,
        S1131,
        *ABBIBENCH,
        ALPHASEQ,
        FLAB,
        PLAIN,
    )
}


def load_dataset(
    name: str, root: Path | None = None, *, as_published: bool = False, antigen: str = ""
) -> Imported:
    """Import a data set.

    Parameters
    ----------
    name : str
        One of ``DATASETS``.
    root : Path, optional
        Folder of public data (default `data_root`); for a table format, the table.
    as_published : bool
        Keep flags as values and rows that are no antibodies, to compare with published numbers.
    antigen : str
        For a table format without the antigen's sequence: its residues.

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
    if not dataset.files:
        if root is None:
            raise InputError(f"{name} is a table format: give the path of a table")
        return dataset.load(Path(root), as_published=as_published, antigen=antigen)
    if antigen:
        raise InputError(f"{name} holds its antigens; an antigen goes with a table format only")
    folder = Path(root) if root is not None else data_root()
    imported = dataset.load(folder, as_published=as_published)
    different = checked(folder, dataset.files)
    return dataclasses.replace(imported, notes=imported.notes + different)
