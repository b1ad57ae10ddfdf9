"""What is learned of a campaign: a Gaussian process over variants, with calibrated intervals."""

from paratope.campaign_model.importance import Importance
from paratope.campaign_model.model import Answer, CampaignModel, Posterior
from paratope.campaign_model.rows import MAX_ROWS, check_campaign
from paratope.campaign_model.serving import prediction_columns

__all__ = [
    "MAX_ROWS",
    "Answer",
    "CampaignModel",
    "Importance",
    "Posterior",
    "check_campaign",
    "prediction_columns",
]
