"""Every plot. Each function takes arrays and returns a figure; nothing global is touched."""

from paratope.evaluation.figures.campaigns import (
    PositionEffect,
    campaign_rounds,
    held_out_predictions,
    learning_curve,
    position_importance,
)
from paratope.evaluation.figures.charts import (
    calibration,
    per_bin,
    predicted_versus_measured,
    residuals,
    selective_risk,
)
from paratope.evaluation.figures.scans import (
    RESIDUE_ORDER,
    colour_scale,
    heat_map,
    position_profile,
    ranked_changes,
    specificity,
)
from paratope.evaluation.figures.style import figure_bytes, save_figure

__all__ = [
    "RESIDUE_ORDER",
    "PositionEffect",
    "calibration",
    "campaign_rounds",
    "colour_scale",
    "figure_bytes",
    "heat_map",
    "held_out_predictions",
    "learning_curve",
    "per_bin",
    "position_importance",
    "position_profile",
    "predicted_versus_measured",
    "ranked_changes",
    "residuals",
    "save_figure",
    "selective_risk",
    "specificity",
]
