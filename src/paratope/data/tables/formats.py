"""Formats: delimited text, FASTA, Parquet, XLSX and frames as blocks of rows.

Each format is one generator of `Block`; `read_blocks` chooses it by what was opened. Chains that
stand in rows or records of their own are paired here: those of a FASTA by their names, those of
single cells by the columns that the AIRR Community's schema names (Vander Heiden et al. 2018,
Front. Immunol. 9:2206): ``cell_id``, ``locus``, ``sequence_alignment_aa`` or ``sequence_aa``.
"""

import contextlib
import csv
import dataclasses
import datetime
import functools
import io
import itertools
import logging
import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import polars as pl

from paratope.core.errors import InputError, located, one_line, panics_as_errors
from paratope.data.tables.columns import (
    DELIMITERS,
    ENOUGH_NAMES,
    HEAD_LINES,
    find_header,
    header_index,
    known_names,
    shown_names,
)
from paratope.data.tables.sources import (
    Opened,
    Source,
    check_columns,
    check_parquet,
    check_workbook,
    open_source,
    source_name,
)
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Antigen, clean_antigen, clean_sequence

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Frame: TypeAlias = "pl.DataFrame | pd.DataFrame"

# A whole antigen of many chains fits; a quote that is never closed does not run on for ever.
MAX_FIELD_CHARACTERS = 1 << 24
_MAX_LINE_CHARACTERS = 1 << 26
_SUFFIX_DELIMITER = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_FASTA_NAME = re.compile(r"\.(fasta|fa|faa|fas|fsa)(\.gz|\.zst)?$", re.IGNORECASE)
# "mab1_H" and "mab1_L", "mab1|heavy" and "mab1|light", "mab1 VH" and "mab1 VL"
_CHAIN_MARK = re.compile(
    r"^(?P<stem>.+?)[\s_|.:/-]+(?P<mark>heavy|light|vh|vl|vk|hc|lc|h|l|k)(?:[\s_-]*chain)?$",
    re.IGNORECASE,
)
_HEAVY_MARKS = {"heavy", "vh", "hc", "h"}
# "mab1 VH - translation frame 1", "mab1 kappa light chain, partial"
_MARK_WITHIN = re.compile(
    r"^(?P<stem>[^|]*?[^|\s_])[\s_.:/-]+(?:(?:kappa|lambda|gamma|igg\d?|variable)[\s_-]+)*"
    r"(?P<mark>heavy|light|vh|vl|vk|hc|lc)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
# "1N8Z_2|Chain B|Herceptin Fab heavy chain|Mus musculus", "1N8Z:B|PDBID|CHAIN|SEQUENCE"
_PDB_ENTRY = re.compile(r"^([0-9][A-Za-z0-9]{3})[_:][A-Za-z0-9]+\|")
_CELL_SEQUENCES = ("sequence_alignment_aa", "sequence_aa")
# How often a chain was seen: of several of a cell, the commonest is its own.
_CELL_COUNTS = ("umi_count", "duplicate_count", "consensus_count")


@dataclasses.dataclass(slots=True)
class Block:
    """Some rows of a table."""

    # The user's columns; text for text formats, typed for Parquet and XLSX. Empty is null.
    frame: pl.DataFrame
    lines: list[int]  # File line (or sheet row) where each row starts; 0 if the format has none
    # Rows of this block that could not be split into fields
    errors: dict[int, str] = dataclasses.field(default_factory=dict)
    # Rows of this block that were split with a doubt
    notes: dict[int, str] = dataclasses.field(default_factory=dict)
    table_notes: list[str] = dataclasses.field(default_factory=list)

    def refuse_errors(self, name: str) -> None:
        """Raise `InputError` for the first row that could not be split into fields."""
        for row, error in self.errors.items():
            raise InputError(f"{name}: line {self.lines[row]}: {error}")


def read_blocks(opened: Opened, size: int | None, columns: Collection[str] = ()) -> Iterator[Block]:
    """Blocks of at most `size` rows (all of them for None); none if there is no row.

    `columns` are names the caller expects among the user's; they tell the header and the sheet.
    Chains of single cells (AIRR) are paired, for which their table is read whole.
    """
    if opened.kind in ("parquet", "xlsx"):
        read = _parquet_blocks if opened.kind == "parquet" else _xlsx_blocks
        with panics_as_errors(f"{opened.name}: altered, or of a kind that is not read"):
            yield from _cells_paired(read(opened, size, columns), opened, size, columns)
    elif opened.suffix in (".parquet", ".pq", ".xlsx"):
        raise InputError(f"{opened.name}: this is not a {opened.suffix[1:]} file but text")
    else:
        with opened.text() as text:
            lines = _lines(text, opened.name)
            head = list(itertools.islice(lines, HEAD_LINES))
            first = next((line.lstrip() for line in head if line.strip()), "")
            every = itertools.chain(head, lines)
            if first.startswith(">") or _FASTA_NAME.search(opened.name):
                schema = {"id": pl.String, "heavy": pl.String, "light": pl.String}
                antibodies = _paired_chains(_fasta_records(every, opened.name))
                for batch in _batches(antibodies, size):
                    rows = [(each.name, each.heavy, each.light) for each in batch]
                    notes = {number: each.note for number, each in enumerate(batch) if each.note}
                    frame = pl.DataFrame(rows, schema=schema, orient="row")
                    yield Block(frame, [each.line for each in batch], notes=notes)
            else:
                blocks = _delimited_blocks(head, every, opened, size, columns)
                yield from _cells_paired(blocks, opened, size, columns)


def _cut(
    frame: pl.DataFrame,
    lines: list[int],
    size: int | None,
    table_notes: list[str],
    notes: Mapping[int, str],
) -> Iterator[Block]:
    """A whole table in blocks; `notes` by row."""
    step = size or max(frame.height, 1)
    for start in range(0, frame.height, step):
        stop = start + step
        block = Block(frame[start:stop], lines[start:stop], table_notes=table_notes)
        block.notes = {row - start: note for row, note in notes.items() if start <= row < stop}
        table_notes = []
        yield block


def _cells_paired(
    blocks: Iterator[Block], opened: Opened, size: int | None, chosen: Collection[str]
) -> Iterator[Block]:
    """Blocks as they are; where rows are chains of single cells, a row for each cell.

    That is its heavy chain's row with ``id``, ``heavy`` and ``light``. A cell without a heavy chain
    keeps its light one, whose row is then in error; rows without a cell stand alone.
    """
    first = next(blocks, None)
    if first is None:
        return
    names = set(first.frame.columns)
    sequence = next((name for name in _CELL_SEQUENCES if name in names), None)
    if chosen or not {"cell_id", "locus"} <= names or {"heavy", "light"} & names or not sequence:
        yield from itertools.chain([first], blocks)
        return
    every = [first, *blocks]
    for block in every:
        block.refuse_errors(opened.name)
    frame = pl.concat([block.frame for block in every], how="vertical_relaxed")
    lines = [line for block in every for line in block.lines]
    counts = next((name for name in _CELL_COUNTS if name in names), None)
    seen = [0.0] * frame.height
    if counts:
        seen = frame[counts].cast(pl.Float64, strict=False).fill_null(0.0).to_list()
    cells: dict[str, dict[str, list[int]]] = {}
    for row, (cell, locus) in enumerate(frame.select("cell_id", "locus").cast(pl.String).rows()):
        side = "light" if (locus or "").upper().startswith(("IGK", "IGL")) else "heavy"
        cells.setdefault(cell or f"row {row + 1}", {}).setdefault(side, []).append(row)
    residues = frame[sequence].cast(pl.String)
    kept, heavy, light, notes = [], [], [], {}
    for number, (cell, sides) in enumerate(cells.items()):
        best = {side: max(rows, key=lambda row: (seen[row], -row)) for side, rows in sides.items()}
        more = [f"{len(rows)} {side} chains" for side, rows in sides.items() if len(rows) > 1]
        if more:
            how = f"the one with the highest {counts}" if counts else "the first"
            notes[number] = f"cell {cell!r} has {' and '.join(more)}: {how} is taken"
        kept.append(best.get("heavy", best.get("light")))
        for chains, side in ((heavy, "heavy"), (light, "light")):
            chains.append(residues[best[side]] if side in best else None)
    texts = {"id": [*cells], "heavy": heavy, "light": light}
    paired = frame[kept].with_columns(pl.Series(k, v, pl.String) for k, v in texts.items())
    said = [note for block in every for note in block.table_notes]
    said.append(f"{opened.name}: the chains of {paired.height:,} cells paired by cell_id and locus")
    yield from _cut(paired, [lines[row] for row in kept], size, said, notes)


def _lines(text: io.TextIOWrapper, name: str) -> Iterator[str]:
    for number in itertools.count(1):
        line = text.readline(_MAX_LINE_CHARACTERS)
        if len(line) == _MAX_LINE_CHARACTERS:
            raise InputError(f"{name}: line {number} has {len(line):,} characters or more")
        if not line:
            return
        yield line


def _delimited_blocks(
    head: list[str], every: Iterator[str], opened: Opened, size: int | None, chosen: Collection[str]
) -> Iterator[Block]:
    expected = _SUFFIX_DELIMITER.get(opened.suffix)
    # Excel's own line about the delimiter
    named = next((re.fullmatch(r"sep=(.)\s*", line) for line in head if line.strip()), None)
    filled = [index for index, line in enumerate(head) if line.strip()][named is not None :]
    lines = [head[index] for index in filled]
    if not lines:
        raise InputError(f"{opened.name}: nothing but {''.join(head).strip()!r} in it")
    index, delimiter = find_header(lines, expected or ",", chosen, named[1] if named else "")
    above = filled[index]
    texts = []
    if named is None and expected not in (None, delimiter):
        seen, usual = DELIMITERS[delimiter], DELIMITERS[expected or ","]
        texts.append(f"fields are separated by {seen}, not {usual}")
    if index:
        texts.append(f"the header is line {above + 1}; what stands above it is not read")
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARACTERS))
    records = _records(itertools.islice(every, above, None), delimiter, above, opened.name)
    _, header, _ = next(records)
    check_columns(opened.name, header)
    names, renamed = unique_names(header)
    width = len(header)  # that a row must have: separators at the end count for nothing
    while width and not header[width - 1].strip():
        width -= 1
    table_notes = [f"{opened.name}: {text}" for text in (*texts, *renamed)]
    for batch in _batches(records, size):
        block = Block(pl.DataFrame(), [], table_notes=table_notes)
        table_notes = []
        rows = []
        for index, (line, fields, broken) in enumerate(batch):
            block.lines.append(line)
            widths = f"{len(fields)} fields where the header has {len(names)}"
            if broken:
                block.errors[index] = broken
            elif any(field.strip() for field in fields[len(names) :]):
                mark = DELIMITERS.get(delimiter, repr(delimiter))
                block.errors[index] = f"{widths}; quote a field that holds {mark}"
            elif len(fields) < width:
                block.notes[index] = f"{widths}: the last read as empty"
            fields = fields[: len(names)] + [""] * (len(names) - len(fields))
            rows.append([field or None for field in fields])
        block.frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
        yield block


