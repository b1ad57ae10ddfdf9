"""Measured pairs as arrays, and batches of them: padding, masks, buckets, each molecule once.

Many rows of a table share one antigen, so a batch holds its unique molecules and says by index
which row uses which: the network's towers then run once per molecule and only the interaction runs
once per row.
"""

from paratope.models.batches.examples import CENSORING_CODES, Chains, Examples, fit_molecule
from paratope.models.batches.pair_batch import Embeddings, PairBatch, Window, collate, pad
from paratope.models.batches.plan import BatchPlan, batches_by_length

__all__ = [
    "CENSORING_CODES",
    "BatchPlan",
    "Chains",
    "Embeddings",
    "Examples",
    "PairBatch",
    "Window",
    "batches_by_length",
    "collate",
    "fit_molecule",
    "pad",
]
