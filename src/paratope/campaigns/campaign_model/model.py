"""What is learned of a campaign: a Gaussian process over variants, on the scale of its values."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model.antigens import CampaignAntigens
from paratope.campaigns.campaign_model.training import (
    FITTING_ROWS,
    MAX_ROWS,
    LeaveOut,
    TrainedKernel,
    expected_of,
    fit_weights,
    fitting_rows,
    leave_site_out_errors,
    noise_group,
    observations,
    parted,
)
from paratope.campaigns.gaussian_process import GaussianProcess
from paratope.campaigns.kernels.features import Features
from paratope.campaigns.kernels.sum_kernel import Importance, NewVariants, SumKernel, importance
from paratope.campaigns.kernels.terms import ENCODED_TERMS
from paratope.campaigns.sparse_process import SparseFit, SparseProcess, inducing_rows
from paratope.core.progress import Progress, silent
from paratope.core.units import STRONG_PKD
from paratope.data.measurements import PairContext
from paratope.encoders.likelihood import LanguageModel
from paratope.models.applicability_domain import ApplicabilityDomain, DomainDistance
from paratope.models.explanation import Explanation
from paratope.models.general.substitutions import Change
from paratope.models.model import (
    DEFAULT_COVERAGE,
    Calibrated,
    Label,
    PairPredictions,
    PredictedDifference,
    unread_context,
)
from paratope.molecules.numbering import REGIONS
from paratope.molecules.sequences import AMINO_ACIDS, Antigen, Pair

BLOCK_ROWS = 1000
# Inducing rows: half at random, half by greedy residual variance within a random pool.
INDUCING_ROWS = 2000
POOL_ROWS = 3000
# Variants that agree with a parent in less of their antibody sites are another antibody.
SAME_ANTIBODY = 0.85
# Quantiles of a standard normal that observed errors are mixed with, so that few do not rule.
_NORMAL_ROWS = 20
_LETTERS = AMINO_ACIDS + "-"
_UNSEEN_SITES = "changes positions that no measured variant changes"
_BEYOND = "{} all measured scores (to {:.4g}): its place in the order counts, not its value"
_OTHER = "another {} than the campaign's: nothing is known of it but the campaign's middle"


class Posterior(NamedTuple):
    """Joint Gaussian of noise-free latent values."""

    mean: np.ndarray  # (n,)
    covariance: np.ndarray  # (n, n)


class LatentPrediction(NamedTuple):
    """Predicted new measurements of n pairs, latent."""

    # mean, sd: (n,) noise included
    mean: np.ndarray
    sd: np.ndarray
    variance: np.ndarray  # (n,) without noise
    # (n,) ``in``: only sites are changed that measured variants change, too; ``near``: others as
    # well; ``out``: another antibody or antigen
    domain: np.ndarray
    note: tuple[str, ...]  # Why a pair is out of the domain, or in what its antigen differs

    @classmethod
    def joined(cls, parts: Sequence["LatentPrediction"]) -> "LatentPrediction":
        """One after the other."""
        if not parts:
            return cls(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, str), ())
        mean, sd, variance, domain = (
            np.concatenate([part[field] for part in parts]) for field in range(4)
        )
        return cls(mean, sd, variance, domain, tuple(note for part in parts for note in part.note))


class FittedState(NamedTuple):
    """What a model has learned from all rows."""

    process: GaussianProcess | SparseProcess
    # Standardised errors of exact rows: ``in`` from all others, ``near`` from rows that leave their
    # changed sites alone
    errors: Mapping[str, np.ndarray]
    changed_sites: frozenset[str]  # Sites that any row changes

    @classmethod
    def of(
        cls,
        process: GaussianProcess | SparseProcess,
        row: np.ndarray,
        site: np.ndarray,
        exact: np.ndarray,
        leave_out: LeaveOut,
    ) -> "FittedState":
        """Of a process and its rows; parameters as `leave_site_out_errors`."""
        target, (mean, variance) = process.ep_target, process.leave_one_out()
        errors = {
            "in": ((target - mean) / np.sqrt(variance))[exact],
            "near": leave_site_out_errors(row, site, exact, target, leave_out),
        }
        return cls(process, errors, frozenset(np.unique(site).tolist()))


class FastFit(NamedTuple):
    """What tells a model's fast form from its full one; see `CampaignModel.fast`."""

    weights: dict[str, float]  # By term
    noise: np.ndarray  # Variances
    # The rows' Gaussian factors of an exact process, or what a sparse one has learned
    ep: tuple[np.ndarray, np.ndarray] | None
    fitted: FittedState | None


