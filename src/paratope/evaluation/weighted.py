"""Sums over rows as functions of the weights of their groups."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Groups = NDArray[np.int64]
Statistic = Callable[[Floats], Floats]


def group_sums(columns: Sequence[Floats], groups: Groups, count: int) -> Floats:
    """Per-group sums (groups, columns)."""
    return np.stack([np.bincount(groups, column, minlength=count) for column in columns], axis=1)


def mean_of(values: Floats, keep: NDArray[np.bool_], groups: Groups, count: int) -> Statistic:
    """Mean of `values` over the kept rows."""
    table = group_sums([np.where(keep, values, 0.0), keep.astype(float)], groups, count)

    def statistic(weights: Floats) -> Floats:
        total = weights @ table
        return total[:, 0] / total[:, 1]

    return statistic
