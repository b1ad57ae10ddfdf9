"""The learning rate over a run. One schedule drives it, and nothing else does."""

import math

from paratope.models.recipes import ScheduleSettings


class Schedule:
    """Learning rate of each optimiser step.

    Parameters
    ----------
    settings : ScheduleSettings
    base_rate : float
    steps_per_epoch, max_epochs : int
        Length of the run.

    Examples
    --------
    >>> settings = ScheduleSettings(name="warmup_cosine", warmup_epochs=2)
    >>> schedule = Schedule(settings, base_rate=1.0, steps_per_epoch=2, max_epochs=4)
    >>> [round(schedule.rate(step), 2) for step in range(8)]
    [0.25, 0.5, 0.75, 1.0, 0.85, 0.5, 0.15, 0.0]
    """

    def __init__(
        self, settings: ScheduleSettings, base_rate: float, steps_per_epoch: int, max_epochs: int
    ) -> None:
        self.settings = settings
        self.base_rate = base_rate
        self.steps = steps_per_epoch * max_epochs
        self.warmup_steps = min(round(settings.warmup_epochs * steps_per_epoch), self.steps)
        self.plateau_rate = base_rate
        self.best = -math.inf
        self.waited = 0

    def rate(self, step: int) -> float:
        """Learning rate of optimiser step `step`, counted from 0."""
        if self.settings.name == "plateau":
            return self.plateau_rate
        if step < self.warmup_steps:
            return self.base_rate * (step + 1) / self.warmup_steps
        if self.settings.name == "constant":
            return self.base_rate
        lowest = min(self.settings.min_learning_rate, self.base_rate)
        part = (step + 1 - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return lowest + (self.base_rate - lowest) * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))

    def after_epoch(self, spearman: float) -> None:
        """Tell the schedule the epoch's validation Spearman; only a plateau schedule listens."""
        if self.settings.name != "plateau":
            return
        if spearman > self.best:
            self.best, self.waited = spearman, 0
            return
        self.waited += 1
        if self.waited > self.settings.patience:
            lowest = min(self.settings.min_learning_rate, self.base_rate)
            self.plateau_rate = max(lowest, self.plateau_rate * self.settings.factor)
            self.waited = 0

    def state_dict(self) -> dict[str, float]:
        """What the schedule has learned from the run so far."""
        return {"plateau_rate": self.plateau_rate, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from another schedule's state."""
        self.plateau_rate, self.best = state["plateau_rate"], state["best"]
        self.waited = int(state["waited"])
