"""Measurements: what is allowed, non-binders, replicates."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.measurements import Measurement, bound_non_binders, merge_replicates
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


def test_a_stated_limit_goes_before_the_weakest_value():
    rows = [*exact(7.0), Measurement(PAIR, censoring=AT_MOST, assay="a")]
    assert bound_non_binders(rows, default_pkd=4.0)[1].pkd == 4.0


def test_a_lower_bound_is_no_weakest_value():
    rows = [
        Measurement(PAIR, 5.0, AT_LEAST, "a"),
        *exact(7.0),
        Measurement(PAIR, censoring=AT_MOST, assay="a"),
    ]
    assert bound_non_binders(rows)[2].pkd == 7.0


def test_non_binders_of_an_assay_of_scores_get_the_weakest_score():
    rows = [
        Measurement(PAIR, score=0.3, assay="a"),
        Measurement(OTHER, score=-1.5, assay="a"),
        Measurement(PAIR, censoring=AT_MOST, assay="a"),
    ]
    bounded = bound_non_binders(rows)[2]
    assert (bounded.pkd, bounded.score, bounded.censoring) == (None, -1.5, AT_MOST)


def test_non_binders_of_an_assay_without_any_value_stay_open():
    (row,) = bound_non_binders([Measurement(PAIR, censoring=AT_MOST, assay="a")])
    assert row.pkd is None
    assert row.score is None


@given(st.lists(PKD, min_size=1, max_size=9), st.randoms())
def test_replicates_merge_to_their_median_in_any_order(values: list[float], random):
    shuffled = values.copy()
    random.shuffle(shuffled)
    (merged,) = merge_replicates(exact(*shuffled))
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else sum(ordered[middle - 1 : middle + 1]) / 2
    assert merged.measurement.pkd == pytest.approx(median)
    assert merged.count == len(values)
    assert math.isnan(merged.sd) == (len(values) == 1)
    assert merged.conflict == (max(values) - min(values) > 1.0)


def test_pairs_and_assays_are_kept_apart_in_order():
    rows = [*exact(7.0), *exact(8.0, pair=OTHER), *exact(9.0, assay="b"), *exact(7.5)]
    merged = merge_replicates(rows)
    assert [item.measurement.pkd for item in merged] == [7.25, 8.0, 9.0]
    assert [item.count for item in merged] == [2, 1, 1]


def test_names_do_not_tell_pairs_apart():
    named = Pair(Antibody("EVQL", "DIQM", "mab"), Antigen(("MKV",), "toxin"))
    (merged,) = merge_replicates([*exact(7.0), *exact(8.0, pair=named)])
    assert merged.count == 2


def test_sample_standard_deviation():
    (merged,) = merge_replicates(exact(7.0, 7.4))
    assert merged.sd == pytest.approx(0.2828, abs=1e-4)


def test_a_bound_that_contradicts_exact_values_is_a_conflict():
    (agreeing,) = merge_replicates([*exact(6.0), Measurement(PAIR, 6.5, AT_MOST, "a")])
    assert (agreeing.measurement.pkd, agreeing.measurement.censoring) == (6.0, EXACT)
    assert not agreeing.conflict
    (contradicting,) = merge_replicates([*exact(9.0), Measurement(PAIR, 6.5, AT_MOST, "a")])
    assert contradicting.conflict


def test_bounds_alone_merge_to_the_tightest():
    uppers = [Measurement(PAIR, value, AT_MOST, "a") for value in (6.0, 5.0)]
    (merged,) = merge_replicates(uppers)
    assert (merged.measurement.pkd, merged.measurement.censoring) == (5.0, AT_MOST)
    lowers = [Measurement(PAIR, value, AT_LEAST, "a") for value in (9.0, 10.0)]
    (merged,) = merge_replicates(lowers)
    assert (merged.measurement.pkd, merged.measurement.censoring) == (10.0, AT_LEAST)
    (merged,) = merge_replicates([*uppers, *lowers])
    assert merged.conflict


def test_a_delta_stays_relative_to_its_parent():
    rows = [
        Measurement(PAIR, 8.0, assay="a", delta_pkd=-0.5, parent=OTHER),
        Measurement(PAIR, 7.0, assay="a", delta_pkd=-1.5, parent=OTHER),
    ]
    (merged,) = merge_replicates(rows)
    assert merged.measurement.pkd == 7.5
    assert merged.measurement.delta_pkd == pytest.approx(-1.0)


def test_replicates_need_a_pkd():
    with pytest.raises(InputError, match="bound_non_binders first"):
        merge_replicates([Measurement(PAIR, censoring=AT_MOST)])
