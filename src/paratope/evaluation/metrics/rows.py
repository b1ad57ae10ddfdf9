"""What every metric takes: rows of measured and predicted values, and weights of the rows."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, init=False)
class EvaluationRows:
    """Measured and predicted values of n rows, and the uncertainty that the predictions claim."""

    measured: Floats  # (n,) pKd, or the bound where the row is censored; finite
    predicted: Floats  # (n,) pKd, finite
    censoring: NDArray[np.int8]  # (n,) `Censoring` of each row; all exact by default
    low: Floats | None  # (n,) lower end of the prediction interval
    high: Floats | None  # (n,) its upper end
    coverage: Floats | None  # (n,) share of true values it claims to contain; 0.9 by default
    p_strong: Floats | None  # (n,) predicted probability of pKd >= 9

    def __init__(
        self,
        measured: ArrayLike,
        predicted: ArrayLike,
        censoring: ArrayLike | None = None,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        coverage: ArrayLike | None = None,
        p_strong: ArrayLike | None = None,
    ) -> None:
        values: dict[str, Any] = {"measured": measured, "predicted": predicted}
        values |= {"low": low, "high": high, "p_strong": p_strong}
        for name, value in values.items():
            values[name] = None if value is None else np.asarray(value, dtype=np.float64)
        count = len(values["measured"])
        if any(array is not None and array.shape != (count,) for array in values.values()):
            shapes = ", ".join(f"{k} {v.shape}" for k, v in values.items() if v is not None)
            raise InputError(f"metrics need one value per row in every array, got {shapes}")
        if not all(np.isfinite(values[name]).all() for name in ("measured", "predicted")):
            raise InputError("metrics need finite values; leave out rows without one first")
        codes = np.zeros(count) if censoring is None else np.ravel(np.asarray(censoring))
        if codes.shape != (count,):
            raise InputError(f"censoring has {len(codes)} entries for {count} rows")
        values["censoring"] = codes.astype(np.int8)
        values["coverage"] = None
        if low is not None and high is not None:
            claimed = np.asarray(0.9 if coverage is None else coverage, dtype=np.float64)
            values["coverage"] = np.broadcast_to(claimed, (count,))
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.measured)

    @property
    def has_intervals(self) -> bool:
        """Whether the predictions come with intervals."""
        return self.coverage is not None

    def take(self, index: Any) -> "EvaluationRows":
        """The rows of a boolean mask or an index array."""
        arrays: dict[str, Any] = {
            field.name: None if (array := getattr(self, field.name)) is None else array[index]
            for field in dataclasses.fields(self)
        }
        return EvaluationRows(**arrays)

    def exact(self) -> "EvaluationRows":
        """The rows that are not censored."""
        exact = self.censoring == Censoring.EXACT
        return self if exact.all() else self.take(exact)


@dataclasses.dataclass(frozen=True, slots=True)
class RowWeights:
    """How often each of n rows counts in each of several draws; rows of a group count alike."""

    groups: NDArray[np.int64]  # (n,) group of each row, from 0
    drawn: Floats  # (draws, groups) how often each group is drawn

    @classmethod
    def once(cls, rows: int) -> "RowWeights":
        """A single draw in which every row counts once."""
        return cls(np.zeros(rows, np.int64), np.ones((1, 1)))

    def take(self, index: Any) -> "RowWeights":
        """Weights of the rows of a boolean mask or an index array."""
        return RowWeights(self.groups[index], self.drawn)

    def undefined(self) -> Floats:
        """NaN for every draw."""
        return np.full(len(self.drawn), np.nan)

    def sums(self, *columns: NDArray[Any]) -> Floats:
        """Weighted sum of each column (n,), as (columns, draws)."""
        groups = self.drawn.shape[1]
        if groups == 1:  # pairwise summation keeps the last digits of long columns
            by_group = [[column.sum()] for column in columns]
        else:
            by_group = [np.bincount(self.groups, column, groups) for column in columns]
        return (self.drawn @ np.array(by_group, dtype=np.float64).T).T

    def mean(self, values: NDArray[Any], keep: NDArray[np.bool_] | None = None) -> Floats:
        """Weighted mean of values (n,), or of those kept, (draws,); NaN where there are none."""
        keep = np.ones(len(values), dtype=bool) if keep is None else keep
        total, count = self.sums(np.where(keep, values, 0.0), keep)
        with np.errstate(divide="ignore", invalid="ignore"):
            return total / count

    def blocks(self) -> Iterator[Floats]:
        """Weights of the rows, (some draws, n): few enough draws to stay in the cache."""
        size = max(1, 60_000 // max(len(self.groups), 1))
        for start in range(0, len(self.drawn), size):
            yield self.drawn[start : start + size][:, self.groups]


def exact_rows(rows: EvaluationRows, weights: RowWeights) -> tuple[EvaluationRows, RowWeights]:
    """The rows that are not censored, and their weights."""
    return rows.exact(), weights.take(rows.censoring == Censoring.EXACT)


def errors(rows: EvaluationRows) -> Floats:
    """Predicted minus measured, 0 where a bound is met."""
    error = rows.predicted - rows.measured
    met = rows.censoring * error > 0  # on the side of the bound where the true value lies
    return np.where(met, 0.0, error)
