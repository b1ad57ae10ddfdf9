"""A finished run becomes a model, or says why not and stays whole."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import Finished
from paratope.training.runs import bundle_of_run, calibration_warning
from trained_models import TINY_RECIPE, tiny_predictor, tiny_run

__all__ = ["tiny_predictor", "tiny_run"]  # fixtures


def test_test_predictions_carry_the_models_intervals(
    tiny_run, tiny_predictor, tmp_path, run_paratope
):
    path = tiny_run.folder / "test_predictions.csv"
    written = pl.read_csv(path)
    columns = "id true pred error pkd_low pkd_high sd censoring"
    assert written.columns == columns.split()
    ids, measurements = tiny_run.trained.part("test")
    assert written["id"].to_list() == ids
    answer = tiny_predictor.predict([measurement.pair for measurement in measurements])
    for name in ("pkd_low", "pkd_high"):
        assert np.allclose(written[name], answer[name], atol=5e-4 + 1e-4)  # three decimals written
    assert np.allclose(written["pred"], answer["pkd"], atol=1e-4)
    run_paratope("evaluate", path, "-o", tmp_path / "r", code=0)
    assert "coverage" in (tmp_path / "r" / "metrics.json").read_text(encoding="utf-8")


def test_few_calibration_rows_are_said(tiny_run, tiny_predictor):
    warning = calibration_warning(tiny_predictor.model.calibration)
    assert "10 held-out rows, fewer than 40" in warning
    assert warning in (tiny_run.folder / "bundle" / "card.md").read_text(encoding="utf-8")


def test_the_card_is_written_from_the_numbers(tiny_run):
    card = (tiny_run.folder / "card.md").read_text(encoding="utf-8")
    assert card == (tiny_run.folder / "bundle" / "card.md").read_text(encoding="utf-8")
    metrics = json.loads((tiny_run.folder / "metrics.json").read_text(encoding="utf-8"))
    for name, title in (("spearman", "Spearman ρ"), ("rmse", "RMSE"), ("r2", "R²")):
        assert f"| {title} | {metrics['val'][name]:.3f} | {metrics['test'][name]:.3f} |" in card
    result = tiny_run.trained.result
    best = result.history[result.best_epoch - 1]
    assert f"| {result.best_epoch} (best) | {best['train_loss']:.3f} |" in card
    assert "- batch_size: 32\n" in card
    weights = sum(parameter.numel() for parameter in result.network().parameters())
    assert f"Network: {weights:,} weights, 8 wide, with cross-attention, output bounded." in card


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (9.0625, 9.0625, "- validation rows: predictions have collapsed: 1 distinct value"),
        (-2.0, 10.0, "% of the predictions lie outside pKd 4 to 14 (from -2.000 to 10.000"),
    ],
)
def test_the_card_says_what_is_wrong_with_predictions(tiny_run, low, high, found):
    trained = tiny_run.trained
    metrics = json.loads((tiny_run.folder / "metrics.json").read_text(encoding="utf-8"))
    assert found not in bundle_of_run(trained, metrics).card
    scores = {
        name: one._replace(mean=np.linspace(low, high, len(one.mean)))
        for name, one in trained.scores.items()
    }
    assert found in bundle_of_run(dataclasses.replace(trained, scores=scores), metrics).card


def train(table, folder, run_paratope, split, separator=",") -> Finished:
    parts = pl.read_csv(table, separator=separator).select("id").with_row_index()
    test = "test" if "test" in split else "train"
    part = pl.when(pl.col("index") < 60).then(pl.lit("train")).otherwise(pl.lit(test))
    if "one validation" in split:
        part = pl.when(pl.col("index") == 0).then(pl.lit("validation")).otherwise(part)
    parts.select("id", part.alias("split")).write_csv(folder.parent / "split.csv")
    options = [item for change in TINY_RECIPE[:-1] for item in ("--set", change)]
    options += ["--encoders", "residue,residue", "--split", str(folder.parent / "split.csv")]
    return run_paratope("train", table, "-o", folder, *options)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("split", ["all in train", "one validation row"])
def test_without_rows_to_calibrate_on_the_run_stays_whole(split, tiny_run, tmp_path, run_paratope):
    done = train(tiny_run.table, tmp_path / "run", run_paratope, split)
    assert done.code == 2
    assert "the network is trained, but cannot be made a model" in done.err
    assert "give more rows, or a split with validation rows" in done.err
    assert not (tmp_path / "run" / "bundle").exists()
    for name in ("metrics.json", "test_predictions.csv", "checkpoints/checkpoint_latest.pth"):
        assert (tmp_path / "run" / name).is_file()


def test_test_rows_help_out_where_validation_has_none(tiny_run, tmp_path, run_paratope):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = train(tiny_run.table, tmp_path / "run", run_paratope, "test and no validation")
    assert done.code == 0, done.err
    assert "Warning: The intervals rest on 30 held-out rows" in done.err
    card = (tmp_path / "run" / "bundle" / "card.md").read_text(encoding="utf-8")
    assert "on the rows of: validation and test" in card


def test_what_is_odd_about_the_whole_table_is_said(tiny_run, tmp_path, run_paratope):
    odd = tmp_path / "semicolons.csv"
    pl.read_csv(tiny_run.table).write_csv(odd, separator=";")
    done = train(odd, tmp_path / "run", run_paratope, "one validation row and test", ";")
    assert "Note: " in done.err
    assert "';'" in done.err or "semicolon" in done.err
