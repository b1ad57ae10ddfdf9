"""Opening what a user hands over: paths, stdin, file objects; gzip, encodings, kinds of file.

What packed files unpack to is bounded, and checked before anything is built of it.
"""

import codecs
import contextlib
import dataclasses
import functools
import gzip
import io
import os
import re
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias

from paratope.core.errors import InputError

Source: TypeAlias = str | os.PathLike[str] | IO[bytes]

_CHUNK_BYTES = 1 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"
# Control characters that no text file holds: all but tab, line feed, form feed, carriage return.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# By their byte-order marks; that of UTF-16 begins the one of UTF-32.
_MARKED = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What is said of text that does not say what it is.
_UNMARKED = {
    "cp1252": "Windows-1252 (Latin-1), as it is not UTF-8",
    "utf-16-le": "UTF-16 without a byte-order mark",
    "utf-16-be": "UTF-16 without a byte-order mark",
}
_MAGIC = {
    b"PAR1": "parquet",
    b"PK\x03\x04": "xlsx",
    b"\xd0\xcf\x11\xe0": "xls",
    b"%PDF": "PDF",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}

MAX_COLUMNS = 16_384  # As many as the widest sheet has
_MAX_NAME_CHARACTERS = 4096
# Tables of one antigen and the variants of one antibody shrink 30 to 90 times
_MAX_RATIO = 150
_FREE_BYTES, _FREE_TEXT_BYTES = 1 << 24, 1 << 29  # Below these any ratio is harmless
# Cells of the rectangle that holds a sheet's values: how many are harmless, how many for each value
_FREE_CELLS, _CELLS_PER_VALUE = 20_000_000, 20
_CELL = re.compile(
    rb"""<(?:\w+:)?c\s(?:[^>]*?\s)?r=["']([A-Z]{1,3})(\d{1,7})["'][^>]*(?<!/)>\s*<(?:\w+:)?[vi]"""
)
# How far a sheet may reach that has such a reference
_ROWS = {min(10**n, 1 << 20): re.compile(rb"""r=["'][A-Z]{1,3}\d{%d}""" % n) for n in (7, 6, 5)}
_COLUMNS = {n: re.compile(rb"""r=["'][A-Z]{%d}""" % k) for n, k in ((MAX_COLUMNS, 3), (702, 2))}
_SHARED = re.compile(rb"""\st=["']s["'][^>]*>\s*<(?:\w+:)?v>\s*(\d{1,9})""")


class SheetPath(str):
    """Path of an XLSX file of which one sheet, by its name, is to be read.

    >>> path = SheetPath("plates.xlsx", "round 2")
    >>> path, path.sheet
    ('plates.xlsx', 'round 2')
    """

    sheet: str

    def __new__(cls, path: str | os.PathLike[str], sheet: str) -> "SheetPath":
        """The path with the sheet's name beside it."""
        self = super().__new__(cls, os.fspath(path))
        self.sheet = sheet
        return self


@dataclasses.dataclass(slots=True)
class Opened:
    """An opened source: what it is called, what it is, its bytes (seekable, not compressed)."""

    name: str
    kind: str  # ``"text"``, ``"parquet"`` or ``"xlsx"``
    suffix: str  # Of the file's name, lower case, ``.gz`` apart; empty for stdin
    stream: IO[bytes]
    sheet: str | None = None  # Of a workbook, if the caller chose
    # What a reader should know about how it was read
    notes: list[str] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def text(self) -> Iterator[io.TextIOWrapper]:
        """The lines, line ends kept as they are; UTF-8, UTF-16, UTF-32 or Windows-1252."""
        self.stream.seek(0)
        wide = _wide_encoding(self.stream.read(1 << 16))
        line = 1
        for encoding in (wide,) if wide else ("utf-8-sig", "cp1252"):
            decoder, line = codecs.getincrementaldecoder(encoding)(), 1
            self.stream.seek(0)
            try:
                while chunk := self.stream.read(_CHUNK_BYTES):
                    line += decoder.decode(chunk).count("\n")
                decoder.decode(b"", final=True)
                break
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
        else:
            expected = wide[:6].upper() if wide else "UTF-8 or Windows-1252"
            problem = f"this is not {expected} text; save the file as UTF-8"
            raise InputError(f"{self.name}: line {line}: {problem}")
        if encoding in _UNMARKED:
            self.notes.append(f"{self.name}: read as {_UNMARKED[encoding]}")
        self.stream.seek(0)
        wrapper = io.TextIOWrapper(self.stream, encoding=encoding, newline="")
        try:
            yield wrapper
        finally:
            wrapper.detach()


