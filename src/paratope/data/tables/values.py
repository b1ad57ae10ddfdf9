"""The measured columns of one row: what they say together, and in which unit they probably are."""

import dataclasses
from collections.abc import Mapping

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.number_text import is_no_binding, is_not_measured
from paratope.core.units import (
    PKD_MAX_MEASURABLE,
    PKD_MIN_MEASURABLE,
    STANDARD_TEMPERATURE_K,
    ddg_kcal_mol_to_delta_pkd,
    dg_kcal_mol_to_pkd,
    flip_censoring,
    kd_M_to_pkd,
    kd_nM_to_pkd,
    parse_bounded_number,
    parse_kd,
)
from paratope.data.tables.columns import VALUE_COLUMNS
from paratope.data.tables.value_columns import KD_UNITS, SpreadError, canonical_of

# Two columns of one row say the same if they differ by no more than this (rounding).
AGREEMENT_LOG10 = 0.1
_NO = set("0 0.0 false no n f neg negative falsch nein faux non".split())
_YES = set("1 1.0 true yes y t + ++ +++ pos positive binder binds binding wahr ja vrai oui".split())


class WrongUnitError(InputError):
    """A value no assay can measure; `hint` says which unit it probably has."""

    def __init__(self, column: str, message: str, hint: str) -> None:
        super().__init__(f"column {column!r}: {message}; {hint}")
        self.column = column
        self.hint = hint


@dataclasses.dataclass(frozen=True, slots=True)
class Values:
    """What the measured columns of a row say; all numbers None is a non-binder without a bound."""

    pkd: float | None = None
    delta_pkd: float | None = None
    score: float | None = None
    censoring: Censoring = Censoring.EXACT
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Reading:
    """One column's value: a number (None: no binding) and what it says about the true one."""

    column: str
    text: str
    value: float | None
    censoring: Censoring


def read_values(
    cells: Mapping[str, str], columns: Mapping[str, str], temperature_K: float | None = None
) -> Values:
    """What the measured columns of one row say.

    `cells` has the row's texts and `columns` the user's names by canonical column (or
    ``"kd_nM 2"`` for a second one, see `paratope.data.tables.value_columns`); the temperature,
    298.15 K if not known, converts free energies. Raises `InputError` if nothing is measured, a
    value cannot be read or is in the wrong unit, or two columns disagree.
    """
    temperature = STANDARD_TEMPERATURE_K if temperature_K is None else temperature_K
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
    absolute = [r for r in readings if r.column not in ("ddg_kcal_mol", "score")]
    delta = next((r for r in readings if r.column == "ddg_kcal_mol"), None)
    score = next((r for r in readings if r.column == "score"), None)
    if not readings:
        if is_non_binder:
            return Values(censoring=Censoring.AT_MOST)
        given = [columns[key] for key in keys] + [columns[c] for c in ("binder",) if c in columns]
        raise InputError(f"column {', '.join(given)!r}: no measured value in this row")
    best = _agreed(absolute, columns)
    if best is not None and best.value is not None and best.censoring is Censoring.EXACT:
        if is_non_binder or any(r.value is None for r in absolute):
            best = dataclasses.replace(best, censoring=Censoring.AT_MOST)
            notes.append("said not to bind: the number is read as an upper bound of pKd")
    leading = best or delta or score
    assert leading is not None
    parts: dict[str, float | None] = {"pkd": None, "delta_pkd": None, "score": None}
    for name, reading in (("pkd", best), ("delta_pkd", delta), ("score", score)):
        if reading is None:
            continue
        if reading.censoring is leading.censoring:
            parts[name] = reading.value
        else:
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
            pkd, censoring = parse_kd(text, KD_UNITS[canonical] or "M")
            assert pkd is not None
        else:
            pkd, censoring = parse_bounded_number(text)
            if canonical in ("dg_kcal_mol", "ddg_kcal_mol"):
                to_pkd = dg_kcal_mol_to_pkd if canonical[1] == "g" else ddg_kcal_mol_to_delta_pkd
                pkd, censoring = to_pkd(pkd, temperature_K), flip_censoring(censoring)
    except InputError as error:
        raise InputError(f"column {column!r}: {error}") from None
    is_absolute = canonical not in ("ddg_kcal_mol", "score")
    if is_absolute and not PKD_MIN_MEASURABLE <= pkd <= PKD_MAX_MEASURABLE:
        limit = "weaker than any assay measures (10 mM)"
        if pkd > PKD_MAX_MEASURABLE:
            limit = "stronger than any assay measures (1 fM)"
        message = f"{text!r}: a pKd of {pkd:.3g} is {limit}"
        raise WrongUnitError(column, message, _likely_unit(canonical, text))
    return _Reading(key, text, pkd, censoring)


def _likely_unit(canonical: str, text: str) -> str:
    if canonical == "dg_kcal_mol":
        return "ΔG is in kcal/mol and negative for binding; a difference is ddg_kcal_mol"
    try:
        number, _ = parse_bounded_number(text)
    except InputError:  # with a unit of its own
        return "check the number and its unit"
    if canonical == "pkd" and number < 0:
        return (
            "it looks like a ΔG or a logarithm of Kd; name the column dg_kcal_mol, or turn its sign"
        )
    if canonical == "pkd" and 0.01 <= number <= PKD_MIN_MEASURABLE:
        return "check the number and its unit"
    for unit in ("M", "nM"):
        if number <= 0 or KD_UNITS.get(canonical) == unit or (canonical, unit) == ("kd", "M"):
            continue
        pkd = kd_M_to_pkd(number) if unit == "M" else kd_nM_to_pkd(number)
        if PKD_MIN_MEASURABLE + 1 <= pkd <= PKD_MAX_MEASURABLE - 1:
            hint = f"it looks like a Kd in {unit}"
            if canonical == "kd":
                return f"{hint}; write the unit, '{text} {unit}', or name the column kd_{unit}"
            return f"{hint}; name the column kd_{unit}"
    return "check the number and its unit"


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
        if other.censoring is not Censoring.EXACT and first.censoring is Censoring.EXACT:
            first = dataclasses.replace(first, censoring=other.censoring)
    return first
