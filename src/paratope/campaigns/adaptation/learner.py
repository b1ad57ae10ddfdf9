"""A campaign's model as the report judges it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.validation import COVERAGES, Fit, Judgement
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import MAX_ROWS, CampaignModel, fit_campaign
from paratope.campaigns.kernels import LanguageModel
from paratope.molecules.sequences import Pair


class Learner:
    """A fitted campaign model, asked in the assays of the rows.

    Parameters
    ----------
    model : CampaignModel
    """

    def __init__(self, model: CampaignModel) -> None:
        self.model = model

    def judge(self, pairs: Sequence[Pair], assay: np.ndarray) -> Judgement:
        """Medians and intervals of new measurements of pairs, each in the assay of that index."""
        mean = np.empty(len(pairs))
        low, high = np.empty((2, len(COVERAGES), len(pairs)))
        for number in np.unique(assay):
            rows = np.flatnonzero(assay == number)
            answer = self.model.answer([pairs[row] for row in rows.tolist()], int(number))
            mean[rows] = self.model.to_label(answer.mean)
            for place, claimed in enumerate(COVERAGES):
                low[place, rows], high[place, rows] = self.model.interval(answer, claimed)
        return Judgement(mean, low, high)


def fitting(
    language: LanguageModel | None = None, prior: Any = None, exact_rows: int = MAX_ROWS
) -> Fit:
    """What fits a campaign, with a language model and a general model, as `expect` takes it.

    Campaigns of more than `exact_rows` rows get a sparse process.
    """
    remembered = None if language is None else _Remembering(language)
    general = None if prior is None else _RememberingPrior(prior)

    def fit(campaign: Campaign) -> Learner:
        model = fit_campaign(campaign, language=remembered, prior=general, exact_rows=exact_rows)
        return Learner(model)

    return fit


class _Remembering:
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


class _RememberingPrior:
    """A general model that is asked once for each pair."""

    def __init__(self, prior: Any) -> None:
        self._prior = prior
        self._known: dict[object, float] = {}

    def predict_pkd(self, pairs: Sequence[Pair]) -> np.ndarray:
        keys = [(pair.antibody.chains, pair.antigen.chains) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._known}
        if new:
            found = self._prior.predict_pkd(list(new.values()))
            self._known.update(zip(new, np.asarray(found, float).tolist(), strict=True))
        return np.array([self._known[key] for key in keys])
