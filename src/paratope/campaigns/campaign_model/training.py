"""Training of a campaign's model but for its process: label scale, kernel, new-site errors."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from scipy.special import ndtri

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN, Campaign
from paratope.campaigns.gaussian_process import Observations, fit_hyperparameters, prior_weights
from paratope.campaigns.kernels.features import Features, Featuriser
from paratope.campaigns.kernels.substitution_prior import SubstitutionPrior
from paratope.campaigns.kernels.sum_kernel import centred_grams
from paratope.campaigns.kernels.terms import (
    LANGUAGE_TERMS,
    OFFSETS,
    TERMS,
    WITHIN_ANTIGEN,
    WITHIN_PARENT,
    Scales,
)
from paratope.campaigns.kernels.variants import ParentSites
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, ModelError
from paratope.core.validation import numbers, validated, within
from paratope.encoders.likelihood import LanguageModel
from paratope.molecules.sequences import Pair

# With more rows a sparse process takes the place of an exact one.
MAX_ROWS = 5000
# Weights are found on at most this many rows; the process itself takes all of them.
FITTING_ROWS = 800
# Replicates of a row that the assay's pooled variance is worth.
_POOLED_REPLICATES = 4.0
# How far scores are predicted beyond the measured ones, as a share of their range; and the same of
# their intervals, times the number of measured rows, if that is further. Both chosen by replays of
# landscapes (docs/LOG.md).
_REACH, _BOUNDS_REACH = 0.1, 8.0
# Folds of sites; fewer rows than this are not judged, and fewer are not learned from.
_FOLDS, _MIN_JUDGED, _MIN_TRAINING = 5, 3, 5


@dataclasses.dataclass(frozen=True)
class HalfRankNormalTransform:
    """A monotone transform, piecewise linear, half way to a Gaussian copula.

    ``latent = standardise(standardise(y) + standardise(Phi⁻¹((rank(y) - 1/2) / n)))``: a floor or
    a long tail does not rule the fit, and distances still count. Beyond the measured values it is
    linear with the slope of ``standardise(y)``.
    """

    # values, latent: (knots,) increasing
    values: Annotated[np.ndarray, numbers(-1e300, 1e300)]
    latent: Annotated[np.ndarray, numbers(-1e6, 1e6)]
    # Latent units for each unit of the value, beyond the knots
    slope: Annotated[float, within(1e-300, 1e300)]

    @classmethod
    def of(cls, values: np.ndarray) -> "HalfRankNormalTransform":
        """Fitted to measured values.

        >>> scale = HalfRankNormalTransform.of(np.array([7.0, 7.5, 8.0, 9.0]))
        >>> scale.to_label(scale.to_latent(np.array([7.2, 9.4]))).round(6).tolist()
        [7.2, 9.4]
        """
        values = np.asarray(values, float)
        spread = float(values.std())
        # relative: scores may be of any size
        if len(values) < 2 or spread <= 1e-9 * np.abs(values).max():
            middle = float(values.mean()) if len(values) else 0.0
            return cls(np.array([middle]), np.array([0.0]), 1.0)
        from scipy.stats import rankdata  # scipy.stats takes a second to import

        score = ndtri((rankdata(values) - 0.5) / len(values))
        mixed = (values - values.mean()) / spread + (score - score.mean()) / score.std()
        mixed = (mixed - mixed.mean()) / mixed.std()
        knots, first = np.unique(values, return_index=True)
        return cls(knots, mixed[first], 1.0 / spread)

    def to_latent(self, values: np.ndarray) -> np.ndarray:
        """Latent values of measured ones."""
        return _extended(np.asarray(values, float), self.values, self.latent, self.slope)

    def to_label(self, latent: np.ndarray) -> np.ndarray:
        """Measured units of latent values."""
        return _extended(np.asarray(latent, float), self.latent, self.values, 1.0 / self.slope)

    @classmethod
    def from_json(cls, data: object) -> "HalfRankNormalTransform":
        """Of its fields as plain values; raises `ModelError` if the knots do not increase."""
        scale = validated(cls, data, "not a campaign's label scale", ModelError)
        increasing = (np.diff(scale.values) > 0).all() and (np.diff(scale.latent) > 0).all()
        if not 0 < len(scale.values) == len(scale.latent) or not increasing:
            raise ModelError("a campaign's label scale must increase; the model is damaged")
        return scale

    def within_reach(self, labels: np.ndarray, reach: float = _REACH) -> np.ndarray:
        """Values drawn in towards the measured range, in their order: a reader shows no more.

        ``y_max + r (1 - exp(-(y - y_max) / r))`` above the highest value, r a share `reach` of the
        range, and likewise below the lowest.

        >>> scale = HalfRankNormalTransform.of(np.array([0.0, 1.0, 3.0]))
        >>> scale.within_reach(np.array([-5.0, 0.5, 3.1, 9.0])).round(2).tolist()
        [-0.3, 0.5, 3.09, 3.3]
        """
        low, high = self.values[[0, -1]]
        if low == high:
            return labels
        wide = reach * (high - low)
        beyond = labels - np.clip(labels, low, high)
        return labels - beyond - np.sign(beyond) * wide * np.expm1(-np.abs(beyond) / wide)

    def bounds_within_reach(
        self, low: np.ndarray, high: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of intervals drawn in as `within_reach`, of few measured rows less.

        Of `count` exchangeable rows, a share 1 / (count + 1) of new ones is above the highest, and
        as many below the lowest (Wilks 1941): few have not seen what the reader shows. Bounds
        enclose the value of `within_reach`.

        >>> scale = HalfRankNormalTransform.of(np.array([0.0, 1.0, 3.0]))
        >>> low, high = scale.bounds_within_reach(np.array([-5.0]), np.array([9.0]), 8)
        >>> [low.round(2).item(), high.round(2).item()]
        [-2.43, 5.59]
        """
        reach = max(_REACH, _BOUNDS_REACH / count)
        return (
            np.minimum(self.within_reach(low), self.within_reach(low, reach)),
            np.maximum(self.within_reach(high), self.within_reach(high, reach)),
        )


