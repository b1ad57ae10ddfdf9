"""Columns of numbers: what they hold by their name, bounds, and the scale they are on."""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import (
    GAS_CONSTANT_KCAL_PER_MOL_K,
    STANDARD_TEMPERATURE_K,
    parse_bounded_number,
    parse_kd,
)

Kind = Literal["pkd", "kd", "log_kd", "dg", "ddg", "score", "prediction", "number"]

KCAL_PER_LOG10 = GAS_CONSTANT_KCAL_PER_MOL_K * STANDARD_TEMPERATURE_K * float(np.log(10.0))
_NUMBER = r"^\s*(<=|>=|<|>|≤|≥|~|=)?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*$"
# canonical column -> kind and log10 of its unit in M
_VALUE_KINDS: dict[str, tuple[Kind, float]] = {
    "pkd": ("pkd", 0.0),
    "kd": ("kd", 0.0),
    "kd_M": ("kd", 0.0),
    "kd_uM": ("kd", -6.0),
    "kd_nM": ("kd", -9.0),
    "kd_pM": ("kd", -12.0),
    "dg_kcal_mol": ("dg", 0.0),
    "ddg_kcal_mol": ("ddg", 0.0),
    "score": ("score", 0.0),
    "true": ("pkd", 0.0),
    "pred": ("prediction", 0.0),
}
_KD_UNITS = {"kd": "M", "kd_M": "M", "kd_uM": "uM", "kd_nM": "nM", "kd_pM": "pM"}
_UNIT_LOG10_M = {"M": 0.0, "uM": -6.0, "nM": -9.0, "pM": -12.0}
# names that no alias covers, by what people write in them
_NAME_KINDS: tuple[tuple[str, Kind, float], ...] = (
    (r"ddg|delta_?delta_?g|ΔΔg", "ddg", 0.0),
    (r"^(dg|delta_?g|Δg)", "dg", 0.0),
    (r"log.*kd.*nm|alphaseq|pred_affinity", "log_kd", -9.0),
    (r"p_?kd|-log", "pkd", 0.0),
    (r"kd.*nm\b|\bnm.*kd", "kd", -9.0),
    (r"kd.*pm\b", "kd", -12.0),
    (r"kd.*[uµμ]m\b", "kd", -6.0),
    (r"kd.*m\)?$", "kd", 0.0),
    (r"score|fitness|enrich|affinity|binding|^labels?$|^value$|^y$|measured", "score", 0.0),
)
# numbers that describe how or where, not how strongly
_NOT_VALUES = re.compile(
    r"(^|_|\s)(id|index|row|fold|split|cluster|year|date|pmid|temperature|temp|ph|well|plate|batch|n|count|"
    r"sd|std|sem|error|length|len|chain|resolution|res|seed|rank|version|replicate|wt|wild|parent|pdb|"
    r"rmsd|clashscore|k_?on|k_?off|dh|ds|concentration)(\d*$|_|\s|\.|\()",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ValueColumn:
    """A column of numbers.

    Attributes
    ----------
    name : str
    kind : Kind
        What the name says it holds.
    values : numpy.ndarray
        As written; NaN where there is no number; (rows,).
    bounds : numpy.ndarray
        -1 where written as ``<``, 1 for ``>``, 0 for a plain number; about the number as written.
    unit_log10_M : float
        For a Kd, log10 of its unit in mol/L.
    unreadable : tuple of int
        Rows that hold text that is no number.
    """

    name: str
    kind: Kind
    values: np.ndarray
    bounds: np.ndarray
    unit_log10_M: float = 0.0
    unreadable: tuple[int, ...] = ()

    @property
    def is_label(self) -> bool:
        """Whether it is a measured value by its name."""
        return self.kind not in ("prediction", "number")

    @property
    def exact(self) -> np.ndarray:
        """Where there is a plain number; boolean (rows,)."""
        return np.isfinite(self.values) & (self.bounds == 0)

    def logs(self) -> np.ndarray:
        """Values in log10, strong binding high: pKd where the unit is known; (rows,)."""
        if self.kind == "kd":
            positive = np.where(self.values > 0, self.values, np.nan)
            return -np.log10(positive) - self.unit_log10_M
        if self.kind == "log_kd":
            return -self.values - self.unit_log10_M
        if self.kind in ("dg", "ddg"):
            return -self.values / KCAL_PER_LOG10
        return self.values

    @property
    def weak_end(self) -> int:
        """-1 if weak binders have low numbers in this column, 1 if high ones."""
        return 1 if self.kind in ("kd", "log_kd", "dg", "ddg") else -1


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where one side is constant.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 4.0, 1.0]))
    -1.0
    """
    from scipy import stats

    ranks = stats.rankdata(np.stack([first, second]), axis=1)
    if (np.ptp(ranks, axis=1) == 0).any():
        return 0.0
    return float(np.round(np.corrcoef(ranks)[0, 1], 12))


def same_order(column: ValueColumn, other: ValueColumn) -> bool:
    """Whether two columns put the rows in the same (or the opposite) order, ties included."""
    both = column.exact & other.exact
    if both.sum() < 5 or both.sum() < 0.9 * column.exact.sum():
        return False
    first, second = column.values[both], other.values[both]
    order = np.lexsort((second, first))
    second = second[order]
    steps, firsts = np.diff(second), np.diff(first[order])
    # rounding may tie in one column what is apart in the other
    tiny = 1e-3 * (np.std(second) + 1e-12)
    rising, falling = bool((steps >= -tiny).all()), bool((steps[firsts > 0] <= tiny).all())
    return rising or falling


def rank(column: ValueColumn, roles: dict[str, str]) -> int:
    """Order in which columns are looked at: the likeliest label first."""
    canonical = next((role for role, name in roles.items() if name == column.name), None)
    order = list(_VALUE_KINDS)
    if canonical in _VALUE_KINDS and column.is_label:
        return order.index(canonical)
    return len(order) + (0 if column.is_label else 2 if column.kind == "number" else 1)


def value_columns(frame: pl.DataFrame, roles: dict[str, str]) -> Iterator[ValueColumn]:
    """Columns of measured or predicted numbers, in the table's order."""
    canonical = {name: role for role, name in roles.items()}
    for name in frame.columns:
        role = canonical.get(name)
        if role is not None and role in _KD_UNITS:
            column = _kd_column(name, frame[name], _KD_UNITS[role])
            if column is not None:
                yield column
            continue
        numbers = _numbers(name, frame[name])
        if numbers is None:
            continue
        if role in _VALUE_KINDS:
            kind, unit = _VALUE_KINDS[role]
            if role == "true" and not _looks_like_pkd(numbers):
                kind = "score"  # measured, but nothing says in what
            yield dataclasses.replace(numbers, kind=kind, unit_log10_M=unit)
        elif role is None and not _NOT_VALUES.search(name):
            kind, unit = next(
                ((k, u) for pattern, k, u in _NAME_KINDS if re.search(pattern, name.lower())),
                ("number", 0.0),
            )
            if is_continuous(numbers.values[numbers.exact]):
                yield dataclasses.replace(numbers, kind=kind, unit_log10_M=unit)


