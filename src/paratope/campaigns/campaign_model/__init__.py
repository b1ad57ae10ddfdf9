"""What is learned of a campaign: a Gaussian process over variants, with calibrated intervals."""

from paratope.campaigns.campaign_model.model import (
    INDUCING_ROWS,
    CampaignModel,
    FastFit,
    FittedState,
    LatentPrediction,
    Posterior,
    SparseCampaignModel,
    fit_campaign,
)
from paratope.campaigns.campaign_model.training import MAX_ROWS, TrainedKernel, check_campaign
from paratope.campaigns.kernels.sum_kernel import Importance

__all__ = [
    "INDUCING_ROWS",
    "MAX_ROWS",
    "CampaignModel",
    "FastFit",
    "FittedState",
    "Importance",
    "LatentPrediction",
    "Posterior",
    "SparseCampaignModel",
    "TrainedKernel",
    "check_campaign",
    "fit_campaign",
]
