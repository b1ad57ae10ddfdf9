"""A measured value that a table spreads over columns, put together as one text.

A relation (``>``), a unit and a type of value (``IC50``) may stand in columns of their own, and an
on rate beside an off rate gives a Kd. They are known by what their cells hold, and by name where a
cell holds something else.
"""

import re
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.number_text import (
    is_no_binding,
    is_not_measured,
    plain_commas,
    plain_text,
    split_number,
)
from paratope.core.units import (
    PKD_MAX_MEASURABLE,
    PKD_MIN_MEASURABLE,
    kd_M_to_pkd,
    parse_bounded_number,
    unit_exponent,
)
from paratope.data.tables.columns import SPREAD_NAME, VALUE_COLUMNS, rate_columns, same_meaning
from paratope.data.tables.formats import as_text

KD_UNITS = {"kd_M": "M", "kd_uM": "uM", "kd_nM": "nM", "kd_pM": "pM", "kd": ""}
ABSOLUTE = ("pkd", *KD_UNITS, "dg_kcal_mol")
# A bare number is a Kd in M only if the table's strongest would be a pKd of at least this.
MIN_STRONGEST_PKD = 4.0
# what rates lie between, in 1/(M s) and 1/s
ON_RATES, OFF_RATES = (1e2, 1e9), (1e-7, 1.0)
# A Kd of rates, or beside an on rate, that is weaker than this is doubted.
DOUBTED_PKD = 6.0

_RELATIONS = {
    **dict.fromkeys("= == eq equal equals exact ~".split(), ""),
    **dict.fromkeys((">", ">>", "gt", "greater than", "greater", "more than"), ">"),
    **dict.fromkeys((">=", "≥", "ge", "at least"), ">="),
    **dict.fromkeys(("<", "<<", "lt", "less than", "less", "smaller than"), "<"),
    **dict.fromkeys(("<=", "≤", "le", "at most"), "<="),
}
_ROLES = {  # what the names of such columns hold
    "relation": r"inequality|qualifier|relation|operator|modifier|comparator",
    "unit": r"units?$|_units?\b",
    "value_type": r"type$|endpoint|parameter|response measured",
}
# a column about another quantity than Kd
_OTHER = re.compile(r"ic_?50|ec_?50|\bki\b|k_?on|k_?off|\bka\b|temp|time|conc|parent|dose", re.I)
_NOT_KD = re.compile(r"(?:p|log)?((?:ic|ec|ed|ac|id|nt|gi|cc)50|ki|ka|kon|koff|tm)")
_TYPE_WORDS = {
    "inhibitionconstant": "Ki",
    "associationconstant": "KA",
    "associationrate": "kon",
    "onrate": "kon",
    "offrate": "koff",
    "dissociationrate": "koff",
    "halfmaximalinhibitoryconcentration": "IC50",
    "halfmaximaleffectiveconcentration": "EC50",
}
_KD_TYPES = {
    **dict.fromkeys("kd kdapp appkd apparentkd dissociationconstant kdm kdnm".split(), "kd"),
    **dict.fromkeys(("dissociationconstantkd", "equilibriumdissociationconstant"), "kd"),
    **dict.fromkeys("pkd logkd".split(), "pkd"),
    **dict.fromkeys("dg deltag bindingfreeenergy".split(), "dg_kcal_mol"),
}


# of such a quantity, lower is stronger; of its negative logarithm, higher
_LOWER = re.compile(
    r"(?<![a-zδ])(?:k_?d|[ie]c_?50|k_?i|k_?off|(?:d|δ|delta_?)g)(?![a-z])|log.*(?:k_?d|c_?50)", re.I
)
_HIGHER = re.compile(
    r"(?<![a-z])p_?(?:k_?d|[ie]c_?50|k_?i)(?![a-z])|(?:neg|minus|^\W*[-−]).*log", re.I
)
_HEADER_UNIT = re.compile(r"[(\[]\s*([^)\]]+?)\s*[)\]]")
# of logarithms that do not say their sign, those above are of 1 / Kd in M, those below of Kd
_LOG_IS_PKD = 4.0
_TURNED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "-": ""}
# what nearly all Kd in M lie between
_KD_M = (1e-15, 1e-4)