def _looks_like_pkd(column: ValueColumn) -> bool:
    values = column.values[column.exact]
    return len(values) > 0 and 3.0 <= float(np.median(values)) <= 13.0


def is_continuous(values: np.ndarray) -> bool:
    """Whether numbers look measured: many different ones, and not all whole."""
    if len(values) < 20:
        return False
    different, counts = np.unique(values, return_counts=True)
    # what is repeated very often (a floor, a flag) must not hide that the rest is measured
    rest = counts <= max(2, 0.02 * len(values))
    if rest.sum() < 20 or counts[rest].sum() < 0.2 * len(values):
        return False
    many = rest.sum() >= min(100, 0.25 * counts[rest].sum())
    return bool(many) and bool((different % 1 != 0).mean() > 0.2)


def _numbers(name: str, column: pl.Series) -> ValueColumn | None:
    parts = column.str.extract_groups(_NUMBER)
    bound = parts.struct[0].to_list()
    values = parts.struct[1].cast(pl.Float64, strict=False).to_numpy()
    filled = column.is_not_null().to_numpy()
    readable = np.isfinite(values)
    if readable.sum() < max(3, 0.5 * filled.sum()):
        return None
    signs = {"<": -1, "<=": -1, "≤": -1, ">": 1, ">=": 1, "≥": 1}
    bounds = np.array([signs.get(text or "", 0) for text in bound], dtype=np.int8)
    unreadable = tuple(np.flatnonzero(filled & ~readable).tolist())
    return ValueColumn(name, "number", values.astype(float), bounds, unreadable=unreadable)


def _kd_column(name: str, column: pl.Series, unit: str) -> ValueColumn | None:
    """Kd with or without units, in `unit`; non-binders without a number are bounds at NaN."""
    values = np.full(len(column), np.nan)
    bounds = np.zeros(len(column), dtype=np.int8)
    unreadable = []
    parsed: dict[str, tuple[float, int] | None] = {}
    for row, text in enumerate(column.to_list()):
        if text is None:
            continue
        if text not in parsed:
            parsed[text] = _parse_kd(text, unit)
        found = parsed[text]
        if found is None:
            unreadable.append(row)
        else:
            values[row], bounds[row] = found
    if np.isfinite(values).sum() < max(3, 0.5 * (len(column) - column.null_count())):
        return None
    return ValueColumn(name, "kd", values, bounds, _UNIT_LOG10_M[unit], tuple(unreadable))


def _parse_kd(text: str, unit: str) -> tuple[float, int] | None:
    try:
        number, censoring = parse_bounded_number(text)
        # a negative number is no Kd, which the audit says: it is not unreadable
        return number, {Censoring.EXACT: 0, Censoring.AT_MOST: -1, Censoring.AT_LEAST: 1}[censoring]
    except InputError:
        pass
    try:
        pkd, censoring = parse_kd(text, unit)
    except InputError:
        return None
    bound = {Censoring.EXACT: 0, Censoring.AT_MOST: 1, Censoring.AT_LEAST: -1}[censoring]
    return (math.nan if pkd is None else 10.0 ** (-pkd - _UNIT_LOG10_M[unit])), bound
