"""Calibration: from a model's raw scores to a pKd with an interval that covers what it says.

A calibration is made of predictions of rows the model was not trained on (`CalibrationRows`),
separately for each applicability domain; only the line that rescales the raw mean is shared. The
interval is split conformal (Papadopoulos et al. 2002), normalised by the predicted standard
deviation and Mondrian by domain (Vovk et al. 2005); the probability of a strong binder is a
logistic regression (Platt 1999). Coverage is marginal: a share of rows like the held-out ones, not
a promise about each row. Less familiar pairs are counted from the base rate of more familiar ones:
what is not known about a pair never speaks for a strong binder.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pydantic

from paratope.core.errors import InputError, ModelError
from paratope.core.units import (
    PKD_MAX_MEASURABLE,
    PKD_MAX_OUTPUT,
    PKD_MIN_MEASURABLE,
    PKD_MIN_OUTPUT,
    STRONG_PKD,
)
from paratope.core.validation import Texts, numbers, validated
from paratope.models.applicability_domain import DOMAINS
from paratope.models.model import DEFAULT_COVERAGE, Calibrated, PredictedDifference, Scored

# Exact held-out rows a domain needs for a calibration of its own; below, it borrows.
MIN_ROWS = 40
# Rows of one group (antigen cluster) that may count, so that one antigen is not the calibration.
MAX_ROWS_OF_GROUP = 60
# Slopes are held to positive values: calibration never reverses a ranking.
_SLOPE_RANGE = (0.05, 1.25)
# Rows of evidence that the prior "the raw mean is right" is worth.
_PRIOR_ROWS = 10.0
# Rounds until it settles which bounds the line goes beyond; a handful is the rule.
_MAX_ROUNDS = 100
# Bandwidth that smooths the distribution of errors of a difference, in its own standard deviation.
_BANDWIDTH = 0.25
_MIN_SD = 1e-3


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
class CalibrationRows:
    """Raw scores of rows the model was not trained on, and what was measured; n rows."""

    # mean, sd, strong_logit: (n,) as `Scored`
    mean: Annotated[np.ndarray, numbers(-1e6, 1e6)]
    sd: Annotated[np.ndarray, numbers(0, 1e6)]
    strong_logit: Annotated[np.ndarray, numbers(-1e6, 1e6)]
    pkd: Annotated[np.ndarray, numbers(-100, 100)]  # (n,) measured
    # (n,) as `paratope.core.censoring.Censoring`
    censoring: Annotated[np.ndarray, numbers(-1, 1, whole=True)]
    # domain, group, assay: (n,) domain with respect to what the scoring model was trained on,
    # antigen cluster, assay
    domain: Texts
    group: Texts
    assay: Texts

    def __post_init__(self) -> None:
        if len({len(getattr(self, field.name)) for field in dataclasses.fields(self)}) != 1:
            raise ValueError("columns of different lengths")
        if unknown := set(np.unique(self.domain)) - set(DOMAINS):
            raise ValueError(f"domain should be one of {', '.join(DOMAINS)}, got {min(unknown)!r}")

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def scored(self) -> Scored:
        """The raw scores."""
        return Scored(self.mean, self.sd, self.strong_logit)

    def rows(self, chosen: np.ndarray) -> "CalibrationRows":
        """Some of the rows, by mask or index."""
        return CalibrationRows(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: Sequence["CalibrationRows"]) -> "CalibrationRows":
        """All rows of several."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def to_json(self) -> dict[str, list[Any]]:
        """Columns as lists; numbers to five decimals."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: (np.round(values, 5) if values.dtype.kind == "f" else values).tolist()
            for name, values in columns.items()
        }


class _Saved(pydantic.BaseModel):
    held_out: CalibrationRows
    rescale: bool = False


@dataclasses.dataclass(frozen=True)
class _Stratum:
    """Calibration of one domain."""

    residuals: np.ndarray  # measured - calibrated
    sigmas: np.ndarray
    delta_residuals: np.ndarray
    strong: np.ndarray
    rows: CalibrationRows
    borrowed: bool
    familiar: bool  # its rows are of more familiar domains: they say nothing of errors in this one

    def base_rate(self, threshold_pkd: float) -> float:
        """Share of strong binders, as if one more and one fewer had been seen: not quite 0 or 1."""
        strong, known = _strong_binders(self.rows, threshold_pkd)
        return float((strong[known].sum() + 1) / (known.sum() + 2))

    def p_strong(
        self, pkd: np.ndarray, sigma: np.ndarray, logit: np.ndarray, threshold_pkd: float
    ) -> np.ndarray:
        """Probability of a pKd of at least the threshold, (n,).

        Below the threshold a wider interval raises it to the base rate at most.
        """
        from scipy.special import expit

        narrowest = self.sigmas.min()
        given, narrow = (
            expit(_strong_features(pkd, sigmas, logit, threshold_pkd) @ self.strong)
            for sigmas in (np.maximum(sigma, narrowest), narrowest)
        )
        base = self.base_rate(threshold_pkd)
        if self.familiar:
            return np.minimum(given, base)
        return np.where(pkd < threshold_pkd, np.minimum(given, np.maximum(narrow, base)), given)

    def quantile(self, coverage: float) -> float:
        """Half width of the conformal interval in predicted standard deviations.

        With the n held-out ratios |residual| / sigma in falling order it is number
        floor((1 - coverage) (n + 1)) of them; infinite where so few rows cannot tell.
        """
        if self.familiar:
            return math.inf
        ratios = np.sort(np.abs(self.residuals) / self.sigmas)[::-1]
        index = int((1 - coverage) * (len(ratios) + 1)) - 1
        return float(ratios[index]) if index >= 0 else math.inf

    def delta_quantile(self, coverage: float) -> float:
        """Half width of the interval of a difference; the largest error where rows are few."""
        errors = np.sort(np.abs(self.delta_residuals))
        return float(errors[min(math.ceil((len(errors) + 1) * coverage), len(errors)) - 1])

    @functools.cached_property
    def share_below(self) -> Callable[[np.ndarray], np.ndarray]:
        """Distribution function of the symmetrised errors of a difference, smoothed."""
        return smoothed_distribution(np.concatenate([self.delta_residuals, -self.delta_residuals]))


def smoothed_distribution(
    errors: np.ndarray, weights: np.ndarray | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Distribution function of errors, smoothed so that a tiny difference counts a little.

    F(x) = mean over errors e, weighted, of Φ((x - e) / h), h = `_BANDWIDTH` standard deviations. It
    is a sum over all errors, so it is worked out on a grid; the Hermite spline between, from values
    and slopes, is exact to about 1e-8.
    """
    from scipy.interpolate import CubicHermiteSpline
    from scipy.special import ndtr

    width = _BANDWIDTH * errors.std() + 1e-9
    reach = np.abs(errors).max() + 8 * width
    grid = np.linspace(-reach, reach, 2 * math.ceil(16 * reach / width) + 1)
    values, slopes = np.empty(len(grid)), np.empty(len(grid))
    weights = np.ones(len(errors)) if weights is None else weights
    shares = weights / weights.sum()
    for index, point in enumerate(grid):
        z = (point - errors) / width
        values[index] = ndtr(z) @ shares
        slopes[index] = np.exp(-0.5 * z * z) @ shares
    slopes /= math.sqrt(2 * math.pi) * width
    spline = CubicHermiteSpline(grid, values, slopes)
    return lambda x: spline(np.clip(x, -reach, reach))