def _records(
    lines: Iterator[str], delimiter: str, blank: int, name: str
) -> Iterator[tuple[int, list[str], str]]:
    """Records as (line, fields, what is wrong with the quoting); empty ones left out."""
    raw: list[str] = []

    def remembered() -> Iterator[str]:
        for line in lines:
            raw.append(line)
            yield line

    def is_never_closed() -> bool:
        try:
            list(csv.reader(raw, delimiter=delimiter, strict=True))
        except csv.Error as error:
            return "unexpected end of data" in str(error)
        return False

    reader = csv.reader(remembered(), delimiter=delimiter)
    while True:
        start = blank + reader.line_num + 1
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
        # parsing twice is dear: only where a quote may be open
        if (len(raw) > 1 or raw[0].count('"') % 2 == 1) and is_never_closed():
            broken = (
                "a quote opened on this line is never closed: the rest of the file was read as one "
                "row"
            )
        yield start, fields, broken


def _parquet_blocks(opened: Opened, size: int | None, chosen: Collection[str]) -> Iterator[Block]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed = opened.stream.seek(0, io.SEEK_END)
    try:
        check_parquet(opened.stream, opened.name, packed, size)
        file = pq.ParquetFile(opened.stream)
        total = file.metadata.num_rows
        for batch in file.iter_batches(batch_size=size or max(total, 1)):
            frame = pl.DataFrame(pa.Table.from_batches([batch]))
            if frame.height:
                yield Block(frame, [0] * frame.height)
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        what = "damaged Parquet file (cut short or altered)"
        raise InputError(f"{opened.name}: {what}: {one_line(error)}") from None


