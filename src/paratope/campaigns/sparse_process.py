"""Sparse Gaussian process regression (FITC) on inducing points that are some of the training rows.

``Q = K_nm K_mm⁻¹ K_mn`` takes the place of the rows' covariance K, and ``diag(K - Q)`` counts as
noise of each row: the fully independent training conditional (Snelson & Ghahramani 2006;
Quiñonero-Candela & Rasmussen 2005), with expectation propagation for bounds (Naish-Guzman & Holden
2008). With every row inducing it is the exact process. n rows and m inducing ones cost n m² steps,
n m numbers while learning and m² afterwards.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from paratope.campaigns.gaussian_process import (
    JITTER,
    Observations,
    match_moments,
    plus_diagonal,
    safe_cholesky,
)
from paratope.core.errors import ModelError

# A row to which the chosen ones leave less variance than this is not worth an inducing point.
_TOLERANCE = 1e-3
# Rows whose leave-one-out variances are computed at once.
_BLOCK = 4096
# Names of arrays in model folders, where they differ.
_SAVED_AS = {
    "ep_target": "site_target",
    "ep_variance": "site_variance",
    "loo_mean": "left_out_mean",
    "loo_variance": "left_out_variance",
}


@dataclasses.dataclass(frozen=True)
class SparseProcess:
    """Posterior of a sparse Gaussian process; n training rows, m inducing ones."""

    noise: np.ndarray  # Variances
    factor: np.ndarray  # (m, m) lower Cholesky factor L of the inducing rows' covariance
    # (m, m) lower Cholesky factor of ``I + L⁻¹ K_mn D⁻¹ K_nm L⁻ᵀ``, D the rows' variances given f_m
    inner: np.ndarray
    alpha: np.ndarray  # (m,) weights of the inducing rows in the mean
    # ep_target, ep_variance: (n,) target of each row's Gaussian factor, and its variance where the
    # row is a bound
    ep_target: np.ndarray
    ep_variance: np.ndarray
    # loo_mean, loo_variance: (n,) leave-one-out predictions, noise included
    loo_mean: np.ndarray
    loo_variance: np.ndarray

    def mean(self, cross: np.ndarray) -> np.ndarray:
        """Posterior mean, (r,), from the covariance with the inducing rows, (r, m)."""
        return cross @ self.alpha

    def variance(self, cross: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Posterior variance without noise, (r,), from (r, m) and prior variances (r,)."""
        outer, half = self._halves(cross)
        explained = np.einsum("ij,ij->j", outer, outer) - np.einsum("ij,ij->j", half, half)
        return np.maximum(prior - explained, 1e-9)

    def posterior_covariance(self, cross: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Posterior covariance without noise, (r, r), from (r, m) and the prior's (r, r)."""
        outer, half = self._halves(cross)
        return prior - outer.T @ outer + half.T @ half

    def posterior_cross_covariance(
        self, a: np.ndarray, b: np.ndarray, prior: np.ndarray
    ) -> np.ndarray:
        """Posterior covariance with few others, (r, k), from (r, m), (k, m) and the prior's."""
        outer, half = self._halves(b)
        rest = outer - solve_triangular(self.inner, half, lower=True, trans=1)
        return prior - a @ solve_triangular(self.factor, rest, lower=True, trans=1)

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Each row's mean and variance (noise included) from all others, (n,) each."""
        return self.loo_mean, self.loo_variance

    def _halves(self, cross: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outer = solve_triangular(self.factor, cross.T, lower=True)
        return outer, solve_triangular(self.inner, outer, lower=True)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays; the triangles packed, without their zeros."""
        arrays = {
            _SAVED_AS.get(field.name, field.name): getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        below = np.tril_indices(len(self.alpha))
        return arrays | {name: arrays[name][below] for name in ("factor", "inner")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "SparseProcess":
        """The inverse of `to_arrays`; raises `ModelError` if they do not fit together."""
        try:
            parts = {
                field.name: arrays[_SAVED_AS.get(field.name, field.name)]
                for field in dataclasses.fields(cls)
            }
            count = len(parts["alpha"])
            for name in ("factor", "inner"):
                triangle = np.zeros((count, count))
                triangle[np.tril_indices(count)] = parts[name]
                parts[name] = triangle
        except (KeyError, ValueError) as error:
            raise ModelError(f"not a sparse process, or damaged: {error!r}") from error
        if len({len(parts[name]) for name in _SAVED_AS}) != 1:
            raise ModelError("a sparse process with rows of different numbers; it is damaged")
        return cls(**parts)


class SparseFit:
    """A sparse process with its training rows, as needed to learn and to leave rows out.

    `inducing` (m, m) is the prior covariance of the inducing rows, to whose diagonal `jitter` is
    added, `cross` (n, m) that of all rows with them, `prior` (n,) the variances of all rows. Raises
    `TrainingError` if a covariance cannot be factorised.
    """

    def __init__(
        self,
        inducing: np.ndarray,
        cross: np.ndarray,
        prior: np.ndarray,
        noise: np.ndarray,
        observed: Observations,
        jitter: float = JITTER,
    ) -> None:
        self.noise, self.observed = noise, observed
        self._rows = np.arange(len(observed))
        self._factor, _ = safe_cholesky(plus_diagonal(inducing, jitter))
        self._projected = solve_triangular(self._factor, cross.T, lower=True)  # (m, n)
        explained = np.einsum("ij,ij->j", self._projected, self._projected)
        self._unexplained = np.maximum(prior - explained, 0.0)
        self.target = observed.target.astype(float)
        self.ep_variance = np.zeros(len(observed))
        self._row_noise = noise[observed.noise_group] * observed.noise_share + JITTER
        bounds = np.flatnonzero(~observed.exact)

        def cavity(precision: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.target[bounds], self.ep_variance[bounds] = shift / precision, 1.0 / precision
            self._precision = 1.0 / self._variance_given_inducing()
            inner = self._information(self._rows)
            mean, variance = self._leave_one_out(bounds, inner, self._solve(self._rows, inner))
            return mean, np.maximum(variance - self.ep_variance[bounds] - JITTER, 1e-9)

        if len(bounds):
            limit, sign = observed.target[bounds], observed.censoring[bounds].astype(float)
            self.target[bounds], self.ep_variance[bounds] = match_moments(
                cavity, limit, sign, self._row_noise[bounds], tolerance=1e-4
            )
        self._precision = 1.0 / self._variance_given_inducing()
        self._inner = self._information(self._rows)
        self._solved = self._solve(self._rows, self._inner)

    def process(self) -> SparseProcess:
        """The posterior, without the rows."""
        loo_mean, loo_variance = self._leave_one_out(self._rows, self._inner, self._solved)
        return SparseProcess(
            noise=self.noise,
            factor=self._factor,
            inner=self._inner,
            alpha=solve_triangular(self._factor, self._solved, lower=True, trans=1),
            ep_target=self.target,
            ep_variance=self.ep_variance,
            loo_mean=loo_mean,
            loo_variance=loo_variance,
        )

    def leave_rows_out(
        self, left_out: np.ndarray, test: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) of some rows from all that are not left out."""
        keep = np.setdiff1d(self._rows, left_out)
        inner = self._information(keep)
        mean, variance = self._marginal(test, inner, self._solve(keep, inner))
        return mean, variance + 1.0 / self._precision[test]

    def _variance_given_inducing(self) -> np.ndarray:
        """Of each row's target, (n,)."""
        noise = np.where(self.observed.exact, self._row_noise, self.ep_variance + JITTER)
        return self._unexplained + noise

    def _information(self, rows: np.ndarray) -> np.ndarray:
        """Cholesky factor of the identity plus the information in rows, (m, m)."""
        part = self._projected[:, rows]
        information = (part * self._precision[rows]) @ part.T
        return safe_cholesky(plus_diagonal(information, 1.0))[0]

    def _solve(self, rows: np.ndarray, inner: np.ndarray) -> np.ndarray:
        """Posterior mean of the whitened inducing values given rows, (m,)."""
        pull = self._projected[:, rows] @ (self._precision[rows] * self.target[rows])
        return cho_solve((inner, True), pull)

    def _marginal(
        self, rows: np.ndarray, inner: np.ndarray, solved: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of rows' values as far as the inducing ones explain them."""
        mean, variance = np.zeros(len(rows)), np.zeros(len(rows))
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            part = self._projected[:, rows[block]]
            half = solve_triangular(inner, part, lower=True)
            mean[block] = solved @ part
            variance[block] = np.einsum("ij,ij->j", half, half)
        return mean, variance

    def _leave_one_out(
        self, rows: np.ndarray, inner: np.ndarray, solved: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (noise included) of each row from all others."""
        mean, variance = self._marginal(rows, inner, solved)
        precision = self._precision[rows]
        # diagonal of the inverse covariance of all rows, by Woodbury's identity
        diagonal = np.maximum(precision - precision**2 * variance, 1e-12)
        solution = precision * (self.target[rows] - mean)
        return self.target[rows] - solution / diagonal, 1.0 / diagonal


def inducing_rows(covariance: np.ndarray, start: np.ndarray, count: int) -> np.ndarray:
    """Inducing rows by greedy residual variance: a pivoted Cholesky (Fine & Scheinberg 2001).

    At most `count` with those to `start` from, in order; fewer where no other row has variance of
    its own.

    >>> twins = np.kron(np.eye(3), np.ones((2, 2)))
    >>> inducing_rows(twins, np.array([0]), 6).tolist()
    [0, 2, 4]
    """
    chosen = list(dict.fromkeys(start.tolist()))[:count]
    factor, _ = safe_cholesky(plus_diagonal(covariance[np.ix_(chosen, chosen)], JITTER))
    columns = np.zeros((max(count, len(chosen)), len(covariance)))  # of the factor
    columns[: len(chosen)] = solve_triangular(factor, covariance[chosen], lower=True)
    residual = np.diag(covariance) - np.einsum("ij,ij->j", columns, columns)
    residual[chosen] = 0.0
    for step in range(len(chosen), min(count, len(covariance))):
        pivot = int(np.argmax(residual))
        if residual[pivot] < _TOLERANCE:
            break
        column = covariance[pivot] - columns[:step, pivot] @ columns[:step]
        columns[step] = column / np.sqrt(residual[pivot])
        residual = residual - columns[step] ** 2
        chosen.append(pivot)
        residual[chosen] = 0.0
    return np.sort(np.array(chosen, int))
