"""Plots of a campaign: held-out predictions, the learning curve, which positions matter."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paratope.evaluation.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SERIES,
    STYLE,
    VERMILION,
    new_figure,
)
from paratope.evaluation.metrics import EvaluationRows

# Above this many rows the intervals of single rows would hide the points.
_SHOWN_INTERVALS = 150
_CDR_SHADE = "#FDF1DC"
_CHAIN_TITLES = {"H": "Heavy chain", "L": "Light chain"}


class PositionEffect(NamedTuple):
    """What a model has learned of one position.

    Attributes
    ----------
    chain : str
        ``"H"`` or ``"L"``.
    position : str
        IMGT number.
    region : str
        Such as ``"CDR3"``.
    size : float
        Root mean square of the learned effects of the mutations measured there, in the campaign's
        units; 0 where there are none.
    mean : float
        Their mean: above 0 they strengthen.
    changes : int
        How many different mutations were measured.
    """

    chain: str
    position: str
    region: str
    size: float
    mean: float
    changes: int


def held_out_predictions(
    rows: EvaluationRows,
    unit: str,
    assays: Sequence[str] | None = None,
    title: str = "Held-out variants",
) -> Figure:
    """Predicted against measured values of rows that the model did not see.

    Parameters
    ----------
    rows : EvaluationRows
        Intervals are drawn where there are few rows; bounds are triangles that point where the true
        value may lie.
    unit : str
        Name of the values, such as ``"pKd"``.
    assays : sequence of str, optional
        Of each row; the first four get a colour each.
    title : str
    """
    with rc_context(STYLE):
        figure, axes = new_figure(5.2, 4.8)
        both = np.concatenate([rows.measured, rows.predicted])
        pad = 0.05 * max(float(np.ptp(both)), 1e-6)
        ends = (float(both.min()) - pad, float(both.max()) + pad)
        axes.plot(ends, ends, color=GREY, linewidth=1, zorder=1)
        names = list(dict.fromkeys(assays)) if assays is not None else [""]
        of_row = np.array(assays if assays is not None else [""] * len(rows), object)
        for colour, name in zip((*SERIES[: len(names)], *[GREY] * len(names)), names, strict=False):
            _points(axes, rows.take(of_row == name), colour, name)
        if len(names) > 1 or rows.censoring.any():
            axes.legend(loc="lower right")
        axes.set(
            xlim=ends,
            ylim=ends,
            aspect="equal",
            xlabel=f"measured {unit}",
            ylabel=f"predicted {unit}, not having seen it",
            title=title,
        )
    return figure


def _points(axes: Axes, rows: EvaluationRows, colour: str, name: str) -> None:
    exact = rows.exact()
    if exact.low is not None and exact.high is not None and len(rows) <= _SHOWN_INTERVALS:
        axes.vlines(
            exact.measured, exact.low, exact.high, color=colour, alpha=0.18, linewidth=2, zorder=2
        )
    alpha = float(np.clip(14 / np.sqrt(max(len(rows), 1)), 0.35, 0.9))
    axes.scatter(
        exact.measured, exact.predicted, s=20, color=colour, alpha=alpha, linewidths=0,
        label=name or "measured", zorder=3,
    )  # fmt: skip
    for code, marker, label in ((-1, "<", "at most"), (1, ">", "at least")):
        some = rows.take(rows.censoring == code)
        if len(some):
            axes.scatter(
                some.measured, some.predicted, s=24, marker=marker, color=ORANGE, alpha=0.75,
                linewidths=0, label=label, zorder=3,
            )  # fmt: skip


def learning_curve(
    sizes: Sequence[int],
    spearman: Sequence[float],
    line: Mapping[str, Sequence[float]],
    variants: int,
    trained: int,
    standards: Mapping[str, float],
) -> Figure:
    """Spearman correlation with held-out values by the number of measured variants.

    Parameters
    ----------
    sizes, spearman : sequence
        As measured.
    line : mapping
        ``variants``, ``spearman``, ``low`` and ``high`` of the fitted line.
    variants : int
        Measured so far: the line is dashed beyond.
    trained : int
        Variants that trivial models were trained on.
    standards : mapping of str to float
        Their Spearman correlations.
    """
    with rc_context(STYLE):
        figure, axes = new_figure(5.8, 4.0)
        x, y = np.asarray(line["variants"], float), np.asarray(line["spearman"], float)
        axes.fill_between(x, line["low"], line["high"], color=BLUE, alpha=0.12, linewidth=0)
        past = x <= variants
        axes.plot(x[past], y[past], color=BLUE, linewidth=2)
        axes.plot(x[~past], y[~past], color=BLUE, linewidth=2, linestyle=(0, (4, 2)))
        axes.plot(sizes, spearman, "o", color=BLUE, markersize=6, label="this model, measured")
        for (name, value), colour in zip(
            standards.items(), (VERMILION, GREEN, ORANGE), strict=False
        ):
            axes.plot([trained], [value], "D", color=colour, markersize=5, label=name)
        axes.axvline(variants, color=GREY, linewidth=1, linestyle=":")
        axes.annotate(
            f"now: {variants}", (variants, 0.95), (4, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=9, color=GREY,
        )  # fmt: skip
        axes.set_xscale("log", base=2)
        ticks = _ticks(float(x.min()), float(x.max()))
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(loc="lower right")
        axes.set(
            xlabel="measured variants",
            ylabel="Spearman with held-out values",
            title="What more measurements should buy (band: 95 %)",
        )
        axes.set_ylim(min(0.0, float(np.min(line["low"])), *spearman) - 0.02, 1.0)
    return figure


def _ticks(low: float, high: float) -> list[int]:
    plates = [8, 16, 24, 48, 96, 192, 384, 768, 1536, 3072, 6144, 12288, 24576, 49152]
    return [one for one in plates if low * 0.95 <= one <= high * 1.05] or [round(low), round(high)]


def position_importance(positions: Sequence[PositionEffect], unit: str) -> Figure:
    """Which positions and regions move the predictions, along the chains.

    Parameters
    ----------
    positions : sequence of PositionEffect
        All positions, in order along the chains.
    unit : str
        Name of the values, such as ``"pKd"``.
    """
    chains = [
        chain for chain in dict.fromkeys(one.chain for one in positions) if chain in _CHAIN_TITLES
    ]
    with rc_context(STYLE):
        count = len(chains) + 1
        figure = Figure(figsize=(9.2, 2.2 * len(chains) + 2.1), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(count, 1, squeeze=False)[:, 0]
        top = max((one.size for one in positions), default=0.0)
        for axes, chain in zip(panels, chains, strict=False):
            _chain_panel(axes, [one for one in positions if one.chain == chain], chain, top, unit)
        _region_panel(panels[-1], [one for one in positions if one.chain in chains], unit)
    return figure


def _chain_panel(
    axes: Axes, positions: Sequence[PositionEffect], chain: str, top: float, unit: str
) -> None:
    start = 0
    for end in range(1, len(positions) + 1):
        if end == len(positions) or positions[end].region != positions[start].region:
            region = positions[start].region
            if region.startswith("CDR"):
                axes.axvspan(start - 0.5, end - 0.5, color=_CDR_SHADE, zorder=0)
            axes.annotate(
                region, ((start + end - 1) / 2, 1.0), (0, 2), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", fontsize=8, color=GREY,
            )  # fmt: skip
            start = end
    sizes = np.array([one.size for one in positions])
    for weakens, colour, name in (
        (True, VERMILION, "weaker, on the whole"),
        (False, BLUE, "stronger, on the whole"),
    ):
        rows = [row for row, one in enumerate(positions) if (one.mean < 0) == weakens]
        axes.bar(rows, sizes[rows], width=0.85, color=colour, label=name)
    named: list[int] = []
    for row in np.argsort(-sizes)[:8].tolist():
        if sizes[row] > 0.1 * top and not {row - 1, row + 1} & set(named):  # no room for both
            named.append(row)
            axes.annotate(
                positions[row].position, (row, sizes[row]), (0, 2), textcoords="offset points",
                ha="center", fontsize=7, rotation=90,
            )  # fmt: skip
    shown = [row for row, one in enumerate(positions) if _is_round(one.position)]
    axes.set_xticks(shown, [positions[row].position for row in shown], fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set(xlim=(-1, len(positions)), ylim=(0, 1.2 * top if top else 1), ylabel=f"effect, {unit}")
    varied = sum(one.changes > 0 for one in positions)
    axes.set_title(f"{_CHAIN_TITLES[chain]}: {varied} positions varied (IMGT numbers)", pad=16)
    if chain == "H":
        axes.legend(  # above, beside the title: bars may stand anywhere
            loc="lower right", bbox_to_anchor=(1.0, 1.09), ncols=2, fontsize=8, borderaxespad=0
        )


def _region_panel(axes: Axes, positions: Sequence[PositionEffect], unit: str) -> None:
    squares: dict[str, float] = {}
    changes: dict[str, int] = {}
    for one in positions:
        name = f"{one.chain} {one.region}"
        squares[name] = squares.get(name, 0.0) + one.changes * one.size**2
        changes[name] = changes.get(name, 0) + one.changes
    names = [name for name, count in changes.items() if count]
    heights = [float(np.sqrt(squares[name] / changes[name])) for name in names]
    colours = [ORANGE if "CDR" in name else GREY for name in names]
    axes.bar(np.arange(len(names)), heights, color=colours, width=0.65)
    labels = [f"{name}\n{changes[name]} mutations" for name in names]
    axes.set_xticks(np.arange(len(names)), labels, fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel=f"effect, {unit}", xlim=(-0.6, max(len(names), 4) - 0.4))
    axes.set_title("A typical measured mutation, by region")


def _is_round(position: str) -> bool:
    return position == "1" or position.endswith("0") and position.isdecimal()


def plates(values: Mapping[str, Sequence[float]], threshold: float, unit: str) -> Figure:
    """Measured values of several sets of variants, one row of points each, with their means.

    Parameters
    ----------
    values : mapping of str to sequence of float
        By name, drawn from top to bottom.
    threshold : float
        What counts as a hit; a dashed line.
    unit : str
        Name of the values, such as ``"pKd"``.
    """
    with rc_context(STYLE):
        figure, axes = new_figure(6.8, 1.1 + 0.75 * len(values))
        place = np.arange(len(values))[::-1]
        labels = []
        for row, (name, some) in zip(place, values.items(), strict=True):
            points = np.asarray(some, float)
            spread = np.random.default_rng(0).uniform(-0.28, 0.28, len(points))
            hits = points >= threshold
            for chosen, colour in ((~hits, GREY), (hits, BLUE)):
                axes.scatter(
                    points[chosen], row + spread[chosen], s=10, color=colour, alpha=0.55,
                    linewidths=0,
                )  # fmt: skip
            axes.plot([points.mean()] * 2, [row - 0.36, row + 0.36], color=VERMILION, linewidth=2.5)
            labels.append(f"{name}\n{int(hits.sum())} of {len(points)} are hits")
        axes.axvline(threshold, color=BLUE, linewidth=1, linestyle=(0, (4, 2)))
        axes.set_yticks(place, labels)
        axes.grid(visible=False, axis="y")
        axes.set(
            xlabel=f"measured {unit} (bars: means; dashed: hits)", ylim=(-0.55, len(values) - 0.45)
        )
    return figure
