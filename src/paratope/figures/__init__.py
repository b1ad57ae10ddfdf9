"""Every plot. Each function takes arrays and returns a figure; nothing global is touched."""

from paratope.figures.charts import (
    DENSE_ROWS,
    calibration,
    comparison,
    per_bin,
    predicted_versus_measured,
    residuals,
    selective_risk,
    training_history,
)
from paratope.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SERIES,
    STYLE,
    VERMILION,
    figure_bytes,
    new_figure,
    save_figure,
)

__all__ = [
    "BLUE",
    "DENSE_ROWS",
    "GREEN",
    "GREY",
    "ORANGE",
    "SERIES",
    "STYLE",
    "VERMILION",
    "calibration",
    "comparison",
    "figure_bytes",
    "new_figure",
    "per_bin",
    "predicted_versus_measured",
    "residuals",
    "save_figure",
    "selective_risk",
    "training_history",
]
