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

GAS_CONSTANT_KCAL_PER_MOL_K = 8.314462618 / 4184.0
STANDARD_TEMPERATURE_K = 298.15

# What common assays (SPR, BLI, ITC, KinExA, display titrations) can resolve: 1 fM to 10 mM.
PKD_MIN_MEASURABLE = 2.0
PKD_MAX_MEASURABLE = 15.0
# The range on which the shipped models answer: 100 uM to 10 fM.
PKD_MIN_OUTPUT = 4.0
PKD_MAX_OUTPUT = 14.0
# From this pKd (1 nM) on a binder counts as strong.
STRONG_PKD = 9.0

_EXPONENT = {"": 0, "m": 3, "u": 6, "n": 9, "p": 12, "f": 15, "a": 18}
_KD_TEXT = re.compile(
    r"^\s*(?:[kK]_?[dD]\s*[=:]?\s*)?(?P<bound><=|>=|<|>|~|≤|≥|=)?\s*"
    r"(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:\s*[eE]\s*[+-]?\d+)?)"
    r"(?:\s*[x×*·]\s*10\s*\^?\s*(?P<power>[+-]?\d+))?\s*"
    r"(?P<unit>[afpnumμµ]?M|[afpnuAFPNU]m|[AFPNU]M|[afpnumμµ]?mol/[lL])?\s*$"
)
_TEMPERATURE = re.compile(
    r"^\s*(?P<number>-?\d+(?:\.\d*)?)\s*(?:°|deg(?:rees)?\.?)?\s*(?P<unit>[KkCc])?(?:elsius|elvin)?"
    r"\s*(?:\(.*\))?\s*$"
)
_NUMBER_TEXT = re.compile(
    r"^\s*(<=|>=|<|>|≤|≥|~|=)?\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*$"
)
# "no binding" and "not measured" in the words tables use for them
_NO_BINDING = frozenset(
    "n.b|nb|n.b.|nbd|no binding|no bind|not binding|non-binder|nonbinder|non binder".split("|")
)
_NOT_MEASURED = frozenset("|na|n/a|nan|none|null|nd|n.d|n.d.|-|?|tbd|unknown".split("|"))


def kd_M_to_pkd(kd_M: float) -> float:
    """pKd = -log10(Kd / M) of a Kd in mol/L; `InputError` unless it is positive and finite.

    >>> kd_M_to_pkd(1e-9)
    9.0
    """
    if not (math.isfinite(kd_M) and kd_M > 0):
        raise InputError(f"Kd must be a positive number of mol/L, got {kd_M!r}")
    return 0.0 - math.log10(kd_M)


def kd_nM_to_pkd(kd_nM: float) -> float:
    """pKd of a dissociation constant in nmol/L; `InputError` unless it is positive and finite.

    >>> round(kd_nM_to_pkd(3.2), 3)
    8.495
    """
    if not (math.isfinite(kd_nM) and kd_nM > 0):
        raise InputError(f"Kd must be a positive number of nM, got {kd_nM!r}")
    return 9.0 - math.log10(kd_nM)


def pkd_to_kd_nM(pkd: float) -> float:
    """Dissociation constant in nmol/L of a pKd.

    >>> pkd_to_kd_nM(8.0)
    10.0
    """
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
    """Binding free energy ΔG = -RT ln(10) pKd, kcal/mol, negative for binding.

    >>> round(pkd_to_dg_kcal_mol(9.0), 2)
    -12.28
    """
    return -GAS_CONSTANT_KCAL_PER_MOL_K * temperature_K * math.log(10.0) * pkd


def dg_kcal_mol_to_pkd(dg_kcal_mol: float, temperature_K: float = STANDARD_TEMPERATURE_K) -> float:
    """pKd of a binding free energy in kcal/mol, the inverse of `pkd_to_dg_kcal_mol`.

    >>> round(dg_kcal_mol_to_pkd(-12.28), 2)
    9.0
    """
    if not math.isfinite(dg_kcal_mol):
        raise InputError(f"ΔG must be a finite number of kcal/mol, got {dg_kcal_mol!r}")
    return 0.0 - dg_kcal_mol / (GAS_CONSTANT_KCAL_PER_MOL_K * temperature_K * math.log(10.0))


