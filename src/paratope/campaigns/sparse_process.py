"""A sparse Gaussian process: all rows are learned from, by way of some that stand for them.

What the rows say is taken to pass through the values of the inducing rows; what these leave open
of a row's own value counts as its own noise. That is the fully independent training conditional,
FITC (Snelson & Ghahramani 2006; Quiñonero-Candela & Rasmussen 2005), with expectation propagation
for rows that are bounds (Naish-Guzman & Holden 2008). With every row inducing it is the exact
process. n rows and m inducing ones cost n m² steps, n m numbers while learning and m² afterwards.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from paratope.campaigns.gaussian_process import DAMPING, JITTER, SWEEPS, Observations, stand_in
from paratope.core.errors import ModelError, TrainingError

# A row that the chosen ones leave less variance than this is not worth an inducing one.
_TOLERANCE = 1e-3
_FIRST_PRECISION = 1e-6
_SETTLED = 1e-4
# Rows whose left-out variances are computed at once.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class SparseProcess:
    """What a sparse process answers with; n training rows, m inducing ones.

    Attributes
    ----------
    noise : np.ndarray, (noise groups,)
        Variances.
    factor, inner : np.ndarray, (m, m)
        Lower triangles: of the inducing rows' covariance, and of what all rows add to the identity
        in its coordinates.
    alpha : np.ndarray, (m,)
        Weights of the inducing rows in the mean.
    site_target, site_variance : np.ndarray, (n,)
        Target of each row, and the variance of what stands for it if it is a bound.
    left_out_mean, left_out_variance : np.ndarray, (n,)
        Of each row from all others, noise included.
    """

    noise: np.ndarray
    factor: np.ndarray
    inner: np.ndarray
    alpha: np.ndarray
    site_target: np.ndarray
    site_variance: np.ndarray
    left_out_mean: np.ndarray
    left_out_variance: np.ndarray

    def mean(self, cross: np.ndarray) -> np.ndarray:
        """Expected value, (r,), from the covariance with the inducing rows, (r, m)."""
        return cross @ self.alpha

    def variance(self, cross: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Variance without noise, (r,), from (r, m) and prior variances (r,)."""
        outer, half = self._halves(cross)
        explained = np.einsum("ij,ij->j", outer, outer) - np.einsum("ij,ij->j", half, half)
        return np.maximum(own - explained, 1e-9)

    def joint(self, cross: np.ndarray, between: np.ndarray) -> np.ndarray:
        """Covariance without noise, (r, r), from (r, m) and the prior covariance (r, r)."""
        outer, half = self._halves(cross)
        return between - outer.T @ outer + half.T @ half

    def shared(self, a: np.ndarray, b: np.ndarray, between: np.ndarray) -> np.ndarray:
        """Covariance of some with few others, (r, k), from (r, m), (k, m) and the prior (r, k)."""
        outer, half = self._halves(b)
        rest = outer - solve_triangular(self.inner, half, lower=True, trans=1)
        return between - a @ solve_triangular(self.factor, rest, lower=True, trans=1)

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Each row's mean and variance (noise included) from all others, (n,) each."""
        return self.left_out_mean, self.left_out_variance

    def _halves(self, cross: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outer = solve_triangular(self.factor, cross.T, lower=True)
        return outer, solve_triangular(self.inner, outer, lower=True)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays; the triangles packed, without their zeros."""
        arrays = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        below = np.tril_indices(len(self.alpha))
        return arrays | {name: arrays[name][below] for name in ("factor", "inner")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "SparseProcess":
        """The inverse of `to_arrays`; raises `ModelError` if they do not fit together."""
        try:
            found = {field.name: arrays[field.name] for field in dataclasses.fields(cls)}
            count = len(found["alpha"])
            for name in ("factor", "inner"):
                triangle = np.zeros((count, count))
                triangle[np.tril_indices(count)] = found[name]
                found[name] = triangle
        except (KeyError, ValueError) as error:
            raise ModelError(f"not a sparse process, or damaged: {error!r}") from error
        lengths = {len(found[name]) for name in found if name.startswith(("site", "left"))}
        if len(lengths) != 1:
            raise ModelError("a sparse process with rows of different numbers; it is damaged")
        return cls(**found)


class SparseFit:
    """All rows seen through the inducing ones.

    Parameters
    ----------
    inducing : np.ndarray, (m, m)
        Covariance of the inducing rows.
    cross : np.ndarray, (n, m)
        Of all rows with them.
    own : np.ndarray, (n,)
        Prior variances.
    noise : np.ndarray, (noise groups,)
        Variances.
    observed : Observations
    jitter : float
        Added to the inducing rows' variances.

    Raises
    ------
    TrainingError
        If a covariance cannot be factorised.
    """

    def __init__(
        self,
        inducing: np.ndarray,
        cross: np.ndarray,
        own: np.ndarray,
        noise: np.ndarray,
        observed: Observations,
        jitter: float = JITTER,
    ) -> None:
        self.noise, self.observed = noise, observed
        self._factor = _lower(inducing + jitter * np.eye(len(inducing)))
        self._projected = solve_triangular(self._factor, cross.T, lower=True)  # (m, n)
        explained = np.einsum("ij,ij->j", self._projected, self._projected)
        self._open = np.maximum(own - explained, 0.0)
        self.target = observed.target.astype(float).copy()
        self.site_variance = np.zeros(len(observed))
        self._measured = noise[observed.noise_group] * observed.noise_share + JITTER
        if (observed.censoring != 0).any():
            self._settle_bounds()
        self._precision = 1.0 / self._spread()
        self._inner = self._information(np.arange(len(observed)))
        self._solved = self._pull(np.arange(len(observed)), self._inner)

    def process(self) -> SparseProcess:
        """What answers, without the rows."""
        mean, variance = self._left_out(np.arange(len(self.observed)), self._inner, self._solved)
        alpha = solve_triangular(self._factor, self._solved, lower=True, trans=1)
        return SparseProcess(
            self.noise, self._factor, self._inner, alpha, self.target, self.site_variance, mean,
            variance,
        )  # fmt: skip

    def without(self, left_out: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) of some rows from all that are not left out."""
        keep = np.setdiff1d(np.arange(len(self.observed)), left_out)
        inner = self._information(keep)
        mean, spread = self._marginal(test, inner, self._pull(keep, inner))
        return mean, spread + 1.0 / self._precision[test]

    def _spread(self) -> np.ndarray:
        """Of each row's target around what the inducing rows say of it, (n,)."""
        exact = self.observed.censoring == 0
        return self._open + np.where(exact, self._measured, self.site_variance + JITTER)

    def _information(self, rows: np.ndarray) -> np.ndarray:
        """Triangle of the identity plus what rows say, (m, m)."""
        part = self._projected[:, rows]
        return _lower(np.eye(len(part)) + (part * self._precision[rows]) @ part.T)

    def _pull(self, rows: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """Where rows pull the inducing ones, in their own coordinates, (m,)."""
        pull = self._projected[:, rows] @ (self._precision[rows] * self.target[rows])
        return cho_solve((inner, True), pull)

    def _marginal(
        self, rows: np.ndarray, inner: np.ndarray, solved: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of what the inducing rows say of rows."""
        mean, variance = np.zeros(len(rows)), np.zeros(len(rows))
        for start in range(0, len(rows), _BLOCK):
            part = self._projected[:, rows[start : start + _BLOCK]]
            half = solve_triangular(inner, part, lower=True)
            mean[start : start + _BLOCK] = solved @ part
            variance[start : start + _BLOCK] = np.einsum("ij,ij->j", half, half)
        return mean, variance

    def _left_out(
        self, rows: np.ndarray, inner: np.ndarray, solved: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) of each row from all others."""
        mean, variance = self._marginal(rows, inner, solved)
        precision = self._precision[rows]
        # of the inverse covariance of all rows, by Woodbury's identity
        diagonal = np.maximum(precision - precision**2 * variance, 1e-12)
        solution = precision * (self.target[rows] - mean)
        return self.target[rows] - solution / diagonal, 1.0 / diagonal

    def _settle_bounds(self) -> None:
        """Find the Gaussian stand-ins of the bounds, all at once, over and over."""
        bounds = np.flatnonzero(self.observed.censoring)
        every = np.arange(len(self.observed))
        limit, sign = self.observed.target[bounds], self.observed.censoring[bounds].astype(float)
        precision, shift = np.full(len(bounds), _FIRST_PRECISION), np.zeros(len(bounds))
        for _ in range(SWEEPS):
            self.target[bounds], self.site_variance[bounds] = shift / precision, 1.0 / precision
            self._precision = 1.0 / self._spread()
            inner = self._information(every)
            mean, variance = self._left_out(bounds, inner, self._pull(every, inner))
            cavity = np.maximum(variance - self.site_variance[bounds] - JITTER, 1e-9)
            new, moved = stand_in(mean, cavity, limit, sign, self._measured[bounds])
            change = float(np.abs(new / precision - 1.0).max())
            precision = precision + DAMPING * (new - precision)
            shift = shift + DAMPING * (moved - shift)
            if change < _SETTLED:
                break
        self.target[bounds], self.site_variance[bounds] = shift / precision, 1.0 / precision


def inducing_rows(covariance: np.ndarray, start: np.ndarray, count: int) -> np.ndarray:
    """Rows that say most of all rows: one by one the row that those before leave most open.

    A pivoted Cholesky factorisation (Fine & Scheinberg 2001), begun with rows that are given.

    Parameters
    ----------
    covariance : np.ndarray, (n, n)
    start : np.ndarray of int
        Rows that are taken in any case.
    count : int
        How many at most, with those.

    Returns
    -------
    np.ndarray of int
        Row numbers in order; fewer than `count` where no other row has anything of its own.

    Examples
    --------
    >>> twins = np.kron(np.eye(3), np.ones((2, 2)))
    >>> inducing_rows(twins, np.array([0]), 6).tolist()
    [0, 2, 4]
    """
    chosen = list(dict.fromkeys(start.tolist()))[:count]
    factor = _lower(covariance[np.ix_(chosen, chosen)] + JITTER * np.eye(len(chosen)))
    known = np.zeros((max(count, len(chosen)), len(covariance)))
    known[: len(chosen)] = solve_triangular(factor, covariance[chosen], lower=True)
    left = np.diag(covariance) - np.einsum("ij,ij->j", known, known)
    left[chosen] = 0.0
    for number in range(len(chosen), min(count, len(covariance))):
        row = int(np.argmax(left))
        if left[row] < _TOLERANCE:
            break
        own = covariance[row] - known[:number, row] @ known[:number]
        known[number] = own / np.sqrt(left[row])
        left = left - known[number] ** 2
        chosen.append(row)
        left[chosen] = 0.0
    return np.sort(np.array(chosen, int))


def _lower(total: np.ndarray) -> np.ndarray:
    for jitter in (0.0, 1e-6, 1e-4, 1e-2):
        try:
            factor, _ = cho_factor(total + jitter * np.eye(len(total)), lower=True)
        except np.linalg.LinAlgError:
            continue
        return np.tril(factor)
    raise TrainingError("the covariance of the inducing rows is not positive definite")
