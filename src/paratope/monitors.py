"""What watches a training run: numbers that are not finite, predictions that collapse."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from paratope.batches import PairBatch
from paratope.errors import TrainingError
from paratope.network import NetworkOutput

# Predictions count as one value if they agree to this many decimals of a pKd.
_DECIMALS = 4
MAX_TIE_SHARE = 0.3
MIN_SPREAD_RATIO = 0.05
MIN_DISTINCT = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Collapse:
    """How varied a set of predictions is.

    Attributes
    ----------
    distinct : int
        Different values, to four decimals.
    tie_share : float
        Share of the rows that hold the commonest value, 0 to 1.
    spread_ratio : float
        Standard deviation of the predictions over that of the measured values; NaN if those are all
        equal.
    warning : str
        In words, empty where all is well.
    """

    distinct: int
    tie_share: float
    spread_ratio: float
    warning: str


def collapse(predicted: np.ndarray, measured: np.ndarray) -> Collapse:
    """Whether predictions of different pairs have become (nearly) one value.

    Parameters
    ----------
    predicted, measured : ndarray
        One value per pair, (n,); each pair once, since equal pairs rightly have equal predictions.

    Returns
    -------
    Collapse

    Examples
    --------
    >>> measured = np.linspace(5, 11, 50)
    >>> collapse(measured + 0.3, measured).warning
    ''
    >>> collapse(np.full(50, 9.0625), measured).warning
    'predictions have collapsed: 1 distinct value in 50 rows, 100 % of the rows at 9.062'
    """
    values, counts = np.unique(np.round(predicted, _DECIMALS), return_counts=True)
    count = len(predicted)
    if not count:
        return Collapse(0, 0.0, float("nan"), "")
    tie_share = float(counts.max()) / count
    spread = float(np.std(measured))
    ratio = float(np.std(predicted)) / spread if spread > 0 else float("nan")
    warning = ""
    if count >= MIN_DISTINCT:
        name = "value" if len(values) == 1 else "values"
        found = f"{len(values)} distinct {name} in {count} rows"
        if tie_share > MAX_TIE_SHARE or len(values) < min(MIN_DISTINCT, count / 2):
            commonest = values[counts.argmax()]
            warning = (
                f"predictions have collapsed: {found}, {100 * tie_share:.0f} % of the rows at "
                f"{commonest:.3f}"
            )
        elif ratio < MIN_SPREAD_RATIO:
            warning = (
                f"predictions have collapsed: their spread is {100 * ratio:.1f} % of the measured "
                f"values' ({found})"
            )
    return Collapse(len(values), tie_share, ratio, warning)


def check_finite_output(
    output: NetworkOutput, values: Mapping[str, float], batch: PairBatch, place: str
) -> None:
    """Stop before a loss that is not finite reaches the weights.

    Parameters
    ----------
    output : NetworkOutput
    values : mapping of str to float
        Each loss by name.
    batch : PairBatch
    place : str
        Where in the run, such as ``"epoch 3, batch 17"``.

    Raises
    ------
    TrainingError
        Naming the place, the tensor and the rows.
    """
    tensors = {
        "antibody embedding": batch.antibody.flatten(1).isfinite().all(1)[batch.antibody_index],
        "antigen embedding": batch.antigen.flatten(1).isfinite().all(1)[batch.antigen_index],
        **{name: tensor.isfinite() for name, tensor in output._asdict().items()},
    }
    for name, finite in tensors.items():
        if not bool(finite.all()):
            rows = ", ".join(str(int(row)) for row in batch.row[~finite][:10])
            raise TrainingError(
                f"{place}: {name} is NaN or infinite for training rows {rows} (counted from 0); "
                "the last checkpoint is intact. Check these rows, or lower training.learning_rate"
            )
    for name, value in values.items():
        if not np.isfinite(value):
            raise TrainingError(
                f"{place}: loss {name} is {value} although all predictions are finite; the last "
                "checkpoint is intact. Lower training.learning_rate or check the measured values"
            )


def check_finite_gradients(network: nn.Module, place: str) -> None:
    """Stop before a gradient that is not finite reaches the weights; raises `TrainingError`."""
    for name, parameter in network.named_parameters():
        gradient = parameter.grad
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            raise TrainingError(
                f"{place}: the gradient of {name} is NaN or infinite; the last checkpoint is "
                "intact. Lower training.learning_rate or set training.gradient_clip"
            )


class EarlyStopping:
    """Whether a value, higher = better, still improves.

    Parameters
    ----------
    patience : int
        Epochs without an improvement after which to stop; 0 never stops.
    min_delta : float
        A smaller rise than this over the last improvement is none.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=2, min_delta=0.1)
    >>> [stopping.update(epoch, value) for epoch, value in enumerate([0.3, 0.5, 0.55, 0.58], 1)]
    [False, False, False, True]
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best = -math.inf
        self.since = 0
        self.waited = 0

    def update(self, epoch: int, value: float) -> bool:
        """Take in an epoch's value; True if it is time to stop."""
        if value > self.best + self.min_delta:
            self.best, self.since = value, epoch
        self.waited = epoch - self.since
        return bool(self.patience) and self.waited >= self.patience

    def state_dict(self) -> dict[str, float]:
        """What has been seen so far."""
        return {"best": self.best, "since": self.since, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from another's state."""
        self.best = state["best"]
        self.since, self.waited = int(state["since"]), int(state["waited"])