def _extended(x: np.ndarray, knots: np.ndarray, images: np.ndarray, slope: float) -> np.ndarray:
    inner = np.interp(x, knots, images)
    below, above = np.minimum(x - knots[0], 0.0), np.maximum(x - knots[-1], 0.0)
    return inner + slope * (below + above)


@dataclasses.dataclass(frozen=True)
class TrainedKernel:
    """All of a campaign's model but its process."""

    parents: tuple[Pair, ...]  # From which changes are counted
    featuriser: Featuriser  # In the frame of the parents
    scale: HalfRankNormalTransform  # Between the campaign's values and latent ones
    scales: Scales
    train: Features  # Of the rows that new variants are compared with
    weights: dict[str, float]  # By term
    noise: np.ndarray  # Variances
    language: LanguageModel | None
    prior: Any = None  # A general model, with ``predict_pkd(pairs, parents)``
    elsewhere: SubstitutionPrior | None = None  # What latent values are expected to be, unmeasured
    # Of a sparse process: the rows that `train` holds, increasing, and which of them were drawn at
    # random, (m,) each; terms have mean 0 over these. By default all.
    inducing: np.ndarray | None = None
    reference: np.ndarray | None = None

    @classmethod
    def fit(
        cls,
        campaign: Campaign,
        rows: np.ndarray,
        fitting: np.ndarray,
        scaling: np.ndarray,
        *,
        language: LanguageModel | None = None,
        prior: Any = None,
        terms: Sequence[str] | None = None,
    ) -> "TrainedKernel":
        """Train on rows (n,) of a campaign; other parameters and errors as `CampaignModel.fit`.

        `fitting` and `scaling` are indices into `rows`, increasing, by which weights and length
        scales are settled.
        """
        elsewhere, prior = parted(prior)
        check_campaign(campaign)
        # without parents, changes are counted from the strongest variant
        parents = campaign.parents or (campaign.pairs[int(np.argmax(campaign.values))],)
        sites = [ParentSites.of(parent, language) for parent in parents]
        featuriser = campaign_featuriser(campaign, parents, sites)
        part = campaign.rows(rows)
        prior_pkd = None if prior is None else prior.predict_pkd(part.pairs, parents)
        train = featuriser.features(part.pairs, language, prior_pkd, part.assay)
        scales = Scales.of(train.take(scaling), sites)
        scale = HalfRankNormalTransform.of(campaign.on_common_scale().values)
        names = wanted_terms(campaign, train, terms, language, prior)
        few = train.take(fitting)
        elsewhere = None if elsewhere is None else elsewhere.fitted(train)
        of_few = expected_of(few, elsewhere)
        weights, noise = fit_weights(part.rows(fitting), few, scales, scale, names, of_few)
        learned = weights, noise, language, prior, elsewhere
        return cls(parents, featuriser, scale, scales, train, *learned)


def parted(prior: Any) -> tuple[SubstitutionPrior | None, Any]:
    """A prior as the prior mean and the general model, of which one is None."""
    return (prior, None) if isinstance(prior, SubstitutionPrior) else (None, prior)


def expected_of(variants: Features, elsewhere: SubstitutionPrior | None) -> np.ndarray:
    """Prior mean of variants' latent values, (n,)."""
    return np.zeros(len(variants)) if elsewhere is None else elsewhere.mean(variants)


def fitting_rows(count: int) -> np.ndarray:
    """The rows of so many by which weights are found, increasing: all, or `FITTING_ROWS`."""
    return np.sort(np.random.default_rng(0).permutation(count)[:FITTING_ROWS])


def fit_weights(
    campaign: Campaign,
    features: Features,
    scales: Scales,
    scale: HalfRankNormalTransform,
    names: Sequence[str],
    expected: np.ndarray,
) -> tuple[dict[str, float], np.ndarray]:
    """Weights by term in which a campaign's rows differ, and noise variances by group.

    `expected` (n,) is the rows' prior mean.
    """
    grams = list(centred_grams(features, scales, names))
    names = [name for name, _, _ in grams]
    observed = observations(campaign, scale, features.parent, expected)
    fitted = fit_hyperparameters(
        np.stack([gram for _, gram, _ in grams]), observed, prior_weights(names, list(OFFSETS))
    )
    # a group without rows among these has the noise of the others
    common = np.median(fitted.noise[observed.noise_group])
    noise = np.full(len(campaign.assays) * max(len(campaign.parents), 1), common)
    seen = np.unique(observed.noise_group)
    noise[seen] = fitted.noise[seen]
    return dict(zip(names, fitted.weights.tolist(), strict=True)), noise


