"""A campaign's measurements as a model learns from them: one row for each variant in each assay.

`campaign_of` makes a `Campaign` of a table or of measurements: it decides which value is learned,
merges replicates and keeps their spread, and finds the parents.
"""

from paratope.campaigns.campaign.campaign import UNKNOWN_ANTIGEN, Campaign, Label
from paratope.campaigns.campaign.parents import antibody_families, find_parents
from paratope.campaigns.campaign.reading import campaign_of

__all__ = [
    "UNKNOWN_ANTIGEN",
    "Campaign",
    "Label",
    "antibody_families",
    "campaign_of",
    "find_parents",
]
