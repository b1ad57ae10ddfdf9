"""How every figure looks, and how it becomes a file.

Colours are Okabe and Ito's, told apart by colour-blind readers; densities use cividis. The same
input gives the same bytes: no dates or random identifiers are written.
"""

import functools
import io
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paratope.core.files import atomic_file

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6B7280"
INK = "#111827"
SERIES = (BLUE, VERMILION, GREEN, ORANGE, GREY)
STYLE = rc_params_from_file(Path(__file__).parent / "paratope.mplstyle", use_default_template=False)
# Of a bold title, so that a long one is broken inside the figure.
_LETTERS_PER_INCH = 9
_P = ParamSpec("_P")


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """A function that draws a figure, in this style and without touching matplotlib's state."""

    @functools.wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def panels(
    width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[Figure, list[Axes]]:
    """An empty figure of some panels, row by row; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid).ravel().tolist()


def padded(*values: Any, share: float = 0.05, least: float = 1e-6) -> tuple[float, float]:
    """Ends of an axis that holds all values, with a share of their range to spare."""
    every = np.concatenate(values)
    pad = share * max(float(np.ptp(every)), least)
    return float(every.min()) - pad, float(every.max()) + pad


def headline(figure: Figure, title: str) -> None:
    """Put a title of any length above a figure."""
    broken = textwrap.fill(title, int(_LETTERS_PER_INCH * figure.get_figwidth()))
    figure.suptitle(broken, x=0.01, ha="left", weight="bold", fontsize=11)


def shortened(name: str, letters: int = 28) -> str:
    """A name that leaves room for others: its middle, which tells least, is left out.

    >>> shortened("HER2"), shortened("plate-17-well-B07", 9)
    ('HER2', 'plat…-B07')
    """
    half = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[:half]}…{name[-half:]}"


def faint(count: int) -> float:
    """Opacity at which so many points can still be told apart."""
    return float(np.clip(13 / np.sqrt(max(count, 1)), 0.35, 0.9))


def figure_bytes(figure: Figure, kind: str = "svg") -> bytes:
    """The figure as ``"svg"`` or ``"png"``; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with rc_context(STYLE):
        if figure.get_layout_engine() is not None:  # laid out once: a second time moves it a little
            figure.draw_without_rendering()
            figure.set_layout_engine(None)  # "none" keeps one, and each saving draws twice
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a ``.png`` or ``.svg`` file, atomically."""
    with atomic_file(Path(path)) as target:
        target.write(figure_bytes(figure, Path(path).suffix.lstrip(".").lower()))
