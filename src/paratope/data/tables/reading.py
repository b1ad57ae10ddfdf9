"""Rows of pairs and measurements from files, stdin and frames, the user's columns kept."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from paratope.core.errors import InputError, unknown_name
from paratope.data.measurements import Measurement, bound_non_binders
from paratope.data.tables.aliases import VALUE_COLUMNS, match_columns, missing_column
from paratope.data.tables.blocks import Block, read_blocks
from paratope.data.tables.fasta import read_antigens
from paratope.data.tables.frames import Frame, as_frame, column_names, renamed_notes
from paratope.data.tables.rows import RowReader, TableRow
from paratope.data.tables.sources import Source, open_source
from paratope.data.tables.variants import PARENT_COLUMNS
from paratope.molecules.sequences import Antigen

Require = Literal["pair", "measured"]

_PAIR_COLUMNS = (
    *("id", "heavy", "light", "antigen", "antigen_name"),
    *("mutations", *PARENT_COLUMNS),
)
_MEASURED_COLUMNS = (
    *_PAIR_COLUMNS,
    *VALUE_COLUMNS,
    *("binder", "parent_pkd"),
    *("assay", "format", "method", "temperature"),
    *("date", "reference", "complex", "fold"),
)


@dataclasses.dataclass(frozen=True)
class InputTable:
    """A table as read.

    Attributes
    ----------
    source : str
        File name, ``"stdin"``, or what the caller called the frame.
    original : polars.DataFrame or pandas.DataFrame
        The user's columns, one row per entry of `rows`: text for text files, typed for Parquet and
        XLSX, and a frame as it was given, with its index and types. With several antigens from a
        file, each row is repeated for each of them and ``antigen_name`` says which.
    rows : tuple of TableRow
    columns : dict of str to str
        Canonical name to the user's name, for the columns that were read.
    notes : tuple of str
        About the table as a whole.
    """

    source: str
    original: Frame
    rows: tuple[TableRow, ...]
    columns: dict[str, str]
    notes: tuple[str, ...] = ()

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


def read_table(
    source: Source,
    *,
    columns: Mapping[str, str] | None = None,
    antigens: Source | Sequence[Antigen] | None = None,
    require: Require = "pair",
    limit_pkd: float | None = None,
    default_antigen: Antigen | None = None,
    parent: str | None = None,
) -> InputTable:
    r"""Read a table of pairs, or of measurements.

    Parameters
    ----------
    source : path, ``"-"`` for stdin, or binary file object
        CSV, TSV, Parquet, XLSX (its first sheet) or a FASTA of antibodies; gzip-compressed or not.
    columns : mapping of str to str, optional
        Canonical name to the user's column, where the name is not known (`ALIASES`). If it names a
        column of measured values, no other is read.
    antigens : path of a FASTA file, or sequence of Antigen, optional
        Pair every antibody with every one of these.
    require : {"pair", "measured"}
        ``"pair"`` reads antibody and antigen and leaves measured values alone; ``"measured"`` also
        reads a measurement in every row.
    limit_pkd : float, optional
        Weakest pKd the assay can see, for non-binders; by default the weakest measured in it.
    default_antigen : Antigen, optional
        Antigen of the rows that give none; without it such rows are errors, and so is a table
        without an antigen column.
    parent : str, optional
        Id of the row that rows of mutations without a heavy chain are variants of, where no parent
        is named beside them.

    Returns
    -------
    InputTable
        Antibodies are cut to their variable domains and put in order
        (`paratope.molecules.numbering.prepare_antibody`); bad rows carry their error.

    Raises
    ------
    InputError
        If the source cannot be read as a table, has no rows, or lacks a column that is needed.

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
    options: dict[str, Any] = {"columns": columns, "antigens": antigens, "require": require}
    options |= {"limit_pkd": limit_pkd, "default_antigen": default_antigen, "parent": parent}
    (table,) = _tables(source, None, **options)
    return table


