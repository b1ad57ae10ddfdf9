"""Splits of measurements whose parts share nothing that would flatter a model, with the proof."""

from paratope.splits.clusters import antigen_clusters, same_molecule
from paratope.splits.kinds import Split, split_measurements

__all__ = ["Split", "antigen_clusters", "same_molecule", "split_measurements"]
