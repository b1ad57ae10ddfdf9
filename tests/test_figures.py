"""Figures: labelled, the same every time, saying what they are given, leaving nothing open."""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from paratope.core.errors import InputError
from paratope.evaluation.figures import campaigns, charts, explanations, scans, style
from paratope.evaluation.metrics import EvaluationRows


def some_rows(count: int = 200, bounds: bool = True) -> EvaluationRows:
    rng = np.random.default_rng(0)
    measured = rng.normal(8, 1.2, count)
    predicted = measured + rng.normal(0, 0.8, count)
    ends = {"low": predicted - 1.2, "high": predicted + rng.uniform(1, 2, count)}
    if not bounds:
        return EvaluationRows(measured, predicted, **ends)
    codes = np.where(measured < 6, -1, np.where(measured > 10, 1, 0))
    return EvaluationRows(np.clip(measured, 6, 10), predicted, codes, **ends)


def positions(chains: str = "HL") -> list[campaigns.PositionEffect]:
    sites = [(1, "FR1", 0.0), (27, "CDR1", 0.4), (30, "CDR1", 1.2), (60, "CDR2", 0)]
    return [
        campaigns.PositionEffect(chain, str(imgt), region, size, (-1) ** imgt * size, int(size > 0))
        for chain in chains
        for imgt, region, size in [*sites, (105, "CDR3", 0.7)]
    ]


def some_heat_map(changes: np.ndarray) -> Figure:
    sites = zip("EVQLVESGGGLX", map(str, range(20, 32)), ["FR1"] * 5 + ["CDR1"] * 7, strict=True)
    labels = {"label": "ΔpKd", "title": "heavy chain", "subtitle": "flat", "warning": "nothing"}
    return scans.heat_map(changes, list(sites), **labels)


LINE = {"variants": [12, 96, 384], "spearman": [0.3, 0.5, 0.6]}
LINE |= {"low": [0, 0.3, 0.4], "high": [1, 1, 1]}
PARENT = [(9, 8, 10), (7, 6, 8)]
NAN = float("nan")
BARS = [
    explanations.ChangeBar("S36A", "H", "CDR1", -0.5),
    explanations.ChangeBar("L50Y", "H", "FR2", 0.2),
    explanations.ChangeBar("K93A", "A", "", -0.4),
]
ROUNDS = {"ours": [(8, 7, 9), (9, 8.5, 9.5)], "random_draws": [(8, NAN, NAN), (8.4, NAN, NAN)]}
DRAWN: dict[str, Callable[[], Figure]] = {
    "predicted_versus_measured": lambda: charts.predicted_versus_measured(some_rows()),
    "dense": lambda: charts.predicted_versus_measured(some_rows(4000)),
    "one_row": lambda: charts.predicted_versus_measured(EvaluationRows([7.0], [8.0])),
    "residuals": lambda: charts.residuals(some_rows()),
    "calibration": lambda: charts.calibration(some_rows()),
    "selective_risk": lambda: charts.selective_risk(some_rows()),
    "per_bin": lambda: charts.per_bin(["< 5", "5–7"], [3, 9], [1.0, 0.5], [NAN, -0.2]),
    "held out": lambda: campaigns.held_out_predictions(some_rows(60), "pKd"),
    "two assays": lambda: campaigns.held_out_predictions(some_rows(60), "score", ["a", "b"] * 30),
    "six assays": lambda: campaigns.held_out_predictions(some_rows(60), "score", [*"abcdef"] * 10),
    "many": lambda: campaigns.held_out_predictions(some_rows(2000, bounds=False), "pKd"),
    "curve": lambda: campaigns.learning_curve([12, 48], [0.3, 0.45], LINE, 96, 77, {"ridge": 0.4}),
    "small curve": lambda: campaigns.learning_curve([8], [-0.4], LINE, 10, 8, {}),
    "positions": lambda: campaigns.position_importance(positions(), "pKd"),
    "one chain": lambda: campaigns.position_importance(positions("H"), "score"),
    "rounds": lambda: campaigns.campaign_rounds(
        [24, 48],
        ROUNDS,
        {"ours": [(0.1, 0, 0.2), (0.4, 0.3, 0.5)]},
        label="best pKd",
        recall_label="top found, %",
        limit=9.6,
    ),
    "heat_map": lambda: some_heat_map(np.linspace(-1, 1, 20 * 12).reshape(20, 12)),
    "heat_map_of_nothing": lambda: some_heat_map(np.full((20, 12), np.nan)),
    "position_profile": lambda: scans.position_profile(
        [0.1, -0.5], [-1, -2], [1, 0.2], ["G27", "F28"], ["CDR1", "FR2"], label="Δ", title="scan"
    ),
    "ranked_changes": lambda: scans.ranked_changes(
        ["a", "b"], [0.1, 0.0], [-1, -1], [1, 1], label="Δ", title="combinations"
    ),
    "explained": lambda: explanations.explained_prediction(
        {"mean of all": 8.2, "peptide": 0.0, "antigen": 0.4}, BARS, 7.9, "a variant", "a note " * 40
    ),
    "explained, one part": lambda: explanations.explained_prediction({"mean": 8.2}, [], 8.2, "a"),
    "explained, occlusion": lambda: explanations.explained_prediction(
        {"predicted": 8.2}, BARS * 60, 8.2, "every residue"
    ),
    "specificity": lambda: scans.specificity(
        ["target", "other"],
        PARENT,
        np.array([0.1, -0.2]),
        np.array([0.0, 0.3]),
        ["H:S31A", "b"],
        label="Δ",
        value_label="pKd",
    ),
    "specificity_without_variants": lambda: scans.specificity(
        ["target", "other"], PARENT, np.zeros(0), np.zeros(0), [], label="Δ", value_label="pKd"
    ),
}  # fmt: skip - one figure a line


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_labelled_deterministic_and_leaves_nothing_open(name: str):
    figure = DRAWN[name]()
    words = " ".join(axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)
    assert any(unit in words for unit in ("pKd", "score", "log10", "Spearman", "Δ", "%"))
    for kind in ("svg", "png"):
        assert style.figure_bytes(figure, kind) == style.figure_bytes(DRAWN[name](), kind)
    assert b"<dc:date>" not in style.figure_bytes(figure)
    assert plt.get_fignums() == []
    assert plt.rcParams["axes.spines.top"]  # the caller's style is as it was


