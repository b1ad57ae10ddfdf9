"""A campaign of more rows than an exact Gaussian process takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN, Campaign
from paratope.campaigns.campaign_model.grams import centred_terms, some, wanted_terms
from paratope.campaigns.campaign_model.model import BLOCK_ROWS, CampaignModel
from paratope.campaigns.campaign_model.rows import (
    MAX_ROWS,
    check_campaign,
    observations,
    parents_of,
)
from paratope.campaigns.campaign_model.site_errors import errors_at_new_sites
from paratope.campaigns.campaign_model.weights import FITTING_ROWS, weights_and_noise
from paratope.campaigns.kernels import Features, Featuriser, LanguageModel, ParentSites, Scales
from paratope.campaigns.label_scale import LabelScale
from paratope.campaigns.sparse_process import SparseFit, SparseProcess, inducing_rows
from paratope.molecules.sequences import Pair

# Rows that stand for all: half of them drawn, half chosen for what those leave open, among a pool.
INDUCING_ROWS = 2000
POOL_ROWS = 3000

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Show no progress."""


class Learned(NamedTuple):
    """What all rows of a campaign have left behind.

    Attributes
    ----------
    process : SparseProcess
    errors : dict of str to np.ndarray
        As `CampaignModel.errors`.
    changed_sites : frozenset of str
        Sites that any row changes.
    """

    process: SparseProcess
    errors: dict[str, np.ndarray]
    changed_sites: frozenset[str]


class LargeCampaignModel(CampaignModel):
    """A campaign's model that compares new variants with some rows, having learned from all.

    The kernel is that of `CampaignModel`, its process the sparse one of `SparseProcess`.

    Parameters
    ----------
    campaign : Campaign
        All rows.
    anchors : np.ndarray of int, (m,)
        Rows that stand for all, increasing.
    reference : np.ndarray of bool, (m,)
        Those of them that were drawn at random: terms have mean 0 over these.
    parents, sites, scale, scales, weights, noise, language, prior
        As for `CampaignModel`.
    train : Features
        Of the anchors.
    learned : Learned, optional
        Found if not given.
    progress : callable
        Called with the rows read and all rows.
    """

    def __init__(
        self,
        campaign: Campaign,
        anchors: np.ndarray,
        reference: np.ndarray,
        parents: Sequence[Pair],
        sites: Sequence[ParentSites],
        scale: LabelScale,
        scales: Scales,
        train: Features,
        weights: Mapping[str, float],
        noise: Sequence[float],
        language: LanguageModel | None,
        prior: Any = None,
        learned: Learned | None = None,
        progress: Progress = _silent,
    ) -> None:
        self._frame(campaign, parents, sites, scale, scales, train, weights, language, prior)
        self.anchors, self.reference = anchors, reference
        self.compared = campaign.rows(anchors)
        inducing = self._centred(reference)
        found = learned or self._learn(inducing, np.array(noise, float), progress)
        self.process = found.process
        self.errors = found.errors
        self.changed_sites = found.changed_sites

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
        progress: Progress = _silent,
    ) -> "LargeCampaignModel":
        """Learn from a campaign.

        Parameters
        ----------
        campaign, language, prior, terms
            As for `CampaignModel.fit`.
        inducing : int
            Rows that new variants are compared with.
        pool : int
            Rows drawn at random among which those are chosen.
        progress : callable
            Called with the rows read and all rows.

        Raises
        ------
        InputError
            If there is nothing to learn from.
        TrainingError
            If the fit fails.
        """
        check_campaign(campaign)
        parents = parents_of(campaign)
        sites = [ParentSites.of(parent, language) for parent in parents]
        antigens = tuple(one.chains for one in campaign.antigens) or (UNKNOWN_ANTIGEN.chains,)
        featuriser = Featuriser(parents, sites, antigens)
        drawn = np.random.default_rng(0).permutation(len(campaign))[: max(pool, inducing)]
        rows = np.sort(drawn)  # the pool
        part = campaign.rows(rows)
        prior_pkd = None if prior is None else prior.predict_pkd(part.pairs)
        features = featuriser.features(part.pairs, language, prior_pkd)
        scale = LabelScale.of(campaign.on_common_scale().values)
        first = np.flatnonzero(np.isin(rows, drawn[:FITTING_ROWS]))
        few, few_features = part.rows(first), some(features, first)
        scales = Scales.of(few_features, sites)
        wanted = wanted_terms(terms, language, prior, campaign, features)
        weights, noise = weights_and_noise(few, few_features, scales, scale, wanted)
        signal = np.zeros((len(rows), len(rows)), np.float32)
        for name, gram, _ in centred_terms(features, part, scales, list(weights)):
            signal += np.float32(weights[name]) * gram
        random = np.flatnonzero(np.isin(rows, drawn[: inducing // 2]))
        chosen = inducing_rows(signal.astype(float), random, inducing)
        return cls(
            campaign, rows[chosen], np.isin(chosen, random), parents, sites, scale, scales,
            some(features, chosen), weights, noise, language, prior, progress=progress,
        )  # fmt: skip

    def _learn(self, inducing: np.ndarray, noise: np.ndarray, progress: Progress) -> Learned:
        """Read all rows in blocks; only what the inducing ones see of them is kept."""
        campaign, count = self.campaign, len(self.campaign)
        cross, own = np.empty((count, len(self.train))), np.empty(count)
        changed_row, changed_site = [], []
        parent = np.zeros(count, int)
        done = 0
        for assay in range(len(campaign.assays)):
            rows = np.flatnonzero(campaign.assay == assay)
            for start in range(0, len(rows), BLOCK_ROWS):
                block = rows[start : start + BLOCK_ROWS]
                features = self._features([campaign.pairs[row] for row in block.tolist()])
                new = self._covariance.of(features, assay)
                cross[block], own[block] = new.cross, new.own
                parent[block] = features.parent
                changed_row.append(block[features.row])
                changed_site.append(features.changes.key[features.column])
                done += len(block)
                progress(done, count)
        observed = observations(campaign, self.scale, parent)
        fitted = SparseFit(inducing.astype(float), cross, own, noise, observed)
        process, exact = fitted.process(), campaign.censoring == 0
        mean, variance = process.leave_one_out()
        within = ((process.ep_target - mean) / np.sqrt(variance))[exact]
        sites = np.concatenate(changed_site)
        at_new = errors_at_new_sites(
            np.concatenate(changed_row), sites, exact, process.ep_target, fitted.leave_rows_out
        )
        return Learned(
            process, {"in": within, "near": at_new}, frozenset(np.unique(sites).tolist())
        )


def fit_campaign(
    campaign: Campaign,
    *,
    language: LanguageModel | None = None,
    prior: Any = None,
    exact_rows: int = MAX_ROWS,
    inducing: int = INDUCING_ROWS,
    progress: Progress = _silent,
) -> CampaignModel:
    """The exact model of a campaign of at most `exact_rows`, the sparse one of a larger one.

    Parameters and errors as `LargeCampaignModel.fit`.
    """
    if len(campaign) <= exact_rows:
        return CampaignModel.fit(campaign, language=language, prior=prior)
    return LargeCampaignModel.fit(
        campaign, language=language, prior=prior, inducing=inducing, progress=progress
    )
