"""Opening what a user hands over: paths, stdin, file objects; gzip, encodings, kinds of file."""

import codecs
import contextlib
import dataclasses
import gzip
import io
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias

from paratope.core.errors import InputError
from paratope.data.tables.packed import unpack_gzip

Source: TypeAlias = str | os.PathLike[str] | IO[bytes]


class SheetPath(str):
    """Path of an XLSX file of which one sheet, by its name, is to be read.

    >>> path = SheetPath("plates.xlsx", "round 2")
    >>> path, path.sheet
    ('plates.xlsx', 'round 2')
    """

    def __new__(cls, path: str | os.PathLike[str], sheet: str) -> "SheetPath":
        """The path with the sheet's name beside it."""
        self = super().__new__(cls, os.fspath(path))
        self.sheet = sheet
        return self

    sheet: str


_CHUNK_BYTES = 1 << 20
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
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclasses.dataclass(slots=True)
class Opened:
    """An opened source: what it is called, what it is, its bytes (seekable, not compressed)."""

    name: str
    kind: str  # ``"text"``, ``"parquet"``, ``"xlsx"`` or the name of a kind that is not read
    suffix: str  # Of the file's name, lower case, ``.gz`` apart; empty for stdin
    stream: IO[bytes]
    sheet: str | None = None  # Of a workbook, if the caller chose
    # What a reader should know about how it was read
    notes: list[str] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def text(self) -> Iterator[io.TextIOWrapper]:
        """The lines, line ends kept as they are; UTF-8, UTF-16, UTF-32 or Windows-1252."""
        encoding = _encoding(self.stream, self.name)
        if encoding in _UNMARKED:
            self.notes.append(f"{self.name}: read as {_UNMARKED[encoding]}")
        self.stream.seek(0)
        wrapper = io.TextIOWrapper(self.stream, encoding=encoding, newline="")
        try:
            yield wrapper
        finally:
            wrapper.detach()


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
                unpack_gzip(name, raw, copy)
                raw = copy
            raw.seek(0)
            head = raw.read(1 << 16)
            raw.seek(0)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(f"{name}: damaged gzip file (cut short or altered)") from None
        except FileNotFoundError:
            raise InputError(f"{name}: no such file") from None
        except IsADirectoryError:
            what = "this is a folder; expected a table or a FASTA file"
            raise InputError(f"{name}: {what}") from None
        except PermissionError:
            raise InputError(f"{name}: no permission to read it") from None
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror or error}") from None
        suffix = Path(name.lower().removesuffix(".gz")).suffix
        opened = Opened(name, _kind(head, name), suffix, raw, getattr(source, "sheet", None))
        if opened.sheet is not None and opened.kind != "xlsx":
            raise InputError(f"{name}: only an XLSX file has sheets; this is {opened.kind}")
        yield opened


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


def _wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 by its mark, or UTF-16 where every other byte is zero; empty if neither."""
    marked = next((name for mark, name in _MARKED.items() if head.startswith(mark)), "")
    if marked or len(head) < 4:
        return marked
    high, low = (head[start::2].count(0) / len(head[start::2]) for start in (0, 1))
    if max(high, low) < 0.7 or min(high, low) > 0.1:
        return ""
    return "utf-16-be" if high > low else "utf-16-le"


def _encoding(stream: IO[bytes], name: str) -> str:
    """Encoding of the whole stream: UTF-16 or -32, UTF-8 if valid, Windows-1252 if that is."""
    stream.seek(0)
    wide = _wide_encoding(stream.read(1 << 16))
    candidates = (wide,) if wide else ("utf-8-sig", "cp1252")
    line = 1
    for encoding in candidates:
        decoder = codecs.getincrementaldecoder(encoding)()
        stream.seek(0)
        line = 1
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                line += decoder.decode(chunk).count("\n")
            decoder.decode(b"", final=True)
            return encoding
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
    expected = wide[:6].upper() if wide else "UTF-8 or Windows-1252"
    raise InputError(f"{name}: line {line}: this is not {expected} text; save the file as UTF-8")
