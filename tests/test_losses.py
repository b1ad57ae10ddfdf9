"""Every loss: its value by another route, its gradient, extremes, and what it does with bounds."""

import inspect
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats

from paratope.core.errors import TrainingError
from paratope.models.batches import PairBatch
from paratope.models.losses import LOSSES, STRONG_PKD, Objective, SoftRank
from paratope.models.network import NetworkOutput
from paratope.models.recipes import load_recipe

ALL = sorted(LOSSES)


def labels(pkd, censoring=None, assay=None, dtype=torch.float64) -> PairBatch:
    """A batch of labels, without molecules."""
    count = len(pkd)
    index = torch.zeros(count, dtype=torch.long)
    side = torch.zeros(0, 0, 0), torch.zeros(0, 0, dtype=torch.bool), index
    codes = (np.zeros(count) if one is None else one for one in (censoring, assay))
    codes = (torch.as_tensor(one).long() for one in codes)
    return PairBatch(*side, *side, torch.as_tensor(pkd, dtype=dtype), *codes, torch.arange(count))


def outputs(mean, log_variance=None, logit=None, dtype=torch.float64) -> NetworkOutput:
    nothing = np.zeros(len(mean))
    parts = (mean, *(nothing if one is None else one for one in (log_variance, logit)))
    return NetworkOutput(*(torch.as_tensor(part, dtype=dtype) for part in parts))


@pytest.fixture
def case() -> tuple[NetworkOutput, PairBatch]:
    """Twenty rows, some of them bounds, in three assays."""
    random = np.random.default_rng(3)
    pkd = random.uniform(4, 11, 20)
    censoring = np.where(np.arange(20) % 5 == 1, -1, np.where(np.arange(20) % 7 == 2, 1, 0))
    batch = labels(pkd, censoring, np.arange(20) % 3)
    mean = pkd + random.normal(0, 1.5, 20)
    return outputs(mean, random.normal(0, 0.7, 20), random.normal(0, 2, 20)), batch


def one_sided(output: NetworkOutput, batch: PairBatch) -> np.ndarray:
    error, code = as_arrays(output.mean - batch.pkd, batch.censoring)
    return np.where(error * code > 0, 0.0, error)


def as_arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def expected_focal(output, batch):
    error = one_sided(output, batch)
    return np.mean((1 + error**2) ** 2 * error**2)


def expected_nll(output, batch):
    mean, variance, pkd, code = as_arrays(
        output.mean, output.log_variance.exp(), batch.pkd, batch.censoring
    )
    normal = stats.norm(mean, np.sqrt(variance))
    choices = [normal.logcdf(pkd), normal.logpdf(pkd), normal.logsf(pkd)]
    return -np.mean(np.choose(code + 1, choices))


def expected_spearman(output, batch):
    exact = (batch.censoring == 0).numpy()
    ranks = []
    for values in as_arrays(output.mean, batch.pkd):
        values = values[exact]
        ranks.append([0.5 + sum(special.expit(a - b) for b in values) for a in values])
    return 1 - stats.pearsonr(*ranks).statistic


def expected_rank(output, batch):
    mean, pkd, code, assay = as_arrays(output.mean, batch.pkd, batch.censoring, batch.assay)
    pairs = itertools.product(range(len(mean)), repeat=2)
    terms = [
        max(0.0, 0.3 - (mean[i] - mean[j]))
        for i, j in pairs
        if assay[i] == assay[j] and code[i] >= 0 and code[j] <= 0 and pkd[i] - pkd[j] > 0.3
    ]
    return np.mean(terms)


def expected_bce(output, batch):
    logit, pkd, code = as_arrays(output.strong_logit, batch.pkd, batch.censoring)
    strong = pkd >= STRONG_PKD
    known = (code == 0) | ((code < 0) & ~strong) | ((code > 0) & strong)
    probability = special.expit(logit)
    loss = -np.where(strong, np.log(probability), np.log1p(-probability))
    return np.mean(loss[known])


EXPECTED = {
    "huber": lambda *case: np.mean(special.huber(1.0, one_sided(*case))),
    "mse": lambda *case: np.mean(one_sided(*case) ** 2),
    "focal_regression": expected_focal,
    "gaussian_nll": expected_nll,
    "soft_spearman": expected_spearman,
    "pairwise_rank": expected_rank,
    "strong_binder_bce": expected_bce,
}


