"""All monitors of a run: what they see in a step and after an epoch, and what follows from it."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from paratope.models.recipes import Recipe
from paratope.training.monitors.curves import overfitting, recall_stability, recall_warning
from paratope.training.monitors.gradients import GradientPeaks
from paratope.training.monitors.predictions import collapse, out_of_range

# A spread of predictions that grows by this factor from one epoch to the next has not collapsed.
_GROWTH = 1.5


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """Predictions for the validation rows after an epoch, each pair once.

    Attributes
    ----------
    predicted, measured : ndarray
        pKd, (n,).
    strong : int
        Rows that are known to be strong binders.
    """

    predicted: np.ndarray
    measured: np.ndarray
    strong: int


class Monitors:
    """Everything that watches a run of a recipe.

    Parameters
    ----------
    recipe : Recipe
        ``monitors.<name>`` says of each monitor what it does.

    Attributes
    ----------
    stop : str
        Why the run is to end after the epoch that was judged last; empty if it is not.

    Examples
    --------
    >>> from paratope.models.recipes import load_recipe
    >>> monitors = Monitors(load_recipe("default", ["monitors.range=stop"]))
    >>> answers = Answers(np.array([-1.0, 15.0]), np.array([6.0, 9.0]), strong=1)
    >>> found = monitors.after_epoch({"epoch": 1}, answers, history=[])
    >>> found["share_out_of_range"], found["warned"], monitors.stop[:37]
    (1.0, 'range', 'after epoch 1: 100.0 % of the predict')
    """

    def __init__(self, recipe: Recipe) -> None:
        self.reactions: dict[str, str] = recipe.monitors.model_dump()
        if recipe.training.stop_on_collapse:
            self.reactions["collapse"] = "stop"
        self.gradients = GradientPeaks()
        self.stop = ""
        warmed = recipe.schedule.name == "warmup_cosine"
        self._warmup = recipe.schedule.warmup_epochs if warmed else 0

    def watches(self, name: str) -> bool:
        """Whether a monitor is on."""
        return self.reactions[name] != "off"

    def after_backward(self, network: nn.Module, place: str, rows: Iterable[int]) -> None:
        """Look at a step's gradients before it is made; see `GradientPeaks.add`."""
        self.gradients.add(network, place, rows)

    def after_epoch(
        self,
        record: Mapping[str, Any],
        answers: Answers | None,
        history: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Judge an epoch.

        Parameters
        ----------
        record : mapping
            What is known of the epoch: ``epoch``, ``train_sample_loss``, ``validation_loss``,
            ``validation_recall_percent``.
        answers : Answers or None
            None without a validation set.
        history : sequence of mapping
            Records of the epochs before.

        Returns
        -------
        dict
            Columns of the history: what each monitor measured; ``warned``, the names of those that
            found something; ``warning``, all of it in words.
        """
        columns: dict[str, Any] = {}
        warnings: dict[str, str] = {}
        dead = self.gradients.take()
        if self.watches("gradients"):
            columns |= {"dead_unit_share": dead.unit_share}
            columns |= {"dead_gradients": ", ".join(dead.parameters)}
            warnings["gradients"] = dead.warning
        if answers is not None:
            for look in (self._collapse, self._range, self._recall, self._overfitting):
                look([*history, record], answers, columns, warnings)
        found = {name: text for name, text in warnings.items() if text}
        stopping = [text for name, text in found.items() if self.reactions[name] == "stop"]
        self.stop = f"after epoch {record['epoch']}: {'; '.join(stopping)}" if stopping else ""
        return {**columns, "warned": ", ".join(found), "warning": "; ".join(found.values())}

    def _collapse(self, history: list[Any], answers: Answers, columns: dict, said: dict) -> None:
        if self.watches("collapse"):
            found = collapse(answers.predicted, answers.measured)
            columns |= {"distinct": found.distinct, "tie_share": found.tie_share}
            columns["spread_ratio"] = found.spread_ratio
            # an untrained network answers about the mean; one that still learns to differ from it,
            # or is being warmed up, has not collapsed
            before = history[-2].get("spread_ratio", np.nan) if len(history) > 1 else np.nan
            young = len(history) == 1 or history[-1]["epoch"] < self._warmup
            grows = found.spread_ratio > _GROWTH * before
            said["collapse"] = "" if young or grows else found.warning

    def _range(self, history: list[Any], answers: Answers, columns: dict, said: dict) -> None:
        if self.watches("range"):
            found = out_of_range(answers.predicted, answers.measured)
            columns["share_out_of_range"], said["range"] = found.share, found.warning

    def _recall(self, history: list[Any], answers: Answers, columns: dict, said: dict) -> None:
        if self.watches("recall"):
            recalls = [one.get("validation_recall_percent", np.nan) for one in history]
            found = recall_stability(recalls)
            columns["recall_sd"] = np.nan if found.sd is None else found.sd
            columns["recall_jump"] = np.nan if found.max_jump is None else found.max_jump
            said["recall"] = recall_warning(recalls, answers.strong)

    def _overfitting(self, history: list[Any], answers: Answers, columns: dict, said: dict) -> None:
        if self.watches("overfitting"):
            names = ("train_sample_loss", "validation_loss")
            losses = [[one.get(name, np.nan) for one in history] for name in names]
            found = overfitting(*losses)
            columns["loss_gap"], said["overfitting"] = found.gap, found.warning

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """What was seen of the epoch under way; of those before, the history tells."""
        return {"gradients": self.gradients.state_dict()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from another's state."""
        self.gradients.load_state_dict(state["gradients"])
