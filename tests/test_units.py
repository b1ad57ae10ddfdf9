"""Kd, pKd and ΔG: inverses, signs, units, bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.core import units
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.number_text import is_no_binding, is_not_measured

PKD = st.floats(-5, 20)
EXACT, AT_LEAST, AT_MOST = Censoring.EXACT, Censoring.AT_LEAST, Censoring.AT_MOST


@given(PKD, st.floats(250, 400))
def test_kd_and_dg_round_trip(pkd, kelvin):
    kd_nM = units.pkd_to_kd_nM(pkd)
    assert units.kd_nM_to_pkd(kd_nM) == pytest.approx(pkd, abs=1e-9)
    assert units.kd_M_to_pkd(1e-9 * kd_nM) == pytest.approx(pkd, abs=1e-9)
    dg = units.pkd_to_dg_kcal_mol(pkd, kelvin)
    assert units.dg_kcal_mol_to_pkd(dg, kelvin) == pytest.approx(pkd, abs=1e-9)


@given(PKD, PKD)
def test_ddg_of_a_weaker_mutant_is_positive_and_its_delta_pkd_negative(mutant, parent):
    ddg = units.pkd_to_dg_kcal_mol(mutant) - units.pkd_to_dg_kcal_mol(parent)
    assert units.ddg_kcal_mol_to_delta_pkd(ddg) == pytest.approx(mutant - parent, abs=1e-9)
    if mutant < parent - 1e-9:
        assert ddg > 0


def test_known_values_and_words():
    assert units.kd_M_to_pkd(1e-9) == 9.0
    assert units.kd_nM_to_pkd(1.0) == 9.0
    # RT ln 10 at 298.15 K is 1.364 kcal/mol: a factor of ten in Kd
    assert units.pkd_to_dg_kcal_mol(1.0) == pytest.approx(-1.3642, abs=1e-4)
    words = (
        " N.B. |BDL|<LLOQ|Undetectable|didn't bind|no_binding|Below the limit of detection|n.b.†"
    )
    assert all(map(is_no_binding, words.split("|")))
    others = "|nd|no fit|weak|no|LOD|> LOD|not determined|saturated"
    assert not any(map(is_no_binding, others.split("|")))
    assert [is_not_measured(word) for word in (" NA ", "0")] == [True, False]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_kd_or_free_energy_that_is_none_is_refused(value):
    for convert in (units.kd_M_to_pkd, units.kd_nM_to_pkd):
        with pytest.raises(InputError, match="positive number"):
            convert(value)
    if not math.isfinite(value):
        for one in (value, -value):
            with pytest.raises(InputError, match="finite"):
                units.dg_kcal_mol_to_pkd(one)


# As papers print them, and their Kd in nM
PRINTED = dict.fromkeys(("(1.2 ± 0.3) × 10⁻⁹ M", "1.2 ± 0.3e-9"), 1.2)
PRINTED |= dict.fromkeys(("ca. 5 nM", "∼5\u202fnM (n = 4)", "5 nM ± 12%", "５ nM"), 5.0)
PRINTED |= dict.fromkeys(("3.2 (nM)", "3.2 nM [2.1–4.0]", "3.2 nmol L⁻¹", "3.2E−9"), 3.2)
PRINTED |= dict.fromkeys(("1 200 nM", "1'200 nM", "1.2 micromolar"), 1200.0)
PRINTED |= {"1.23(4)e-9 ±2e-11": 1.23, "10⁻⁹ M": 1.0, "10² nM": 100.0}


@pytest.mark.parametrize(
    ("text", "pkd", "censoring"),
    [
        *((text, 8.494850021680094, EXACT) for text in ("3.2nM", "3.2 nm", "3.2 NM")),
        *((text, 5.0, AT_MOST) for text in (">10 uM", "> 10 µM", ">= 10 μM", "≥10 um")),
        *((text, 12.0, AT_LEAST) for text in ("<1 pM", "≤ 1 pM")),
        ("~2 fM", 15.0 - math.log10(2), EXACT),
        ("1E-09", 9.0, EXACT),
        ("1e-9 M", 9.0, EXACT),
        ("1 mM", 3.0, EXACT),
        ("1 nmol/L", 9.0, EXACT),
        ("1.5 x 10^-9 M", 9 - math.log10(1.5), EXACT),
        ("1.5×10-9", 9 - math.log10(1.5), EXACT),
        ("Kd = 5 nM", 9 - math.log10(5), EXACT),
        (">2.8E-06", 6 - math.log10(2.8), AT_MOST),
        (".5 nM", 9 - math.log10(0.5), EXACT),
        *((text, 9 - math.log10(kd_nM), EXACT) for text, kd_nM in PRINTED.items()),
        *((text, None, AT_MOST) for text in ("n.b.", "n.b", " NB ", "no binding", "Non-binder")),
    ],
)
def test_kd_as_people_write_it(text, pkd, censoring):
    value, direction = units.parse_kd(text)
    assert direction is censoring
    assert value is None if pkd is None else value == pytest.approx(pkd, abs=1e-12)


def test_a_bare_number_has_the_default_unit_and_a_unit_of_its_own_wins():
    assert units.parse_kd("10", "nM")[0] == 8.0
    assert units.parse_kd("10 pM", "nM")[0] == 11.0
    with pytest.raises(InputError, match="unknown unit"):
        units.parse_kd("3", "furlong")


NO_NUMBER = ("", "abc", "1,5", "nan", "inf", "1e999", "7 nM", "<<5")


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        *((units.parse_kd, text, "no measured value") for text in ("", "NaN", "n.d.")),
        *((units.parse_kd, text, "positive") for text in ("0 nM", "-3 nM")),
        (units.parse_kd, "1e999 nM", "positive finite"),
        *((units.parse_kd, text, "cannot read") for text in ("3,2 nM", "3.2 kg", "strong")),
        (units.parse_kd, "3.2*", r"the odd character is '\*' \(U\+002A"),
        (units.parse_kd, "3.2²", r"behind the number stands '\^2'"),
        (units.parse_kd, "3.Feb", "it is a date, which a spreadsheet may have made of a number"),
        (units.parse_kd, "2024-05-03", "it is a date"),
        (units.parse_kd, "5–8 nM", "behind the number stands '-8 nM'"),
        (units.parse_kd, "3.2①", "behind the number stands '①'"),
        (units.parse_kd, "3.2 (0.4 nM)", "behind the number stands"),
        (units.parse_kd, "3,2 nM", "is this a decimal comma. Write '3.2 nM'$"),
        (units.parse_kd, "1,200", "'1,200' may be thousands, too"),
        *((units.parse_bounded_number, text, "number") for text in NO_NUMBER),
        *(
            (units.parse_temperature_K, text, "temperature")
            for text in ("", "room", "0 K", "900", "-80")
        ),
    ],
)
def test_text_that_cannot_be_read(parse, text, says):
    with pytest.raises(InputError, match=says):
        parse(text)


@given(st.floats(1e-3, 1e6), st.sampled_from(["M", "mM", "uM", "nM", "pM", "fM"]))
def test_units_of_kd_agree(number, unit):
    exponent = {"M": 0, "mM": 3, "uM": 6, "nM": 9, "pM": 12, "fM": 15}[unit]
    pkd, censoring = units.parse_kd(f"{number!r} {unit}")
    assert censoring is EXACT
    assert pkd == pytest.approx(exponent - math.log10(number), abs=1e-9)


BOUNDS = {"": EXACT, "<": AT_MOST, ">": AT_LEAST, ">=": AT_LEAST, "≤": AT_MOST}


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(sorted(BOUNDS)))
def test_bounded_numbers_keep_their_direction(number, bound):
    value, censoring = units.parse_bounded_number(f"{bound} {number!r}")
    assert value == number
    assert censoring is BOUNDS[bound]
    assert units.flip_censoring(censoring) == -censoring


@pytest.mark.parametrize(
    ("text", "unit", "kelvin"),
    [
        *((text, "", 298.0) for text in ("298", "298(assumed)")),
        *((text, "", 298.15) for text in ("25", "25 °C", "298.15 K")),
        *((text, "", 310.15) for text in ("37C", "37 Celsius")),
        ("25", "C", 298.15),
        ("310", "K", 310.0),
    ],
)
def test_temperature(text, unit, kelvin):
    assert units.parse_temperature_K(text, unit) == pytest.approx(kelvin)
