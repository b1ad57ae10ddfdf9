"""A table as the audit sees it: which columns hold values, in which unit, and which hold molecules.

Nothing is refused: columns are recognised by name where possible and by what they hold where not, so
that a table of predictions, of ΔΔG or of scores without any sequence can be audited as well.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
import polars as pl

from paratope.errors import InputError
from paratope.numbering import Domain, find_domains
from paratope.sequences import clean_sequence
from paratope.tables import match_columns
from paratope.units import (
    GAS_CONSTANT_KCAL_PER_MOL_K,
    STANDARD_TEMPERATURE_K,
    Censoring,
    parse_bounded_number,
    parse_kd,
)

Kind = Literal["pkd", "kd", "log_kd", "dg", "ddg", "score", "prediction", "number"]

KCAL_PER_LOG10 = GAS_CONSTANT_KCAL_PER_MOL_K * STANDARD_TEMPERATURE_K * float(np.log(10.0))
_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "#n/a", "-"})
_NUMBER = r"^\s*(<=|>=|<|>|≤|≥|~|=)?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*$"
_SEQUENCE = re.compile(r"[A-Za-z*:|\s-]{30,}")
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
        """Values on a logarithmic scale, strong binding high: pKd where the unit is known; (rows,)."""
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


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One table.

    Attributes
    ----------
    name : str
    frame : polars.DataFrame
        Every column as text, empty cells null.
    roles : dict of str to str
        Canonical name -> the table's column.
    values : tuple of ValueColumn
        Labels first.
    """

    name: str
    frame: pl.DataFrame
    roles: dict[str, str]
    values: tuple[ValueColumn, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.frame.height

    def text(self, role: str) -> list[str | None]:
        """Texts of a role's column; all None if the table lacks it."""
        if role not in self.roles:
            return [None] * self.rows
        return self.frame[self.roles[role]].to_list()

    @functools.cached_property
    def heavy(self) -> list[str | None]:
        """Heavy chains as residues."""
        return [_residues(text) for text in self.text("heavy")]

    @functools.cached_property
    def light(self) -> list[str | None]:
        """Light chains as residues."""
        return [_residues(text) for text in self.text("light")]

    @functools.cached_property
    def antigen(self) -> list[str | None]:
        """Antigens as residues, or by name where the column holds names."""
        texts = self.text("antigen")
        return [_residues(text) if text and _SEQUENCE.fullmatch(text) else text for text in texts]

    @functools.cached_property
    def antibody_codes(self) -> np.ndarray:
        """Same number for the same antibody, -1 where there is none; (rows,)."""
        return _codes(list(zip(self.heavy, self.light, strict=True)), needed=1)

    @functools.cached_property
    def antigen_codes(self) -> np.ndarray:
        """Same number for the same antigen, -1 where there is none; (rows,)."""
        keys = self.antigen
        if not any(keys):
            keys = self.text("antigen_name")
        return _codes([(key,) for key in keys], needed=1)

    @functools.cached_property
    def pair_codes(self) -> np.ndarray:
        """Same number for the same pair, -1 where there is no antibody; (rows,)."""
        both = list(zip(self.antibody_codes.tolist(), self.antigen_codes.tolist(), strict=True))
        codes = _codes([pair if pair[0] >= 0 else (None,) for pair in both], needed=1)
        return codes

    @functools.cached_property
    def assay_codes(self) -> np.ndarray:
        """Same number for the same assay, -1 where none is named; (rows,)."""
        return _codes([(text,) for text in self.text("assay")], needed=1)

    @property
    def labels(self) -> tuple[ValueColumn, ...]:
        """Columns that hold measured values."""
        return tuple(column for column in self.values if column.is_label)

    @functools.cached_property
    def independent(self) -> tuple[ValueColumn, ...]:
        """Columns of values without those that only repeat an earlier one in another unit."""
        kept: list[ValueColumn] = []
        for column in self.values:
            if not any(_same_order(column, other) for other in kept):
                kept.append(column)
        return tuple(kept)

    @property
    def label(self) -> ValueColumn | None:
        """The column that holds the measured value, or the likeliest one."""
        labels = self.labels or self.values
        return labels[0] if labels else None

    def shown(self, row: int) -> str:
        """A row's number with its id."""
        name = self.text("id")[row]
        return f"row {row + 1}" + (f" ({name})" if name else "")


def _same_order(column: ValueColumn, other: ValueColumn) -> bool:
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


def read_subject(name: str, frame: pl.DataFrame) -> Subject:
    """A table of texts as the audit sees it."""
    frame = frame.select(
        pl.col(column).cast(pl.String).str.strip_chars().alias(column) for column in frame.columns
    )
    frame = frame.with_columns(
        pl.when(pl.all().str.to_lowercase().is_in(list(_MISSING)))
        .then(None)
        .otherwise(pl.all())
        .name.keep()
    )
    roles = match_columns(frame.columns)
    roles = _roles_by_content(frame, roles)
    values = tuple(_value_columns(frame, roles))
    order = sorted(range(len(values)), key=lambda k: _rank(values[k], roles))
    return Subject(name, frame, roles, tuple(values[k] for k in order))


def _rank(column: ValueColumn, roles: dict[str, str]) -> int:
    canonical = next((role for role, name in roles.items() if name == column.name), None)
    order = list(_VALUE_KINDS)
    if canonical in _VALUE_KINDS and column.is_label:
        return order.index(canonical)
    return len(order) + (0 if column.is_label else 2 if column.kind == "number" else 1)


def _value_columns(frame: pl.DataFrame, roles: dict[str, str]) -> Iterator[ValueColumn]:
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
    return bool(rest.sum() >= 0.25 * counts[rest].sum()) and bool((different % 1 != 0).mean() > 0.2)


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
    if np.isfinite(values).sum() < max(3, 0.5 * column.is_not_null().sum()):
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


@functools.lru_cache(maxsize=65536)
def _residues(text: str | None) -> str | None:
    """Residues of a cell, chains joined; the text itself, cleaned of spaces, if it is no protein."""
    if text is None:
        return None
    parts = [part for part in re.split(r"[|:]", text) if part.strip()]
    try:
        return ":".join(clean_sequence(part)[0] for part in parts) or None
    except InputError:
        return "".join(text.split()).upper()


def _codes(keys: list[tuple[object, ...]], needed: int) -> np.ndarray:
    """Number of each distinct key in order of appearance; -1 if one of its first `needed` parts is None."""
    seen: dict[tuple[object, ...], int] = {}
    codes = np.empty(len(keys), dtype=np.int64)
    for row, key in enumerate(keys):
        missing = any(part is None or part == -1 for part in key[:needed])
        codes[row] = -1 if missing else seen.setdefault(key, len(seen))
    return codes


def domains_of(residues: str) -> tuple[Domain, ...]:
    """Antibody domains of a cell's residues, chains joined by ``:`` taken one after the other."""
    found: list[Domain] = []
    for chain in residues.split(":"):
        if chain.isalpha():
            found += find_domains(chain)
    return tuple(found)


def _roles_by_content(frame: pl.DataFrame, roles: dict[str, str]) -> dict[str, str]:
    """Roles completed by what unnamed columns hold: heavy and light chains, antigens."""
    roles = {role: name for role, name in roles.items() if _plausible(role, frame[name])}
    taken = set(roles.values())
    for name in frame.columns:
        texts = frame[name].drop_nulls().unique(maintain_order=True).head(40).to_list()
        if name in taken or len(texts) == 0 or re.search(r"wt|wild|parent|cdr", name.lower()):
            continue
        if sum(
            _SEQUENCE.fullmatch(text) is not None and text.isupper() for text in texts
        ) < 0.8 * len(texts):
            continue
        found = [domains_of(residues) for text in texts if (residues := _residues(text))]
        with_domain = [domains for domains in found if domains]
        said = next((r for r in ("heavy", "light", "antigen") if r in name.lower()), None)
        if said is not None:
            role = said
        elif len(with_domain) >= 0.5 * len(found):
            heavy = sum(any(domain.is_heavy for domain in domains) for domains in with_domain)
            role = "heavy" if 2 * heavy >= len(with_domain) else "light"
        else:
            role = "antigen"
        mutant = "mut" in name.lower()
        if role not in roles or (mutant and "mut" not in roles[role].lower()):
            roles[role] = name
    return roles


def _plausible(role: str, column: pl.Series) -> bool:
    """Whether a column can hold what its name says, where that is a molecule."""
    if role not in ("heavy", "light", "antigen"):
        return True
    texts = column.drop_nulls().unique(maintain_order=True).head(200).to_list()
    if role == "antigen":  # sequences, or names
        fitting = sum(len(text) >= 3 and any(c.isalpha() for c in text) for text in texts)
    else:
        fitting = sum(len(text) >= 30 for text in texts)
    return fitting >= max(1, 0.5 * len(texts))
