"""A real small model, trained on simulated measurements, for tests of what is built on models."""

import dataclasses
from pathlib import Path
from typing import Any

from paratope.data.datasets.simulated import simulate
from paratope.data.tables import frame_from_measurements, write_table
from paratope.models.recipes import load_recipe
from paratope.training import TrainedTable, train_table
from paratope.training.runs import write_model_of_run

TINY_RECIPE = (
    *("network.dim=8", "network.heads=2", "network.tower_layers=1", "network.regressor=[16]"),
    *("encoders.antibody='residue'", "training.max_epochs=3", "data.split='antibody'"),
)


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run folder, the table it was trained on, and what the training gave."""

    folder: Path
    table: Path
    trained: TrainedTable


def simulated_table(path: Path, **options: Any) -> Path:
    """A table of simulated measurements, with the options of `simulate`, as a file."""
    write_table(frame_from_measurements(simulate(**options).measurements), path)
    return path


def train_tiny(folder: Path, seed: int = 0) -> TrainedRun:
    """Train a tiny model on 90 simulated pairs; a few seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    table = simulated_table(folder / "measurements.csv", antibodies=45, antigens=2, seed=7)
    recipe = load_recipe("default", [*TINY_RECIPE, f"training.seed={seed}"])
    trained = train_table(str(table), recipe, folder / "run")
    write_model_of_run(trained, folder / "run")
    return TrainedRun(folder / "run", table, trained)
