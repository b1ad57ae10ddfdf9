"""Ways to choose the next plate of a replayed landscape."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from paratope.campaigns.adaptation.learner import Learner, fitting
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_simulation.landscape import Landscape
from paratope.campaigns.kernels import LanguageModel
from paratope.campaigns.suggestion.knowledge import marginals
from paratope.campaigns.suggestion.odds import Odds
from paratope.campaigns.suggestion.selection import (
    BASELINE_VARIANTS,
    DEFAULT_ACQUISITION,
    DEFAULT_EXPLORE,
    Choosing,
    Spacing,
    choose_batch,
    enough,
    joint_belief,
    preselect,
)
from paratope.core.errors import InputError, unknown_name
from paratope.evaluation.baselines import BASELINES

Fit = Callable[[Campaign], Any]

# What can be compared, by name.
STRATEGIES: dict[str, str] = {
    "model": "the campaign model and its acquisition",
    "greedy": "the campaign model's highest expected values",
    "one_hot_gp": "highest expected values of a Gaussian process on one-hot residues",
    "one_hot_ridge": "highest expected values of a ridge regression on one-hot residues",
    "random": "variants drawn at random",
}


class Choice(NamedTuple):
    """A plate.

    Attributes
    ----------
    rows : tuple of int
        Of the landscape.
    expected_better : float
        How many of them the strategy expects above the best value measured; NaN if it does not say.
    """

    rows: tuple[int, ...]
    expected_better: float = float("nan")


class Strategy(Protocol):
    """Chooses plates."""

    @property
    def name(self) -> str:
        """What to call it in tables."""
        ...

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Choice:
        """Rows to measure next.

        Parameters
        ----------
        landscape : Landscape
            Values of the rows in `measured` may be used, no others.
        measured : np.ndarray of int
        batch : int
        seed : int
        """
        ...


@dataclasses.dataclass(frozen=True)
class RandomStrategy:
    """Draws variants at random."""

    name: str = "random"

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Choice:
        """As `Strategy.choose`."""
        left = unmeasured(landscape, measured)
        random = np.random.default_rng([seed, len(measured)])
        drawn = random.choice(left, min(batch, len(left)), replace=False)
        return Choice(tuple(drawn.tolist()))


@dataclasses.dataclass(frozen=True)
class BaselineStrategy:
    """Takes the highest predictions of one of `paratope.evaluation.baselines.BASELINES`."""

    name: str

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Choice:
        """As `Strategy.choose`."""
        left = unmeasured(landscape, measured)
        model = BASELINES[self.name]().fit(landscape.campaign.rows(measured).measurements())
        expected = model.predict_pkd([landscape.campaign.pairs[row] for row in left])
        return Choice(tuple(left[_highest(expected, batch, seed)].tolist()))


class ModelStrategy:
    """Fits a campaign model to what is measured, and chooses by its acquisition.

    After plates from which nothing can be learned (all bounds, all equal), the next is random.

    Parameters
    ----------
    fit : callable
        Campaign to a campaign model.
    name : str
    acquisition : str
    explore : float
        0 takes the highest expected values.
    """

    def __init__(
        self,
        fit: Fit,
        name: str = "model",
        acquisition: str = DEFAULT_ACQUISITION,
        explore: float = DEFAULT_EXPLORE,
    ) -> None:
        self.name = name
        self._fit = fit
        self._options: dict[str, Any] = {"acquisition": acquisition, "explore": explore}

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Choice:
        """As `Strategy.choose`."""
        left = unmeasured(landscape, measured)
        choosing = Choosing(min(batch, len(left)), **self._options, seed=seed)
        try:
            model = self._fit(landscape.campaign.rows(measured))
        except InputError:  # a plate of bounds, or of one value: nothing to learn from it yet
            return RandomStrategy().choose(landscape, measured, batch, seed)
        pairs = landscape.campaign.pairs
        mean, deviation = marginals(model, [pairs[row] for row in left])
        places = preselect(mean, deviation, choosing.explore, enough(choosing.batch))
        own, _ = marginals(model, [pairs[row] for row in measured])
        best = measured[np.argsort(-own, kind="stable")[:BASELINE_VARIANTS]]
        some = left[places]
        belief = joint_belief(model, [pairs[row] for row in some], [pairs[row] for row in best])
        spacing = Spacing([pairs[row].antibody for row in some], [set()] * len(some), choosing)
        chosen = np.array(choose_batch(belief, spacing, choosing))
        taken = places[chosen]
        highest = float(landscape.values[measured].max())
        better = Odds(model).above_label(mean[taken], deviation[taken], highest)
        return Choice(tuple(left[taken].tolist()), float(better.sum()))


def unmeasured(landscape: Landscape, measured: np.ndarray) -> np.ndarray:
    """Rows that are left to measure, in order."""
    left = np.ones(len(landscape), dtype=bool)
    left[measured] = False
    return np.flatnonzero(left)


def remembering(fit: Fit) -> Fit:
    """The same fit, remembered for the last measurements: strategies that agree share it.

    Parameters
    ----------
    fit : callable
        Campaign to a campaign model.
    """
    known: dict[tuple[Any, ...], Any] = {}

    def fitted(campaign: Campaign) -> Any:
        key = tuple(sorted((p.antibody.chains, v) for p, v in zip(campaign.pairs, campaign.values)))  # noqa: B905
        if key not in known:
            if len(known) > 1:
                known.clear()
            known[key] = fit(campaign)
        return known[key]

    return fitted


def fitting_models(language: LanguageModel | None = None, prior: Any = None) -> Fit:
    """What fits a campaign's model, with a language model and a general model.

    Parameters
    ----------
    language : LanguageModel, optional
    prior : object, optional
        With ``predict_pkd(pairs)``.
    """
    learn = fitting(language, prior)
    return lambda campaign: cast(Learner, learn(campaign)).model


def parse_strategies(text: str, fit: Fit, acquisition: str, explore: float) -> list[Strategy]:
    """The strategies that a list names.

    Parameters
    ----------
    text : str
        Keys of `STRATEGIES`, separated by ``,``; or ``all``.
    fit : callable
        Campaign to a campaign model.
    acquisition : str
    explore : float

    Raises
    ------
    InputError
        If a name is none.

    Examples
    --------
    >>> [one.name for one in parse_strategies("one_hot_gp,random", len, "ucb", 0.25)]
    ['one_hot_gp', 'random']
    """
    names: Sequence[str] = [part.strip() for part in text.split(",") if part.strip()]
    if "all" in names:
        names = list(STRATEGIES)
    shared = remembering(fit)
    found: list[Strategy] = []
    for name in dict.fromkeys(names):
        if name not in STRATEGIES:
            raise InputError(unknown_name("strategy", name, [*STRATEGIES, "all"]))
        if name == "random":
            found.append(RandomStrategy())
        elif name in BASELINES:
            found.append(BaselineStrategy(name))
        else:
            own = explore if name == "model" else 0.0
            found.append(ModelStrategy(shared, name, acquisition, own))
    if not found:
        raise InputError(f"no strategy is named; valid names: {', '.join(STRATEGIES)}")
    return found


def _highest(values: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Places of the highest values; ties in an order drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(values))
    return order[np.argsort(-values[order], kind="stable")[:count]]
