"""Intervals and probabilities of the general model, from errors on rows it did not see.

Split conformal (Papadopoulos et al. 2002) by stratum (Mondrian; Vovk et al. 2005): what is known of
a pair decides how wide its interval is. Errors are weighted by n(antigen cluster)^-1/2 (weighted
conformal: Tibshirani et al. 2019), so that one antigen with many rows is not the calibration.
Coverage is marginal: a share of pairs like the held-out ones.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pydantic

from paratope.core.errors import ModelError
from paratope.core.validation import validated
from paratope.models.calibration import smoothed_distribution

# Rows of an antigen's cluster from which its level is well known.
MANY_ROWS = 20
STRATA = (
    *("new antigen", "new antigen, single domain"),
    *("antigen known by few rows", "antigen known by many rows", "parent measured"),
)
DIFFERENCE = "difference to a parent"
# Rows a stratum needs; with fewer, that of new antigens speaks for it.
MIN_ROWS = 40


def stratum_of(rows_in_cluster: int, is_single_domain: bool, parent_measured: bool) -> str:
    """What is known of a pair, one of `STRATA`."""
    if parent_measured:
        return "parent measured"
    if rows_in_cluster:
        return f"antigen known by {'many' if rows_in_cluster >= MANY_ROWS else 'few'} rows"
    return "new antigen, single domain" if is_single_domain else "new antigen"


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors (measured minus predicted) of n held-out rows, their weights, what was measured."""

    error: np.ndarray
    weight: np.ndarray
    measured: np.ndarray

    def half_width(self, coverage: float) -> float:
        """Half width of the interval: the weighted quantile of absolute errors, conservative.

        The pair asked about counts as one more row of mean weight, beyond all others; infinite
        where so few rows cannot tell.
        """
        order = np.argsort(np.abs(self.error), kind="stable")
        cumulated = np.cumsum(self.weight[order])
        needed = coverage * (cumulated[-1] + self.weight.mean())
        index = int(np.searchsorted(cumulated, needed - 1e-9))
        return float(np.abs(self.error[order][index])) if index < len(order) else math.inf

    @functools.cached_property
    def _share_below(self) -> Callable[[np.ndarray], np.ndarray]:
        return smoothed_distribution(self.error, self.weight)

    def share_at_least(self, gap: np.ndarray) -> np.ndarray:
        """Probability that a value is at least `gap` above its prediction, smoothed; (n,)."""
        # never quite 0 or 1: as if one more had been seen on each side
        count = len(self.error)
        return ((1 - self._share_below(gap)) * count + 1) / (count + 2)

    def base_rate(self, threshold: float) -> float:
        """Weighted share of measured values at or above a threshold."""
        return float(np.average(self.measured >= threshold, weights=self.weight))

    @property
    def rmse(self) -> float:
        """Weighted root mean squared error."""
        return float(np.sqrt(np.average(self.error**2, weights=self.weight)))


class _Saved(pydantic.BaseModel):
    error: list[float]
    weight: list[pydantic.PositiveFloat]
    measured: list[float]


class _SavedStrata(pydantic.BaseModel):
    strata: dict[str, _Saved]


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Errors by stratum; see `STRATA` and `DIFFERENCE`."""

    strata: Mapping[str, Errors]

    def of(self, stratum: str) -> Errors:
        """Errors of a stratum, or of new antigens where it has few rows."""
        return self.strata.get(stratum, self.strata["new antigen"])

    def to_json(self) -> dict[str, Any]:
        """For ``calibration.json``; numbers to four decimals."""
        return {
            "strata": {
                name: {
                    field.name: np.round(getattr(errors, field.name), 4).tolist()
                    for field in dataclasses.fields(errors)
                }
                for name, errors in self.strata.items()
            }
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Intervals":
        """The inverse; raises `ModelError` if a stratum is missing or damaged."""
        saved = validated(_SavedStrata, data, "calibration.json", ModelError).strata
        strata = {
            name: Errors(*(np.array(getattr(rows, field)) for field in _Saved.model_fields))
            for name, rows in saved.items()
        }
        lengths = [{len(e.error), len(e.weight), len(e.measured)} for e in strata.values()]
        if any(len(sizes) != 1 or 0 in sizes for sizes in lengths):
            raise ModelError("calibration.json: a stratum without rows, or of unequal lengths")
        if missing := {"new antigen", DIFFERENCE} - set(strata):
            raise ModelError(f"calibration.json: no stratum {min(missing)!r}")
        return cls(strata)