def _wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 by its mark, or UTF-16 where every other byte is zero; empty if neither."""
    marked = next((name for mark, name in _MARKED.items() if head.startswith(mark)), "")
    if marked or len(head) < 4:
        return marked
    high, low = (head[start::2].count(0) / len(head[start::2]) for start in (0, 1))
    if max(high, low) < 0.7 or min(high, low) > 0.1:
        return ""
    return "utf-16-be" if high > low else "utf-16-le"


def source_name(source: Source) -> str:
    """What to call a source in messages."""
    if isinstance(source, str | os.PathLike):
        return "stdin" if str(source) == "-" else str(source)
    return str(getattr(source, "name", "input"))


@contextlib.contextmanager
def open_source(source: Source) -> Iterator[Opened]:
    """Open a path, ``"-"`` (stdin) or a binary file object, decompressed; tell its kind by content.

    Raises `InputError` if it cannot be opened or read, is empty, or is a binary file of no kind
    that is read.
    """
    name = source_name(source)
    with contextlib.ExitStack() as stack:
        try:
            if not isinstance(source, str | os.PathLike):
                raw = source
                if isinstance(raw.read(0), str):
                    raise InputError(f"{name}: open it in binary mode ('rb')")
            elif str(source) == "-":
                raw = sys.stdin.buffer
            else:
                raw = stack.enter_context(Path(source).open("rb"))
            if not raw.seekable():
                # a seekable copy on disk, so that memory stays bounded
                copy = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(raw, copy, _CHUNK_BYTES)
                raw = copy
                raw.seek(0)
            if raw.read(2) == b"\x1f\x8b":
                # one pass into a temporary file: later passes seek, and damage shows at once
                raw.seek(0)
                copy = stack.enter_context(tempfile.TemporaryFile())
                unpacked, before, stretch = gzip.GzipFile(fileobj=raw, mode="rb"), 0, 0
                while chunk := unpacked.read(_CHUNK_BYTES):
                    stretch += copy.write(chunk)
                    if stretch > _FREE_BYTES:  # judged by stretches: a bomb ends at its first one
                        check_ratio(name, raw.tell() - before, stretch)
                        before, stretch = raw.tell(), 0
                raw = copy
            raw.seek(0)
            if raw.read(4) == _ZSTD:
                raw.seek(0)
                raw = stack.enter_context(_unpacked_zstd(raw, name))
            raw.seek(0)
            head = raw.read(1 << 16)
            raw.seek(0)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(f"{name}: damaged gzip file (cut short or altered)") from None
        except OSError as error:
            reasons = {
                FileNotFoundError: "no such file",
                IsADirectoryError: "this is a folder; expected a table or a FASTA file",
                PermissionError: "no permission to read it",
            }
            other = f"cannot be read: {error.strerror or error}"
            raise InputError(f"{name}: {reasons.get(type(error), other)}") from None
        suffix = Path(name.lower().removesuffix(".gz").removesuffix(".zst")).suffix
        opened = Opened(name, _kind(head, name), suffix, raw, getattr(source, "sheet", None))
        if opened.sheet is not None and opened.kind != "xlsx":
            raise InputError(f"{name}: only an XLSX file has sheets; this is {opened.kind}")
        yield opened


@contextlib.contextmanager
def _unpacked_zstd(raw: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """A temporary file of what a Zstandard file holds; `InputError` if it is damaged or a bomb."""
    import pyarrow as pa

    packed = raw.seek(0, io.SEEK_END)
    raw.seek(0)
    with tempfile.TemporaryFile() as copy:
        try:
            with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as unpacked:
                while chunk := unpacked.read(_CHUNK_BYTES):
                    copy.write(chunk)
                    check_ratio(name, packed, copy.tell(), _FREE_BYTES)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(f"{name}: damaged Zstandard file (cut short or altered)") from None
        yield copy


def _kind(head: bytes, name: str) -> str:
    if not head.strip():
        raise InputError(f"{name}: the file is empty")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            if kind in ("parquet", "xlsx"):
                return kind
            hint = "save it as XLSX or CSV" if kind == "xls" else "expected CSV, TSV, Parquet, XLSX"
            raise InputError(f"{name}: this is a {kind} file; {hint}")
    if _wide_encoding(head):
        return "text"
    # a stray control character in a note is text; one in a hundred is not
    if b"\0" in head or 100 * len(_CONTROL.findall(head)) > len(head):
        raise InputError(
            f"{name}: this is a binary file; expected CSV, TSV, Parquet, XLSX or FASTA"
        )
    return "text"


def check_ratio(name: str, packed: int, unpacked: int, free: int = _FREE_BYTES) -> None:
    """Raise `InputError` if a file unpacks to far more than a table of sequences can."""
    if unpacked > max(free, _MAX_RATIO * packed):
        raise InputError(
            f"{name}: {packed:,} bytes that unpack to {unpacked:,} or more; a table of sequences "
            f"unpacks to at most {_MAX_RATIO} times its size. If it is one, give it unpacked, as "
            "CSV, or in parts"
        )


def check_columns(name: str, names: list[str]) -> None:
    """Raise `InputError` for a header that no table has."""
    if len(names) > MAX_COLUMNS:
        raise InputError(
            f"{name}: {len(names):,} columns; at most {MAX_COLUMNS:,} are read. Are rows and "
            "columns exchanged?"
        )
    if (longest := max(map(len, names), default=0)) > _MAX_NAME_CHARACTERS:
        raise InputError(
            f"{name}: a column's name has {longest:,} characters, at most {_MAX_NAME_CHARACTERS:,} "
            "are read; is the header missing, or a quote never closed?"
        )


def check_parquet(stream: IO[bytes], name: str, packed: int, block_rows: int | None) -> None:
    """Raise `InputError` for a Parquet file with a repeated column, or far too much in it."""
    import pyarrow.parquet as pq
    from pyarrow.compute import call_function

    file = pq.ParquetFile(stream)
    counts = Counter(file.schema_arrow.names)
    check_columns(name, list(counts))
    if repeated := [column for column, count in counts.items() if count > 1]:
        raise InputError(f"{name}: several columns are called {repeated[0]!r}; rename all but one")
    metadata, leaves = file.metadata, [file.schema.column(n) for n in range(len(file.schema))]
    groups = [metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)]
    width = sum(max(leaf.length, 8) for leaf in leaves)
    check_ratio(name, packed, max(sum(groups), metadata.num_rows * width))
    # a text that many rows repeat is stored once: lengths are summed before it is copied
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    if texts := [path for path in texts if path in counts]:
        shared, total = pq.ParquetFile(stream, metadata=metadata, read_dictionary=texts), 0
        for batch in shared.iter_batches(block_rows or 1 << 16, columns=texts):
            total = 0 if block_rows else total
            for column in batch.columns:
                lengths = call_function("binary_length", [column.dictionary])
                total += call_function("sum", [lengths.take(column.indices)]).as_py() or 0
            check_ratio(name, packed, total, _FREE_TEXT_BYTES)


def check_workbook(stream: IO[bytes], name: str) -> None:
    """Raise `InputError` for an XLSX file with far too much in it, or values far apart."""
    packed = stream.seek(0, io.SEEK_END)
    lengths: list[int] = []  # Of the texts that cells share
    try:
        with zipfile.ZipFile(stream) as book:
            check_ratio(name, packed, sum(member.file_size for member in book.infolist()))
            for member in sorted(book.namelist(), key=lambda path: "sharedStrings" not in path):
                if "sharedStrings" in member:
                    for part in _parts(book, member, b"</si>"):
                        lengths += map(len, part.split(b"</si>")[:-1])
                elif "worksheets/" in member:
                    _check_sheet(book, member, name, packed, lengths)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{name}: not a readable XLSX file: {error}") from None


def _check_sheet(
    book: zipfile.ZipFile, member: str, name: str, packed: int, lengths: list[int]
) -> None:
    """As `check_workbook`; cell by cell only where a cheap look leaves a doubt."""
    ends, height, width = 0, 10**4, 26
    for part in _parts(book, member, b"</"):
        ends += part.count(b"</")
        height = next((n for n, mark in _ROWS.items() if n > height and mark.search(part)), height)
        width = next((n for n, mark in _COLUMNS.items() if n > width and mark.search(part)), width)
    may_be_sparse = height * width > max(_FREE_CELLS, _CELLS_PER_VALUE * ends // 3)
    if not may_be_sparse and max(lengths, default=0) * ends < _FREE_TEXT_BYTES:
        return
    text, values, rows, column = 0, 0, 0, b"A"
    for part in _parts(book, member, b"</"):
        text += sum(lengths[int(n)] for n in _SHARED.findall(part) if int(n) < len(lengths))
        check_ratio(name, packed, text, _FREE_TEXT_BYTES)
        if cells := _CELL.findall(part):
            values += len(cells)
            rows = max(rows, *(int(row) for _, row in cells))
            column = max(
                column,
                *(letters for letters, _ in cells),
                key=lambda letters: (len(letters), letters),
            )
    columns = functools.reduce(lambda total, letter: 26 * total + letter - 64, column, 0)
    if rows * columns > max(_FREE_CELLS, _CELLS_PER_VALUE * values):
        raise InputError(
            f"{name}: its {values:,} values lie far apart, as far as column {column.decode()} and "
            f"row {rows:,} of {member}: delete what stands away from the table, or save the table "
            "as CSV"
        )


def _parts(book: zipfile.ZipFile, member: str, end: bytes) -> Iterator[bytes]:
    """What a member unpacks to, in parts that end with `end`, and the rest."""
    rest = b""
    with book.open(member) as file:
        while chunk := file.read(_CHUNK_BYTES):
            rest += chunk
            whole, mark, rest = rest.rpartition(end)
            yield whole + mark
    yield rest
