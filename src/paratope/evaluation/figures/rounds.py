"""A campaign's rounds: what strategies have found by the number of measurements."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paratope.evaluation.figures.style import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILION

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
        lowest = min(mean for series in best.values() for mean, *_ in series)
        pad = 0.08 * max(limit - lowest, 1e-9)
        left.set_ylim(lowest - 2 * pad, limit + 2 * pad)
        left.annotate(
            "best there is", (measured[0], limit), xytext=(0, 4), textcoords="offset points",
            fontsize=8.5, color="#4B5563",
        )  # fmt: skip
        left.set(xlabel="variants measured", ylabel=label, title="Best found")
        _lines(right, measured, recall, 100.0)
        highest = max(mean for series in recall.values() for mean, *_ in series)
        right.set_ylim(0, min(118 * highest, 104) or 1)
        right.set(xlabel="variants measured", ylabel=recall_label, title="Top found")
        for axes in (left, right):
            axes.set_xticks(measured)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _lines(axes: Axes, measured: Sequence[int], series: Mapping[str, Series], scale: float) -> None:
    """The first strategy with a band, the others with bars, moved apart a little."""
    step = 0.012 * (measured[-1] - measured[0])
    for number, (name, values) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        mean, low, high = scale * np.array(values, dtype=float).T
        place = np.array(measured) + step * (number - (len(series) - 1) / 2) * (number > 0)
        axes.plot(
            place, mean, color=colour, marker=_MARKERS[number % len(_MARKERS)], markersize=4.5,
            linewidth=2.2 if number == 0 else 1.4, label=name.replace("_", "-"), zorder=5 - number,
        )  # fmt: skip
        if not np.isfinite(low).all():
            continue
        if number == 0:
            axes.fill_between(place, low, high, color=colour, alpha=0.15, linewidth=0)
        else:
            axes.vlines(place, low, high, color=colour, linewidth=1, alpha=0.5, zorder=1)