class SpreadError(InputError):
    """A value that its neighbouring columns contradict; `code` is that of the audit's finding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RowOfValues(NamedTuple):
    """The measured cells of a row: texts by canonical column, ``"kd_nM 2"`` for a second one."""

    cells: dict[str, str]
    notes: tuple[str, ...] = ()
    problem: SpreadError | None = None
    kind: str = ""  # The type of value, if it is no Kd and taken as one all the same


def canonical_of(key: str) -> str:
    """The canonical column of a key of `RowOfValues.cells`."""
    return key.partition(" ")[0]


def relation_of(text: str) -> str | None:
    """The sign of a relation in a column of its own, empty for ``=``; None if it is none.

    >>> relation_of("'>'"), relation_of("less than"), relation_of("=")
    ('>', '<', '')
    """
    return _RELATIONS.get(plain_text(text).strip().strip("'\"").strip().lower())


def type_of(text: str) -> str | None:
    """What kind of value a word stands for: a canonical column, or another type's name.

    >>> type_of("KD"), type_of("pIC50"), type_of("dissociation constant KD (~EC50)")
    ('kd', 'IC50', 'EC50')
    >>> type_of("SPR") is None
    True
    """
    key = re.sub(r"[^a-z0-9]", "", plain_text(text).lower().replace("δ", "delta"))
    if match := re.search(r"(?:ic|ec|ed|ac|id|nt|gi|cc)50", key):
        return match[0].upper()
    if match := _NOT_KD.fullmatch(key):
        return {"ki": "Ki", "ka": "KA", "tm": "Tm"}.get(match[1], match[1])
    return _KD_TYPES.get(key) or _TYPE_WORDS.get(key)


def turned_score(texts: Sequence[str], others: Mapping[str, Sequence[str]]) -> str:
    """Why scores may be a quantity of which lower is stronger; empty if nothing says so.

    They are if all lie where Kd in M do, or if another column, which by its name is a Kd, a ΔG, an
    IC50 or an EC50, holds the same values or ranks the rows the same way (or its logarithm the
    other).

    >>> turned_score(["1.5e-11", "5.6e-10"], {})
    'all 2 values lie between 1.5e-11 and 5.6e-10: it looks like a Kd in M'
    >>> turned_score(["3", "20"], {"EC50 (nM)": ["3.0", "20.0"]})
    "it holds the values of column 'EC50 (nM)'"
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
        ranks = np.corrcoef(_ranks(first), _ranks(second))[0, 1]
        if both.sum() >= 5 and ranks * (-1 if is_higher else 1) > 0.95:
            return f"it {'falls' if is_higher else 'rises'} with column {name!r}"
    return ""


def numbers_of(texts: Sequence[str]) -> np.ndarray:
    """The numbers of texts, whatever stands about them; NaN where there is none; (n,)."""
    parts = [split_number(text) for text in texts]
    return np.array([float(p.number) * 10.0**p.power if p else np.nan for p in parts])


def _turned(text: str) -> str:
    """A number, or a sign of relation, of the opposite quantity."""
    return re.sub(r"[<>≤≥]|-(?=[\d.])", lambda match: _TURNED[match[0]], plain_text(text))


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].astype(float)


