"""Every plot. Each function takes arrays and returns a figure; nothing global is touched."""

from paratope.figures.campaigns import (
    PositionShare,
    held_out_predictions,
    learning_curve,
    position_importance,
)
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
    "PositionShare",
    "SERIES",
    "STYLE",
    "VERMILION",
    "calibration",
    "comparison",
    "figure_bytes",
    "held_out_predictions",
    "learning_curve",
    "new_figure",
    "per_bin",
    "position_importance",
    "predicted_versus_measured",
    "residuals",
    "save_figure",
    "selective_risk",
    "training_history",
]
