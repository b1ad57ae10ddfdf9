"""Weights & Biases: offline files in the run folder, unless the user has set ``WANDB_MODE``."""

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paratope.models.recipes import Recipe
from paratope.training.loggers.protocol import Record, numbers, read_state, settings, write_state

if TYPE_CHECKING:
    from wandb import Run

PROJECT = "paratope"


class WandbLogger:
    """Metrics, warnings and the recipe (as configuration) in ``<run>/wandb/``.

    Nothing is sent: ``wandb sync`` does that, if the user wants it, or ``WANDB_MODE=online`` in the
    environment. Neither code, nor the machine's state, nor crashes of the library are reported.

    The library writes its file late, so a killed run loses epochs there. A run that goes on is
    therefore written anew from its first epoch, under the same identifier, and takes the place of
    what was there.

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
        self.state = {"id": secrets.token_hex(4), "closed_after": 0} | read_state(self.path)
        write_state(self.path, self.state)
        self.logged = 0
        self._run: Run | None = None
        if not self.state["closed_after"]:
            self._open()

    def _open(self) -> "Run":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
        import wandb

        if self._run is None:
            mode = os.environ.get("WANDB_MODE") or "offline"
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                name=self.folder.name,
                id=self.state["id"],
                resume="allow" if mode == "online" else None,
                dir=self.folder,
                mode=mode,  # type: ignore[arg-type] - the user's; wandb checks it
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
        if len(history) <= self.state["closed_after"]:
            return  # all of them were written before
        for record in history[self.logged :]:
            run, epoch = self._open(), record["epoch"]
            text = {"warning": record["warning"]} if record.get("warning") else {}
            if epoch >= run.step:  # what a server has already is not sent again
                run.log({**numbers(record), **text, "epoch": epoch}, step=epoch, commit=True)
            self.logged = epoch

    def close(self, status: str) -> None:
        """Finish the run; its file is whole from now on."""
        if self._run is None:
            return
        written = Path(self._run.dir).parent
        self._run.finish(exit_code=0 if status == "finished" else 1)
        for path in self.path.parent.glob(f"offline-run-*-{self.state['id']}"):
            if path != written:
                shutil.rmtree(path)
        write_state(self.path, {**self.state, "closed_after": self.logged})