class ValueColumns:
    """The columns of a table that say what was measured.

    `found` are all its columns, `matched` the user's by canonical name. `take` are types of value
    that are read as if they were Kd, each as an assay of its own. With `only_matched`, the columns
    of values were named by hand: no other is read.
    """

    def __init__(
        self,
        source: str,
        found: Sequence[str],
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
            for count, name in enumerate(same_meaning(found, canonical, used), start=2):
                self.columns[f"{canonical} {count}"] = name
                used.add(name)
        self.rates = (None, None) if only_matched else rate_columns(found)
        # a name that holds a power of ten would have to be reckoned with
        self._derives = all(self.rates) and not any("10" in (n or "") for n in self.rates)
        self._derives &= not any(canonical in self.columns for canonical in (*ABSOLUTE, "score"))
        # columns that may hold relation, unit or type
        self._others = {n for n in found if n not in used} | {
            matched[name] for name in (*_ROLES, "assay", "method") if name in matched
        }
        self._matched, self._only_matched = matched, only_matched
        for canonical, name in self.columns.items():
            named = _HEADER_UNIT.search(name)
            unit = KD_UNITS.get(canonical)
            if unit and named and unit_exponent(named[1]) not in (None, unit_exponent(unit)):
                self.notes.append(f"{source}: column {name!r} is read in {unit}, as you said")
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
        for key in [key for key in texts if canonical_of(key) == "pkd"]:
            texts[key] = self._logarithms(key, texts[key])
        # words are no second measurement
        seconds = [k for k in texts if " " in k or (k == "kd" and {*texts} & {*ABSOLUTE} != {k})]
        for key in seconds:
            filled = [text for text in texts[key] if not is_not_measured(text)]
            readable = sum(is_no_binding(t) or split_number(t) is not None for t in filled)
            if readable < 0.5 * len(filled):
                del texts[key]
        self._find_roles(frame)
        beside = {role: as_text(frame[name]) for role, name in self.roles.items()}
        if "score" in texts and not self._only_matched:
            self._check_direction(frame, texts)
        rows = []
        for index in range(frame.height):
            cells = {key: column[index] for key, column in texts.items()}
            rows.append(self._row(cells, {role: column[index] for role, column in beside.items()}))
        return self._with_bare_units(rows)

    def _numbers(self, frame: pl.DataFrame, name: str) -> list[str]:
        texts, note = plain_commas(as_text(frame[name]))
        if note:
            self.notes.append(f"{self._source}: column {name!r}: {note}")
        return texts

    def _logarithms(self, key: str, texts: list[str]) -> list[str]:
        """Logarithms of Kd as pKd, where a column's name leaves their sign open."""
        name = self.columns[key]
        numbers = numbers_of(texts)
        known = numbers[np.isfinite(numbers)]
        if "log" not in name.lower() or _HIGHER.search(name) or not len(known):
            return texts
        if -PKD_MAX_MEASURABLE <= known.min() and known.max() <= -PKD_MIN_MEASURABLE:
            self._turned.add(key)
            self.notes.append(f"{self._source}: column {name!r}: log10(Kd / M), read as -pKd")
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
        readers = {"relation": relation_of, "unit": unit_exponent, "value_type": type_of}
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
            kinds = {type_of(text) if role == "value_type" else "" for text in said}
            if said and kinds.isdisjoint({"pkd", None}):
                doubt = f"column {self.roles[role]!r} says {', '.join(sorted(said))}"
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
        else:  # scores of any model may lie there, too: said, not refused
            scores = numbers_of(texts["score"])
            low, high = np.nanmin(scores, initial=0.0), np.nanmax(scores, initial=-np.inf)
            if -PKD_MAX_MEASURABLE < low and high < -_LOG_IS_PKD:
                self.left_out = (
                    f"column {column!r} is read as a score, higher = stronger, yet all its values "
                    f"lie between {low:.3g} and {high:.3g}: if it is a ΔG or a logarithm of Kd, "
                    "turn its sign or name it dg_kcal_mol"
                )
        if self.left_out:
            self.notes.append(f"{self._source}: {self.left_out}")

    def _row(self, cells: dict[str, str], beside: Mapping[str, str]) -> RowOfValues:
        """A row's cells with its relation and its unit."""
        roles = self.roles
        kind, notes = "", ()
        try:
            if "value_type" in beside and not is_not_measured(beside["value_type"]):
                kind = self._typed(cells, beside["value_type"], roles["value_type"])
                if kind:
                    notes = (f"{kind} read as if it were a Kd, in an assay of its own",)
            targets = [key for key in cells if canonical_of(key) in KD_UNITS]
            if "unit" in beside and not is_not_measured(beside["unit"]):
                for key in targets:
                    cells[key] = self._with_unit(key, cells[key], beside["unit"])
            sign = relation_of(beside.get("relation", "")) if beside.get("relation", "") else ""
            if sign is None:
                raise SpreadError(
                    "split_value",
                    f"column {roles['relation']!r}: expected =, < or >, got {beside['relation']!r}",
                )
            targets = targets or [k for k in cells if canonical_of(k) in ABSOLUTE] or list(cells)
            for key in targets if sign else ():
                turned = _turned(sign) if key in self._turned else sign
                cells[key] = self._with_relation(key, cells[key], turned)
        except SpreadError as problem:
            return RowOfValues(cells, problem=problem)
        return RowOfValues(cells, notes, None, kind)

    def _typed(self, cells: dict[str, str], text: str, column: str) -> str:
        """Moves a value to the column of its type; the type, if it is taken for a Kd."""
        kind = type_of(text)
        bare = [key for key in cells if canonical_of(key) in KD_UNITS]
        if kind == "kd" or not bare or all(is_not_measured(cells[key]) for key in bare):
            return ""
        if kind in ("pkd", "dg_kcal_mol") and bare == ["kd"] and kind not in cells:
            cells[kind] = cells.pop("kd")
            self.columns[kind] = self.columns["kd"]
            return ""
        if kind is not None and kind.lower() in self._take:
            return kind
        raise SpreadError(
            "not_kd",
            f"column {column!r}: {text!r} is not a Kd, and the value is not read as one; leave the "
            f"row out, or take it as if it were: paratope data import plain --take {kind or text}",
        )

    def _with_unit(self, key: str, text: str, unit: str) -> str:
        parts = split_number(text)
        if is_not_measured(text) or is_no_binding(text, of_kd=True) or parts is None:
            return text
        said = self.columns[key], KD_UNITS[canonical_of(key)]
        exponent, column = unit_exponent(unit), self.roles["unit"]
        if exponent is None:
            raise SpreadError(
                "split_value",
                f"column {column!r}: {unit!r} is no unit of Kd; expected M, mM, uM, nM, pM or fM",
            )
        other = parts.unit or said[1]
        if other and unit_exponent(other) != exponent:
            raise SpreadError(
                "columns_disagree",
                f"column {said[0]!r} and column {column!r} disagree about the unit: {text!r} is in "
                f"{other}, the other says {unit!r}",
            )
        return text if other else f"{text} {unit.strip(' ()[]')}"

    def _with_relation(self, key: str, text: str, sign: str) -> str:
        parts = split_number(text)
        if parts is None or is_no_binding(text, of_kd=True):
            return text
        if parts.bound and parts.bound[0] not in ("~=" + sign[0]):
            raise SpreadError(
                "columns_disagree",
                f"column {self.columns[key]!r} and column {self.roles['relation']!r} "
                f"disagree: {text!r} against {sign!r}",
            )
        return text if parts.bound and parts.bound[0] == sign[0] else sign + text.lstrip(" ~=≈")

    def _with_bare_units(self, rows: list[RowOfValues]) -> list[RowOfValues]:
        """Refuse numbers without any unit that are too weak for Kd in M, all of them."""
        exponents: list[float] = []
        bare: list[int] = []
        for index, row in enumerate(rows):
            parts = split_number(row.cells.get("kd", ""))
            if parts is not None and not parts.unit and row.problem is None:
                number = float(parts.number) * 10.0**parts.power
                if number > 0 and not parts.bound:
                    exponents.append(kd_M_to_pkd(number))
                    bare.append(index)
        if not bare:
            return rows
        on, off = self.rates
        if on and not off and statistics.median(exponents) < DOUBTED_PKD:
            raise SpreadError(
                "rate_column",
                f"{self._source}: column {self.columns['kd']!r} beside {on!r} may hold off rates: "
                f"as a Kd in M, its median pKd would be {statistics.median(exponents):.1f}; if it "
                f"is a Kd, say so with --columns kd_M={self.columns['kd']}",
            )
        if max(exponents) >= MIN_STRONGEST_PKD:
            return rows
        middle = statistics.median(exponents)
        units = {"uM": 6.0, "nM": 9.0, "pM": 12.0}
        shifts = sorted((abs(middle + shift - 8.5), unit) for unit, shift in units.items())
        fits = [unit for distance, unit in shifts if distance <= 4.5] or ["nM"]
        column = self.columns["kd"]
        named = f"column {column!r}: it looks like a Kd in {' or '.join(fits)}"
        for index in bare:
            text = rows[index].cells["kd"]
            problem = SpreadError(
                "unit_column",
                f"{named}: {text!r} has no unit, and in M the strongest of the table would be a "
                f"pKd of {max(exponents):.1f}; write the unit, '{text} {fits[0]}', or "
                f"name the column kd_{fits[0]}",
            )
            rows[index] = rows[index]._replace(problem=problem)
        self.notes.append(f"{self._source}: {named}")
        return rows

    def _from_rates(self, frame: pl.DataFrame) -> list[RowOfValues]:
        """Kd = off rate / on rate, in M."""
        on, off = self.rates
        assert on is not None
        assert off is not None
        rows: list[RowOfValues] = []
        both: list[tuple[float, float]] = []
        self.columns["kd_M"] = f"{off} / {on}"
        for ka, kd in zip(self._numbers(frame, on), self._numbers(frame, off), strict=True):
            if is_not_measured(ka) or is_not_measured(kd):
                rows.append(RowOfValues({"kd_M": ""}))
                continue
            try:
                (on_rate, exact), (off_rate, bound) = map(parse_bounded_number, (ka, kd))
                if exact is not Censoring.EXACT or on_rate <= 0 or off_rate <= 0:
                    raise InputError(f"expected two rates above zero, got {ka!r} and {kd!r}")
                both.append((on_rate, off_rate))
                sign = {-1: "<", 0: "", 1: ">"}[bound]
                note = f"Kd = {off} / {on}, read as rates in 1/s and 1/(M s)"
                rows.append(RowOfValues({"kd_M": f"{sign}{off_rate / on_rate!r}"}, (note,)))
            except InputError as error:
                problem = SpreadError("rate_column", f"columns {on!r} and {off!r}: {error}")
                rows.append(RowOfValues({"kd_M": ""}, problem=problem))
        limits = ((on, *ON_RATES), (off, *OFF_RATES))
        for rates, (column, low, high) in zip(zip(*both, strict=True), limits, strict=False):
            if not low <= (middle := statistics.median(rates)) <= high:
                raise self._no_rates(f"about {middle:.2g} in {column!r} is no rate")
        pkds = [kd_M_to_pkd(off_rate / on_rate) for on_rate, off_rate in both]
        if pkds and statistics.median(pkds) < DOUBTED_PKD:
            raise self._no_rates(f"Kd would be a pKd of about {statistics.median(pkds):.1f}")
        return rows

    def _no_rates(self, reason: str) -> SpreadError:
        on, off = self.rates
        return SpreadError(
            "rate_column",
            f"{self._source}: beside each other, {on!r} and {off!r} would be rates in 1/(M s) and "
            f"1/s, but {reason}; say which column holds Kd, such as --columns kd_M={off}",
        )
