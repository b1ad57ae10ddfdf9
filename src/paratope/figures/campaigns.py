"""Plots of a campaign: held-out predictions, the learning curve, which positions matter."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paratope.figures.style import BLUE, GREEN, GREY, ORANGE, SERIES, STYLE, VERMILION, new_figure
from paratope.metrics import Judged

# Above this many rows the intervals of single rows would hide the points.
_SHOWN_INTERVALS = 150
_CDR_SHADE = "#FDF1DC"
_CHAIN_TITLES = {"H": "Heavy chain", "L": "Light chain"}


class PositionShare(NamedTuple):
    """How much one position matters: chain, IMGT number, region, share of all, variants seen."""

    chain: str
    position: str
    region: str
    share: float
    variants: int


def held_out_predictions(rows: Judged, unit: str, assays: Sequence[str] | None = None) -> Figure:
    """Predicted against measured values of rows that the model did not see.

    Parameters
    ----------
    rows : Judged
        Intervals are drawn where there are few rows; bounds are triangles that point where the true
        value may lie.
    unit : str
        Name of the values, such as ``"pKd"``.
    assays : sequence of str, optional
        Of each row; the first four get a colour each.
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
            axes.legend(loc="upper left")
        axes.set(
            xlim=ends,
            ylim=ends,
            aspect="equal",
            xlabel=f"measured {unit}",
            ylabel=f"predicted {unit}, not having seen it",
            title="Held-out variants",
        )
    return figure


def _points(axes: Axes, rows: Judged, colour: str, name: str) -> None:
    if rows.low is not None and rows.high is not None and len(rows) <= _SHOWN_INTERVALS:
        axes.vlines(
            rows.measured, rows.low, rows.high, color=colour, alpha=0.18, linewidth=2, zorder=2
        )
    alpha = float(np.clip(14 / np.sqrt(max(len(rows), 1)), 0.35, 0.9))
    exact = rows.exact()
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
    standards : mapping of str to float
        Spearman of trivial models with the present measurements.
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
            axes.plot([variants], [value], "D", color=colour, markersize=5, label=name)
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


def position_importance(positions: Sequence[PositionShare]) -> Figure:
    """Which positions and regions move the predictions, along the chains.

    Parameters
    ----------
    positions : sequence of PositionShare
        In order along the chains; shares add up to 1 over all of them.
    """
    chains = [
        chain for chain in dict.fromkeys(one.chain for one in positions) if chain in _CHAIN_TITLES
    ]
    others = [one for one in positions if one.chain not in _CHAIN_TITLES]
    with rc_context(STYLE):
        count = len(chains) + 1
        figure = Figure(figsize=(9.2, 2.1 * len(chains) + 2.0), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(count, 1, squeeze=False)[:, 0]
        top = 100 * max((one.share for one in positions), default=0.0)
        for axes, chain in zip(panels, chains, strict=False):
            _chain_panel(axes, [one for one in positions if one.chain == chain], chain, top)
        _region_panel(panels[-1], positions, bool(others))
    return figure


def _chain_panel(axes: Axes, positions: Sequence[PositionShare], chain: str, top: float) -> None:
    place = np.arange(len(positions))
    shares = 100 * np.array([one.share for one in positions])
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
    colours = [BLUE if one.variants else "#9CA3AF" for one in positions]
    axes.bar(place, shares, width=0.85, color=colours)
    for row in np.argsort(-shares)[:8]:
        if shares[row] > 0.1 * top:
            axes.annotate(
                positions[row].position, (row, shares[row]), (0, 2), textcoords="offset points",
                ha="center", fontsize=7, rotation=90,
            )  # fmt: skip
    shown = [row for row, one in enumerate(positions) if _is_round(one.position)]
    axes.set_xticks(shown, [positions[row].position for row in shown], fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set(xlim=(-1, len(positions)), ylim=(0, 1.18 * top if top else 1), ylabel="share, %")
    unseen = "" if all(one.variants for one in positions) else " (grey: not varied so far)"
    axes.set_title(f"{_CHAIN_TITLES[chain]}, IMGT numbers{unseen}", pad=16)


def _is_round(position: str) -> bool:
    return position == "1" or position.endswith("0") and position.isdecimal()


def _region_panel(axes: Axes, positions: Sequence[PositionShare], with_antigen: bool) -> None:
    totals: dict[str, float] = {}
    for one in positions:
        name = f"{one.chain} {one.region}" if one.chain in _CHAIN_TITLES else "antigen"
        totals[name] = totals.get(name, 0.0) + 100 * one.share
    if not with_antigen:
        totals.pop("antigen", None)
    place = np.arange(len(totals))
    colours = [ORANGE if "CDR" in name else BLUE for name in totals]
    axes.bar(place, list(totals.values()), color=colours, width=0.7)
    axes.set_xticks(place, list(totals), rotation=35, ha="right", fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="share, %")
    axes.set_title("Regions")
