"""Weights & Biases: offline files in the run folder, unless the user has set ``WANDB_MODE``."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paratope.loggers.protocol import Record, numbers, read_state, settings, write_state
from paratope.recipes import Recipe

if TYPE_CHECKING:
    from wandb import Run

PROJECT = "paratope"


class WandbLogger:
    """Metrics, warnings and the recipe (as configuration) in ``<run>/wandb/``.

    Nothing is sent: ``wandb sync`` does that, if the user wants it, or ``WANDB_MODE=online`` in the
    environment. Neither code, nor the machine's state, nor crashes of the library are reported.

    Parameters
    ----------
    folder : Path
        Run folder.
    recipe : Recipe
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.config = folder.resolve(), dict(settings(recipe))
        self.path = self.folder / "wandb" / "run.json"
        self.path.parent.mkdir(exist_ok=True)
        self.state = read_state(self.path) or {"id": secrets.token_hex(4), "epoch": 0}
        write_state(self.path, self.state)
        self._run: Run | None = None
        if not self.state["epoch"]:
            self._open()

    def _open(self) -> "Run":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
        import wandb

        if self._run is None:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                name=self.folder.name,
                id=self.state["id"],
                dir=self.folder,
                mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
                config=self.config,
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    disable_code=True,
                    disable_git=True,
                    save_code=False,
                    x_disable_meta=True,
                    x_disable_machine_info=True,
                    x_disable_stats=True,
                ),
            )
        return self._run

    def log(self, history: Sequence[Record]) -> None:
        """Write the epochs that are not written yet."""
        for record in history[self.state["epoch"] :]:
            epoch = record["epoch"]
            text = {"warning": record["warning"]} if record.get("warning") else {}
            self._open().log({**numbers(record), **text, "epoch": epoch}, step=epoch)
            self.state["epoch"] = epoch
            write_state(self.path, self.state)

    def close(self, status: str) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "finished" else 1)
