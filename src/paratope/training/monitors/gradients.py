"""Parameters and units that a whole epoch's gradients never moved."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from paratope.training.monitors.finite import check_finite_gradient

# AdamW divides a gradient by its size plus this: below it, a parameter hardly moves any more.
VANISHED = 1e-8
# A unit whose weights' gradients stay below this share of its layer's largest gets none.
_DEAD_UNIT = 1e-6
MAX_DEAD_UNITS = 0.5
_WRAPPER = "_forward_module."  # lightning's name for the network inside its own
_NAMED = 6  # parameters in a message


@dataclasses.dataclass(frozen=True, slots=True)
class DeadGradients:
    """What got no gradient in an epoch.

    Attributes
    ----------
    parameters : tuple of str
        Parameters, or whole parts of the network, whose gradient was zero in every step, or below
        AdamW's epsilon of 1e-8.
    unit_share : float
        Share of the hidden units (rows of weights, without those of the answer's layer) that got no
        gradient, 0 to 1.
    warning : str
        In words, empty where all is well.
    """

    parameters: tuple[str, ...]
    unit_share: float
    warning: str


class GradientPeaks:
    """Largest absolute gradient of every unit of every parameter over an epoch's steps."""

    def __init__(self) -> None:
        self.peaks: dict[str, Tensor] = {}

    def add(self, network: nn.Module, place: str, rows: Iterable[int]) -> None:
        """Take in the gradients of a step.

        Parameters
        ----------
        network : Module
            With the gradients of the step.
        place : str
            Where in the run, such as ``"epoch 3, batches 5 to 8"``.
        rows : iterable of int
            Training rows of the step.

        Raises
        ------
        TrainingError
            If a gradient is not finite: the place, the parameter and the rows.
        """
        for full_name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue  # frozen on purpose
            name = full_name.removeprefix(_WRAPPER)
            known = self.peaks.get(name)
            if parameter.grad is None:
                peak = torch.zeros(_units(parameter), device=parameter.device)
            else:
                by_unit = parameter.grad.detach().reshape(_units(parameter), -1)
                peak = by_unit.abs().amax(dim=1).float()  # NaN if any is
                check_finite_gradient(name, peak, place, rows)
            self.peaks[name] = peak if known is None else torch.maximum(known.to(peak), peak)

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

    Parameters
    ----------
    peaks : mapping of str to Tensor
        For each parameter, in the network's order, the largest absolute gradient of each row of a
        weight, (units,), or of the whole of anything else, (1,).

    Returns
    -------
    DeadGradients

    Examples
    --------
    >>> alive, dead = torch.tensor([0.1, 0.2]), torch.zeros(2)
    >>> dead_gradients({"tower.weight": alive, "tower.bias": alive[:1], "last.weight": alive})
    DeadGradients(parameters=(), unit_share=0.0, warning='')
    >>> found = dead_gradients({"tower.weight": dead, "tower.bias": dead[:1], "last.weight": alive})
    >>> found.parameters, found.unit_share
    (('tower',), 1.0)
    """
    still = {name for name, peak in peaks.items() if float(peak.max()) < VANISHED}
    zero = {name for name in still if not bool(peaks[name].any())}
    named = grouped(still, peaks)
    weights = [peak for peak in peaks.values() if len(peak) > 1][:-1]
    dead = sum(int((peak <= _DEAD_UNIT * peak.max()).sum()) for peak in weights)
    share = dead / max(1, sum(len(peak) for peak in weights))
    problems = []
    if still:
        size = "exactly zero" if zero == still else f"below {VANISHED:g}"
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        problems.append(
            f"the gradient of {', '.join(named[:_NAMED])}{more} was {size} for the whole epoch"
        )
    if share > MAX_DEAD_UNITS:
        problems.append(f"{100 * share:.0f} % of the hidden units got no gradient")
    if not problems:
        return DeadGradients(named, share, "")
    warning = (
        f"dead gradients: {'; '.join(problems)}; these parts no longer learn: lower "
        "training.learning_rate, and start the run anew"
    )
    return DeadGradients(named, share, warning)


def grouped(names: Collection[str], every: Iterable[str]) -> tuple[str, ...]:
    """Names of parameters, those of a whole part of the network by the part's name.

    >>> grouped({"a.x.weight", "a.x.bias", "b.u"}, ["a.x.weight", "a.x.bias", "b.u", "b.v"])
    ('a', 'b.u')
    """
    every, found = list(every), dict[str, None]()
    if names and set(names) == set(every):
        return ("every parameter",)
    for name in every:
        if name in names:
            parts = name.split(".")
            wholes = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
            found[next(whole for whole in wholes if _all_inside(whole, names, every))] = None
    return tuple(found)


def _all_inside(whole: str, names: Collection[str], every: list[str]) -> bool:
    inside = [name for name in every if name == whole or name.startswith(f"{whole}.")]
    return all(name in names for name in inside)


def _units(parameter: Tensor) -> int:
    return len(parameter) if parameter.dim() > 1 else 1
