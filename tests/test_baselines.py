"""Baselines: one interface, no surprises, and each learns what it can and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, TrainingError
from paratope.data.datasets import load_dataset
from paratope.data.measurements import Measurement
from paratope.data.splits import split_measurements
from paratope.evaluation import baselines
from paratope.evaluation.baselines import BASELINES, expected_values
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from small_campaigns import HEAVY, LIGHT
from test_numbering import LYSOZYME, VHH

RAS = "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSYRKQVVIDGETCLLDILDTAGQEEYSAMRDQYMRTGEGFLC"
HEN, OF_RAS = Antigen((LYSOZYME,)), Antigen((RAS,))
EFFECT = dict(zip(range(96, 108), np.linspace(-1, 1, 12), strict=True))


def variants(count, seed=0, noise=0.05):
    """Mutants of one antibody whose CDR-H3 positions add up, with their pKd."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        letters, value = list(HEAVY), 8.0
        for place in rng.choice(list(EFFECT), rng.integers(0, 4), replace=False):
            letters[place] = rng.choice(list("AKDFW"))
            value += EFFECT[int(place)] * (letters[place] != HEAVY[place])
        pair = Pair(Antibody("".join(letters), LIGHT), HEN)
        made.append(Measurement(pair, value + noise * rng.normal()))
    return made


@pytest.fixture(scope="module")
def rows():
    others = [Measurement(Pair(row.pair.antibody, OF_RAS), 5.0) for row in variants(20, 1)]
    return variants(150) + others


STRANGE = [
    Pair(Antibody(VHH), Antigen((RAS[::-1],))),
    Pair(Antibody("MKV"), Antigen(("X",))),
    Pair(Antibody(HEAVY[:-3] + "X", LIGHT), Antigen((LYSOZYME, RAS))),
    Pair(Antibody(LIGHT + "GGGGSGGGGSGGGGS" + HEAVY), Antigen(("GIVEQ",))),
]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_any_pair_repeats_exactly_and_ignores_companions(rows, name):
    model = BASELINES[name]()
    with pytest.raises(TrainingError, match=name):
        model.predict_pkd([rows[0].pair])
    for made in ([], [Measurement(rows[0].pair, None, Censoring.AT_MOST)]):
        with pytest.raises(InputError, match="at least one"):
            BASELINES[name]().fit(made)
    model.fit(rows)
    pairs = [*STRANGE, *(row.pair for row in rows)]
    found = model.predict_pkd(pairs)
    assert found.shape == (len(pairs),)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert model.predict_pkd([]).shape == (0,)
    assert (model.name, bool(model.summary)) == (name, True)
    assert (BASELINES[name]().fit(rows).predict_pkd(pairs) == found).all()
    alone = np.concatenate([model.predict_pkd([pair]) for pair in pairs[:24]])
    np.testing.assert_allclose(alone, found[:24], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_baseline_fits_few_rows(rows, name, count):
    model = BASELINES[name]().fit(rows[:count])
    found = model.predict_pkd([rows[0].pair, *STRANGE])
    assert np.isfinite(found).all()
    if count == 1:
        np.testing.assert_allclose(found, rows[0].pkd, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_takes_bounds_and_only_bounds(rows, name):
    bounded = [Measurement(row.pair, 5.0, Censoring.AT_MOST) for row in rows[:20]]
    for made in ([*rows[20:60], *bounded], bounded[:3]):
        found = BASELINES[name]().fit(made).predict_pkd([row.pair for row in rows[:30]])
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["one_hot_ridge", "one_hot_gp", "boosted_kmers", "mutation_type"])
def test_regressions_learn_an_additive_landscape(name):
    train, test = variants(300, 2), variants(100, 3)
    truth = np.array([row.pkd for row in test])
    found = BASELINES[name]().fit(train).predict_pkd([row.pair for row in test])
    error = np.sqrt(((found - truth) ** 2).mean())
    worst = {"one_hot_ridge": 0.15, "one_hot_gp": 0.3, "boosted_kmers": 0.75, "mutation_type": 0.9}
    assert error < worst[name] * truth.std()


def test_one_hot_aligns_by_imgt_position():
    """An insertion in CDR-H3 shifts all that follows; the effect learned behind it still holds."""
    rng = np.random.default_rng(0)
    train = []
    for _ in range(200):
        letters = list(HEAVY)
        letters[118] = rng.choice(["S", "A"])  # framework 4, behind the loop
        letters[30] = rng.choice(["D", "E", "N"])
        pair = Pair(Antibody("".join(letters), LIGHT), HEN)
        train.append(Measurement(pair, 9.0 if letters[118] == "A" else 7.0))
    longer = HEAVY[:102] + "GG" + HEAVY[102:]
    changed = longer[:120] + "A" + longer[121:]
    pairs = [Pair(Antibody(heavy, LIGHT), HEN) for heavy in (longer, changed)]
    low, high = BASELINES["one_hot_ridge"]().fit(train).predict_pkd(pairs)
    assert high - low > 1.5


def test_means_know_the_antigen_and_the_complex(rows):
    mutant = Pair(rows[0].pair.antibody, Antigen((LYSOZYME[:10] + "W" + LYSOZYME[11:],)))
    others = [Pair(Antibody(VHH), antigen) for antigen in (OF_RAS, Antigen(("GSHMGSHMGSHM",)))]
    pairs = [rows[0].pair, mutant, *others]
    values = np.array([row.pkd for row in rows])
    lysozyme = values[:150].mean()
    for name in ("antigen_mean", "complex_mean"):
        found = BASELINES[name]().fit(rows).predict_pkd(pairs)
        np.testing.assert_allclose(found, [lysozyme, lysozyme, 5.0, values.mean()])
    pairs = [rows[0].pair, Pair(Antibody(VHH), HEN)]
    other = [Measurement(pairs[1], 3.0)] * 5
    by_complex = BASELINES["complex_mean"]().fit([*rows, *other]).predict_pkd(pairs)
    np.testing.assert_allclose(by_complex, [lysozyme, 3.0])
    by_antigen = BASELINES["antigen_mean"]().fit([*rows, *other]).predict_pkd(pairs)
    assert by_antigen[0] == by_antigen[1] < lysozyme


texts = st.lists(st.text("AC", max_size=8), min_size=1, max_size=5)


@given(texts, texts, st.text("AC", max_size=5), st.text("AC", max_size=5))
def test_what_all_texts_share_changes_no_distance(rows, columns, start, end):
    from rapidfuzz.distance import Levenshtein

    rows, columns = ([start + text + end for text in some] for some in (rows, columns))
    plain = [[Levenshtein.normalized_distance(a, b) for b in columns] for a in rows]
    np.testing.assert_array_equal(
        baselines.edit_distances(rows, columns), np.array(plain, np.float32)
    )


def test_nearest_neighbour_is_the_mean_of_the_nearest():
    near = [Antibody(HEAVY[:place] + "W" + HEAVY[place + 1 :], LIGHT) for place in (5, 40, 70)]
    made = [Measurement(Pair(near[n], HEN), 6.0 + n) for n in range(3)]
    made += [Measurement(Pair(Antibody(VHH), OF_RAS), 1.0)] * 10
    model = BASELINES["nearest_neighbour"]().fit(made)
    found = model.predict_pkd([Pair(Antibody(HEAVY, LIGHT), HEN)])
    assert found[0] == pytest.approx(7.0)


def test_length_only_reads_no_residue(rows):
    pairs = [row.pair for row in rows]
    swapped = [Pair(one.antibody, Antigen((one.antigen.chains[0][::-1],))) for one in pairs]
    model = BASELINES["length_only"]().fit(rows)
    assert (model.predict_pkd(swapped) == model.predict_pkd(pairs)).all()


def test_mutation_count_falls_with_mutations():
    rng = np.random.default_rng(1)
    made = []
    for count in [*range(6)] * 10:
        letters = list(HEAVY)
        for place in rng.choice(len(letters), count, replace=False):
            letters[place] = rng.choice([x for x in AMINO_ACIDS if x != letters[place]])
        pair = Pair(Antibody("".join(letters), LIGHT), HEN)
        made.append(Measurement(pair, 9.0 - 0.5 * count))
    found = BASELINES["mutation_count"]().fit(made).predict_pkd([row.pair for row in made])
    assert np.abs(found - [row.pkd for row in made]).max() < 0.2


@given(st.integers(0, 10_000), st.floats(-0.5, 1.0))
@settings(max_examples=15, deadline=None)
def test_expected_values_have_the_mean_of_maximum_likelihood(seed, limit):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=60)
    low = values < -limit
    signs = [Censoring.AT_MOST if one else Censoring.EXACT for one in low]
    values = np.where(low, -limit, values)

    def loss(parameters):
        mean, log_sd = parameters
        sd = np.exp(log_sd)
        exact = norm.logpdf(values[~low], mean, sd).sum()
        return -exact - norm.logcdf(values[low], mean, sd).sum()

    precise = {"xatol": 1e-8, "fatol": 1e-10}
    fitted = minimize(loss, [values.mean(), 0.0], method="Nelder-Mead", options=precise)
    found = expected_values(values, signs)
    assert found.mean() == pytest.approx(fitted.x[0], abs=1e-3)
    assert (found[low] <= values[low]).all()
    assert (found[~low] == values[~low]).all()


