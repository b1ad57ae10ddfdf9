"""A table as the audit sees it: which columns hold values, in which unit, and which molecules.

Nothing is refused: columns are recognised by name where possible and by what they hold where not,
so that a table of predictions, of ΔΔG or of scores without any sequence can be audited as well.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.number_text import is_no_binding, is_not_measured, plain_commas
from paratope.core.units import (
    GAS_CONSTANT_KCAL_PER_MOL_K,
    STANDARD_TEMPERATURE_K,
    parse_bounded_number,
    parse_kd,
)
from paratope.data.audit.report import CASES
from paratope.data.findings import Finding, Severity, concise
from paratope.data.tables import match_columns
from paratope.data.tables.columns import MEASURED_COLUMNS, residues_before_names
from paratope.data.tables.formats import as_text
from paratope.data.tables.values import (
    RowOfValues,
    ValueColumns,
    WrongUnitError,
    read_values,
)
from paratope.molecules.numbering import Domain, find_domains
from paratope.molecules.sequences import clean_sequence, split_chains

Kind = Literal["pkd", "kd", "log_kd", "dg", "ddg", "score", "prediction", "number"]

_WEAK_IS_HIGH: tuple[Kind, ...] = ("kd", "log_kd", "dg", "ddg")
KCAL_PER_LOG10 = GAS_CONSTANT_KCAL_PER_MOL_K * STANDARD_TEMPERATURE_K * float(np.log(10.0))
_UNIT_LOG10_M = {"M": 0.0, "uM": -6.0, "nM": -9.0, "pM": -12.0}
_KD_UNITS = {"kd": "M", "kd_M": "M", "kd_uM": "uM", "kd_nM": "nM", "kd_pM": "pM"}
# other canonical columns of values, the likeliest label first
_KINDS: dict[str, Kind] = {
    "pkd": "pkd",
    "dg_kcal_mol": "dg",
    "ddg_kcal_mol": "ddg",
    "score": "score",
    "true": "pkd",
    "pred": "prediction",
}
# names that no alias covers, by what people write in them -> kind and unit
_NAME_KINDS: tuple[tuple[str, Kind, str], ...] = (
    (r"ddg|delta_?delta_?g|ΔΔg", "ddg", "M"),
    (r"^(dg|delta_?g|Δg)", "dg", "M"),
    (r"log.*kd.*nm|alphaseq|pred_affinity", "log_kd", "nM"),
    (r"p_?kd|-log", "pkd", "M"),
    (r"kd.*nm\b|\bnm.*kd", "kd", "nM"),
    (r"kd.*pm\b", "kd", "pM"),
    (r"kd.*[uµμ]m\b", "kd", "uM"),
    (r"kd.*m\)?$", "kd", "M"),
    (r"score|fitness|enrich|affinity|binding|^labels?$|^value$|^y$|measured", "score", "M"),
)
# numbers that describe how or where, not how strongly
_NOT_VALUES = re.compile(
    r"(^|_|\s)(id|index|row|fold|split|cluster|year|date|pmid|temperature|temp|ph|well|plate|batch|"
    r"n|count|sd|std|sem|error|length|len|chain|resolution|res|seed|rank|version|replicate|wt|wild|"
    r"parent|pdb|rmsd|clashscore|k_?on|k_?off|dh|ds|concentration)(\d*$|_|\s|\.|\()",
    re.IGNORECASE,
)
_NUMBER = r"^\s*(<=|>=|<|>|≤|≥|~|=)?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*$"
_MISSING = ("", "na", "n/a", "nan", "none", "null", "#n/a", "-")
_SEQUENCE = re.compile(r"[A-Za-z*:|;,/+&.~\s-]{30,}")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ValueColumn:
    """A column of numbers."""

    name: str
    kind: Kind  # What the name says it holds
    values: np.ndarray  # As written; NaN where there is no number; (rows,)
    # -1 where written as ``<``, 1 for ``>``, 0 for a plain number; about the number as written
    bounds: np.ndarray
    unit_log10_M: float = 0.0  # For a Kd, log10 of its unit in mol/L
    unreadable: tuple[int, ...] = ()  # Rows that hold text that is no number

    @property
    def is_label(self) -> bool:
        """Whether it is a measured value by its name."""
        return self.kind not in ("prediction", "number")

    @property
    def is_affinity(self) -> bool:
        """Whether its name gives a scale on which pKd can be told."""
        return self.kind in ("pkd", "kd", "log_kd", "dg")

    @property
    def exact(self) -> np.ndarray:
        """Where there is a plain number; boolean (rows,)."""
        return np.isfinite(self.values) & (self.bounds == 0)

    def logs(self) -> np.ndarray:
        """Values in log10, strong binding high: pKd where the unit is known; (rows,)."""
        if self.kind == "kd":
            return -log10(self.values) - self.unit_log10_M
        if self.kind == "log_kd":
            return -self.values - self.unit_log10_M
        if self.kind in ("dg", "ddg"):
            return -self.values / KCAL_PER_LOG10
        return self.values

    @property
    def weak_end(self) -> int:
        """-1 if weak binders have low numbers in this column, 1 if high ones."""
        return 1 if self.kind in _WEAK_IS_HIGH else -1


class ValueReading(NamedTuple):
    """How every command reads the measured columns, or why it does not."""

    columns: ValueColumns
    rows: list[RowOfValues]
    refusal: InputError | None


@dataclasses.dataclass(frozen=True, eq=False)
class AuditedTable:
    """One table."""

    name: str
    frame: pl.DataFrame  # Every column as text, empty cells null
    roles: dict[str, str]  # Canonical name -> the table's column
    values: tuple[ValueColumn, ...]  # Labels first
    reading: ValueReading

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
        texts = self.text("light")
        return [None if is_not_measured(text or "") else _residues(text) for text in texts]

    @functools.cached_property
    def antigen(self) -> list[str | None]:
        """Antigens as residues, or by name where the column holds names."""
        texts = self.text("antigen")
        return [_residues(text) if text and _SEQUENCE.fullmatch(text) else text for text in texts]

    @functools.cached_property
    def antibody_codes(self) -> np.ndarray:
        """Same number for the same antibody, -1 where there is none; (rows,)."""
        chains = zip(self.heavy, self.light, strict=True)
        return _codes([pair if pair[0] is not None else None for pair in chains])

    @functools.cached_property
    def antigen_codes(self) -> np.ndarray:
        """Same number for the same antigen, -1 where there is none; (rows,)."""
        return _codes(self.antigen if any(self.antigen) else self.text("antigen_name"))

    @functools.cached_property
    def pair_codes(self) -> np.ndarray:
        """Same number for the same pair, -1 where there is no antibody; (rows,)."""
        codes = zip(self.antibody_codes.tolist(), self.antigen_codes.tolist(), strict=True)
        return _codes([pair if pair[0] >= 0 else None for pair in codes])

    @functools.cached_property
    def assay_codes(self) -> np.ndarray:
        """Same number for the same assay, -1 where none is named; (rows,)."""
        return _codes(self.text("assay"))

    @functools.cached_property
    def unreadable(self) -> dict[str, tuple[int, ...]]:
        """By measured column, the rows whose text no command reads as a value."""
        columns, rows, _ = self.reading
        found = {column.name: column.unreadable for column in self.labels[:1]}
        for key, name in columns.columns.items() if rows else ():
            if name in self.frame.columns:
                texts = [row.cells.get(key, "") for row in rows]
                refused = {text for text in set(texts) if _is_refused(key, text, name)}
                found[name] = tuple(row for row, text in enumerate(texts) if text in refused)
        return {name: refused_rows for name, refused_rows in found.items() if refused_rows}

    @property
    def labels(self) -> tuple[ValueColumn, ...]:
        """Columns that hold measured values."""
        return tuple(column for column in self.values if column.is_label)

    @property
    def label(self) -> ValueColumn | None:
        """The column that holds the measured value, or the likeliest one."""
        return next(iter(self.labels or self.values), None)

    @functools.cached_property
    def independent(self) -> tuple[ValueColumn, ...]:
        """Columns of values without those that only repeat an earlier one in another unit."""
        kept: list[ValueColumn] = []
        for column in self.values:
            if not any(_same_order(column, other) for other in kept):
                kept.append(column)
        return tuple(kept)

    def shown(
        self,
        rows: Sequence[int] | np.ndarray,
        values: Sequence[object] | Mapping[int, object] | None = None,
    ) -> tuple[str, ...]:
        """The first rows by number and id, with what they hold."""
        ids, examples = self.text("id"), []
        for index in list(rows)[:4]:
            value = "" if values is None else values[index]
            value = concise(value) if isinstance(value, float) else value
            name = f" ({ids[index]})" if ids[index] else ""
            examples.append(f"row {index + 1}{name}" + (f": {value}" if value != "" else ""))
        return tuple(examples)

    def finding(
        self,
        code: str,
        column: str | ValueColumn,
        message: str,
        rows: Sequence[int] | np.ndarray | int,
        examples: Sequence[str] = (),
        *,
        severity: Severity | None = None,
        confidence: float | None = None,
        advice: str = "",
    ) -> Finding:
        """A finding about rows (indices from 0, or how many); ``CASES`` has what is not given."""
        usual = CASES[code]
        numbers = () if isinstance(rows, int) else tuple(int(index) + 1 for index in rows)
        return Finding(
            code.partition(":")[0],
            severity or usual.severity,
            message,
            advice or usual.advice,
            usual.confidence if confidence is None else confidence,
            self.name,
            column if isinstance(column, str) else column.name,
            rows if isinstance(rows, int) else len(numbers),
            numbers,
            tuple(examples),
        )

    def about_rows(
        self,
        code: str,
        column: str | ValueColumn,
        rows: Sequence[int] | np.ndarray | Mapping[int, object],
        message: str,
        severity: Severity | None = None,
    ) -> Iterator[Finding]:
        """A finding about rows, the first shown with what a mapping says of them, if there are."""
        if len(rows):
            indices, held = list(rows), rows if isinstance(rows, Mapping) else None
            examples = self.shown(indices, held)
            yield self.finding(code, column, message, indices, examples, severity=severity)


def read_audited(name: str, frame: pl.DataFrame) -> AuditedTable:
    """A table as the audit sees it."""
    texts = [
        pl.Series(column.name, as_text(column), pl.String)
        if column.dtype.is_nested() or column.dtype == pl.Object
        else column.cast(pl.String)
        for column in frame.iter_columns()
    ]
    stripped = pl.all().str.strip_chars()
    missing = stripped.str.to_lowercase().is_in(list(_MISSING))
    frame = pl.DataFrame(texts).select(pl.when(missing).then(None).otherwise(stripped).name.keep())
    roles = _roles_by_content(frame, residues_before_names(match_columns(frame.columns), frame)[0])
    order = [*_KD_UNITS, *_KINDS]
    order.insert(0, order.pop(order.index("pkd")))
    canonical = {column: role for role, column in roles.items()}

    def rank(column: ValueColumn) -> int:
        role = canonical.get(column.name)
        if role in order and column.is_label:
            return order.index(role)
        return len(order) + (0 if column.is_label else 2 if column.kind == "number" else 1)

    measured = match_columns(frame.columns, wanted=MEASURED_COLUMNS)
    columns = ValueColumns(name, frame.columns, measured)
    try:
        reading = ValueReading(columns, columns.read(frame) if columns.has_any else [], None)
    except InputError as problem:
        reading = ValueReading(columns, [], problem)
    together = {}  # relation and unit beside their number, commas as points
    for key, column in reading.columns.columns.items():
        if column not in frame.columns:
            continue
        plain, note = plain_commas([text or "" for text in frame[column]])
        if reading.columns.roles and reading.rows and " " not in key:
            together[column] = [row.cells.get(key) or None for row in reading.rows]
        elif note:
            together[column] = [text or None for text in plain]
    whole = frame.with_columns(pl.Series(n, t, pl.String) for n, t in together.items())
    values = tuple(sorted(_values(whole, canonical), key=rank))
    return AuditedTable(name, frame, roles, values, reading)


def log10(values: np.ndarray) -> np.ndarray:
    """Logarithm; NaN of what is not positive."""
    return np.log10(np.where(values > 0, values, np.nan))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where one side is constant."""
    from scipy import stats

    ranks = stats.rankdata(np.stack([first, second]), axis=1)
    if (np.ptp(ranks, axis=1) == 0).any():
        return 0.0
    return float(np.round(np.corrcoef(ranks)[0, 1], 12))


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


