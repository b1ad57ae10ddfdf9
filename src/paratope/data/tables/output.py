"""Writing tables: whole or not at all, by the suffix of the name."""

import contextlib
import gzip
import io
import math
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import polars as pl

from paratope.core.errors import OutputError
from paratope.core.files import as_output_error, atomic_file
from paratope.data.tables.frames import as_frame

SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx")
# Excel's own limits
_XLSX_MAX_CHARACTERS = 32_767
_XLSX_MAX_ROWS = 1_048_575


class TableWriter:
    r"""Writes a table block by block; the file appears when the context ends without an error.

    Parameters
    ----------
    target : path, or ``"-"``
        ``.csv``, ``.tsv``, ``.parquet`` or ``.xlsx``, the first two also with ``.gz``; ``"-"`` is
        CSV on stdout. XLSX is held in memory until the end.
    keep : collection of str
        Columns whose numbers are written as they are. Other floating-point numbers in CSV and TSV
        get three decimals; those that would vanish (under 0.001) three digits.

    Raises
    ------
    OutputError
        If the suffix is none of these, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "out.csv"
    >>> with TableWriter(target) as writer:
    ...     writer.write(pl.DataFrame({"id": ["a"], "pkd": [8.12345]}))
    ...     writer.write(pl.DataFrame({"id": ["b"], "pkd": [None]}))
    >>> target.read_text()
    'id,pkd\na,8.123\nb,\n'
    """

    def __init__(self, target: str | os.PathLike[str], keep: Collection[str] = ()) -> None:
        self._target = target
        self._keep = frozenset(keep)
        self._stack = contextlib.ExitStack()
        self._file: IO[bytes] | None = None
        self._parquet: Any = None
        self._held: list[pl.DataFrame] = []
        self._started = False
        name = str(target).lower()
        self._suffix = ".csv" if name == "-" else Path(name.removesuffix(".gz")).suffix
        self._gzip = name.endswith(".gz") and self._suffix in (".csv", ".tsv")
        if self._suffix not in SUFFIXES or (name.endswith(".gz") and not self._gzip):
            raise OutputError(
                f"cannot write {target}: unknown kind of table; expected a name ending in "
                f"{', '.join(SUFFIXES)}"
            )

    def __enter__(self) -> "TableWriter":
        if str(self._target) == "-":
            self._stack.enter_context(as_output_error("stdout"))
            self._file = sys.stdout.buffer
            return self
        self._file = self._stack.enter_context(atomic_file(self._target))
        if self._gzip:
            # no time stamp, no name: the same table gives the same bytes
            zipped = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, mtime=0)
            self._file = cast(IO[bytes], self._stack.enter_context(zipped))
        return self

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows; every block must have the columns of the first."""
        assert self._file is not None
        if self._suffix == ".xlsx":
            self._held.append(frame)
        else:
            # the libraries' own OSErrors carry no number
            with as_output_error(self._target), self._readable_failure():
                if self._suffix == ".parquet":
                    self._write_parquet(frame)
                else:
                    _for_text(frame, self._keep).write_csv(
                        self._file,
                        include_header=not self._started,
                        separator="\t" if self._suffix == ".tsv" else ",",
                    )
        self._started = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as failure:
                self._abandon()
                if not self._stack.__exit__(type(failure), failure, failure.__traceback__):
                    raise
                return
        else:
            self._abandon()
        self._stack.__exit__(kind, error, traceback)

    def _abandon(self) -> None:
        """Close the Parquet writer while its file is open: it writes a footer even when dropped."""
        if self._parquet is not None:
            with contextlib.suppress(Exception):
                self._parquet.close()

    def _finish(self) -> None:
        assert self._file is not None
        if self._parquet is not None:
            with as_output_error(self._target):
                self._parquet.close()
        if self._held:
            frame = pl.concat(self._held)
            _check_xlsx(frame, self._target)
            self._file.write(_xlsx_bytes(frame))
        self._file.flush()

    def _write_parquet(self, frame: pl.DataFrame) -> None:
        import pyarrow.parquet as pq

        table = frame.to_arrow()
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._file, table.schema)
        self._parquet.write_table(table.cast(self._parquet.schema))

    @contextlib.contextmanager
    def _readable_failure(self) -> Iterator[None]:
        try:
            yield
        except pl.exceptions.PolarsError as error:
            raise OutputError(
                f"cannot write {self._target}: {' '.join(str(error).split())}; columns of lists or "
                "structures fit into Parquet only"
            ) from error


def write_table(frame: Any, target: str | os.PathLike[str], *, keep: Collection[str] = ()) -> None:
    r"""Write a polars or pandas frame as a file: complete, or not at all.

    Parameters
    ----------
    frame : polars.DataFrame or pandas.DataFrame
    target : path, or ``"-"``
    keep : collection of str
        As `TableWriter`, with the same formats, rounding and errors.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "out.tsv"
    >>> write_table(pl.DataFrame({"well": ["A1"], "kd_nM": [0.00012345]}), target)
    >>> target.read_text()
    'well\tkd_nM\nA1\t0.000123\n'
    """
    with TableWriter(target, keep) as writer:
        writer.write(as_frame(frame))


def _for_text(frame: pl.DataFrame, keep: Collection[str]) -> pl.DataFrame:
    changed = []
    for name, dtype in frame.schema.items():
        if dtype.is_float() and name not in keep:
            values = [three_decimals(value) for value in frame[name].to_list()]
            changed.append(pl.Series(name, values, pl.String))
        elif dtype.is_float():
            changed.append(frame[name].fill_nan(None))
    return frame.with_columns(changed)


def three_decimals(value: float | None) -> str | None:
    """A number with three decimals, or three digits where three decimals would show nothing.

    >>> [three_decimals(value) for value in (8.49485, 0.0, 0.00012345, None)]
    ['8.495', '0.000', '0.000123', None]
    """
    if value is None or math.isnan(value):
        return None
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.3f}"
    return f"{value:.3g}"


def _check_xlsx(frame: pl.DataFrame, target: object) -> None:
    if frame.height > _XLSX_MAX_ROWS:
        raise OutputError(
            f"cannot write {target}: {frame.height} rows, an XLSX sheet holds {_XLSX_MAX_ROWS}; "
            "write CSV or Parquet"
        )
    for name, dtype in frame.schema.items():
        longest = frame[name].str.len_chars().max() if dtype == pl.String else 0
        if isinstance(longest, int) and longest > _XLSX_MAX_CHARACTERS:
            raise OutputError(
                f"cannot write {target}: column {name!r} holds {longest} characters, an XLSX cell "
                f"{_XLSX_MAX_CHARACTERS}; write CSV or Parquet"
            )


def _xlsx_bytes(frame: pl.DataFrame) -> bytes:
    import xlsxwriter

    # text stays text: nothing a user wrote becomes a formula, a link or a number
    options = {"strings_to_formulas": False, "strings_to_urls": False, "in_memory": True}
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, options) as book:
        floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
        frame.with_columns(pl.col(floats).fill_nan(None)).write_excel(book)
    return content.getvalue()
