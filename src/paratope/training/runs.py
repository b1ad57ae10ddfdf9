"""From a finished training run to a model: calibrated on rows it did not see, with its card."""

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
from paratope.data.tables import write_table
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.batches import CENSORING_CODES
from paratope.models.bundle import Bundle, make_bundle, read_bundle, write_bundle
from paratope.models.calibration import Calibration, CalibrationRows
from paratope.models.ensembling import environment
from paratope.models.recipes import Recipe, load_recipe
from paratope.training import Scores, TrainedTable
from paratope.training.run_card import run_card
from paratope.training.run_folder import input_files, prediction_table, result_files
from paratope.training.run_log import LOG, RunLog


def held_out(
    measurements: Sequence[Measurement], scores: Scores, familiarity: ApplicabilityDomain
) -> CalibrationRows:
    """What one network says of rows it was not trained on, as a calibration takes it.

    Parameters
    ----------
    measurements : sequence of Measurement
        With a pKd; cut to what the network saw.
    scores : Scores
        Of these rows, in order.
    familiarity : ApplicabilityDomain
        Of the rows the network was trained on.
    """
    pairs = [measurement.pair for measurement in measurements]
    clusters = antigen_clusters([pair.antigen for pair in pairs]) if pairs else []
    return CalibrationRows(
        mean=scores.mean.astype(float),
        sd=np.exp(0.5 * scores.log_variance.astype(float)),
        strong_logit=scores.strong_logit.astype(float),
        pkd=np.array([measurement.pkd for measurement in measurements], dtype=float),
        censoring=np.array([CENSORING_CODES[one.censoring] for one in measurements], dtype=int),
        domain=np.array([close.domain for close in familiarity.judge(pairs)], dtype=str),
        group=np.array([str(cluster) for cluster in clusters], dtype=str),
        assay=np.array([measurement.assay for measurement in measurements], dtype=str),
    )


def bundle_of_run(trained: TrainedTable, metrics: dict[str, Any]) -> Bundle:
    """The model of a run: its network, calibrated on the validation rows.

    The pKd is the network's own; intervals and probabilities are calibrated. Without enough
    validation rows (two with an exact pKd) the test rows help out, and the card says so.

    Parameters
    ----------
    trained : TrainedTable
    metrics : dict
        Contents of the run's ``metrics.json``.

    Raises
    ------
    ModelError
        If no row was held out: an interval cannot be given then.
    """
    _, train = trained.part("train")
    familiarity = ApplicabilityDomain.of_pairs(measurement.pair for measurement in train)
    used = ["validation"]
    rows = _held_out_part(trained, "validation", familiarity)
    if int(np.sum(rows.censoring == 0)) < 2:
        used.append("test")
        rows = CalibrationRows.joined([rows, _held_out_part(trained, "test", familiarity)])
    try:
        calibration = Calibration(rows)
    except ModelError as error:
        raise ModelError(
            f"the network is trained, but cannot be made a model: {error}; "
            "give more rows, or a split with validation rows"
        ) from error
    recipe = trained.recipe
    encoders = {
        "antibody": trained.antibody_encoder,
        "antigen": trained.antigen_encoder,
        "max_residues": recipe.encoders.max_residues,
    }
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
        predictions = _with_intervals(trained, bundle)
        write_table(predictions, run / "test_predictions.csv", keep=predictions.columns)
        with atomic_file(run / "card.md") as file:
            file.write(bundle.card.encode())
        log.event("bundle")
        written = write_bundle(bundle, run / "bundle")
        log.event("finished")
    return written


def is_finished(folder: str | Path, recipe: Recipe) -> bool:
    """Whether a folder holds all that a run of this recipe, on these very files, gives.

    Every result is there, the bundle is whole, and neither the recipe nor the table and split that
    it names are others than the run's.
    """
    run = Path(folder)
    try:
        same = load_recipe(run / "run.toml") == recipe
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        read_bundle(run / "bundle")
    except (ParatopeError, OSError, ValueError):
        return False
    names = (*result_files(recipe.name), "card.md")
    whole = all((run / name).is_file() for name in names)
    return same and whole and metrics.get("inputs") == input_files(recipe)


def _with_intervals(trained: TrainedTable, bundle: Bundle) -> pl.DataFrame:
    """Test predictions with the model's intervals: ``pkd_low``, ``pkd_high`` after ``error``."""
    ids, measurements = trained.part("test")
    scores = trained.scores["test"]
    table = prediction_table(ids, measurements, scores)
    rows = held_out(measurements, scores, ApplicabilityDomain.from_json(bundle.familiarity))
    answer = Calibration.from_json(bundle.calibration).apply(rows.scored, list(rows.domain))
    first = table.columns.index("error") + 1
    for number, (name, values) in enumerate((("pkd_low", answer.low), ("pkd_high", answer.high))):
        table.insert_column(first + number, pl.Series(name, values.round(6), pl.Float64))
    return table


def _held_out_part(
    trained: TrainedTable, part: str, familiarity: ApplicabilityDomain
) -> CalibrationRows:
    _, measurements = trained.part(part)
    return held_out(measurements, trained.scores[part], familiarity)