def domains_of(residues: str) -> tuple[Domain, ...]:
    """Antibody domains of a cell's residues, chains joined by ``:`` one after the other."""
    chains = filter(str.isalpha, residues.split(":"))
    return tuple(domain for chain in chains for domain in find_domains(chain))


def sequence_problem(text: str) -> str:
    """Why a cell is no protein, of one or several chains; empty if it is one."""
    try:
        for part in split_chains(text)[0]:
            clean_sequence(part)
    except InputError as problem:
        return str(problem)
    return ""


@functools.lru_cache(maxsize=65536)
def _residues(text: str | None) -> str | None:
    """Residues of a cell, chains joined; the text without spaces if it is no protein."""
    if text is None:
        return None
    if sequence_problem(text):
        return "".join(text.split()).upper()
    return ":".join(clean_sequence(part)[0] for part in split_chains(text)[0]) or None


def _codes(keys: Sequence[Hashable]) -> np.ndarray:
    """Number of each distinct key in order of appearance; -1 of None."""
    seen: dict[Hashable, int] = {}
    codes = [-1 if key is None else seen.setdefault(key, len(seen)) for key in keys]
    return np.array(codes, dtype=np.int64)


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
    return bool((steps >= -tiny).all()) or bool((steps[firsts > 0] <= tiny).all())


