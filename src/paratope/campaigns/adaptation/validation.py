"""Predictions of held-out rows by a campaign's model and by trivial ones, and how good they are."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from paratope.campaigns.adaptation.folds import Fold, Folds, variant_groups
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign.labels import Key, pair_key
from paratope.campaigns.campaign_model import MAX_ROWS, CampaignModel, fit_campaign
from paratope.campaigns.kernels import LanguageModel
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.bootstrap import Bootstrap, Interval
from paratope.evaluation.metrics import METRICS, EvaluationRows, RowWeights
from paratope.molecules.sequences import Pair

COVERAGES = (0.5, 0.8, 0.9)
# What stands beside every number, by its name in `BASELINES`; the constant is its assay's mean.
STANDARDS = ("constant", "one_hot_ridge", "one_hot_gp", "nearest_neighbour", "boosted_kmers")
_DRAWS = 400


class Judgement(NamedTuple):
    """What a model says of new measurements of n variants, in the campaign's units.

    Attributes
    ----------
    mean : np.ndarray of float, (n,)
    low, high : np.ndarray of float, (coverages, n)
        Ends of the intervals that claim `COVERAGES`.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Fitted(Protocol):
    """What is judged: a model of a campaign."""

    def judge(self, pairs: Sequence[Pair], assay: np.ndarray) -> Judgement:
        """Of pairs, each in the assay of that index."""
        ...


Fit = Callable[[Campaign], Fitted]


@dataclasses.dataclass(frozen=True)
class HeldOutRows:
    """Predictions of rows by models that did not see them; m judgements of a campaign's rows.

    Attributes
    ----------
    row : np.ndarray of int, (m,)
        Row of the campaign.
    round : np.ndarray of int, (m,)
    centre : np.ndarray of float, (m,)
        Middle of the training rows of the row's assay: what the constant predicts.
    mean : np.ndarray of float, (m,)
    low, high : np.ndarray of float, (coverages, m)
        As `Judgement`, of the campaign's model.
    standards : mapping of str to np.ndarray, (m,)
        Predictions of the trivial models.
    """

    row: np.ndarray
    round: np.ndarray
    centre: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standards: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """How good predictions are.

    Attributes
    ----------
    spearman : float
        Within assays, averaged by rows; NaN where all predictions are equal.
    low, high : float
        Its 95 % interval; NaN where there is none.
    rmse : float
    """

    spearman: float
    low: float
    high: float
    rmse: float


def cross_validate(
    campaign: Campaign,
    folds: Folds,
    fit: Fit,
    *,
    standards: Sequence[str] = STANDARDS,
    advance: Callable[[], None] = lambda: None,
) -> HeldOutRows:
    """Fit on each fold's training rows and predict its others.

    Parameters
    ----------
    campaign : Campaign
    folds : Folds
    fit : callable
        Campaign to a fitted model.
    standards : sequence of str
        Names in `paratope.evaluation.baselines.BASELINES`.
    advance : callable
        Called after every fold.
    """
    parts: list[dict[str, Any]] = []
    for number, fold in enumerate([fold for one in folds.rounds for fold in one]):
        parts.append(_judge(campaign, fold, fit, standards))
        parts[-1]["round"] = np.full(len(fold.test), _round_of(folds, number))
        advance()
    joined = {
        name: np.concatenate([part[name] for part in parts], axis=-1)
        for name in ("row", "round", "centre", "mean", "low", "high")
    }
    others = {
        name: np.concatenate([part["standards"][name] for part in parts]) for name in standards
    }
    return HeldOutRows(**joined, standards=others)


def _round_of(folds: Folds, number: int) -> int:
    for place, one in enumerate(folds.rounds):
        if number < len(one):
            return place
        number -= len(one)
    raise AssertionError(number)


def _judge(campaign: Campaign, fold: Fold, fit: Fit, standards: Sequence[str]) -> dict[str, Any]:
    train, test = campaign.rows(fold.train), campaign.rows(fold.test)
    found = fit(train).judge(test.pairs, test.assay)
    means = assay_means(train)
    flat = dataclasses.replace(train, values=train.values - means[train.assay])
    measurements = flat.measurements()  # all assays on one scale
    others = {
        name: means[test.assay] + BASELINES[name]().fit(measurements).predict_pkd(test.pairs)
        for name in standards
    }
    middle = BASELINES["constant"]().fit(measurements).predict_pkd(test.pairs)
    return {
        "row": fold.test,
        "centre": means[test.assay] + middle,
        **found._asdict(),
        "standards": others,
    }


def assay_means(campaign: Campaign) -> np.ndarray:
    """Mean value of each assay's rows, (assays,); of all rows where an assay has none."""
    whole = float(campaign.values.mean())
    return np.array(
        [
            float(campaign.values[campaign.assay == number].mean())
            if (campaign.assay == number).any()
            else whole
            for number in range(len(campaign.assays))
        ]
    )


def assay_spearman(measured: np.ndarray, predicted: np.ndarray, assay: np.ndarray) -> float:
    """Spearman correlation within each assay, averaged by its rows; NaN where none has one."""
    parts = [np.flatnonzero(assay == number) for number in np.unique(assay)]
    return float(_mean_spearman(measured, predicted, parts, RowWeights.once(len(measured)))[0])