def test_many_points_become_hexagons_without_intervals_and_units_are_on_the_axes():
    many = charts.predicted_versus_measured(some_rows(50_000))
    assert len(style.figure_bytes(many)) < 1_000_000
    axes = charts.residuals(some_rows()).axes[0]
    assert "log10" in axes.get_ylabel()
    assert "pKd" in axes.get_xlabel()
    few = campaigns.held_out_predictions(some_rows(60), "pKd").axes[0]
    many = campaigns.held_out_predictions(some_rows(500), "pKd").axes[0]
    assert len(few.collections) == len(many.collections) + 1
    # bounds point where the true value may lie
    rows = EvaluationRows([5, 7, 10], [6, 7, 9], censoring=[-1, 0, 1])
    drawn = charts.predicted_versus_measured(rows).axes[0].collections
    labels = {points.get_label(): points.get_offsets().tolist() for points in drawn}
    assert {"at most": [[5, 6]], "at least": [[10, 9]]}.items() <= labels.items()


def test_curves_are_dashed_beyond_what_was_measured_and_positions_are_labelled():
    axes = DRAWN["curve"]().axes[0]
    past, beyond = axes.lines[0], axes.lines[1]
    assert max(past.get_xdata()) == 96
    assert min(beyond.get_xdata()) == 384
    assert any("now: 96" in text.get_text() for text in axes.texts)
    axes = DRAWN["positions"]().axes
    titles = [panel.get_title("left").split(":")[0] for panel in axes[:2]]
    assert titles == ["Heavy chain", "Light chain"]
    assert "3 positions varied" in axes[0].get_title("left")
    assert {text.get_text() for text in axes[0].texts} >= {"CDR1", "CDR3", "30"}
    regions = [text.get_text().split("\n")[0] for text in axes[2].get_xticklabels()]
    assert regions == ["H CDR1", "H CDR3", "L CDR1", "L CDR3"]


