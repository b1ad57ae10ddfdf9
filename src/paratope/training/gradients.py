"""Gradients and losses of a step that are not finite, or vanish for a whole epoch."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paratope.core.errors import TrainingError
from paratope.data.findings import named
from paratope.models.batches import PairBatch
from paratope.models.network import NetworkOutput

# AdamW divides a gradient by its size plus this: below it, a parameter hardly moves any more.
VANISHED = 1e-8
MAX_DEAD_UNITS = 0.5
# A unit whose weights' gradients stay below this share of its layer's largest gets none.
_DEAD_UNIT = 1e-6
_NAMED_ROWS, _NAMED_PARAMETERS = 10, 6  # in a message


def check_finite_output(
    output: NetworkOutput,
    values: Mapping[str, float],
    batch: PairBatch,
    where: str,
    part: str = "training",
) -> None:
    """Stop before a loss that is not finite reaches the weights.

    `values` are the losses by name, `where` is a place in the run such as ``"epoch 3, batch 17"``,
    `part` the part of the table. Raises `TrainingError`, naming the batch, the tensor and the rows.
    """
    tensors = {"measured pKd": batch.pkd.isfinite()}
    if batch.antibody.numel():  # the embeddings may be gone already
        antibody = batch.antibody.flatten(1).isfinite().all(1)
        antigen = batch.antigen.flatten(1).isfinite().all(1)
        tensors["antibody embedding"] = antibody[batch.antibody_index]
        tensors["antigen embedding"] = antigen[batch.antigen_index]
    tensors |= {name: tensor.isfinite() for name, tensor in output._asdict().items()}
    for name, finite in tensors.items():
        if not bool(finite.all()):
            raise TrainingError(
                f"{where}: {name} is NaN or infinite for {part} rows "
                f"{_named_rows(batch.row[~finite].tolist())} (counted from 0); the last checkpoint "
                "is intact. Check these rows, or lower training.learning_rate"
            )
    for name, value in values.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"{where}: loss {name} is {value} although predictions and measured values are "
                f"finite, in a batch of {part} rows {_named_rows(batch.row.tolist())} (counted "
                "from 0); the last checkpoint is intact. Lower training.learning_rate or check "
                "the measured values"
            )


def _named_rows(rows: Iterable[int]) -> str:
    return named([str(row) for row in sorted(set(map(int, rows)))], _NAMED_ROWS)


class DeadGradients(NamedTuple):
    """What got no gradient in an epoch."""

    # Parameters, or whole parts of the network, whose gradient stayed below AdamW's epsilon of 1e-8
    parameters: tuple[str, ...]
    unit_share: float  # Of the hidden units (rows of weights but the last layer's), 0 to 1
    message: str  # The fault in words; empty where there is none


class GradientPeaks:
    """Largest absolute gradient of every unit of every parameter over an epoch's steps."""

    def __init__(self) -> None:
        self.peaks: dict[str, Tensor] = {}

    def add(self, network: nn.Module, where: str, rows: Iterable[int]) -> None:
        """Take in the gradients of a step over these training rows, before it is made.

        Raises `TrainingError` if a gradient is not finite: where, the parameter and the rows.
        """
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue  # frozen on purpose
            units = len(parameter) if parameter.dim() > 1 else 1
            if parameter.grad is None:
                peak = torch.zeros(units, device=parameter.device)
            else:
                by_unit = parameter.grad.detach().reshape(units, -1)
                peak = by_unit.abs().amax(dim=1).float()  # NaN if any is
                if not bool(peak.isfinite().all()):
                    raise TrainingError(
                        f"{where}: the gradient of {name} is NaN or infinite, in a step over "
                        f"training rows {_named_rows(rows)} (counted from 0); the last checkpoint "
                        "is intact. Lower training.learning_rate or set training.gradient_clip"
                    )
            if name in self.peaks:
                peak = torch.maximum(self.peaks[name].to(peak), peak)
            self.peaks[name] = peak

    def take(self) -> DeadGradients:
        """What got no gradient since the last time, and begin anew."""
        peaks, self.peaks = self.peaks, {}
        return dead_gradients(peaks)

    def state_dict(self) -> dict[str, Tensor]:
        """The peaks so far, on the CPU."""
        return {name: peak.cpu().clone() for name, peak in self.peaks.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from another's peaks."""
        self.peaks = dict(state)


def dead_gradients(peaks: Mapping[str, Tensor]) -> DeadGradients:
    """What got no gradient, by the largest absolute gradient of each unit.

    `peaks` holds for each parameter, in the network's order, that of each row of a weight,
    (units,), or of the whole of anything else, (1,).

    >>> alive, dead = torch.tensor([0.1, 0.2]), torch.zeros(2)
    >>> dead_gradients({"tower.weight": alive, "tower.bias": alive[:1], "last.weight": alive})
    DeadGradients(parameters=(), unit_share=0.0, message='')
    >>> dead_gradients({"tower.weight": dead, "tower.bias": dead[:1], "last.weight": alive})[:2]
    (('tower',), 1.0)
    """
    still = {name for name, peak in peaks.items() if float(peak.max()) < VANISHED}
    weights = [peak for peak in peaks.values() if len(peak) > 1][:-1]
    dead = sum(int((peak <= _DEAD_UNIT * peak.max()).sum()) for peak in weights)
    share = dead / max(1, sum(len(peak) for peak in weights))
    parts: dict[str, None] = {}  # the largest part of the network that is dead as a whole
    for name in filter(still.__contains__, peaks):
        pieces = name.split(".")
        wholes = [".".join(pieces[:count]) for count in range(1, len(pieces) + 1)]
        alive = [f"{other}." for other in peaks if other not in still]
        parts[next(w for w in wholes if not any(o.startswith(f"{w}.") for o in alive))] = None
    if still and len(still) == len(peaks):
        parts = {"every parameter": None}
    problems = []
    if still:
        vanished = any(bool(peaks[name].any()) for name in still)
        size = f"below {VANISHED:g}" if vanished else "exactly zero"
        names = named([*parts], _NAMED_PARAMETERS)
        problems.append(f"the gradient of {names} was {size} for the whole epoch")
    if share > MAX_DEAD_UNITS:
        problems.append(f"{100 * share:.0f} % of the hidden units got no gradient")
    message = f"dead gradients: {'; '.join(problems)}" if problems else ""
    return DeadGradients(tuple(parts), share, message)
