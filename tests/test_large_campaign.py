import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from paratope.campaigns import campaign_bundle as bundles
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel, SparseCampaignModel, fit_campaign
from paratope.campaigns.gaussian_process import GaussianProcess, Observations
from paratope.campaigns.sparse_process import SparseFit, SparseProcess, inducing_rows
from paratope.campaigns.suggestion import suggest
from paratope.core.errors import ModelError
from paratope.models.bundle import read_bundle, write_bundle
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.opening import predictor_of
from small_campaigns import PARENT, additive_mutants, exact_campaign

ANTIGEN = Antigen(("MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ",), "target")
PLACES = (29, 52, 54, 98, 101, 104)
ROWS = 400


@pytest.fixture(scope="module")
def landscape() -> Campaign:
    """Up to four changes of a heavy chain, each with an effect; every fifth weak one is a bound."""
    random = np.random.default_rng(7)
    made = additive_mutants(random, ROWS, [("H", place) for place in PLACES], 4, 0.7)
    pairs = [Pair(Antibody(*chains, f"v{n}"), ANTIGEN) for n, chains in enumerate(made)]
    values = np.array(list(made.values())) + random.normal(0, 0.2, ROWS)
    floor = float(np.quantile(values, 0.1))
    campaign = exact_campaign(pairs, np.maximum(values, floor), Pair(PARENT, ANTIGEN))
    bounds, second = np.where(values < floor, -1, 0), (np.arange(ROWS) % 4 == 3).astype(int)
    assays = ("plate", "other plate")
    return dataclasses.replace(campaign, censoring=bounds, assay=second, assays=assays)


@pytest.fixture(scope="module")
def train(landscape) -> Campaign:
    """A second assay reads half a unit higher."""
    rows = landscape.rows(np.arange(300))
    return dataclasses.replace(rows, values=rows.values + 0.5 * rows.assay)


@pytest.fixture(scope="module")
def exact(train) -> CampaignModel:
    return CampaignModel.fit(train)


@pytest.fixture(scope="module")
def sparse(train) -> SparseCampaignModel:
    return SparseCampaignModel.fit(train, inducing=80, pool=200)


def test_with_all_rows_inducing_it_answers_as_the_exact_model(train, exact, landscape):
    same = SparseCampaignModel.fit(train, inducing=2 * len(train))
    new = landscape.rows(np.arange(300, ROWS)).pairs
    ours, true = same.predict_latent(new), exact.predict_latent(new)
    np.testing.assert_allclose(ours.mean, true.mean, atol=0.02)
    np.testing.assert_allclose(ours.sd, true.sd, rtol=0.02)
    assert (ours.domain == true.domain).all()


def test_few_inducing_rows_rank_nearly_as_the_exact_model(sparse, exact, train, landscape):
    rest = landscape.rows(np.arange(300, ROWS))
    known = rest.censoring == 0
    assert len(sparse.train) == 80
    few = CampaignModel.fit(sparse.campaign.rows(sparse.trained.inducing))
    ours, true, some = (one.predict(rest.pairs) for one in (sparse, exact, few))
    assert spearmanr(ours, true)[0] > 0.97
    errors = [np.sqrt(np.mean((one - rest.values)[known] ** 2)) for one in (ours, true)]
    assert errors[0] < 1.15 * errors[1]
    # learning from all rows beats learning from those that stand for them
    assert np.mean((ours - rest.values) ** 2) < np.mean((some - rest.values) ** 2)
    low, high = sparse.interval(sparse.predict_latent(rest.pairs), 0.9)
    inside = (rest.values >= low) & (rest.values <= high)
    assert 0.8 <= inside[known].mean() <= 1.0
    assert len(sparse.errors["in"]) == int((sparse.campaign.censoring == 0).sum())
    assert len(sparse.errors["near"]) > 50
    # what is known to be weaker than the floor is predicted at it or below
    bounded = np.flatnonzero(train.censoring == -1)
    predicted = sparse.predict([train.pairs[row] for row in bounded])
    floor = float(train.values[bounded].min())
    assert np.mean(predicted < floor) > 0.6
    assert predicted.min() < floor - 0.3


