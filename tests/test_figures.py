from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from paratope.core.errors import InputError
from paratope.evaluation import figures
from paratope.evaluation.metrics import EvaluationRows


def some_rows(count: int = 200) -> EvaluationRows:
    rng = np.random.default_rng(0)
    measured = rng.normal(8, 1.2, count)
    predicted = measured + rng.normal(0, 0.8, count)
    return EvaluationRows(
        np.clip(measured, 6, 10), predicted,
        censoring=np.where(measured < 6, -1, np.where(measured > 10, 1, 0)),
        low=predicted - 1.2, high=predicted + rng.uniform(1, 2, count),
    )  # fmt: skip


DRAWN = {
    "predicted_versus_measured": lambda: figures.predicted_versus_measured(some_rows()),
    "dense": lambda: figures.predicted_versus_measured(some_rows(4000)),
    "one_row": lambda: figures.predicted_versus_measured(EvaluationRows([7.0], [8.0])),
    "residuals": lambda: figures.residuals(some_rows()),
    "calibration": lambda: figures.calibration(some_rows()),
    "selective_risk": lambda: figures.selective_risk(some_rows()),
    "per_bin": lambda: figures.per_bin(["< 5", "5–7"], [3, 9], [1.0, 0.5], [float("nan"), -0.2]),
    "comparison": lambda: figures.comparison(["a", "b"], [0.4, 0.5], [0.3, 0.4], [0.5, 0.6], "ρ"),
    "training_history": lambda: figures.training_history(
        [1, 2, 3], {"loss": {"train": [3, 2, 1], "validation": [3, 2, 2]}}, best_epoch=2
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_labelled_deterministic_and_leaves_nothing_open(name: str):
    figure = DRAWN[name]()
    assert isinstance(figure, Figure)
    axes = figure.axes[0]
    assert figure.axes[-1].get_xlabel() or axes.get_xlabel()
    assert axes.get_xlabel() or name == "training_history"
    assert axes.get_ylabel() or name == "comparison"
    assert figures.figure_bytes(figure) == figures.figure_bytes(DRAWN[name]())
    assert figures.figure_bytes(figure, "png") == figures.figure_bytes(DRAWN[name](), "png")
    assert b"<dc:date>" not in figures.figure_bytes(figure)
    assert plt.get_fignums() == []


def test_many_points_become_hexagons_and_stay_small():
    many = figures.predicted_versus_measured(some_rows(50_000))
    assert len(figures.figure_bytes(many)) < 1_000_000


def test_units_are_on_the_axes():
    figure = figures.residuals(some_rows())
    assert "log10" in figure.axes[0].get_ylabel()
    assert "pKd" in figure.axes[0].get_xlabel()


def test_saved_whole_or_not_at_all(tmp_path: Path):
    figures.save_figure(DRAWN["per_bin"](), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    figures.save_figure(DRAWN["per_bin"](), tmp_path / "a.svg")
    assert b"</svg>" in (tmp_path / "a.svg").read_bytes()


def test_a_curve_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"loss / train has 1 values for 2 epochs"):
        figures.training_history([1, 2], {"loss": {"train": [0.5]}})
