"""The run folder against the files of the v2.6 release; a finished run becomes a model."""

import dataclasses
import json
import resource
from pathlib import Path

import matplotlib.image
import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.figure import Figure

from conftest import Finished
from paratope.core.progress import peak_memory_mb
from paratope.data.datasets.simulated import simulate
from paratope.data.tables import frame_from_measurements, read_table
from paratope.evaluation import evaluate, read_predictions
from paratope.models.batches import Examples
from paratope.models.recipes import load_recipe
from paratope.training import RunOptions, fit, train_table
from paratope.training.checkpoints import LATEST
from paratope.training.run_folder import history_figure
from paratope.training.runs import bundle_of_run, calibration_warning, lines_of_test
from small_runs import LONG, TIME_AND_MEMORY, StopHereError, StoppingLog, rows, run, tiny
from trained_models import TINY_RECIPE, simulated_table

RELEASE_BYTES = 16.3e9  # of the release's checkpoint_latest.pth


@pytest.fixture
def release(reference_root: Path) -> Path:
    return reference_root / "v2.6_release"


def test_every_file_of_the_release_has_its_counterpart(tiny_run, release):
    name = tiny_run.trained.recipe.name
    expected = {
        path.name.replace("v2.6", name)
        for path in release.iterdir()
        if path.suffix in (".csv", ".png", ".json")
    }
    expected |= {f"training_history_{name}.png", "card.md", "run.toml", "log.txt"}
    assert expected <= {path.name for path in tiny_run.folder.iterdir()}
    assert (tiny_run.folder / "checkpoints" / LATEST).is_file()


def test_metrics_have_the_releases_keys_and_are_those_of_the_predictions(tiny_run, release):
    ours, theirs = (
        json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for folder in (tiny_run.folder, release)
    )
    assert theirs.keys() <= ours.keys()
    for part in ("test", "val", "hyperparameters"):
        assert theirs[part].keys() <= ours[part].keys()
    assert {"rows", "split", "encoders", "best_epoch", "inputs"} <= ours.keys()
    metrics = ours["test"]
    table = pl.read_csv(tiny_run.folder / "test_predictions.csv")
    error = (table["pred"] - table["true"]).to_numpy()
    assert set(table["censoring"]) == {"exact"}
    assert np.allclose(table["error"], error, atol=1e-6)
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert metrics["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)
    assert metrics["bias"] == pytest.approx(np.mean(error), rel=1e-5)


def test_history_and_summary_have_the_releases_columns_and_keys(tiny_run, release):
    name = tiny_run.trained.recipe.name
    theirs = pl.read_csv(release / "training_history_v2.6.csv").columns
    history = pl.read_csv(tiny_run.folder / f"training_history_{name}.csv")
    assert history.columns[: len(theirs)] == theirs
    summaries = [
        json.loads((folder / f"training_summary_{which}.json").read_text(encoding="utf-8"))
        for folder, which in ((release, "v2.6"), (tiny_run.folder, name))
    ]
    assert summaries[0].keys() <= summaries[1].keys()
    assert {"best_epoch", "stopped"} <= summaries[1].keys()
    assert summaries[1]["total_epochs"] == len(history)
    assert (history["Seconds"] > 0).all()
    # the kernel counts pages in batches of each thread, and the history rounds to 0.1 MB
    assert (history["Peak Memory MB"].diff().drop_nulls() > -1.0).all()
    assert 50 < history["Peak Memory MB"][-1] <= round(peak_memory_mb(), 1)


def test_an_epochs_seconds_add_up_over_interruptions(data, tmp_path):
    with pytest.raises(StopHereError):
        run(data, tiny(*LONG), folder=tmp_path, log=StoppingLog("batch", 6))
    progress = torch.load(tmp_path / LATEST, weights_only=True)["progress"]
    assert progress["history"] == []
    assert progress["seconds"] > 0
    resumed = run(data, tiny(*LONG), folder=tmp_path, resume=True)
    assert resumed.history[0]["seconds"] > progress["seconds"]
    assert set(TIME_AND_MEMORY) - {"peak_gpu_memory_mb"} <= resumed.history[0].keys()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_peak_memory_grows_with_what_is_held():
    before = peak_memory_mb()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    now = pages * resource.getpagesize() / 1e6
    held = np.ones(int((before - now + 100) * 125_000))  # 8 bytes each
    assert before + 50 < peak_memory_mb() < before + 200
    assert held[0] == 1


def test_the_figure_shows_loss_spearman_recall_and_rate(tiny_run, monkeypatch):
    name = tiny_run.trained.recipe.name
    path = tiny_run.folder / f"training_history_{name}.png"
    assert matplotlib.image.imread(path).shape == (840, 1200, 4)
    drawn: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments, **options) -> None:
        drawn.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    history = pl.read_csv(tiny_run.folder / f"training_history_{name}.csv")
    assert history_figure(history, f"Recipe {name}") == path.read_bytes()
    panels = {axes.get_title(): axes.get_lines() for axes in drawn[0].axes}
    assert list(panels) == ["Loss", "Spearman", "Recall at pKd ≥ 9, %", "Learning rate"]
    for title, column in (
        *(("Loss", "Train Loss"), ("Spearman", "Val Spearman")),
        *(("Recall at pKd ≥ 9, %", "Val Recall"), ("Learning rate", "Learning Rate")),
    ):
        shown = np.asarray(panels[title][0].get_ydata(), float)
        assert np.array_equal(shown, history[column].cast(float).to_numpy(), equal_nan=True)


