"""What is learned of the kernel itself: a weight for each term, noise for rows alike."""

from collections.abc import Sequence

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model.grams import OFFSETS, centred_terms
from paratope.campaigns.campaign_model.rows import noise_groups, observations
from paratope.campaigns.gaussian_process import fit_hyperparameters, prior_weights
from paratope.campaigns.kernels import Features, Scales
from paratope.campaigns.label_scale import LabelScale

# Weights are found on at most this many rows; the process itself takes all of them.
FITTING_ROWS = 800


def weights_and_noise(
    campaign: Campaign,
    features: Features,
    scales: Scales,
    scale: LabelScale,
    terms: Sequence[str],
) -> tuple[dict[str, float], list[float]]:
    """Weight of each term in which rows differ, and noise variance of each group of rows.

    Parameters
    ----------
    campaign : Campaign
        Rows to find them on.
    features : Features
        Of these rows.
    scales : Scales
    scale : LabelScale
    terms : sequence of str
        Names.

    Raises
    ------
    TrainingError
        If the fit fails.
    """
    found = list(centred_terms(features, campaign, scales, terms))
    names = [name for name, _, _ in found]
    grams = np.stack([gram for _, gram, _ in found])
    observed = observations(campaign, scale, features.parent)
    fitted = fit_hyperparameters(grams, observed, prior_weights(names, OFFSETS))
    # a group of few rows may have none among these: its noise is what is common
    common = float(np.median(fitted.noise[observed.noise_group]))
    noise = np.full(noise_groups(campaign), common)
    seen = np.unique(observed.noise_group)
    noise[seen] = fitted.noise[seen]
    noise = noise.tolist()
    return dict(zip(names, fitted.weights.tolist(), strict=True)), noise
