"""Plots of mutational scans: heat maps along a chain, profiles, combinations, specificity."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from paratope.core.errors import InputError
from paratope.evaluation.figures.style import BLUE, GREY, ORANGE, STYLE, VERMILION

# Residues from hydrophobic over small and polar to charged: alike ones side by side.
RESIDUE_ORDER = "WFYMLIVCAGPSTNQHKRDE"
# Colours saturate at this share of the absolute changes, and never below the smallest scale.
_SATURATION, _SMALLEST_SCALE = 0.98, 0.05
# Of a bold title, so that a long one is broken inside the figure.
_LETTERS_PER_INCH = 9
# Intervals are drawn into a profile if half of one is at most so many times the largest change.
_WIDEST_LINES = 4
_INK, _FAINT, _CDR_FILL = "#111827", "#6B7280", "#FDE68A"


def heat_map(
    changes: np.ndarray,
    residues: str,
    positions: Sequence[str],
    regions: Sequence[str],
    *,
    label: str,
    title: str,
    subtitle: str = "",
    warning: str = "",
    scale: float | None = None,
) -> Figure:
    """Change by each residue at each place of a chain; blue is stronger.

    Parameters
    ----------
    changes : np.ndarray
        (20, residues) in the order of `RESIDUE_ORDER`; NaN where nothing was predicted.
    residues : str
        The chain's own, marked by a dot.
    positions : sequence of str
        IMGT numbers.
    regions : sequence of str
        ``CDR1`` and so on: borders are drawn around the CDRs.
    label : str
        Of the colours, with the unit.
    title, subtitle, warning : str
        The warning stands behind the subtitle, in red.
    scale : float, optional
        Where the colours end, on both sides of 0 (`colour_scale`); that of `changes` by default.

    Raises
    ------
    InputError
        If the parts are not of one length.
    """
    length = len(residues)
    if changes.shape != (len(RESIDUE_ORDER), length) or not length == len(positions) == len(
        regions
    ):
        raise InputError(
            f"heat map: {changes.shape} changes for {length} residues, {len(positions)} positions"
        )
    with rc_context({**STYLE, "axes.grid": False, "font.size": 8}):
        figure = Figure(figsize=(2.2 + 0.148 * max(length, 40), 5.3), layout="constrained")
        FigureCanvasAgg(figure)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(5.2, 1))
        bound = colour_scale(changes) if scale is None else scale
        norm = TwoSlopeNorm(0, -bound, bound)
        image = top.imshow(
            np.ma.masked_invalid(changes), cmap="RdBu", norm=norm, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        top.set_facecolor("#E5E7EB")
        own = [(place, RESIDUE_ORDER.find(letter)) for place, letter in enumerate(residues)]
        known = np.array([one for one in own if one[1] >= 0])
        top.scatter(known[:, 0], known[:, 1], s=7, color=_INK, linewidths=0)
        top.set_yticks(range(len(RESIDUE_ORDER)), list(RESIDUE_ORDER), family="monospace")
        top.tick_params(length=0, labelbottom=False)
        colours = figure.colorbar(image, ax=top, pad=0.008, aspect=28, extend="both")
        colours.set_label(label)
        colours.outline.set_visible(False)  # type: ignore[operator]
        _mean_profile(bottom, changes, bound)
        bottom.set_xticks(range(length), _tick_labels(residues, positions), linespacing=1.15)
        bottom.tick_params(axis="x", length=0, labelsize=6.2, colors=_INK, pad=2)
        bottom.set_xlabel("residue of the parent, and its IMGT number", color=_INK)
        for start, stop, name in _runs(regions):
            if name.startswith("CDR"):
                for axes in (top, bottom):
                    axes.axvspan(start - 0.5, stop - 0.5, facecolor="none", edgecolor=_INK, lw=1.1)
                bottom.axvspan(start - 0.5, stop - 0.5, color=_CDR_FILL, alpha=0.35, zorder=0, lw=0)
            weight = "bold" if name.startswith("CDR") else "normal"
            colour = _INK if name.startswith("CDR") else _FAINT
            top.text(
                (start + stop - 1) / 2, -0.8, name, ha="center", va="bottom", fontsize=8,
                weight=weight, color=colour,
            )  # fmt: skip
        top.set_xlim(-0.5, length - 0.5)
        wrapped = textwrap.fill(title, int(_LETTERS_PER_INCH * figure.get_figwidth()))
        figure.suptitle(wrapped, x=0.01, ha="left", weight="bold", fontsize=11)
        top.set_title(subtitle, fontsize=8.5, weight="normal", color=_FAINT, pad=17)
        if warning:
            top.set_title(
                warning, loc="right", fontsize=8.5, weight="bold", color="#B91C1C", pad=17
            )
    return figure


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
    """One change for each place of a chain, as a bar, with its interval as a line.

    Intervals far wider than all changes are not drawn, but named in the title.

    Parameters
    ----------
    changes, low, high : sequence of float
    names : sequence of str
        Of the places.
    regions : sequence of str
        CDRs are drawn on a ground.
    label : str
        Of the changes, with the unit.
    title : str
    """
    values = np.asarray(changes, dtype=float)
    with rc_context({**STYLE, "font.size": 8}):
        figure = Figure(figsize=(1.6 + 0.148 * max(len(values), 20), 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        place = np.arange(len(values))
        colour = [BLUE if value > 0 else VERMILION for value in values]
        axes.bar(place, values, color=colour, width=0.75, zorder=3)
        bound = max(1.15 * float(np.nanmax(np.abs(values), initial=0.0)), _SMALLEST_SCALE)
        half = float(np.nanmedian((np.asarray(high, float) - np.asarray(low, float)) / 2))
        if half < _WIDEST_LINES * bound:  # wider ones would hide the bars, and say nothing apart
            bound = max(bound, 1.05 * float(np.nanmax(np.abs([low, high]))))
            axes.vlines(place, low, high, color=GREY, linewidth=0.7, alpha=0.7, zorder=2)
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.set_ylim(-bound, bound)
        for start, stop, name in _runs(regions):
            if "CDR" in name:
                axes.axvspan(start - 0.5, stop - 0.5, color=_CDR_FILL, alpha=0.35, zorder=0, lw=0)
                axes.text((start + stop - 1) / 2, bound, name, ha="center", va="bottom", fontsize=8)
        axes.set_xticks(place, list(names), rotation=90, fontsize=6.2)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.7, len(values) - 0.3)
        axes.set_ylabel(label)
        axes.set_xlabel("residue of the parent, and its IMGT number", color=_INK)
        axes.set_title(f"{title} (interval of each: ±{half:.2f})", pad=16)
    return figure


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
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.3 + 0.27 * len(names)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        place = np.arange(len(names))[::-1]
        axes.axvline(0, color=GREY, linewidth=1)
        axes.hlines(place, low, high, color=BLUE, alpha=0.35, linewidth=4)
        axes.plot(changes, place, "o", color=BLUE, markersize=5)
        axes.set_yticks(place, list(names), fontsize=8.5)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=label, ylim=(-0.7, len(names) - 0.3), title=title)
    return figure


def specificity(
    antigens: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    on_target: np.ndarray,
    off_target: np.ndarray,
    names: Sequence[str],
    *,
    label: str,
    value_label: str,
) -> Figure:
    """What the parent does with each antigen, and what its variants change on and off target.

    Parameters
    ----------
    antigens : sequence of str
        The target first.
    values, low, high : sequence of float
        Of the parent against each antigen.
    on_target, off_target : np.ndarray
        (variants,): change against the target, and the largest against another antigen.
    names : sequence of str
        Of the variants; the most selective ones are labelled.
    label, value_label : str
        Of changes and of the parent's values, with the unit.
    """
    with rc_context(STYLE):
        height = max(4.2, 1.4 + 0.32 * len(antigens))
        figure = Figure(figsize=(10.4, height), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        place = np.arange(len(antigens))[::-1]
        colours = [BLUE, *[ORANGE] * (len(antigens) - 1)]
        left.hlines(place, low, high, color=colours, alpha=0.4, linewidth=4)
        left.scatter(values, place, color=colours, s=34, zorder=3)
        left.axvline(values[0], color=GREY, linewidth=1, linestyle="--")
        left.set_yticks(place, [_short(name) for name in antigens])
        left.grid(visible=False, axis="y")
        left.set(xlabel=value_label, ylim=(-0.7, len(antigens) - 0.3), title="The parent")
        if len(on_target):
            both = np.concatenate([on_target, off_target])
            pad = 0.05 * max(float(np.ptp(both)), 0.02)
            ends = float(both.min()) - pad, float(both.max()) + pad
            right.fill_between(ends, [ends[0]] * 2, ends, color="#DBEAFE", alpha=0.6, zorder=0)
            right.plot(ends, ends, color=GREY, linewidth=1)
            right.axhline(0, color=GREY, linewidth=0.6)
            right.axvline(0, color=GREY, linewidth=0.6)
            alpha = float(np.clip(12 / np.sqrt(len(on_target)), 0.3, 0.9))
            right.scatter(on_target, off_target, s=14, color=BLUE, alpha=alpha, linewidths=0)
            for number in np.argsort(off_target - on_target)[:6]:
                right.annotate(
                    names[number], (on_target[number], off_target[number]), xytext=(4, -4),
                    textcoords="offset points", fontsize=7.5, color=_INK,
                )  # fmt: skip
            right.set(xlim=ends, ylim=ends)
        right.set(
            xlabel=f"{label} on {_short(antigens[0])}",
            ylabel=f"{label}, largest on another antigen",
            title="Variants (in the shade: more selective)",
        )
    return figure


def colour_scale(changes: np.ndarray) -> float:
    """Where the colours of changes end: the same distance on both sides of 0."""
    sizes = np.abs(changes[np.isfinite(changes)])
    return max(float(np.quantile(sizes, _SATURATION)) if len(sizes) else 0.0, _SMALLEST_SCALE)


def _mean_profile(axes: Axes, changes: np.ndarray, bound: float) -> None:
    with np.errstate(invalid="ignore"):
        filled = np.isfinite(changes).any(axis=0)
        mean = np.full(changes.shape[1], np.nan)
        mean[filled] = np.nanmean(changes[:, filled], axis=0)
    colour = [BLUE if value > 0 else VERMILION for value in np.nan_to_num(mean)]
    axes.bar(np.arange(len(mean)), np.nan_to_num(mean), color=colour, width=0.8)
    axes.axhline(0, color=_INK, linewidth=0.6)
    reach = min(bound, 1.15 * max(float(np.nanmax(np.abs(mean), initial=0.0)), 1e-3))
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("mean", fontsize=8)
    axes.locator_params(axis="y", nbins=3)


def _tick_labels(residues: str, positions: Sequence[str]) -> list[str]:
    """Residue over its number, the digits one below the other: all fit without turning the head."""
    return [
        "\n".join((letter, *number)) for letter, number in zip(residues, positions, strict=True)
    ]


def _runs(regions: Sequence[str]) -> list[tuple[int, int, str]]:
    """Start, end and name of each stretch of one region."""
    found: list[tuple[int, int, str]] = []
    for place, name in enumerate(regions):
        if found and found[-1][2] == name:
            found[-1] = (found[-1][0], place + 1, name)
        else:
            found.append((place, place + 1, name))
    return found


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"
