"""How likely a variant is to be measured above a value, as the campaign's own rows bear it out.

The model's normal distribution says a probability. Near the top of a campaign it errs: values stop
at an assay's ceiling, or tail off. So every measured row is asked from all others whether it is
above a value nearby, and the log-odds are corrected to what came true (Platt 1999), as far as the
rows speak against the model.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit, ndtr

# Values nearby: shares of the measured rows that are below them.
_STEPS = (-0.1, -0.05, 0.0, 0.05)
_HIGHEST, _LOWEST = 0.95, 0.1
# Beforehand the model is right: intercept 0 and slope 1, with these standard deviations.
_INTERCEPT_SD, _SLOPE_SD = 2.0, 0.5
_FEWEST_ROWS = 8
_TINY = 1e-6


class Odds:
    """Probabilities of being measured above a value.

    Parameters
    ----------
    model : CampaignModel
    """

    def __init__(self, model: Any) -> None:
        self._noise = float(model.noise_variance)
        self._scale = model.scale
        mean, variance = model.process.leave_one_out()
        exact = np.asarray(model.campaign.censoring) == 0
        self._mean = np.asarray(mean, float)[exact]
        self._deviation = np.sqrt(np.maximum(np.asarray(variance, float)[exact], _TINY))
        self._target = np.asarray(model.process.ep_target, float)[exact]

    def above(self, mean: np.ndarray, deviation: np.ndarray, value: float) -> np.ndarray:
        """Probability of each of a new measurement above a value, (n,).

        Parameters
        ----------
        mean, deviation : np.ndarray, (n,)
            Of the noise-free values, on the model's own scale.
        value : float
            On the same scale.
        """
        spread = np.sqrt(deviation**2 + self._noise)
        intercept, slope = self._correction(value)
        return expit(intercept + slope * _log_odds(mean, spread, value))

    def above_label(self, mean: np.ndarray, deviation: np.ndarray, value: float) -> np.ndarray:
        """As `above`, for a value in the campaign's own units."""
        return self.above(mean, deviation, float(self._scale.to_latent(np.array([value]))[0]))

    def _correction(self, value: float) -> tuple[float, float]:
        """Intercept and slope for log-odds of being above a value like this one."""
        if len(self._target) < _FEWEST_ROWS:
            return 0.0, 1.0
        share = float(np.clip(np.mean(self._target <= value), _LOWEST - min(_STEPS), _HIGHEST))
        shares = np.unique(np.clip(share + np.array(_STEPS), _LOWEST, _HIGHEST))
        nearby = np.quantile(self._target, shares)
        said = np.concatenate([_log_odds(self._mean, self._deviation, one) for one in nearby])
        true = np.concatenate([self._target > one for one in nearby]).astype(float)
        # a row answers several times over: it counts once
        weight = 1.0 / len(nearby)

        def loss(found: np.ndarray) -> float:
            odds = found[0] + found[1] * said
            fit = weight * float(np.sum(np.logaddexp(0.0, odds) - true * odds))
            prior = (found[0] / _INTERCEPT_SD) ** 2 + ((found[1] - 1.0) / _SLOPE_SD) ** 2
            return fit + 0.5 * prior

        found = minimize(loss, np.array([0.0, 1.0]), bounds=[(None, None), (0.05, None)]).x
        return float(found[0]), float(found[1])


def _log_odds(mean: np.ndarray, deviation: np.ndarray, value: float) -> np.ndarray:
    """Of being above a value under a normal distribution."""
    return logit(np.clip(ndtr((mean - value) / deviation), _TINY, 1.0 - _TINY))