def _mean_spearman(
    measured: np.ndarray, predicted: np.ndarray, parts: Sequence[np.ndarray], weights: RowWeights
) -> np.ndarray:
    """Spearman within each part, averaged by its rows, in each draw, (draws,)."""
    total, weight = np.zeros(len(weights.drawn)), np.zeros(len(weights.drawn))
    for rows in parts:
        of_rows = weights.take(rows)
        pairs = EvaluationRows(measured[rows], predicted[rows])
        found = METRICS["spearman"].draws(pairs, of_rows)
        assert found is not None
        (size,) = of_rows.sums(np.ones(len(rows)))
        known = np.isfinite(found) & (size > 0)
        total[known] += (size * found)[known]
        weight[known] += size[known]
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / weight


class Ranking:
    """Spearman correlations of predictions of one set of held-out rows, with their intervals.

    Ranks are compared within assays, over all folds of a round, each prediction taken against the
    mean of the rows its model was trained on: the mean of the others is low where a row is high,
    which would turn even a constant into a bad ranking. A bound takes part as its value. Intervals
    draw variants with replacement: Student's t times the standard deviation over the draws.

    Parameters
    ----------
    campaign : Campaign
    held_out : HeldOutRows
    seed : int
    """

    def __init__(self, campaign: Campaign, held_out: HeldOutRows, seed: int) -> None:
        self._campaign, self._held_out = campaign, held_out
        self._measured = campaign.values[held_out.row]
        assay = campaign.assay[held_out.row]
        self._parts = [
            np.flatnonzero((held_out.round == number) & (assay == one))
            for number in np.unique(held_out.round)
            for one in np.unique(assay)
        ]
        groups = variant_groups(campaign.pairs)[held_out.row]
        self._bootstrap = Bootstrap(groups, draws=_DRAWS, seed=seed)

    def draws(self, predicted: np.ndarray) -> np.ndarray:
        """Spearman in each draw of the bootstrap, that of all rows first."""
        relative = predicted - self._held_out.centre
        relative = np.where(np.abs(relative) < 1e-9, 0.0, relative)  # a constant has no ranking
        return _mean_spearman(self._measured, relative, self._parts, self._bootstrap.weights)

    def score(self, predicted: np.ndarray) -> Score:
        """How good predictions of these rows are; a bound counts as an error where it is broken."""
        found = self.draws(predicted)
        interval = self._bootstrap.interval(found, "correlation")
        low, high = _ends(interval)
        rows = self._held_out.row
        against = EvaluationRows(self._measured, predicted, self._campaign.censoring[rows])
        return Score(float(found[0]), low, high, METRICS["rmse"](against))

    def ahead(self, one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
        """Spearman of one prediction minus that of another, with its interval; none counts as 0."""
        gap = np.nan_to_num(self.draws(one)) - np.nan_to_num(self.draws(other))
        return (float(gap[0]), *_ends(self._bootstrap.interval(gap, "difference")))


def _ends(interval: Interval | None) -> tuple[float, float]:
    return (float("nan"), float("nan")) if interval is None else (interval.low, interval.high)


def coverage(campaign: Campaign, held_out: HeldOutRows) -> dict[str, float]:
    """Share of exact held-out values inside the model's intervals, by what these claim."""
    exact = campaign.censoring[held_out.row] == 0
    value = campaign.values[held_out.row]
    inside = (held_out.low <= value) & (value <= held_out.high)
    return {
        f"{claimed:.0%}": float(np.mean(found[exact]))
        for claimed, found in zip(COVERAGES, inside, strict=True)
        if exact.any()
    }


def campaign_fitter(
    language: LanguageModel | None = None, prior: Any = None, exact_rows: int = MAX_ROWS
) -> Callable[[Campaign], CampaignModel]:
    """Fits campaigns with a language model and a general model, asking these once for each chain.

    Campaigns of more than `exact_rows` rows get a sparse process.
    """
    cached_language = None if language is None else _CachedLanguage(language)
    cached_prior = None if prior is None else _CachedPrior(prior)

    def fit(campaign: Campaign) -> CampaignModel:
        return fit_campaign(
            campaign, language=cached_language, prior=cached_prior, exact_rows=exact_rows
        )

    return fit


class _CachedLanguage:
    """A language model that reads each parent once, however often a campaign is refitted."""

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self._tables: dict[str, np.ndarray] = {}

    def embeddings(self, chains: Sequence[str]) -> Iterator[np.ndarray]:
        return self._language.embeddings(chains)

    def log_probabilities(self, chain: str) -> np.ndarray:
        if chain not in self._tables:
            self._tables[chain] = self._language.log_probabilities(chain)
        return self._tables[chain]


class _CachedPrior:
    """A general model that is asked once for each pair."""

    def __init__(self, prior: Any) -> None:
        self._prior = prior
        self._known: dict[Key, float] = {}

    def predict_pkd(self, pairs: Sequence[Pair]) -> np.ndarray:
        keys = [pair_key(pair) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._known}
        if new:
            predicted = self._prior.predict_pkd(list(new.values()))
            self._known.update(zip(new, np.asarray(predicted, float).tolist(), strict=True))
        return np.array([self._known[key] for key in keys])