def test_an_assay_without_rows_among_those_fitted_on_has_a_noise(train, monkeypatch):
    rows = np.zeros(len(train), int)
    last = np.random.default_rng(0).permutation(len(train))[-2:]
    rows[last] = 1
    rare = dataclasses.replace(train, assay=rows)
    monkeypatch.setattr("paratope.campaigns.campaign_model.model.FITTING_ROWS", 60)
    for model in (SparseCampaignModel.fit(rare, inducing=60, pool=120), CampaignModel.fit(rare)):
        assert len(model.process.noise) == 2
        assert np.isfinite(model.predict_latent(rare.pairs[:3], assay=1).mean).all()


def test_answers_are_the_margins_of_the_posterior_and_offsets_and_places_are_found(
    sparse, landscape
):
    gap = sparse.predict(landscape.pairs[300:], assay=1) - sparse.predict(landscape.pairs[300:])
    assert np.median(gap) == pytest.approx(0.5, abs=0.15)
    pairs = landscape.pairs[290:310]
    joint, (mean, sd) = sparse.posterior(pairs), sparse.marginals(pairs)
    np.testing.assert_allclose(joint.mean, mean, atol=1e-5)
    np.testing.assert_allclose(np.diag(joint.covariance), sd**2, atol=1e-4)
    change = sparse.predict_with_difference([pairs[0], pairs[1]], pairs[0], 0.9)[1]
    assert abs(change.value[0]) < 1e-6
    found = sparse.importance()
    assert {one["chain"] for one in found.sites} == {"H"}
    assert sum(found.terms.values()) == pytest.approx(1.0, abs=0.05)


def test_blocks_and_their_order_do_not_matter_and_progress_tells_rows(
    train, sparse, landscape, monkeypatch
):
    monkeypatch.setattr("paratope.campaigns.campaign_model.model.BLOCK_ROWS", 37)
    some = train.rows(np.arange(60))  # the size decides which process it is
    for rows in (59, 60):
        assert isinstance(fit_campaign(some, exact_rows=rows), SparseCampaignModel) == (rows < 60)
    told = []
    sizes = {"inducing": 80, "pool": 200}
    again = SparseCampaignModel.fit(train, **sizes, progress=lambda _, *done: told.append(done))
    assert told[-1] == (len(train), len(train))
    ours, theirs = (one.predict_latent(landscape.pairs[300:]).mean for one in (again, sparse))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_model_folder_holds_all_of_it(sparse, landscape, tmp_path):
    saved = bundles.campaign_bundle(sparse, metrics={}, environment={}, card="# card\n")
    folder = write_bundle(saved, tmp_path / "model")
    bundle = read_bundle(folder)
    assert bundle.weights["campaign.delta"].shape[0] == len(sparse.trained.inducing)
    assert len(bundle.campaign["pairs"]) == len(sparse.campaign)
    again = Predictor.load(folder, "cpu", tmp_path / "cache").campaign
    assert isinstance(again, SparseCampaignModel)
    pairs = landscape.pairs[295:]
    ours, theirs = sparse.predict_latent(pairs), again.predict_latent(pairs)
    np.testing.assert_allclose(theirs.mean, ours.mean, atol=1e-5)
    np.testing.assert_allclose(theirs.sd, ours.sd, atol=1e-5)
    assert (theirs.domain == ours.domain).all()
    for own, other in zip(sparse.interval(ours, 0.8), again.interval(theirs, 0.8), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)
    saved = [
        bundles.campaign_bundle(one, metrics={}, environment={}, card="") for one in (sparse, again)
    ]
    assert saved[0].campaign == saved[1].campaign


