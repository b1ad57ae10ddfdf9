"""Errors of rows from rows that leave their changed sites alone: what new sites will bring."""

from collections.abc import Callable

import numpy as np

_FOLDS = 5
# Fewer rows than this are not judged, and fewer are not learned from.
_MIN_JUDGED, _MIN_LEFT = 3, 5

# Rows left out, rows of these to predict -> mean and variance, noise included.
Without = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def errors_at_new_sites(
    row: np.ndarray, site: np.ndarray, exact: np.ndarray, target: np.ndarray, without: Without
) -> np.ndarray:
    """Standardised errors of exact rows, sites left out in turn.

    Parameters
    ----------
    row : np.ndarray of int, (changes,)
    site : np.ndarray of str, (changes,)
        Which row changes which site.
    exact : np.ndarray of bool, (n,)
    target : np.ndarray, (n,)
    without : callable

    Returns
    -------
    np.ndarray
        Empty if no site can be left out.
    """
    sites = np.unique(site)
    order = np.random.default_rng(0).permutation(len(sites))
    errors = []
    for fold in range(_FOLDS):
        touched = np.zeros(len(exact), bool)
        touched[row[np.isin(site, sites[order[fold::_FOLDS]])]] = True
        test = np.flatnonzero(touched & exact)
        if len(test) < _MIN_JUDGED or len(exact) - int(touched.sum()) < _MIN_LEFT:
            continue
        mean, variance = without(np.flatnonzero(touched), test)
        errors.append((target[test] - mean) / np.sqrt(variance))
    return np.concatenate(errors) if errors else np.zeros(0)
