"""One predicted row, and a table of them beside the user's own columns."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from paratope.core.units import pkd_to_kd_nM
from paratope.data.tables import InputTable
from paratope.data.tables.columns import predicted_columns
from paratope.models.model import Label, PairPredictions

if TYPE_CHECKING:
    import pandas as pd

OUTPUT_COLUMNS = (
    *("pkd", "pkd_low", "pkd_high", "kd_nM", "p_strong"),
    *("domain", "antigen_identity", "antibody_identity", "note", "error"),
)
# A model adapted on scores answers in these, and leaves the columns of pKd empty.
SCORE_COLUMNS = ("score", "score_low", "score_high")
SCORE_PARENT_COLUMNS = ("delta_score", "delta_score_low", "delta_score_high", "p_stronger")
# And one adapted to a campaign has this one besides.
CAMPAIGN_COLUMNS = ("percentile",)
_TEXT = frozenset({"domain", "note", "error"})
PARENT_COLUMNS = ("delta_pkd", "delta_pkd_low", "delta_pkd_high", "p_stronger")


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What is predicted for one row; numbers are None where `error` is set."""

    id: str
    coverage: float  # Share of rows like the held-out ones that the interval is to cover
    # pkd, pkd_low, pkd_high: Calibrated pKd and its interval
    pkd: float | None = None
    pkd_low: float | None = None
    pkd_high: float | None = None
    kd_nM: float | None = None
    p_strong: float | None = None  # Probability that the pKd is at least the threshold
    domain: str = ""  # ``in``, ``near`` or ``out``; empty where `error` is set
    # antigen_identity, antibody_identity: To the closest ones the model was trained on, 0 to 1
    antigen_identity: float | None = None
    antibody_identity: float | None = None
    note: str = ""
    error: str = ""
    # delta_pkd … p_stronger: Against the parent, if one was named
    delta_pkd: float | None = None
    delta_pkd_low: float | None = None
    delta_pkd_high: float | None = None
    p_stronger: float | None = None
    # score … delta_score_high: The same of a model adapted on scores, in their unit, without a pKd
    score: float | None = None
    score_low: float | None = None
    score_high: float | None = None
    delta_score: float | None = None
    delta_score_low: float | None = None
    delta_score_high: float | None = None
    # Share of random variants of a campaign's parents that score lower, in percent
    percentile: float | None = None


def row_prediction(
    row_id: str,
    coverage: float,
    notes: Sequence[str],
    predictions: PairPredictions,
    index: int,
    label: Label,
) -> Prediction:
    """The prediction of one row, from those of all pairs; `notes` are what is known besides."""
    calibrated, distance = predictions.calibrated, predictions.distances[index]
    value = float(calibrated.value[index])
    numbers: dict[str, Any] = {
        label: value,
        f"{label}_low": float(calibrated.low[index]),
        f"{label}_high": float(calibrated.high[index]),
    }
    if label == "pkd":
        numbers |= {"kd_nM": pkd_to_kd_nM(value), "p_strong": float(calibrated.p_strong[index])}
    if predictions.difference is not None:
        names = PARENT_COLUMNS if label == "pkd" else SCORE_PARENT_COLUMNS
        values = (float(array[index]) for array in predictions.difference)
        numbers |= dict(zip(names, values, strict=True))
    if predictions.percentile is not None and not np.isnan(predictions.percentile[index]):
        numbers["percentile"] = float(predictions.percentile[index])
    return Prediction(
        row_id,
        coverage,
        domain=distance.domain,
        antigen_identity=distance.antigen_identity,
        antibody_identity=distance.antibody_identity,
        note="; ".join(text for text in (*notes, predictions.notes[index]) if text),
        **numbers,
    )


def output_columns(
    with_parent: bool = False, label: str = "pkd", campaign: bool = False
) -> tuple[str, ...]:
    """Columns of a table of predictions, for a model that answers in pKd or in scores.

    >>> output_columns(label="score")[:4]
    ('score', 'score_low', 'score_high', 'pkd')
    """
    columns = OUTPUT_COLUMNS + (CAMPAIGN_COLUMNS if campaign else ())
    if label == "score":
        return SCORE_COLUMNS + columns + (SCORE_PARENT_COLUMNS if with_parent else ())
    return columns + (PARENT_COLUMNS if with_parent else ())


def prediction_frame(
    table: InputTable,
    predictions: Sequence[Prediction],
    names: Sequence[str] = OUTPUT_COLUMNS,
) -> "pl.DataFrame | pd.DataFrame":
    """Predictions beside the user's own columns, row by row.

    A pandas frame comes back as pandas, with its index and its types; all else as polars. `names`
    are of `output_columns`. A column of the user's that has the name
    of an output column comes back as ``NAME_measured`` (``pkd``, ``kd_nM``, ``score``, unless they
    were predicted, too) or ``NAME_input``.
    """
    data = {
        name: [None if (value := getattr(row, name)) == "" else value for row in predictions]
        for name in names
    }
    original = table.original
    taken = {*names, *map(str, original.columns)}
    predicted = predicted_columns([str(name) for name in original.columns])
    renamed: dict[str, str] = {}
    for name in original.columns:
        if name in names and name not in renamed:
            is_measured = name in ("pkd", "kd_nM", "score") and name not in predicted
            new = f"{name}_{'measured' if is_measured else 'input'}"
            while new in taken:
                new += "_"
            taken.add(new)
            renamed[name] = new
    types = {name: pl.String if name in _TEXT else pl.Float64 for name in names}
    if isinstance(original, pl.DataFrame):
        return pl.DataFrame(data, schema=types).hstack(original.rename(renamed))
    import pandas as pd  # the user's frame is one, so it is here

    new = pd.DataFrame(data, index=original.index)
    new = new.astype({name: "float64" for name in names if name not in _TEXT})
    return pd.concat([new, original.rename(columns=renamed)], axis=1)