def test_bounds_are_mirrored():
    values = np.array([6.0, 7.0, 8.0, 9.0])
    up = expected_values(values, [Censoring.EXACT] * 3 + [Censoring.AT_LEAST])
    down = expected_values(-values, [Censoring.EXACT] * 3 + [Censoring.AT_MOST])
    np.testing.assert_allclose(up, -down)
    assert up[-1] > 9.0


def test_scores_serve_where_there_is_no_pkd(rows):
    scored = [Measurement(row.pair, score=float(n)) for n, row in enumerate(rows[:5])]
    kept, values = baselines.training_values(scored)
    assert (len(kept), values.tolist()) == (5, [0.0, 1.0, 2.0, 3.0, 4.0])
    kept, values = baselines.training_values([*scored, rows[0]])
    assert (len(kept), values[0]) == (1, rows[0].pkd)


def test_on_skempi_a_random_split_flatters_lookups_and_an_antigen_split_does_not(data_root):
    imported = load_dataset("skempi", data_root).measurements
    measurements = [row for row in imported if row.pkd is not None]
    skill = {}
    for by in ("random", "antigen"):
        split = split_measurements(measurements, by, fractions=(0.8, 0.2))
        train = [measurements[row] for row in split.rows("train")]
        test = [measurements[row] for row in split.rows("test")]
        truth = np.array([row.pkd for row in test])
        errors = {}
        for name in ("constant", "complex_mean", "nearest_neighbour"):
            found = BASELINES[name]().fit(train).predict_pkd([row.pair for row in test])
            errors[name] = np.sqrt(((found - truth) ** 2).mean())
        best = min(errors["complex_mean"], errors["nearest_neighbour"])
        skill[by] = 1 - best / errors["constant"]
    assert skill["random"] > 0.25
    assert skill["antigen"] < skill["random"] / 2
