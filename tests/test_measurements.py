"""Measurements: what is allowed, non-binders, parents."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.measurements import Measurement, ParentValues, bound_non_binders
from paratope.molecules.sequences import Antibody, Antigen, Pair

PAIR = Pair(Antibody("EVQL", "DIQM"), Antigen(("MKV",)))
OTHER = Pair(Antibody("EVQV", "DIQM"), Antigen(("MKV",)))
EXACT, AT_LEAST, AT_MOST = Censoring.EXACT, Censoring.AT_LEAST, Censoring.AT_MOST
PKD = st.floats(3, 13)


def exact(*values: float, pair: Pair = PAIR, assay: str = "a") -> list[Measurement]:
    return [Measurement(pair, value, assay=assay) for value in values]


def test_a_measurement_holds_a_finite_value():
    with pytest.raises(InputError, match="needs a pKd"):
        Measurement(PAIR)
    for value in (math.nan, math.inf):
        with pytest.raises(InputError, match="finite"):
            Measurement(PAIR, value)
    assert Measurement(PAIR, score=0.0).score == 0.0
    assert Measurement(PAIR, censoring=AT_MOST).pkd is None  # a non-binder


@given(st.lists(PKD, min_size=1), st.lists(PKD))
def test_non_binders_get_the_weakest_value_of_their_own_assay(own: list[float], other: list[float]):
    non_binder = Measurement(PAIR, censoring=AT_MOST, assay="a")
    rows = [*exact(*own), non_binder, *exact(*other, assay="b")]
    bounded = bound_non_binders(rows)
    assert bounded[len(own)].pkd == min(own)
    assert bounded[len(own)].censoring is AT_MOST
    assert [row for row in bounded if row.assay == "b"] == rows[len(own) + 1 :]
    assert bounded[: len(own)] == rows[: len(own)]


def test_a_lower_bound_is_no_weakest_value():
    rows = [
        Measurement(PAIR, 5.0, AT_LEAST, "a"),
        *exact(7.0),
        Measurement(PAIR, censoring=AT_MOST, assay="a"),
    ]
    assert bound_non_binders(rows)[2].pkd == 7.0


@given(st.lists(PKD, min_size=1, max_size=9), st.randoms())
def test_a_parent_has_the_median_of_its_exact_values(values: list[float], random):
    named = Pair(Antibody("EVQL", "DIQM", "wt"), Antigen(("MKV",), "toxin"))
    rows = [*exact(*values), Measurement(PAIR, 3.0, AT_MOST, "a"), *exact(12.0, pair=OTHER)]
    random.shuffle(rows)
    parents = ParentValues()
    for row in rows:
        parents.add(row)
    for assay in ("a", "another"):  # all its assays, where it was not measured in this one
        median, note = parents.median(named, assay)
        assert median == pytest.approx(np.median(values))
        assert ("parent 'wt' was measured" in note) == (max(values) - min(values) > 1.0)
    parents.add(Measurement(PAIR, 4.0, assay="another"))
    assert parents.median(named, "another") == (4.0, "")


def test_a_parent_nobody_measured_has_no_value():
    assert ParentValues().median(PAIR, "a") == (None, "")
