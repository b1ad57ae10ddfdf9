"""What metrics judge: measured and predicted values, censoring, intervals."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError

Floats = NDArray[np.float64]
_CODE = {Censoring.AT_MOST: -1, Censoring.EXACT: 0, Censoring.AT_LEAST: 1}


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """Measured and predicted values of n rows, and what the predictions say of themselves.

    Attributes
    ----------
    measured : array (n,)
        pKd, or the bound where the row is censored.
    predicted : array (n,)
        pKd.
    censoring : int8 array (n,)
        0 exact, -1 the true value is at most `measured`, 1 it is at least `measured`.
    low, high : array (n,) or None
        Ends of the prediction interval.
    coverage : array (n,) or None
        Share of true values the interval claims to contain, 0 to 1.
    p_strong : array (n,) or None
        Predicted probability of pKd >= 9.
    """

    measured: Floats
    predicted: Floats
    censoring: NDArray[np.int8]
    low: Floats | None = None
    high: Floats | None = None
    coverage: Floats | None = None
    p_strong: Floats | None = None

    def __len__(self) -> int:
        return len(self.measured)

    @property
    def has_intervals(self) -> bool:
        """Whether the predictions come with intervals."""
        return self.low is not None and self.high is not None and self.coverage is not None

    def take(self, index: Any) -> "Judged":
        """The rows of a boolean mask or an index array."""
        chosen: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            chosen[field.name] = None if value is None else value[index]
        return Judged(**chosen)

    def exact(self) -> "Judged":
        """The rows that are not censored."""
        return self if not self.censoring.any() else self.take(self.censoring == 0)


def judged(
    measured: ArrayLike,
    predicted: ArrayLike,
    *,
    censoring: ArrayLike | Sequence[Censoring] | None = None,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    coverage: ArrayLike | float | None = None,
    p_strong: ArrayLike | None = None,
) -> Judged:
    """Checked `Judged` of plain arrays.

    Parameters
    ----------
    measured, predicted : array_like (n,)
        pKd, finite.
    censoring : sequence of Censoring, or of -1 / 0 / 1, optional
        All exact by default.
    low, high, p_strong : array_like (n,), optional
    coverage : float or array_like (n,), optional
        What the intervals claim; 0.9 by default where there are intervals.

    Raises
    ------
    InputError
        If lengths differ or values are not finite.

    Examples
    --------
    >>> len(judged([7.0, 8.0], [7.5, 7.9]))
    2
    """
    names = ("measured", "predicted", "low", "high", "p_strong")
    given = dict(zip(names, (measured, predicted, low, high, p_strong), strict=True))
    arrays = {
        name: np.asarray(value, dtype=np.float64)
        for name, value in given.items()
        if value is not None
    }
    count = len(arrays["measured"])
    if any(array.shape != (count,) for array in arrays.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(f"metrics need one value per row in every array, got {shapes}")
    if not all(np.isfinite(arrays[name]).all() for name in ("measured", "predicted")):
        raise InputError("metrics need finite values; leave out rows without one first")
    if censoring is None:
        codes = np.zeros(count, np.int8)
    else:
        listed = [_CODE[c] if isinstance(c, Censoring) else int(c) for c in np.ravel(censoring)]  # type: ignore[arg-type]
        codes = np.asarray(listed, dtype=np.int8)
    if codes.shape != (count,):
        raise InputError(f"censoring has {len(codes)} entries for {count} rows")
    stated = None
    if low is not None and high is not None:
        stated = np.broadcast_to(
            np.asarray(0.9 if coverage is None else coverage, dtype=np.float64), (count,)
        )
    return Judged(
        arrays["measured"],
        arrays["predicted"],
        codes,
        arrays.get("low"),
        arrays.get("high"),
        stated,
        arrays.get("p_strong"),
    )


def errors(rows: Judged) -> Floats:
    """Predicted minus measured, 0 where a bound is met.

    >>> errors(judged([5.0, 5.0, 7.0], [4.2, 6.0, 6.5], censoring=[-1, -1, 0]))
    array([ 0. ,  1. , -0.5])
    """
    error = rows.predicted - rows.measured
    error = np.where((rows.censoring < 0) & (error < 0), 0.0, error)
    return np.where((rows.censoring > 0) & (error > 0), 0.0, error)


def known_at_least(rows: Judged, threshold: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each true value reaches a threshold, and whether that is known.

    Returns
    -------
    positive : bool array (n,)
    known : bool array (n,)
        False where a bound leaves it open: "at most 10" may or may not reach 9.
    """
    positive = rows.measured >= threshold
    known = np.where(rows.censoring < 0, ~positive, True) & np.where(
        rows.censoring > 0, positive, True
    )
    return positive, known.astype(bool)


def finite(value: Any) -> float:
    """The number, or NaN for an infinite one."""
    number = float(value)
    return number if math.isfinite(number) else math.nan
