"""Public sources of measured affinities: the table that names them, and their import.

A source is one `Dataset`: its files with their columns and checksums, its terms, and a function
that turns each row into a measurement, or into a few words that say why it gives none. Every row
is counted. To add a source, write such a file and put it into `DATASETS`.

>>> sorted(DATASETS)[:2]
['ab1101', 'ab645']
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from paratope.core.errors import InputError, unknown_name
from paratope.data.datasets.ab_bind import AB645, AB1101, AB_BIND, S1131
from paratope.data.datasets.abbibench import ABBIBENCH, abbibench_scores, published_spearman
from paratope.data.datasets.absci_her2 import ABSCI_HER2
from paratope.data.datasets.curated import CURATED
from paratope.data.datasets.dataset import (
    UNKNOWN_ANTIGEN,
    DataFile,
    Dataset,
    Imported,
    Source,
    data_root,
    filter_licence,
    is_permissive,
    locate,
    sha256_of,
    tally,
)
from paratope.data.datasets.formats import ALPHASEQ, FLAB, PLAIN
from paratope.data.datasets.general import GENERAL
from paratope.data.datasets.sabdab import SABDAB, SABDAB_SUMMARY
from paratope.data.datasets.skempi import SKEMPI, SKEMPI_RAW
from paratope.data.measurements import Measurement

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
        *(SKEMPI, SKEMPI_RAW, SABDAB, SABDAB_SUMMARY, ABSCI_HER2, GENERAL),
        *(AB_BIND, AB645, AB1101, S1131, *ABBIBENCH, *CURATED.values(), ALPHASEQ, FLAB, PLAIN),
    )
}
# In order of precedence: a pair measured in an earlier source is not taken again from a later one,
# as collections quote each other. `sabdab_full` supersedes `sabdab`, some antigens of which are
# kept for judging models on what none was trained on.
_TRAINING_SOURCES = (
    *(SKEMPI, CURATED["sabdab_full"], CURATED["saaint_manual"], ABSCI_HER2),
    *(CURATED[name] for name in ("hie2023", "shanker2024", "magma_319345", "magma_2221c06")),
)


def load_dataset(
    name: str,
    root: Path | None = None,
    *,
    as_published: bool = False,
    antigen: str = "",
    columns: Mapping[str, str] | None = None,
    take: Collection[str] = (),
    sheet: str | None = None,
) -> Imported:
    """Import a data set of ``DATASETS``.

    `root` is the folder of public data (default `data_root`); for a table format, the table, with
    the residues of its `antigen` where it does not hold them, and its `sheet`; `columns` and `take`
    are those of `paratope.data.tables.ReadOptions`. `as_published` keeps flags as values and rows
    that are no antibodies, to compare with published numbers. Raises `InputError` if the
    name is unknown, a file is missing (the message says which to put where) or damaged.
    """
    if name not in DATASETS:
        raise InputError(unknown_name("data set", name, DATASETS))
    if sheet is not None and name != "plain":
        raise InputError(f"{name} is read from text files; a sheet goes with plain tables only")
    dataset = DATASETS[name]
    if not dataset.files:
        if root is None:
            raise InputError(f"{name} is a table format: give the path of a table")
        return dataset.load(Source(Path(root), as_published, antigen, columns, take, sheet))
    if antigen:
        raise InputError(f"{name} holds its antigens; an antigen goes with a table format only")
    if columns or take:
        raise InputError(f"{name} has columns of its own; --columns and --take go with a format")
    folder = Path(root) if root is not None else data_root()
    imported = dataset.load(Source(folder, as_published))
    changed = tuple(
        f"{file.path} is not the file this importer was written for "
        f"(expected SHA-256 {file.sha256[:12]}…): rows may differ"
        for file in dataset.files
        if (path := locate(folder, file)) is not None and sha256_of(path) != file.sha256
    )
    return dataclasses.replace(imported, notes=imported.notes + changed)


def training_rows(root: Path | None = None) -> Imported:
    """Measurements that may train a model that is passed on.

    Of SKEMPI, SAbDab (`sabdab_full`), SAAINT-DB, Absci HER2 and four sets of campaigns. A pair that
    two sources hold is taken from the first of them; replicates inside one source all stay. An
    entry that both hold under one PDB code with the same antibody, while the antigen is resolved to
    another length, is the same pair too. Rows whose antigen's residues are not known are left out.
    Counts are of measurements: by source, and left out. Raises `InputError` if a file is missing or
    damaged.
    """
    folder = Path(root) if root is not None else data_root()
    kept: list[Measurement] = []
    first_source: dict[object, str] = {}
    counts: Counter[str] = Counter()
    for dataset in _TRAINING_SOURCES:
        for row in dataset.load(Source(folder)).measurements:
            if not is_permissive(row.origin.licence):
                counts[f"{dataset.name}, terms not permissive"] += 1
                continue
            if row.pair.antigen.chains == (UNKNOWN_ANTIGEN,):
                counts[f"{dataset.name}, antigen not known"] += 1
                continue
            antibody = row.pair.antibody.chains
            pdb_code = row.origin.complex_id.split("_")[0].lower()
            keys = ((antibody, row.pair.antigen.chains), (antibody, pdb_code))
            first = next((first_source[key] for key in keys if key in first_source), dataset.name)
            if first != dataset.name:
                counts[f"{dataset.name}, pair already in {first}"] += 1
                continue
            for key in keys:
                first_source.setdefault(key, dataset.name)
            counts[dataset.name] += 1
            kept.append(row)
    return Imported(tuple(kept), tally(counts))
