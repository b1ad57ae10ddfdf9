"""Checkpoints: plain tensors and numbers, written whole or not at all, checked when read.

A folder holds the latest checkpoint, the one before it, and the weights of the best epoch these two
refer to::

    checkpoint_latest.pth     weights, optimiser, schedule and everything else a run goes on from
    checkpoint_previous.pth   the same one checkpoint earlier: taken if the latest is damaged
    best_epoch_<n>.pth        weights of the best epoch so far

Each is what `torch.save` writes, followed by the SHA-256 of it in 64 hexadecimal digits;
`torch.load` reads the file as any other.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import random
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paratope.core.errors import TrainingError
from paratope.core.files import atomic_file
from paratope.models.recipes import NetworkConfig, Recipe

LATEST = "checkpoint_latest.pth"
PREVIOUS = "checkpoint_previous.pth"
BEST = "best_epoch_{}.pth"
# sections of a recipe that may change when a run goes on; of the data, the rows are compared
_FREE = ("data", "monitors")
# what every checkpoint of a run holds, among other things
_KEYS = frozenset(
    "model_state_dict optimizer_state_dict scheduler_state_dict epoch best_val_spearman progress "
    "plan random rows network recipe".split()
)
_DIGITS = 64  # of a SHA-256
_BLOCK = 1 << 20  # bytes hashed at a time


class DamageError(Exception):
    """A file is not what was saved; the message says why."""


class Checkpoints:
    """The checkpoints of one run; their folder is made when the first is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._latest_is_good = False  # read whole, or written, by this object
        self._best_written: dict[str, str] = {}  # name -> checksum
        self._best_used: deque[set[str]] = deque(maxlen=2)  # by the last two checkpoints
        self._best_used.append({path.name for path in folder.glob(BEST.format("*"))})

    def save(self, state: dict[str, Any]) -> Path:
        """Write the latest checkpoint and keep the one before; a crash leaves a good one.

        The best weights, in ``state["progress"]["best_state"]``, go to a file of their own, once.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        latest, progress = self.folder / LATEST, {**state["progress"]}
        weights, epoch = progress.pop("best_state"), progress["best_epoch"]
        best = BEST.format(epoch) if epoch else ""  # before the first epoch the seed gives them
        if best and best not in self._best_written:
            content = {name: state[name] for name in ("epoch", "best_val_spearman")}
            content |= {"model_state_dict": weights, "epoch": epoch}
            self._best_written = {best: write_checked(content, self.folder / best)}
        progress |= {"best_file": best, "best_checksum": self._best_written.get(best, "")}
        previous = self.folder / PREVIOUS
        # a damaged latest must not replace a good previous
        keep = functools.partial(os.replace, latest, previous) if self._latest_is_good else None
        write_checked({**state, "progress": progress}, latest, keep)
        self._latest_is_good = True
        self._best_used.append({best})
        for path in self.folder.glob(BEST.format("*")):
            if path.name not in set().union(*self._best_used):
                path.unlink()
        return latest

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest good checkpoint and notes for the user; `TrainingError` if none is whole."""
        notes: list[str] = []
        for path in self.paths():
            try:
                state, _ = read_checked(path)
                if not isinstance(state, dict) or not _KEYS <= state.keys():
                    raise DamageError(
                        "it is another kind of file, or of another version of paratope"
                    )
                progress = state["progress"]
                if name := Path(progress["best_file"]).name:
                    try:
                        best, checksum = read_checked(self.folder / name)
                    except DamageError as damage:
                        raise DamageError(f"the best weights it needs, {name}: {damage}") from None
                    if checksum != progress["best_checksum"]:
                        raise DamageError(f"the best weights it needs, {name}, are of another run")
                    progress["best_state"] = best["model_state_dict"]
                    self._best_written = {name: checksum}
            except DamageError as damage:
                notes.append(f"{path} is damaged: {damage}.")
                continue
            if notes:
                notes.append(f"The newest good checkpoint is {path.name}; it is used instead.")
            self._latest_is_good = path.name == LATEST
            return state, notes
        if notes:
            raise TrainingError(
                f"no checkpoint is whole: {' '.join(notes)} Delete {self.folder} to start afresh"
            )
        return None, []

    def paths(self) -> list[Path]:
        """Checkpoints there are, newest first."""
        paths = (self.folder / LATEST, self.folder / PREVIOUS)
        return [path for path in paths if path.is_file()]


def write_checked(
    state: dict[str, Any], path: Path, before_rename: Callable[[], object] | None = None
) -> str:
    """Save a state with its SHA-256, which is returned; `before_rename` is called in between."""
    with atomic_file(path) as file:
        torch.save(state, file)
        file.flush()
        with open(file.name, "rb") as written:
            checksum = hashlib.file_digest(written, "sha256").hexdigest()
        file.write(checksum.encode())
        if before_rename is not None:
            before_rename()
    return checksum


def read_checked(path: Path) -> tuple[dict[str, Any], str]:
    """A state that `write_checked` saved, and its checksum; `DamageError` if a byte differs."""
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            end = max(0, file.seek(0, os.SEEK_END) - _DIGITS)
            file.seek(0)
            while block := file.read(min(_BLOCK, end - file.tell())):
                digest.update(block)
            checksum, ending = digest.hexdigest(), file.read()
        if len(ending) < _DIGITS or not set(ending) <= set(b"0123456789abcdef"):
            raise DamageError("it does not end in its checksum: it was cut off, or written anew")
        if ending != checksum.encode():
            raise DamageError("its checksum differs: it was altered")
        return torch.load(path, map_location="cpu", weights_only=True), checksum
    except FileNotFoundError:
        raise DamageError("the file is missing") from None
    except OSError as error:
        raise DamageError(f"it cannot be read ({error.strerror})") from error
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        # whole, but made by somebody else: not of plain tensors, numbers and text alone
        raise DamageError(f"it is no checkpoint ({type(error).__name__})") from error


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def check_same_run(
    state: dict[str, Any], recipe: Recipe, config: NetworkConfig, rows: dict[str, str | None]
) -> None:
    """Raise `TrainingError` unless a checkpoint is of this recipe, this network and these rows."""
    changed = [
        name
        for name, settings in recipe.model_dump(mode="json").items()
        if isinstance(settings, dict)
        and name not in _FREE
        and state["recipe"].get(name) != settings
    ]
    if changed or NetworkConfig(**state["network"]) != config:
        raise TrainingError(
            f"the checkpoint was made with other settings of {', '.join(changed) or 'encoders'}; "
            "resume with the run's own run.toml, or start a new run in another folder"
        )
    other = [part for part, fingerprint in rows.items() if state["rows"][part] != fingerprint]
    if other:
        raise TrainingError(
            f"the checkpoint was made with other {' and '.join(other)} rows: the table or its "
            "split has changed; start a new run in another folder"
        )


def random_state() -> dict[str, Any]:
    """State of the generators of Python, NumPy, torch and every CUDA device, as plain values."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [str(kind), torch.from_numpy(np.array(keys)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every generator where it was."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy(), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    """Seed the global generators, which libraries may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def callers_random_state_kept() -> Iterator[None]:
    """Whatever is seeded or drawn inside, or in what it decorates, the caller's go on unmoved."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)
