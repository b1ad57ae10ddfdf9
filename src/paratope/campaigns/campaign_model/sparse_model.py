"""A campaign of more rows than an exact Gaussian process takes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model.model import BLOCK_ROWS, CampaignModel, FittedState
from paratope.campaigns.campaign_model.training import (
    FITTING_ROWS,
    MAX_ROWS,
    TrainedKernel,
    leave_site_out_errors,
    observations,
)
from paratope.campaigns.kernels import LanguageModel, SumKernel
from paratope.campaigns.sparse_process import SparseFit, inducing_rows
from paratope.core.censoring import Censoring
from paratope.core.progress import Progress, silent

# Inducing rows: half at random, half by greedy residual variance within a random pool.
INDUCING_ROWS = 2000
POOL_ROWS = 3000


class SparseCampaignModel(CampaignModel):
    """A campaign's model whose process is sparse: `SparseProcess` on some of the rows.

    `inducing` (m,) are the inducing rows, increasing, which `trained.train` holds; `reference` (m,)
    says which of them were drawn at random: terms have mean 0 over these. `fitted` is learned from
    all rows if not given.
    """

    def __init__(
        self,
        campaign: Campaign,
        trained: TrainedKernel,
        inducing: np.ndarray,
        reference: np.ndarray,
        fitted: FittedState | None = None,
        progress: Progress = silent,
    ) -> None:
        self.inducing, self.reference, self._progress = inducing, reference, progress
        super().__init__(campaign, trained, reference=reference, fitted=fitted)

    @classmethod
    def fit(
        cls,
        campaign: Campaign,
        *,
        language: LanguageModel | None = None,
        prior: Any = None,
        terms: Sequence[str] | None = None,
        inducing: int = INDUCING_ROWS,
        pool: int = POOL_ROWS,
        progress: Progress = silent,
    ) -> "SparseCampaignModel":
        """Learn from a campaign; see `CampaignModel.fit`.

        New variants are compared with `inducing` rows, chosen among `pool` that are drawn at
        random. `progress` is called with ``"fitting"``, the rows read and all rows.
        """
        drawn = np.random.default_rng(0).permutation(len(campaign))[: max(pool, inducing)]
        rows = np.sort(drawn)
        few = np.flatnonzero(np.isin(rows, drawn[:FITTING_ROWS]))
        trained = TrainedKernel.fit(
            campaign, rows, few, few, language=language, prior=prior, terms=terms
        )
        covariance = SumKernel(trained.train, trained.scales, trained.weights).covariance
        random = np.flatnonzero(np.isin(rows, drawn[: inducing // 2]))
        chosen = inducing_rows(covariance.astype(float), random, inducing)
        trained = dataclasses.replace(trained, train=trained.train.take(chosen))
        reference = np.isin(chosen, random)
        return cls(campaign, trained, rows[chosen], reference, progress=progress)

    def _learn(self, ep: tuple[np.ndarray, np.ndarray] | None) -> FittedState:
        """Read all rows in blocks; of each, only its covariance with the inducing rows is kept."""
        campaign, count = self.campaign, len(self.campaign)
        cross, prior_variance = np.empty((count, len(self.train))), np.empty(count)
        changed_row, changed_site, parent = [], [], np.zeros(count, int)
        for start in range(0, count, BLOCK_ROWS):
            block = np.arange(start, min(start + BLOCK_ROWS, count))
            features = self._features([campaign.pairs[row] for row in block], campaign.assay[block])
            new = self.kernel.compare(features)
            cross[block], prior_variance[block] = new.cross, new.variance
            parent[block] = features.parent
            changed_row.append(block[features.row])
            changed_site.append(features.changes.key[features.column])
            self._progress("fitting", int(block[-1]) + 1, count)
        observed = observations(campaign, self.scale, parent)
        fit = SparseFit(self.kernel.covariance, cross, prior_variance, self.trained.noise, observed)
        process, exact = fit.process(), campaign.censoring == Censoring.EXACT
        mean, variance = process.leave_one_out()
        sites = np.concatenate(changed_site)
        errors = {
            "in": ((process.ep_target - mean) / np.sqrt(variance))[exact],
            "near": leave_site_out_errors(
                np.concatenate(changed_row), sites, exact, process.ep_target, fit.leave_rows_out
            ),
        }
        return FittedState(process, errors, frozenset(np.unique(sites).tolist()))


def fit_campaign(
    campaign: Campaign,
    *,
    language: LanguageModel | None = None,
    prior: Any = None,
    exact_rows: int = MAX_ROWS,
    inducing: int = INDUCING_ROWS,
    progress: Progress = silent,
) -> CampaignModel:
    """The exact model of a campaign of at most `exact_rows`, the sparse one of a larger one.

    Parameters and errors as `SparseCampaignModel.fit`.
    """
    if len(campaign) <= exact_rows:
        return CampaignModel.fit(campaign, language=language, prior=prior)
    return SparseCampaignModel.fit(
        campaign, language=language, prior=prior, inducing=inducing, progress=progress
    )
