"""A measured landscape: variants of one antigen in one assay, each with one value."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from paratope.campaigns.campaign import Campaign, campaign_of
from paratope.core.errors import InputError

# Of fewer variants nothing can be replayed.
MIN_VARIANTS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Landscape:
    """The variants that there are to be found."""

    campaign: Campaign  # n rows, one for each variant
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.campaign)

    @property
    def values(self) -> np.ndarray:
        """Measured value of each variant, higher = stronger; the bound of a censored one, (n,)."""
        return self.campaign.values

    @property
    def label(self) -> str:
        """Name of the values in tables and figures."""
        return "pKd" if self.campaign.label == "pkd" else "score"

    def top(self, count: int) -> np.ndarray:
        """Which variants are among the best `count`, ties with the last of them included, (n,)."""
        least = np.sort(self.values)[-min(count, len(self))]
        return self.values >= least


def landscape_of(source: Any, columns: Mapping[str, str] | None = None) -> Landscape:
    """The landscape that a table of measurements describes.

    Of several antigens or assays, the one with the most variants is taken, and noted. `source` is
    a campaign, or what `campaign_of` reads; raises `InputError` if it cannot be read, or holds too
    few different variants.

    >>> from paratope.data.datasets.simulated import simulate
    >>> landscape = landscape_of(simulate(antibodies=30, antigens=2, seed=1).measurements)
    >>> len(landscape), landscape.notes
    (30, ('2 antigens: antigen-1 alone is replayed (30 of 60 rows)',))
    """
    whole = source if isinstance(source, Campaign) else campaign_of(source, columns=columns)
    notes: list[str] = []
    antigens = Counter(pair.antigen.chains for pair in whole.pairs)
    kept = np.ones(len(whole), dtype=bool)
    if len(antigens) > 1:
        most = max(antigens, key=lambda chains: antigens[chains])
        kept = np.array([pair.antigen.chains == most for pair in whole.pairs])
        name = next(pair.antigen.name for pair in whole.pairs if pair.antigen.chains == most)
        notes.append(
            f"{len(antigens)} antigens: {name or 'the one measured most'} alone is replayed "
            f"({kept.sum():,} of {len(whole):,} rows)"
        )
    assays = Counter(whole.assay[kept].tolist())
    if len(assays) > 1:
        assay = max(assays, key=lambda index: assays[index])
        rows = kept & (whole.assay == assay)
        notes.append(
            f"{len(assays)} assays, whose values do not compare: {whole.assays[assay]!r} alone "
            f"is replayed ({rows.sum():,} of {kept.sum():,} rows)"
        )
        kept = rows
    campaign = whole.rows(kept)
    if len(campaign) < MIN_VARIANTS:
        raise InputError(
            f"a landscape of {len(campaign)} variants; expected at least {MIN_VARIANTS} to replay "
            "a campaign in it"
        )
    if np.ptp(campaign.values) == 0:
        raise InputError(
            f"all {len(campaign)} variants have the value {campaign.values[0]:g}: there is nothing "
            "to find"
        )
    return Landscape(campaign, tuple(notes))
