"""`paratope train` killed with ``kill -9``, or told to leave, and resumed: as if nothing had been.

Where a kill fell is read from the run's own log: its last line says what was being done.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from paratope.cli import main
from paratope.core.errors import TrainingError
from paratope.training.loggers import LOG, RunLog
from trained_models import simulated_table

SETTINGS = (
    *("network.dim=16", "network.heads=2", "network.tower_layers=1"),
    *("network.regressor=[256, 256]", "network.dropout=0.3"),
    *("training.batch_size=4", "training.accumulate=4"),
    *("training.patience=0", "training.checkpoint_steps=1", "training.monitor=spearman"),
)
# columns of the history that hold time and memory
OWN_COLUMNS = ("Seconds", "Peak Memory MB")
Line = list[str]


class Workshop:
    """A table, and ways to train on it: here, or in a process that gets killed."""

    def __init__(self, folder: Path, settings: tuple[str, ...] = SETTINGS, recipe: str = "default"):
        self.folder, self.settings, self.recipe = folder, settings, recipe
        self.environment = dict(os.environ)
        table = folder / "measurements.csv"
        self.table = simulated_table(table, antibodies=30, antigens=2, seed=7)

    def arguments(self, run: Path, epochs: int, *more: str) -> list[str]:
        changes = (*self.settings, f"training.max_epochs={epochs}")
        settings = [item for change in changes for item in ("--set", change)]
        options = ["--recipe", self.recipe, "--encoders", "residue,residue"]
        options += ["--split", "antibody", *more]
        return ["train", str(self.table), "-o", str(run), *options, *settings]

    def finish(self, run: Path, epochs: int, *more: str) -> Path:
        """Train in this process."""
        with pytest.raises(SystemExit) as left:
            main(self.arguments(run, epochs, *more))
        assert not left.value.code
        return run

    def start(self, run: Path, epochs: int, *more: str) -> subprocess.Popen:
        command = "import sys; from paratope.cli import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", command, *self.arguments(run, epochs, *more)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self.environment)

    def start_until(
        self, run: Path, due: Callable[[list[Line]], bool], epochs: int = 2, *more: str
    ) -> subprocess.Popen:
        """Train in a process of its own, which is given back when it is due."""
        log = run / LOG
        before = log.stat().st_size if log.exists() else 0
        process = self.start(run, epochs, *more)
        while not (log.exists() and due(lines_of(log, before))):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.0005)
        return process

    def finish_alone(self, run: Path, epochs: int, *more: str) -> Path:
        process = self.start(run, epochs, *more)
        _, said = process.communicate()
        assert process.returncode == 0, said
        return run

    def kill(self, run: Path, epochs: int, due: Callable[[list[Line]], bool], delay: float) -> Line:
        """Resume in a process of its own, ``kill -9`` it when it is due: the log's last line."""
        process = self.start_until(run, due, epochs, "--resume")
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        return lines_of(run / LOG)[-1]


def lines_of(log: Path, start: int = 0) -> list[Line]:
    """Phase and values of every whole line of a log from a byte on."""
    with log.open("rb") as file:
        file.seek(start)
        return [line.split()[1:] for line in file.read().decode().split("\n")[:-1]]


def after(phase: str, count: int, values: str = "") -> Callable[[list[Line]], bool]:
    """Due at the count-th line of a phase (any, if empty) that holds these values."""

    def due(lines: list[Line]) -> bool:
        found = [line for line in lines if line[0].startswith(phase) and values in " ".join(line)]
        return len(found) >= count

    return due


def in_window(line: Line) -> bool:
    """Gradients of at least one batch are there, the step they are for is not yet made."""
    return line[0] == "batch" and "window=1/" not in " ".join(line)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARATOPE_CACHE", str(folder / "cache"))
        yield Workshop(folder)


@pytest.fixture(scope="module")
def undisturbed(workshop) -> Path:
    return workshop.finish(workshop.folder / "undisturbed", 2)