def _xlsx_blocks(opened: Opened, size: int | None, chosen: Collection[str]) -> Iterator[Block]:
    import fastexcel

    logging.getLogger("fastexcel").setLevel(logging.ERROR)  # it warns of every empty column
    check_workbook(opened.stream, opened.name)
    opened.stream.seek(0)
    try:
        book = fastexcel.read_excel(opened.stream.read())
        sheet, rows, notes = _chosen_sheet(book, opened, chosen)
        above = header_index(rows, chosen)
        names, renamed = unique_names(rows[above])
        notes += renamed
        if any(any(row) for row in rows[:above]):
            notes.append(f"the header is row {above + 1}; what stands above it is not read")
        read = functools.partial(
            book.load_sheet,
            sheet,
            header_row=None,
            column_names=names,
            skip_rows=above + 1,
            schema_sample_rows=None,
        )
        frame = pl.DataFrame(read())
        mixed = [name for name, dtype in frame.schema.items() if dtype == pl.String]
        rendered = r"^-?\d+(\.\d+)?$"  # text, or a number rounded because text is beside it
        if frame.select(pl.any_horizontal(pl.col(mixed).str.contains(rendered).any())).item():
            numbers = pl.DataFrame(read(dtypes="float"))
            frame = frame.with_columns(_full_numbers(frame[name], numbers[name]) for name in mixed)
        # true and false beside numbers became 1 and 0
        numeric = [name for name in names if frame[name].dtype.is_numeric()]
        if bits := [name for name in numeric if ((frame[name] == 0) | (frame[name] == 1)).any()]:
            texts = pl.DataFrame(read(dtypes="string"))
            frame = frame.with_columns(_with_words(frame[name], texts[name]) for name in bits)
    except fastexcel.FastExcelError as error:
        raise InputError(f"{opened.name}: not a readable XLSX file: {one_line(error)}") from None
    filled = frame.select(~pl.all_horizontal(pl.all().is_null())).to_series()
    lines = [row for row, is_filled in enumerate(filled, start=above + 2) if is_filled]
    empty = [name for name, named in zip(names, rows[above], strict=True) if not named.strip()]
    frame = frame.filter(filled)
    frame = frame.drop(name for name in empty if frame[name].null_count() == frame.height)
    yield from _cut(frame, lines, size, [f"{opened.name}: {note}" for note in notes], {})


