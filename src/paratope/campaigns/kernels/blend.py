"""Terms added up, each with its share: what they have in common is computed once."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from paratope.campaigns.kernels.alike import ChangeKernel, Comparison, lengths
from paratope.campaigns.kernels.features import Features
from paratope.campaigns.kernels.scales import Scales
from paratope.campaigns.kernels.terms import TERMS, Additive, Linear, Rows, Saturating, Smooth

# Of fewer rows on either side, inner products are exact: they are what differences are made of.
_FEW = 8


class Compared(NamedTuple):
    """Variants as a `Blend` compares them.

    Attributes
    ----------
    features : Features
    rows : dict
        Rows of numbers that terms compare, and their squared lengths.
    totals : dict
        Squared lengths of the variants as sums of their changes, by how changes are compared.
    """

    features: Features
    rows: dict[Rows, tuple[np.ndarray, np.ndarray]]
    totals: dict[ChangeKernel, np.ndarray]


class Blend:
    """A weighted sum of terms.

    Additive terms are summed over pairs of changes before they are summed over variants; terms of
    the same rows share their inner products.

    Parameters
    ----------
    shares : mapping of str to float
        Weights of terms of `TERMS`.
    scales : Scales

    Examples
    --------
    ``blend.between(blend.read(a), blend.read(b))`` is the sum of ``share * TERMS[name](a, b,
    scales)``.
    """

    def __init__(self, shares: Mapping[str, float], scales: Scales) -> None:
        self.shares, self.scales = dict(shares), scales
        terms = [(TERMS[name], share) for name, share in self.shares.items()]
        self._additive = [(one.kernel, share) for one, share in terms if isinstance(one, Additive)]
        self._saturating = [(one, share) for one, share in terms if isinstance(one, Saturating)]
        self._by_rows = [(one, share) for one, share in terms if isinstance(one, Linear | Smooth)]
        known = (Additive, Saturating, Linear, Smooth)
        self._others = [(one, share) for one, share in terms if not isinstance(one, known)]

    def read(self, features: Features) -> Compared:
        """What of variants is compared."""
        rows = {}
        for one, _ in self._by_rows:
            if one.rows not in rows:
                found = one.rows(features)
                rows[one.rows] = found, lengths(found)
        totals = {}
        if self._saturating:
            changes = Comparison(features.changes, features.changes, self.scales)
            for one, _ in self._saturating:
                totals[one.kernel] = features.summed_own(one.kernel(changes))
        return Compared(features, rows, totals)

    def between(self, a: Compared, b: Compared) -> np.ndarray:
        """The sum of the terms of each of `a` with each of `b`, (na, nb)."""
        changes = Comparison(a.features.changes, b.features.changes, self.scales)
        total = np.zeros((len(a.features), len(b.features)))
        if self._additive:
            total += a.features.summed(self._of_changes(changes), b.features)
        for one, share in self._saturating:
            inner = a.features.summed(one.kernel(changes), b.features)
            own = a.totals[one.kernel], b.totals[one.kernel]
            total += share * one.of(inner, *own, self.scales)
        inner_of: dict[Rows, np.ndarray] = {}
        for one, share in self._by_rows:
            (left, left_length), (right, right_length) = a.rows[one.rows], b.rows[one.rows]
            if one.rows not in inner_of:
                inner_of[one.rows] = _inner(left, right)
            inner = inner_of[one.rows]
            if isinstance(one, Smooth):
                inner = one.of(inner, left_length, right_length, self.scales)
            total += share * inner
        for one, share in self._others:
            total += share * one(a.features, b.features, self.scales)
        return total

    def own(self, a: Compared) -> np.ndarray:
        """The sum of the terms of each with itself, (na,)."""
        total = np.zeros(len(a.features))
        if self._additive:
            changes = Comparison(a.features.changes, a.features.changes, self.scales)
            total += a.features.summed_own(self._of_changes(changes))
        for one, share in self._by_rows:
            total += share * (a.rows[one.rows][1] if isinstance(one, Linear) else 1.0)
        for one, share in (*self._saturating, *self._others):
            total += share * one.own(a.features, self.scales)
        return total

    def _of_changes(self, changes: Comparison) -> np.ndarray:
        found = np.zeros((len(changes.a.key), len(changes.b.key)))
        for kernel, share in self._additive:
            found += share * kernel(changes)
        return found


def _inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    if min(len(left), len(right)) < _FEW:
        return left.astype(float) @ right.astype(float).T
    return np.asarray(left @ right.T, float)
