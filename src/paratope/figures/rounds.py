"""A campaign's rounds: what strategies have found by the number of measurements."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paratope.figures.style import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILION

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, GREY)
_MARKERS = ("o", "s", "^", "D", "v")
# Mean, low, high.
Series = Sequence[tuple[float, float, float]]


def campaign_rounds(
    measured: Sequence[int],
    best: Mapping[str, Series],
    recall: Mapping[str, Series],
    *,
    label: str,
    recall_label: str,
    limit: float,
) -> Figure:
    """Best value and share of the top found, side by side, one line for each strategy.

    Parameters
    ----------
    measured : sequence of int
        Variants measured after each round.
    best, recall : mapping of str to sequence of (mean, low, high)
        By strategy; ends of the intervals may be NaN. Recall from 0 to 1, shown in per cent.
    label, recall_label : str
        Of the two vertical axes.
    limit : float
        The best there is, drawn as a line.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _lines(left, measured, best, 1.0)
        left.axhline(limit, color="#111827", linewidth=1, linestyle=":")
        left.annotate(
            "best there is", (measured[0], limit), xytext=(0, -3), textcoords="offset points",
            va="top", fontsize=8.5, color="#4B5563",
        )  # fmt: skip
        left.set(xlabel="variants measured", ylabel=label, title="Best found")
        _lines(right, measured, recall, 100.0)
        right.set(xlabel="variants measured", ylabel=recall_label, title="Top found")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xticks(measured)
        right.legend(loc="upper left")
    return figure


def _lines(axes: Axes, measured: Sequence[int], series: Mapping[str, Series], scale: float) -> None:
    for number, (name, values) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        mean, low, high = scale * np.array(values, dtype=float).T
        axes.plot(
            measured, mean, color=colour, marker=_MARKERS[number % len(_MARKERS)], markersize=4.5,
            linewidth=1.8, label=name.replace("_", "-"), zorder=5 - number,
        )  # fmt: skip
        if np.isfinite(low).all():
            axes.fill_between(measured, low, high, color=colour, alpha=0.12, linewidth=0)
