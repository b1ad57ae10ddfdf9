"""Measured values: what the columns of a row say together, and in which unit they probably are.

A relation (``>``), a unit and a type of value (``IC50``) may stand in columns of their own, and an
on rate beside an off rate gives a Kd. They are known by what their cells hold, and by name where a
cell holds something else.
"""

import importlib.resources
import re
import statistics
import tomllib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from paratope.core import units
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.number_text import (
    is_no_binding,
    is_not_measured,
    plain_commas,
    plain_text,
    split_number,
)
from paratope.data.tables.columns import SPREAD_NAME, VALUE_COLUMNS, rate_columns, same_meaning
from paratope.data.tables.formats import as_text

KD_UNITS = {"kd_M": "M", "kd_uM": "uM", "kd_nM": "nM", "kd_pM": "pM", "kd": ""}
ABSOLUTE = ("pkd", *KD_UNITS, "dg_kcal_mol")
# Two columns of one row say the same if they differ by no more than this (rounding).
AGREEMENT_LOG10 = 0.1
# A bare number is a Kd in M only if the table's strongest would be a pKd of at least this.
MIN_STRONGEST_PKD = 4.0
# what rates lie between, in 1/(M s) and 1/s
ON_RATES, OFF_RATES = (1e2, 1e9), (1e-7, 1.0)
# A Kd of rates, or beside an on rate, that is weaker than this is doubted.
DOUBTED_PKD = 6.0
# of logarithms that do not say their sign, those above are of 1 / Kd in M, those below of Kd
_LOG_IS_PKD = 4.0
# what nearly all Kd in M lie between
_KD_M = (1e-15, 1e-4)

_FILE = importlib.resources.files("paratope.data.tables") / "words.toml"
_WORDS = tomllib.loads(_FILE.read_text("utf-8"))
_NO, _YES = (set(_WORDS["binder"][answer].split()) for answer in ("no", "yes"))
_RELATIONS = {word: sign for sign, words in _WORDS["relations"].items() for word in words}
_TYPES = {word: kind for kind, words in _WORDS["value_types"].items() for word in words.split()}
_TURNED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "-": ""}
_ROLES = {  # names of columns that hold what stands beside a value
    "relation": r"inequality|qualifier|relation|operator|modifier|comparator",
    "unit": r"units?$|_units?\b",
    "value_type": r"type$|endpoint|parameter|response measured",
}
# a column about another quantity than Kd
_OTHER = re.compile(r"ic_?50|ec_?50|\bki\b|k_?on|k_?off|\bka\b|temp|time|conc|parent|dose", re.I)
# of such a quantity, lower is stronger; of its negative logarithm, higher
_LOWER = re.compile(
    r"(?<![a-zδ])(?:k_?d|[ie]c_?50|k_?i|k_?off|(?:d|δ|delta_?)g)(?![a-z])|log.*(?:k_?d|c_?50)", re.I
)
_HIGHER = re.compile(
    r"(?<![a-z])p_?(?:k_?d|[ie]c_?50|k_?i)(?![a-z])|(?:neg|minus|^\W*[-−]).*log", re.I
)
_HEADER_UNIT = re.compile(r"[(\[]\s*([^)\]]+?)\s*[)\]]")