def iter_tables(
    source: Source,
    block_rows: int = 5000,
    *,
    columns: Mapping[str, str] | None = None,
    antigens: Source | Sequence[Antigen] | None = None,
    require: Require = "pair",
    limit_pkd: float | None = None,
    default_antigen: Antigen | None = None,
    parent: str | None = None,
) -> Iterator[InputTable]:
    """Read a table of any size in blocks of at most `block_rows` rows of the file.

    As `read_table`, in bounded memory for text and Parquet. Row indices run on through the blocks.
    A parent's row must be in the same block or before it; non-binders are bounded by `limit_pkd`,
    or the weakest value of their block.
    """
    if block_rows < 1:
        raise InputError(f"block_rows must be at least 1, got {block_rows}")
    options: dict[str, Any] = {"columns": columns, "antigens": antigens, "require": require}
    options |= {"limit_pkd": limit_pkd, "default_antigen": default_antigen, "parent": parent}
    yield from _tables(source, block_rows, **options)


def table_from_frame(
    frame: Any,
    *,
    source: str = "table",
    columns: Mapping[str, str] | None = None,
    antigens: Source | Sequence[Antigen] | None = None,
    require: Require = "pair",
    limit_pkd: float | None = None,
    default_antigen: Antigen | None = None,
    parent: str | None = None,
) -> InputTable:
    """A table of a polars or pandas frame, as `read_table`.

    Parameters
    ----------
    frame : polars.DataFrame or pandas.DataFrame
    source : str
        What to call it in messages.

    Examples
    --------
    >>> table = table_from_frame(pl.DataFrame({"heavy": ["EVQL"], "antigen": ["MKV"]}))
    >>> print(table.rows[0].error)
    row '1', column 'heavy': heavy chain: 4 residues, too short for an antibody variable domain
    (about 110)
    """
    names = column_names(frame, source)
    if len(frame) == 0:
        raise InputError(f"{source}: the table has no rows")
    renamed = [f"{source}: {note}" for note in renamed_notes(frame.columns, names)]
    lines = [0] * len(frame)
    reader = _reader(source, names, renamed, columns, antigens, require, default_antigen, parent)
    read = as_frame(frame, reader.columns.values())
    return _table(reader, Block(read, lines, table_notes=renamed), limit_pkd, frame)


def read_frame(source: Source) -> InputTable:
    r"""The columns of a table and nothing else: no row is read as a pair.

    For tables of predictions, splits and the like. ``columns`` says which known columns are there.

    Examples
    --------
    >>> import io
    >>> read_frame(io.BytesIO(b"true,pred\n7.1,6.9\n")).columns
    {'true': 'true', 'pred': 'pred'}
    """
    with open_source(source) as opened:
        blocks = list(read_blocks(opened, None))
        if not blocks:
            raise InputError(f"{opened.name}: the table has a header but no rows")
        (block,) = blocks
        if block.errors:
            index, error = next(iter(block.errors.items()))
            raise InputError(f"{opened.name}: line {block.lines[index]}: {error}")
        notes = (*opened.notes, *block.table_notes)
        return InputTable(opened.name, block.frame, (), match_columns(block.frame.columns), notes)


def _tables(
    source: Source,
    block_rows: int | None,
    *,
    columns: Mapping[str, str] | None,
    antigens: Source | Sequence[Antigen] | None,
    require: Require,
    limit_pkd: float | None,
    default_antigen: Antigen | None,
    parent: str | None,
) -> Iterator[InputTable]:
    reader: RowReader | None = None
    with open_source(source) as opened:
        for block in read_blocks(opened, block_rows):
            if reader is None:
                reader = _reader(
                    opened.name,
                    block.frame.columns,
                    block.table_notes,
                    columns,
                    antigens,
                    require,
                    default_antigen,
                    parent,
                )
                block.table_notes[:0] = opened.notes
            yield _table(reader, block, limit_pkd)
        if reader is None:
            raise InputError(f"{opened.name}: the table has a header but no rows")


