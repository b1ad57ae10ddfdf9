"""Whole groups assigned to parts so that the parts come close to their wanted sizes."""

from collections.abc import Sequence

import numpy as np

from paratope.core.errors import InputError

PART_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}
# A part this far (as a share of all rows) from its wanted size is remarked on.
_TOLERANCE = 0.02


def part_names(
    fractions: Sequence[float] | None, folds: int | None
) -> tuple[tuple[str, ...] | tuple[int, ...], np.ndarray]:
    """Names of the parts and the share of rows each is to get.

    Parameters
    ----------
    fractions : sequence of float, optional
        Two (train, test) or three (train, validation, test) positive numbers that sum to 1.
    folds : int, optional
        Number of equal folds, at least 2; their names are 0, 1, ...

    Returns
    -------
    names : tuple of str or of int
    shares : np.ndarray of float, (parts,)

    Raises
    ------
    InputError
        If both or neither are given, or they are out of range.

    Examples
    --------
    >>> part_names((0.9, 0.1), None)
    (('train', 'test'), array([0.9, 0.1]))
    """
    if (fractions is None) == (folds is None):
        raise InputError("give either fractions or folds")
    if folds is not None:
        if folds < 2:
            raise InputError(f"at least 2 folds are needed, got {folds}")
        return tuple(range(folds)), np.full(folds, 1 / folds)
    shares = np.array(fractions, float)
    if len(shares) not in PART_NAMES or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(
            "fractions are two (train, test) or three (train, validation, test) positive numbers "
            f"that sum to 1, got {tuple(map(float, shares))}"
        )
    return PART_NAMES[len(shares)], shares / shares.sum()


def assign_groups(groups: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Assign whole groups to parts: large groups first, each to the part that lacks most rows.

    Parameters
    ----------
    groups : np.ndarray of int, (rows,)
        Group of each row, 0 to groups - 1.
    shares : np.ndarray of float, (parts,)
        Wanted share of rows of each part.
    seed : int
        Orders groups of similar size.

    Returns
    -------
    np.ndarray of int, (rows,)
        Part of each row. Every part gets at least one group.

    Raises
    ------
    InputError
        If there are fewer groups than parts.

    Examples
    --------
    >>> assign_groups(np.array([0, 0, 0, 1, 2, 2]), np.array([0.5, 0.5]), seed=0).tolist()
    [1, 1, 1, 0, 0, 0]
    """
    sizes = np.bincount(groups)
    if len(sizes) < len(shares):
        raise InputError(
            f"the rows fall into {len(sizes)} group(s), too few for {len(shares)} parts; "
            "ask for fewer parts or split by something else"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-np.floor(np.log2(sizes[order])), kind="stable")]
    lacking = shares * len(groups)
    part_of_group = np.empty(len(sizes), np.int64)
    for group in order:
        part = int(np.argmax(lacking))
        part_of_group[group] = part
        lacking[part] -= sizes[group]
    for part in range(len(shares)):  # an empty one gets the smallest group that can be spared
        counts = np.bincount(part_of_group, minlength=len(shares))
        if not counts[part]:
            spare = np.flatnonzero(counts[part_of_group] > 1)
            part_of_group[spare[np.argmin(sizes[spare])]] = part
    return part_of_group[groups]


def assign_by_rank(groups: np.ndarray, rank: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Assign groups to parts by rank, lowest to the first part; groups of one rank are never cut.

    Parameters
    ----------
    groups : np.ndarray of int, (rows,)
    rank : np.ndarray of float, (rows,)
        A group stands at its highest rank.
    shares : np.ndarray of float, (parts,)

    Returns
    -------
    np.ndarray of int, (rows,)
        Part of each row; no rank of an earlier part exceeds a group's rank of a later one.

    Raises
    ------
    InputError
        If there are fewer distinct ranks than parts.

    Examples
    --------
    >>> ranks = np.array([1.0, 1.0, 2.0, 3.0])
    >>> assign_by_rank(np.arange(4), ranks, np.array([0.5, 0.25, 0.25])).tolist()
    [0, 0, 1, 2]
    """
    top = np.full(int(groups.max()) + 1, -np.inf)
    np.maximum.at(top, groups, rank)
    values, value_of, counts = np.unique(top[groups], return_inverse=True, return_counts=True)
    if len(values) < len(shares):
        raise InputError(
            f"there are {len(values)} distinct value(s) to order by, "
            f"too few for {len(shares)} parts"
        )
    reached = np.cumsum(counts)
    wanted = np.cumsum(shares)[:-1] * len(groups)
    # the cut after the value that comes nearest, leaving at least one value to every part
    cuts: list[int] = []
    for index, rows in enumerate(wanted):
        low = cuts[-1] + 1 if cuts else 0
        high = len(values) - (len(wanted) - index)
        cuts.append(low + int(np.argmin(np.abs(reached[low:high] - rows))))
    return np.searchsorted(np.array(cuts), np.arange(len(values)), side="left")[value_of]


def size_notes(
    names: Sequence[object], shares: np.ndarray, parts: np.ndarray, groups: np.ndarray
) -> list[str]:
    """Remarks on parts that could not get their wanted size because groups are not cut."""
    got = np.bincount(parts, minlength=len(shares)) / len(parts)
    if (np.abs(got - shares) <= _TOLERANCE).all():
        return []
    largest = int(np.bincount(groups).max())
    sizes = ", ".join(
        f"{name} {share:.1%} (wanted {wanted:.1%})"
        for name, share, wanted in zip(names, got, shares, strict=True)
    )
    return [
        f"groups are not cut, so the parts are {sizes}; the largest group holds {largest} of "
        f"{len(parts)} rows"
    ]