class SpreadError(InputError):
    """A value that its neighbouring columns contradict; `code` is that of the audit's finding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WrongUnitError(InputError):
    """A value no assay can measure; `note` says which unit its column probably has."""

    def __init__(self, column: str, message: str, hint: str) -> None:
        super().__init__(f"column {column!r}: {message}; {hint}")
        self.note = f"column {column!r}: out of range, {hint}"


class RowOfValues(NamedTuple):
    """The measured cells of a row: texts by canonical column, ``"kd_nM 2"`` for a second one."""

    cells: dict[str, str]
    notes: tuple[str, ...] = ()
    problem: SpreadError | None = None
    kind: str = ""  # The type of value, if it is no Kd and taken as one all the same


def canonical_of(key: str) -> str:
    """The canonical column of a key of `RowOfValues.cells`."""
    return key.partition(" ")[0]


def numbers_of(texts: Sequence[str]) -> np.ndarray:
    """The numbers of texts, whatever stands about them; NaN where there is none; (n,)."""
    parts = map(split_number, texts)
    return np.array([np.nan if number is None else number.value for number in parts])


def turned_score(texts: Sequence[str], others: Mapping[str, Sequence[str]]) -> str:
    """Why scores may be a quantity of which lower is stronger; empty if nothing says so.

    They are if all lie where Kd in M do, or if another column, which by its name is a Kd, a ΔG, an
    IC50 or an EC50, holds the same values or ranks the rows the same way (or its logarithm the
    other).
    """
    scores = numbers_of(texts)
    known = scores[np.isfinite(scores)]
    if len(known) and known.min() > _KD_M[0] and known.max() < _KD_M[1]:
        return (
            f"all {len(known)} values lie between {known.min():.2g} and {known.max():.2g}: it "
            "looks like a Kd in M"
        )
    for name, column in others.items():
        is_higher = _HIGHER.search(name) is not None
        if not (is_higher or _LOWER.search(name)) or SPREAD_NAME.search(name):
            continue
        values = numbers_of(column)
        if "log" in name.lower() and np.isfinite(values).any():
            is_higher |= bool(np.nanmedian(values) > _LOG_IS_PKD)
        both = np.isfinite(scores) & np.isfinite(values)
        first, second = scores[both], values[both]
        if both.sum() < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
            continue
        if not is_higher and np.allclose(first, second, rtol=1e-3, atol=0):
            return f"it holds the values of column {name!r}"
        ranks = [np.unique(each, return_inverse=True)[1] for each in (first, second)]
        correlation = np.corrcoef(ranks[0], y=ranks[1])[0, 1]
        if both.sum() >= 5 and correlation * (-1 if is_higher else 1) > 0.95:
            return f"it {'falls' if is_higher else 'rises'} with column {name!r}"
    return ""


def _relation_of(text: str) -> str | None:
    """The sign of a relation in a column of its own, empty for ``=``; None if it is none."""
    return _RELATIONS.get(plain_text(text).strip().strip("'\"").strip().lower())


def _type_of(text: str) -> str | None:
    """What kind of value a word stands for: a canonical column, or another type's name."""
    key = re.sub(r"[^a-z0-9]", "", plain_text(text).lower().replace("δ", "delta"))
    if match := re.search(r"(?:ic|ec|ed|ac|id|nt|gi|cc)50", key):
        return match[0].upper()
    return _TYPES.get(re.sub(r"^(?:p|log)(?=(?:ki|ka|kon|koff|tm)$)", "", key))


def _kds(cells: Mapping[str, str]) -> list[str]:
    return [key for key in cells if canonical_of(key) in KD_UNITS]


def _turned(text: str) -> str:
    """A number, or a sign of relation, of the opposite quantity."""
    return re.sub(r"[<>≤≥]|-(?=[\d.])", lambda match: _TURNED[match[0]], plain_text(text))


