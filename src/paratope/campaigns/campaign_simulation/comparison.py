"""What one strategy saves against another: values with intervals over repeats, rounds saved."""

from typing import NamedTuple

import numpy as np

from paratope.campaigns.campaign_simulation.replay import Replay

METRICS = ("best", "regret", "recall", "batch_mean")
# In which more rounds bring more, so that "rounds needed" means something.
_REACHED = ("best", "recall")


class Interval(NamedTuple):
    """A mean over repeats and its 95 % interval; NaN where one repeat gives none."""

    mean: float
    low: float
    high: float


class Saved(NamedTuple):
    """Rounds that a strategy saves against a rival.

    Attributes
    ----------
    rival : str
    metric : str
        ``best`` or ``recall``.
    rounds : Interval
        Rounds the rival needed for what it found in the end, minus those the strategy needed for as
        much. Where the strategy never found as much, the same with the roles exchanged, negative.
    variants : float
        The mean as measurements.
    """

    rival: str
    metric: str
    rounds: Interval
    variants: float


class Comparison(NamedTuple):
    """A replay in numbers.

    Attributes
    ----------
    rounds : dict
        Strategy to metric to one `Interval` for each round, the first plate's first.
    saved : tuple of Saved
        Of the first strategy against each other one.
    """

    rounds: dict[str, dict[str, list[Interval]]]
    saved: tuple[Saved, ...]


def compare(replayed: Replay) -> Comparison:
    """All strategies round by round, and what the first of them saves against the others.

    Parameters
    ----------
    replayed : Replay
    """
    rounds = {
        name: {
            metric: [interval(column) for column in replayed.curves(name, metric).T]
            for metric in METRICS
        }
        for name in replayed.strategies
    }
    first, *rivals = replayed.strategies
    saved = []
    for rival in rivals:
        for metric in _REACHED:
            gained = saved_rounds(replayed.curves(first, metric), replayed.curves(rival, metric))
            found = interval(gained)
            saved.append(Saved(rival, metric, found, found.mean * replayed.plan.batch))
    return Comparison(rounds, tuple(saved))


def saved_rounds(own: np.ndarray, rival: np.ndarray) -> np.ndarray:
    """Rounds saved in each repeat.

    Parameters
    ----------
    own, rival : np.ndarray, (repeats, rounds + 1)
        Never decreasing along the rounds.

    Returns
    -------
    np.ndarray, (repeats,)

    Examples
    --------
    >>> own = np.array([[1.0, 3.0, 3.0], [1.0, 1.5, 2.0]])
    >>> rival = np.array([[1.0, 2.0, 3.0], [1.0, 2.5, 3.0]])
    >>> saved_rounds(own, rival).tolist()
    [1.0, -1.0]
    """
    found = []
    for mine, theirs in zip(own, rival, strict=True):
        target = min(mine[-1], theirs[-1])
        found.append(float(_needed(theirs, target) - _needed(mine, target)))
    return np.array(found)


def interval(values: np.ndarray) -> Interval:
    """Mean over repeats, and its 95 % interval by Student's t.

    >>> interval(np.array([1.0, 1.0, 1.0]))
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def _needed(curve: np.ndarray, target: float) -> int:
    """First round that reaches the target."""
    return int(np.argmax(curve >= target - 1e-12))
