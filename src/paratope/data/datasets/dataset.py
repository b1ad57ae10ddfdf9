"""What a data set is: its files, its terms, and how its rows, read strictly, become measurements.

Errors name file, line and column.
"""

import contextlib
import csv
import dataclasses
import functools
import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Antibody, Antigen, Pair, clean_antibody, clean_antigen

MISSING = frozenset({"", "na", "n/a", "nan", "none", "null"})
UNKNOWN_ANTIGEN = "X"  # an antigen that a source only names: one residue of any kind
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_ZERO_CELSIUS_K = 273.15
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of a published table."""

    path: Path
    row: int  # From 1, header and blank lines not counted
    line: int  # Line of the file on which the row ends, from 1
    values: dict[str, str]  # By column, white space at the ends removed

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def text(self, column: str) -> str:
        """The value, empty if it is one of the words for a missing one (NA, None, ...)."""
        value = self.values[column]
        return "" if value.lower() in MISSING else value

    def number(self, column: str) -> float:
        """The value as a finite number; raises `InputError` otherwise."""
        value = self.values[column]
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self.error(column, f"expected a number, got {value!r}")
        return number

    def optional_number(self, column: str) -> float | None:
        """The value as a number, None if it is missing."""
        return self.number(column) if self.text(column) else None

    def positive_number(self, column: str, unit: str) -> float:
        """The value as a number above zero; raises `InputError` otherwise."""
        number = self.number(column)
        if number <= 0:
            raise self.error(column, f"expected a positive number of {unit}, got {number}")
        return number

    def read(self, column: str, parse: Callable[[str], _Result]) -> _Result:
        """The value as `parse` reads it, its `InputError` given file, line and column."""
        try:
            return parse(self.values[column])
        except InputError as problem:
            raise self.error(column, str(problem)) from problem

    def pair(self, antibody: tuple[str, str, str], antigen: tuple[str, str]) -> Pair:
        """The pair of (heavy, light, name) and (chains, name), its errors naming the row."""
        try:
            return Pair(_antibody(*antibody), _antigen(*antigen))
        except InputError as problem:
            raise InputError(f"{self.path}, line {self.line}: {problem}") from problem

    def error(self, column: str, problem: str) -> InputError:
        """An error that says where it is."""
        return InputError(f"{self.path}, line {self.line}, column {column!r}: {problem}")


# Sources repeat their chains: equal texts are cleaned once and give the same object.
@functools.lru_cache(maxsize=4096)
def _antigen(text: str, name: str) -> Antigen:
    return clean_antigen(text, name)[0]


@functools.lru_cache(maxsize=4096)
def _antibody(heavy: str, light: str, name: str) -> Antibody:
    # a light chain equal to the heavy one is how some sources write a single domain
    return clean_antibody(heavy, light if light != heavy else None, name)[0]


@functools.lru_cache(maxsize=65536)
def has_heavy_domain(chain: str) -> bool:
    """True if a chain holds the variable domain of a heavy chain."""
    return any(domain.chain == "H" for domain in find_domains(chain.upper()))


def celsius_to_K(celsius: float | None) -> float | None:
    """A temperature in degrees Celsius as Kelvin, None if it is missing.

    >>> celsius_to_K(25.0)
    298.15
    """
    return None if celsius is None else celsius + _ZERO_CELSIUS_K


@contextlib.contextmanager
def _open_table(path: Path, separator: str, encoding: str) -> Iterator[Any]:
    """A reader of a table's lines; whatever cannot be read is an `InputError`."""
    try:
        with path.open(newline="", encoding=encoding) as stream:
            yield csv.reader(stream, delimiter=separator, strict=True)
    except OSError as problem:
        raise InputError(f"{path}: cannot be read: {problem.strerror or problem}") from problem
    except (UnicodeDecodeError, csv.Error) as problem:
        raise InputError(
            f"{path}: not a text table, or truncated ({problem}): fetch it again"
        ) from problem


def header_of(path: Path) -> list[str]:
    """Column names of a comma-separated table; raises `InputError` if it cannot be read."""
    with _open_table(path, ",", "utf-8-sig") as reader:
        return [name.strip() for name in next(reader, [])]


def read_rows(
    path: Path,
    columns: Sequence[str],
    separator: str = ",",
    *,
    encoding: str = "utf-8-sig",
    pad: bool = False,
) -> Iterator[SourceRow]:
    """Rows of a table with a header, one at a time; with `pad`, rows that end early are filled up.

    Raises `InputError` if the file cannot be read, is empty or holds no rows, lacks one of
    `columns`, or a row has another number of fields than the header (as in a truncated file).
    """
    with _open_table(path, separator, encoding) as reader:
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise InputError(
                f"{path}: empty file; expected a table with the columns {list(columns)}"
            )
        missing = [name for name in columns if name not in header]
        if missing and len(header) == 1:
            other = next((s for s in _SEPARATORS if s != separator and s in header[0]), None)
            if other is not None:
                raise InputError(
                    f"{path}: separated by {_SEPARATORS[other]}, expected {_SEPARATORS[separator]}"
                )
        if missing:
            raise InputError(f"{path}: no column {missing}; columns found: {header}")
        index = 0
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            index += 1
            if pad:
                fields = fields + [""] * (len(header) - len(fields))
            if len(fields) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(fields)} fields where the header has "
                    f"{len(header)}; the file is truncated or damaged: fetch it again"
                )
            values = {name: field.strip() for name, field in zip(header, fields, strict=True)}
            yield SourceRow(path, index, reader.line_num, values)
        if index == 0:
            raise InputError(f"{path}: a header but no rows; the file is truncated: fetch it again")


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
