"""A source as blocks of rows: the user's columns as a frame, the file line of each row."""

import csv
import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from paratope.core.errors import InputError
from paratope.data.tables.fasta import is_fasta_path, pair_chains, parse_fasta
from paratope.data.tables.frames import renamed_notes, unique_names
from paratope.data.tables.sources import Opened

# A whole antigen of many chains fits; a quote that is never closed does not run on for ever.
MAX_FIELD_CHARACTERS = 1 << 24
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SUFFIX_DELIMITER = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


@dataclasses.dataclass(slots=True)
class Block:
    """Some rows of a table.

    Attributes
    ----------
    frame : polars.DataFrame
        The user's columns; text for text formats, typed for Parquet and XLSX. Empty is null.
    lines : list of int
        File line (or sheet row) where each row starts; 0 if the format has none.
    errors : dict of int to str
        Rows of this block that could not be split into fields.
    notes : dict of int to str
        Rows of this block that were split with a doubt.
    table_notes : list of str
    """

    frame: pl.DataFrame
    lines: list[int]
    errors: dict[int, str] = dataclasses.field(default_factory=dict)
    notes: dict[int, str] = dataclasses.field(default_factory=dict)
    table_notes: list[str] = dataclasses.field(default_factory=list)


def read_blocks(opened: Opened, block_rows: int | None) -> Iterator[Block]:
    """Blocks of at most `block_rows` rows (all of them for None); none if there is no row."""
    if opened.kind == "parquet":
        yield from _parquet_blocks(opened, block_rows)
    elif opened.kind == "xlsx":
        yield from _xlsx_blocks(opened, block_rows)
    elif opened.suffix in (".parquet", ".pq", ".xlsx"):
        raise InputError(f"{opened.name}: this is not a {opened.suffix[1:]} file but text")
    else:
        with opened.text() as text:
            lines = _after_blank_lines(text)
            skipped, first = next(lines)
            rest = itertools.chain([first], text)
            if first.lstrip().startswith(">") or is_fasta_path(opened.name):
                yield from _fasta_blocks(itertools.chain([""] * skipped, rest), opened, block_rows)
            else:
                yield from _delimited_blocks(rest, skipped, first, opened, block_rows)


def _after_blank_lines(text: Iterator[str]) -> Iterator[tuple[int, str]]:
    for skipped, line in enumerate(text):
        if line.strip():
            yield skipped, line
            return
    raise AssertionError("open_source refuses files of nothing but white space")


def _fasta_blocks(lines: Iterator[str], opened: Opened, block_rows: int | None) -> Iterator[Block]:
    antibodies = pair_chains(parse_fasta(lines, opened.name))
    for batch in _batches(antibodies, block_rows):
        names, heavy, light, starts = (list(column) for column in zip(*batch, strict=True))
        columns = {"id": names, "heavy": heavy, "light": light}
        yield Block(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), starts)


def _delimited_blocks(
    lines: Iterator[str], skipped: int, first: str, opened: Opened, block_rows: int | None
) -> Iterator[Block]:
    delimiter, note = _delimiter(first, opened)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARACTERS))
    records = _records(lines, delimiter, skipped, opened.name)
    if re.fullmatch(r"sep=.\s*", first):  # Excel's own line about the delimiter
        next(records)
    _, header, _ = next(records)
    names = unique_names(header)
    table_notes = [
        f"{opened.name}: {text}" for text in (note, *renamed_notes(header, names)) if text
    ]
    schema = dict.fromkeys(names, pl.String)
    for batch in _batches(records, block_rows):
        block = Block(pl.DataFrame(), [], table_notes=table_notes)
        table_notes = []
        rows = []
        for index, (line, fields, broken) in enumerate(batch):
            block.lines.append(line)
            if broken:
                block.errors[index] = broken
            elif len(fields) > len(names):
                block.errors[index] = (
                    f"{len(fields)} fields where the header has {len(names)}; quote a field that "
                    f"holds {_DELIMITERS.get(delimiter, repr(delimiter))}"
                )
            elif len(fields) < len(names):
                block.notes[index] = (
                    f"{len(fields)} fields where the header has {len(names)}: the last read as "
                    "empty"
                )
            fields = fields[: len(names)] + [""] * (len(names) - len(fields))
            rows.append([field or None for field in fields])
        block.frame = pl.DataFrame(rows, schema=schema, orient="row")
        yield block


