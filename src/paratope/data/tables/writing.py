"""Writing tables: whole or not at all, by the suffix of the name; measurements as a table."""

import contextlib
import gzip
import io
import math
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import OutputError
from paratope.core.files import as_output_error, atomic_file
from paratope.core.units import STANDARD_TEMPERATURE_K, flip_censoring, pkd_to_dg_kcal_mol
from paratope.data.measurements import Measurement
from paratope.data.tables.formats import Frame, as_frame
from paratope.molecules.sequences import Pair

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

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
        CSV on stdout. XLSX is held in memory until the end. Raises `OutputError` for other suffixes
        and where it cannot be written.
    keep : collection of str
        Columns whose numbers are written as they are. Other floating-point numbers in CSV and TSV
        get three decimals; those that would vanish (under 0.001) three digits.

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
        self._parquet: ParquetWriter | None = None
        self._sheet: list[pl.DataFrame] = []
        self._is_started = False
        name = str(target).lower()
        self._suffix = ".csv" if name == "-" else Path(name.removesuffix(".gz")).suffix
        self._is_zipped = name.endswith(".gz")
        kinds = (".csv", ".tsv") if self._is_zipped else SUFFIXES
        if self._suffix not in kinds:
            raise OutputError(
                f"cannot write {target}: unknown kind of table; expected a name ending in "
                f"{', '.join(SUFFIXES)}"
            )

    def __enter__(self) -> "TableWriter":
        self._context = self._opened()
        self._file = self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._context.__exit__(*error)

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows; every block must have the columns of the first."""
        # the libraries' own OSErrors carry no number
        with as_output_error(self._target):
            if self._suffix == ".xlsx":
                self._sheet.append(frame)
            elif self._suffix == ".parquet":
                import pyarrow.parquet as pq

                table = frame.to_arrow()
                if self._parquet is None:
                    self._parquet = pq.ParquetWriter(self._file, table.schema)
                self._parquet.write_table(table.cast(self._parquet.schema))
            else:
                floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
                changed = []
                for column in frame.select(floats).fill_nan(None):
                    if column.name not in self._keep:
                        texts = [three_decimals(value) for value in column]
                        column = pl.Series(column.name, texts, pl.String)
                    changed.append(column)
                try:
                    frame.with_columns(changed).write_csv(
                        self._file,
                        include_header=not self._is_started,
                        separator="\t" if self._suffix == ".tsv" else ",",
                    )
                except pl.exceptions.PolarsError as error:
                    raise OutputError(
                        f"cannot write {self._target}: {' '.join(str(error).split())}; columns of "
                        "lists or structures fit into Parquet only"
                    ) from error
        self._is_started = True

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """The file, finished if nothing failed."""
        with contextlib.ExitStack() as stack:
            if str(self._target) == "-":
                stack.enter_context(as_output_error("stdout"))
                file: IO[bytes] = sys.stdout.buffer
            else:
                file = stack.enter_context(atomic_file(self._target))
            if self._is_zipped:
                # no time stamp, no name: the same table gives the same bytes
                zipped = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
                file = cast(IO[bytes], stack.enter_context(zipped))
            try:
                yield file
                if self._parquet is not None:
                    with as_output_error(self._target):
                        self._parquet.close()
                if self._sheet:
                    file.write(_xlsx_bytes(pl.concat(self._sheet), self._target))
                file.flush()
            except BaseException:
                # while its file is open: a dropped Parquet writer writes a footer all the same
                if self._parquet is not None:
                    with contextlib.suppress(Exception):
                        self._parquet.close()
                raise


def write_table(
    frame: Frame, target: str | os.PathLike[str], *, keep: Collection[str] = ()
) -> None:
    r"""Write a polars or pandas frame as a file, complete or not at all, as `TableWriter` does.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "out.tsv"
    >>> write_table(pl.DataFrame({"well": ["A1"], "kd_nM": [0.00012345]}), target)
    >>> target.read_text()
    'well\tkd_nM\nA1\t0.000123\n'
    """
    with TableWriter(target, keep) as writer:
        writer.write(as_frame(frame))


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


def _xlsx_bytes(frame: pl.DataFrame, target: object) -> bytes:
    import xlsxwriter

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
    # text stays text: nothing a user wrote becomes a formula, a link or a number
    options = {"strings_to_formulas": False, "strings_to_urls": False, "in_memory": True}
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, options) as book:
        floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
        frame.with_columns(pl.col(floats).fill_nan(None)).write_excel(book)
    return content.getvalue()


_SIGNS = {Censoring.EXACT: "", Censoring.AT_MOST: "<", Censoring.AT_LEAST: ">"}
# written even if no measurement has them, so that every such table has the same first columns
_ALWAYS = ("id", "heavy", "light", "antigen", "antigen_name", "assay")


def frame_from_measurements(measurements: Iterable[Measurement]) -> pl.DataFrame:
    """Measurements as a table of texts, which `read_table` reads back; one row each, in order.

    ``<`` and ``>`` mark bounds, ``n.b.`` a non-binder without one. Columns that are empty
    throughout are left out, numbers keep all their digits, and ids are made unique: only the name
    of an antibody may change.

    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> pair = Pair(Antibody("EVQL", None, "a"), Antigen(("MKV", "GGS"), "target"))
    >>> row = Measurement(pair, 5.0, Censoring.AT_MOST, assay="SPR")
    >>> frame_from_measurements([row]).row(0)
    ('a', 'EVQL', None, 'MKV:GGS', 'target', 'SPR', '<5.0')
    """
    rows = [_texts(measurement) for measurement in measurements]
    taken = {row["id"] for row in rows}
    seen: Counter[str] = Counter()
    for row in rows:
        name = row["id"] or "row"
        seen[name] += 1
        while seen[name] > 1 and f"{name}-{seen[name]}" in taken:
            seen[name] += 1
        row["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    names = rows[0] if rows else {}
    frame = pl.DataFrame(
        {name: pl.Series(name, [row[name] or None for row in rows], pl.String) for name in names}
    )
    return frame.select(
        name for name in names if name in _ALWAYS or frame[name].null_count() < frame.height
    )


def _texts(row: Measurement) -> dict[str, str]:
    origin, conditions = row.origin, row.conditions
    sign, kelvin = _SIGNS[row.censoring], conditions.temperature_K
    parent = dict.fromkeys(_chains(row.pair), "") if row.parent is None else _chains(row.parent)
    pkd = ddg = ""
    if row.pkd is not None:
        pkd = f"{sign}{float(row.pkd)!r}"
    elif row.delta_pkd is None and row.score is None:
        pkd = "n.b."
    if row.delta_pkd is not None:  # at the measurement's own temperature, as it is read back
        kcal_mol = pkd_to_dg_kcal_mol(row.delta_pkd, kelvin or STANDARD_TEMPERATURE_K)
        ddg = f"{_SIGNS[flip_censoring(row.censoring)]}{kcal_mol!r}"
    return {
        "id": row.pair.antibody.name or origin.complex_id,
        **_chains(row.pair),
        "antigen_name": row.pair.antigen.name,
        "assay": row.assay,
        "pkd": pkd,
        "ddg_kcal_mol": ddg,
        "score": "" if row.score is None else f"{sign}{row.score!r}",
        **{f"parent_{name}": text for name, text in parent.items()},
        "format": conditions.format,
        "method": conditions.method,
        "temperature_K": "" if kelvin is None else repr(kelvin),
        "complex": origin.complex_id,
        "mutations": ",".join(origin.mutations),
        "date": origin.date,
        "reference": origin.reference,
        "fold": "" if origin.fold is None else str(origin.fold),
        "source": origin.source,
        "source_row": str(origin.row) if origin.row else "",
        "licence": origin.licence,
        "source_note": origin.note,
    }


def _chains(pair: Pair) -> dict[str, str]:
    return {
        "heavy": pair.antibody.heavy,
        "light": pair.antibody.light or "",
        "antigen": ":".join(pair.antigen.chains),
    }
