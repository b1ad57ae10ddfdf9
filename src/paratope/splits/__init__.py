"""Splits of measurements whose parts share nothing that would flatter a model, with the proof."""

from paratope.splits.antibodies import antibody_clusters
from paratope.splits.clusters import antigen_clusters, same_molecule
from paratope.splits.families import mutated_positions
from paratope.splits.groups import replicate_groups
from paratope.splits.kinds import KINDS
from paratope.splits.proof import prove
from paratope.splits.split import Split, split_measurements, tiers, write_split, write_tiers

__all__ = [
    "KINDS",
    "Split",
    "antibody_clusters",
    "antigen_clusters",
    "mutated_positions",
    "prove",
    "replicate_groups",
    "same_molecule",
    "split_measurements",
    "tiers",
    "write_split",
    "write_tiers",
]