class ValueColumns:
    """The columns of a table that say what was measured.

    `found` are all its columns, `matched` the user's by canonical name. `take` are types of value
    that are read as if they were Kd, each as an assay of its own. With `only_matched`, the columns
    of values were named by hand: no other is read.
    """

    def __init__(
        self,
        source: str,
        names: Sequence[str],
        matched: Mapping[str, str],
        *,
        take: Collection[str] = (),
        only_matched: bool = False,
    ) -> None:
        self._source = source
        self.notes: list[str] = []  # About the table
        self.columns = {name: matched[name] for name in VALUE_COLUMNS if name in matched}
        self._take = {name.lower() for name in take}
        used = set(matched.values())
        for canonical in () if only_matched else [c for c in ABSOLUTE if c in matched]:
            for count, name in enumerate(same_meaning(names, canonical, used), start=2):
                self.columns[f"{canonical} {count}"] = name
                used.add(name)
        self.rates = (None, None) if only_matched else rate_columns(names)
        # a name that holds a power of ten would have to be reckoned with
        self._derives = all(self.rates) and not any("10" in (n or "") for n in self.rates)
        self._derives &= not any(canonical in self.columns for canonical in (*ABSOLUTE, "score"))
        # columns that may hold relation, unit or type
        self._others = {n for n in names if n not in used} | {
            matched[name] for name in (*_ROLES, "assay", "method") if name in matched
        }
        self._matched, self._only_matched = matched, only_matched
        for canonical, name in self.columns.items():
            named = _HEADER_UNIT.search(name)
            unit = KD_UNITS.get(canonical)
            if (
                unit
                and named
                and units.unit_exponent(named[1]) not in (None, units.unit_exponent(unit))
            ):
                self._note(name, f" is read in {unit}, as you said")
        self._turned: set[str] = set()  # Keys of logarithms of Kd, read with their sign turned
        self.roles: dict[str, str] = {}  # Relation, unit and type of value: the user's columns
        self.left_out = ""  # Why its scores are not read, or doubted

    @property
    def has_any(self) -> bool:
        """Whether anything can be read."""
        return bool(self.columns) or self._derives

    def read(self, frame: pl.DataFrame) -> list[RowOfValues]:
        """The measured cells of every row of a block; raises `InputError` if no row has a sense."""
        if self._derives:
            return self._from_rates(frame)
        texts = {key: self._numbers(frame, name) for key, name in self.columns.items()}
        for key in texts:
            if canonical_of(key) == "pkd":
                texts[key] = self._logarithms(key, texts[key])
        # words are no second measurement
        for key in [k for k in texts if " " in k or (k == "kd" and {*texts} & {*ABSOLUTE} != {k})]:
            filled = [text for text in texts[key] if not is_not_measured(text)]
            readable = sum(is_no_binding(t) or split_number(t) is not None for t in filled)
            if readable < 0.5 * len(filled):
                del texts[key]
        self._find_roles(frame)
        if "score" in texts and not self._only_matched:
            self._check_direction(frame, texts)
        beside = {role: as_text(frame[name]) for role, name in self.roles.items()}
        rows = []
        for index in range(frame.height):
            cells = {key: column[index] for key, column in texts.items()}
            rows.append(self._row(cells, {role: column[index] for role, column in beside.items()}))
        return self._with_bare_units(rows)

    def _note(self, column: str, text: str) -> None:
        self.notes.append(f"{self._source}: column {column!r}{text}")

    def _numbers(self, frame: pl.DataFrame, name: str) -> list[str]:
        texts, note = plain_commas(as_text(frame[name]))
        if note:
            self._note(name, f": {note}")
        return texts

    def _logarithms(self, key: str, texts: list[str]) -> list[str]:
        """Logarithms of Kd as pKd, where a column's name leaves their sign open."""
        name = self.columns[key]
        numbers = numbers_of(texts)
        known = numbers[np.isfinite(numbers)]
        if "log" not in name.lower() or _HIGHER.search(name) or not len(known):
            return texts
        if -units.PKD_MAX_MEASURABLE <= known.min() and known.max() <= -units.PKD_MIN_MEASURABLE:
            self._turned.add(key)
            self._note(name, ": log10(Kd / M), read as -pKd")
            return [_turned(text) for text in texts]
        if np.median(known) < _LOG_IS_PKD and not self._only_matched:
            raise SpreadError(
                "unit_column",
                f"{self._source}: column {name!r}: as pKd its median would be "
                f"{np.median(known):.1f}; it looks like the logarithm of a Kd in nM (pKd is 9 "
                f"minus that); if it is pKd, say so with --columns pkd={name}",
            )
        return texts

    def _find_roles(self, frame: pl.DataFrame) -> None:
        readers = {"relation": _relation_of, "unit": units.unit_exponent, "value_type": _type_of}
        for name in filter(self._others.__contains__, frame.columns):
            cells = {text.strip() for text in as_text(frame[name])} - {""}
            for role, read in readers.items():
                is_chosen = self._matched.get(role) == name
                if role in self.roles or (_OTHER.search(name) and not is_chosen):
                    continue
                known = [value for value in map(read, cells) if value is not None]
                telling = {
                    "relation": any(known),
                    # "M" alone is many things, and "KA"
                    "unit": any(len(text) > 1 for text in cells),
                    "value_type": not set(known) <= {"KA", "Tm"},
                }
                is_named = is_chosen or re.search(_ROLES[role], name.lower().strip()) is not None
                if known and (is_named or (telling[role] and len(known) == len(cells))):
                    self.roles[role] = name

    def _check_direction(self, frame: pl.DataFrame, texts: dict[str, list[str]]) -> None:
        """Leave out, or ask about, scores of which lower is stronger."""
        column = self.columns["score"]
        others = {name: as_text(frame[name]) for name in frame.columns if name != column}
        doubt = turned_score(texts["score"], others)
        has_other = any(canonical_of(key) in ABSOLUTE for key in texts)
        for role in ("unit", "value_type") if not (doubt or has_other) else ():
            said = set(as_text(frame[self.roles[role]])) - {""} if role in self.roles else ()
            kinds = {_type_of(text) if role == "value_type" else "" for text in said}
            if said and kinds.isdisjoint({"pkd", None}):
                doubt = f"column {self.roles[role]!r} says {', '.join(sorted(said))}"
        scores = numbers_of(texts["score"])
        low, high = np.nanmin(scores, initial=0.0), np.nanmax(scores, initial=-np.inf)
        if doubt and not has_other:
            raise SpreadError(
                "direction",
                f"{self._source}: column {column!r}: {doubt}, of which lower is stronger, and a "
                f"score is higher = stronger; say which it is: --columns kd_M={column} (or kd_nM, "
                f"dg_kcal_mol, ..., with what its unit is), or --columns score={column} if higher "
                "is stronger",
            )
        if doubt:
            del texts["score"]
            self.left_out = f"column {column!r} is not read as a score: {doubt}"
        # scores of any model may lie there, too: said, not refused
        elif -units.PKD_MAX_MEASURABLE < low and high < -_LOG_IS_PKD:
            self.left_out = (
                f"column {column!r} is read as a score, higher = stronger, yet all its values "
                f"lie between {low:.3g} and {high:.3g}: if it is a ΔG or a logarithm of Kd, "
                "turn its sign or name it dg_kcal_mol"
            )
        if self.left_out:
            self.notes.append(f"{self._source}: {self.left_out}")

    def _row(self, cells: dict[str, str], beside: Mapping[str, str]) -> RowOfValues:
        """A row's cells with the type, the unit and the relation that stand beside them."""
        try:
            kds, said = _kds(cells), beside.get("value_type", "")
            kind = "" if is_not_measured(said) else _type_of(said)
            if kind == "kd" or all(is_not_measured(cells[key]) for key in kds):
                kind = ""
            elif kind in ("pkd", "dg_kcal_mol") and kds == ["kd"] and kind not in cells:
                cells[kind], self.columns[kind] = cells.pop("kd"), self.columns["kd"]
                kind = ""
            elif kind is None or (kind and kind.lower() not in self._take):
                raise SpreadError(
                    "not_kd",
                    f"column {self.roles['value_type']!r}: {said!r} is not a Kd, and the value is "
                    "not read as one; leave the row out, or take it as if it were: paratope data "
                    f"import plain --take {kind or said}",
                )
            sign, unit = _relation_of(beside.get("relation", "")), beside.get("unit", "")
            if sign is None:
                raise SpreadError(
                    "split_value",
                    f"column {self.roles['relation']!r}: expected =, < or >, got "
                    f"{beside['relation']!r}",
                )
            unit = "" if is_not_measured(unit) else unit
            kds = _kds(cells)
            for key in kds or [k for k in cells if canonical_of(k) in ABSOLUTE] or list(cells):
                cells[key] = self._completed(key, cells[key], unit if kds else "", sign)
        except SpreadError as problem:
            return RowOfValues(cells, problem=problem)
        notes = (f"{kind} read as if it were a Kd, in an assay of its own",) if kind else ()
        return RowOfValues(cells, notes, None, kind)

    def _completed(self, key: str, text: str, unit: str, sign: str) -> str:
        """A number with the unit and the sign of relation beside it; other text as it is."""
        parts = split_number(text)
        if parts is None:
            return text
        name, own_unit = self.columns[key], parts.unit or KD_UNITS.get(canonical_of(key), "")
        if unit and (exponent := units.unit_exponent(unit)) is None:
            raise SpreadError(
                "split_value",
                f"column {self.roles['unit']!r}: {unit!r} is no unit of Kd; expected M, mM, uM, "
                "nM, pM or fM",
            )
        if unit and own_unit and units.unit_exponent(own_unit) != exponent:
            raise SpreadError(
                "columns_disagree",
                f"column {name!r} and column {self.roles['unit']!r} disagree about the unit: "
                f"{text!r} is in {own_unit}, the other says {unit!r}",
            )
        if unit and not own_unit:
            text = f"{text} {unit.strip(' ()[]')}"
        if not sign:
            return text
        sign = _turned(sign) if key in self._turned else sign
        if parts.bound and parts.bound[0] not in ("~=" + sign[0]):
            raise SpreadError(
                "columns_disagree",
                f"column {name!r} and column {self.roles['relation']!r} disagree: {text!r} against "
                f"{sign!r}",
            )
        return text if parts.bound and parts.bound[0] == sign[0] else sign + text.lstrip(" ~=≈")

    def _with_bare_units(self, rows: list[RowOfValues]) -> list[RowOfValues]:
        """Refuse numbers without any unit that are too weak for Kd in M, all of them."""
        bare: dict[int, float] = {}  # pKd of each, read as a Kd in M
        for index, row in enumerate(rows):
            parts = split_number(row.cells.get("kd", "")) if row.problem is None else None
            if parts and not (parts.unit or parts.bound) and 0 < parts.value < np.inf:
                bare[index] = units.kd_M_to_pkd(parts.value)
        if not bare:
            return rows
        column, strongest = self.columns["kd"], max(bare.values())
        middle, (on, off) = statistics.median(bare.values()), self.rates
        if on and not off and middle < DOUBTED_PKD:
            raise SpreadError(
                "rate_column",
                f"{self._source}: column {column!r} beside {on!r} may hold off rates: as a Kd in "
                f"M, its median pKd would be {middle:.1f}; if it is a Kd, say so with --columns "
                f"kd_M={column}",
            )
        if strongest >= MIN_STRONGEST_PKD:
            return rows
        powers = {"uM": 6.0, "nM": 9.0, "pM": 12.0}
        shifts = sorted((abs(middle + shift - 8.5), unit) for unit, shift in powers.items())
        fits = [unit for distance, unit in shifts if distance <= 4.5] or ["nM"]
        looks = f"it looks like a Kd in {' or '.join(fits)}"
        for index in bare:
            text = rows[index].cells["kd"]
            problem = SpreadError(
                "unit_column",
                f"column {column!r}: {looks}: {text!r} has no unit, and in M the strongest of the "
                f"table would be a pKd of {strongest:.1f}; write the unit, '{text} {fits[0]}', or "
                f"name the column kd_{fits[0]}",
            )
            rows[index] = rows[index]._replace(problem=problem)
        self._note(column, f": {looks}")
        return rows

    def _from_rates(self, frame: pl.DataFrame) -> list[RowOfValues]:
        """Kd = off rate / on rate, in M."""
        on, off = self.rates
        assert on is not None
        assert off is not None
        rows: list[RowOfValues] = []
        both: list[tuple[float, float]] = []
        self.columns["kd_M"] = f"{off} / {on}"
        note = f"Kd = {off} / {on}, read as rates in 1/s and 1/(M s)"
        for ka, kd in zip(self._numbers(frame, on), self._numbers(frame, off), strict=True):
            row = RowOfValues({"kd_M": ""})
            try:
                if not (is_not_measured(ka) or is_not_measured(kd)):
                    (on_rate, exact), (off_rate, bound) = map(units.parse_bounded_number, (ka, kd))
                    if exact is not Censoring.EXACT or on_rate <= 0 or off_rate <= 0:
                        raise InputError(f"expected two rates above zero, got {ka!r} and {kd!r}")
                    both.append((on_rate, off_rate))
                    sign = {-1: "<", 0: "", 1: ">"}[bound]
                    row = RowOfValues({"kd_M": f"{sign}{off_rate / on_rate!r}"}, (note,))
            except InputError as error:
                problem = SpreadError("rate_column", f"columns {on!r} and {off!r}: {error}")
                row = row._replace(problem=problem)
            rows.append(row)
        limits = ((on, *ON_RATES), (off, *OFF_RATES))
        doubts = [
            f"about {middle:.2g} in {column!r} is no rate"
            for rates, (column, low, high) in zip(zip(*both, strict=True), limits, strict=False)
            if not low <= (middle := statistics.median(rates)) <= high
        ]
        pkds = [units.kd_M_to_pkd(off_rate / on_rate) for on_rate, off_rate in both]
        if pkds and statistics.median(pkds) < DOUBTED_PKD:
            doubts.append(f"Kd would be a pKd of about {statistics.median(pkds):.1f}")
        if doubts:
            raise SpreadError(
                "rate_column",
                f"{self._source}: beside each other, {on!r} and {off!r} would be rates in 1/(M s) "
                f"and 1/s, but {doubts[0]}; say which column holds Kd, such as --columns "
                f"kd_M={off}",
            )
        return rows


