"""Affinity units: Kd, pKd and ΔG. The only file that takes a logarithm of a Kd.

pKd = -log10(Kd / 1 M); ΔG = RT ln(Kd / 1 M) = -RT ln(10) pKd, negative for binding.
ΔΔG = ΔG(mutant) - ΔG(parent), positive when the mutant binds more weakly. R is the CODATA 2018
molar gas constant (Tiesinga et al. 2021, Rev. Mod. Phys. 93, 025010): 8.314462618 J/(mol K), with
4184 J to the kcal.
"""

import math
import re

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.number_text import (
    UNIT_TEXT,
    hint_of,
    is_no_binding,
    is_not_measured,
    split_number,
)

GAS_CONSTANT_KCAL_PER_MOL_K = 8.314462618 / 4184.0
STANDARD_TEMPERATURE_K = 298.15
LARGEST = 1e100  # That a value may be: its square, and sums of squares, are numbers too

# What common assays (SPR, BLI, ITC, KinExA, display titrations) can resolve: 1 fM to 10 mM.
PKD_MIN_MEASURABLE = 2.0
PKD_MAX_MEASURABLE = 15.0
# The range on which the shipped models answer: 100 uM to 10 fM.
PKD_MIN_OUTPUT = 4.0
PKD_MAX_OUTPUT = 14.0
# From this pKd (1 nM) on a binder counts as strong.
STRONG_PKD = 9.0

_EXPONENT = {"": 0, "m": 3, "u": 6, "n": 9, "p": 12, "f": 15, "a": 18}
_PREFIX_WORDS = {"": "", "milli": "m", "micro": "u", "nano": "n", "pico": "p", "femto": "f"}
_TEMPERATURE = re.compile(
    r"^\s*(?P<number>-?\d+(?:\.\d*)?)\s*(?:°|deg(?:rees)?\.?)?\s*(?P<unit>[KkCc])?(?:elsius|elvin)?"
    r"\s*(?:\(.*\))?\s*$"
)


def kd_M_to_pkd(kd_M: float) -> float:
    """pKd = -log10(Kd / M) of a Kd in mol/L; `InputError` unless it is positive and finite."""
    if not (math.isfinite(kd_M) and kd_M > 0):
        raise InputError(f"Kd must be a positive number of mol/L, got {kd_M!r}")
    return 0.0 - math.log10(kd_M)


def kd_nM_to_pkd(kd_nM: float) -> float:
    """pKd of a dissociation constant in nmol/L; `InputError` unless it is positive and finite."""
    if not (math.isfinite(kd_nM) and kd_nM > 0):
        raise InputError(f"Kd must be a positive number of nM, got {kd_nM!r}")
    return 9.0 - math.log10(kd_nM)


def pkd_to_kd_nM(pkd: float) -> float:
    """Dissociation constant in nmol/L of a pKd."""
    return 10.0 ** (9.0 - pkd)


