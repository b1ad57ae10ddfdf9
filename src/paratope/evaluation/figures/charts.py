"""Plots of a report: predictions, residuals, intervals, errors by range of affinity."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from paratope.core.censoring import Censoring
from paratope.evaluation.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    VERMILION,
    faint,
    padded,
    panels,
    styled,
)
from paratope.evaluation.metrics import (
    EvaluationRows,
    calibration_curve,
    errors,
    selective_risk_curve,
)

_SIZE = (5.4, 4.6)
# Above this many rows, points become hexagons coloured by how many rows they hold.
DENSE_ROWS = 1500


def _density(axes: Axes, x: np.ndarray, y: np.ndarray, figure: Figure) -> None:
    if len(x) > DENSE_ROWS:
        cells = axes.hexbin(x, y, gridsize=55, bins="log", mincnt=1, cmap="cividis", linewidths=0.1)
        bar = figure.colorbar(cells, ax=axes, label="rows", pad=0.02, format="{x:,.0f}")
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.scatter(x, y, s=18, color=BLUE, alpha=faint(len(x)), linewidths=0, label="measured")


def draw_bounds(axes: Axes, rows: EvaluationRows) -> None:
    """Censored rows as triangles that point where the true value may lie."""
    for kind, marker in ((Censoring.AT_MOST, "<"), (Censoring.AT_LEAST, ">")):
        bounds = rows.take(rows.censoring == kind)
        if len(bounds):
            looks = {"s": 23, "marker": marker, "color": ORANGE, "alpha": 0.7, "linewidths": 0}
            label = kind.name.lower().replace("_", " ")
            axes.scatter(bounds.measured, bounds.predicted, **looks, label=label, zorder=3)


@styled
def predicted_versus_measured(rows: EvaluationRows) -> Figure:
    """Predicted against measured pKd, both axes on the same scale; bounds as triangles."""
    figure, (axes,) = panels(*_SIZE)
    ends = low, high = padded(rows.measured, rows.predicted, share=0.04, least=1.0)
    axes.fill_between(ends, [low - 1, high - 1], [low + 1, high + 1], color="#F3F4F6", zorder=0)
    axes.plot(ends, ends, color=GREY, linewidth=1, zorder=1)
    exact = rows.exact()
    _density(axes, exact.measured, exact.predicted, figure)
    draw_bounds(axes, rows)
    if rows.censoring.any():
        axes.legend(loc="upper left")
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="measured pKd", ylabel="predicted pKd")
    axes.set_title("Predicted against measured (band: ±1 log)")
    return figure


@styled
def residuals(rows: EvaluationRows) -> Figure:
    """Error against measured pKd, with the mean error of ten equal slices of the rows."""
    figure, (axes,) = panels(*_SIZE)
    axes.axhline(0, color=GREY, linewidth=1)
    error = errors(rows)
    _density(axes, rows.measured, error, figure)
    slices = np.array_split(np.argsort(rows.measured, kind="stable"), min(10, len(rows)))
    centres = [float(rows.measured[part].mean()) for part in slices]
    means = [float(error[part].mean()) for part in slices]
    label = "mean of a tenth of the rows"
    axes.plot(centres, means, "o-", color=VERMILION, markersize=5, label=label)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.16 * (high - low))  # room for the legend
    axes.legend(loc="upper right", ncols=2)
    axes.set(xlabel="measured pKd", ylabel="predicted - measured, log10 units", title="Residuals")
    return figure


@styled
def calibration(rows: EvaluationRows) -> Figure:
    """Share of exact rows inside their interval against the share the interval claims."""
    claimed, observed = (100 * share for share in calibration_curve(rows))
    figure, (axes,) = panels(*_SIZE)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, label="as claimed")
    axes.fill_between(claimed, claimed, observed, color=BLUE, alpha=0.15)
    axes.plot(claimed, observed, color=BLUE, linewidth=2, label="observed")
    axes.legend(loc="upper left")
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", title="Calibration of the intervals")
    axes.set(xlabel="claimed coverage, %", ylabel="measured values inside, %")
    return figure


@styled
def selective_risk(rows: EvaluationRows) -> Figure:
    """RMSE when only the rows with the narrowest intervals are kept."""
    share, risk = selective_risk_curve(rows)
    figure, (axes,) = panels(*_SIZE)
    axes.plot(100 * share, risk, "o-", color=BLUE, markersize=4)
    axes.axhline(risk[-1], color=GREY, linewidth=1)
    axes.set(xlim=(0, 103), ylim=(0, 1.1 * float(risk.max())), ylabel="RMSE, log10 units")
    axes.set_xlabel("rows kept, narrowest intervals first, %")
    axes.set_title("Does the interval's width tell?")
    return figure


@styled
def per_bin(
    names: Sequence[str], rows: Sequence[int], rmse: Sequence[float], bias: Sequence[float]
) -> Figure:
    """RMSE and bias by range of measured pKd, NaN where undefined, and the rows in each."""
    figure, (axes,) = panels(*_SIZE)
    x = np.arange(len(names))
    axes.bar(x - 0.2, rmse, width=0.38, color=BLUE, label="RMSE")
    axes.bar(x + 0.2, bias, width=0.38, color=ORANGE, label="bias (predicted - measured)")
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xticks(x, [f"{name}\n{count:,}" for name, count in zip(names, rows, strict=True)])
    axes.grid(visible=False, axis="x")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.18 * (high - low))
    axes.legend(loc="upper right", ncols=2)
    axes.set(ylabel="log10 units", title="Error by range of affinity")
    axes.set_xlabel("measured pKd, and rows in each range")
    return figure
