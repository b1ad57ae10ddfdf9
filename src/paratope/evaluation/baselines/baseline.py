"""What every baseline is: fitted on measurements, asked for pairs, never surprised."""

import abc
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, TrainingError
from paratope.data.measurements import Measurement
from paratope.molecules.sequences import Pair

# The censored fit stops when its mean moves less than this.
_TOLERANCE = 1e-9
_MAX_ROUNDS = 1000


class Baseline(abc.ABC):
    """A trivial model that a real one must beat.

    Bounds are not values: a censored row enters with the value expected of it, given its bound,
    under one normal distribution fitted to all rows by maximum likelihood (see `expected_values`).
    Rows without any pKd are left out; where no row has a pKd, scores take its place.

    Attributes
    ----------
    name : str
        Key in `BASELINES`.
    summary : str
        What it looks at.
    mean : float
        Mean of the training values, the answer where nothing better is known.
    rows_used : int
        Training rows that had a value.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self) -> None:
        self.mean = np.nan
        self.rows_used = 0

    def fit(self, measurements: Sequence[Measurement]) -> Self:
        """Learn from measurements.

        Parameters
        ----------
        measurements : sequence of Measurement
            At least one with a value.

        Returns
        -------
        Self

        Raises
        ------
        InputError
            If no row has a pKd or a score.
        """
        rows, values = training_values(measurements)
        self.mean = float(values.mean())
        self.rows_used = len(rows)
        self._fit([row.pair for row in rows], values)
        return self

    def predict_pkd(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Predicted pKd (or score, if fitted on scores) of pairs.

        Parameters
        ----------
        pairs : sequence of Pair

        Returns
        -------
        np.ndarray of float64, (pairs,)
            Finite for every pair.

        Raises
        ------
        TrainingError
            If not fitted.
        """
        if self.rows_used == 0:
            raise TrainingError(f"baseline {self.name!r} is not fitted; call fit first")
        if not pairs:
            return np.zeros(0)
        return np.asarray(self._predict(list(pairs)), np.float64)

    @abc.abstractmethod
    def _fit(self, pairs: list[Pair], values: np.ndarray) -> None: ...

    @abc.abstractmethod
    def _predict(self, pairs: list[Pair]) -> np.ndarray: ...


def training_values(
    measurements: Sequence[Measurement],
) -> tuple[list[Measurement], np.ndarray]:
    """Rows with a value and the value each is fitted to.

    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> pair = Pair(Antibody("EVQL"), Antigen(("MKV",)))
    >>> training_values([Measurement(pair, 8.0), Measurement(pair, None, Censoring.AT_MOST)])[1]
    array([8.])
    """
    rows = [row for row in measurements if row.pkd is not None]
    values = [row.pkd for row in rows if row.pkd is not None]
    if not rows:
        rows = [row for row in measurements if row.score is not None]
        values = [row.score for row in rows if row.score is not None]
    if not rows:
        raise InputError("a baseline needs at least one measurement with a pKd or a score")
    return rows, expected_values(np.array(values, float), [row.censoring for row in rows])


def expected_values(values: np.ndarray, censoring: Sequence[Censoring]) -> np.ndarray:
    """Values with each bound replaced by what is expected beyond it.

    A normal distribution is fitted to exact values and bounds by expectation-maximisation; a bound
    becomes the mean of that distribution beyond it. The mean of the result is the mean of maximum
    likelihood (Tobit). With fewer than two distinct exact values bounds count as values.

    Parameters
    ----------
    values : np.ndarray of float, (rows,)
    censoring : sequence of Censoring

    Returns
    -------
    np.ndarray of float, (rows,)

    Examples
    --------
    >>> bounds = [Censoring.EXACT, Censoring.EXACT, Censoring.AT_MOST]
    >>> expected_values(np.array([6.0, 8.0, 5.0]), bounds).round(2).tolist()
    [6.0, 8.0, 3.9]
    """
    sign = np.array([_DIRECTION[one] for one in censoring], float)
    bound = sign != 0
    if not bound.any() or len(np.unique(values[~bound])) < 2:
        return values.copy()
    from scipy.stats import norm

    filled = values.copy()
    mean, sd = float(values.mean()), float(values.std())
    for _ in range(_MAX_ROUNDS):
        # beyond the bound in the direction of `sign`, in units of sd
        z = sign[bound] * (values[bound] - mean) / sd
        hazard = np.exp(norm.logpdf(z) - norm.logsf(z))
        filled[bound] = mean + sign[bound] * sd * hazard
        spread = np.zeros(len(values))
        spread[bound] = sd**2 * np.clip(1 + z * hazard - hazard**2, 0, 1)
        moved = abs(filled.mean() - mean)
        mean = float(filled.mean())
        sd = float(np.sqrt(((filled - mean) ** 2 + spread).mean()))
        if moved < _TOLERANCE:
            break
    return filled


_DIRECTION = {Censoring.EXACT: 0, Censoring.AT_LEAST: 1, Censoring.AT_MOST: -1}
