"""What is learned of the kernel itself: a weight for each term, a noise for each assay."""

from collections.abc import Sequence

import numpy as np

from paratope.campaign import Campaign
from paratope.campaign_model.grams import OFFSETS, centred_terms
from paratope.campaign_model.rows import observations
from paratope.gaussian_process import fit, shared_weights
from paratope.kernels import Features, Scales
from paratope.label_scale import LabelScale

# Weights are found on at most this many rows; the process itself takes all of them.
FITTING_ROWS = 800


def weights_and_noise(
    campaign: Campaign,
    features: Features,
    scales: Scales,
    scale: LabelScale,
    terms: Sequence[str],
) -> tuple[dict[str, float], list[float]]:
    """Weight of each term in which rows differ, and noise variance of each assay.

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
        If gpytorch is missing, or they cannot be found.
    """
    found = list(centred_terms(features, campaign, scales, terms))
    names = [name for name, _, _ in found]
    grams = np.stack([gram for _, gram, _ in found])
    process = fit(grams, observations(campaign, scale), shared_weights(names, OFFSETS))
    noise = process.noise.tolist()
    # an assay of few rows may have none among these: its noise is the main one's
    noise += noise[:1] * (len(campaign.assays) - len(noise))
    return dict(zip(names, process.weights.tolist(), strict=True)), noise
