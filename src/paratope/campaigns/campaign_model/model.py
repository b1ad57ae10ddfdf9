"""What is learned of a campaign: a Gaussian process over variants, on the scale of its values."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import logit, ndtr, ndtri

from paratope.campaigns.campaign import UNKNOWN_ANTIGEN, Campaign
from paratope.campaigns.campaign_model.answer import Answer, Posterior
from paratope.campaigns.campaign_model.antigens import CampaignAntigens
from paratope.campaigns.campaign_model.covariance import Covariance, NewVariants
from paratope.campaigns.campaign_model.grams import centred_terms, even, some, wanted_terms
from paratope.campaigns.campaign_model.importance import Importance, importance
from paratope.campaigns.campaign_model.rows import (
    check_campaign,
    noise_group,
    observations,
    parents_of,
)
from paratope.campaigns.campaign_model.site_errors import errors_at_new_sites
from paratope.campaigns.campaign_model.weights import FITTING_ROWS, weights_and_noise
from paratope.campaigns.gaussian_process import GaussianProcess
from paratope.campaigns.kernels import (
    Centring,
    Features,
    Featuriser,
    LanguageModel,
    ParentSites,
    Scales,
)
from paratope.campaigns.label_scale import LabelScale
from paratope.core.units import STRONG_PKD
from paratope.models.applicability_domain import ApplicabilityDomain, DomainDistance
from paratope.models.model import (
    DEFAULT_COVERAGE,
    Calibrated,
    Label,
    PairPredictions,
    PredictedDifference,
    Scored,
)
from paratope.molecules.sequences import Antibody, Antigen, Pair

BLOCK_ROWS = 1000
# Variants that agree with a parent in less of their antibody sites are another antibody.
SAME_ANTIBODY = 0.85
# Errors of a standard normal that the errors seen are mixed with, so that few do not rule.
_NORMAL_ROWS = 20
_UNSEEN_SITES = "changes positions that no measured variant changes"


class CampaignModel:
    """A fitted model of a campaign; `CampaignModel.fit` makes one.

    Parameters
    ----------
    campaign : Campaign
    parents : sequence of Pair
    sites : sequence of ParentSites
    scale : LabelScale
    scales : Scales
    train : Features
    weights, noise : dict of str to float
        By term, and by group of rows (assay and parent).
    language : LanguageModel or None
    prior : object or None
        With ``predict_pkd(pairs)``: a general model.
    ep : tuple of np.ndarray, optional
        What stands for the censored rows.
    """

    def __init__(
        self,
        campaign: Campaign,
        parents: Sequence[Pair],
        sites: Sequence[ParentSites],
        scale: LabelScale,
        scales: Scales,
        train: Features,
        weights: Mapping[str, float],
        noise: Sequence[float],
        language: LanguageModel | None,
        prior: Any = None,
        ep: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self._frame(campaign, parents, sites, scale, scales, train, weights, language, prior)
        self.process = GaussianProcess(
            self._centred(),
            np.array(noise, float),
            observations(campaign, scale, train.parent),
            ep,
        )
        self.changed_sites = frozenset(train.changes.key.tolist())
        self.errors = {"in": self._errors_within(), "near": self._errors_at_new_sites()}

    def _frame(
        self,
        campaign: Campaign,
        parents: Sequence[Pair],
        sites: Sequence[ParentSites],
        scale: LabelScale,
        scales: Scales,
        train: Features,
        weights: Mapping[str, float],
        language: LanguageModel | None,
        prior: Any,
    ) -> None:
        """Everything but the process; `train` are the features of the rows of `compared`."""
        self.campaign, self.parents, self.sites = campaign, tuple(parents), tuple(sites)
        self.compared = campaign
        self.scale, self.scales, self.train = scale, scales, train
        self.language, self.prior = language, prior
        self.weights = dict(weights)
        antigens = tuple(one.chains for one in campaign.antigens) or (UNKNOWN_ANTIGEN.chains,)
        self.featuriser = Featuriser(self.parents, self.sites, antigens)
        self.antigens = CampaignAntigens(campaign.antigens, [one.antigen for one in self.parents])
        self._centring: dict[str, Centring] = {}

    def _centred(self, reference: np.ndarray | None = None) -> np.ndarray:
        """Covariance of the rows compared with, whose terms are centred from now on."""
        signal = np.zeros((len(self.train), len(self.train)), np.float32)
        names = list(self.weights)
        terms = centred_terms(self.train, self.compared, self.scales, names, reference)
        for name, gram, found in terms:
            self._centring[name] = found
            signal += np.float32(self.weights[name]) * gram
        self._covariance = Covariance(
            self.train, self.compared, self.scales, self.weights, self._centring
        )
        return signal

    @classmethod
    def fit(
        cls,
        campaign: Campaign,
        *,
        language: LanguageModel | None = None,
        prior: Any = None,
        terms: Sequence[str] | None = None,
    ) -> "CampaignModel":
        """Learn from a campaign.

        Parameters
        ----------
        campaign : Campaign
            At least two rows; not all of one value. Seconds grow with the cube of the rows: for
            more than `MAX_ROWS` there is `LargeCampaignModel`.
        language : LanguageModel, optional
            Without one, terms that need it are left out.
        prior : object, optional
            With ``predict_pkd(pairs)``; its answers become a linear term of learned weight.
        terms : sequence of str, optional
            Of `paratope.campaigns.kernels.TERMS`; all by default.

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
        prior_pkd = None if prior is None else prior.predict_pkd(campaign.pairs)
        train = featuriser.features(campaign.pairs, language, prior_pkd)
        scales = Scales.of(train, sites)
        scale = LabelScale.of(campaign.on_common_scale().values)
        wanted = wanted_terms(terms, language, prior, campaign, train)
        rows = even(len(campaign), FITTING_ROWS)
        part = campaign.rows(rows)
        weights, noise = weights_and_noise(part, some(train, rows), scales, scale, wanted)
        return cls(
            campaign, parents, sites, scale, scales, train, weights, noise, language, prior
        )  # fmt: skip

    def answer(self, pairs: Sequence[Pair], assay: int = 0) -> Answer:
        """Latent mean and spread of a new measurement of each pair, in blocks."""
        return Answer.joined([found for found, _, _, _ in self._blocks(pairs, assay)])

    def _blocks(
        self, pairs: Sequence[Pair], assay: int, parent: Pair | None = None
    ) -> Iterator[tuple[Answer, NewVariants, np.ndarray, np.ndarray]]:
        """What is said of pairs; how they compare, their mean and variance without noise.

        A parent is the last of all but the answers.
        """
        for start in range(0, len(pairs), BLOCK_ROWS):
            block = pairs[start : start + BLOCK_ROWS]
            count = len(block)
            block = block if parent is None else (*block, parent)
            features = self._features(block)
            new = self._covariance.of(features, assay)
            mean = self.process.mean(new.cross)
            variance = self.process.variance(new.cross, new.own)
            noise = self.process.noise[noise_group(self.campaign, assay, features.parent)]
            domain, notes = self._judge(block, features)
            lost = domain == "out"  # nothing is known but the campaign's middle
            sd = np.sqrt(np.where(lost, np.maximum(variance, 1.0), variance) + noise)
            middle = np.where(lost, 0.0, mean)
            answer = Answer(middle[:count], sd[:count], domain[:count], tuple(notes[:count]))
            yield answer, new, mean, variance

    def posterior(self, pairs: Sequence[Pair], assay: int = 0) -> Posterior:
        """Joint distribution of the noise-free latent values; m² numbers of memory."""
        new = self._covariance.of(self._features(pairs), assay)
        between = self._covariance.between(new, new)
        covariance = self.process.posterior_covariance(new.cross, between)
        return Posterior(self.process.mean(new.cross), covariance)

    def variance(self, pairs: Sequence[Pair], assay: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each noise-free latent value, in blocks."""
        means, variances = [np.zeros(0)], [np.zeros(0)]
        for answer, _, _, variance in self._blocks(pairs, assay):
            lost = answer.domain == "out"
            means.append(answer.mean)
            variances.append(np.where(lost, np.maximum(variance, 1.0), variance))
        return np.concatenate(means), np.concatenate(variances)

    @property
    def noise_variance(self) -> float:
        """Of one measurement in the main assay, latent: of its rows, on average."""
        main = self.compared.assay == 0
        group = noise_group(self.campaign, 0, self.train.parent[main])
        return float(self.process.noise[group].mean())

    def to_label(self, latent: np.ndarray) -> np.ndarray:
        """Latent values in the campaign's units."""
        return self.scale.to_label(latent)

    def predict(self, pairs: Sequence[Pair], assay: int = 0) -> np.ndarray:
        """The value expected (the median) of each pair, in the campaign's units, (n,)."""
        return self.to_label(self.answer(pairs, assay).mean)

    def interval(self, answer: Answer, coverage: float) -> tuple[np.ndarray, np.ndarray]:
        """Bounds, in the campaign's units, that cover a share of new measurements."""
        half = self._reaches(answer.domain, coverage) * answer.sd
        return self.to_label(answer.mean - half), self.to_label(answer.mean + half)

    def exceeds(self, answer: Answer, value: float) -> np.ndarray:
        """Probability that a new measurement is above a value in the campaign's units, (n,)."""
        threshold = float(self.scale.to_latent(np.array([value]))[0])
        widen = self._reaches(answer.domain, 0.68) / ndtri(0.84)
        return ndtr((answer.mean - threshold) / (widen * answer.sd))

    def difference(
        self, pairs: Sequence[Pair], parent: Pair, coverage: float
    ) -> PredictedDifference:
        """Change against a parent in the campaign's units.

        What both have in common cancels: the variance is that of the difference. Of a pair out of
        the domain no more is known than of any other: its change is that of the campaign's middle.
        """
        return self.answer_and_change(pairs, parent, coverage)[1]

    def answer_and_change(
        self, pairs: Sequence[Pair], parent: Pair, coverage: float
    ) -> tuple[Answer, PredictedDifference]:
        """`answer` and `difference` at once, which costs no more than one of them."""
        process = self.process
        alone = self._covariance.of(self._features([parent]), 0)
        answers, means, variances, base = [], [np.zeros(0)], [np.zeros(0)], 0.0
        for answer, new, mean, variance in self._blocks(pairs, 0, parent):
            # the parent in the block's company, so that rounding cancels, too
            theirs = alone._replace(middle=new.middle[-1:], cross=new.cross[-1:], own=new.own[-1:])
            beforehand = self._covariance.between(new, theirs)
            shared = process.posterior_cross_covariance(new.cross, theirs.cross, beforehand)[:-1, 0]
            answers.append(answer)
            means.append(mean[:-1])
            variances.append(np.maximum(variance[:-1] + variance[-1] - 2 * shared, 1e-9))
            base = float(mean[-1])
        answer, latent = Answer.joined(answers), np.concatenate(means)
        sd = np.sqrt(np.concatenate(variances))
        lost = answer.domain == "out"
        strange = bool(pairs) and self.answer([parent]).domain[0] == "out"
        base = 0.0 if strange else base
        latent = np.where(lost, 0.0, latent)
        sd = np.where(lost | strange, np.sqrt(2) * np.maximum(answer.sd, 1.0), sd)
        half = self._reaches(answer.domain, coverage) * sd
        start = float(self.to_label(np.array([base]))[0])
        value, low, high = (
            self.to_label(latent + shift) - start for shift in (np.zeros_like(half), -half, half)
        )
        return answer, PredictedDifference(value, low, high, ndtr((latent - base) / sd))

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
        return self._distances(pairs, self.answer(pairs))

    def _distances(self, pairs: Sequence[Pair], answer: Answer) -> list[DomainDistance]:
        return [
            dataclasses.replace(distance, domain=domain)
            for distance, domain in zip(
                self.domain.judge(pairs), answer.domain.tolist(), strict=True
            )
        ]

    def predict_pairs(
        self,
        pairs: Sequence[Pair],
        *,
        parent: Pair | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
    ) -> PairPredictions:
        """Calibrated predictions; see `paratope.models.model.Model`."""
        difference = None
        if parent is None:
            answer = self.answer(pairs)
        else:
            answer, difference = self.answer_and_change(pairs, parent, coverage)
        low, high = self.interval(answer, coverage)
        p_strong = np.full(len(pairs), np.nan)
        if self.label == "pkd":
            p_strong = self.exceeds(answer, strong_threshold_pkd)
        notes = [
            note or (_UNSEEN_SITES if domain == "near" else "")
            for note, domain in zip(answer.note, answer.domain, strict=True)
        ]
        calibrated = Calibrated(self.to_label(answer.mean), low, high, p_strong)
        return PairPredictions(calibrated, self._distances(pairs, answer), notes, difference)

    def antibody_state(self, molecules: Sequence[tuple[str, ...]]) -> list[Antibody]:
        """The antibodies themselves: the kernel compares whole pairs."""
        return [Antibody(chains[0], (*chains[1:], None)[0]) for chains in molecules]

    def antigen_state(self, molecules: Sequence[tuple[str, ...]]) -> list[Antigen]:
        """The antigens themselves."""
        return [Antigen(chains) for chains in molecules]

    def score(
        self,
        antibodies: Sequence[Antibody],
        antigens: Sequence[Antigen],
        antibody_index: Sequence[int] | np.ndarray | None = None,
        antigen_index: Sequence[int] | np.ndarray | None = None,
    ) -> Scored:
        """Expected labels of pairs of states; see `paratope.models.model.Model`.

        The standard deviation is half the width of the central 68 % in the label's unit.
        """
        left = range(len(antibodies)) if antibody_index is None else antibody_index
        right = range(len(antigens)) if antigen_index is None else antigen_index
        pairs = [Pair(antibodies[a], antigens[b]) for a, b in zip(left, right, strict=True)]
        answer = self.answer(pairs)
        low, high = self.to_label(answer.mean - answer.sd), self.to_label(answer.mean + answer.sd)
        strong = np.full(len(pairs), np.nan)
        if self.label == "pkd":
            strong = logit(np.clip(self.exceeds(answer, STRONG_PKD), 1e-12, 1 - 1e-12))
        return Scored(self.to_label(answer.mean), (high - low) / 2, strong)

    def close(self) -> None:
        """Close the embedding stores of the language model and of the general model."""
        for part in (self.language, self.prior):
            if part is not None and hasattr(part, "close"):
                part.close()

    def importance(self) -> Importance:
        """Learned effects by site, and what each term of the kernel explains."""
        return importance(self)

    def _reaches(self, domains: np.ndarray, coverage: float) -> np.ndarray:
        """Half width of the interval of each pair in standard deviations, by its domain, (n,)."""
        known = {name: self._reach(name, coverage) for name in np.unique(domains).tolist()}
        return np.array([known[name] for name in domains.tolist()])

    def _reach(self, domain: str, coverage: float) -> float:
        """Half width of the interval in standard deviations, from the errors that were seen."""
        seen = self.errors["in" if domain == "in" else "near"]
        levels = (np.arange(_NORMAL_ROWS) + 0.5) / _NORMAL_ROWS
        both = np.concatenate([np.abs(seen), ndtri(0.5 + 0.5 * levels)])
        reach = float(np.quantile(both, min(1.0, coverage * (1 + 1 / len(both)))))
        if domain != "in":  # never surer at unseen sites than at seen ones
            reach = max(reach, self._reach("in", coverage))
        return reach

    def _errors_within(self) -> np.ndarray:
        """Standardised errors of the exact rows, each from all others."""
        mean, variance = self.process.leave_one_out()
        exact = self.campaign.censoring == 0
        return ((self.process.ep_target - mean) / np.sqrt(variance))[exact]

    def _errors_at_new_sites(self) -> np.ndarray:
        """Standardised errors of exact rows from rows that leave their sites alone."""
        sites = self.train.changes.key[self.train.column]
        exact = self.campaign.censoring == 0
        target = self.process.ep_target
        return errors_at_new_sites(self.train.row, sites, exact, target, self._without)

    def _without(self, left_out: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = self.process.leave_rows_out(left_out)
        place = np.searchsorted(left_out, test)
        return mean[place], variance[place]

    def _features(self, pairs: Sequence[Pair]) -> Features:
        prior_pkd = None
        if self.prior is not None and "general_model" in self.weights:
            prior_pkd = self.prior.predict_pkd(pairs)
        readings = self.antigens.read([pair.antigen for pair in pairs])
        read = [
            Pair(pair.antibody, reading.antigen or pair.antigen)
            for pair, reading in zip(pairs, readings, strict=True)
        ]
        return self.featuriser.features(read, self.language, prior_pkd)

    def _judge(self, pairs: Sequence[Pair], features: Features) -> tuple[np.ndarray, list[str]]:
        domain, notes = np.full(len(pairs), "in", dtype="<U4"), [""] * len(pairs)
        keys = features.changes.key
        new = ~np.isin(keys, list(self.changed_sites)) if len(keys) else np.zeros(0, bool)
        unseen = features.totals(new.astype(float))
        domain[unseen > 0] = "near"
        count = features.totals(~np.char.startswith(keys, "A")) if len(keys) else unseen
        total = max(len(self.featuriser.sites), 1)
        readings = self.antigens.read([pair.antigen for pair in pairs])
        for number, (pair, reading) in enumerate(zip(pairs, readings, strict=True)):
            parent = self.parents[features.parent[number]]
            other_format = (pair.antibody.light is None) != (parent.antibody.light is None)
            if other_format or count[number] > (1 - SAME_ANTIBODY) * total:
                domain[number] = "out"
                notes[number] = (
                    "another antibody than the campaign's: nothing is known of it but the "
                    "campaign's middle"
                )
            elif reading.antigen is None:
                domain[number] = "out"
                notes[number] = (
                    "another antigen than the campaign's: nothing is known of it but the "
                    "campaign's middle"
                )
            else:
                notes[number] = reading.note
                if reading.replaced:  # what differs is not compared, so it may matter
                    domain[number] = "near"
        return domain, notes