class CampaignModel:
    """A fitted model of a campaign; `CampaignModel.fit` makes one.

    `ep` are the Gaussian factors of the rows (see `GaussianProcess`); `fitted` is learned from all
    rows if not given.
    """

    def __init__(
        self,
        campaign: Campaign,
        trained: TrainedKernel,
        *,
        ep: tuple[np.ndarray, np.ndarray] | None = None,
        fitted: FittedState | None = None,
        progress: Progress = silent,
    ) -> None:
        self.campaign, self.trained = campaign, trained
        self.parents, self.featuriser = trained.parents, trained.featuriser
        self.train, self.scale, self.weights = trained.train, trained.scale, trained.weights
        self.language, self.prior = trained.language, trained.prior
        self.antigens = CampaignAntigens(
            campaign.antigens, [parent.antigen for parent in self.parents]
        )
        self.kernel = SumKernel(self.train, trained.scales, self.weights, trained.reference)
        # (n,) prior mean of the latent values that are compared with; the process knows the rest
        self.expected = expected_of(self.train, trained.elsewhere)
        self.process, self.errors, self.changed_sites = fitted or self._learn(ep, progress)
        self.fast_fit: FastFit | None = None  # As a model folder holds it
        # Latent scores, ascending, of random variants against an antigen; of an opened folder
        self.background: Callable[[Antigen], np.ndarray] | None = None

    @classmethod
    def fit(
        cls,
        campaign: Campaign,
        *,
        language: LanguageModel | None = None,
        prior: Any = None,
        terms: Sequence[str] | None = None,
    ) -> "CampaignModel":
        """Learn from a campaign of at least two rows, not all of one value.

        Seconds grow with the cube of the rows: for more than `MAX_ROWS` there is
        `SparseCampaignModel`. Without a language model, terms that need it are left out; of
        `prior`, ``predict_pkd(pairs, parents)`` becomes a linear term of learned weight; a
        `SubstitutionPrior` becomes the prior mean. `terms`
        are names in `paratope.campaigns.kernels.terms.TERMS`, by default all. Raises `InputError`
        if there is nothing to learn from and `TrainingError` if the fit fails.
        """
        rows, few = np.arange(len(campaign)), fitting_rows(len(campaign))
        options: dict[str, Any] = {"language": language, "prior": prior, "terms": terms}
        return cls(campaign, TrainedKernel.fit(campaign, rows, few, rows, **options))

    def _learn(self, ep: tuple[np.ndarray, np.ndarray] | None, progress: Progress) -> FittedState:
        """The process given all rows, and its errors in cross-validation."""
        observed = observations(self.campaign, self.scale, self.train.parent, self.expected)
        process = GaussianProcess(self.kernel.covariance, self.trained.noise, observed, ep)
        changes = self.train.row, self.train.changes.key[self.train.column]
        return FittedState.of(process, *changes, observed.exact, process.leave_rows_out)

    def predict_latent(self, pairs: Sequence[Pair], assay: int = 0) -> LatentPrediction:
        """Latent mean and standard deviation of a new measurement of each pair, in blocks."""
        return LatentPrediction.joined([block for block, *_ in self._blocks(pairs, assay)])

    def _blocks(
        self, pairs: Sequence[Pair], assay: int, parent: Pair | None = None
    ) -> Iterator[tuple[LatentPrediction, NewVariants, np.ndarray, np.ndarray]]:
        """Predictions; prior covariances, posterior mean and variance without noise.

        A parent is the last of all but the predictions.
        """
        for start in range(0, len(pairs), BLOCK_ROWS):
            block = pairs[start : start + BLOCK_ROWS]
            count = len(block)
            block = block if parent is None else (*block, parent)
            features = self._features(block, assay)
            new = self.kernel.compare(features)
            mean = self.process.mean(new.cross) + expected_of(features, self.trained.elsewhere)
            variance = self.process.variance(new.cross, new.variance)
            noise = self.process.noise[noise_group(self.campaign, assay, features.parent)]
            domain, notes = self._domains(block, features)
            out = domain == "out"  # nothing is known but the campaign's middle
            spread = np.where(out, np.maximum(variance, 1.0), variance)
            arrays = np.where(out, 0.0, mean), np.sqrt(spread + noise), spread, domain
            prediction = LatentPrediction(
                *(array[:count] for array in arrays), note=tuple(notes[:count])
            )
            yield prediction, new, mean, variance

    def posterior(self, pairs: Sequence[Pair], assay: int = 0) -> Posterior:
        """Joint distribution of the noise-free latent values; m² numbers of memory."""
        new = self.kernel.compare(self._features(pairs, assay))
        prior = self.kernel.between(new, new)
        covariance = self.process.posterior_covariance(new.cross, prior)
        expected = expected_of(new.features, self.trained.elsewhere)
        return Posterior(self.process.mean(new.cross) + expected, covariance)

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Latent value of each row, and its mean and variance (noise included) from all others."""
        mean, variance = self.process.leave_one_out()
        expected = self.expected if self.trained.elsewhere is not None else 0.0
        return self.process.ep_target + expected, mean + expected, variance

    def marginals(self, pairs: Sequence[Pair], assay: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each noise-free latent value, (n,) each, in blocks."""
        prediction = self.predict_latent(pairs, assay)
        return prediction.mean, np.sqrt(prediction.variance)

    @functools.cached_property
    def fast(self) -> "CampaignModel":
        """The fast form: fitted to the same rows without the terms that must encode a variant.

        It answers in microseconds a variant, for many to be screened; itself if it has no such
        term. Read from the model's folder, or fitted here if the folder has none.
        """
        names = [term for term in self.weights if term not in ENCODED_TERMS]
        if len(names) == len(self.weights) or not names:
            return self
        if self.fast_fit is not None:
            weights, noise, ep, fitted = self.fast_fit
        else:
            rows = self.trained.inducing
            rows = np.arange(len(self.campaign)) if rows is None else rows
            drawn = self.trained.reference
            few = fitting_rows(len(rows)) if drawn is None else np.flatnonzero(drawn)
            few, ep, fitted = few[:FITTING_ROWS], None, None
            campaign, features = self.campaign.rows(rows[few]), self.train.take(few)
            scales, scale = self.trained.scales, self.scale
            expected = expected_of(features, self.trained.elsewhere)
            weights, noise = fit_weights(campaign, features, scales, scale, names, expected)
        unencoded: dict[str, Any] = {"language": None, "prior": None}
        trained = dataclasses.replace(self.trained, weights=weights, noise=noise, **unencoded)
        return type(self)(self.campaign, trained, ep=ep, fitted=fitted)

    @property
    def noise_variance(self) -> float:
        """Of one measurement in the main assay, latent: of its rows, on average."""
        group = noise_group(self.campaign, 0, self.train.parent[self.train.assay == 0])
        return float(self.process.noise[group].mean())

    def to_label(self, latent: np.ndarray) -> np.ndarray:
        """Latent values in the campaign's units; scores stay within reach of the measured ones."""
        labels = self.scale.to_label(latent)
        return self.scale.within_reach(labels) if self.label == "score" else labels

    def predict(self, pairs: Sequence[Pair], assay: int = 0) -> np.ndarray:
        """The median of a new measurement of each pair, in the campaign's units, (n,)."""
        return self.to_label(self.predict_latent(pairs, assay).mean)

    def interval(
        self, prediction: LatentPrediction, coverage: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds, in the campaign's units, that cover a share of new measurements."""
        half = self._half_widths(prediction.domain, coverage) * prediction.sd
        return self._bounds(prediction.mean, half)

    def _bounds(self, latent: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends of intervals in the campaign's units, from latent middles and half widths."""
        low, high = self.scale.to_label(latent - half), self.scale.to_label(latent + half)
        if self.label != "score":
            return low, high
        return self.scale.bounds_within_reach(low, high, len(self.campaign))

    def exceeds(self, prediction: LatentPrediction, value: float) -> np.ndarray:
        """Probability that a new measurement is above a value in the campaign's units, (n,)."""
        threshold = float(self.scale.to_latent(np.array([value]))[0])
        widen = self._half_widths(prediction.domain, 0.68) / ndtri(0.84)
        return ndtr((prediction.mean - threshold) / (widen * prediction.sd))

    def predict_with_difference(
        self, pairs: Sequence[Pair], parent: Pair, coverage: float
    ) -> tuple[LatentPrediction, PredictedDifference]:
        """`predict_latent`, and the difference to a parent in the campaign's units.

        What both have in common cancels: ``var(f - f_p) = var f + var f_p - 2 cov(f, f_p)``, from
        the posterior. A pair out of the domain has the campaign's middle as its value.
        """
        alone = self.kernel.compare(self._features([parent], 0))
        parts, means, variances, parent_mean = [], [np.zeros(0)], [np.zeros(0)], 0.0
        for prediction, new, mean, variance in self._blocks(pairs, 0, parent):
            # the parent from within the block, so that rounding cancels, too
            prior = self.kernel.between(new, alone._replace(row_mean=new.row_mean[-1:]))
            shared = self.process.posterior_cross_covariance(new.cross, new.cross[-1:], prior)
            parts.append(prediction)
            means.append(mean[:-1])
            variances.append(np.maximum(variance[:-1] + variance[-1] - 2 * shared[:-1, 0], 1e-9))
            parent_mean = float(mean[-1])
        prediction, latent = LatentPrediction.joined(parts), np.concatenate(means)
        sd = np.sqrt(np.concatenate(variances))
        out = unrelated = prediction.domain == "out"
        if len(pairs) and self.predict_latent([parent]).domain[0] == "out":
            parent_mean, unrelated = 0.0, np.ones(len(pairs), bool)
        latent = np.where(out, 0.0, latent)
        sd = np.where(unrelated, np.sqrt(2) * np.maximum(prediction.sd, 1.0), sd)
        half = self._half_widths(prediction.domain, coverage) * sd
        start = float(self.to_label(np.array([parent_mean]))[0])
        value = self.to_label(latent) - start
        low, high = (bound - start for bound in self._bounds(latent, half))
        p_stronger = ndtr((latent - parent_mean) / sd)
        return prediction, PredictedDifference(value, low, high, p_stronger)

    @property
    def label(self) -> Label:
        """What it predicts: ``"pkd"``, or ``"score"`` in the unit of its scores."""
        return self.campaign.label

    @property
    def default_antigen(self) -> Antigen | None:
        """What a row without an antigen is read with: the campaign's own, if it has but one."""
        return self.campaign.default_antigen

    @functools.cached_property
    def domain(self) -> ApplicabilityDomain:
        """The campaign's molecules."""
        return ApplicabilityDomain.of_pairs(self.campaign.pairs)

    def cut_pair(self, pair: Pair) -> tuple[Pair, str | None]:
        """The pair itself: variants are compared with the campaign's at every length."""
        return pair, None

    def judge(self, pairs: Sequence[Pair]) -> list[DomainDistance]:
        """Identities to the campaign's molecules; the domain is that of the changed sites."""
        return self._distances(pairs, self.predict_latent(pairs).domain)

    def _distances(self, pairs: Sequence[Pair], domains: np.ndarray) -> list[DomainDistance]:
        judged = zip(self.domain.judge(pairs), domains.tolist(), strict=True)
        return [dataclasses.replace(distance, domain=domain) for distance, domain in judged]

    def predict_pairs(
        self,
        pairs: Sequence[Pair],
        *,
        parent: Pair | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        contexts: Sequence[PairContext] | None = None,
    ) -> PairPredictions:
        """Calibrated predictions; see `paratope.models.model.Model`."""
        difference = None
        if parent is None:
            prediction = self.predict_latent(pairs)
        else:
            prediction, difference = self.predict_with_difference(pairs, parent, coverage)
        low, high = self.interval(prediction, coverage)
        p_strong = np.full(len(pairs), np.nan)
        if self.label == "pkd":
            p_strong = self.exceeds(prediction, strong_threshold_pkd)
        notes = [
            note or (_UNSEEN_SITES if domain == "near" else "")
            for note, domain in zip(prediction.note, prediction.domain, strict=True)
        ]
        for row, context in enumerate(contexts or ()):
            notes[row] = "; ".join(filter(None, [notes[row], unread_context(context)]))
        if self.label == "score":
            low_end, high_end = self.scale.latent[[0, -1]]
            for row, mean in enumerate(prediction.mean):
                if not low_end <= mean <= high_end:
                    end = self.scale.values[0 if mean < low_end else -1]
                    beyond = _BEYOND.format("below" if mean < low_end else "above", end)
                    notes[row] = "; ".join(filter(None, [notes[row], beyond]))
        calibrated = Calibrated(self.to_label(prediction.mean), low, high, p_strong)
        return PairPredictions(
            calibrated,
            self._distances(pairs, prediction.domain),
            notes,
            difference,
            self._percentiles(pairs, prediction),
        )

    def _percentiles(self, pairs: Sequence[Pair], prediction: LatentPrediction) -> np.ndarray:
        """As `PairPredictions.percentile`; the background is scored by the fast form."""
        percentiles = np.full(len(pairs), np.nan)
        if self.background is None:
            return percentiles
        readings = self.antigens.read([pair.antigen for pair in pairs])
        for row, (reading, domain) in enumerate(zip(readings, prediction.domain, strict=True)):
            if (antigen := reading.antigen) is None or domain == "out":
                continue
            random = self.background(antigen)
            percentiles[row] = 100 * np.searchsorted(random, prediction.mean[row]) / len(random)
        return percentiles

    def explain(
        self,
        pairs: Sequence[Pair],
        contexts: Sequence[PairContext] | None = None,
        parent: Pair | None = None,
    ) -> list[Explanation]:
        """The posterior mean in parts that add up, in the campaign's units; contexts are not read.

        Mutations are counted from the campaign's parents, as its kernel does; `parent` is not read
        either. A mutation's part is that of the kernel's additive terms, which is the same in every
        variant; what the other terms and the prior mean add to the parent's stand beside. Latent
        parts become units by one factor, ``(label(mean) - label(0)) / mean``.
        """
        del contexts, parent
        kernel, process, elsewhere = self.kernel, self.process, self.trained.elsewhere
        count = len(pairs)
        parents = [
            Pair(each.antibody, (self.antigens.read([pair.antigen])[0].antigen or pair.antigen))
            for pair in pairs
            for each in self.parents
        ]
        told = []
        for start in range(0, count, BLOCK_ROWS):
            block = pairs[start : start + BLOCK_ROWS]
            features = self._features(block, 0)
            nearest = features.parent
            rows = (np.arange(len(block)) + start) * len(self.parents) + nearest
            origin = self._features([parents[row] for row in rows], 0)
            effects, whole = kernel.parts_of_mean(features, process.alpha)
            _, of_parent = kernel.parts_of_mean(origin, process.alpha)
            expected, before = (expected_of(each, elsewhere) for each in (features, origin))
            domains, notes = self._domains(block, features)
            for row in range(len(block)):
                columns = features.column[features.row == row]
                latent = {
                    "the parent": of_parent[row] + before[row],
                    "substitutions elsewhere (prior mean)": expected[row] - before[row],
                    "the sequence as a whole": whole[row] - of_parent[row],
                }
                shares = effects[columns]
                if domains[row] == "out":
                    latent, columns, shares = {}, columns[:0], shares[:0]
                told.append(self._explained(features, latent, columns, shares, notes[row]))
        return told

    def _explained(
        self,
        features: Features,
        latent: Mapping[str, float],
        columns: np.ndarray,
        shares: np.ndarray,
        note: str,
    ) -> Explanation:
        """Latent parts and effects of changes in the campaign's units."""
        middle, mean = self.to_label(np.zeros(1))[0], sum(latent.values()) + shares.sum()
        factor = (self.to_label(np.array([mean]))[0] - middle) / mean if mean else 0.0
        parts = {"the campaign's middle": float(middle)}
        parts |= {name: float(factor * value) for name, value in latent.items() if value}
        table = features.changes
        changes = []
        for column, share in zip(columns.tolist(), shares.tolist(), strict=True):
            key = str(table.key[column])
            chain, number = key.split(":") if table.of_antigen[column] else (key[0], key[1:])
            region = REGIONS[table.region[column]] if table.region[column] < len(REGIONS) else ""
            letters = (_LETTERS[table.before[column]], _LETTERS[table.after[column]])
            changes.append((Change(chain, number, region, *letters), float(factor * share)))
        value = float(middle + factor * mean)
        return Explanation(parts, tuple(changes), value, note, label=self.label)

    def close(self) -> None:
        """Close the embedding stores of the language model and of the general model."""
        for part in (self.language, self.prior):
            if (close := getattr(part, "close", None)) is not None:
                close()

    def importance(self) -> Importance:
        """Learned effects by site, and what each term of the kernel explains."""
        unit = float(np.diff(self.to_label(np.array([-0.5, 0.5])))[0])
        elsewhere = self.trained.elsewhere
        return importance(self.kernel, self.weights, self.process.alpha, unit, elsewhere)

    def _half_widths(self, domains: np.ndarray, coverage: float) -> np.ndarray:
        """Half width of the interval of each pair in standard deviations, by its domain, (n,).

        Conformal quantiles of the errors in cross-validation, with some of a standard normal. They
        are wider by Student's t over the normal distribution: the scale of values and the kernel's
        weights are of few rows themselves. With half as many degrees of freedom as rows, intervals
        of 8 to 96 rows cover what they claim on antibody families left out (docs/LOG.md).
        """
        freedom = max(len(self.campaign) / 2, 1.0)
        tail = 0.5 + 0.5 * coverage
        wider = stdtrit(freedom, tail) / ndtri(tail)
        levels = (np.arange(_NORMAL_ROWS) + 0.5) / _NORMAL_ROWS
        widths = {}
        for name in ("in", "near"):
            errors = np.concatenate([np.abs(self.errors[name]), ndtri(0.5 + 0.5 * levels)])
            quantile = min(1.0, coverage * (1 + 1 / len(errors)))
            widths[name] = wider * float(np.quantile(errors, quantile))
        # never surer at unseen sites than at seen ones
        return np.where(domains == "in", widths["in"], max(widths.values()))

    def _features(self, pairs: Sequence[Pair], assay: np.ndarray | int) -> Features:
        prior_pkd = None
        if self.prior is not None and "general_model" in self.weights:
            prior_pkd = self.prior.predict_pkd(pairs, self.trained.parents)
        readings = self.antigens.read([pair.antigen for pair in pairs])
        read = [
            Pair(pair.antibody, reading.antigen or pair.antigen)
            for pair, reading in zip(pairs, readings, strict=True)
        ]
        return self.featuriser.features(read, self.language, prior_pkd, assay)

    def _domains(self, pairs: Sequence[Pair], features: Features) -> tuple[np.ndarray, list[str]]:
        """Domain of each pair, and a note, empty if there is nothing to say."""
        changes = features.changes
        unseen = ~np.isin(changes.key, list(self.changed_sites))
        domain = np.where(features.totals(unseen.astype(float)) > 0, "near", "in").astype("<U4")
        count = features.totals((~changes.of_antigen).astype(float))
        other_antibody = count > (1 - SAME_ANTIBODY) * max(len(self.featuriser.sites), 1)
        readings = self.antigens.read([pair.antigen for pair in pairs])
        notes = []
        for row, (pair, reading) in enumerate(zip(pairs, readings, strict=True)):
            parent = self.parents[features.parent[row]]
            other_format = (pair.antibody.light is None) != (parent.antibody.light is None)
            if other_format or other_antibody[row]:
                domain[row] = "out"
                notes.append(_OTHER.format("antibody"))
            elif reading.antigen is None:
                domain[row] = "out"
                notes.append(_OTHER.format("antigen"))
            else:
                notes.append(reading.note)
                if reading.replaced:  # what differs is not compared, so it may matter
                    domain[row] = "near"
        return domain, notes


class SparseCampaignModel(CampaignModel):
    """A campaign's model whose process is sparse: `SparseProcess` on some of the rows."""

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
        random. `progress` is called with ``"fitting"``, the rows read and all rows. So many rows
        have no need of a prior mean: a `SubstitutionPrior` is not used.
        """
        _, prior = parted(prior)
        drawn = np.random.default_rng(0).permutation(len(campaign))[: max(pool, inducing)]
        rows = np.sort(drawn)
        few = np.flatnonzero(np.isin(rows, drawn[:FITTING_ROWS]))
        trained = TrainedKernel.fit(
            campaign, rows, few, few, language=language, prior=prior, terms=terms
        )
        covariance = SumKernel(trained.train, trained.scales, trained.weights).covariance
        random = np.flatnonzero(np.isin(rows, drawn[: inducing // 2]))
        chosen = inducing_rows(covariance.astype(float), random, inducing)
        trained = dataclasses.replace(
            trained,
            train=trained.train.take(chosen),
            inducing=rows[chosen],
            reference=np.isin(chosen, random),
        )
        return cls(campaign, trained, progress=progress)

    def _learn(self, ep: tuple[np.ndarray, np.ndarray] | None, progress: Progress) -> FittedState:
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
            progress("fitting", int(block[-1]) + 1, count)
        observed = observations(campaign, self.scale, parent, np.zeros(count))
        fit = SparseFit(self.kernel.covariance, cross, prior_variance, self.trained.noise, observed)
        changes = np.concatenate(changed_row), np.concatenate(changed_site)
        return FittedState.of(fit.process(), *changes, observed.exact, fit.leave_rows_out)


def fit_campaign(
    campaign: Campaign,
    *,
    language: LanguageModel | None = None,
    prior: Any = None,
    exact_rows: int = MAX_ROWS,
) -> CampaignModel:
    """The exact model of a campaign of at most `exact_rows`, the sparse one of a larger one."""
    model = CampaignModel if len(campaign) <= exact_rows else SparseCampaignModel
    return model.fit(campaign, language=language, prior=prior)
