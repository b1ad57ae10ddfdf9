"""Packed files: bounds on what they unpack to, checked before anything is built of it."""

import functools
import gzip
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import IO

from paratope.core.errors import InputError

MAX_COLUMNS = 16_384  # As many as the widest sheet has
_MAX_NAME_CHARACTERS = 4096
_CHUNK_BYTES = 1 << 20
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


def unpack_gzip(name: str, packed: IO[bytes], target: IO[bytes]) -> None:
    """Unpack to `target`; `check_ratio` judges each stretch, so a bomb ends at its first one."""
    source, before, stretch = gzip.GzipFile(fileobj=packed, mode="rb"), 0, 0
    while chunk := source.read(_CHUNK_BYTES):
        stretch += target.write(chunk)
        if stretch > _FREE_BYTES:
            check_ratio(name, packed.tell() - before, stretch)
            before, stretch = packed.tell(), 0


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
            for member in sorted(book.namelist(), key=lambda one: "sharedStrings" not in one):
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
    ends, rows, columns = 0, 10**4, 26
    for part in _parts(book, member, b"</"):
        ends += part.count(b"</")
        rows = next((n for n, mark in _ROWS.items() if n > rows and mark.search(part)), rows)
        columns = next(
            (n for n, mark in _COLUMNS.items() if n > columns and mark.search(part)), columns
        )
    may_be_sparse = rows * columns > max(_FREE_CELLS, _CELLS_PER_VALUE * ends // 3)
    if not may_be_sparse and max(lengths, default=0) * ends < _FREE_TEXT_BYTES:
        return
    text, values, rows, column = 0, 0, 0, b"A"
    for part in _parts(book, member, b"</"):
        text += sum(lengths[int(n)] for n in _SHARED.findall(part) if int(n) < len(lengths))
        check_ratio(name, packed, text, _FREE_TEXT_BYTES)
        if cells := _CELL.findall(part):
            values += len(cells)
            rows = max(rows, *(int(row) for _, row in cells))
            column = max(column, *(one for one, _ in cells), key=lambda one: (len(one), one))
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
