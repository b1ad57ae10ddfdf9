"""Plots of campaigns: held-out predictions, learning curve, positions, rounds."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paratope.evaluation.figures.charts import draw_bounds
from paratope.evaluation.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SERIES,
    VERMILION,
    faint,
    headline,
    padded,
    panels,
    shortened,
    styled,
)
from paratope.evaluation.metrics import EvaluationRows

# Above this many rows the intervals of single rows would hide the points.
_SHOWN_INTERVALS = 150
_CDR_SHADE = "#FDF1DC"
_CHAIN_TITLES = {"H": "Heavy chain", "L": "Light chain"}
_MARKERS = "os^Dv"
_SIGNS = {"weaker": VERMILION, "stronger": BLUE}
Series = Sequence[tuple[float, float, float]]  # Mean, low, high


class PositionEffect(NamedTuple):
    """The learned effects of the mutations measured at one position."""

    chain: str  # ``"H"`` or ``"L"``
    position: str  # IMGT number
    region: str  # Such as ``"CDR3"``
    size: float  # Their root mean square, in the campaign's units; 0 where there are none
    mean: float  # Above 0 they strengthen
    changes: int  # Different mutations


@styled
def held_out_predictions(
    rows: EvaluationRows,
    unit: str,
    assays: Sequence[str] | None = None,
    title: str = "Held-out variants",
) -> Figure:
    """Predicted against measured values (in `unit`, such as ``"pKd"``) of unseen rows.

    Intervals are drawn where there are few rows; bounds are triangles; the first four `assays`
    have a colour each.
    """
    figure, (axes,) = panels(5.2, 4.8)
    ends = padded(rows.measured, rows.predicted)
    axes.plot(ends, ends, color=GREY, linewidth=1, zorder=1)
    assay_of_row = np.array([""] * len(rows) if assays is None else assays, object)
    names = list(dict.fromkeys(assay_of_row.tolist()))
    for index, name in enumerate(names):
        points, colour = rows.take(assay_of_row == name), SERIES[min(index, len(SERIES) - 1)]
        exact = points.exact()
        if exact.low is not None and exact.high is not None and len(points) <= _SHOWN_INTERVALS:
            looks = {"color": colour, "alpha": 0.18, "linewidth": 2, "zorder": 2}
            axes.vlines(exact.measured, exact.low, exact.high, **looks)
        looks = {"s": 20, "color": colour, "alpha": faint(len(points)), "linewidths": 0}
        label = shortened(name) or "measured"
        axes.scatter(exact.measured, exact.predicted, **looks, label=label, zorder=3)
    draw_bounds(axes, rows)
    if len(names) > 1 or rows.censoring.any():
        axes.legend(loc="lower right")
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=f"measured {unit}")
    axes.set_ylabel(f"predicted {unit}, not having seen it")
    headline(figure, title)
    return figure


@styled
def learning_curve(
    sizes: Sequence[int],
    spearman: Sequence[float],
    line: Mapping[str, Sequence[float]],
    variants: int,
    trained: int,
    standards: Mapping[str, float],
) -> Figure:
    """Spearman correlation with held-out values by the number of measured variants.

    `line` holds ``variants``, ``spearman``, ``low`` and ``high`` of the fitted line, dashed beyond
    the `variants` measured so far; `standards` are the correlations of trivial models trained on
    `trained` variants.
    """
    figure, (axes,) = panels(5.8, 4.0)
    x, y = np.asarray(line["variants"], float), np.asarray(line["spearman"], float)
    axes.fill_between(x, line["low"], line["high"], color=BLUE, alpha=0.12, linewidth=0)
    past = x <= variants
    axes.plot(x[past], y[past], color=BLUE, linewidth=2)
    axes.plot(x[~past], y[~past], color=BLUE, linewidth=2, linestyle=(0, (4, 2)))
    axes.plot(sizes, spearman, "o", color=BLUE, markersize=6, label="this model, measured")
    for (name, value), colour in zip(standards.items(), (VERMILION, GREEN, ORANGE), strict=False):
        axes.plot([trained], [value], "D", color=colour, markersize=5, label=name)
    axes.axvline(variants, color=GREY, linewidth=1, linestyle=":")
    where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    axes.annotate(f"now: {variants}", (variants, 0.95), (4, 0), **where, fontsize=9, color=GREY)
    axes.set_xscale("log", base=2)
    plates = [8, 16, *(24 * 2**doubling for doubling in range(12))]
    ticks = [plate for plate in plates if 0.95 * x.min() <= plate <= 1.05 * x.max()]
    ticks = ticks or [round(x.min()), round(x.max())]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(loc="lower right")
    axes.set(xlabel="measured variants", ylabel="Spearman with held-out values")
    axes.set_title("What more measurements should buy (band: 95 %)")
    axes.set_ylim(min(0.0, float(np.min(line["low"])), *spearman) - 0.02, 1.0)
    return figure


@styled
def position_importance(positions: Sequence[PositionEffect], unit: str) -> Figure:
    """Which positions (in order along the chains) and regions move the predictions."""
    named = [effect for effect in positions if effect.chain in _CHAIN_TITLES]
    chains = list(dict.fromkeys(effect.chain for effect in named))
    figure, axes = panels(9.2, 2.2 * len(chains) + 2.1, len(chains) + 1)
    top = max((effect.size for effect in positions), default=0.0)
    for panel, chain in zip(axes, chains, strict=False):
        _chain_panel(panel, [effect for effect in named if effect.chain == chain], top, unit)
    # above, beside the title: bars may stand anywhere; of patches: there may be no bar of a colour
    above = {"bbox_to_anchor": (1.0, 1.09), "borderaxespad": 0, "loc": "lower right", "ncols": 2}
    signs = [Patch(color=colour, label=f"{name}, on the whole") for name, colour in _SIGNS.items()]
    axes[0].legend(handles=signs, **above, fontsize=8)
    squares: dict[str, float] = defaultdict(float)
    changes: dict[str, int] = defaultdict(int)
    for effect in named:
        region = f"{effect.chain} {effect.region}"
        squares[region] += effect.changes * effect.size**2
        changes[region] += effect.changes
    regions = [region for region, count in changes.items() if count]
    heights = [float(np.sqrt(squares[region] / changes[region])) for region in regions]
    colours = [ORANGE if "CDR" in region else GREY for region in regions]
    panel, x = axes[-1], np.arange(len(regions))
    panel.bar(x, heights, color=colours, width=0.65)
    labels = [f"{region}\n{changes[region]}" for region in regions]
    panel.set_xticks(x, labels, fontsize=8)
    panel.grid(visible=False, axis="x")
    panel.set(ylabel=f"effect, {unit}", xlim=(-0.6, max(len(regions), 4) - 0.4))
    panel.set_title("A typical measured mutation, by region (below: how many)")
    return figure


def _chain_panel(axes: Axes, effects: Sequence[PositionEffect], top: float, unit: str) -> None:
    for start, stop, region in region_runs([effect.region for effect in effects]):
        if region.startswith("CDR"):
            axes.axvspan(start - 0.5, stop - 0.5, color=_CDR_SHADE, zorder=0)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        looks = {"ha": "center", "fontsize": 8, "color": GREY}
        axes.annotate(region, ((start + stop - 1) / 2, 1.0), (0, 2), **where, **looks)
    sizes = np.array([effect.size for effect in effects])
    weaker = np.array([effect.mean < 0 for effect in effects])
    colours = np.where(weaker, _SIGNS["weaker"], _SIGNS["stronger"])
    axes.bar(np.arange(len(sizes)), sizes, width=0.85, color=colours)
    named: list[int] = []
    for row in np.argsort(-sizes)[:8].tolist():
        if sizes[row] > 0.1 * top and not {row - 1, row + 1} & set(named):  # no room for both
            named.append(row)
            looks = {"ha": "center", "fontsize": 7, "rotation": 90, "textcoords": "offset points"}
            axes.annotate(effects[row].position, (row, sizes[row]), (0, 2), **looks)
    ticks = {
        row: effect.position
        for row, effect in enumerate(effects)
        if effect.position == "1" or (effect.position.isdecimal() and effect.position[-1] == "0")
    }
    axes.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set(xlim=(-1, len(effects)), ylim=(0, 1.2 * top if top else 1), ylabel=f"effect, {unit}")
    varied, chain = sum(effect.changes > 0 for effect in effects), effects[0].chain
    axes.set_title(f"{_CHAIN_TITLES[chain]}: {varied} positions varied (IMGT numbers)", pad=16)


def region_runs(regions: Sequence[str]) -> list[tuple[int, int, str]]:
    """Start, end and name of each stretch of one region."""
    starts = [n for n, name in enumerate(regions) if n == 0 or name != regions[n - 1]]
    return [(a, b, regions[a]) for a, b in itertools.pairwise([*starts, len(regions)])]


@styled
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

    `measured` counts variants after each round. Ends of the intervals may be NaN; recall is from
    0 to 1, shown in per cent; `limit` is the best there is.
    """
    figure, (left, right) = panels(9.2, 4.0, columns=2)
    _strategy_lines(left, measured, best, 1.0)
    left.axhline(limit, color=INK, linewidth=1, linestyle=":")
    lowest = min(mean for series in best.values() for mean, *_ in series)
    pad = 0.08 * max(limit - lowest, 1e-9)
    left.set_ylim(lowest - 2 * pad, limit + 2 * pad)
    looks = {"textcoords": "offset points", "fontsize": 8.5, "color": "#4B5563"}
    left.annotate("best there is", (measured[0], limit), (0, 4), **looks)
    left.set(xlabel="variants measured", ylabel=label, title="Best found")
    _strategy_lines(right, measured, recall, 100.0)
    highest = max(mean for series in recall.values() for mean, *_ in series)
    right.set_ylim(0, min(118 * highest, 104) or 1)
    right.set(xlabel="variants measured", ylabel=recall_label, title="Top found")
    for axes in (left, right):
        axes.set_xticks(measured)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _strategy_lines(
    axes: Axes, measured: Sequence[int], series: Mapping[str, Series], scale: float
) -> None:
    """The first strategy with a band, the others with bars, moved apart a little."""
    step = 0.012 * (measured[-1] - measured[0])
    for index, (name, values) in enumerate(series.items()):
        colour, marker = SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)]
        mean, low, high = scale * np.array(values, dtype=float).T
        x = np.array(measured) + step * (index - (len(series) - 1) / 2) * (index > 0)
        looks = {"color": colour, "marker": marker, "markersize": 4.5, "zorder": 5 - index}
        width = 1.4 if index else 2.2
        axes.plot(x, mean, **looks, linewidth=width, label=name.replace("_", "-"))
        if np.isfinite(low).all() and index == 0:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        elif np.isfinite(low).all():
            axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.5, zorder=1)
