"""When a run has come as far as it will: no more gain on the validation rows."""

import math


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
