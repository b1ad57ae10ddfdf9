"""Covariance of new variants with a campaign's and with each other, as it was beforehand."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model.grams import OFFSETS, term
from paratope.campaigns.kernels import Blend, Centring, Compared, Features, Scales


class NewVariants(NamedTuple):
    """m new variants beside the n that a campaign is compared by.

    Attributes
    ----------
    compared : Compared
    middle : np.ndarray, (m,)
        Mean of the uncentred covariances with the variants on which terms are centred.
    cross : np.ndarray, (m, n)
        Covariance with the campaign's.
    own : np.ndarray, (m,)
        Variance.
    """

    compared: Compared
    middle: np.ndarray
    cross: np.ndarray
    own: np.ndarray


class Covariance:
    """The weighted sum of centred terms.

    Centring is linear: the sum of the terms is centred once, not each of them.

    Parameters
    ----------
    train : Features
        Of the variants that others are compared with.
    campaign : Campaign
        Their rows.
    scales : Scales
    weights : mapping of str to float
        By term.
    centring : mapping of str to Centring
        The same rows are the reference of all of them.
    """

    def __init__(
        self,
        train: Features,
        campaign: Campaign,
        scales: Scales,
        weights: Mapping[str, float],
        centring: Mapping[str, Centring],
    ) -> None:
        self._campaign = campaign
        shares = {name: weight / centring[name].scale for name, weight in weights.items()}
        self._offsets = {name: shares[name] for name in OFFSETS if name in shares}
        self._scales = scales
        rest = {name: share for name, share in shares.items() if name not in OFFSETS}
        self._blend = Blend(rest, scales)
        self._train = self._blend.read(train)
        self._column_mean = np.zeros(len(train))
        for name, share in shares.items():
            self._column_mean += share * centring[name].column_mean
        self._mean = sum(share * centring[name].mean for name, share in shares.items())
        references = [one.reference for one in centring.values()]
        self._reference = references[0] if references else None

    def of(self, features: Features, assay: int) -> NewVariants:
        """New variants, as an assay of the campaign would measure them."""
        compared = self._blend.read(features)
        raw = self._blend.between(compared, self._train)
        own = self._blend.own(compared)
        for name, share in self._offsets.items():
            options = (self._scales, assay, self._campaign)
            raw += share * term(name, features, self._train.features, *options)
            own += share * (features.antigen >= 0 if name == "antigen" else 1.0)
        middle = (raw if self._reference is None else raw[:, self._reference]).mean(1)
        raw -= middle[:, None]
        raw -= self._column_mean
        raw += self._mean
        return NewVariants(compared, middle, raw, own - 2 * middle + self._mean)

    def between(self, a: NewVariants, b: NewVariants) -> np.ndarray:
        """Covariance of new variants with others, measured in the same assay, (ma, mb)."""
        raw = self._blend.between(a.compared, b.compared)
        for name, share in self._offsets.items():
            pair = (a.compared.features, b.compared.features)
            raw += share * term(name, *pair, self._scales, 0, None)
        return raw - a.middle[:, None] - b.middle[None] + self._mean
