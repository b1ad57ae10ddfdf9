"""Of two models of a campaign of many rows the one that ranks held-out variants better.

One is a sparse Gaussian process, the other a sparse Gaussian process that also asks networks which
were trained on the campaign.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.folds import variant_groups
from paratope.campaigns.adaptation.learner import Learner
from paratope.campaigns.adaptation.tuned_networks import (
    BUDGET_SECONDS,
    TunedNetworks,
    tune_networks,
)
from paratope.campaigns.adaptation.validation import assay_spearman
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import INDUCING_ROWS, CampaignModel, SparseCampaignModel
from paratope.campaigns.kernels import LanguageModel
from paratope.evaluation.metrics import METRICS, EvaluationRows
from paratope.models.predictor import Predictor

SPARSE = "sparse Gaussian process"
NETWORK = "with networks"
# Held out to compare: this share of the variants, and no more rows than this.
_SHARE = 0.1
_MOST = 2000
# Networks have to be asked about every variant ever after: they must rank better by this much.
_WORTH = 0.005
# What is called with what is being done, how much of it is, and how much there is.
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """How one of the two did on the held-out rows.

    Attributes
    ----------
    name : str
    spearman, rmse : float
    seconds : float
        Of learning.
    """

    name: str
    spearman: float
    rmse: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which candidate was kept, and why.

    Attributes
    ----------
    kept : str
        Its name.
    candidates : tuple of Candidate
    train_rows, judged_rows : int
    networks : dict
        Epochs, rows and seconds of the networks.
    """

    kept: str
    candidates: tuple[Candidate, ...]
    train_rows: int
    judged_rows: int
    networks: dict[str, Any]

    @property
    def sentence(self) -> str:
        """All of it in words."""
        found = "; ".join(
            f"{one.name}: ρ {one.spearman:.3f}, RMSE {one.rmse:.3g} ({one.seconds:.0f} s)"
            for one in self.candidates
        )
        return (
            f"more rows than an exact Gaussian process takes: two models learned from "
            f"{self.train_rows} rows and were judged on {self.judged_rows} (variants drawn at "
            f"random, all rows of one antibody together) - {found}; kept: {self.kept}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN as None."""
        candidates = [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in dataclasses.asdict(one).items()
            }
            for one in self.candidates
        ]
        return {**dataclasses.asdict(self), "candidates": candidates}


def choose_model(
    campaign: Campaign,
    *,
    language: LanguageModel | None = None,
    general: Predictor | None = None,
    inducing: int = INDUCING_ROWS,
    budget_seconds: float = BUDGET_SECONDS,
    seed: int = 0,
    device: str = "auto",
    cache: Any = None,
    progress: Progress = lambda what, done, total: None,
) -> tuple[CampaignModel, Choice]:
    """The better of two models, learned from all rows.

    Both learn from the same rows and are judged on the others. If networks are kept, they stay as
    they were judged; the Gaussian process that weighs what they say learns from all rows.

    Parameters
    ----------
    campaign : Campaign
    language : LanguageModel, optional
    general : Predictor, optional
        The general model: one term of the first candidate, where the networks begin in the other.
    inducing : int
        Rows that new variants are compared with.
    budget_seconds : float
        For training the networks.
    seed : int
        Of what is held out, and of the networks.
    device : str
    cache : path, optional
    progress : callable
        Called with what is done, how much of it, and how much there is.

    Raises
    ------
    InputError
        If there is nothing to learn from.
    TrainingError
        If a fit fails.
    """
    train, test = _held_out(campaign, seed)
    part, rest = campaign.rows(train), campaign.rows(test)

    def fit(rows: Campaign, prior: Any) -> CampaignModel:
        return SparseCampaignModel.fit(
            rows,
            language=language,
            prior=prior,
            inducing=inducing,
            progress=progress,
        )

    began = time.perf_counter()
    sparse = _judged(SPARSE, fit(part, general), rest, began)
    began = time.perf_counter()
    networks = tune_networks(
        part,
        general,
        budget_seconds=budget_seconds,
        seed=seed,
        device=device,
        cache=cache,
        progress=lambda done, total: progress("training networks", done, total),
    )
    tuned = _judged(NETWORK, fit(part, networks), rest, began)
    kept = better(sparse, tuned)
    choice = Choice(kept.name, (sparse, tuned), len(train), len(test), _about(networks))
    model = fit(campaign, general if kept is sparse else networks)
    if kept is tuned:
        model.prior = networks.predictor
    return model, choice


def better(first: Candidate, second: Candidate) -> Candidate:
    """The second if it ranks notably better, else the first; to rank nothing is to rank as chance.

    >>> flat = Candidate("flat", float("nan"), 1.0, 1.0)
    >>> better(flat, Candidate("steep", 0.1, 1.0, 1.0)).name
    'steep'
    >>> better(Candidate("simple", 0.5, 1.0, 1.0), Candidate("costly", 0.501, 0.9, 9.0)).name
    'simple'
    """
    gain = np.nan_to_num(second.spearman) - np.nan_to_num(first.spearman)
    return second if gain > _WORTH else first


def _held_out(campaign: Campaign, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from and to judge on; all rows of an antibody are on one side."""
    groups = variant_groups(campaign.pairs)
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    most = min(_MOST, _SHARE * len(campaign))
    count = max(int(np.sum(np.cumsum(sizes[order]) <= most)), 1)
    judged_on = np.isin(groups, order[:count])
    return np.flatnonzero(~judged_on), np.flatnonzero(judged_on)


def _judged(name: str, model: CampaignModel, rest: Campaign, began: float) -> Candidate:
    seconds = time.perf_counter() - began
    mean = Learner(model).judge(rest.pairs, rest.assay).mean
    rows = EvaluationRows(rest.values, mean, censoring=rest.censoring)
    spearman = assay_spearman(rest.values, mean, rest.assay)
    return Candidate(name, spearman, METRICS["rmse"](rows), round(seconds, 1))


def _about(networks: TunedNetworks) -> dict[str, Any]:
    return {
        "epochs": networks.epochs,
        "rows": networks.rows,
        "seconds": round(networks.seconds, 1),
    }
