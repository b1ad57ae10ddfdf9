"""What is learned of a campaign: a Gaussian process over variants, with calibrated intervals."""

from paratope.campaigns.campaign_model.answer import Answer, Posterior
from paratope.campaigns.campaign_model.importance import Importance
from paratope.campaigns.campaign_model.large import INDUCING_ROWS, LargeCampaignModel, fit_campaign
from paratope.campaigns.campaign_model.model import CampaignModel
from paratope.campaigns.campaign_model.rows import MAX_ROWS, check_campaign

__all__ = [
    "INDUCING_ROWS",
    "MAX_ROWS",
    "Answer",
    "CampaignModel",
    "Importance",
    "LargeCampaignModel",
    "Posterior",
    "check_campaign",
    "fit_campaign",
]
