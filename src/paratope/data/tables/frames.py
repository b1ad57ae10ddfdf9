"""Frames of polars and pandas as columns that can be read; the caller's own is never touched."""

import contextlib
import datetime
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from paratope.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Frame: TypeAlias = "pl.DataFrame | pd.DataFrame"


def as_frame(
    source: Any, only: Collection[str] | None = None, *, name: str = "table"
) -> pl.DataFrame:
    """A polars frame of a polars or pandas frame, whatever the latter holds.

    Parameters
    ----------
    source : polars.DataFrame or pandas.DataFrame
        Of a pandas frame the index is left out; column names become text, and unique
        (`unique_names`). A column of mixed values, or of a kind polars has not, becomes text.
    only : collection of str, optional
        Columns to convert, by their unique names; all by default.
    name : str
        What to call it in messages.

    Returns
    -------
    polars.DataFrame
        `source` itself if it is one and all its columns are wanted.

    Raises
    ------
    InputError
        If it is no frame.

    Examples
    --------
    >>> import pandas as pd
    >>> as_frame(pd.DataFrame({"well": ["A1", 3], 7: [1.5, None]})).to_dict(as_series=False)
    {'well': ['A1', '3'], '7': [1.5, None]}
    """
    if isinstance(source, pl.DataFrame):
        return source if only is None else source.select(only)
    columns = column_names(source, name)
    return pl.DataFrame(
        [
            _series(column, source.iloc[:, position])
            for position, column in enumerate(columns)
            if only is None or column in only
        ]
    )


def column_names(source: Any, name: str = "table") -> list[str]:
    """Column names of a frame as `as_frame` gives them; raises `InputError` if it is none."""
    if isinstance(source, pl.DataFrame):
        return source.columns
    if not (hasattr(source, "iloc") and hasattr(source, "columns")):
        raise InputError(
            f"{name}: expected a polars or pandas DataFrame, got {type(source).__name__}"
        )
    return unique_names(source.columns)


def unique_names(names: Iterable[object]) -> list[str]:
    """Names as text, repeated ones numbered.

    >>> unique_names(["well", "well", 0])
    ['well', 'well_2', '0']
    """
    unique: dict[str, None] = {}
    for name in map(str, names):
        candidate, count = name, 2
        while candidate in unique:
            candidate, count = f"{name or 'column'}_{count}", count + 1
        unique[candidate] = None
    return list(unique)


def renamed_notes(names: Iterable[object], unique: Iterable[str]) -> list[str]:
    """What to say of columns that `unique_names` renamed."""
    return [
        f"another column is called {str(name)!r} too: read as {new!r}"
        for name, new in zip(names, unique, strict=True)
        if str(name) != new
    ]


def as_text(series: pl.Series) -> list[str]:
    """Values as text: whole numbers without a point, dates in ISO form, nothing for null or NaN.

    >>> as_text(pl.Series([5.0, 1e-9, None]))
    ['5', '1e-09', '']
    """
    if series.dtype == pl.String:
        return ["" if value is None else value for value in series.to_list()]
    return [_cell_text(value) for value in series.to_list()]


def _series(name: str, values: "pd.Series[Any]") -> pl.Series:
    # polars reads periods and intervals as their bare numbers
    if not str(values.dtype).startswith(("period", "interval")):
        # what pyarrow raises about a column of mixed values differs with their types
        with contextlib.suppress(TypeError, ValueError, ArithmeticError, NotImplementedError):
            return pl.from_pandas(values).alias(name)
    missing = values.isna()
    cells = zip(values, missing, strict=True)
    texts = [None if is_missing else _cell_text(value) for value, is_missing in cells]
    return pl.Series(name, texts, pl.String)


def _cell_text(value: object) -> str:
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value)