class Calibration:
    """Calibrated predictions from raw scores.

    With `rescale` the raw mean is scaled towards what was measured; without it the pKd is the
    networks' own, and only intervals and probabilities are calibrated. Raises `ModelError` with
    fewer than two held-out rows of an exact pKd: nothing can be said about the model's errors.
    """

    def __init__(self, held_out: CalibrationRows, rescale: bool = False) -> None:
        exact = int(np.sum(held_out.censoring == 0))
        if exact < 2:
            raise ModelError(
                f"a calibration needs held-out rows with an exact pKd; got {exact}, "
                "expected at least 2 (40 for each domain to be good)"
            )
        self.held_out = held_out
        self.rescale = rescale
        # one line for all domains: a mutant may be of another domain than its parent, and their
        # order must stay as the networks have it
        capped = held_out.rows(_capped(held_out.group))
        self._intercept, self._slope = _shrunken_line(capped) if rescale else (0.0, 1.0)
        self._strata: dict[str, _Stratum] = {}

    def apply(
        self,
        scored: Scored,
        domains: Sequence[str],
        coverage: float = DEFAULT_COVERAGE,
        threshold_pkd: float = STRONG_PKD,
    ) -> Calibrated:
        """Calibrated predictions of n rows, whose domains are given; raises as `check_options`.

        `coverage` is the share of rows the interval is to cover, `threshold_pkd` what is strong.
        """
        check_options(coverage, threshold_pkd)
        domain_of_row = np.asarray(domains)
        pkd = self._rescaled(scored.mean)
        sigma = np.maximum(scored.sd, _MIN_SD)
        half, p_strong = np.zeros(len(pkd)), np.zeros(len(pkd))
        for domain in np.unique(domain_of_row):
            rows = domain_of_row == domain
            stratum = self._stratum(str(domain))
            half[rows] = stratum.quantile(coverage) * sigma[rows]
            chosen = pkd[rows], sigma[rows], scored.strong_logit[rows]
            p_strong[rows] = stratum.p_strong(*chosen, threshold_pkd)
        low, high = np.clip([pkd - half, pkd + half], PKD_MIN_MEASURABLE, PKD_MAX_MEASURABLE)
        return Calibrated(pkd, np.minimum(low, pkd), np.maximum(high, pkd), p_strong)

    def difference(
        self,
        pkd: np.ndarray,
        parent_pkd: float,
        domains: Sequence[str],
        coverage: float = DEFAULT_COVERAGE,
    ) -> PredictedDifference:
        """ΔpKd to a parent, from calibrated pKd; same limits as `apply`.

        The interval comes from differences between held-out rows of one assay, so it holds for
        variants of one antibody against one antigen.
        """
        check_options(coverage)
        delta = np.asarray(pkd, float) - parent_pkd
        domain_of_row = np.asarray(domains)
        half, p_stronger = np.zeros(len(delta)), np.zeros(len(delta))
        for domain in np.unique(domain_of_row):
            rows = domain_of_row == domain
            stratum = self._stratum(str(domain))
            half[rows] = stratum.delta_quantile(coverage)
            # never quite 0 or 1: as if one more error on each side had been seen
            count = 2 * len(stratum.delta_residuals)
            p_stronger[rows] = (stratum.share_below(delta[rows]) * count + 1) / (count + 2)
        return PredictedDifference(delta, delta - half, delta + half, p_stronger)

    def summary(self) -> dict[str, Any]:
        """Rows behind each domain, whether they are borrowed, slope and error."""
        return {
            domain: {
                "rows": len(stratum.residuals),
                "borrowed": stratum.borrowed,
                "slope": round(self._slope, 4),
                "rmse_pkd": round(float(np.sqrt(np.mean(stratum.residuals**2))), 4),
            }
            for domain in DOMAINS
            for stratum in [self._stratum(domain)]
        }

    def unknown_domains(self) -> list[str]:
        """Domains of which no row was held out, nor of a less familiar one."""
        return [domain for domain in DOMAINS if self._stratum(domain).familiar]

    def to_json(self) -> dict[str, Any]:
        """For the bundle's ``calibration.json``: the held-out rows and what was made of them."""
        rows = self.held_out.to_json()
        return {"summary": self.summary(), "rescale": self.rescale, "held_out": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """The inverse of `to_json`; raises `ModelError` if the rows are missing or damaged."""
        saved = validated(_Saved, data, "calibration.json", ModelError)
        return cls(saved.held_out, saved.rescale)

    def _rescaled(self, mean: np.ndarray) -> np.ndarray:
        return np.clip(self._intercept + self._slope * mean, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT)

    def _stratum(self, domain: str) -> _Stratum:
        """A domain's rows; where they are few, those of less familiar domains too.

        Where there is none of these, the rows of more familiar ones, and intervals without end.
        """
        from scipy.special import logit

        if domain in self._strata:
            return self._strata[domain]
        level = DOMAINS.index(domain)
        for taken in range(level + 1, len(DOMAINS) + 1):
            rows = self.held_out.rows(np.isin(self.held_out.domain, DOMAINS[level:taken]))
            exact = int(np.sum(rows.censoring == 0))
            if exact >= MIN_ROWS:
                break
        familiar = exact < 2
        borrowed = familiar or exact < MIN_ROWS or taken > level + 1
        rows = self.held_out if familiar else rows
        rows = rows.rows(_capped(rows.group))
        exact = rows.censoring == 0
        pkd, sigma = self._rescaled(rows.mean), np.maximum(rows.sd, _MIN_SD)
        residuals = (rows.pkd - pkd)[exact]
        strong = _fit_strong(_strong_features(pkd, sigma, rows.strong_logit, STRONG_PKD), rows)
        # errors of differences between neighbouring rows of one assay and group
        deltas = np.zeros(0)
        keys = np.char.add(np.char.add(rows.assay, "\n"), rows.group)
        for key in np.unique(keys[exact]):
            members = np.flatnonzero(exact & (keys == key))
            members = np.random.default_rng(len(members)).permutation(members)
            errors = np.diff(rows.pkd[members]) - np.diff(pkd[members])
            deltas = np.concatenate([deltas, errors])
        if len(deltas) < 2:  # no assay has two rows: two independent errors
            deltas = np.concatenate([residuals, -residuals]) * math.sqrt(2.0)
        fitted = _Stratum(residuals, sigma[exact], deltas, strong, rows, borrowed, familiar)
        rates = [self._stratum(name).base_rate(STRONG_PKD) for name in DOMAINS[:level]]
        base = fitted.base_rate(STRONG_PKD)
        strong[0] += logit(min(base, *rates)) - logit(base) if rates else 0.0
        self._strata[domain] = fitted
        return fitted


def _capped(group: np.ndarray) -> np.ndarray:
    """Indices of at most `MAX_ROWS_OF_GROUP` rows of each group, evenly spread over its rows."""
    chosen = []
    for name in np.unique(group):
        rows = np.flatnonzero(group == name)
        count = min(len(rows), MAX_ROWS_OF_GROUP)
        chosen.append(rows[np.linspace(0, len(rows) - 1, count).round().astype(int)])
    return np.sort(np.concatenate(chosen))


def _shrunken_line(rows: CalibrationRows) -> tuple[float, float]:
    """Intercept and slope of measured against raw, by ridge regression towards 0 and 1.

    A bound counts where the line goes beyond it, as a value at the bound.
    """
    center = rows.mean.mean()
    intercept, slope = 0.0, 1.0
    for _ in range(_MAX_ROUNDS):
        beyond = np.sign(intercept + slope * rows.mean - rows.pkd) == -rows.censoring
        counted = (rows.censoring == 0) | beyond
        x, error = rows.mean[counted] - center, (rows.pkd - rows.mean)[counted]
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
    pkd: np.ndarray, sigma: Any, logit: np.ndarray, threshold_pkd: float
) -> np.ndarray:
    """One, pKd above the threshold in standard deviations, the raw logit; (n, 3)."""
    return np.column_stack([np.ones(len(pkd)), (pkd - threshold_pkd) / sigma, logit])


def _strong_binders(rows: CalibrationRows, threshold_pkd: float) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are measured at or above a threshold, and of which that is known; (n,) each."""
    strong = rows.pkd >= threshold_pkd
    return strong, np.where(strong, rows.censoring >= 0, rows.censoring <= 0)


def _fit_strong(features: np.ndarray, rows: CalibrationRows) -> np.ndarray:
    """Logistic regression (Platt 1999) with non-negative slopes and a weak Gaussian prior, (3,)."""
    from scipy.optimize import minimize
    from scipy.special import expit

    strong, known = _strong_binders(rows, STRONG_PKD)
    x, sign = features[known], np.where(strong[known], 1.0, -1.0)
    prior = np.array([0.01, 0.5, 0.5])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ weights)
        value = np.logaddexp(0.0, -margin).sum() + 0.5 * np.sum(prior * weights**2)
        return float(value), -(sign * expit(-margin)) @ x + prior * weights

    start = np.array([0.0, 0.5, 0.5])
    bounds = [(-10, 10), (0.05, 5), (0, 5)]
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