def check_campaign(campaign: Campaign) -> None:
    """Raise `InputError` if nothing can be learned from a campaign's rows."""
    exact = campaign.values[campaign.censoring == Censoring.EXACT]
    if len(campaign) < 2:
        raise InputError(
            f"a campaign needs at least two measured variants, got {len(campaign)}; 24 or more "
            "begin to be useful"
        )
    if not len(exact):
        raise InputError(
            f"all {len(campaign)} measurements are bounds (< or >): none says how strong a variant "
            "is; measure some of the stronger ones exactly"
        )
    if len(exact) == len(campaign) and np.ptp(exact) == 0:
        raise InputError(
            f"all {len(campaign)} measured values are {exact[0]:g}: there is nothing to learn; "
            "check the column, or measure variants that differ"
        )


def campaign_featuriser(
    campaign: Campaign, parents: Sequence[Pair], sites: Sequence[ParentSites]
) -> Featuriser:
    """In the frame of a campaign's parents and antigens."""
    antigens = [antigen.chains for antigen in campaign.antigens] or [UNKNOWN_ANTIGEN.chains]
    return Featuriser(parents, sites, antigens)


def wanted_terms(
    campaign: Campaign,
    features: Features,
    terms: Sequence[str] | None,
    language: object,
    prior: object,
) -> list[str]:
    """Names of the terms a campaign can have: those asked for, and its offsets."""
    known = features.antigen >= 0
    pairs = np.unique(np.stack([features.parent[known], features.antigen[known]]), axis=1)
    useless: set[str] = set()
    if language is None:
        useless.update(LANGUAGE_TERMS)
    if len(campaign.parents) < 2:  # what is learned of one parent is all there is
        useless.update(WITHIN_PARENT)
    if len(np.unique(pairs[0])) == pairs.shape[1]:  # each parent against one antigen
        useless.update(WITHIN_ANTIGEN)
    if prior is None:
        useless.add("general_model")
    names = [name for name in (TERMS if terms is None else terms) if name not in useless]
    offsets = (("assay", campaign.assays), ("antigen", campaign.antigens))
    return names + [name for name, levels in offsets if len(levels) > 1]


def observations(
    campaign: Campaign, scale: HalfRankNormalTransform, parent: np.ndarray, expected: np.ndarray
) -> Observations:
    """A campaign's values above what is expected, latent; each row's share of its group's noise."""
    share = 1.0 / np.maximum(campaign.replicates, 1)
    known = np.isfinite(campaign.noise_sd) & (campaign.replicates > 1)
    single = np.where(known, campaign.noise_sd, 0.0) ** 2 * campaign.replicates
    pooled = (float(np.median(single[known])) or float(single[known].mean())) if known.any() else 0
    if pooled > 0:  # where replicates scatter more or less than is common, in part
        freedom = np.maximum(campaign.replicates - 1, 0)
        ratio = (_POOLED_REPLICATES + freedom * single / pooled) / (_POOLED_REPLICATES + freedom)
        share = np.where(known, share * ratio, share)
    target = scale.to_latent(campaign.on_common_scale().values) - expected
    group = noise_group(campaign, campaign.assay, parent)
    return Observations(target, campaign.censoring, group, share)


def noise_group(campaign: Campaign, assay: np.ndarray | int, parent: np.ndarray) -> np.ndarray:
    """Group whose noise variance rows share: those of one assay and one parent, (n,).

    Campaigns of several complexes come from several laboratories, and what a model cannot see, such
    as a complex's structure, matters in one more than in another.
    """
    return np.asarray(assay) * max(len(campaign.parents), 1) + parent


# Rows left out, rows of these to predict -> mean and variance, noise included.
LeaveOut = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def leave_site_out_errors(
    row: np.ndarray, site: np.ndarray, exact: np.ndarray, target: np.ndarray, leave_out: LeaveOut
) -> np.ndarray:
    """Standardised errors of exact rows at sites that no training row changes; maybe none.

    `row` and `site` (changes,) say which row changes which site; `exact` and `target` are (n,).
    """
    sites = np.unique(site)
    order = np.random.default_rng(0).permutation(len(sites))
    errors = [np.zeros(0)]
    for fold in range(_FOLDS):
        touched = np.zeros(len(exact), bool)
        touched[row[np.isin(site, sites[order[fold::_FOLDS]])]] = True
        test = np.flatnonzero(touched & exact)
        if len(test) >= _MIN_JUDGED and int((~touched).sum()) >= _MIN_TRAINING:
            mean, variance = leave_out(np.flatnonzero(touched), test)
            errors.append((target[test] - mean) / np.sqrt(variance))
    return np.concatenate(errors)
