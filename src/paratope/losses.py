"""Losses by name. Each says what it does with rows of which only a bound is known.

Every loss takes a `NetworkOutput` and a `PairBatch` and returns a `LossValue`: a scalar, and how
many censored rows it could not use. Regression losses take a bound one-sidedly: a prediction costs
only beyond it.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from paratope.batches import PairBatch
from paratope.network import NetworkOutput

STRONG_PKD = 9.0


class LossValue(NamedTuple):
    """A loss and what it left out.

    Attributes
    ----------
    value : Tensor
        Scalar; 0 where no row could be used.
    dropped : int
        Censored rows the loss could not use.
    """

    value: Tensor
    dropped: int


def huber(output: NetworkOutput, batch: PairBatch, delta: float = 1.0) -> LossValue:
    """Weighted mean of e² / 2 where abs(e) ≤ delta, delta (abs(e) - delta / 2) beyond (Huber 1964).

    e is the prediction minus the measured pKd; of a bound, how far the prediction lies beyond it.
    """
    error = _error(output, batch)
    size = error.abs()
    loss = torch.where(size <= delta, 0.5 * error**2, delta * (size - 0.5 * delta))
    return LossValue(_mean(loss, batch.weight), 0)


def mse(output: NetworkOutput, batch: PairBatch) -> LossValue:
    """Weighted mean of e², with e as in `huber`."""
    return LossValue(_mean(_error(output, batch) ** 2, batch.weight), 0)


def gaussian_nll(output: NetworkOutput, batch: PairBatch) -> LossValue:
    """Negative log-likelihood of the normal distribution that was predicted, in nats.

    A bound contributes the probability of what lies beyond it, -log Φ((bound - mean) / sd) for an
    upper bound (Tobin 1958, "Estimation of relationships for limited dependent variables").
    """
    error = output.mean - batch.pkd
    exact = 0.5 * (
        output.log_variance + error**2 * torch.exp(-output.log_variance) + math.log(2 * math.pi)
    )
    standard = error * torch.exp(-0.5 * output.log_variance)
    bound = -torch.special.log_ndtr(standard * batch.censoring)
    return LossValue(_mean(torch.where(batch.censoring == 0, exact, bound), batch.weight), 0)


def _error(output: NetworkOutput, batch: PairBatch) -> Tensor:
    error = output.mean - batch.pkd
    beyond = torch.where(batch.censoring < 0, error.clamp(min=0), error.clamp(max=0))
    return torch.where(batch.censoring == 0, error, beyond)


def _mean(loss: Tensor, weight: Tensor) -> Tensor:
    return (loss * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


LOSSES: dict[str, Callable[..., LossValue]] = {
    "gaussian_nll": gaussian_nll,
    "huber": huber,
    "mse": mse,
}