def _chosen_sheet(
    book: Any, opened: Opened, chosen: Collection[str]
) -> tuple[str, list[list[str]], list[str]]:
    """The sheet asked for or the first that holds a table, its first rows, and what to say."""
    if opened.sheet is not None and opened.sheet not in book.sheet_names:
        sheets = ", ".join(map(repr, book.sheet_names))
        raise InputError(f"{opened.name}: no sheet {opened.sheet!r}; its sheets are {sheets}")
    heads: dict[str, list[list[str]]] = {}
    for name in book.sheet_names if opened.sheet is None else [opened.sheet]:
        options = {"header_row": None, "skip_rows": 0, "n_rows": HEAD_LINES, "dtypes": "string"}
        frame = pl.DataFrame(book.load_sheet(name, **options))
        if frame.width:
            heads[name] = [list(row) for row in frame.fill_null("").rows()]
    if not heads:
        what = "the workbook is" if opened.sheet is None else f"sheet {opened.sheet!r} is"
        raise InputError(f"{opened.name}: {what} empty")
    headers = {name: rows[header_index(rows, chosen)] for name, rows in heads.items()}
    tables = [name for name, row in headers.items() if known_names(row, chosen) >= ENOUGH_NAMES]
    if len(heads) > 1 and not tables:
        shown = "; ".join(f"{name!r} ({shown_names(row)})" for name, row in headers.items())
        raise InputError(
            f"{opened.name}: in which sheet is the table? {shown}. Choose it with --sheet NAME, or "
            "name its columns with --columns"
        )
    sheet = next(iter(tables or heads))
    others = [repr(name) for name in book.sheet_names if name != sheet]
    notes = []
    if others and opened.sheet is None:
        notes = [f"read sheet {sheet!r}, not {', '.join(others)}; choose another with --sheet"]
    return sheet, heads[sheet], notes


def _full_numbers(texts: pl.Series, numbers: pl.Series) -> pl.Series:
    """Cells of a column in which numbers stand beside text, the numbers with all their digits.

    As texts they have nine decimals, so that 3.2e-9 became 0.000000003.
    """

    def full(text: str | None, number: float | None) -> str | None:
        if number is None or number.is_integer():
            return text
        return repr(number) if text == f"{number:.9f}".rstrip("0").rstrip(".") else text

    return pl.Series(texts.name, list(map(full, texts, numbers)), pl.String)


