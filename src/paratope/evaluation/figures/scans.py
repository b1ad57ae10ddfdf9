"""Plots of mutational scans: heat maps along a chain, profiles, combinations, specificity."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from paratope.core.errors import InputError
from paratope.evaluation.figures.campaigns import region_runs
from paratope.evaluation.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    headline,
    padded,
    panels,
    shortened,
    styled,
)

# Residues from hydrophobic over small and polar to charged: similar ones side by side.
RESIDUE_ORDER = "WFYMLIVCAGPSTNQHKRDE"
# Colours saturate at this share of the absolute changes, and never below the smallest scale.
_SATURATION, _SMALLEST_SCALE = 0.98, 0.05
# Intervals are drawn into a profile if half of one is at most so many times the largest change.
_WIDEST_LINES = 4
_CDR_FILL = {"color": "#FDE68A", "alpha": 0.35, "zorder": 0, "lw": 0}
_X_LABEL = "residue of the parent, and its IMGT number"


@styled
def heat_map(
    changes: np.ndarray,
    sites: Sequence[tuple[str, str, str]],
    *,
    label: str,
    title: str,
    subtitle: str = "",
    warning: str = "",
    scale: float | None = None,
) -> Figure:
    """Change by each residue at each position of a chain; blue is stronger.

    `changes` (20, sites) is in the order of `RESIDUE_ORDER`, NaN where nothing was predicted; a
    site is the parent's residue, marked by a dot, its IMGT number and its region (CDRs have
    borders). Colours end at ±`scale`, by default the `colour_scale` of `changes`. Raises
    `InputError` if the parts are not of one length.
    """
    length = len(sites)
    if changes.shape != (len(RESIDUE_ORDER), length):
        raise InputError(
            f"heat map: changes of shape {changes.shape} for {length} sites; expected "
            f"({len(RESIDUE_ORDER)}, {length})"
        )
    bound = colour_scale(changes) if scale is None else scale
    with rc_context({"axes.grid": False, "font.size": 8}):
        size = (2.2 + 0.148 * max(length, 40), 5.3)
        figure, (top, bottom) = panels(*size, rows=2, sharex=True, height_ratios=(5.2, 1))
        image = top.imshow(
            np.ma.masked_invalid(changes),
            norm=TwoSlopeNorm(0, -bound, bound),
            cmap="RdBu",
            aspect="auto",
            interpolation="nearest",
        )
        top.set_facecolor("#E5E7EB")
        parent = np.array([RESIDUE_ORDER.find(residue) for residue, *_ in sites])
        dots = np.flatnonzero(parent >= 0)  # X has no row
        top.scatter(dots, parent[dots], s=7, color=INK, linewidths=0)
        top.set_yticks(range(len(RESIDUE_ORDER)), list(RESIDUE_ORDER), family="monospace")
        top.tick_params(length=0, labelbottom=False)
        colours = figure.colorbar(image, ax=top, pad=0.008, aspect=28, extend="both")
        colours.set_label(label)
        colours.outline.set_visible(False)  # type: ignore[operator]
        known = np.isfinite(changes)
        mean = np.where(known, changes, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        bottom.bar(np.arange(length), mean, color=by_sign(mean), width=0.8)
        bottom.axhline(0, color=INK, linewidth=0.6)
        reach = min(bound, 1.15 * max(float(np.abs(mean).max(initial=0.0)), 1e-3))
        bottom.set_ylim(-reach, reach)
        bottom.set_ylabel("mean", fontsize=8)
        bottom.locator_params(axis="y", nbins=3)
        # the digits one below the other: all fit without turning the head
        ticks = ["\n".join((residue, *number)) for residue, number, _ in sites]
        bottom.set_xticks(range(length), ticks, linespacing=1.15)
        bottom.tick_params(axis="x", length=0, labelsize=6.2, colors=INK, pad=2)
        bottom.set_xlabel(_X_LABEL, color=INK)
        for start, stop, region in region_runs([site[2] for site in sites]):
            is_cdr = region.startswith("CDR")
            if is_cdr:
                for axes in (top, bottom):
                    axes.axvspan(start - 0.5, stop - 0.5, facecolor="none", edgecolor=INK, lw=1.1)
                bottom.axvspan(start - 0.5, stop - 0.5, **_CDR_FILL)
            looks: dict[str, Any] = (
                {"weight": "bold", "color": INK} if is_cdr else {"weight": "normal", "color": GREY}
            )
            middle = (start + stop - 1) / 2
            top.text(middle, -0.8, region, ha="center", va="bottom", fontsize=8, **looks)
        top.set_xlim(-0.5, length - 0.5)
        headline(figure, title)
        top.set_title(subtitle, fontsize=8.5, weight="normal", color=GREY, pad=17)
        if warning:
            looks = {"fontsize": 8.5, "color": "#B91C1C", "pad": 17}
            top.set_title(f"{warning}\n", loc="right", **looks)  # above the subtitle
    return figure


@styled
def position_profile(
    changes: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    names: Sequence[str],
    regions: Sequence[str],
    *,
    label: str,
    title: str,
) -> Figure:
    """One change for each position of a chain, as a bar, with its interval as a line.

    Intervals far wider than all changes are not drawn, but named in the title.
    """
    values = np.asarray(changes, dtype=float)
    with rc_context({"font.size": 8}):
        figure, (axes,) = panels(1.6 + 0.148 * max(len(values), 20), 3.4)
        x = np.arange(len(values))
        axes.bar(x, values, color=by_sign(values), width=0.75, zorder=3)
        bound = max(1.15 * float(np.nanmax(np.abs(values), initial=0.0)), _SMALLEST_SCALE)
        half = float(np.nanmedian((np.asarray(high, float) - np.asarray(low, float)) / 2))
        if half < _WIDEST_LINES * bound:  # wider ones would hide the bars, and say nothing apart
            bound = max(bound, 1.05 * float(np.nanmax(np.abs([low, high]))))
            axes.vlines(x, low, high, color=GREY, linewidth=0.7, alpha=0.7, zorder=2)
        axes.axhline(0, color=INK, linewidth=0.8)
        shade_cdrs(axes, regions, bound)
        axes.set_xticks(x, list(names), rotation=90, fontsize=6.2)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set(xlim=(-0.7, len(values) - 0.3), ylim=(-bound, bound), ylabel=label)
        axes.set_xlabel(_X_LABEL, color=INK)
        headline(figure, f"{title} (interval of each: ±{half:.2f})")
    return figure


@styled
def ranked_changes(
    names: Sequence[str],
    changes: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    label: str,
    title: str,
) -> Figure:
    """Changes of variants with their intervals, one line each, in the order given."""
    figure, (axes,) = panels(7.2, 1.3 + 0.27 * len(names))
    y = np.arange(len(names))[::-1]
    axes.axvline(0, color=GREY, linewidth=1)
    axes.hlines(y, low, high, color=BLUE, alpha=0.35, linewidth=4)
    axes.plot(changes, y, "o", color=BLUE, markersize=5)
    axes.set_yticks(y, [shortened(name, 48) for name in names], fontsize=8.5)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel=label, ylim=(-0.7, len(names) - 0.3))
    headline(figure, title)
    return figure


@styled
def specificity(
    antigens: Sequence[str],
    parent: Sequence[tuple[float, float, float]],
    on_target: np.ndarray,
    off_target: np.ndarray,
    names: Sequence[str],
    *,
    label: str,
    value_label: str,
) -> Figure:
    """The parent's (value, low, high) by antigen, the target first; its variants on and off target.

    `on_target` and `off_target` (variants,) are the change against the target and the largest
    against another antigen; the most selective of the `names` are labelled.
    """
    shown = [shortened(name) for name in antigens]
    height = max(4.2, 1.4 + 0.32 * len(antigens))
    figure, (left, right) = panels(10.4, height, columns=2, width_ratios=(1, 1.15))
    y = np.arange(len(antigens))[::-1]
    values, low, high = np.array(parent, dtype=float).T
    colours = [BLUE, *[ORANGE] * (len(antigens) - 1)]
    left.hlines(y, low, high, color=colours, alpha=0.4, linewidth=4)
    left.scatter(values, y, color=colours, s=34, zorder=3)
    left.axvline(values[0], color=GREY, linewidth=1, linestyle="--")
    left.set_yticks(y, shown)
    left.grid(visible=False, axis="y")
    left.set(xlabel=value_label, ylim=(-0.7, len(antigens) - 0.3), title="The parent")
    if len(on_target):
        ends = padded(on_target, off_target, least=0.02)
        right.fill_between(ends, [ends[0]] * 2, ends, color="#DBEAFE", alpha=0.6, zorder=0)
        right.plot(ends, ends, color=GREY, linewidth=1)
        right.axhline(0, color=GREY, linewidth=0.6)
        right.axvline(0, color=GREY, linewidth=0.6)
        alpha = float(np.clip(12 / np.sqrt(len(on_target)), 0.3, 0.9))
        right.scatter(on_target, off_target, s=14, color=BLUE, alpha=alpha, linewidths=0)
        looks: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": INK}
        for row in np.argsort(off_target - on_target)[:6]:
            side = -1 if on_target[row] > sum(ends) / 2 else 1  # towards the middle
            looks |= {"ha": "left" if side > 0 else "right", "xytext": (4 * side, -4)}
            point, name = (on_target[row], off_target[row]), shortened(names[int(row)])
            right.annotate(name, point, **looks)
        right.set(xlim=ends, ylim=ends)
    right.set(xlabel=f"{label} on {shown[0]}", ylabel=f"{label}, largest on another antigen")
    right.set_title("Variants (in the shade: more selective)")
    return figure


def colour_scale(changes: np.ndarray) -> float:
    """Where the colours of changes end: the same distance on both sides of 0."""
    sizes = np.abs(changes[np.isfinite(changes)])
    return max(float(np.quantile(sizes, _SATURATION)) if len(sizes) else 0.0, _SMALLEST_SCALE)


def shade_cdrs(axes: Axes, regions: Sequence[str], top: float) -> None:
    """Shade the bars of each CDR, one bar a region's name, and write its name at the top."""
    for start, stop, region in region_runs(regions):
        if "CDR" in region:
            axes.axvspan(start - 0.5, stop - 0.5, **_CDR_FILL)
            middle = (start + stop - 1) / 2
            axes.text(middle, top, region, ha="center", va="bottom", fontsize=8)


def by_sign(values: np.ndarray) -> list[str]:
    """Colours of changes: blue is stronger."""
    return [BLUE if value > 0 else VERMILION for value in values]
