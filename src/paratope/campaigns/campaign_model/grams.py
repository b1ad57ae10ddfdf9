"""Gram matrices of a campaign: the kernel's terms, and offsets of assays and antigens."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.kernels import (
    LANGUAGE_TERMS,
    TERMS,
    WITHIN_ANTIGEN,
    WITHIN_PARENT,
    Centring,
    Features,
    Scales,
)

# Terms that tell assays and antigens apart; not shared out, as an offset may be large.
OFFSETS = ("assay", "antigen")


def wanted_terms(
    terms: Sequence[str] | None,
    language: object,
    prior: object,
    campaign: Campaign,
    features: Features,
) -> list[str]:
    """Names of the terms a campaign can have: those asked for, and its offsets.

    `features` are those of its rows, or of some of them.
    """
    names = list(TERMS) if terms is None else list(terms)
    if language is None:
        names = [name for name in names if name not in LANGUAGE_TERMS]
    if len(campaign.parents) < 2:  # what is learned of one parent is all there is
        names = [name for name in names if name not in WITHIN_PARENT]
    if not _several_antigens_for_a_parent(features):
        names = [name for name in names if name not in WITHIN_ANTIGEN]
    if prior is None:
        names = [name for name in names if name != "general_model"]
    offsets = [("assay", len(campaign.assays)), ("antigen", len(campaign.antigens))]
    return names + [name for name, count in offsets if count > 1]


def _several_antigens_for_a_parent(features: Features) -> bool:
    """Whether variants of one parent were measured against more than one antigen."""
    known = features.antigen >= 0
    pairs = np.unique(np.stack([features.parent[known], features.antigen[known]]), axis=1)
    return len(np.unique(pairs[0])) < pairs.shape[1]


def term(
    name: str, a: Features, b: Features, scales: Scales, assay: int, campaign: Campaign | None
) -> np.ndarray:
    """A term between new variants `a` of an assay and `b`: the training rows, or new ones too."""
    if name == "assay":
        if campaign is None:
            return np.ones((len(a), len(b)))
        return np.broadcast_to((campaign.assay == assay)[None], (len(a), len(b))).astype(float)
    if name == "antigen":
        return ((a.antigen[:, None] == b.antigen[None]) & (b.antigen[None] >= 0)).astype(float)
    return TERMS[name](a, b, scales)


def centred_terms(
    train: Features,
    campaign: Campaign,
    scales: Scales,
    names: Sequence[str],
    reference: np.ndarray | None = None,
) -> Iterator[tuple[str, np.ndarray, Centring]]:
    """Centred Gram matrix of each term in which training rows differ, and how to centre it.

    `reference` says which of the rows have mean 0; by default all together.
    """
    for name in names:
        if name == "assay":
            gram = (campaign.assay[:, None] == campaign.assay[None]).astype(float)
        else:
            gram = term(name, train, train, scales, 0, campaign)
        found = Centring.of(gram, reference)
        if found is not None:
            yield name, found.train(gram).astype(np.float32), found


def some(train: Features, rows: np.ndarray) -> Features:
    """Features of some of the training rows."""
    if len(rows) == len(train):
        return train
    keep = np.isin(train.row, rows)
    place = np.searchsorted(rows, train.row[keep])
    arrays = {
        name: getattr(train, name)[rows]
        for name in ("parent", "antigen", "residues", "delta", "regional", "mean", "prior")
    }
    return dataclasses.replace(train, row=place, column=train.column[keep], **arrays)


def even(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` row numbers, drawn at random."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])
