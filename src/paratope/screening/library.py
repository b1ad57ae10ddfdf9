"""A library to screen: tables, FASTA files and folders of them, as blocks of antibodies."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paratope.core.errors import InputError
from paratope.core.progress import Progress, silent
from paratope.data.tables.formats import Block, as_text, read_blocks
from paratope.data.tables.reading import SAMPLE_ROWS
from paratope.data.tables.rows import RowReader, TableRow
from paratope.data.tables.sources import open_source
from paratope.molecules.sequences import Antigen

_SUFFIXES = frozenset(
    {".fasta", ".fa", ".faa", ".fas", ".fsa", ".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq"}
)
_PACKED = (".gz", ".zst")
_CHUNK = 1 << 22


@dataclasses.dataclass(frozen=True, slots=True)
class LibraryFile:
    """One file of a library; its digest tells whether it is still the same."""

    path: Path
    bytes: int
    sha256: str
    rows: int  # About how many antibodies it holds; 0 where that is not known before it is read


class LibraryBlock(NamedTuple):
    """Some antibodies of a library, as their file has them; n rows."""

    number: int  # From 0, through all files
    first_row: int  # Number of its first row, from 0, through all files
    file: str
    ids: list[str]  # (n,) the row's number from 1 where the file names none
    heavy: list[str]  # (n,) as written
    light: list[str | None]
    block: Block
    reader: RowReader

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, rows: np.ndarray) -> list[TableRow]:
        """Some rows read as any table's: cleaned, numbered, cut to the variable domains."""
        chosen = rows.tolist()
        where = {row: index for index, row in enumerate(chosen)}
        block, kept = self.block, where.keys()
        return self.reader.read(
            Block(
                block.frame[chosen],
                [block.lines[row] for row in chosen],
                {where[row]: text for row, text in block.errors.items() if row in kept},
                {where[row]: text for row, text in block.notes.items() if row in kept},
            )
        )


def library_files(
    sources: Sequence[str | os.PathLike[str]], progress: Progress = silent
) -> tuple[LibraryFile, ...]:
    """Files, and those in folders by name, each read once for its digest.

    Raises `InputError` if one is not there, or a folder holds no file of a library.
    """
    paths: list[Path] = []
    for source in map(Path, sources):
        if not source.is_dir():
            paths.append(source)
            continue
        files = (path for path in source.iterdir() if path.is_file())
        inside = sorted(path for path in files if is_library(path.name))
        if not inside:
            raise InputError(
                f"{source}: no library in this folder; expected FASTA, CSV, TSV or Parquet files, "
                "packed (.gz, .zst) or not"
            )
        paths += inside
    if not paths:
        raise InputError("no library given; expected a FASTA file, a table, or a folder of them")
    read = []
    for number, path in enumerate(paths):
        progress("reading the library", number, len(paths))
        try:
            read.append(_file(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    return tuple(read)


def is_library(name: str) -> bool:
    """Whether a file of a folder belongs to the library, by its name."""
    name = name.lower()
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    return Path(name).suffix in _SUFFIXES


def _file(path: Path) -> LibraryFile:
    digest, lines, records = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            lines += chunk.count(b"\n")
            records += chunk.count(b">")
    name = path.name.lower()
    is_fasta = path.suffix.lower() in {".fasta", ".fa", ".faa", ".fas", ".fsa"}
    rows = records if is_fasta else max(lines - 1, 0)
    if name.endswith((".parquet", ".pq")):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows = pq.ParquetFile(path).metadata.num_rows
        except pa.ArrowException:  # said when it is read
            rows = 0
    elif name.endswith(_PACKED):
        rows = 0
    return LibraryFile(path, path.stat().st_size, digest.hexdigest(), rows)


def read_library(
    files: Sequence[LibraryFile],
    block_rows: int,
    antigens: Sequence[Antigen],
    columns: Mapping[str, str] | None = None,
) -> Iterator[LibraryBlock]:
    """Blocks of at most `block_rows` antibodies, in order, in constant memory.

    The same files give the same blocks. Every antibody is paired with `antigens`; a column of
    antigens is not read. Raises `InputError` for a file that cannot be read.
    """
    number = first_row = 0
    options: dict[str, Any] = {"antigens": antigens[:1], "columns": columns}
    for file in files:
        reader: RowReader | None = None
        with open_source(file.path) as opened:
            for block in read_blocks(opened, block_rows, (columns or {}).values()):
                if reader is None:
                    reader = RowReader(opened.name, block.frame.head(SAMPLE_ROWS), **options)
                cells = {
                    name: as_text(block.frame[reader.columns[name]])
                    for name in ("id", "heavy", "light")
                    if name in reader.columns
                }
                count = block.frame.height
                names = cells.get("id", [""] * count)
                numbers = range(first_row + 1, first_row + count + 1)
                ids = [name.strip() or str(row) for name, row in zip(names, numbers, strict=True)]
                heavy = cells.get("heavy", [""] * count)
                light = [text or None for text in cells.get("light", [""] * count)]
                yield LibraryBlock(
                    number, first_row, file.path.name, ids, heavy, light, block, reader
                )
                number, first_row = number + 1, first_row + count
        if reader is None:
            raise InputError(f"{file.path}: the table has a header but no rows")
