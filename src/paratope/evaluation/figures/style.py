"""How every figure looks, and how it becomes a file.

Colours are Okabe and Ito's, told apart by colour-blind readers; densities use cividis. The same
input gives the same bytes: no dates or random identifiers are written.
"""

import io
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6B7280"
SERIES = (BLUE, VERMILION, GREEN, ORANGE)
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.labelsize": 10.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9CA3AF",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E7EB",
    "grid.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#4B5563",
    "ytick.color": "#4B5563",
    "axes.labelcolor": "#111827",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "paratope",
    "svg.fonttype": "path",
}


def new_figure(width: float = 5.4, height: float = 4.6) -> tuple[Figure, Axes]:
    """An empty figure of one panel; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def figure_bytes(figure: Figure, kind: str = "svg") -> bytes:
    """The figure as ``"svg"`` or ``"png"``; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with rc_context(STYLE):
        if figure.get_layout_engine() is not None:  # laid out once: a second time moves it a little
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a ``.png`` or ``.svg`` file, atomically."""
    from paratope.core.files import atomic_file

    with atomic_file(Path(path)) as target:
        target.write(figure_bytes(figure, Path(path).suffix.lstrip(".").lower()))
