"""Lengths that make distances comparable, settled once on the training variants."""

import dataclasses

import numpy as np

from paratope.campaigns.kernels.alike import ADDITIVE, ChangeScales, Comparison, distances, squared
from paratope.campaigns.kernels.changes import GAP, ParentSites, residue_descriptors
from paratope.campaigns.kernels.features import Features, single_changes, substitution_descriptors

_TINY = 1e-9


@dataclasses.dataclass(frozen=True)
class Scales(ChangeScales):
    """Lengths that make distances comparable, settled once.

    Attributes
    ----------
    delta, mean, hamming, physics, additive, by_site : float
        Median distances between training variants; those of changes as `ChangeScales`.
    regional : tuple of float
        The same for the embedding of each region.
    """

    delta: float = 1.0
    mean: float = 1.0
    hamming: float = 1.0
    physics: float = 1.0
    additive: float = 1.0
    by_site: float = 1.0
    regional: tuple[float, ...] = ()

    @classmethod
    def of(cls, train: Features, sites: list[ParentSites]) -> "Scales":
        """Settled on the parents' sites and the training variants; no label is looked at."""
        rows = [np.stack(list(one.embedding.values())) for one in sites[:8] if one.embedding]
        tables = [np.stack(list(one.log_probability.values())) for one in sites[:8]
                  if one.log_probability]  # fmt: skip
        singles = np.concatenate([single_changes(one) for one in sites] or [np.zeros((0, 3))])
        moved = substitution_descriptors()
        scales = cls(
            site=float(np.median([_median(squared(part)) for part in rows])) if rows else 1.0,
            profile=float(np.median([_median(squared(np.exp(part))) for part in tables]))
            if tables
            else 1.0,
            substitution=_median(squared(moved)),
            likelihood_mean=tuple(singles.mean(0).tolist()) if len(singles) else (0.0,) * 3,
            likelihood_sd=tuple((singles.std(0) + _TINY).tolist()) if len(singles) else (1.0,) * 3,
        )
        changes = Comparison(train.changes, train.changes, scales)
        found = {
            "delta": _median(squared(train.delta)),
            "mean": _median(squared(train.mean)),
            "hamming": _median(differing(train, train)),
            "physics": _median(squared(physics(train))),
            "additive": _median(_distance(train, changes, "same_site_substitution")),
            "by_site": _median(_distance(train, changes, "site_context_substitution")),
        }
        regional = tuple(_median(squared(part)) for part in np.moveaxis(train.regional, 1, 0))
        return dataclasses.replace(scales, **found, regional=regional)


def physics(one: Features) -> np.ndarray:
    """Sum of the physico-chemical changes of each variant, (n, descriptors)."""
    table = residue_descriptors()
    return one.totals(table[one.changes.after] - table[one.changes.before])


def differing(a: Features, b: Features) -> np.ndarray:
    """Antibody sites with another residue, and antigen changes that are not shared, (na, nb).

    At sites where all of `b` have one residue, each of `a` is like all of them or like none; the
    others are counted residue by residue.
    """
    same = np.zeros((len(a), len(b)))
    if not same.size:
        return same
    first = b.residues[0]
    varied = (b.residues != first).any(0)
    same += (a.residues[:, ~varied] == first[~varied]).sum(1)[:, None]
    left, right = a.residues[:, varied], b.residues[:, varied]
    for letter in range(GAP + 1):
        ours, theirs = (left == letter), (right == letter)
        used = np.flatnonzero(ours.any(0) & theirs.any(0))
        if len(used):
            same += ours[:, used].astype(np.float32) @ theirs[:, used].T.astype(np.float32)
    return a.residues.shape[1] - same + _antigen_distance(a, b)


def _antigen_distance(a: Features, b: Features) -> np.ndarray | float:
    of_antigen = [np.char.startswith(one.changes.key, "A") if len(one.changes.key) else
                  np.zeros(0, bool) for one in (a, b)]  # fmt: skip
    if not any(one.any() for one in of_antigen):
        return 0.0
    parts = [
        one.incidence() * chosen.astype(float)[None]
        for one, chosen in zip((a, b), of_antigen, strict=True)
    ]
    keys = [np.char.add(one.changes.key, one.changes.after.astype(np.str_)) for one in (a, b)]
    shared = parts[0] @ (keys[0][:, None] == keys[1][None]).astype(float) @ parts[1].T
    return parts[0].sum(1)[:, None] + parts[1].sum(1)[None] - 2 * shared


def _median(distance: np.ndarray) -> float:
    positive = distance[distance > _TINY * max(float(distance.max(initial=0.0)), _TINY)]
    return float(np.median(positive)) if positive.size else 1.0


def _distance(train: Features, changes: Comparison, name: str) -> np.ndarray:
    between = ADDITIVE[name](changes)
    inner = train.summed(between, train)
    own = np.diag(inner)
    return distances(inner, own, own)