def kd_text(kd_nM: float) -> str:
    """A dissociation constant in three digits, with the prefix that fits.

    >>> [kd_text(kd_nM) for kd_nM in (10.39, 0.25, 4321.0, 999.6)]
    ['10.4 nM', '250 pM', '4.32 µM', '1.00 µM']
    """
    value = float(f"{kd_nM:.3g}")
    power = min(max(math.floor(math.log10(value)) // 3, -2), 3)
    unit = ("nM", "µM", "mM", "M", "fM", "pM")[power]
    return f"{value / 1000.0**power:#.3g}".rstrip(".") + f" {unit}"


def pkd_to_dg_kcal_mol(pkd: float, temperature_K: float = STANDARD_TEMPERATURE_K) -> float:
    """Binding free energy ΔG = -RT ln(10) pKd, kcal/mol, negative for binding."""
    return -GAS_CONSTANT_KCAL_PER_MOL_K * temperature_K * math.log(10.0) * pkd


def dg_kcal_mol_to_pkd(dg_kcal_mol: float, temperature_K: float = STANDARD_TEMPERATURE_K) -> float:
    """pKd of a binding free energy in kcal/mol, the inverse of `pkd_to_dg_kcal_mol`."""
    if not math.isfinite(dg_kcal_mol):
        raise InputError(f"ΔG must be a finite number of kcal/mol, got {dg_kcal_mol!r}")
    return 0.0 - dg_kcal_mol / (GAS_CONSTANT_KCAL_PER_MOL_K * temperature_K * math.log(10.0))


def ddg_kcal_mol_to_delta_pkd(
    ddg_kcal_mol: float, temperature_K: float = STANDARD_TEMPERATURE_K
) -> float:
    """ΔpKd (mutant - parent) of a ΔΔG in kcal/mol; ΔΔG > 0 is weaker binding, so ΔpKd < 0."""
    return dg_kcal_mol_to_pkd(ddg_kcal_mol, temperature_K)


def parse_bounded_number(text: str) -> tuple[float, Censoring]:
    """A finite number and its bound, about it as written: ``">=9"`` is (9.0, ``AT_LEAST``).

    Raises `InputError` for other texts.
    """
    parts = split_number(text)
    if parts is None or parts.unit:
        raise InputError(
            f"expected a number, with < or > in front if it is a bound, got {text!r}{hint_of(text)}"
        )
    if not math.isfinite(parts.value):
        raise InputError(f"expected a finite number, got {text!r}")
    return parts.value, _direction(parts.bound)


def parse_kd(text: str, default_unit: str = "M") -> tuple[float | None, Censoring]:
    """pKd and censoring of a Kd as people write it; `default_unit` is that of a bare number.

    The pKd is None for a non-binder without a number: its bound is the assay's weakest measured
    pKd, which only the whole table knows (`paratope.data.measurements.bound_non_binders`). Raises
    `InputError` if the text is empty, not a Kd, not positive, or of an unknown unit.

    >>> parse_kd(">10 uM")  # the censoring is about pKd
    (5.0, <Censoring.AT_MOST: -1>)
    """
    if is_no_binding(text, of_kd=True):
        return None, Censoring.AT_MOST
    if is_not_measured(text):
        raise InputError(f"no measured value: {text!r}")
    parts = split_number(text)
    if parts is None:
        raise InputError(
            f"cannot read {text!r} as a Kd; expected a number with a unit, such as '3.2 nM', "
            f"'>10 uM', '1E-09' (M), or 'n.b.'{hint_of(text)}"
        )
    exponent = unit_exponent(parts.unit or default_unit)
    if exponent is None:
        raise InputError(f"unknown unit of Kd: {default_unit!r}; expected M, mM, uM, nM, pM or fM")
    number = float(parts.number)
    if not 0 < number < math.inf:
        raise InputError(f"Kd must be a positive finite number, got {text!r}")
    # 9 - log10(x) rather than -log10(x * 1e-9): exact for whole powers of ten
    pkd = exponent - parts.power - math.log10(number)
    return pkd, flip_censoring(_direction(parts.bound))


def unit_exponent(unit: str) -> int | None:
    """How many powers of ten a unit of Kd is below 1 M; None if it is no such unit.

    >>> [unit_exponent(unit) for unit in ("µmol/L", "picomolar", "nm", "mm", "kcal/mol")]
    [6, 12, 9, None, None]
    """
    match = re.fullmatch(UNIT_TEXT, unit.strip().strip("()[]").strip())
    if match is None:
        return None
    text = match[0].replace("μ", "u").replace("µ", "u")
    if len(text) > 3 and text[-5:].lower() == "molar":
        return _EXPONENT[_PREFIX_WORDS[text[:-5].lower()]]
    text = re.sub(r"mol.*", "M", text)
    return _EXPONENT[text[:-1] if text == "mM" else text[:-1].lower()]


def parse_temperature_K(text: str, unit: str = "") -> float:
    """Temperature in kelvin of what people write; words in brackets after it are ignored.

    `unit` (``"K"`` or ``"C"``) is that of a bare number; if empty, numbers from 200 up are kelvin.
    Raises `InputError` unless it is a number between 250 K and 400 K, where proteins are measured.
    """
    match = _TEMPERATURE.match(text)
    if match is None:
        raise InputError(f"expected a temperature such as '298' or '25 °C', got {text!r}")
    number = float(match["number"])
    unit = (match["unit"] or unit or ("K" if number >= 200 else "C")).upper()
    kelvin = number if unit == "K" else number + 273.15
    if not 250 <= kelvin <= 400:
        raise InputError(f"expected a temperature between 250 K and 400 K, got {text!r}")
    return kelvin


def flip_censoring(censoring: Censoring) -> Censoring:
    """The same bound about a quantity of opposite sign (Kd or ΔG instead of pKd)."""
    return Censoring(-censoring)


def _direction(bound: str) -> Censoring:
    signs = dict.fromkeys(">≥", Censoring.AT_LEAST) | dict.fromkeys("<≤", Censoring.AT_MOST)
    return signs.get(bound[:1], Censoring.EXACT)