@pytest.mark.parametrize("chains", ["HL", "H", "L"])
@pytest.mark.parametrize("sign", [-1, 0, 1])  # 0: both
def test_bars_have_the_colours_of_the_legend(chains: str, sign: int):
    shown = [one._replace(mean=sign * one.size or one.mean) for one in positions(chains)]
    axes = campaigns.position_importance(shown, "pKd").axes[0]
    handles = axes.get_legend().legend_handles
    colours = {one.get_label(): one.get_facecolor() for one in handles}
    for bar, effect in zip(axes.containers[0], shown, strict=False):
        assert bar.get_height() == effect.size
        name = "weaker" if effect.mean < 0 else "stronger"
        assert bar.get_facecolor() == colours[f"{name}, on the whole"]


CAPTION = "Alanine scan, heavy chain of a-library-of-HER2-binders-plate-17-well-B07 against HER2, "
CAPTION += "the human epidermal growth factor receptor, domain IV"
WIDE: dict[str, Callable[[str], Figure]] = {
    "profile": lambda name: scans.position_profile(
        *[[0.1] * 25] * 3, ["G27"] * 25, ["CDR1"] * 25, label="Δ", title=name
    ),
    "ranked": lambda name: scans.ranked_changes(
        [",".join(["H:S31A"] * 12)], [0.1], [-1], [1], label="Δ", title=name
    ),
    "heat map": lambda name: scans.heat_map(
        np.zeros((20, 1)), [("E", "1", "FR1")], label="Δ", title=name, warning="ranks nothing"
    ),
    "held out": lambda name: campaigns.held_out_predictions(
        some_rows(60), "pKd", [name, "b"] * 30, name
    ),
    "specificity": lambda name: scans.specificity(
        [name] * 2, PARENT, np.array([0.1, 3]), np.array([0, 0]), [name] * 2, label="Δ",
        value_label="pKd",
    ),
    "bins": lambda name: charts.per_bin(["9–10"] * 7, [12345] * 7, [1.0] * 7, [0.2] * 7),
}  # fmt: skip
CAPTIONED = itertools.product(WIDE, (80, 120))
EVERY = DRAWN | {f"{n} {w}": partial(WIDE[n], CAPTION[:w]) for n, w in CAPTIONED}


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_clipped_nor_shown_as_code(name: str):
    figure = EVERY[name]()
    figure.draw_without_rendering()
    (left, bottom, right, top), size = figure.get_tightbbox().extents, figure.get_size_inches()
    assert min(left, bottom) > -0.02
    assert right < size[0] + 0.02
    assert top < size[1] + 0.02
    assert not any("$" in text.get_text() for text in figure.findobj(Text))
    labels = [one.get_window_extent() for one in figure.axes[0].get_xticklabels()]
    if name.startswith(("bins", "positions")):
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(labels))


def test_a_heat_map_marks_the_parent_the_cdrs_and_both_directions_alike():
    changes = np.full((20, 12), -0.4)
    changes[0, 0] = 0.1
    top, bottom = some_heat_map(changes).axes[:2]
    (image,) = top.images
    assert image.norm.vmin == -image.norm.vmax
    dots = top.collections[0].get_offsets()
    assert len(dots) == 11  # an X has no row
    assert scans.RESIDUE_ORDER[int(dots[0][1])] == "E"
    assert [text.get_text() for text in top.texts] == ["FR1", "CDR1"]
    assert bottom.get_xticklabels()[0].get_text().split() == ["E", "2", "0"]
    heights = [bar.get_height() for bar in bottom.containers[0]]
    assert heights[:2] == pytest.approx([(-0.4 * 19 + 0.1) / 20, -0.4])
    with pytest.raises(InputError, match=r"heat map: changes of shape \(20, 3\) for 12 sites"):
        some_heat_map(np.zeros((20, 3)))


def test_a_waterfall_ends_at_the_prediction_and_leaves_out_parts_of_zero():
    top, bottom = DRAWN["explained"]().axes
    names = [label.get_text() for label in top.get_yticklabels()]
    assert names == ["mean of all", "antigen", "3 mutations", "predicted pKd"]
    ends = [bar.get_x() + bar.get_width() for bar in top.patches]
    assert np.allclose(ends, [8.2, 8.6, 7.9, 7.9])
    assert [bar.get_height() for bar in bottom.containers[0]] == [-0.5, 0.2, -0.4]
    assert [text.get_text() for text in bottom.texts] == ["H CDR1"]  # the CDR alone is shaded
