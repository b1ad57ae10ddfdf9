"""A run interrupted and resumed is the run that was not; checkpoints are plain, whole, checked."""

import dataclasses
import io
import math
import os
import random
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Trap, flipped
from paratope.core.errors import TrainingError
from paratope.core.interruption import Interrupted, Interruption
from paratope.models.predictor import Predictor
from paratope.models.recipes import load_recipe
from paratope.training import FitResult, RunOptions, train_table
from paratope.training import checkpoints as checkpoint_files
from paratope.training.checkpoints import (
    LATEST,
    PREVIOUS,
    Checkpoints,
    DamageError,
    random_state,
    read_checked,
    restore_random_state,
    seed_everything,
)
from paratope.training.loggers import RunLog
from small_runs import LONG, StopHereError, StoppingLog, run, same_run, same_weights, tiny


@pytest.fixture(scope="module")
def whole(data):
    return run(data, tiny(*LONG))


def test_a_checkpoint_is_plain_and_has_the_promised_keys(data, tmp_path):
    result = run(data, tiny(), folder=tmp_path)
    state = torch.load(tmp_path / LATEST, weights_only=True)
    promised = "model_state_dict optimizer_state_dict scheduler_state_dict epoch best_val_spearman"
    assert set(promised.split()) <= set(state)
    assert state["epoch"] == 3
    spearmans = [record["validation_spearman"] for record in result.history]
    assert state["best_val_spearman"] == pytest.approx(max(spearmans))
    best = torch.load(tmp_path / state["progress"]["best_file"], weights_only=True)
    assert best["epoch"] == result.best_epoch
    weights = best["model_state_dict"]
    assert all(torch.equal(result.state[name], weights[name]) for name in weights)


