"""The run folder: what a run was, how it went, what came out; every file whole or absent.

::

    run.toml                          every setting; `train --recipe run.toml` runs it again
    log.txt                           every batch, step, checkpoint and file, as it happened
    checkpoints/checkpoint_latest.pth, checkpoint_previous.pth, best_epoch_<n>.pth
    training_history_<recipe>.csv, .png
    training_summary_<recipe>.json
    metrics.json                      of the test and validation rows
    split.csv                         every usable row with its part of the split, as a table of
                                      measurements
    test_predictions.csv              id, true, pred, error = pred - true, sd, censoring; with
                                      the run's model also pkd_low and pkd_high after error; then
                                      chains, antigen, assay and the table's other columns
    card.md, bundle/                  written by `paratope.training.runs.write_model_of_run`
"""

import contextlib
import hashlib
import io
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.core.errors import OutputError, TrainingError
from paratope.core.files import atomic_file, write_json
from paratope.data.measurements import Measurement
from paratope.data.tables import InputTable, frame_from_measurements, write_table
from paratope.evaluation.metrics import EvaluationRows, compute
from paratope.models.model import Scored
from paratope.models.recipes import Recipe, recipe_toml
from paratope.training.checkpoints import Checkpoints
from paratope.training.loggers import LOG, RunLog, RunLogger
from paratope.training.loop import FitResult
from paratope.training.monitors import recall_stability

Part = tuple[Sequence[str], Sequence[Measurement]]
# our metrics -> the names in the release's metrics.json
_RELEASE_METRICS = {"recall_percent": "recall", "precision_percent": "precision"}
# what a table says of molecules, by the names that every command knows
_MOLECULES = ("heavy", "light", "antigen", "antigen_name", "assay")
# columns of test_predictions.csv, and others that `evaluate` reads in a table of predictions
_OWN = {"id", "true", "pred", "error", "pkd_low", "pkd_high", "sd", "censoring", *_MOLECULES}
_OWN |= {"split", "tier", "coverage", "p_strong"}
# The first columns, by the names the v2.6 release gave them.
RELEASE_COLUMNS = {
    "epoch": "Epoch",
    "train_loss": "Train Loss",
    "validation_spearman": "Val Spearman",
    "validation_recall_percent": "Val Recall",
    "learning_rate": "Learning Rate",
}
_FIGURES = 9  # significant figures of a float32
# what a writer that was killed leaves behind
_LEFTOVERS = (".paratope-*.tmp", "checkpoints/.paratope-*.tmp", ".bundle.*.tmp", ".bundle.*.old")


@contextlib.contextmanager
def open_run_folder(
    folder: Path, recipe: Recipe, resume: bool, say: Callable[[str], None] | None = None
) -> Iterator[RunLog]:
    """The log of a run folder, which is made with its ``run.toml``, or cleaned up and resumed.

    Raises `TrainingError` if the folder holds a run already and `resume` is not asked for, or if
    another process is training into it, and `OutputError` if it cannot be made.
    """
    begun = bool(Checkpoints(folder / "checkpoints").paths())
    if not resume and (begun or (folder / "bundle").exists()):
        raise TrainingError(
            f"{folder} holds a run already; go on with --resume, or give another folder"
        )
    if not begun and (folder / "bundle").exists():
        raise TrainingError(
            f"{folder} holds a finished run of other settings or data and no checkpoint; give "
            "another folder"
        )
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the run folder {folder}: {error.strerror}") from error
    with RunLog(folder / LOG, say) as log:
        log.event("resume" if begun else "start", recipe=recipe.name, process=os.getpid())
        for pattern in _LEFTOVERS:
            for path in folder.glob(pattern):
                log.event("removed", leftover=path.name)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not begun:  # a run that is gone on with keeps its own, and must agree with it
            _write(folder / "run.toml", recipe_toml(recipe).encode())
        yield log


def input_files(recipe: Recipe) -> dict[str, str]:
    """SHA-256 of the files a recipe names: ``"table"``, and ``"split"`` where it is one."""
    return {
        key: hashlib.sha256(path.read_bytes()).hexdigest()
        for key in ("table", "split")
        if (name := getattr(recipe.data, key)) and (path := Path(name)).is_file()
    }


def result_files(recipe_name: str) -> tuple[str, ...]:
    """Files of a finished run that are to be read by people and programs."""
    return (
        *(f"training_history_{recipe_name}.csv", f"training_history_{recipe_name}.png"),
        *(f"training_summary_{recipe_name}.json", "metrics.json"),
        *("split.csv", "test_predictions.csv"),
    )


