"""What a data set is: its files, its terms, and how its rows become measurements."""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from paratope.core.errors import InputError
from paratope.data.datasets.rows import SourceRow, read_rows
from paratope.data.measurements import Measurement

# Short names of terms (SPDX where there is one) -> may the rows be used and passed on freely,
# commercially too, against attribution?
LICENCES: dict[str, bool] = {
    "CC-BY-4.0": True,
    "CC0-1.0": True,
    "MIT": True,
    "Apache-2.0": True,
    "BSD-3-Clause": True,
    "BSD-3-Clause-Clear": True,
    "SKEMPI-v2": True,  # free to use, cite Jankauskaite et al. 2019
    "own": True,  # the user's own table
    "none stated": False,
    "non-commercial": False,
    "CC-BY-NC-4.0": False,
    "CC-BY-NC-SA-4.0": False,
}


@dataclasses.dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a data set, and how to read it."""

    path: str  # relative to the data root, such as "skempi_v2/skempi_v2.csv"
    sha256: str  # of the file its importer was written for
    url: str = ""  # where it is published; empty where it was derived from published files
    made: str = ""  # a derived file: from what and how
    required: bool = True  # False where the importer reads it only if it is there
    columns: tuple[str, ...] = ()  # those that must be there
    separator: str = ","
    encoding: str = "utf-8-sig"
    pad: bool = False  # rows may end early; the fields that lack are empty

    def optional(self) -> "DataFile":
        """The same file, for a data set that can do without it."""
        return dataclasses.replace(self, required=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Imported:
    """What an importer made of a source."""

    # In file order; measurements that are no row of their own (wild types) come first
    measurements: tuple[Measurement, ...]
    # What became of every row of the file; the numbers sum to the number of rows
    counts: dict[str, int]
    notes: tuple[str, ...] = ()  # What a reader should know, in plain words
    # Measurements that are no row of their own, such as the wild types of a table of mutants
    added: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows of the file."""
        return sum(self.counts.values())


@dataclasses.dataclass(slots=True)
class Source:
    """An import under way: where its files are, what is asked for, and what is noted."""

    path: Path  # the data root; for a format, the table itself
    as_published: bool = False  # see `load_dataset`
    antigen: str = ""
    columns: Mapping[str, str] | None = None  # of a format: canonical name to the table's column
    take: Collection[str] = ()  # types of value read as if they were Kd
    sheet: str | None = None
    counts: Counter[str] = dataclasses.field(default_factory=Counter)  # rows read so far, by fate
    notes: list[str] = dataclasses.field(default_factory=list)  # see `Imported`
    added: dict[str, int] = dataclasses.field(default_factory=dict)

    def has(self, file: DataFile) -> bool:
        """True if the file is under the data root."""
        return locate(self.path, file) is not None

    def rows(self, file: DataFile) -> Iterator[SourceRow]:
        """Rows of a file; raises `InputError` if it is missing or damaged."""
        path = require(self.path, file)
        return read_rows(path, file.columns, file.separator, encoding=file.encoding, pad=file.pad)


# What became of a row, in a few words that are counted (None: no row of its own), and its
# measurement if it gives one.
Outcome = tuple[str | None, Measurement | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """A public source, or a published table format, that can be imported."""

    name: str
    summary: str  # One line
    licence: str  # Terms of the source; rows carry their own in ``Origin.licence``
    # True if at least some rows may train a model that is passed on; which ones,
    # `paratope.data.datasets.training_rows` knows
    may_train: bool
    # The table first. Empty for a format, which reads the table it is given.
    files: tuple[DataFile, ...]
    citation: str
    # Yields an `Outcome` for each row of a `Source`, in file order
    read: Callable[[Source], Iterator[Outcome]]
    # Gives measurements without a value their bound, once all are read
    bound: Callable[[Sequence[Measurement]], list[Measurement]] = list

    @property
    def permissive(self) -> bool:
        """True if every row may be used freely against attribution."""
        return is_permissive(self.licence)

    def load(self, source: Source) -> Imported:
        """Import the files under a data root, or the table of a format; see `load_dataset`."""
        measurements = []
        for fate, measurement in self.read(source):
            if fate is not None:
                source.counts[fate] += 1
            if measurement is not None:
                measurements.append(measurement)
        rows = tuple(self.bound(measurements))
        return Imported(rows, tally(source.counts), tuple(source.notes), source.added)


def data_root() -> Path:
    """The folder of public data: ``PARATOPE_DATA``, else ``data`` in the cache folder.

    The cache folder is ``PARATOPE_CACHE``, by default ``~/.cache/paratope``.
    """
    cache = os.environ.get("PARATOPE_CACHE") or "~/.cache/paratope"
    return Path(os.environ.get("PARATOPE_DATA") or f"{cache}/data").expanduser()


def locate(root: Path, file: DataFile) -> Path | None:
    """The file under `root`, in its own folder or directly in `root`; None if it is in neither."""
    candidates = (root / file.path, root / Path(file.path).name)
    return next((path for path in candidates if path.is_file()), None)


def require(root: Path, file: DataFile) -> Path:
    """The file under `root`; an `InputError` that says what to put where if it is missing."""
    path = locate(root, file)
    if path is None:
        origin = f"It is published at {file.url}" if file.url else f"It was made thus: {file.made}"
        raise InputError(
            f"{root / file.path}: no such file. {origin}; expected SHA-256 {file.sha256}. "
            f"Put it there, or set PARATOPE_DATA to the folder that holds it; "
            f"`paratope data fetch` downloads published files"
        )
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_permissive(licence: str) -> bool:
    """True if terms of this name let rows be used freely against attribution; unknown terms do not.

    >>> is_permissive("CC-BY-4.0"), is_permissive("non-commercial")
    (True, False)
    """
    return LICENCES.get(licence, False)


def filter_licence(imported: Imported, terms: str = "permissive") -> Imported:
    """The measurements whose terms allow a use (``"permissive"`` or ``"any"``), row by row.

    Counts stay, as they are about rows read; a note says how many measurements were left out.
    Raises `InputError` if `terms` is neither.
    """
    if terms == "any":
        return imported
    if terms != "permissive":
        raise InputError(f"unknown licence filter {terms!r}; valid names: any, permissive")
    kept = tuple(row for row in imported.measurements if is_permissive(row.origin.licence))
    left_out = len(imported.measurements) - len(kept)
    note = f"{left_out} of {len(imported.measurements)} measurements left out: terms not permissive"
    notes = imported.notes + ((note,) if left_out else ())
    return dataclasses.replace(imported, measurements=kept, notes=notes)


def tally(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts without the zeros, largest first.

    >>> tally({"a": 0, "b": 2, "c": 5})
    {'c': 5, 'b': 2}
    """
    return dict(sorted(((k, n) for k, n in counts.items() if n), key=lambda item: -item[1]))
