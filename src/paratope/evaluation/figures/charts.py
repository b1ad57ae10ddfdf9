"""Plots of predictions, training and comparisons. Each takes arrays and returns a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paratope.core.errors import InputError
from paratope.evaluation.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    SERIES,
    STYLE,
    VERMILION,
    new_figure,
)
from paratope.evaluation.metrics import (
    EvaluationRows,
    calibration_curve,
    errors,
    selective_risk_curve,
)

# Above this many rows, points become hexagons coloured by how many rows they hold.
DENSE_ROWS = 1500


def _density(axes: Axes, x: np.ndarray, y: np.ndarray, figure: Figure) -> None:
    if len(x) > DENSE_ROWS:
        cells = axes.hexbin(x, y, gridsize=55, bins="log", mincnt=1, cmap="cividis", linewidths=0.1)
        figure.colorbar(cells, ax=axes, label="rows", pad=0.02)
    else:
        alpha = float(np.clip(12 / np.sqrt(max(len(x), 1)), 0.35, 0.9))
        axes.scatter(x, y, s=18, color=BLUE, alpha=alpha, linewidths=0, label="measured")


def predicted_versus_measured(rows: EvaluationRows) -> Figure:
    """Predicted against measured pKd; bounds as triangles that point where the value may lie.

    Parameters
    ----------
    rows : EvaluationRows

    Returns
    -------
    Figure
        Both axes in pKd, on the same scale.
    """
    with rc_context(STYLE):
        figure, axes = new_figure()
        both = np.concatenate([rows.measured, rows.predicted])
        pad = 0.04 * max(float(np.ptp(both)), 1.0)
        low, high = float(both.min()) - pad, float(both.max()) + pad
        axes.fill_between(
            [low, high], [low - 1, high - 1], [low + 1, high + 1], color="#F3F4F6", zorder=0
        )
        axes.plot([low, high], [low, high], color=GREY, linewidth=1, zorder=1)
        exact = rows.exact()
        _density(axes, exact.measured, exact.predicted, figure)
        for code, marker, name in ((-1, "<", "at most"), (1, ">", "at least")):
            some = rows.take(rows.censoring == code)
            if len(some):
                axes.scatter(
                    some.measured, some.predicted, s=22, marker=marker, color=ORANGE, alpha=0.7,
                    linewidths=0, label=name,
                )  # fmt: skip
        if rows.censoring.any():
            axes.legend(loc="upper left")
        axes.set(
            xlim=(low, high),
            ylim=(low, high),
            aspect="equal",
            xlabel="measured pKd",
            ylabel="predicted pKd",
            title="Predicted against measured (band: ±1 log)",
        )
    return figure


def residuals(rows: EvaluationRows) -> Figure:
    """Error against measured pKd, with the mean error of ten equal slices of the rows."""
    with rc_context(STYLE):
        figure, axes = new_figure()
        axes.axhline(0, color=GREY, linewidth=1)
        error = errors(rows)
        _density(axes, rows.measured, error, figure)
        slices = np.array_split(np.argsort(rows.measured, kind="stable"), min(10, len(rows)))
        centres = [float(rows.measured[part].mean()) for part in slices]
        means = [float(error[part].mean()) for part in slices]
        axes.plot(
            centres, means, "o-", color=VERMILION, markersize=5, label="mean of a tenth of the rows"
        )
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.16 * (high - low))  # room for the legend
        axes.legend(loc="upper right", ncols=2)
        axes.set(
            xlabel="measured pKd",
            ylabel="predicted - measured, log10 units",
            title="Residuals",
        )
    return figure


def calibration(rows: EvaluationRows) -> Figure:
    """Share of exact rows inside their interval against the share the interval claims."""
    claimed, observed = calibration_curve(rows)
    with rc_context(STYLE):
        figure, axes = new_figure()
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, label="as claimed")
        axes.fill_between(100 * claimed, 100 * claimed, 100 * observed, color=BLUE, alpha=0.15)
        axes.plot(100 * claimed, 100 * observed, color=BLUE, linewidth=2, label="observed")
        axes.legend(loc="upper left")
        axes.set(
            xlim=(0, 100),
            ylim=(0, 100),
            aspect="equal",
            xlabel="claimed coverage, %",
            ylabel="measured values inside, %",
            title="Calibration of the intervals",
        )
    return figure


def selective_risk(rows: EvaluationRows) -> Figure:
    """RMSE when only the rows with the narrowest intervals are kept."""
    share, risk = selective_risk_curve(rows)
    with rc_context(STYLE):
        figure, axes = new_figure()
        axes.plot(100 * share, risk, "o-", color=BLUE, markersize=4)
        axes.axhline(risk[-1], color=GREY, linewidth=1)
        axes.set(
            xlim=(0, 103),
            ylim=(0, 1.1 * float(risk.max())),
            xlabel="rows kept, narrowest intervals first, %",
            ylabel="RMSE, log10 units",
            title="Does the interval's width tell?",
        )
    return figure


def per_bin(
    names: Sequence[str], rows: Sequence[int], rmse: Sequence[float], bias: Sequence[float]
) -> Figure:
    """RMSE and bias by range of measured pKd, with the number of rows in each.

    Parameters
    ----------
    names : sequence of str
        Ranges, such as ``"5–7"``.
    rows : sequence of int
    rmse, bias : sequence of float
        log10 units; NaN where undefined.
    """
    with rc_context(STYLE):
        figure, axes = new_figure()
        place = np.arange(len(names))
        axes.bar(place - 0.2, rmse, width=0.38, color=BLUE, label="RMSE")
        axes.bar(place + 0.2, bias, width=0.38, color=ORANGE, label="bias (predicted - measured)")
        axes.axhline(0, color=GREY, linewidth=1)
        labels = [f"{name}\n{count:,} rows" for name, count in zip(names, rows, strict=True)]
        axes.set_xticks(place, labels)
        axes.grid(visible=False, axis="x")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.18 * (high - low))
        axes.legend(loc="upper right", ncols=2)
        axes.set(xlabel="measured pKd", ylabel="log10 units", title="Error by range of affinity")
    return figure


def comparison(
    names: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    label: str,
) -> Figure:
    """One metric of several models with its intervals, one line each."""
    with rc_context(STYLE):
        figure, axes = new_figure(width=6.0, height=1.2 + 0.42 * len(names))
        place = np.arange(len(names))[::-1]
        middle = np.asarray(values, dtype=float)
        reach = np.stack([middle - np.asarray(low, float), np.asarray(high, float) - middle])
        axes.errorbar(
            middle, place, xerr=np.nan_to_num(np.maximum(reach, 0)), fmt="o", color=BLUE,
            ecolor=BLUE, elinewidth=2, markersize=6,
        )  # fmt: skip
        axes.set_yticks(place, list(names))
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=label, ylim=(-0.6, len(names) - 0.4))
    return figure


def training_history(
    epochs: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    best_epoch: float | None = None,
) -> Figure:
    """Curves over epochs, one panel below the other.

    Parameters
    ----------
    epochs : sequence of float
    panels : mapping
        Axis label to curves by name, such as ``{"loss": {"train": [...], "validation": [...]}}``.
    best_epoch : float, optional
        Marked in every panel.

    Raises
    ------
    InputError
        If a curve has not one value per epoch.

    Examples
    --------
    >>> figure = training_history([1, 2], {"loss": {"train": [0.5, 0.4]}}, best_epoch=2)
    >>> len(figure.axes)
    1
    """
    for label, curves in panels.items():
        for name, values in curves.items():
            if len(values) != len(epochs):
                raise InputError(
                    f"training history: {label} / {name} has {len(values)} values for "
                    f"{len(epochs)} epochs"
                )
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.6 + 2.1 * len(panels)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, curves) in zip(grid, panels.items(), strict=True):
            marker = "o" if len(epochs) <= 40 else ""
            for colour, (name, values) in zip(SERIES, curves.items(), strict=False):
                axes.plot(epochs, values, color=colour, marker=marker, markersize=3.5, label=name)
            if best_epoch is not None:
                axes.axvline(best_epoch, color=GREY, linestyle="--", linewidth=1)
            axes.set_ylabel(label)
            if len(curves) > 1:
                axes.legend(loc="best")
        grid[-1].set_xlabel(
            "epoch" if best_epoch is None else f"epoch (dashed: best, {best_epoch:g})"
        )
    return figure