def test_only_what_is_needed_is_kept(data, tmp_path):
    result = run(data, tiny("training.max_epochs=6", "training.monitor=loss"), folder=tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {LATEST, PREVIOUS, *(f"best_epoch_{epoch}.pth" for epoch in range(1, 7))}
    assert f"best_epoch_{result.best_epoch}.pth" in names
    assert len(names) in (3, 4)


def test_best_weights_are_not_in_the_checkpoint_twice(data, tmp_path):
    run(data, load_recipe("default", ["training.max_epochs=2"]), folder=tmp_path)
    state = torch.load(tmp_path / LATEST, weights_only=True)
    weights = sum(tensor.nbytes for tensor in state["model_state_dict"].values())
    assert (tmp_path / LATEST).stat().st_size < 3.2 * weights + 100_000


@pytest.fixture(scope="module")
def interrupted(data, whole, tmp_path_factory):
    """A folder of checkpoints of a run ended in its third epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(StopHereError):
        run(data, tiny(*LONG), folder=folder, log=StoppingLog("step", 8))
    return folder


@pytest.fixture
def folder(interrupted, tmp_path) -> Path:
    """A copy of it to damage."""
    return shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)


def edited(content: bytes) -> bytes:
    """Whole in every way that torch looks at, but not what was saved."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    state["model_state_dict"]["regressor.1.bias"] += 1.0
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "cut short": lambda content: content[:-1],
    "emptied": lambda content: b"",
    "one bit": lambda content: flipped(content, len(content) // 3),
    "ending": lambda content: flipped(content, len(content) - 40),
    "longer": lambda content: content + b"0",
    "edited": edited,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_good_checkpoint_is_used(data, whole, folder, damage):
    latest = folder / LATEST
    latest.write_bytes(DAMAGES[damage](latest.read_bytes()))
    said: list[str] = []
    resumed = run(data, tiny(*LONG), folder=folder, resume=True, log=RunLog(say=said.append))
    assert same_run(whole, resumed)
    assert said[0].startswith(f"{latest} is damaged: it")
    assert said[1] == f"The newest good checkpoint is {PREVIOUS}; it is used instead."
    assert said[2].startswith("Going on in epoch ")


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_altered_bit_is_detected(interrupted, place, bit):
    content = bytearray((interrupted / LATEST).read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder) / LATEST
        damaged.write_bytes(content)
        with pytest.raises(DamageError):
            read_checked(damaged)


@pytest.mark.parametrize(
    ("pattern", "damage", "message"),
    [
        ("best_epoch_*.pth", "one bit", "no checkpoint is whole: .*best weights .*altered"),
        ("checkpoint_*.pth", "emptied", "no checkpoint is whole.*Delete {} to start"),
    ],
)
def test_all_checkpoints_damaged_is_an_error(data, folder, pattern, damage, message):
    for path in folder.glob(pattern):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(TrainingError, match=message.format(folder)):
        run(data, tiny(*LONG), folder=folder, resume=True)


def test_nothing_in_a_checkpoint_is_executed(data, folder):
    """Also not in one whose checksum is right; nor is another file taken for a checkpoint."""
    for content in ({"progress": Trap(folder / "executed")}, {"model_state_dict": {}}, [1, 2]):
        checkpoint_files.write_checked(content, folder / LATEST)
        log = StoppingLog("batch", 1)
        with pytest.raises(StopHereError):
            run(data, tiny(*LONG), folder=folder, resume=True, log=log)
        assert f"{folder / LATEST} is damaged: it is " in log.said[0]
        assert log.said[1].startswith("The newest good checkpoint is")
    assert not (folder / "executed").exists()


def test_without_the_latest_the_previous_is_used(data, whole, folder):
    """A run may be killed between two renames."""
    (folder / LATEST).unlink()
    assert same_run(whole, run(data, tiny(*LONG), folder=folder, resume=True))


def test_a_kill_in_the_first_save_after_a_fallback_leaves_a_good_checkpoint(folder, monkeypatch):
    """The damaged latest must not take the place of the good previous one before it is replaced."""
    (folder / LATEST).write_bytes(b"cut off")
    checkpoints = Checkpoints(folder)
    state, notes = checkpoints.load()
    assert len(notes) == 2
    rename = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target).name == LATEST:
            raise StopHereError
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(StopHereError):
            checkpoints.save(state)
    again, _ = Checkpoints(folder).load()
    assert again["progress"]["step"] == state["progress"]["step"]
    checkpoints.save(state)
    checkpoints.save(state)  # from here on both are good
    (folder / LATEST).write_bytes(b"cut off")
    assert Checkpoints(folder).load()[0] is not None


@pytest.mark.parametrize(
    ("phase", "count"),
    [
        *(("batch", 1), ("batch", 10), ("step", 4), ("checkpoint", 5), ("saved", 4), ("saved", 5)),
        *(("validation", 1), ("validation", 4)),
    ],
)
def test_a_resumed_run_ends_as_if_never_interrupted(data, whole, tmp_path, phase, count):
    """Dropout on, accumulation on, sums of the epoch under way, best so far: all go on."""
    assert tiny(*LONG).network.dropout > 0
    with pytest.raises(StopHereError):
        run(data, tiny(*LONG), folder=tmp_path, log=StoppingLog(phase, count))
    torch.manual_seed(99)  # whatever state the new process is in
    assert same_run(whole, run(data, tiny(*LONG), folder=tmp_path, resume=True))


class NoisyStore:
    """Embeddings with noise from every generator there is: nothing may forget one of them."""

    def __init__(self, store) -> None:
        self.store = store

    def get(self, molecule):
        noise = random.random() + np.random.random() + torch.rand(1).item()
        return np.array(self.store.get(molecule)) + np.float32(0.1 * noise)


NOISY = (
    *("training.accumulate=2", "training.checkpoint_steps=2", "training.max_epochs=5"),
    *("training.batch_size=3", "training.patience=2", "training.learning_rate=0.01"),
    *("training.monitor=spearman", "schedule.name=plateau", "schedule.patience=0"),
)


def noisy_run(data, **options) -> FitResult:
    train, validation, store = data
    return run((train, validation, NoisyStore(store)), tiny(*NOISY), **options)


@pytest.fixture(scope="module")
def noisy(data, tmp_path_factory):
    """A whole run, and the folder of the same run ended inside its third epoch."""
    folder = tmp_path_factory.mktemp("noisy")
    with pytest.raises(StopHereError):
        noisy_run(data, folder=folder, log=StoppingLog("step", 9))
    return noisy_run(data), folder


def other_numbers(key):
    def change(state):
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)
        state["random"][key] = random_state()[key]

    return change


def changed(*path, value):
    def change(state):
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value(state[path[-1]])

    return change