@pytest.mark.parametrize("name", ALL)
def test_value_agrees_with_another_implementation_and_gradient_with_differences(name, case):
    output, batch = case
    found = float(LOSSES[name].function(output, batch).value)
    assert found == pytest.approx(EXPECTED[name](output, batch), rel=1e-6)
    assert found > 0

    def value(mean, log_variance, logit):
        return LOSSES[name].function(NetworkOutput(mean, log_variance, logit), batch).value

    inputs = tuple(tensor.clone().requires_grad_() for tensor in output)
    assert torch.autograd.gradcheck(value, inputs)
    text = inspect.getdoc(LOSSES[name].function)  # the formula and its source
    assert re.search(r"Source: .*\b(18|19|20)\d\d\b", text, re.DOTALL), name
    assert re.search(r"[²+\-/^]|max\(", text.partition("Source:")[0]), name


@pytest.mark.parametrize("code", [-1, 1])
@pytest.mark.parametrize("bound", [5.0, 8.0, 10.0])
@pytest.mark.parametrize("name", ALL)
def test_a_bound_is_used_or_counted_by_name(name, bound, code):
    """Where no prediction for the row makes a difference, it must be counted; and only there."""
    exact = [4.5, 6.0, 7.5, 9.5, 11.0]
    batch = labels([*exact, bound], [0] * len(exact) + [code])
    objective = Objective({name: 1.0}, {})
    matters, counted = False, set()
    for predicted in np.linspace(2, 16, 29):
        mean = torch.tensor([*exact, predicted], dtype=torch.float64, requires_grad=True)
        logit = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        total, _, dropped = objective(NetworkOutput(mean, torch.zeros_like(mean), logit), batch)
        grown = torch.autograd.grad(total, (mean, logit), allow_unused=True)
        matters |= any(one is not None and abs(float(one[-1])) > 1e-12 for one in grown)
        counted.add(dropped[name])
    assert counted == ({0} if matters else {1})


@pytest.mark.parametrize("extreme", [-1e4, -30.0, 4.0, 14.0, 1e4])
@pytest.mark.parametrize("log_variance", [-6.0, 4.0])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("pkd", "codes"), [([4, 14, 6, 9, 9, 5], [0, 0, -1, 1, 0, 0]), ([9.5], [-1])]
)
def test_finite_at_extremes_and_without_usable_rows(name, extreme, log_variance, pkd, codes):
    batch = labels(pkd, codes, dtype=torch.float32)
    values = extreme, log_variance, extreme
    leaves = [torch.full((len(batch.row),), value, requires_grad=True) for value in values]
    loss = LOSSES[name].function(NetworkOutput(*leaves), batch).value
    loss.backward()
    assert torch.isfinite(loss)
    for leaf in leaves:
        assert leaf.grad is None or torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("name", ["huber", "mse", "focal_regression", "gaussian_nll"])
def test_a_bound_costs_only_beyond_it(name):
    loss = LOSSES[name].function
    for code, right, wrong in ((-1, 1.0, 9.0), (1, 9.0, 1.0)):  # at most 5, at least 5
        bound = labels([5.0], [code])
        assert float(loss(outputs([right]), bound).value) == pytest.approx(0, abs=1e-4)
        value, dropped = loss(outputs([wrong]), bound)
        assert (float(value) > 1, dropped) == (True, 0)


def test_bounds_that_say_nothing_are_dropped_and_counted():
    loss = LOSSES["soft_spearman"].function
    with_bound = loss(outputs([5, 6, 7, 1]), labels([5, 6, 7, 12], [0, 0, 0, -1]))
    without = loss(outputs([5, 6, 7]), labels([5, 6, 7]))
    assert with_bound.dropped == 1
    assert float(with_bound.value) == pytest.approx(float(without.value))
    loss = LOSSES["strong_binder_bce"].function
    pkd, codes = [10.0, 8.0, 8.0, 10.0], [-1, 1, -1, 1]  # open, open, weak, strong
    found = loss(outputs([0, 0, 0, 0], logit=[3, 3, -2, 2]), labels(pkd, codes))
    assert found.dropped == 2
    assert float(found.value) == pytest.approx(math.log1p(math.exp(-2)))