def ddg_kcal_mol_to_delta_pkd(
    ddg_kcal_mol: float, temperature_K: float = STANDARD_TEMPERATURE_K
) -> float:
    """ΔpKd (mutant - parent) of a ΔΔG in kcal/mol; ΔΔG > 0 is weaker binding, so ΔpKd < 0.

    >>> round(ddg_kcal_mol_to_delta_pkd(1.364), 2)
    -1.0
    """
    return dg_kcal_mol_to_pkd(ddg_kcal_mol, temperature_K)


def parse_bounded_number(text: str) -> tuple[float, Censoring]:
    """A number with an optional bound about it, such as ``"7.2"``, ``"< 5"`` or ``">=9"``.

    ``AT_LEAST`` is ``>``, about the number as written. Raises `InputError` unless the number is
    finite.

    >>> parse_bounded_number("<5")
    (5.0, <Censoring.AT_MOST: -1>)
    """
    match = _NUMBER_TEXT.match(text)
    if match is None:
        raise InputError(f"expected a number, with < or > in front if it is a bound, got {text!r}")
    value = float(match[2])
    if not math.isfinite(value):
        raise InputError(f"expected a finite number, got {text!r}")
    return value, _direction(match[1])


def parse_kd(text: str, default_unit: str = "M") -> tuple[float | None, Censoring]:
    """pKd and censoring of a Kd as people write it; `default_unit` is that of a bare number.

    The pKd is None for a non-binder without a number: its bound is the assay's weakest measured
    pKd, which only the whole table knows (`paratope.data.measurements.bound_non_binders`). The
    censoring is about pKd: ``AT_MOST`` for a Kd that is *larger* than the number. Raises
    `InputError` if the text is empty, not a Kd, not positive, or of an unknown unit.

    >>> parse_kd("3.2 nM")
    (8.494850021680094, <Censoring.EXACT: 0>)
    >>> parse_kd(">10 uM")
    (5.0, <Censoring.AT_MOST: -1>)
    >>> parse_kd("n.b.")
    (None, <Censoring.AT_MOST: -1>)
    """
    words = text.strip().lower()
    if words in _NO_BINDING:
        return None, Censoring.AT_MOST
    if words in _NOT_MEASURED:
        raise InputError(f"no measured value: {text!r}")
    match = _KD_TEXT.match(text)
    if match is None:
        raise InputError(
            f"cannot read {text!r} as a Kd; expected a number with a unit, such as '3.2 nM', "
            "'>10 uM', '1E-09' (M), or 'n.b.'"
        )
    unit = (match["unit"] or default_unit).replace("μ", "u").replace("µ", "u")
    unit = re.sub(r"mol/[lL]$", "M", unit)
    prefix = unit[:-1] if unit == "mM" else unit[:-1].lower()
    if prefix not in _EXPONENT or unit[-1:] not in ("M", "m"):
        raise InputError(f"unknown unit of Kd: {default_unit!r}; expected M, mM, uM, nM, pM or fM")
    number = float("".join(match["number"].split()))
    if not 0 < number < math.inf:
        raise InputError(f"Kd must be a positive finite number, got {text!r}")
    # 9 - log10(x) rather than -log10(x * 1e-9): exact for whole powers of ten
    pkd = _EXPONENT[prefix] - int(match["power"] or 0) - math.log10(number)
    return pkd, flip_censoring(_direction(match["bound"]))


def is_no_binding(text: str) -> bool:
    """Whether a value says, in words, that nothing binds, such as ``"N.B."``."""
    return text.strip().lower() in _NO_BINDING


def is_not_measured(text: str) -> bool:
    """Whether a value is empty or a word for "not measured", such as ``"n.d."``."""
    return text.strip().lower() in _NOT_MEASURED


def parse_temperature_K(text: str, unit: str = "") -> float:
    """Temperature in kelvin of what people write; words in brackets after it are ignored.

    `unit` (``"K"`` or ``"C"``) is that of a bare number; if empty, numbers from 200 up are kelvin.
    Raises `InputError` if it is no number, or not between 250 K and 400 K, where proteins are
    measured.

    >>> parse_temperature_K("25 °C"), parse_temperature_K("298(assumed)")
    (298.15, 298.0)
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


def _direction(bound: str | None) -> Censoring:
    signs = {">": Censoring.AT_LEAST, "≥": Censoring.AT_LEAST}
    signs |= {"<": Censoring.AT_MOST, "≤": Censoring.AT_MOST}
    return signs.get((bound or "=")[0], Censoring.EXACT)