# every part of a checkpoint, and a change of it that must change the run
PARTS = {
    "unchanged": lambda state: None,
    "random numbers of Python": other_numbers("python"),
    "random numbers of NumPy": other_numbers("numpy"),
    "random numbers of torch": other_numbers("torch"),
    "epoch of the sampler": changed("plan", "epoch", value=lambda epoch: epoch - 1),
    "position of the sampler": changed("plan", "position", value=lambda position: position - 2),
    "seed of the sampler": changed("plan", "seed", value=lambda seed: seed + 1),
    "sums of the epoch": changed("progress", "sums", "loss", value=lambda loss: loss + 1.0),
    "steps in the sums": changed("progress", "sums", "steps", value=lambda steps: steps + 1.0),
    "history": changed("progress", "history", value=lambda history: history[:-1]),
    "best value": changed("progress", "best_value", value=lambda best: -math.inf),
    "best epoch": changed("progress", "best_epoch", value=lambda epoch: 0),
    "stop": changed("progress", "stopped", value=lambda stopped: "because"),
    "rate of the schedule": changed("scheduler_state_dict", "plateau_rate", value=lambda r: r / 2),
    "best of the schedule": changed("scheduler_state_dict", "best", value=lambda best: -math.inf),
    "early stop's best": changed("early_stopping", "best", value=lambda best: -math.inf),
    "early stop's epoch": changed("early_stopping", "since", value=lambda since: since - 9),
    "weights": changed("model_state_dict", value=lambda w: {name: 0.9 * w[name] for name in w}),
    "optimiser": changed("optimizer_state_dict", "state", value=lambda state: {}),
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_state_is_needed_and_restored(data, noisy, tmp_path, part):
    undisturbed, folder = noisy
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    checkpoints = Checkpoints(tmp_path)
    state, notes = checkpoints.load()
    assert notes == []
    assert 0 < state["plan"]["position"]
    assert state["progress"]["best_epoch"] >= 1
    PARTS[part](state)
    checkpoints.save(state)
    resumed = noisy_run(data, folder=tmp_path, resume=True)
    assert same_run(undisturbed, resumed) is (part == "unchanged")


def test_the_state_of_every_cuda_device_is_kept(monkeypatch):
    kept: list[torch.Tensor] = [torch.arange(4, dtype=torch.uint8), torch.ones(4).byte()]
    restored: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: kept)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", restored.extend)
    restore_random_state(random_state())
    assert all(torch.equal(*both) for both in zip(kept, restored, strict=True))


def test_resuming_starts_afresh_without_a_checkpoint_and_returns_a_finished_run(data, tmp_path):
    said: list[str] = []
    first = run(data, tiny(), folder=tmp_path, resume=True, log=RunLog(say=said.append))
    assert same_run(first, run(data, tiny()))
    before = (tmp_path / LATEST).read_bytes()
    again = run(data, tiny(), folder=tmp_path, resume=True, log=RunLog(say=said.append))
    assert same_weights(first, again)
    assert (tmp_path / LATEST).read_bytes() == before
    assert said == [
        f"There is no checkpoint in {tmp_path}: starting afresh.",
        "Training is done already: all 3 epochs done.",
    ]


def test_resuming_with_other_settings_or_rows_is_refused(data, tmp_path):
    train, validation, store = data
    run(data, tiny(), folder=tmp_path)
    with pytest.raises(TrainingError, match="other settings of network, loss"):
        run(data, tiny("network.dropout=0.5", "loss.mse=1"), folder=tmp_path, resume=True)
    for part, rows in (("training", train), ("validation", validation)):
        other = dataclasses.replace(rows, pkd=rows.pkd + np.float32(0.1))
        parts = (other, validation) if part == "training" else (train, other)
        with pytest.raises(TrainingError, match=f"other {part} rows"):
            run((*parts, store), tiny(), folder=tmp_path, resume=True)


@pytest.mark.parametrize("work", ["fit", "network", "train_table", "predict"])
def test_the_callers_random_numbers_are_left_alone(data, tiny_run, tmp_path, work):
    table, recipe, options = tiny_run.table, tiny_run.trained.recipe, RunOptions(device="cpu")
    do = {
        "fit": lambda: run(data, tiny()),
        "network": run(data, tiny()).network,
        "train_table": lambda: train_table(table, recipe, tmp_path / "run", options),
        "predict": lambda: Predictor.load(tiny_run.folder / "bundle").predict(table),
    }[work]

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), torch.rand(1).item()

    seed_everything(5)
    expected = draws()
    seed_everything(5)
    do()
    assert draws() == expected


@pytest.mark.parametrize(
    ("number", "phase", "count", "step"),
    [
        (signal.SIGINT, "batch", 5, 2),
        (signal.SIGTERM, "batch", 5, 2),
        (signal.SIGTERM, "validation", 2, 6),
        (signal.SIGINT, "saved", 3, 9),
    ],
)
def test_a_signal_saves_the_last_step_and_leaves(data, whole, tmp_path, number, phase, count, step):
    recipe = tiny(*LONG, "training.checkpoint_steps=0")
    log = StoppingLog(phase, count, lambda: signal.raise_signal(number))
    before = signal.getsignal(number)
    with Interruption() as interruption, pytest.raises(Interrupted) as caught:
        run(data, recipe, folder=tmp_path, log=log, interruption=interruption)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    state, notes = Checkpoints(tmp_path).load()
    assert notes == []
    assert state["progress"]["step"] == step
    assert same_run(whole, run(data, recipe, folder=tmp_path, resume=True))
    with Interruption(), pytest.raises(Interrupted, match="interrupted by SIG"):
        signal.raise_signal(number)  # outside the loop it leaves where it is


def test_other_threads_hear_no_signals(data):
    """A run inside a server or a notebook's thread leaves the handlers alone."""
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with Interruption() as interruption:
            seen.append(signal.getsignal(signal.SIGTERM))
            interruption.check()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
