"""The run folder against the v2.6 release's own files: all of them, and what they lacked."""

import json
import resource
from pathlib import Path

import matplotlib.image
import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.figure import Figure

from paratope.models.batches import Examples
from paratope.models.recipes import load_recipe
from paratope.training import RunOptions, fit
from paratope.training.checkpoints import LATEST
from paratope.training.history import history_figure
from paratope.training.loop import TIME_AND_MEMORY, peak_memory_mb
from small_runs import LONG, StopHereError, StoppingLog, data, rows, run, tiny
from trained_models import tiny_run

__all__ = ["data", "tiny_run"]  # fixtures
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


def test_time_and_memory_are_in_the_history(tiny_run):
    history = pl.read_csv(tiny_run.folder / f"training_history_{tiny_run.trained.recipe.name}.csv")
    assert (history["Seconds"] > 0).all()
    # the kernel counts pages in batches of each thread, and the history rounds to 0.1 MB
    assert (history["Peak Memory MB"].diff().drop_nulls() > -1.0).all()
    # the history rounds to 0.1 MB
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
    """With its optimiser less than 1/25 of the release's, without it less than 250 MB."""
    recipe = load_recipe("v2.6", ["training.max_epochs=1", "training.batch_size=2"])
    examples = Examples.from_measurements(rows(4))
    stores = RandomStore(1024), RandomStore(2560)  # IgT5, ESM-2 3B
    result = fit(examples, examples, recipe, stores, RunOptions(device="cpu"), folder=tmp_path)
    weights = sum(tensor.numel() for tensor in result.state.values())
    assert 45e6 < weights < 55e6
    assert 12 * weights < (tmp_path / LATEST).stat().st_size < RELEASE_BYTES / 25
    best = tmp_path / f"best_epoch_{result.best_epoch}.pth"
    assert 4 * weights < best.stat().st_size < 250e6
