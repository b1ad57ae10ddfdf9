"""Checkpoints: plain, whole, no litter; damage is detected and the newest good one used."""

import io
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Trap, flipped
from paratope.core.errors import TrainingError
from paratope.models.recipes import load_recipe
from paratope.training import checkpoints as checkpoint_files
from paratope.training.checkpoints import LATEST, PREVIOUS, Checkpoints, DamageError, read_checked
from paratope.training.loggers import RunLog
from small_runs import LONG, StopHereError, StoppingLog, run, same_run, tiny


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
    """Latest, previous and the best weights that these two speak of: no litter in a long run."""
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
    """Days of training are not thrown away silently."""
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
