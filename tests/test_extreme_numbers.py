"""Values of 1e300, NaN, outliers and mixed magnitudes: a warning and an answer, or a refusal."""

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.campaign import campaign_of
from paratope.core.errors import InputError
from paratope.data.datasets.simulated import simulate
from paratope.data.tables import frame_from_measurements
from paratope.evaluation import evaluate

RANDOM = np.random.default_rng(0)
TRUE = RANDOM.normal(8, 1, 40)
PRED = TRUE + RANDOM.normal(0, 0.5, 40)
LOW, HIGH = PRED - 1, PRED + 1


def put(values: np.ndarray, value: float) -> np.ndarray:
    """The values with another one at index 3."""
    changed = values.copy()
    changed[3] = value
    return changed


# Columns beside true and pred, rows that are judged, and what is said of the others
EVALUATED: dict[str, tuple[dict[str, object], int, str]] = {
    "prediction": ({"pred": put(PRED, 1e300)}, 39, "prediction is beyond"),
    "measured": ({"true": put(TRUE, -1e300)}, 39, "measured value is beyond"),
    "both": ({"true": put(TRUE, 1e200), "pred": put(PRED, 1e300)}, 39, "is beyond"),
    "a bound": ({"true": [">1e300", *map(str, TRUE[1:])]}, 39, "cannot be read"),
    "NaN": ({"pred": put(PRED, np.nan)}, 39, "no prediction"),
    "infinite": ({"pred": put(PRED, np.inf)}, 39, "prediction is an error"),
    "a low end": ({"pkd_low": put(LOW, -1e300), "pkd_high": HIGH}, 40, "intervals ignored"),
    "a NaN end": ({"pkd_low": LOW, "pkd_high": put(HIGH, np.nan)}, 40, "intervals ignored"),
    "crossed": ({"pkd_low": HIGH, "pkd_high": LOW}, 40, "end below their beginning"),
    "coverage": ({"pkd_low": LOW, "pkd_high": HIGH, "coverage": PRED}, 40, "'coverage' ignored"),
    "p_strong": ({"p_strong": PRED}, 40, "'p_strong' ignored"),
}


@pytest.mark.parametrize("case", EVALUATED)
def test_evaluated_without_them(case: str):
    columns, judged, says = EVALUATED[case]
    report = evaluate(pl.DataFrame({"true": TRUE, "pred": PRED} | columns))
    assert len(report.table) == judged
    assert says in " ".join(report.table.left_out)
    assert report.metrics["pearson"].value == pytest.approx(0.86, abs=0.06)


def test_nothing_but_huge_values_is_refused():
    with pytest.raises(InputError, match="40 rows: measured value is beyond"):
        evaluate(pl.DataFrame({"true": TRUE * 1e200, "pred": PRED}))


def campaign(values: np.ndarray) -> object:
    rows = frame_from_measurements(simulate(antibodies=len(values), antigens=1).measurements)
    return campaign_of(rows.select("id", "heavy", "light", "antigen").with_columns(score=values))


@pytest.mark.parametrize(
    "values",
    [TRUE * 1e300, put(TRUE, 1e300), put(TRUE, -1.7e308), 10.0 ** np.linspace(-300, 300, 40)],
    ids=["all", "one", "the largest", "mixed"],
)
def test_a_campaign_of_huge_scores_is_refused(values: np.ndarray):
    with pytest.raises(InputError, match=r"values are beyond ±1e\+100 \(first: row 'antibody-"):
        campaign(values)


@pytest.mark.parametrize(
    ("values", "is_far"),
    [
        (put(TRUE, 1e12), True),
        (put(TRUE, -1e12), True),
        (10.0 ** np.linspace(-9, 9, 40), True),
        (TRUE, False),
        (TRUE * 1e-20, False),
        (10.0 ** (TRUE - 5), False),
        (np.where(TRUE < 8.5, 0.0, TRUE), False),
    ],
    ids=["high", "low", "mixed", "clean", "small", "counts", "floor"],
)
def test_an_outlier_is_named(values: np.ndarray, is_far: bool):
    notes = [note for note in campaign(values).notes if "far from the others" in note]
    assert bool(notes) == is_far
    assert not notes or "leave out what is a slip" in notes[0]
