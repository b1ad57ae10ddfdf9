"""Predictions of variants against their parent, block by block."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import polars as pl

from paratope.core.errors import InputError
from paratope.data.tables import TableRow
from paratope.models.prediction import Prediction
from paratope.molecules.sequences import Pair

# Variants predicted at once: a report of progress every few seconds, and bounded memory.
ROWS_PER_BLOCK = 512
_COMMON = ("p_stronger", "domain", "note", "error")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """The parent's own prediction.

    Attributes
    ----------
    unit : str
        ``"pkd"``, or ``"score"`` for a model adapted on scores.
    value, low, high : float
    domain : str
    note : str
        What its prediction is to be read with.
    """

    unit: str
    value: float
    low: float
    high: float
    domain: str
    note: str = ""


def predict_reference(predictor: Any, parent: Pair, coverage: float) -> Reference:
    """Prediction of the parent; raises `InputError` if it cannot be predicted."""
    (one,) = predictor.predict_rows([_row(0, "parent", parent)], coverage=coverage)
    if one.error:
        raise InputError(f"the parent cannot be predicted: {one.error}")
    unit = "pkd" if one.pkd is not None else "score"
    value, low, high = (getattr(one, name) for name in (unit, f"{unit}_low", f"{unit}_high"))
    return Reference(unit, value, low, high, one.domain, one.note)


def predict_changes(
    predictor: Any,
    parent: Pair,
    reference: Reference,
    variants: Sequence[tuple[str, Pair]],
    coverage: float,
    progress: bool = False,
) -> pl.DataFrame:
    """Predictions of variants, and their change against the parent.

    Parameters
    ----------
    predictor : Predictor
    parent : Pair
    reference : Reference
        Its prediction.
    variants : sequence of (str, Pair)
        Names and pairs.
    coverage : float
        Of the intervals.
    progress : bool
        Whether to count on stderr, if that is a terminal.

    Returns
    -------
    polars.DataFrame
        Columns of `value_columns`, one row per variant.
    """
    answers: list[Prediction] = []
    for start in range(0, len(variants), ROWS_PER_BLOCK):
        block = variants[start : start + ROWS_PER_BLOCK]
        rows = [_row(start + number, name, pair) for number, (name, pair) in enumerate(block)]
        answers += predictor.predict_rows(rows, parent=parent, coverage=coverage)
        _count(len(answers), len(variants), progress)
    columns = {}
    for name in value_columns(reference.unit):
        values = [getattr(one, name) for one in answers]
        text = name in ("domain", "note", "error")
        values = [None if value == "" else value for value in values] if text else values
        columns[name] = pl.Series(name, values, pl.String if text else pl.Float64)
    return pl.DataFrame(columns)


def value_columns(unit: str) -> tuple[str, ...]:
    """Names of the predicted columns of a model that answers in ``"pkd"`` or ``"score"``."""
    own = (unit, f"{unit}_low", f"{unit}_high")
    change = (f"delta_{unit}", f"delta_{unit}_low", f"delta_{unit}_high")
    return (*own, *change, *_COMMON)


def _row(index: int, name: str, pair: Pair) -> TableRow:
    return TableRow(index, 0, name, pair, None, (), None)


def _count(done: int, total: int, progress: bool) -> None:
    if progress and sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\rpredicted {done:,} of {total:,} variants", end=end, file=sys.stderr, flush=True)
