"""Plot of one explained prediction: its parts as a waterfall, and a bar for each mutation."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paratope.evaluation.figures.scans import by_sign, shade_cdrs
from paratope.evaluation.figures.style import GREY, INK, headline, padded, panels, shortened, styled

_SMALLEST_REACH = 0.05  # pKd; axes of bars end no nearer to 0
_LETTERS_PER_INCH = 11  # of the note
_FEWEST_BARS = 20  # a panel is as wide as so many


class ChangeBar(NamedTuple):
    """What one mutation, or one masked residue, contributes."""

    name: str  # Such as ``"S36→A"``
    chain: str
    region: str  # Such as ``"CDR3"``; empty in an antigen
    pkd: float


@styled
def explained_prediction(
    parts: Mapping[str, float],
    changes: Sequence[ChangeBar],
    pkd: float,
    title: str,
    note: str = "",
    unit: str = "pKd",
) -> Figure:
    """Parts that lead to the predicted `pkd`, one below the other; under them the `changes`.

    Parts of 0 are left out. Changes are in order of position, CDRs shaded; the waterfall shows
    their sum as one step, unless there is only one part: that of an occlusion, which adds up to
    nothing.
    """
    width = 1.6 + 0.148 * max(len(changes), 3 * _FEWEST_BARS)
    steps = {name: value for name, value in parts.items() if value}
    if changes and len(parts) > 1:
        together = f"{len(changes)} mutations" if len(changes) > 1 else "1 mutation"
        steps[together] = sum(change.pkd for change in changes)
    heights = [0.34 * (len(steps) + 2), 2.6] if changes else [0.34 * (len(steps) + 2)]
    with rc_context({"font.size": 8}):
        size = width, 1.0 + sum(heights)
        figure, axes = panels(*size, len(heights), height_ratios=heights)
        _waterfall(axes[0], steps, pkd, unit)
        if changes:
            values, x = np.array([change.pkd for change in changes]), np.arange(len(changes))
            axes[1].bar(x, values, color=by_sign(values), width=0.75, zorder=3)
            axes[1].axhline(0, color=INK, linewidth=0.8)
            reach = max(1.2 * float(np.abs(values).max()), _SMALLEST_REACH)
            regions = [f"{change.chain} {change.region}".strip() for change in changes]
            shade_cdrs(axes[1], regions, reach)
            axes[1].set_xticks(x, [change.name for change in changes], rotation=90, fontsize=6.2)
            axes[1].tick_params(axis="x", length=0)
            axes[1].grid(visible=False, axis="x")
            last = max(len(changes), _FEWEST_BARS) - 0.3
            axes[1].set(xlim=(-0.7, last), ylim=(-reach, reach), ylabel=f"contribution, {unit}")
            axes[1].set_xlabel("residues in order of position, IMGT numbers", color=INK)
        headline(figure, title)
        if note:
            axes[0].set_title(
                shortened(note, int(_LETTERS_PER_INCH * width)),
                fontsize=8,
                color=GREY,
                weight="normal",
            )
    return figure


def _waterfall(axes: Axes, steps: Mapping[str, float], pkd: float, unit: str) -> None:
    (first, start), *others = steps.items()
    ends = np.cumsum([start, *(value for _, value in others)])
    low, high = padded(ends, [pkd], share=0.25, least=1.0)
    names, rows = [first], [(low, start - low, INK, f"{start:.2f}")]
    colours = by_sign(np.array([value for _, value in others]))
    for (name, value), before, colour in zip(others, ends, colours, strict=False):
        names.append(name)
        rows.append((before, value, colour, f"{value:+.2f}"))
    if others:
        names.append(f"predicted {unit}")
        rows.append((low, pkd - low, INK, f"{pkd:.2f}"))
    for y, (left, length, colour, text) in enumerate(rows):
        axes.barh(y, length, left=left, color=colour, height=0.62, zorder=3)
        where = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": INK}
        axes.annotate(text, (max(left, left + length), y), (4, 0), **where)
    for y, end in enumerate(ends if others else ()):
        axes.vlines(end, y - 0.31, y + 1.31, color=GREY, linewidth=0.7, zorder=2)
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False, axis="y")
    axes.set(xlim=(low, high), ylim=(len(names) - 0.4, -0.6), xlabel=unit)
