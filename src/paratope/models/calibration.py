"""From a model's raw answers to a pKd with an interval that covers what it says.

A calibration is made of predictions of rows that the model did not see (`HeldOut`), apart for each
domain (`paratope.models.familiarity`) but for the line that scales the raw mean: the interval is a
split-conformal one (Papadopoulos et al. 2002; normalised by the predicted spread, Mondrian by
domain: Vovk et al. 2005), the probability of a strong binder is a logistic regression. Coverage is
marginal: a share of rows like the held-out ones, not a promise about each row.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paratope.core.errors import InputError, ModelError
from paratope.core.units import (
    PKD_MAX_MEASURABLE,
    PKD_MAX_OUTPUT,
    PKD_MIN_MEASURABLE,
    PKD_MIN_OUTPUT,
)
from paratope.models.familiarity import DOMAINS
from paratope.models.held_out import HeldOut
from paratope.models.losses import STRONG_PKD

DEFAULT_COVERAGE = 0.9
# Exact held-out rows a domain needs for a calibration of its own; below, it borrows.
MIN_ROWS = 40
# Rows of one group (antigen cluster) that may count, so that one antigen is not the calibration.
MAX_ROWS_OF_GROUP = 60
# Slopes are held to positive values: calibration never reverses a ranking.
_SLOPE_RANGE = (0.05, 1.25)
# Rows of evidence that the prior "the raw mean is right" is worth.
_PRIOR_ROWS = 10.0
# Rounds in which it settles which bounds the line goes beyond; a handful is the rule.
_MAX_ROUNDS = 100
# Width of the bells that smooth the distribution of errors of a difference, in its own SD.
_BELL = 0.25


def check_options(coverage: float, threshold_pkd: float = STRONG_PKD) -> None:
    """Raise `InputError` if a coverage or a threshold is none that can be asked for."""
    if not 0.01 <= coverage <= 0.99:
        raise InputError(f"coverage must be between 0.01 and 0.99, got {coverage}")
    if not PKD_MIN_OUTPUT <= threshold_pkd <= PKD_MAX_OUTPUT:
        raise InputError(
            f"a strong binder's threshold is a pKd from {PKD_MIN_OUTPUT:g} to {PKD_MAX_OUTPUT:g}, "
            f"such as 9 for 1 nM; got {threshold_pkd:g}"
        )


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """Calibrated answers, (n,) each: pKd, interval, probability of pKd ≥ the threshold."""

    pkd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_strong: np.ndarray


@dataclasses.dataclass(frozen=True)
class Difference:
    """ΔpKd of rows to a parent, (n,) each: value, interval, probability that it is above 0."""

    delta: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_stronger: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Stratum:
    """What is fitted for one domain."""

    intercept: float
    slope: float
    residuals: np.ndarray  # measured - calibrated
    sigmas: np.ndarray
    delta_residuals: np.ndarray
    strong: tuple[float, float, float]
    rows: int
    borrowed: bool


class Calibration:
    """Calibrated answers from raw ones.

    Parameters
    ----------
    held_out : HeldOut
        At least two rows with an exact pKd.
    rescale : bool
        Whether the raw mean is scaled towards what was measured. Without it the pKd is the
        networks' own, and only intervals and probabilities are calibrated.

    Raises
    ------
    ModelError
        With fewer rows: nothing can be said about the model's errors.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> truth = random.normal(8, 1, 500)
    >>> raw = truth + random.normal(0, 0.5, 500)
    >>> groups = np.arange(500).astype(str)
    >>> domains, assays = np.full(500, "in"), np.full(500, "assay")
    >>> held_out = HeldOut(
    ...     raw, np.full(500, 0.5), raw - 9, truth, np.zeros(500, int), domains, groups, assays
    ... )
    >>> one = np.ones(1)
    >>> answer = Calibration(held_out).apply(8 * one, 0.5 * one, -one, ["in"])
    >>> bool(0.5 < answer.high[0] - answer.low[0] < 2.5)
    True
    """

    def __init__(self, held_out: HeldOut, rescale: bool = False) -> None:
        exact = held_out.rows(held_out.censoring == 0)
        if len(exact) < 2:
            raise ModelError(
                f"a calibration needs held-out rows with an exact pKd; got {len(exact)}, "
                "expected at least 2 (40 for each domain to be good)"
            )
        self.held_out = held_out
        self.rescale = rescale
        # one line for all domains: a mutant may be of another domain than its parent, and their
        # order must stay as the networks have it
        everything = held_out.rows(_capped(held_out.group))
        self._line = _shrunken_line(everything) if rescale else (0.0, 1.0)
        self._strata = {domain: self._fit(domain) for domain in DOMAINS}
        self._regressors: dict[str, Any] = {}

    def apply(
        self,
        mean: np.ndarray,
        sd: np.ndarray,
        strong_logit: np.ndarray,
        domains: Sequence[str],
        coverage: float = DEFAULT_COVERAGE,
        threshold_pkd: float = STRONG_PKD,
    ) -> Calibrated:
        """Calibrated answers for raw ones.

        Parameters
        ----------
        mean, sd, strong_logit : np.ndarray, (n,)
        domains : sequence of str, n
        coverage : float
            Share of rows the interval is to cover, 0.01 to 0.99.
        threshold_pkd : float
            What counts as strong, 4 to 14.

        Raises
        ------
        InputError
            As `check_options`.
        """
        check_options(coverage, threshold_pkd)
        domain_of_row = np.asarray(domains)
        pkd, p_strong = np.zeros(len(mean)), np.zeros(len(mean))
        low, high = np.zeros(len(mean)), np.zeros(len(mean))
        for domain in np.unique(domain_of_row):
            rows = domain_of_row == domain
            stratum = self._strata[str(domain)]
            pkd[rows] = self._scaled(stratum, mean[rows])
            sigma = np.maximum(sd[rows], 1e-3)
            regressor = self._regressor(str(domain))
            with warnings.catch_warnings():
                # too few rows for this coverage: the interval is all that can be measured, rightly
                warnings.simplefilter("ignore", UserWarning)
                intervals = regressor.predict_int(
                    pkd[rows],
                    sigmas=sigma,
                    confidence=coverage,
                    y_min=PKD_MIN_MEASURABLE,
                    y_max=PKD_MAX_MEASURABLE,
                )
            low[rows], high[rows] = intervals[:, 0], intervals[:, 1]
            features = _strong_features(pkd[rows], sigma, strong_logit[rows], threshold_pkd)
            p_strong[rows] = _sigmoid(features @ np.asarray(stratum.strong))
        return Calibrated(pkd, np.minimum(low, pkd), np.maximum(high, pkd), p_strong)

    def difference(
        self,
        pkd: np.ndarray,
        parent_pkd: float,
        domains: Sequence[str],
        coverage: float = DEFAULT_COVERAGE,
    ) -> Difference:
        """ΔpKd to a parent, from calibrated pKd; same limits as `apply`.

        The interval comes from differences between held-out rows of one assay, so it holds for
        variants of one antibody against one antigen.
        """
        check_options(coverage)
        from scipy.special import ndtr

        delta = np.asarray(pkd, float) - parent_pkd
        half, p_stronger = np.zeros(len(delta)), np.zeros(len(delta))
        for row, domain in enumerate(domains):
            errors = self._strata[domain].delta_residuals
            rank = min(math.ceil((len(errors) + 1) * coverage), len(errors))
            half[row] = np.sort(np.abs(errors))[rank - 1]
            both = np.concatenate([errors, -errors])
            # the held-out errors, each as a small bell, so that a tiny difference counts a little
            share = np.mean(ndtr((delta[row] + both) / (_BELL * both.std() + 1e-9)))
            # never quite 0 or 1: as if one more error on each side had been seen
            p_stronger[row] = (share * len(both) + 1) / (len(both) + 2)
        return Difference(delta, delta - half, delta + half, p_stronger)

    def summary(self) -> dict[str, Any]:
        """Of each domain: rows behind it, whether they are borrowed, slope and error."""
        return {
            domain: {
                "rows": stratum.rows,
                "borrowed": stratum.borrowed,
                "slope": round(stratum.slope, 4),
                "rmse_pkd": round(float(np.sqrt(np.mean(stratum.residuals**2))), 4),
            }
            for domain, stratum in self._strata.items()
        }

    def _regressor(self, domain: str) -> Any:
        if domain not in self._regressors:
            with warnings.catch_warnings():  # crepes has its warnings always shown; undone here
                from crepes import ConformalRegressor

            stratum = self._strata[domain]
            regressor = ConformalRegressor()
            regressor.fit(stratum.residuals, sigmas=stratum.sigmas)
            self._regressors[domain] = regressor
        return self._regressors[domain]

    def _scaled(self, stratum: _Stratum, mean: np.ndarray) -> np.ndarray:
        return np.clip(stratum.intercept + stratum.slope * mean, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT)

    def _fit(self, domain: str) -> _Stratum:
        rows, borrowed = self._rows_for(domain)
        capped = rows.rows(_capped(rows.group))
        exact = capped.rows(capped.censoring == 0)
        intercept, slope = self._line
        scaled = np.clip(intercept + slope * capped.mean, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT)
        residuals = (capped.pkd - scaled)[capped.censoring == 0]
        sigmas = np.maximum(exact.sd, 1e-3)
        sd = np.maximum(capped.sd, 1e-3)
        strong = _fit_strong(_strong_features(scaled, sd, capped.strong_logit, STRONG_PKD), capped)
        deltas = _delta_residuals(capped, scaled)
        if len(deltas) < 2:  # no assay has two rows: two independent errors
            deltas = np.concatenate([residuals, -residuals]) * math.sqrt(2.0)
        return _Stratum(intercept, slope, residuals, sigmas, deltas, strong, len(exact), borrowed)

    def _rows_for(self, domain: str) -> tuple[HeldOut, bool]:
        """A domain's held-out rows; where they are few, those of less familiar ones too."""
        order = DOMAINS[DOMAINS.index(domain) :] + DOMAINS[: DOMAINS.index(domain)][::-1]
        taken: list[str] = []
        rows = self.held_out
        for number, name in enumerate(order):
            taken.append(name)
            rows = self.held_out.rows(np.isin(self.held_out.domain, taken))
            if int(np.sum(rows.censoring == 0)) >= MIN_ROWS:
                return rows, number > 0
        return rows, True

    def to_json(self) -> dict[str, Any]:
        """For the bundle's ``calibration.json``: the held-out rows and what was made of them."""
        rows = self.held_out.to_json()
        return {"summary": self.summary(), "rescale": self.rescale, "held_out": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_json`; raises `ModelError` if the rows are missing or damaged."""
        if not isinstance(data, Mapping) or "held_out" not in data:
            raise ModelError("calibration.json is not what a model bundle holds: no held_out")
        return cls(HeldOut.from_json(data["held_out"]), bool(data.get("rescale", False)))


def _capped(group: np.ndarray) -> np.ndarray:
    """Indices of at most `MAX_ROWS_OF_GROUP` rows of each group, evenly spread over its rows."""
    chosen = []
    for name in np.unique(group):
        rows = np.flatnonzero(group == name)
        count = min(len(rows), MAX_ROWS_OF_GROUP)
        chosen.append(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])
    return np.sort(np.concatenate(chosen))


def _shrunken_line(rows: HeldOut) -> tuple[float, float]:
    """Intercept and slope of measured against raw, by ridge regression towards 0 and 1.

    A bound counts where the line goes beyond it, as a value at the bound.
    """
    center = rows.mean.mean()
    tilted = rows.mean - center
    intercept, slope = 0.0, 1.0
    for _ in range(_MAX_ROUNDS):
        beyond = np.sign(intercept + slope * rows.mean - rows.pkd) == -rows.censoring
        counted = (rows.censoring == 0) | beyond
        x, error = tilted[counted], (rows.pkd - rows.mean)[counted]
        prior = _PRIOR_ROWS * np.diag([1.0, max(float(np.mean(x**2)), 1e-6)])
        design = np.column_stack([np.ones(len(x)), x])
        shift, tilt = np.linalg.solve(design.T @ design + prior, design.T @ error)
        new_slope = float(np.clip(1.0 + tilt, *_SLOPE_RANGE))
        new_intercept = float(center + shift - new_slope * center)
        if abs(new_intercept - intercept) + abs(new_slope - slope) < 1e-9:
            break
        intercept, slope = new_intercept, new_slope
    return intercept, slope


def _strong_features(
    pkd: np.ndarray, sigma: np.ndarray, logit: np.ndarray, threshold_pkd: float
) -> np.ndarray:
    """One, pKd above the threshold in units of its spread, the raw logit; (n, 3)."""
    return np.column_stack([np.ones(len(pkd)), (pkd - threshold_pkd) / sigma, logit])


def _fit_strong(features: np.ndarray, rows: HeldOut) -> tuple[float, float, float]:
    """Logistic regression (Platt 1999) with non-negative slopes and a weak Gaussian prior."""
    from scipy.optimize import minimize

    strong = rows.pkd >= STRONG_PKD
    known = (rows.censoring == 0) | ((rows.censoring < 0) & ~strong)
    known |= (rows.censoring > 0) & strong
    x, sign = features[known], np.where(strong[known], 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ weights)
        slack = _sigmoid(-margin)
        prior = np.array([0.01, 0.5, 0.5])
        value = np.logaddexp(0.0, -margin).sum() + 0.5 * np.sum(prior * weights**2)
        return float(value), -(x * (sign * slack)[:, None]).sum(axis=0) + prior * weights

    start = np.array([0.0, 0.5, 0.5])
    bounds = [(-10, 10), (0.05, 5), (0, 5)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(found[0]), float(found[1]), float(found[2])


def _delta_residuals(rows: HeldOut, scaled: np.ndarray) -> np.ndarray:
    """Errors of differences between neighbouring exact rows of one assay and group."""
    errors = []
    exact = rows.censoring == 0
    keys = np.char.add(np.char.add(rows.assay, "\n"), rows.group)
    for key in np.unique(keys[exact]):
        members = np.flatnonzero(exact & (keys == key))
        members = np.random.default_rng(len(members)).permutation(members)
        errors.append(np.diff(rows.pkd[members]) - np.diff(scaled[members]))
    return np.concatenate(errors) if errors else np.zeros(0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
