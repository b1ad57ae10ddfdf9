"""The history of a run: as a table, as a summary in the form of the v2.6 release, as a figure."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.data.tables import write_table
from paratope.training.loggers import RunLogger
from paratope.training.monitors import recall_stability

# The first columns, by the names the v2.6 release gave them.
RELEASE_COLUMNS = {
    "epoch": "Epoch",
    "train_loss": "Train Loss",
    "validation_spearman": "Val Spearman",
    "validation_recall_percent": "Val Recall",
    "learning_rate": "Learning Rate",
}


def history_table(history: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """One row per epoch: the release's columns first, then all others, titled alike."""
    words = {"validation": "Val", "rmse": "RMSE", "mb": "MB", "gpu": "GPU"}
    columns = {}
    for name in dict.fromkeys([*RELEASE_COLUMNS, *(name for record in history for name in record)]):
        parts = name.removesuffix("_percent").split("_")
        title = " ".join(words.get(part, part.capitalize()) for part in parts)
        columns[RELEASE_COLUMNS.get(name, title)] = [record.get(name) for record in history]
    return pl.DataFrame(columns)


class HistoryFile(RunLogger):
    """``training_history_<recipe>.csv`` of a run folder, whole after every epoch."""

    def __init__(self, folder: Path, recipe_name: str) -> None:
        self.path = folder / f"training_history_{recipe_name}.csv"

    def log(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write the history so far."""
        if history:
            table = history_table(history)
            write_table(table, self.path, keep=table.columns)


def summarise(history: pl.DataFrame) -> dict[str, Any]:
    """Summary of a history under the release's keys; None for what was not measured."""
    names = ("Val Spearman", "Val Recall", "Train Loss", "Learning Rate")
    spearman, recall, loss, rate = (_numbers(history[name]) for name in names)
    best = int(np.nanargmax(spearman)) if np.isfinite(spearman).any() else None
    known = recall[np.isfinite(recall)]
    stability = recall_stability(known.tolist())
    return {
        "total_epochs": len(history),
        "best_spearman": None if best is None else float(spearman[best]),
        "best_spearman_epoch": None if best is None else int(history["Epoch"][best]),
        "best_recall": float(known.max()) if len(known) else None,
        "lowest_loss": _or_none(np.nanmin(loss)) if np.isfinite(loss).any() else None,
        "recall_std": stability.sd,
        "max_recall_jump": stability.max_jump,
        "current_lr": _or_none(rate[-1]) if len(rate) else None,
        "status": stability.status,
    }


def warned_epochs(history: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Epochs in which each monitor found a fault, by the monitor's name."""
    epochs: dict[str, list[int]] = {}
    for record in history:
        for name in filter(None, record["warned"].split(", ")):
            epochs.setdefault(name, []).append(record["epoch"])
    return epochs


def history_figure(history: pl.DataFrame, title: str) -> bytes:
    """Loss, Spearman, recall and learning rate over the epochs, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(title, parse_math=False)  # a $ in a name is a $
    panels = {
        "Loss": ("Train Loss", "Val Loss"),
        "Spearman": ("Val Spearman",),
        "Recall at pKd ≥ 9, %": ("Val Recall",),
        "Learning rate": ("Learning Rate",),
    }
    for axes, (name, columns) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for column in columns:
            if column in history.columns:
                axes.plot(history["Epoch"], _numbers(history[column]), "o-", ms=3, label=column)
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
        if len(columns) > 1:
            axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _numbers(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).to_numpy()  # null is NaN


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
