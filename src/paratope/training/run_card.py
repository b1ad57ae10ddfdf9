"""The card of a run's model: what it is, how it did, what to mind; written from the run's numbers.

Nothing in it depends on when or how fast the run was, so a run that was interrupted has the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paratope.models.calibration import MIN_ROWS, Calibration
from paratope.models.ensembling import calibration_lines
from paratope.models.fine_tuning import adapted_sides
from paratope.models.recipes import Recipe
from paratope.training import TrainedTable
from paratope.training.history import history_table, summarise
from paratope.training.monitors import collapse_of, range_of

# in metrics.json -> in the card
_METRICS = {
    "rows": "rows",
    "spearman": "Spearman ρ",
    "pearson": "Pearson r",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "recall": "recall at pKd ≥ 9, %",
    "precision": "precision at pKd ≥ 9, %",
}


def run_card(
    trained: TrainedTable, calibration: Calibration, metrics: dict[str, Any], used: Sequence[str]
) -> str:
    """The card as Markdown.

    Parameters
    ----------
    trained : TrainedTable
    calibration : Calibration
    metrics : dict
        Contents of the run's ``metrics.json``.
    used : sequence of str
        Parts that the calibration rests on.
    """
    recipe, result = trained.recipe, trained.result
    sizes = ", ".join(f"{count} {name}" for name, count in trained.part_sizes.items())
    weights = sum(parameter.numel() for parameter in result.network().parameters())
    network = recipe.network
    attention = "with" if network.use_cross_attention else "without"
    lines = [
        f"# Model of recipe {recipe.name}",
        "",
        f"Trained on `{Path(recipe.data.table).name}`, split by {trained.split}: {sizes} rows.",
        f"Encoders: {trained.antibody_encoder} (antibody), {trained.antigen_encoder} (antigen). "
        f"{_fine_tuning(recipe)}"
        f"Best epoch: {result.best_epoch}; {result.stopped}.",
        f"Network: {weights:,} weights, {network.dim} wide, {attention} cross-attention, output "
        f"{network.output}.",
        "",
        "## How it did",
        "",
        *_performance(metrics),
        "",
        "## Training",
        "",
        *_training(trained),
        "",
        f"## Calibration, on the rows of: {' and '.join(used)}",
        "",
        *calibration_lines(calibration),
        "",
        *([warning, ""] if (warning := calibration_warning(calibration)) else []),
        "Coverage of an interval is marginal: a share of rows like these, not a promise about "
        "each row.",
        "",
        "## What to mind",
        "",
        *(_faults(trained) or ["- No monitor found a fault in the best epoch's predictions."]),
        "",
        "## Settings",
        "",
        *(f"- {name}: {_setting(value)}" for name, value in metrics["hyperparameters"].items()),
    ]
    left_out = {**trained.left_out, **trained.notes}
    if left_out:
        lines += ["", "## Rows changed or left out", ""]
        lines += [f"- {count} {what}" for what, count in left_out.items()]
    return "\n".join(lines) + "\n"


def calibration_warning(calibration: Calibration) -> str:
    """A sentence for the user if intervals rest on too few rows to be narrow; else empty."""
    exact = int(np.sum(calibration.held_out.censoring == 0))
    if exact >= MIN_ROWS:
        return ""
    return (
        f"The intervals rest on {exact} held-out rows, fewer than {MIN_ROWS}: they are wide and "
        "rough."
    )


def _performance(metrics: dict[str, Any]) -> list[str]:
    lines = ["| | validation | test |", "|---|---|---|"]
    parts = [metrics.get(part, {}) for part in ("val", "test")]
    for name, title in _METRICS.items():
        if any(part.get(name) is not None for part in parts):
            lines.append(f"| {title} | {' | '.join(_shown(part.get(name)) for part in parts)} |")
    return lines


def _training(trained: TrainedTable) -> list[str]:
    """The first, the best and the last epoch, and how steady it was between them."""
    result = trained.result
    summary = summarise(history_table(result.history))
    lines = [
        "| epoch | train loss | val Spearman | val recall, % | rate |",
        "|---|---|---|---|---|",
    ]
    for epoch in sorted({1, result.best_epoch, len(result.history)}):
        record = result.history[epoch - 1]
        best = " (best)" if epoch == result.best_epoch else ""
        names = ("train_loss", "validation_spearman", "validation_recall_percent")
        numbers = " | ".join(_shown(record[name]) for name in names)
        lines.append(f"| {epoch}{best} | {numbers} | {record['learning_rate']:.3g} |")
    spread, jump = _shown(summary["recall_std"]), _shown(summary["max_recall_jump"])
    steady = f"Recall from epoch to epoch: SD {spread}, largest jump {jump}; {summary['status']}."
    return [*lines, "", steady]


def _faults(trained: TrainedTable) -> list[str]:
    """What is wrong with the predictions for rows that were not trained on, in words."""
    found = []
    for part in ("validation", "test"):
        predicted = trained.scores[part].mean.astype(float)
        measured = np.array([row.pkd for row in trained.part(part)[1]], dtype=float)
        for observed in (collapse_of(predicted, measured), range_of(predicted, measured)):
            found += [f"- {part} rows: {observed.warning}"] if observed.finding else []
    best = trained.result.history[trained.result.best_epoch - 1]
    if set(best.get("warned", "").split(", ")) - {"", "collapse", "range"}:
        found += [f"- in the best epoch: {line}" for line in best["warning"].splitlines()]
    return found


def _fine_tuning(recipe: Recipe) -> str:
    sides = adapted_sides(recipe.lora)
    if not sides:
        return ""
    plural = "s" if len(sides) > 1 else ""
    return f"LoRA of rank {recipe.lora.rank} on the {' and '.join(sides)} encoder{plural}. "


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_setting(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
