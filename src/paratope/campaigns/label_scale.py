"""Transform between a campaign's values and the near-normal latent scale of its process."""

import dataclasses
from typing import Annotated, Any

import numpy as np
from scipy.stats import norm, rankdata

from paratope.core.errors import ModelError
from paratope.core.validation import numbers, validated, within


@dataclasses.dataclass(frozen=True)
class HalfRankNormalTransform:
    """A monotone transform, piecewise linear, half way to a Gaussian copula.

    ``latent = standardise(standardise(y) + standardise(Phi⁻¹((rank(y) - 1/2) / n)))``: a floor or
    a long tail does not rule the fit, and distances still count. Beyond the measured values it is
    linear with the slope of ``standardise(y)``.
    """

    # values, latent: (knots,) increasing
    values: Annotated[np.ndarray, numbers(-1e300, 1e300)]
    latent: Annotated[np.ndarray, numbers(-1e6, 1e6)]
    # Latent units for each unit of the value, beyond the knots
    slope: Annotated[float, within(1e-300, 1e300)]

    @classmethod
    def of(cls, values: np.ndarray) -> "HalfRankNormalTransform":
        """Fitted to measured values.

        >>> scale = HalfRankNormalTransform.of(np.array([7.0, 7.5, 8.0, 9.0]))
        >>> scale.to_label(scale.to_latent(np.array([7.2, 9.4]))).round(6).tolist()
        [7.2, 9.4]
        """
        values = np.asarray(values, float)
        spread = float(values.std())
        # relative: scores may be of any size
        if len(values) < 2 or spread <= 1e-9 * np.abs(values).max():
            middle = float(values.mean()) if len(values) else 0.0
            return cls(np.array([middle]), np.array([0.0]), 1.0)
        score = norm.ppf((rankdata(values) - 0.5) / len(values))
        mixed = (values - values.mean()) / spread + (score - score.mean()) / score.std()
        mixed = (mixed - mixed.mean()) / mixed.std()
        knots, first = np.unique(values, return_index=True)
        return cls(knots, mixed[first], 1.0 / spread)

    def to_latent(self, values: np.ndarray) -> np.ndarray:
        """Latent values of measured ones."""
        return _extended(np.asarray(values, float), self.values, self.latent, self.slope)

    def to_label(self, latent: np.ndarray) -> np.ndarray:
        """Measured units of latent values."""
        return _extended(np.asarray(latent, float), self.latent, self.values, 1.0 / self.slope)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        arrays = {"values": self.values.tolist(), "latent": self.latent.tolist()}
        return {**arrays, "slope": self.slope}

    @classmethod
    def from_json(cls, data: object) -> "HalfRankNormalTransform":
        """The inverse of `to_json`; raises `ModelError` if the knots do not increase."""
        scale = validated(cls, data, "not a campaign's label scale", ModelError)
        increasing = (np.diff(scale.values) > 0).all() and (np.diff(scale.latent) > 0).all()
        if not 0 < len(scale.values) == len(scale.latent) or not increasing:
            raise ModelError("a campaign's label scale must increase; the model is damaged")
        return scale


def _extended(x: np.ndarray, knots: np.ndarray, images: np.ndarray, slope: float) -> np.ndarray:
    inner = np.interp(x, knots, images)
    below, above = np.minimum(x - knots[0], 0.0), np.maximum(x - knots[-1], 0.0)
    return inner + slope * (below + above)