@pytest.mark.parametrize(
    ("batch", "margin", "value", "dropped"),
    [
        (labels([5, 7], assay=[0, 1]), {}, 0, 0),  # inside one assay only
        (labels([5, 7], assay=[1, 1]), {}, 2.3, 0),
        (labels([5, 7], [-1, 0]), {}, 2.3, 0),  # at most 5 against 7: settled
        (labels([5, 7], [1, 0]), {}, 0, 1),  # at least 5 against 7: unknown
        (labels([5.0, 5.25]), {}, 0, 0),  # within the margin
        (labels([5.0, 5.25]), {"margin": 0.1}, 2.1, 0),
    ],
)
def test_pairwise_rank_counts_pairs_of_a_settled_order(batch, margin, value, dropped):
    found = LOSSES["pairwise_rank"].function(outputs([7.0, 5.0]), batch, **margin)
    assert (float(found.value), found.dropped) == (pytest.approx(value), dropped)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_soft_ranks_do_not_depend_on_the_block(block, monkeypatch):
    values = torch.randn(50, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(50, dtype=torch.float64)
    whole = SoftRank.apply(values, 0.5)
    (gradient,) = torch.autograd.grad(whole, values, upstream)
    monkeypatch.setattr(SoftRank, "BLOCK_VALUES", block * 50)
    parts = SoftRank.apply(values, 0.5)
    assert torch.allclose(parts, whole)
    assert torch.allclose(torch.autograd.grad(parts, values, upstream)[0], gradient)
    ties = torch.tensor([3.0, 1.0, 2.0, 2.0], dtype=torch.float64)
    ranks = SoftRank.apply(ties, 1e-3)  # real ranks at a low temperature
    assert ranks.tolist() == pytest.approx(stats.rankdata(ties).tolist())


def test_soft_spearman_of_4096_rows_needs_less_than_256_MB():
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        pytest.skip("peak memory of a process is read from /proc, which is not here")

    def kilobytes(key: str) -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1])

    count = 4096
    mean = torch.randn(count, requires_grad=True)
    batch = labels(np.random.default_rng(0).normal(8, 1, count), dtype=torch.float32)
    zeros = torch.zeros(count)
    loss = LOSSES["soft_spearman"].function
    loss(NetworkOutput(mean[:8], zeros[:8], zeros[:8]), labels(np.arange(8.0))).value.backward()
    reset.write_text("5")  # forget the peak so far
    before = kilobytes("VmRSS")
    loss(NetworkOutput(mean, zeros, zeros), batch).value.backward()
    assert (kilobytes("VmHWM") - before) / 1024 < 256


@pytest.mark.parametrize("name", [name for name in ALL if LOSSES[name].used is not None])
def test_shares_of_micro_batches_make_the_loss_of_the_whole(name, case):
    output, batch = case
    objective = Objective({name: 0.7}, {})
    whole, _, dropped = objective(output, batch)
    cuts = [slice(0, 3), slice(3, 12), slice(12, 20)]
    parts = [
        labels(batch.pkd[cut].numpy(), batch.censoring[cut].numpy(), batch.assay[cut].numpy())
        for cut in cuts
    ]
    answers = [NetworkOutput(*(tensor[cut] for tensor in output)) for cut in cuts]
    triples = zip(answers, parts, objective.shares(parts), strict=True)
    results = [objective(*triple) for triple in triples]
    assert float(sum(total for total, _, _ in results)) == pytest.approx(float(whole))
    assert sum(one[name] for _, _, one in results) == dropped[name]


def test_objective_is_the_weighted_sum_of_a_recipe(case):
    output, batch = case
    recipe = load_recipe("v2.6", ["loss.huber_delta=0.1"])
    total, values, dropped = Objective(recipe.loss_weights(), recipe.loss_constants())(*case)
    weights = {"huber": 0.5, "soft_spearman": 0.4, "strong_binder_bce": 0.1}
    assert values.keys() == weights.keys()
    expected = sum(weight * values[name] for name, weight in weights.items())
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert dropped["soft_spearman"] == int((batch.censoring != 0).sum())
    error = one_sided(output, batch)
    assert values["huber"] == pytest.approx(np.mean(special.huber(0.1, error)))  # a constant
    every = load_recipe("default", [f"loss.{name}=1" for name in ALL])
    assert sorted(every.loss_weights()) == ALL
    with pytest.raises(TrainingError, match="unknown loss 'hinge'; valid names: focal_regression"):
        Objective({"hinge": 1.0}, {})
