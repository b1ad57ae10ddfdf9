"""Ways to choose the next plate of a replayed landscape."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.campaign_simulation.landscape import Landscape
from paratope.campaigns.suggestion.acquisition import (
    DEFAULT_ACQUISITION,
    DEFAULT_EXPLORE,
    BatchOptions,
    ExceedanceProbability,
    select_batch,
)
from paratope.campaigns.suggestion.candidates import marginals
from paratope.core.errors import InputError, unknown_name
from paratope.evaluation.baselines import BASELINES

# Campaign to a fitted model of it.
FitModel = Callable[[Campaign], CampaignModel]

# What can be compared, by name.
STRATEGIES: dict[str, str] = {
    "model": "the campaign model and its acquisition",
    "greedy": "the campaign model's highest expected values",
    "one_hot_gp": "highest expected values of a Gaussian process on one-hot residues",
    "one_hot_ridge": "highest expected values of a ridge regression on one-hot residues",
    "random": "variants drawn at random",
}


class Plate(NamedTuple):
    """The variants of one round."""

    rows: tuple[int, ...]  # Of the landscape
    # How many of them the strategy expects above the best value measured; NaN if it does not say
    expected_better: float = float("nan")


class Strategy(Protocol):
    """Chooses plates."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Plate:
        """Rows to measure next; of the values only those of the rows in `measured` are used."""
        ...


@dataclasses.dataclass(frozen=True)
class RandomStrategy:
    """Draws variants at random."""

    name: str = "random"

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Plate:
        """As `Strategy.choose`."""
        left = _unmeasured(landscape, measured)
        random = np.random.default_rng([seed, len(measured)])
        drawn = random.choice(left, min(batch, len(left)), replace=False)
        return Plate(tuple(drawn.tolist()))


@dataclasses.dataclass(frozen=True)
class BaselineStrategy:
    """Takes the highest predictions of one of `paratope.evaluation.baselines.BASELINES`."""

    name: str

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Plate:
        """As `Strategy.choose`; ties in an order drawn by the seed."""
        left = _unmeasured(landscape, measured)
        model = BASELINES[self.name]().fit(landscape.campaign.rows(measured).measurements())
        predicted = model.predict_pkd([landscape.campaign.pairs[row] for row in left])
        order = np.random.default_rng(seed).permutation(len(left))
        highest = order[np.argsort(-predicted[order], kind="stable")[:batch]]
        return Plate(tuple(left[highest].tolist()))


@dataclasses.dataclass(frozen=True)
class ModelStrategy:
    """Fits a campaign model to what is measured, and chooses by its acquisition.

    After plates from which nothing can be learned (all bounds, all equal), the next is random.
    """

    fit: FitModel  # Campaign to a campaign model
    name: str = "model"
    acquisition: str = DEFAULT_ACQUISITION
    explore: float = DEFAULT_EXPLORE  # 0 takes the highest expected values

    def choose(self, landscape: Landscape, measured: np.ndarray, batch: int, seed: int) -> Plate:
        """As `Strategy.choose`."""
        left = _unmeasured(landscape, measured)
        size = min(batch, len(left))
        options = BatchOptions(size, self.acquisition, self.explore, seed=seed)
        try:
            model = self.fit(landscape.campaign.rows(measured))
        except InputError:  # a plate of bounds, or of one value: nothing to learn from it yet
            return RandomStrategy().choose(landscape, measured, batch, seed)
        pairs = landscape.campaign.pairs
        candidates = [pairs[row] for row in left]
        mean, deviation = marginals(model, candidates)
        posterior_mean, _ = marginals(model, [pairs[row] for row in measured])
        best_first = measured[np.argsort(-posterior_mean, kind="stable")]
        chosen = select_batch(
            model,
            candidates,
            (mean, deviation),
            [pairs[row] for row in best_first],
            [set()] * len(left),
            options,
        )
        highest = float(landscape.values[measured].max())
        exceedance = ExceedanceProbability(model)
        better = exceedance.above_label(mean[chosen], deviation[chosen], highest)
        return Plate(tuple(left[chosen].tolist()), float(better.sum()))


def _unmeasured(landscape: Landscape, measured: np.ndarray) -> np.ndarray:
    """Rows that are left to measure, in order."""
    return np.setdiff1d(np.arange(len(landscape)), measured)


def parse_strategies(text: str, fit: FitModel, acquisition: str, explore: float) -> list[Strategy]:
    """The strategies of a list of keys of `STRATEGIES`, or ``"all"``, separated by ``,``.

    Raises `InputError` if a name is none of them.

    >>> [one.name for one in parse_strategies("one_hot_gp,random", len, "ucb", 0.25)]
    ['one_hot_gp', 'random']
    """
    names: Sequence[str] = [part.strip() for part in text.split(",") if part.strip()]
    if "all" in names:
        names = list(STRATEGIES)
    fitted: dict[tuple[object, ...], CampaignModel] = {}

    def fit_once(campaign: Campaign) -> CampaignModel:
        """Strategies that start from the same plate share the last fits."""
        values = campaign.values.tolist()
        chains = [pair.antibody.chains for pair in campaign.pairs]
        key = tuple(sorted(zip(chains, values, strict=True)))
        if key not in fitted:
            if len(fitted) > 1:
                fitted.clear()
            fitted[key] = fit(campaign)
        return fitted[key]

    strategies: list[Strategy] = []
    for name in dict.fromkeys(names):
        if name not in STRATEGIES:
            raise InputError(unknown_name("strategy", name, [*STRATEGIES, "all"]))
        if name == "random":
            strategies.append(RandomStrategy())
        elif name in BASELINES:
            strategies.append(BaselineStrategy(name))
        else:
            explored = explore if name == "model" else 0.0
            strategies.append(ModelStrategy(fit_once, name, acquisition, explored))
    if not strategies:
        raise InputError(f"no strategy is named; valid names: {', '.join(STRATEGIES)}")
    return strategies