def _with_words(numbers: pl.Series, texts: pl.Series) -> pl.Series:
    """A column of numbers as text where cells of it are true or false."""
    is_word = texts.is_in(["true", "false"])
    if not is_word.any():
        return numbers
    cells = zip(numbers, texts, is_word, strict=True)
    shown = [text if word else _cell_text(number) or None for number, text, word in cells]
    return pl.Series(numbers.name, shown, pl.String)


class FastaRecord(NamedTuple):
    """One record: the header without ``>``, the sequence as written without line ends, its line."""

    name: str
    sequence: str
    line: int


def read_fasta(source: Source) -> tuple[FastaRecord, ...]:
    r"""Records of a FASTA file, plain or gzip-compressed.

    Raises `InputError` if it cannot be read, holds no record, text before the first record, or an
    empty record.

    >>> import io
    >>> read_fasta(io.BytesIO(b">lysozyme hen\nKVFGRC\nELAAAM\n"))
    (FastaRecord(name='lysozyme hen', sequence='KVFGRCELAAAM', line=1),)
    """
    with open_source(source) as opened:
        if opened.kind != "text":
            raise InputError(f"{opened.name}: expected a FASTA file, got {opened.kind}")
        with opened.text() as lines:
            return tuple(_fasta_records(lines, opened.name))


def read_antigens(source: Source) -> tuple[Antigen, ...]:
    r"""Antigens of a FASTA file; the chains of one antigen are separated by ``|`` or ``:``.

    They are named by the first word of the header, or by number where that is empty or taken.
    Raises `InputError` as `read_fasta`, or if a sequence is no protein.

    >>> import io
    >>> read_antigens(io.BytesIO(b">toxin two chains\nMKVLA:GGSAA\n"))
    (Antigen(chains=('MKVLA', 'GGSAA'), name='toxin'),)
    """
    antigens: list[Antigen] = []
    taken: set[str] = set()
    for number, record in enumerate(read_fasta(source), start=1):
        words = record.name.split()
        name = words[0] if words and words[0] not in taken else f"antigen{number}"
        taken.add(name)
        with located(f"{source_name(source)}: line {record.line}: {name!r}"):
            antigens.append(clean_antigen(record.sequence, name)[0])
    return tuple(antigens)


def _fasta_records(lines: Iterable[str], name: str) -> Iterator[FastaRecord]:
    header: str | None = None
    start = 0
    parts: list[str] = []
    for number, line in enumerate(itertools.chain(lines, [None]), start=1):
        text = ">" if line is None else line.strip()
        if text.startswith(">"):
            if header is not None and parts:
                yield FastaRecord(header, "".join(parts), start)
            elif header is not None:
                raise InputError(f"{name}: line {start}: record {header!r} has no sequence")
            elif line is None:
                raise InputError(f"{name}: no FASTA record in it")
            header, start, parts = text[1:].strip(), number, []
        elif text and not text.startswith(";"):
            if header is None:
                raise InputError(
                    f"{name}: line {number}: expected a FASTA record starting with '>', got "
                    f"{text[:30]!r}"
                )
            parts.append(text)


@dataclasses.dataclass(slots=True)
class _FastaAntibody:
    name: str
    heavy: str  # Of a chain that waits for its partner, whichever it is
    light: str | None
    line: int
    note: str | None = None
    waits: bool = False


def _paired_chains(records: Iterable[FastaRecord]) -> Iterator[_FastaAntibody]:
    """The antibodies of a file, in order of their first record.

    A record holds both chains (``H|L``), an scFv or a single domain, or one chain of an antibody
    ``x``: called ``x_H`` and ``x_L`` (or heavy/light, VH/VL, HC/LC; a description may follow), or
    one entry of the PDB, wherever in the file the two are.
    """
    queue: deque[_FastaAntibody] = deque()
    waiting: dict[tuple[str, bool], deque[_FastaAntibody]] = defaultdict(deque)
    seen: set[tuple[str, bool]] = set()
    for record in records:
        chain = _chain_of(record)
        if chain is not None and (others := waiting[chain[0], not chain[1]]):
            partner = others.popleft()
            chains = (record.sequence, partner.heavy)
            partner.heavy, partner.light = chains if chain[1] else chains[::-1]
            partner.name, partner.waits, partner.note = chain[0], False, None
            if chain in seen:
                partner.note = f"several chains of {chain[0]!r} in the file: paired in their order"
        else:
            antibody = _FastaAntibody(record.name, record.sequence, None, record.line)
            queue.append(antibody)
            if chain is not None:
                antibody.waits = True
                antibody.note = f"{record.name!r} has no partner: no other chain of {chain[0]!r}"
                waiting[chain].append(antibody)
        seen |= {chain} if chain is not None else set()
        while queue and not queue[0].waits:
            yield queue.popleft()
    yield from queue