def _reader(
    source: str,
    found: Sequence[str],
    notes: list[str],
    columns: Mapping[str, str] | None,
    antigens: Source | Sequence[Antigen] | None,
    require: Require,
    default_antigen: Antigen | None,
    parent: str | None,
) -> RowReader:
    """Match the columns and make what reads the rows."""
    if require not in ("pair", "measured"):
        raise InputError(unknown_name("requirement", require, ("pair", "measured")))
    wanted = _PAIR_COLUMNS if require == "pair" else _MEASURED_COLUMNS
    chosen = set(columns or {}) & set(VALUE_COLUMNS)
    if chosen:
        wanted = tuple(name for name in wanted if name not in VALUE_COLUMNS or name in chosen)
    matched = match_columns(found, columns, wanted)
    of_mutations = {"mutations", "parent_heavy"} <= matched.keys()
    if "heavy" not in matched and not of_mutations:
        raise InputError(missing_column(source, "heavy", found))
    partners = _antigens(antigens)
    if partners is not None:
        if "antigen" in matched:
            name = matched.pop("antigen")
            notes.append(
                f"{source}: every row is paired with the antigens given; column {name!r} is not "
                "read"
            )
    elif (
        "antigen" not in matched
        and default_antigen is None
        and not (of_mutations and "parent_antigen" in matched)
    ):
        raise InputError(
            missing_column(source, "antigen", found) + ", or give the antigens as a FASTA file"
        )
    if require == "measured" and not set(matched) & {*VALUE_COLUMNS, "binder"}:
        names = ", ".join(VALUE_COLUMNS)
        raise InputError(f"{missing_column(source, 'pkd', found)}; or give one of {names}")
    assay = "stdin" if source == "stdin" else Path(source).name.split(".")[0]
    return RowReader(
        source, matched, partners, require == "measured", assay, default_antigen, parent
    )


def _antigens(antigens: Source | Sequence[Antigen] | None) -> tuple[Antigen, ...] | None:
    if antigens is None:
        return None
    if isinstance(antigens, Sequence) and not isinstance(antigens, str):
        if not antigens:
            raise InputError("no antigen given; expected at least one")
        return tuple(antigens)
    return read_antigens(antigens)


def _table(
    reader: RowReader, block: Block, limit_pkd: float | None, original: "Frame | None" = None
) -> InputTable:
    rows = reader.read(block)
    if reader.measured:
        rows = _bounded(rows, reader, limit_pkd)
    frame = block.frame if original is None else original
    if len(reader.antigens or ()) > 1:
        frame = _repeated(frame, [antigen.name for antigen in reader.antigens or ()])
    notes = (*block.table_notes, *reader.take_notes())
    return InputTable(reader.source, frame, tuple(rows), dict(reader.columns), notes)


def _repeated(frame: Frame, antigens: Sequence[str]) -> Frame:
    """Each row once for each antigen."""
    rows = [row for row in range(len(frame)) for _ in antigens]
    names = list(antigens) * len(frame)
    if isinstance(frame, pl.DataFrame):
        frame = frame[rows]
        if "antigen_name" not in frame.columns:
            frame = frame.with_columns(pl.Series("antigen_name", names, pl.String))
        return frame
    frame = frame.iloc[rows]
    return frame if "antigen_name" in frame.columns else frame.assign(antigen_name=names)


def _bounded(rows: list[TableRow], reader: RowReader, limit_pkd: float | None) -> list[TableRow]:
    """Give non-binders their bound; one that cannot get any is in error."""
    having = [index for index, row in enumerate(rows) if row.measurement is not None]
    measurements = [row.measurement for row in rows if row.measurement is not None]
    bounded = bound_non_binders(measurements, limit_pkd)
    for index, before, after in zip(having, measurements, bounded, strict=True):
        row = rows[index]
        if after.pkd is None and after.delta_pkd is None and after.score is None:
            message = (
                f"no binding, and nothing measured in assay {after.assay!r} to bound it by; give "
                "the weakest Kd the assay can see, such as '>10 uM'"
            )
            error = reader.located(row.id, row.line, message)
            rows[index] = dataclasses.replace(row, measurement=None, error=error)
        elif after is not before and after != before:
            note = "no binding: read as at most the weakest value of the assay"
            rows[index] = dataclasses.replace(row, measurement=after, notes=(*row.notes, note))
    return rows
