"""A campaign's rows as observations: one scale for all assays, each row's share of the noise."""

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.gaussian_process import Observations
from paratope.campaigns.label_scale import LabelScale
from paratope.core.errors import InputError
from paratope.molecules.sequences import Pair

# Of more rows a sparse process is made instead of an exact one.
MAX_ROWS = 5000
# Replicates of a row that the campaign's common noise is worth.
_COMMON_NOISE_ROWS = 4.0


def check_campaign(campaign: Campaign) -> None:
    """Raise `InputError` if nothing can be learned from a campaign's rows."""
    exact = campaign.values[campaign.censoring == 0]
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


def parents_of(campaign: Campaign) -> tuple[Pair, ...]:
    """What changes are counted from: the parents, or the strongest variant if there is none."""
    return campaign.parents or (campaign.pairs[int(np.argmax(campaign.values))],)


def observations(campaign: Campaign, scale: LabelScale, parent: np.ndarray) -> Observations:
    """A campaign's values, latent, and how much of its noise group's noise each row has.

    Parameters
    ----------
    campaign : Campaign
    scale : LabelScale
    parent : np.ndarray of int, (n,)
        Of each row.
    """
    return Observations(
        scale.to_latent(campaign.on_common_scale().values),
        campaign.censoring,
        noise_group(campaign, campaign.assay, parent),
        _noise_share(campaign),
    )


def noise_group(campaign: Campaign, assay: np.ndarray | int, parent: np.ndarray) -> np.ndarray:
    """Number of the group whose noise rows share: those of one assay and one parent, (n,).

    Campaigns of several complexes come from several laboratories, and what a model cannot see, such
    as a complex's structure, matters in one more than in another.
    """
    return np.asarray(assay) * max(len(campaign.parents), 1) + parent


def noise_groups(campaign: Campaign) -> int:
    """How many groups there are."""
    return len(campaign.assays) * max(len(campaign.parents), 1)


def _noise_share(campaign: Campaign) -> np.ndarray:
    """1 / replicates; where they scatter more or less than is common, that in part."""
    share = 1.0 / np.maximum(campaign.replicates, 1)
    known = np.isfinite(campaign.noise_sd) & (campaign.replicates > 1)
    if not known.any():
        return share
    single = campaign.noise_sd**2 * campaign.replicates
    common = float(np.median(single[known])) or float(single[known].mean())
    if common <= 0:
        return share
    freedom = np.maximum(campaign.replicates - 1, 0)
    ratio = (_COMMON_NOISE_ROWS + freedom * np.nan_to_num(single) / common) / (
        _COMMON_NOISE_ROWS + freedom
    )
    return np.where(known, share * ratio, share)
