"""Reading tables: rows of pairs and measurements, the user's columns kept."""

import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import polars as pl

from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.data.tables.columns import match_columns
from paratope.data.tables.formats import Block, Frame, as_frame, column_names, read_blocks
from paratope.data.tables.rows import ReadOptions, RowReader, TableRow
from paratope.data.tables.sources import Source, open_source

# That tell what a column holds where its name could mean two things.
SAMPLE_ROWS = 100


@dataclasses.dataclass(frozen=True)
class InputTable:
    """A table as read."""

    source: str  # File name, ``"stdin"``, or what the caller called the frame
    # The user's columns, one row per entry of `rows`: text for text files, typed for Parquet and
    # XLSX, and a frame as it was given, with its index and types. With several antigens from a
    # file, each row is repeated for each of them and ``antigen_name`` says which.
    original: Frame
    rows: tuple[TableRow, ...]
    columns: dict[str, str]  # Canonical name to the user's name, for the columns that were read
    notes: tuple[str, ...] = ()  # About the table as a whole

    @functools.cached_property
    def frame(self) -> pl.DataFrame:
        """`original` as polars, see `as_frame`."""
        return as_frame(self.original)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Measurements of the rows that have one, in order."""
        return tuple(row.measurement for row in self.rows if row.measurement is not None)

    @property
    def failed(self) -> tuple[TableRow, ...]:
        """Rows in error."""
        return tuple(row for row in self.rows if row.error is not None)


def read_table(source: Source, **options: Unpack[ReadOptions]) -> InputTable:
    r"""Read a table of pairs, or of measurements.

    Parameters
    ----------
    source : path, ``"-"`` for stdin, or binary file object
        CSV, TSV, Parquet, XLSX (its first sheet with a table, or that of a `SheetPath`) or a FASTA
        of antibodies; gzip-compressed or not.
    **options
        ``columns``, ``antigens``, ``require``, ``limit_pkd``, ``default_antigen``, ``parent``:
        see `paratope.data.tables.ReadOptions`.

    Returns
    -------
    InputTable
        Antibodies are cut to their variable domains and put in order
        (`paratope.molecules.numbering.prepare_antibody`); bad rows carry their error. Raises
        `InputError` if there is no table, no row, or not a column that is needed.

    Examples
    --------
    >>> import io
    >>> table = read_table(io.BytesIO(b"id,VH,antigen,well\nab1,EVQ1,MKV,A1\n"))
    >>> table.columns
    {'id': 'id', 'heavy': 'VH', 'antigen': 'antigen'}
    >>> table.frame["well"].to_list(), table.rows[0].pair
    (['A1'], None)
    >>> print(table.rows[0].error)
    row 'ab1', line 2, column 'VH': heavy chain: '1' at position 4 is not an amino acid;
    expected the letters ACDEFGHIKLMNPQRSTVWYX
    """
    (table,) = _tables(source, None, options)
    return table


def iter_tables(
    source: Source, block_rows: int = 5000, **options: Unpack[ReadOptions]
) -> Iterator[InputTable]:
    """Read a table of any size in blocks of at most `block_rows` rows of the file.

    As `read_table`, in bounded memory for text and Parquet. Row indices run on through the blocks.
    Rows of mutations are judged with all rows of a file, which is read twice for them; in a stream
    with those before them and in their block, where their parent must be, too. Non-binders are
    bounded by `limit_pkd`, or the weakest value of their block.
    """
    if block_rows < 1:
        raise InputError(f"block_rows must be at least 1, got {block_rows}")
    yield from _tables(source, block_rows, options)


def _tables(source: Source, block_rows: int | None, options: ReadOptions) -> Iterator[InputTable]:
    reader: RowReader | None = None
    with open_source(source) as opened:
        chosen = (options.get("columns") or {}).values()
        for block in read_blocks(opened, block_rows, chosen):
            if reader is None:
                reader = RowReader(opened.name, block.frame.head(SAMPLE_ROWS), **options)
                block.table_notes[:0] = opened.notes
                is_path = isinstance(source, str | os.PathLike) and Path(source).is_file()
                if block_rows is not None and is_path:
                    reader.remember(block, 0)
                    if reader.has_mutations:  # which are judged over all rows
                        rows = 0
                        with open_source(source) as again:
                            for each in read_blocks(again, block_rows):
                                reader.remember(each, rows)
                                rows += len(each.lines)
            yield _table(reader, block, block.frame)
        if reader is None:
            raise InputError(f"{opened.name}: the table has a header but no rows")


def table_from_frame(
    frame: Frame, *, source: str = "table", **options: Unpack[ReadOptions]
) -> InputTable:
    """A table of a polars or pandas frame, which is not touched; `source` is its name in messages.

    Options and errors as `read_table`.

    >>> table = table_from_frame(pl.DataFrame({"heavy": ["EVQL"], "antigen": ["MKV"]}))
    >>> print(table.rows[0].error)
    row '1', column 'heavy': heavy chain: 4 residues, too short for an antibody variable domain
    (about 110)
    """
    _, renamed = column_names(frame, source)
    if len(frame) == 0:
        raise InputError(f"{source}: the table has no rows")
    reader = RowReader(source, as_frame(frame.head(SAMPLE_ROWS), name=source), **options)
    # only what is read is converted; beside measured values, any column may say what they are
    is_measured = options.get("require") == "measured"
    only = None if is_measured else reader.read_columns
    block = Block(as_frame(frame, only), [0] * len(frame))
    block.table_notes += [f"{source}: {note}" for note in renamed]
    return _table(reader, block, frame)


def read_frame(source: Source) -> InputTable:
    """The columns of a table and nothing else: no row is read as a pair.

    For tables of predictions, splits and the like. ``columns`` says which known columns are there.
    """
    with open_source(source) as opened:
        for block in read_blocks(opened, None):
            block.refuse_errors(opened.name)
            columns, notes = match_columns(block.frame.columns), opened.notes + block.table_notes
            return InputTable(opened.name, block.frame, (), columns, tuple(notes))
        raise InputError(f"{opened.name}: the table has a header but no rows")


def _table(reader: RowReader, block: Block, original: Frame) -> InputTable:
    rows = tuple(reader.read(block))
    if reader.antigens is not None and len(reader.antigens) > 1:  # each row once for each of them
        names = [antigen.name for antigen in reader.antigens] * len(original)
        indices = [index for index in range(len(original)) for _ in reader.antigens]
        is_polars = isinstance(original, pl.DataFrame)
        original = original[indices] if is_polars else original.iloc[indices]
        if "antigen_name" not in original.columns:
            if isinstance(original, pl.DataFrame):
                original = original.with_columns(pl.Series("antigen_name", names, pl.String))
            else:
                original = original.assign(antigen_name=names)
    notes = (*block.table_notes, *reader.take_notes())
    return InputTable(reader.source, original, rows, dict(reader.columns), notes)