def write_run(
    folder: Path,
    result: FitResult,
    parts: Mapping[str, Part],
    scores: Mapping[str, Scored],
    about: Mapping[str, Any],
) -> None:
    """Write history, summary and metrics of a run into its open folder.

    ``"validation"`` and ``"test"`` of `parts` (ids, measurements) and `scores` are judged where
    they have rows; `about` are further entries of ``metrics.json``.
    """
    name = result.recipe.name
    history = history_table(result.history)
    write_table(history, folder / f"training_history_{name}.csv", keep=history.columns)
    _write(folder / f"training_history_{name}.png", history_figure(history, f"Recipe {name}"))
    summary = {**summarise(history), "best_epoch": result.best_epoch, "stopped": result.stopped}
    summary["warned"] = warned_epochs(result.history)
    write_json(folder / f"training_summary_{name}.json", summary)
    metrics: dict[str, Any] = {
        short: part_metrics(parts[part][1], scores[part])
        for short, part in (("test", "test"), ("val", "validation"))
    }
    metrics["hyperparameters"] = hyperparameters(result.recipe)
    metrics |= {"recipe": name, "best_epoch": result.best_epoch, **about}
    write_json(folder / "metrics.json", metrics)


def part_metrics(measurements: Sequence[Measurement], scores: Scored) -> dict[str, float | None]:
    """Every metric of some rows that they carry enough for; those of the release by its names."""
    if not measurements:
        return {"rows": 0}
    codes = [measurement.censoring for measurement in measurements]
    measured = [measurement.pkd for measurement in measurements]
    values = compute(EvaluationRows(np.array(measured, float), scores.mean, censoring=codes))
    named = {_RELEASE_METRICS.get(name, name): value for name, value in values.items()}
    return {"rows": len(measurements), **named}


def write_predictions(folder: Path, predictions: pl.DataFrame) -> None:
    """Write ``test_predictions.csv`` of a run, numbers as they are."""
    write_table(predictions, folder / "test_predictions.csv", keep=predictions.columns)


def split_table(
    ids: Sequence[str], measurements: Sequence[Measurement], parts: Sequence[str]
) -> pl.DataFrame:
    """Measurements with the part of the split each is in, as a table that `read_table` reads.

    ``train --split`` and ``evaluate --train`` take it: the rows that a run was trained on.
    """
    frame = molecule_columns(measurements).with_columns(
        frame_from_measurements(measurements).select("pkd")
    )
    frame.insert_column(0, pl.Series("id", list(ids), pl.String))
    return frame.with_columns(split=pl.Series(list(parts), dtype=pl.String))


def molecule_columns(measurements: Sequence[Measurement]) -> pl.DataFrame:
    """Chains, antigen, its name and assay of measurements; columns without any are left out."""
    frame = frame_from_measurements(measurements)
    return frame.select(name for name in _MOLECULES if name in frame.columns)


def other_columns(table: InputTable) -> pl.DataFrame:
    """Columns of a table, (rows,), that hold neither id nor molecules nor assay.

    Of those that a table of predictions has too (``pred``, ``split``, ``coverage``, ...) the name
    gets ``_input``, or they would be taken for the run's own. Nested columns fit into no CSV and
    are left out.
    """
    read = {table.columns.get(name) for name in ("id", *_MOLECULES)}
    frame = table.frame.select(
        name
        for name, dtype in table.frame.schema.items()
        if name not in read and not (dtype.is_nested() or dtype in (pl.Binary, pl.Object))
    )
    taken = {name.lower() for name in frame.columns} | _OWN
    renamed: dict[str, str] = {}
    for name in frame.columns:
        if name.lower() in _OWN:
            new = f"{name}_input"
            while new.lower() in taken:
                new += "_"
            taken.add(new.lower())
            renamed[name] = new
    return frame.rename(renamed)


def prediction_table(
    ids: Sequence[str],
    measurements: Sequence[Measurement],
    scores: Scored,
    columns: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Measured and predicted pKd; ``censoring`` says of which rows only a bound is known.

    Beside them stand `columns`, (rows,), of the table that the rows are from.
    """
    measured = np.array([measurement.pkd for measurement in measurements], dtype=np.float64)
    table = pl.DataFrame(
        {
            "id": list(ids),
            "true": _rounded(measured),
            "pred": _rounded(scores.mean),
            "error": _rounded(scores.mean - measured),
            "sd": _rounded(scores.sd),
            "censoring": [measurement.censoring.name.lower() for measurement in measurements],
        }
    )
    return table if columns is None else table.hstack(columns)


def hyperparameters(recipe: Recipe) -> dict[str, Any]:
    """What the release called hyper-parameters, by its names."""
    training, schedule = recipe.training, recipe.schedule
    return {
        "batch_size": training.batch_size,
        "gradient_accumulation": training.accumulate,
        "learning_rate": training.learning_rate,
        "dropout": recipe.network.dropout,
        "huber_weight": recipe.loss.huber,
        "spearman_weight": recipe.loss.soft_spearman,
        "class_weight": recipe.loss.strong_binder_bce,
        "loss": recipe.loss_weights(),
        "use_cross_attention": recipe.network.use_cross_attention,
        "warmup_epochs": schedule.warmup_epochs,
        "epochs": training.max_epochs,
        "seed": training.seed,
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{_FIGURES}g}") for value in values]


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)


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