def _chain_of(record: FastaRecord) -> tuple[str, bool] | None:
    """What antibody a record is a chain of, and whether its heavy one; None if its name is mute."""
    entry = _PDB_ENTRY.match(record.name)
    if entry:
        with contextlib.suppress(InputError):
            kinds = {each.is_heavy for each in find_domains(clean_sequence(record.sequence)[0])}
            return (entry[1], kinds.pop()) if len(kinds) == 1 else None
    words = record.name.split()
    match = _CHAIN_MARK.match(words[0] if words else "") or _CHAIN_MARK.match(record.name)
    match = match or _MARK_WITHIN.match(record.name)
    return match and (match["stem"].strip(" _|.:/-"), match["mark"].lower() in _HEAVY_MARKS)


def as_frame(
    source: Any, only: Collection[str] | None = None, *, name: str = "table"
) -> pl.DataFrame:
    """A polars frame of a polars or pandas frame, or of some columns by their unique names.

    Of a pandas frame the index is left out; column names become text, and unique (`unique_names`);
    a column of mixed values, or of a kind polars has not, becomes text. `name` is what messages
    call it; raises `InputError` if it is no frame.

    >>> import pandas as pd
    >>> as_frame(pd.DataFrame({"well": ["A1", 3], 7: [1.5, None]})).to_dict(as_series=False)
    {'well': ['A1', '3'], '7': [1.5, None]}
    """
    if isinstance(source, pl.DataFrame):
        return source if only is None else source.select(only)

    def series(column: str, values: "pd.Series") -> pl.Series:
        # polars reads periods and intervals as their bare numbers
        if not str(values.dtype).startswith(("period", "interval")):
            # what pyarrow raises about a column of mixed values differs with their types
            with contextlib.suppress(TypeError, ValueError, ArithmeticError, NotImplementedError):
                return pl.from_pandas(values).alias(column)
        cells = zip(values, values.isna(), strict=True)
        texts = [None if is_missing else _cell_text(value) for value, is_missing in cells]
        return pl.Series(column, texts, pl.String)

    columns = enumerate(column_names(source, name)[0])
    chosen = ((index, column) for index, column in columns if only is None or column in only)
    return pl.DataFrame([series(column, source.iloc[:, index]) for index, column in chosen])


def column_names(source: Any, name: str = "table") -> tuple[list[str], list[str]]:
    """A frame's column names and notes, see `unique_names`; `InputError` if it is no frame."""
    if not (
        isinstance(source, pl.DataFrame) or (hasattr(source, "iloc") and hasattr(source, "columns"))
    ):
        got = type(source).__name__
        raise InputError(f"{name}: expected a polars or pandas DataFrame, got {got}")
    return unique_names(source.columns)


def unique_names(names: Iterable[object]) -> tuple[list[str], list[str]]:
    """Names as text, repeated ones numbered, and what to say of those.

    >>> unique_names(["well", "well", 0])
    (['well', 'well_2', '0'], ["another column is called 'well' too: read as 'well_2'"])
    """
    unique: dict[str, None] = {}
    notes = []
    for name in map(str, names):
        candidate, count = name, 2
        while candidate in unique:
            candidate, count = f"{name or 'column'}_{count}", count + 1
        unique[candidate] = None
        if candidate != name:
            notes.append(f"another column is called {name!r} too: read as {candidate!r}")
    return list(unique), notes


def as_text(series: pl.Series) -> list[str]:
    """Values as text: whole numbers without a point, dates in ISO form, nothing for null or NaN.

    >>> as_text(pl.Series([5.0, 1e-9, None]))
    ['5', '1e-09', '']
    """
    if series.dtype == pl.String:
        return ["" if value is None else value for value in series.to_list()]
    return [_cell_text(value) for value in series.to_list()]


def _cell_text(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):  # NaN
        return ""
    if isinstance(value, bytes):  # text of Parquet files that do not say so
        return value.decode(errors="replace")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value)


def _batches(rows: Iterator[T], size: int | None) -> Iterator[Sequence[T]]:
    while batch := tuple(itertools.islice(rows, size)):
        yield batch
