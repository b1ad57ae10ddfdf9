"""Splits of measurements whose parts share nothing that would flatter a model, with the proof."""

from paratope.data.splits.clusters import (
    antibody_clusters,
    antigen_clusters,
    same_molecule,
    strip_tags,
)
from paratope.data.splits.kinds import KINDS, SplitSettings, mutated_positions, replicate_groups
from paratope.data.splits.split import (
    Split,
    prove,
    split_measurements,
    tiers,
    write_split,
    write_tiers,
)

__all__ = [
    "KINDS",
    "Split",
    "SplitSettings",
    "antibody_clusters",
    "antigen_clusters",
    "mutated_positions",
    "prove",
    "replicate_groups",
    "same_molecule",
    "strip_tags",
    "split_measurements",
    "tiers",
    "write_split",
    "write_tiers",
]
