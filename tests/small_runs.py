"""Small training runs on random molecules, for tests of training."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from paratope.core.censoring import Censoring
from paratope.data.measurements import Measurement
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.models.batches import Examples
from paratope.models.recipes import Recipe, load_recipe
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from paratope.training import FitResult, RunOptions, fit
from paratope.training.loggers import RunLog

# entries of an epoch's record that differ from one run to the next of the same recipe
TIME_AND_MEMORY = ("seconds", "peak_memory_mb", "peak_gpu_memory_mb")

TINY = [
    *("network.dim=8", "network.heads=2", "network.tower_layers=1", "network.regressor=[8]"),
    *("training.batch_size=4", "training.max_epochs=3", "training.patience=0"),
]


def tiny(*changes: str, name: str = "default") -> Recipe:
    return load_recipe(name, [*TINY, *changes])


def rows(count: int, seed: int = 0) -> list[Measurement]:
    random = np.random.default_rng(seed)

    def sequence(length: int) -> str:
        return "".join(random.choice(list(AMINO_ACIDS), length))

    antigens = [Antigen((sequence(12 + 5 * number),)) for number in range(3)]
    kinds = (Censoring.EXACT, Censoring.EXACT, Censoring.AT_MOST)
    return [
        Measurement(
            Pair(Antibody(sequence(9 + number % 4), sequence(8)), antigens[number % 3]),
            float(random.uniform(5, 11)),
            kinds[number % 3],
            f"assay {number % 2}",
        )
        for number in range(count)
    ]


@contextlib.contextmanager
def examples(
    folder: Path, train: Examples | None = None, validation: Examples | None = None
) -> Iterator[tuple[Examples, Examples, EmbeddingStore]]:
    """Training and validation examples, these or random ones, with their store."""
    train = train or Examples.from_measurements(rows(18))
    validation = validation or Examples.from_measurements(rows(9, 1))
    with EmbeddingStore(load_encoder("residue"), folder) as store:
        for part in (train, validation):
            store.fill((*part.antibodies, *part.antigens))
        yield train, validation, store


def run(data, recipe: Recipe, folder: Path | None = None, log=None, **options) -> FitResult:
    """Fit on the CPU; further arguments are those of `RunOptions`."""
    train, validation, store = data
    run_options = RunOptions(device="cpu", **options)
    stores = store, store
    return fit(train, validation, recipe, stores, run_options, folder=folder, log=log)


def same_weights(left: FitResult, right: FitResult) -> bool:
    equal = (torch.equal(left.state[name], right.state[name]) for name in left.state)
    return left.state.keys() == right.state.keys() and all(equal)


def comparable(history) -> list[str]:
    """Records of a history without time and memory."""
    return [
        repr(sorted(item for item in record.items() if item[0] not in TIME_AND_MEMORY))
        for record in history
    ]


class StopHereError(Exception):
    pass


class StoppingLog(RunLog):
    """Ends a run, or does something else, the n-th time that a phase begins."""

    def __init__(self, phase: str, count: int, action=None) -> None:
        self.said: list[str] = []
        super().__init__(say=self.said.append)
        self.phase, self.left, self.action = phase, count, action

    def event(self, phase: str, **values: object) -> None:
        self.left -= phase == self.phase
        if phase == self.phase and self.left == 0:
            if self.action is None:
                raise StopHereError
            self.action()


def same_run(left: FitResult, right: FitResult) -> bool:
    return (
        same_weights(left, right)
        and comparable(left.history) == comparable(right.history)
        and (left.best_epoch, left.stopped) == (right.best_epoch, right.stopped)
    )


LONG = (
    *("training.accumulate=2", "training.checkpoint_steps=1", "training.max_epochs=4"),
    *("training.batch_size=3", "training.balance=antigen", "training.monitor=spearman"),
)