class Values(NamedTuple):
    """What the measured columns of a row say; all numbers None is a non-binder without a bound."""

    pkd: float | None = None
    delta_pkd: float | None = None
    score: float | None = None
    censoring: Censoring = Censoring.EXACT
    notes: tuple[str, ...] = ()


class _Reading(NamedTuple):
    """One column's value: a number (None: no binding) and what it says about the true one."""

    column: str
    text: str
    value: float | None
    censoring: Censoring


def read_values(
    cells: Mapping[str, str], columns: Mapping[str, str], temperature_K: float | None = None
) -> Values:
    """What the measured columns of one row say.

    `cells` has the row's texts and `columns` the user's names by canonical column (or as keys of
    `RowOfValues.cells`); the temperature, 298.15 K if not known, converts free energies. Raises
    `InputError` if nothing is measured, a value cannot be read or is in the wrong unit, or two
    columns disagree.
    """
    temperature = units.STANDARD_TEMPERATURE_K if temperature_K is None else temperature_K
    keys = [key for name in VALUE_COLUMNS for key in cells if canonical_of(key) == name]
    readings = [
        _read(key, cells[key].strip(), columns[key], temperature)
        for key in keys
        if not is_not_measured(cells[key])
    ]
    word = cells.get("binder", "").strip().lower()
    is_non_binder = word in _NO or is_no_binding(word)
    notes: list[str] = []
    if not (is_non_binder or word in _YES or is_not_measured(word)):
        problem = f"column {columns['binder']!r}: expected true or false, got {cells['binder']!r}"
        if not readings:
            raise InputError(problem)
        notes.append(f"{problem}: not read")
    if not readings:
        if is_non_binder:
            return Values(censoring=Censoring.AT_MOST)
        given = [columns[key] for key in keys] + [columns[c] for c in ("binder",) if c in columns]
        raise InputError(f"column {', '.join(given)!r}: no measured value in this row")
    delta = next((r for r in readings if r.column == "ddg_kcal_mol"), None)
    score = next((r for r in readings if r.column == "score"), None)
    absolute = [r for r in readings if r not in (delta, score)]
    best = _agreed(absolute, columns)
    if best is not None and best.value is not None and best.censoring is Censoring.EXACT:
        if is_non_binder or any(r.value is None for r in absolute):
            best = best._replace(censoring=Censoring.AT_MOST)
            notes.append("said not to bind: the number is read as an upper bound of pKd")
    leading = best or delta or score
    assert leading is not None
    parts: dict[str, float | None] = {"pkd": None, "delta_pkd": None, "score": None}
    for name, reading in (("pkd", best), ("delta_pkd", delta), ("score", score)):
        if reading is not None and reading.censoring is leading.censoring:
            parts[name] = reading.value
        elif reading is not None:
            notes.append(
                f"column {columns[reading.column]!r} is not used: its bound differs from that of "
                f"{columns[leading.column]!r}"
            )
    return Values(**parts, censoring=leading.censoring, notes=tuple(notes))


