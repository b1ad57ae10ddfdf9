"""Losses by name. Each says what it does with rows of which only a bound is known.

Every loss takes a `NetworkOutput` and a `PairBatch` and returns a `LossValue`: a scalar, and how
many censored rows it could not use. Regression losses take a bound one-sidedly: a prediction costs
only beyond it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from paratope.core.errors import TrainingError, unknown_name
from paratope.core.units import STRONG_PKD
from paratope.models.batches import PairBatch
from paratope.models.network import NetworkOutput


class LossValue(NamedTuple):
    """A loss and what it left out."""

    value: Tensor  # Scalar; 0 where no row could be used
    dropped: int  # Censored rows the loss could not use


def huber(output: NetworkOutput, batch: PairBatch, delta: float = 1.0) -> LossValue:
    """Mean of e² / 2 where abs(e) ≤ delta, delta (abs(e) - delta / 2) beyond.

    e is the prediction minus the measured pKd; of a bound, how far the prediction lies beyond it.
    Source: Huber 1964, "Robust estimation of a location parameter", Ann. Math. Stat. 35, 73.
    """
    error = _error(output, batch)
    size = error.abs()
    loss = torch.where(size <= delta, 0.5 * error**2, delta * (size - 0.5 * delta))
    return LossValue(loss.mean(), 0)


def mse(output: NetworkOutput, batch: PairBatch) -> LossValue:
    """Mean of e², with e as in `huber`.

    Source: least squares, Legendre 1805, "Nouvelles méthodes pour la détermination des orbites des
    comètes".
    """
    return LossValue((_error(output, batch) ** 2).mean(), 0)


def gaussian_nll(output: NetworkOutput, batch: PairBatch) -> LossValue:
    """Negative log-likelihood of the normal distribution that was predicted, in nats.

    Mean of (log(2π) + log v + (pKd - mean)² / v) / 2, v the predicted variance. Source:
    Nix & Weigend 1994, "Estimating the mean and variance of the target probability distribution".
    A bound contributes the probability of what lies beyond it, -log Φ((bound - mean) / sd) for an
    upper bound, -log Φ((mean - bound) / sd) for a lower one. Source: Tobin 1958, "Estimation of
    relationships for limited dependent variables", Econometrica 26, 24.
    """
    error = output.mean - batch.pkd
    exact = 0.5 * (
        output.log_variance + error**2 * torch.exp(-output.log_variance) + math.log(2 * math.pi)
    )
    standard = error * torch.exp(-0.5 * output.log_variance)
    bound = -LogNormalCdf.apply(standard * batch.censoring)
    return LossValue(torch.where(batch.censoring == 0, exact, bound).mean(), 0)


def strong_binder_bce(output: NetworkOutput, batch: PairBatch) -> LossValue:
    """Mean binary cross-entropy of the strong-binder logit against pKd ≥ 9, in nats.

    -log σ(z) of a strong binder, -log(1 - σ(z)) of another, with z the logit and σ(z) = 1 / (1 +
    exp(-z)). Source: Cox 1958, "The regression analysis of binary sequences", J. R. Stat. Soc. B
    20, 215. A bound that leaves open on which side of 9 the pKd lies is dropped.
    """
    known = known_strength(batch)
    strong = (batch.pkd >= STRONG_PKD).to(output.strong_logit.dtype)
    loss = functional.binary_cross_entropy_with_logits(
        output.strong_logit, strong, reduction="none"
    )
    mean = (loss * known).sum() / known.sum().clamp(min=1)
    return LossValue(mean, int((~known).sum()))


def focal_regression(output: NetworkOutput, batch: PairBatch, gamma: float = 2.0) -> LossValue:
    """Mean of (1 + e²)^gamma e², with e as in `huber`; the loss of v2.5.

    Source: named after, and shaped like, the loss of Lin et al. 2017, "Focal loss for dense object
    detection", with the error in place of the misclassified share; large errors grow as e^(2 gamma
    + 2).
    """
    square = _error(output, batch) ** 2
    return LossValue(((1 + square) ** gamma * square).mean(), 0)


def soft_spearman(output: NetworkOutput, batch: PairBatch, temperature: float = 1.0) -> LossValue:
    """1 - Pearson correlation of the soft ranks of predictions and of measured values.

    The soft rank of x_i is 1/2 + sum over j of sigmoid((x_i - x_j) / temperature), which tends to
    the mean rank as the temperature falls. Source: Qin, Liu & Li 2010, "A general approximation
    framework for direct optimization of information retrieval measures", Inf. Retrieval 13, 375.

    Cost: every pair of rows is compared. For n rows with an exact pKd that is 2 n² sigmoids
    forwards (of predictions and of labels) and n² backwards; they are made in blocks of
    `SoftRank.BLOCK_VALUES`, so memory is O(n) beside a few such blocks. Censored rows have no rank
    and are dropped.
    """
    exact = batch.censoring == 0
    dropped = int((~exact).sum())
    predicted, measured = output.mean[exact], batch.pkd[exact].to(output.mean.dtype)
    if len(predicted) < 2:
        return LossValue(output.mean.sum() * 0.0, dropped)
    ranks = SoftRank.apply(predicted, temperature), SoftRank.apply(measured, temperature)
    left, right = (rank - rank.mean() for rank in ranks)
    # a spread of a thousandth of a rank keeps the gradient finite where all predictions are equal
    scale = torch.sqrt((left**2).mean() + 1e-6) * torch.sqrt((right**2).mean() + 1e-6)
    return LossValue(1.0 - (left * right).mean() / scale, dropped)


def pairwise_rank(output: NetworkOutput, batch: PairBatch, margin: float = 0.3) -> LossValue:
    """Mean over ordered pairs of one assay of max(0, margin - (stronger mean - weaker mean)).

    A pair is ordered if the measured values differ by more than the margin, or if bounds settle it:
    the stronger is measured or at least something, the weaker is measured or at most something.
    Assays are not compared with each other. Censored rows that end up in no pair count as dropped.
    Source: the hinge of RankSVM, Joachims 2002, "Optimizing search engines using clickthrough
    data". Cost: n² comparisons for n rows.
    """
    could_be_stronger = (batch.censoring >= 0)[:, None]
    could_be_weaker = (batch.censoring <= 0)[None, :]
    gap = batch.pkd[:, None] - batch.pkd[None, :]
    one_assay = batch.assay[:, None] == batch.assay[None, :]
    ordered = could_be_stronger & could_be_weaker & one_assay & (gap > margin)  # (B, B)
    used = ordered.any(dim=0) | ordered.any(dim=1)
    dropped = int(((batch.censoring != 0) & ~used).sum())
    stronger, weaker = ordered.nonzero(as_tuple=True)
    if not len(stronger):
        return LossValue(output.mean.sum() * 0.0, dropped)
    # not mean[stronger], whose backward pass adds in no fixed order
    lead = output.mean.index_select(0, stronger) - output.mean.index_select(0, weaker)
    return LossValue((margin - lead).clamp(min=0).mean(), dropped)


class LogNormalCdf(torch.autograd.Function):
    """log Φ(x), with a gradient that stays finite in float32 far out in the lower tail."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """log Φ of each value."""
        ctx.save_for_backward(values)
        return torch.special.log_ndtr(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """φ / Φ = sqrt(2 / π) / erfcx(-x / sqrt 2), about -x for very negative x."""
        (values,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * math.sqrt(2 / math.pi) / torch.special.erfcx(-values / math.sqrt(2))


class SoftRank(torch.autograd.Function):
    """Soft ranks in blocks: the n × n comparison is never held whole, forwards or backwards."""

    BLOCK_VALUES = 1 << 21  # compared at a time: 8 MB in float32

    @staticmethod
    def forward(ctx: Any, values: Tensor, temperature: float) -> Tensor:
        """Soft rank of each value, (n,)."""
        ctx.save_for_backward(values)
        ctx.temperature = temperature
        ranks = torch.empty_like(values)
        for start, stop in SoftRank.blocks(len(values)):
            difference = (values[start:stop, None] - values[None, :]) / temperature
            ranks[start:stop] = difference.sigmoid_().sum(dim=1) + 0.5
        return ranks

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """d rank_i / d x_k is symmetric in i and k up to sign: sum over j of (g_k - g_j) σ'."""
        (values,), (gradient,) = ctx.saved_tensors, gradients
        result = torch.empty_like(values)
        for start, stop in SoftRank.blocks(len(values)):
            share = ((values[start:stop, None] - values[None, :]) / ctx.temperature).sigmoid_()
            slope = share.mul_(1 - share)
            result[start:stop] = gradient[start:stop] * slope.sum(dim=1) - slope @ gradient
        return result / ctx.temperature, None

    @staticmethod
    def blocks(count: int) -> Iterator[tuple[int, int]]:
        """Ranges of rows that keep a block of the comparison small."""
        rows = max(1, SoftRank.BLOCK_VALUES // max(1, count))
        return ((start, min(start + rows, count)) for start in range(0, count, rows))


def known_strength(batch: PairBatch) -> Tensor:
    """Rows of which it is known whether the pKd is at least 9, (B,)."""
    weak = (batch.censoring < 0) & (batch.pkd < STRONG_PKD)
    strong = (batch.censoring > 0) & (batch.pkd >= STRONG_PKD)
    return (batch.censoring == 0) | weak | strong


def _error(output: NetworkOutput, batch: PairBatch) -> Tensor:
    error = output.mean - batch.pkd
    beyond = torch.where(batch.censoring < 0, error.clamp(min=0), error.clamp(max=0))
    return torch.where(batch.censoring == 0, error, beyond)


class Loss(NamedTuple):
    """An entry of `LOSSES`."""

    function: Callable[..., LossValue]  # (output, batch, **constants) to `LossValue`
    # For a loss that is a mean over rows: which rows of a batch it uses, (B,). Accumulated over
    # several micro-batches it is the mean over all of them. None for a loss over pairs of rows:
    # accumulation averages its values of the micro-batches, and no two micro-batches are compared.
    used: Callable[[PairBatch], Tensor] | None


def _all_rows(batch: PairBatch) -> Tensor:
    return torch.ones_like(batch.censoring, dtype=torch.bool)


LOSSES: dict[str, Loss] = {
    "huber": Loss(huber, _all_rows),
    "mse": Loss(mse, _all_rows),
    "focal_regression": Loss(focal_regression, _all_rows),
    "gaussian_nll": Loss(gaussian_nll, _all_rows),
    "soft_spearman": Loss(soft_spearman, None),
    "pairwise_rank": Loss(pairwise_rank, None),
    "strong_binder_bce": Loss(strong_binder_bce, known_strength),
}


class Objective:
    """The weighted sum of losses a recipe asks for; `TrainingError` if one is not in `LOSSES`."""

    def __init__(
        self, weights: Mapping[str, float], constants: Mapping[str, Mapping[str, float]]
    ) -> None:
        for name in weights:
            if name not in LOSSES:
                raise TrainingError(unknown_name("loss", name, LOSSES))
        self.weights = dict(weights)
        self.constants = {name: dict(constants.get(name, {})) for name in weights}

    def __call__(
        self, output: NetworkOutput, batch: PairBatch, shares: Mapping[str, float] | None = None
    ) -> tuple[Tensor, dict[str, float], dict[str, int]]:
        """Total, each loss by name, and the censored rows each dropped.

        `shares` says how much of an accumulated step this batch is, for each loss; 1 without it.
        """
        total = torch.zeros((), device=output.mean.device)
        values: dict[str, float] = {}
        dropped: dict[str, int] = {}
        for name, weight in self.weights.items():
            loss = LOSSES[name].function(output, batch, **self.constants[name])
            share = 1.0 if shares is None else shares[name]
            total = total + weight * share * loss.value
            values[name], dropped[name] = float(loss.value.detach()), loss.dropped
        return total, values, dropped

    def shares(self, batches: Sequence[PairBatch]) -> list[dict[str, float]]:
        """What part of an accumulated step each micro-batch is, for each loss; parts sum to 1.

        With them, losses that are means over rows give the step of one big batch.
        """
        parts: list[dict[str, float]] = [{} for _ in batches]
        for name in self.weights:
            used = LOSSES[name].used
            sizes = [1.0 if used is None else float(used(b).sum()) for b in batches]
            whole = sum(sizes) or 1.0
            for part, size in zip(parts, sizes, strict=True):
                part[name] = size / whole
        return parts
