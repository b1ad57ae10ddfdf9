"""Figures of a campaign: labelled, the same again, saying what they are given."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from paratope.evaluation import figures
from paratope.evaluation.metrics import EvaluationRows


def rows(count: int = 60, bounds: bool = True) -> EvaluationRows:
    rng = np.random.default_rng(0)
    measured = rng.normal(8, 1, count)
    predicted = measured + rng.normal(0, 0.5, count)
    return EvaluationRows(
        measured, predicted, low=predicted - 1, high=predicted + 1,
        censoring=np.where(measured < 7, -1, 0) if bounds else None,
    )  # fmt: skip


def positions(chains: str = "HL") -> list[figures.PositionEffect]:
    return [
        figures.PositionEffect(chain, str(place), region, size, (-1) ** place * size, int(size > 0))
        for chain in chains
        for place, region, size in (
            (1, "FR1", 0.0),
            (27, "CDR1", 0.4),
            (30, "CDR1", 1.2),
            (60, "CDR2", 0.0),
            (105, "CDR3", 0.7),
        )
    ]


LINE = {
    "variants": [12, 96, 384],
    "spearman": [0.3, 0.5, 0.6],
    "low": [0, 0.3, 0.4],
    "high": [1, 1, 1],
}
DRAWN: dict[str, Callable[[], Figure]] = {
    "held out": lambda: figures.held_out_predictions(rows(), "pKd"),
    "two assays": lambda: figures.held_out_predictions(rows(), "score", ["a", "b"] * 30),
    "six assays": lambda: figures.held_out_predictions(rows(), "score", list("abcdef") * 10),
    "many": lambda: figures.held_out_predictions(rows(2000, bounds=False), "pKd"),
    "curve": lambda: figures.learning_curve(
        [12, 48], [0.3, 0.45], LINE, 96, 77, {"one-hot ridge": 0.4}
    ),
    "small curve": lambda: figures.learning_curve([8], [-0.4], LINE, 10, 8, {}),
    "positions": lambda: figures.position_importance(positions(), "pKd"),
    "one chain": lambda: figures.position_importance(positions("H"), "score"),
    "plates": lambda: figures.plates({"first": [6, 7, 9], "second": [8, 9]}, 8.5, "pKd"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_labelled_deterministic_and_nothing_left_open(name: str):
    figure = DRAWN[name]()
    words = " ".join(axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)
    assert "pKd" in words or "score" in words or "Spearman" in words
    assert figures.figure_bytes(figure, "png") == figures.figure_bytes(DRAWN[name](), "png")
    assert plt.get_fignums() == []


def test_only_few_rows_show_their_intervals():
    few = figures.held_out_predictions(rows(60), "pKd").axes[0]
    many = figures.held_out_predictions(rows(500), "pKd").axes[0]
    assert len(few.collections) == len(many.collections) + 1


def test_the_curve_is_dashed_beyond_what_was_measured():
    axes = DRAWN["curve"]().axes[0]
    past, beyond = axes.lines[0], axes.lines[1]
    assert max(past.get_xdata()) == 96
    assert min(beyond.get_xdata()) == 384
    assert any("now: 96" in text.get_text() for text in axes.texts)


def test_hits_are_counted():
    labels = [text.get_text() for text in DRAWN["plates"]().axes[0].get_yticklabels()]
    assert labels == ["first\n1 of 3 are hits", "second\n1 of 2 are hits"]


def test_positions_have_their_chains_and_regions():
    axes = DRAWN["positions"]().axes
    assert [one.get_title("left").split(":")[0] for one in axes[:2]] == [
        "Heavy chain",
        "Light chain",
    ]
    assert "3 positions varied" in axes[0].get_title("left")
    assert {text.get_text() for text in axes[0].texts} >= {"CDR1", "CDR3", "30"}
    regions = [text.get_text().split("\n")[0] for text in axes[2].get_xticklabels()]
    assert regions == ["H CDR1", "H CDR3", "L CDR1", "L CDR3"]