def _values(frame: pl.DataFrame, canonical: dict[str, str]) -> Iterator[ValueColumn]:
    """Columns of measured or predicted numbers, in the table's order."""
    for name in frame.columns:
        role = canonical.get(name)
        if role in _KD_UNITS:
            column = _measured_column(name, frame[name], "kd", _KD_UNITS[role])
        elif role in _KINDS:
            column = _measured_column(name, frame[name], _KINDS[role])
            exact = () if column is None else column.values[column.exact]
            if role == "true" and not (len(exact) and 3.0 <= float(np.median(exact)) <= 13.0):
                # measured, but nothing says in what
                column = column and dataclasses.replace(column, kind="score")
        else:
            column = None if role else _unnamed_column(name, frame[name])
        if column is not None:
            yield column


def _unnamed_column(name: str, column: pl.Series) -> ValueColumn | None:
    """A column of numbers that look measured, by its name or for what it holds."""
    parts = column.str.extract_groups(_NUMBER)
    values = parts.struct[1].cast(pl.Float64, strict=False).to_numpy().astype(float)
    filled, readable = column.is_not_null().to_numpy(), np.isfinite(values)
    if readable.sum() < max(3, 0.5 * filled.sum()):
        return None
    signs = {"<": -1, "<=": -1, "≤": -1, ">": 1, ">=": 1, "≥": 1}
    bounds = np.array([signs.get(text or "", 0) for text in parts.struct[0]], dtype=np.int8)
    if _NOT_VALUES.search(name) or not is_continuous(values[readable & (bounds == 0)]):
        return None
    unreadable = tuple(np.flatnonzero(filled & ~readable).tolist())
    numbers = ValueColumn(name, "number", values, bounds, unreadable=unreadable)
    for pattern, kind, unit in _NAME_KINDS:
        if re.search(pattern, name.lower()):
            return dataclasses.replace(numbers, kind=kind, unit_log10_M=_UNIT_LOG10_M[unit])
    return numbers


