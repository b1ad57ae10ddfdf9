"""Figures of scans: labelled, the same every time, and readable where there is little to show."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from paratope.core.errors import InputError
from paratope.evaluation import figures


def some_heat_map(changes: np.ndarray) -> Figure:
    positions, regions = [str(place) for place in range(20, 32)], ["FR1"] * 5 + ["CDR1"] * 7
    labels = {"label": "ΔpKd", "title": "heavy chain", "subtitle": "flat", "warning": "nothing"}
    return figures.heat_map(changes, "EVQLVESGGGLX", positions, regions, **labels)


DRAWN = {
    "heat_map": lambda: some_heat_map(np.linspace(-1, 1, 20 * 12).reshape(20, 12)),
    "heat_map_of_nothing": lambda: some_heat_map(np.full((20, 12), np.nan)),
    "position_profile": lambda: figures.position_profile(
        [0.1, -0.5], [-1, -2], [1, 0.2], ["G27", "F28"], ["CDR1", "FR2"], label="Δ", title="scan"
    ),
    "ranked_changes": lambda: figures.ranked_changes(
        ["a", "b"], [0.1, 0.0], [-1, -1], [1, 1], label="Δ", title="combinations"
    ),
    "specificity": lambda: figures.specificity(
        ["target", "other"], [9, 7], [8, 6], [10, 8], np.array([0.1, -0.2]), np.array([0.0, 0.3]),
        ["H:S31A", "H:S31G"], label="Δ", value_label="pKd",
    ),
    "specificity_without_variants": lambda: figures.specificity(
        ["target", "other"], [9, 7], [8, 6], [10, 8], np.zeros(0), np.zeros(0), [],
        label="Δ", value_label="pKd",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_labelled_deterministic_and_leaves_nothing_open(name: str):
    figure = DRAWN[name]()
    assert any(axes.get_xlabel() for axes in figure.axes)
    assert any(axes.get_title("left") or figure.get_suptitle() for axes in figure.axes)
    for kind in ("svg", "png"):
        assert figures.figure_bytes(figure, kind) == figures.figure_bytes(DRAWN[name](), kind)
    assert plt.get_fignums() == []


def test_a_heat_map_marks_the_parent_the_cdrs_and_both_directions_alike():
    changes = np.full((20, 12), -0.4)
    changes[0, 0] = 0.1
    figure = some_heat_map(changes)
    top, bottom = figure.axes[:2]
    (image,) = top.images
    assert image.norm.vmin == -image.norm.vmax
    dots = top.collections[0].get_offsets()
    assert len(dots) == 11  # an X has no row
    assert figures.RESIDUE_ORDER[int(dots[0][1])] == "E"
    assert [text.get_text() for text in top.texts] == ["FR1", "CDR1"]
    assert bottom.get_xticklabels()[0].get_text().split() == ["E", "2", "0"]


def test_a_heat_map_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"heat map: \(20, 3\) changes for 12 residues"):
        some_heat_map(np.zeros((20, 3)))