def _records(
    lines: Iterator[str], delimiter: str, skipped: int, name: str
) -> Iterator[tuple[int, list[str], str]]:
    """Records as (line, fields, what is wrong with the quoting); empty ones left out."""
    raw: list[str] = []

    def kept() -> Iterator[str]:
        for line in lines:
            raw.append(line)
            yield line

    reader = csv.reader(kept(), delimiter=delimiter)
    while True:
        start = skipped + reader.line_num + 1
        raw.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{name}: line {start}: cannot be split into fields ({error}); is a quote never "
                "closed?"
            ) from None
        if not any(field.strip() for field in fields):
            continue
        broken = ""
        odd = raw[0].count('"') % 2 == 1
        if (len(raw) > 1 or odd) and _never_closed(raw, delimiter):
            broken = (
                "a quote opened on this line is never closed: the rest of the file was read as one "
                "row"
            )
        yield start, fields, broken


def _never_closed(raw: list[str], delimiter: str) -> bool:
    try:
        list(csv.reader(raw, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _delimiter(first: str, opened: Opened) -> tuple[str, str]:
    """The delimiter that splits the first line most, and a note if it is not the expected one."""
    named = re.fullmatch(r"sep=(.)\s*", first)
    if named:
        return named[1], ""
    expected = _SUFFIX_DELIMITER.get(opened.suffix)
    likeliest = expected or ","
    fields = {mark: len(next(csv.reader([first], delimiter=mark))) for mark in _DELIMITERS}
    best = max(fields, key=lambda mark: (fields[mark], mark == likeliest))
    if expected is not None and best != expected:
        return best, f"fields are separated by {_DELIMITERS[best]}, not {_DELIMITERS[expected]}"
    return best, ""


def _parquet_blocks(opened: Opened, block_rows: int | None) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(opened.stream)
        total = file.metadata.num_rows
        for batch in file.iter_batches(batch_size=block_rows or max(total, 1)):
            frame = pl.from_arrow(pa.Table.from_batches([batch]))
            assert isinstance(frame, pl.DataFrame)
            if frame.height:
                yield Block(frame, [0] * frame.height)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{opened.name}: damaged Parquet file (cut short or altered): {_one_line(error)}"
        ) from None


def _xlsx_blocks(opened: Opened, block_rows: int | None) -> Iterator[Block]:
    import fastexcel

    try:
        book = fastexcel.read_excel(opened.stream.read())
        notes = []
        if len(book.sheet_names) > 1:
            notes = [f"{opened.name}: read the first sheet only, {book.sheet_names[0]!r}"]
        sheet = book.load_sheet(0, schema_sample_rows=None)
        frame = pl.DataFrame(sheet)
    except fastexcel.FastExcelError as error:
        raise InputError(f"{opened.name}: not a readable XLSX file: {_one_line(error)}") from None
    filled = frame.select(~pl.all_horizontal(pl.all().is_null())).to_series()
    lines = [row for row, kept in enumerate(filled, start=2) if kept]  # the header is row 1
    frame = frame.filter(filled)
    step = block_rows or max(frame.height, 1)
    for start in range(0, frame.height, step):
        stop = start + step
        yield Block(frame[start:stop], lines[start:stop], table_notes=notes)
        notes = []


def _batches(rows: Iterator[Any], size: int | None) -> Iterator[tuple[Any, ...]]:
    if size is None:
        everything = tuple(rows)
        if everything:
            yield everything
        return
    while batch := tuple(itertools.islice(rows, size)):
        yield batch


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