def _read(key: str, text: str, column: str, temperature_K: float) -> _Reading:
    """One column's value as pKd (ΔpKd, score) with its censoring."""
    canonical = canonical_of(key)
    try:
        if is_no_binding(text, of_kd=canonical in KD_UNITS):
            if canonical == "ddg_kcal_mol":
                raise InputError(f"a non-binder has no ΔΔG; leave it empty, got {text!r}")
            return _Reading(key, text, None, Censoring.AT_MOST)
        if canonical in KD_UNITS:
            pkd, censoring = units.parse_kd(text, KD_UNITS[canonical] or "M")
            assert pkd is not None
        else:
            pkd, censoring = units.parse_bounded_number(text)
            if canonical in ("dg_kcal_mol", "ddg_kcal_mol"):
                to_pkd = (
                    units.dg_kcal_mol_to_pkd
                    if canonical[1] == "g"
                    else units.ddg_kcal_mol_to_delta_pkd
                )
                pkd, censoring = to_pkd(pkd, temperature_K), units.flip_censoring(censoring)
    except InputError as error:
        raise InputError(f"column {column!r}: {error}") from None
    if canonical in ABSOLUTE and not units.PKD_MIN_MEASURABLE <= pkd <= units.PKD_MAX_MEASURABLE:
        limit = "weaker than any assay measures (10 mM)"
        if pkd > units.PKD_MAX_MEASURABLE:
            limit = "stronger than any assay measures (1 fM)"
        message = f"{text!r}: a pKd of {pkd:.3g} is {limit}"
        raise WrongUnitError(column, message, _likely_unit(canonical, text))
    return _Reading(key, text, pkd, censoring)