class RandomStore:
    """Embeddings as wide as an encoder's, without the encoder."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def get(self, molecule: tuple[str, ...]) -> np.ndarray:
        random = np.random.default_rng(len(molecule[0]))
        return random.normal(size=(sum(map(len, molecule)), self.dim)).astype(np.float32)


@pytest.mark.slow
def test_a_checkpoint_of_v26_in_full_width_is_small(tmp_path):
    recipe = load_recipe("v2.6", ["training.max_epochs=1", "training.batch_size=2"])
    examples = Examples.from_measurements(rows(4))
    stores = RandomStore(1024), RandomStore(2560)  # IgT5, ESM-2 3B
    result = fit(examples, examples, recipe, stores, RunOptions(device="cpu"), folder=tmp_path)
    weights = sum(tensor.numel() for tensor in result.state.values())
    assert 45e6 < weights < 55e6
    assert 12 * weights < (tmp_path / LATEST).stat().st_size < RELEASE_BYTES / 25
    best = tmp_path / f"best_epoch_{result.best_epoch}.pth"
    assert 4 * weights < best.stat().st_size < 250e6


def test_test_predictions_carry_the_models_intervals(
    tiny_run, tiny_predictor, tmp_path, run_paratope
):
    path = tiny_run.folder / "test_predictions.csv"
    written = pl.read_csv(path)
    columns = "id true pred error pkd_low pkd_high sd censoring heavy light antigen".split()
    assert written.columns[: len(columns)] == columns
    ids, measurements = tiny_run.trained.part("test")
    assert written["id"].to_list() == ids
    answer = tiny_predictor.predict([measurement.pair for measurement in measurements])
    for name in ("pkd_low", "pkd_high"):
        assert np.allclose(written[name], answer[name], atol=5e-4 + 1e-4)  # three decimals written
    assert np.allclose(written["pred"], answer["pkd"], atol=1e-4)
    run_paratope("evaluate", path, "-o", tmp_path / "r", code=0)
    assert "coverage" in (tmp_path / "r" / "metrics.json").read_text(encoding="utf-8")


def test_test_predictions_keep_the_tables_columns_and_split_names_the_training_rows(tmp_path):
    measurements = simulate(antibodies=12, antigens=3, seed=1).measurements
    frame = frame_from_measurements(measurements).rename({"heavy": "my VH"})
    count = frame.height
    frame = frame.with_columns(
        well=pl.Series([f"A{row}" for row in range(count)]),
        group=pl.Series([f"epitope {row % 4}" for row in range(count)]),
        assay=pl.lit("SPR"),
        split=pl.lit("train"),  # of another day: none of the run's business
        coverage=pl.lit(0.01),
        sd=pl.Series(np.arange(count) / 8),
    )
    frame.write_csv(tmp_path / "table.csv")
    recipe = load_recipe("default", [*TINY_RECIPE, "data.columns='heavy=my VH'"])
    train_table(tmp_path / "table.csv", recipe, tmp_path / "run", RunOptions(device="cpu"))
    tested = pl.read_csv(tmp_path / "run" / "test_predictions.csv")
    assert {"heavy", "light", "antigen", "assay"} <= set(tested.columns)
    own = [*("id", "light", "antigen", "pkd", "well", "group", "assay"), "my VH", "sd"]
    kept = tested.rename({"heavy": "my VH", "sd": "sd_of_model", "sd_input": "sd"}).select(own)
    before = pl.read_csv(tmp_path / "table.csv").select(own)
    assert kept.equals(kept.select("id").join(before, on="id", how="left"))
    table = read_predictions(tmp_path / "run" / "test_predictions.csv")
    assert len(table) == tested.height
    assert set(table.labels["group"]) <= {f"epitope {group}" for group in range(4)}
    split = read_table(tmp_path / "run" / "split.csv", require="measured")
    parts = dict(zip(split.frame["id"], split.frame["split"], strict=True))
    assert {name for name, part in parts.items() if part == "test"} == set(tested["id"])
    assert len(parts) == count
    assert not split.failed
    assert [
        (row.pair.antibody.chains, row.pair.antigen.chains, row.pkd) for row in split.measurements
    ] == [(row.pair.antibody.chains, row.pair.antigen.chains, row.pkd) for row in measurements]
    with_split = [*TINY_RECIPE, f"data.split='{tmp_path / 'run' / 'split.csv'}'"]
    again = train_table(
        tmp_path / "run" / "split.csv", load_recipe("default", with_split), tmp_path / "again"
    )
    assert again.test_predictions()["id"].to_list() == tested["id"].to_list()


def test_a_run_ends_with_its_test_numbers_beside_simple_predictors(tmp_path):
    simulated_table(tmp_path / "table.csv", antibodies=80, antigens=2, seed=7)
    recipe = load_recipe("default", [*TINY_RECIPE, "data.split=random", "training.max_epochs=1"])
    trained = train_table(tmp_path / "table.csv", recipe, tmp_path / "run")
    head, *lines = lines_of_test(trained)
    train, test = (np.array([row.pkd for row in trained.part(n)[1]]) for n in ("train", "test"))
    titles = f"On the {len(test)} test rows Spearman within an antigen RMSE, pKd"
    assert " ".join(head.split()) == titles
    numbers = {}
    for *words, within, rmse in map(str.split, lines):
        values = (float(text.replace("\N{MINUS SIGN}", "-")) for text in (within, rmse))
        numbers[" ".join(words)] = pytest.approx(tuple(values), abs=6e-4)
    report = evaluate(tmp_path / "run")
    assert list(numbers) == ["this model", "constant", "nearest neighbour"]
    metrics = "within_antigen_spearman", "rmse"
    assert numbers["this model"] == tuple(report.estimate(name).value for name in metrics)
    assert numbers["constant"] == (0, np.sqrt(np.mean((test - train.mean()) ** 2)))
    fitted = {simple.name: simple.values for simple in report.references}["nearest_neighbour"]
    assert numbers["nearest neighbour"] == tuple(fitted[name] for name in metrics)


def test_a_run_without_test_rows_or_antigens_to_rank_within_says_so(tiny_run):
    parts, trained = tiny_run.trained.rows.parts, tiny_run.trained
    few = np.where((parts == "test") & (np.cumsum(parts == "test") > 4), "", parts)
    for changed, said in ((few, "No antigen has 5 exact test rows"), (None, "No test rows")):
        changed = np.where(parts == "test", "", parts) if changed is None else changed
        rows = dataclasses.replace(trained.rows, parts=changed)
        scores = trained.scores["test"]
        kept = {**trained.scores, "test": type(scores)(*(part[:4] for part in scores))}
        lines = lines_of_test(dataclasses.replace(trained, rows=rows, scores=kept))
        assert said in lines[-1]


def test_the_card_is_written_from_the_numbers(tiny_run, tiny_predictor):
    card = (tiny_run.folder / "card.md").read_text(encoding="utf-8")
    warning = calibration_warning(tiny_predictor.model.calibration)
    assert "10 held-out rows, fewer than 40" in warning
    assert warning in card
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
