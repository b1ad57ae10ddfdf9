"""A campaign's model as the report judges it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.validation import COVERAGES, Fit, Judgement, campaign_fitter
from paratope.campaigns.campaign_model import MAX_ROWS, CampaignModel
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
            answer = self.model.predict_latent([pairs[row] for row in rows.tolist()], int(number))
            mean[rows] = self.model.to_label(answer.mean)
            for place, claimed in enumerate(COVERAGES):
                low[place, rows], high[place, rows] = self.model.interval(answer, claimed)
        return Judgement(mean, low, high)


def fitting(
    language: LanguageModel | None = None, prior: Any = None, exact_rows: int = MAX_ROWS
) -> Fit:
    """What fits a campaign as `expect` takes it."""
    fit = campaign_fitter(language, prior, exact_rows)
    return lambda campaign: Learner(fit(campaign))