def test_the_next_round_is_chosen_from_a_model_that_was_loaded(sparse, landscape, tmp_path):
    bundle = bundles.campaign_bundle(sparse, metrics={}, environment={}, card="")
    predictor = predictor_of(bundle, "cpu", tmp_path / "cache")
    pool = landscape.pairs[280:]  # of which twenty were measured
    found = suggest(predictor, 8, candidates=pool, allow="all")
    told = {one.candidate.pair.antibody.heavy for one in found.suggestions}
    assert len(told) == 8
    assert told <= {pair.antibody.heavy for pair in landscape.pairs[300:]}
    expected = sparse.predict(landscape.pairs[300:])
    chosen = [pair.antibody.heavy in told for pair in landscape.pairs[300:]]
    assert expected[chosen].mean() > expected.mean()


def test_a_damaged_model_is_refused(sparse):
    document = json.loads(json.dumps(bundles.to_state(sparse)[0]))
    for damage in ({"anchors": document["anchors"][:-1]}, {"reference": [True]}):
        with pytest.raises(ModelError, match="damaged"):
            bundles.CampaignDocument.of({**document, **damage})


NOISE = np.array([0.05, 0.2])


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of points on a plane: smooth, and linear."""
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.exp(-0.5 * squared) + 0.3 * a @ b.T


def observed_of(points: np.ndarray, random: np.random.Generator, bounded: float) -> Observations:
    """Two assays of unlike noise; some rows are known only to be beyond a limit."""
    count = len(points)
    group = np.arange(count) % 2
    true = np.sin(2 * points[:, 0]) + 0.3 * points[:, 1]
    value = true + random.normal(size=count) * np.sqrt(NOISE[group])
    limit = np.quantile(value, bounded) if bounded else -np.inf
    censoring = np.where(value < limit, -1, 0)
    share = random.choice([1.0, 0.5], count)
    return Observations(np.maximum(value, limit), censoring, group, share)


def both(
    count: int, bounded: float, inducing: np.ndarray | None = None, jitter: float = 1e-10
) -> tuple[GaussianProcess, SparseFit, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    points = random.uniform(-2, 2, (count, 2))
    observed = observed_of(points, random, bounded)
    gram = kernel(points, points)
    exact = GaussianProcess(gram, NOISE, observed)
    rows = np.arange(count) if inducing is None else inducing
    sparse = SparseFit(
        gram[np.ix_(rows, rows)], gram[:, rows], np.diag(gram), NOISE, observed, jitter
    )
    return exact, sparse, points, rows


@pytest.mark.parametrize(("bounded", "atol"), [(0.3, 2e-3), (0.0, 1e-6)])
def test_with_every_row_inducing_it_is_the_exact_process(bounded, atol):
    exact, fitted, points, _ = both(60, bounded)
    process, new = fitted.process(), np.random.default_rng(4).uniform(-2, 2, (15, 2))
    cross, between = kernel(new, points), kernel(new, new)
    np.testing.assert_allclose(process.mean(cross), exact.mean(cross), atol=atol)
    own = np.diag(between)
    np.testing.assert_allclose(process.variance(cross, own), exact.variance(cross, own), atol=atol)
    if bounded:  # compared as far as the two ways to count bounds agree
        return
    joint = process.posterior_covariance(cross, between)
    np.testing.assert_allclose(joint, exact.posterior_covariance(cross, between), atol=1e-6)
    for ours, true in zip(process.leave_one_out(), exact.leave_one_out(), strict=True):
        np.testing.assert_allclose(ours, true, atol=1e-6)
    others = cross[:4], kernel(new[:4], new[9:]), cross[9:]
    apart = process.posterior_cross_covariance(others[0], others[2], others[1])
    np.testing.assert_allclose(apart, joint[:4, 9:], atol=1e-6)
    rows = np.arange(5, 20)
    ours_and_true = fitted.leave_rows_out(rows, rows), exact.leave_rows_out(rows, rows)
    for ours, true in zip(*ours_and_true, strict=True):
        np.testing.assert_allclose(ours, true, atol=1e-6)


@pytest.mark.parametrize("bounded", [0.0, 0.4])
def test_few_inducing_rows_come_close_to_the_exact_process(bounded):
    random = np.random.default_rng(3)
    points = random.uniform(-2, 2, (400, 2))
    rows = inducing_rows(kernel(points, points), np.arange(5), 60)
    exact, fitted, points, _ = both(400, bounded, rows, 1e-6)
    process, new = fitted.process(), np.random.default_rng(4).uniform(-2, 2, (100, 2))
    mean = process.mean(kernel(new, points[rows]))
    own = np.diag(kernel(new, new))
    spread = process.variance(kernel(new, points[rows]), own)
    true_spread = exact.variance(kernel(new, points), own)
    error = mean - exact.mean(kernel(new, points))
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.sqrt(true_spread.mean())
    assert np.abs(np.log(spread / true_spread)).max() < 0.2


def test_chosen_rows_leave_no_row_alone_as_drawn_ones_do():
    points = np.random.default_rng(3).normal(0, 1.2, (300, 2))
    gram = kernel(points, points)

    def open_variance(rows: np.ndarray) -> float:
        solved = np.linalg.solve(gram[np.ix_(rows, rows)] + 1e-6 * np.eye(len(rows)), gram[rows])
        return float(np.max(np.diag(gram) - np.einsum("ij,ij->j", gram[rows], solved)))

    chosen, drawn = inducing_rows(gram, np.arange(3), 25), np.arange(25)
    assert len(chosen) == 25
    assert set(range(3)) <= set(chosen.tolist())
    assert open_variance(chosen) < 0.5 * open_variance(drawn)


def test_bounds_are_respected_and_are_no_values():
    """Rows known to be at most 0 pull down; far below the limit they say nothing."""
    points = np.array([[0.0, 0.0], [0.1, 0.0], [1.8, 1.8], [-1.8, 1.8]])
    gram = kernel(points, points)
    share, group = np.ones(4), np.zeros(4, int)
    target = np.array([0.0, 0.0, 0.5, -1.5])
    bounds = Observations(target, np.array([-1, -1, 0, 0]), group, share)
    values = Observations(target, np.zeros(4, int), group, share)
    low = SparseFit(gram, gram, np.diag(gram), NOISE, bounds).process()
    equal = SparseFit(gram, gram, np.diag(gram), NOISE, values).process()
    assert low.mean(gram)[0] < equal.mean(gram)[0] - 0.2
    # one bound of a standard normal value: its posterior is a half normal
    one = Observations(np.zeros(1), -np.ones(1, int), np.zeros(1, int), np.ones(1))
    half = SparseFit(np.eye(1), np.eye(1), np.ones(1), np.array([1e-6]), one).process()
    expected = norm.pdf(0) / norm.cdf(0)
    assert half.mean(np.eye(1))[0] == pytest.approx(-expected, abs=2e-3)
    assert half.variance(np.eye(1), np.ones(1))[0] == pytest.approx(1 - expected**2, abs=2e-3)


def test_arrays_hold_all_of_it():
    _, fitted, points, _ = both(40, bounded=0.2)
    process = fitted.process()
    arrays = process.to_arrays()
    again = SparseProcess.from_arrays(arrays)
    cross = kernel(points[:7] + 0.1, points)
    np.testing.assert_array_equal(again.mean(cross), process.mean(cross))
    ours, true = (one.variance(cross, np.ones(7)) for one in (again, process))
    np.testing.assert_array_equal(ours, true)
    np.testing.assert_array_equal(again.loo_mean, process.loo_mean)
    with pytest.raises(ModelError, match="sparse process"):
        SparseProcess.from_arrays({**arrays, "factor": arrays["factor"][:-1]})
    with pytest.raises(ModelError, match="numbers"):
        SparseProcess.from_arrays({**arrays, "site_target": arrays["site_target"][:-1]})
