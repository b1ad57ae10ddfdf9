"""Rows of published tables, read strictly: errors name file, line and column."""

import contextlib
import csv
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from paratope.core.errors import InputError
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