def equal(left: object, right: object) -> bool:
    """Equal to the bit, NaN and all."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and np.array_equal(
            left.numpy(), right.numpy(), equal_nan=left.is_floating_point()
        )
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    return repr(left) == repr(right)


def state_of(path: Path) -> dict:
    state = torch.load(path, weights_only=True)
    if "progress" in state:
        state["progress"].pop("seconds")
        for record in state["progress"]["history"]:
            for name in ("seconds", "peak_memory_mb"):
                record.pop(name)
    return state


def assert_same_run(left: Path, right: Path) -> None:
    """Two run folders hold the same files, equal byte by byte but for time and memory."""
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        for folder in (left, right)
    ]
    assert names[0] == names[1]
    assert {"metrics.json", "card.md", "bundle/model.safetensors"} < set(names[0])
    for name in set(names[0]) - {LOG}:
        one, other = left / name, right / name
        if name.startswith("training_history") and name.endswith(".csv"):
            assert pl.read_csv(one).drop(OWN_COLUMNS).equals(pl.read_csv(other).drop(OWN_COLUMNS))
        elif name.endswith(".pth"):
            assert equal(state_of(one), state_of(other)), name
        else:
            assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.slow
def test_a_run_killed_in_a_window_and_in_a_write_is_the_same_run(workshop, undisturbed):
    run = workshop.folder / "killed"
    place = workshop.kill(run, 2, after("batch", 6, "window=2/"), 0.0)
    assert in_window(place) or place[0] == "step"
    workshop.kill(run, 2, after("checkpoint", 2), 0.0)
    workshop.finish(run, 2, "--resume")
    assert_same_run(undisturbed, run)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_at_twenty_moments_is_the_same_run(workshop):
    """The moments: ten at random, five in the middle of a window, five in a checkpoint's write."""
    epochs, chance = 22, random.Random(20)
    run = workshop.folder / "killed-often"
    aims = ["anywhere"] * 10 + ["window"] * 5 + ["write"] * 5
    chance.shuffle(aims)
    places, torn = [], 0
    for aim in aims:
        if aim == "anywhere":
            due, delay = after("", chance.randrange(1, 30)), chance.uniform(0, 0.05)
        elif aim == "window":
            due, delay = after("batch", chance.randrange(1, 5), f"window={chance.choice('23')}/"), 0
        else:
            due, delay = after("checkpoint", chance.randrange(1, 5)), chance.uniform(0, 0.002)
        places.append(workshop.kill(run, epochs, due, delay))
        torn += bool(list((run / "checkpoints").glob(".paratope-*.tmp")))
    assert len(places) == 20
    assert sum(map(in_window, places)) >= 5, places
    assert sum(place[0] == "checkpoint" for place in places) >= 2, places
    assert torn >= 1  # a half-written file was there, and no resume minded it
    assert_same_run(
        workshop.finish(workshop.folder / "undisturbed-long", epochs),
        workshop.finish(run, epochs, "--resume"),
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("recipe", ["default", "v2.6"])
def test_weights_are_equal_with_the_default_number_of_threads(tmp_path, monkeypatch, recipe):
    """Gathers of rows whose backward pass adds in parallel differ from run to run.

    On a CPU PyTorch adds in parallel above 32,768 elements: 32 rows of 100 residues are enough.
    """
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_NUM_THREADS")
    settings = ("network.dim=64", "network.regressor=[64]", "training.batch_size=32")
    settings += ("training.accumulate=1", "training.checkpoint_steps=1", "training.patience=0")
    workshop, epochs, chance = Workshop(tmp_path, settings, recipe), 4, random.Random(5)
    first = workshop.finish_alone(tmp_path / "first", epochs)
    assert_same_run(first, workshop.finish_alone(tmp_path / "second", epochs))
    killed = tmp_path / "killed"
    for _ in range(3):
        workshop.kill(killed, epochs, after("", chance.randrange(1, 12)), chance.uniform(0, 0.05))
    assert_same_run(first, workshop.finish_alone(killed, epochs, "--resume"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("phase", ["results", "model", "bundle"])
def test_a_run_killed_after_its_last_step_is_finished_on_resume(workshop, undisturbed, phase):
    run = workshop.folder / f"killed-at-{phase}"
    workshop.kill(run, 2, after(phase, 1), 0.0)
    workshop.finish(run, 2, "--resume")
    assert_same_run(undisturbed, run)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_saves_leaves_and_says_how_to_go_on(workshop, undisturbed, number, capfd):
    run = workshop.folder / f"left-{number.name}"
    process = workshop.start_until(run, after("step", 3))
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    advice = f"Go on with: paratope train -o {run} --resume"
    assert f"Stopped: interrupted by {number.name}. {advice}" in said
    assert lines_of(run / LOG)[-1][:3] == ["note", "Saved", "after"]
    with pytest.raises(SystemExit) as left:
        main(["train", "-o", str(run), "--resume"])  # what it said
    assert not left.value.code
    assert "Going on in epoch" in capfd.readouterr().err
    assert_same_run(undisturbed, run)


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_damages_nothing(workshop, undisturbed):
    run = workshop.folder / "left-twice"
    process = workshop.start_until(run, after("checkpoint", 2))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert "Traceback" not in said
    workshop.finish(run, 2, "--resume")
    assert_same_run(undisturbed, run)


def test_a_finished_run_is_left_alone_and_what_is_missing_of_it_written_again(
    workshop, undisturbed, capfd
):
    before = {path: path.stat() for path in undisturbed.rglob("*")}
    workshop.finish(undisturbed, 2, "--resume")
    said = capfd.readouterr().err
    assert said.startswith(f"{undisturbed} is finished: nothing is left to do.\n")
    assert {path: path.stat() for path in undisturbed.rglob("*")} == before
    for name in ("metrics.json", "bundle/model.safetensors", "card.md"):
        (undisturbed / name).unlink()
        workshop.finish(undisturbed, 2, "--resume")
        assert (undisturbed / name).is_file()
    # a finished run of another table is not taken for this one
    text = workshop.table.read_text(encoding="utf-8")
    try:
        workshop.table.write_text(text.replace("7.", "6.", 1), encoding="utf-8")
        with pytest.raises(SystemExit) as left:
            main(workshop.arguments(undisturbed, 2, "--resume"))
    finally:
        workshop.table.write_text(text, encoding="utf-8")
    assert left.value.code == 2
    assert "rows: the table or its split has changed" in capfd.readouterr().err


def test_leftovers_of_a_killed_write_are_removed(workshop, undisturbed):
    leftovers = [
        undisturbed / "checkpoints" / ".paratope-0123456789abcdef.tmp",
        undisturbed / ".paratope-0123456789abcdef.tmp",
        undisturbed / ".bundle.0123456789abcdef.tmp" / "config.json",
    ]
    leftovers[2].parent.mkdir()
    for path in leftovers:
        path.write_bytes(b"half of ")
    (undisturbed / "card.md").unlink()  # so that there is something to resume
    workshop.finish(undisturbed, 2, "--resume")
    assert not any(path.exists() for path in (*leftovers, leftovers[2].parent))


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    with RunLog(tmp_path / LOG), pytest.raises(TrainingError, match="another process is training"):
        with RunLog(tmp_path / LOG):
            pass
    with RunLog(tmp_path / LOG):
        pass


def test_the_log_names_epoch_batch_and_phase(undisturbed):
    phases = {line[0] for line in lines_of(undisturbed / LOG)}
    assert {"start", "batch", "step", "checkpoint", "saved", "validation", "finished"} <= phases
    batch = next(line for line in lines_of(undisturbed / LOG) if line[0] == "batch")
    assert batch[1:3] == ["epoch=1", f"batch=1/{batch[2].split('/')[1]}"]
    assert batch[3] == "window=1/4"
    assert os.getpid() == int(lines_of(undisturbed / LOG)[0][2].removeprefix("process="))
