"""From a finished training run to a model: calibrated on rows it did not see, with its card.

Nothing in the card depends on when or how fast the run was, so a run that was interrupted has the
same.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.core.errors import ModelError, ParatopeError
from paratope.core.files import atomic_file
from paratope.data.measurements import Measurement
from paratope.data.splits import antigen_clusters
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.breakdowns import MIN_LEVEL_ROWS, within_antigen_spearman
from paratope.evaluation.metrics import METRICS, EvaluationRows
from paratope.evaluation.page import number
from paratope.evaluation.predictions import read_predictions
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.bundle import Bundle, make_bundle, read_bundle, write_bundle
from paratope.models.calibration import MIN_ROWS, Calibration, CalibrationRows
from paratope.models.ensembling import calibration_lines, environment
from paratope.models.fine_tuning import adapted_sides
from paratope.models.model import Scored
from paratope.models.recipes import Recipe, load_recipe
from paratope.training.loggers import LOG, RunLog
from paratope.training.monitors import collapse_of, range_of
from paratope.training.run_folder import (
    history_table,
    input_files,
    result_files,
    summarise,
    write_predictions,
)
from paratope.training.table import TrainedTable

# The baselines whose numbers stand beside a run's own when it ends; `evaluate` fits them all.
_BESIDE = ("constant", "nearest_neighbour")
# Of more comparisons of sequences than this, seconds each million, only the first is made.
_MAX_COMPARED = 10_000_000
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


def held_out(
    measurements: Sequence[Measurement], scores: Scored, familiarity: ApplicabilityDomain
) -> CalibrationRows:
    """Scores of rows the network was not trained on (cut to what it saw), as calibration rows."""
    pairs = [measurement.pair for measurement in measurements]
    clusters = antigen_clusters([pair.antigen for pair in pairs]) if pairs else []
    return CalibrationRows(
        *scores,
        pkd=np.array([measurement.pkd for measurement in measurements], dtype=float),
        censoring=np.array([measurement.censoring for measurement in measurements], dtype=int),
        domain=np.array([close.domain for close in familiarity.judge(pairs)], dtype=str),
        group=np.array([str(cluster) for cluster in clusters], dtype=str),
        assay=np.array([measurement.assay for measurement in measurements], dtype=str),
    )


def bundle_of_run(trained: TrainedTable, metrics: dict[str, Any]) -> Bundle:
    """The model of a run: its network, calibrated on the validation rows.

    The pKd is the network's own; intervals and probabilities are calibrated. Without enough
    validation rows (two with an exact pKd) the test rows help out, and the card says so. `metrics`
    is the run's ``metrics.json``. Raises `ModelError` if no row was held out: an interval cannot be
    given then.
    """
    _, train = trained.part("train")
    familiarity = ApplicabilityDomain.of_pairs(measurement.pair for measurement in train)
    used = ["validation"]

    def held_out_part(part: str) -> CalibrationRows:
        return held_out(trained.part(part)[1], trained.scores[part], familiarity)

    rows = held_out_part("validation")
    if int(np.sum(rows.censoring == 0)) < 2:
        used.append("test")
        rows = CalibrationRows.joined([rows, held_out_part("test")])
    try:
        calibration = Calibration(rows)
    except ModelError as error:
        raise ModelError(
            f"the network is trained, but cannot be made a model: {error}; "
            "give more rows, or a split with validation rows"
        ) from error
    recipe = trained.recipe
    encoders = {**trained.encoder_names, "max_residues": recipe.encoders.max_residues}
    if recipe.lora.rank:
        encoders["lora"] = recipe.lora.model_dump(mode="json")
    return make_bundle(
        [trained.result.network()],
        encoders,
        trained.recipe.model_dump(mode="json"),
        calibration,
        familiarity,
        metrics=metrics,
        environment=environment(),
        card=run_card(trained, calibration, metrics, used),
    )


def write_model_of_run(trained: TrainedTable, folder: str | Path) -> Path:
    """Write ``bundle/`` and ``card.md`` into a run folder, and intervals into its predictions.

    The bundle comes last: where it is, the run is finished. Errors as `bundle_of_run` and
    `write_bundle`; if there can be no model, what the run wrote before stays as it is.
    """
    run = Path(folder)
    with RunLog(run / LOG) as log:
        log.event("model")
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        bundle = bundle_of_run(trained, metrics)
        table, (_, measurements) = trained.test_predictions(), trained.part("test")
        domain = ApplicabilityDomain.from_json(bundle.familiarity)
        rows = held_out(measurements, trained.scores["test"], domain)
        answer = Calibration.from_json(bundle.calibration).apply(rows.scored, list(rows.domain))
        after = table.columns.index("error") + 1
        for name, values in (("pkd_high", answer.high), ("pkd_low", answer.low)):
            table.insert_column(after, pl.Series(name, values.round(6), pl.Float64))
        write_predictions(run, table)
        with atomic_file(run / "card.md") as file:
            file.write(bundle.card.encode())
        log.event("bundle")
        written = write_bundle(bundle, run / "bundle")
        log.event("finished")
    return written


def lines_of_test(trained: TrainedTable) -> list[str]:
    """How a run's predictions of its test rows compare with simple predictors', in words.

    The mean Spearman within an antigen comes first (a constant ranks nothing: 0), then the RMSE.
    The simple predictors are fitted on the run's training rows.
    """
    _, measurements = trained.part("test")
    if not measurements:
        return ["No test rows: nothing is known of how well it predicts new ones."]
    table = read_predictions(trained.test_predictions())
    pairs, train = [row.pair for row in measurements], trained.part("train")[1]
    predicted = {"this model": trained.scores["test"].mean}
    for name in _BESIDE if len(pairs) * len(train) <= _MAX_COMPARED else _BESIDE[:1]:
        predicted[name.replace("_", " ")] = BASELINES[name]().fit(train).predict_pkd(pairs)
    lines = [f"On the {len(pairs)} test rows{'':9}Spearman within an antigen    RMSE, pKd"]
    for name, values in predicted.items():
        rows = EvaluationRows(table.rows.measured, values, table.rows.censoring)
        within = within_antigen_spearman(dataclasses.replace(table, rows=rows))
        lines.append(f"  {name:24}{number(within):>20}{number(METRICS['rmse'](rows)):>20}")
    if not np.isfinite(within):
        lines.append(f"  No antigen has {MIN_LEVEL_ROWS} exact test rows to rank within.")
    return lines


def is_finished(folder: str | Path, recipe: Recipe) -> bool:
    """Whether a folder holds every result and a whole bundle of this recipe on these very files."""
    run = Path(folder)
    try:
        same = _named(load_recipe(run / "run.toml")) == _named(recipe)
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        read_bundle(run / "bundle")
    except (ParatopeError, OSError, ValueError):
        return False
    names = (*result_files(recipe.name), "card.md")
    whole = all((run / name).is_file() for name in names)
    return same and whole and metrics.get("inputs") == input_files(recipe)


def _named(recipe: Recipe) -> Recipe:
    """The recipe with its files by name alone, which may be written from several folders."""
    names = {key: Path(getattr(recipe.data, key)).name for key in ("table", "split")}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=names)})


def run_card(
    trained: TrainedTable, calibration: Calibration, metrics: dict[str, Any], used: Sequence[str]
) -> str:
    """The card as Markdown, by the run's ``metrics.json`` and the parts used to calibrate."""
    recipe, result = trained.recipe, trained.result
    sizes = ", ".join(f"{count} {name}" for name, count in trained.part_sizes.items())
    weights = sum(parameter.numel() for parameter in result.network().parameters())
    network, encoders, usable = recipe.network, trained.encoder_names, trained.rows.usable
    attention = "with" if network.use_cross_attention else "without"
    parts = [metrics.get(part, {}) for part in ("val", "test")]
    lora = ""
    if sides := adapted_sides(recipe.lora):
        tuned = f"{' and '.join(sides)} encoder{'s' * (len(sides) > 1)}"
        lora = f"LoRA of rank {recipe.lora.rank} on the {tuned}. "
    lines = [
        f"# Model of recipe {recipe.name}",
        "",
        f"Trained on `{Path(recipe.data.table).name}`, split by {trained.rows.split}: {sizes} "
        "rows.",
        f"Encoders: {encoders['antibody']} (antibody), {encoders['antigen']} (antigen). "
        f"{lora}"
        f"Best epoch: {result.best_epoch}; {result.stopped}.",
        f"Network: {weights:,} weights, {network.dim} wide, {attention} cross-attention, output "
        f"{network.output}.",
        "",
        "## How it did",
        "",
        "| | validation | test |",
        "|---|---|---|",
        *(
            f"| {title} | {' | '.join(_shown(part.get(name)) for part in parts)} |"
            for name, title in _METRICS.items()
            if any(part.get(name) is not None for part in parts)
        ),
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
    left_out = {**usable.left_out, **usable.notes}
    if left_out:
        lines += ["", "## Rows changed or left out", ""]
        lines += [f"- {count} {what}" for what, count in left_out.items()]
    return "\n".join(lines) + "\n"


def calibration_warning(calibration: Calibration) -> str:
    """Sentences for the user if intervals rest on too few rows to be narrow; else empty."""
    exact, warnings = int(np.sum(calibration.held_out.censoring == 0)), []
    if exact < MIN_ROWS:
        warnings.append(
            f"The intervals rest on {exact} held-out rows, fewer than {MIN_ROWS}: they are wide "
            "and rough."
        )
    if unknown := calibration.unknown_domains():
        warnings.append(
            f"No row was held out of the domains {', '.join(unknown)}: their intervals are the "
            "whole range."
        )
    return " ".join(warnings)


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
    faults = []
    for part in ("validation", "test"):
        predicted = trained.scores[part].mean.astype(float)
        measured = np.array([row.pkd for row in trained.part(part)[1]], dtype=float)
        for observed in (collapse_of(predicted, measured), range_of(predicted, measured)):
            faults += [f"- {part} rows: {observed.warning}"] if observed.finding else []
    best = trained.result.history[trained.result.best_epoch - 1]
    if set(best.get("warned", "").split(", ")) - {"", "collapse", "range"}:
        faults += [f"- in the best epoch: {line}" for line in best["warning"].splitlines()]
    return faults


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_setting(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