def _likely_unit(canonical: str, text: str) -> str:
    if canonical == "dg_kcal_mol":
        return "ΔG is in kcal/mol and negative for binding; a difference is ddg_kcal_mol"
    unknown = "check the number and its unit"
    try:
        number, _ = units.parse_bounded_number(text)
    except InputError:  # with a unit of its own
        return unknown
    if canonical == "pkd" and number < 0:
        return (
            "it looks like a ΔG or a logarithm of Kd; name the column dg_kcal_mol, or turn its sign"
        )
    if number <= 0 or (canonical == "pkd" and 0.01 <= number <= units.PKD_MIN_MEASURABLE):
        return unknown
    for unit, pkd in (("M", units.kd_M_to_pkd(number)), ("nM", units.kd_nM_to_pkd(number))):
        is_said = (KD_UNITS.get(canonical) or "M") == unit and canonical != "pkd"
        if not is_said and units.PKD_MIN_MEASURABLE + 1 <= pkd <= units.PKD_MAX_MEASURABLE - 1:
            write = f"write the unit, '{text} {unit}', or " if canonical == "kd" else ""
            return f"it looks like a Kd in {unit}; {write}name the column kd_{unit}"
    return unknown


def _agreed(readings: list[_Reading], columns: Mapping[str, str]) -> _Reading | None:
    """The reading all agree on; a bound says more than the same number without one."""
    numbers = [reading for reading in readings if reading.value is not None]
    if not numbers:
        return readings[0] if readings else None
    first = numbers[0]
    for other in numbers[1:]:
        assert first.value is not None
        assert other.value is not None
        bounds = {first.censoring, other.censoring} - {Censoring.EXACT}
        if abs(first.value - other.value) > AGREEMENT_LOG10 or len(bounds) > 1:
            raise SpreadError(
                "columns_disagree",
                f"column {columns[first.column]!r} and column {columns[other.column]!r} disagree: "
                f"{first.text!r} is a pKd of {first.value:.3f}, {other.text!r} one of "
                f"{other.value:.3f}; correct one, or say which to use with --columns "
                f"{canonical_of(first.column)}={columns[first.column]}",
            )
        if bounds:
            first = first._replace(censoring=bounds.pop())
    return first
