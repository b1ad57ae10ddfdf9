"""Every plot. Each function takes arrays and returns a figure; nothing global is touched."""

from paratope.figures.campaigns import (
    PositionEffect,
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
from paratope.figures.scans import (
    RESIDUE_ORDER,
    colour_scale,
    heat_map,
    position_profile,
    ranked_changes,
    specificity,
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
    "RESIDUE_ORDER",
    "PositionEffect",
    "SERIES",
    "STYLE",
    "VERMILION",
    "calibration",
    "colour_scale",
    "comparison",
    "figure_bytes",
    "held_out_predictions",
    "learning_curve",
    "heat_map",
    "new_figure",
    "per_bin",
    "position_importance",
    "position_profile",
    "predicted_versus_measured",
    "ranked_changes",
    "residuals",
    "save_figure",
    "selective_risk",
    "specificity",
    "training_history",
]