def _measured_column(
    name: str, column: pl.Series, kind: Kind, unit: str = "M"
) -> ValueColumn | None:
    """A column named as measured, a Kd in `unit`; a non-binder without a number bounds at NaN."""
    is_kd, weak = kind == "kd", 1 if kind in _WEAK_IS_HIGH else -1

    def parsed(text: str) -> tuple[float, int] | None:
        if is_no_binding(text, of_kd=is_kd):
            return math.nan, weak
        try:
            # a negative number is no Kd, which the audit says: it is not unreadable
            number, censoring = parse_bounded_number(text)
            return number, int(censoring)
        except InputError:
            pass
        try:
            pkd, censoring = parse_kd(text, unit) if is_kd else (None, Censoring.EXACT)
        except InputError:
            return None
        # a Kd of at least something is a pKd of at most something
        return None if pkd is None else (10.0 ** (-pkd - _UNIT_LOG10_M[unit]), -int(censoring))

    missing = (math.nan, 0)
    cells = {
        text: missing if is_not_measured(text or "") else parsed(text) for text in column.unique()
    }
    unreadable = tuple(row for row, text in enumerate(column) if cells[text] is None)
    values = np.array([(cells[text] or missing)[0] for text in column])
    bounds = np.array([(cells[text] or missing)[1] for text in column], dtype=np.int8)
    numbers, readable = np.isfinite(values), np.isfinite(values) | (bounds != 0)
    if numbers.sum() < 3 or readable.sum() < 0.5 * (len(column) - column.null_count()):
        return None
    return ValueColumn(name, kind, values, bounds, _UNIT_LOG10_M[unit], unreadable)


