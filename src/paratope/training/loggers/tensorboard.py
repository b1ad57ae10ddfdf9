"""TensorBoard: event files in the run folder, for ``tensorboard --logdir run/tensorboard``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paratope.models.recipes import Recipe, recipe_toml
from paratope.training.loggers.protocol import Record, numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LAST = "epoch"  # the scalar that is written last: with it, an epoch is complete


class TensorBoardLogger:
    """Scalars, warnings and the recipe in ``<run>/tensorboard/``.

    Parameters
    ----------
    folder : Path
        Run folder.
    recipe : Recipe
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.path = folder / "tensorboard"
        self.logged = _last_epoch(self.path)
        self._writer: SummaryWriter | None = None
        if not self.logged:
            self._open().add_text("recipe", f"```toml\n{recipe_toml(recipe)}```", 0)

    def _open(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            # what was written of an epoch that was cut short is left out by every reader
            purge = self.logged + 1 if self.path.is_dir() else None
            self._writer = SummaryWriter(str(self.path), purge_step=purge)
        return self._writer

    def log(self, history: Sequence[Record]) -> None:
        """Write the epochs that the event files do not hold."""
        for record in history[self.logged :]:
            writer, epoch = self._open(), record["epoch"]
            for name, value in numbers(record).items():
                writer.add_scalar(name, value, epoch)
            if record.get("warning"):
                writer.add_text("warning", record["warning"], epoch)
            writer.add_scalar(_LAST, epoch, epoch)
            writer.flush()
            self.logged = epoch

    def close(self, status: str) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


def _last_epoch(path: Path) -> int:
    if not path.is_dir():
        return 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    if _LAST not in events.Tags()["scalars"]:
        return 0
    return max(event.step for event in events.Scalars(_LAST))