def _is_refused(key: str, text: str, name: str) -> bool:
    """Whether every command refuses a cell for what it says, not for its number's size or sign."""
    if re.fullmatch(_NUMBER, text) or is_not_measured(text):
        return False
    try:
        read_values({key: text}, {key: name})
    except WrongUnitError:
        return False
    except InputError:
        return True
    return False


def _roles_by_content(frame: pl.DataFrame, roles: dict[str, str]) -> dict[str, str]:
    """Roles completed by what unnamed columns hold: heavy and light chains, antigens."""
    roles = dict(roles)
    for role in ("heavy", "light", "antigen"):  # not if a column cannot hold what its name says
        column = frame[roles[role]] if role in roles else pl.Series([], dtype=pl.String)
        texts = column.drop_nulls().unique(maintain_order=True).head(200).to_list()
        fits = [
            len(text) >= (3 if role == "antigen" else 30) and any(map(str.isalpha, text))
            for text in texts  # antigens may be names
        ]
        if role in roles and sum(fits) < max(1, 0.5 * len(texts)):
            del roles[role]
    recognised = set(roles.values())
    for name in frame.columns:
        texts = frame[name].drop_nulls().unique(maintain_order=True).head(40).to_list()
        if name in recognised or not texts or re.search(r"wt|wild|parent|cdr", name.lower()):
            continue
        sequences = [text for text in texts if _SEQUENCE.fullmatch(text) and text.isupper()]
        if len(sequences) < 0.8 * len(texts):
            continue
        domains = [domains_of(residues) for text in texts if (residues := _residues(text))]
        antibodies = [chain for chain in domains if chain]
        role = next((r for r in ("heavy", "light", "antigen") if r in name.lower()), "")
        if not role and len(antibodies) >= 0.5 * len(domains):
            heavy = sum(any(domain.is_heavy for domain in chain) for chain in antibodies)
            role = "heavy" if 2 * heavy >= len(antibodies) else "light"
        role = role or "antigen"
        mutant = "mut" in name.lower()
        if role not in roles or (mutant and "mut" not in roles[role].lower()):
            roles[role] = name
    return roles
