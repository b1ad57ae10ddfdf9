"""Where the epochs of a run are written, beside the CSV of its folder: TensorBoard, W&B, MLflow.

Everything stays in the run folder, and nothing is sent anywhere unless the user's own environment
says so (``WANDB_MODE=online``, ``MLFLOW_TRACKING_URI``). A resumed run goes on where each logger
stopped: an epoch is written once.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from paratope.core.errors import MissingExtraError, TrainingError, unknown_name
from paratope.models.recipes import Recipe
from paratope.training.loggers.protocol import Record, RunLogger

__all__ = ["LOGGERS", "LoggerSet", "Record", "RunLogger", "check_loggers", "open_loggers"]


class LoggerKind(NamedTuple):
    """An entry of `LOGGERS`.

    Attributes
    ----------
    module, name : str
        Where its class is; imported when it is used.
    needs : tuple of str
        Modules that have to be installed.
    """

    module: str
    name: str
    needs: tuple[str, ...]


LOGGERS: dict[str, LoggerKind] = {
    "tensorboard": LoggerKind(
        "paratope.training.loggers.tensorboard", "TensorBoardLogger", ("tensorboard",)
    ),
    "wandb": LoggerKind("paratope.training.loggers.wandb", "WandbLogger", ("wandb",)),
    "mlflow": LoggerKind(
        "paratope.training.loggers.mlflow", "MlflowLogger", ("mlflow", "sqlalchemy", "alembic")
    ),
}
_ALWAYS = "csv"  # the run folder's own history


def check_loggers(names: Iterable[str]) -> tuple[str, ...]:
    """Names of the loggers that are to be opened, each once; ``csv`` is always there.

    Parameters
    ----------
    names : iterable of str
        Each a name, or several separated by commas.

    Raises
    ------
    TrainingError
        If there is no such logger.
    MissingExtraError
        If its library is not installed.

    Examples
    --------
    >>> check_loggers(["csv,tensorboard", "tensorboard"])
    ('tensorboard',)
    >>> check_loggers(["neptune"])
    Traceback (most recent call last):
    ...
    paratope.core.errors.TrainingError: unknown logger 'neptune'; valid names: csv, mlflow,
    tensorboard, wandb
    """
    chosen = [part.strip() for name in names for part in name.split(",") if part.strip()]
    for name in chosen:
        if name not in (*LOGGERS, _ALWAYS):
            raise TrainingError(unknown_name("logger", name, [*LOGGERS, _ALWAYS]))
        needs = LOGGERS[name].needs if name in LOGGERS else ()
        if any(importlib.util.find_spec(module) is None for module in needs):
            raise MissingExtraError(f"the logger {name}", "research")
    return tuple(dict.fromkeys(name for name in chosen if name != _ALWAYS))


class LoggerSet:
    """Several loggers as one; where one fails, training goes on and the others are written.

    Parameters
    ----------
    loggers : mapping of str to RunLogger
    say : callable
        Told in words what could not be written.
    """

    def __init__(self, loggers: dict[str, RunLogger], say: Callable[[str], None]) -> None:
        self.loggers, self._say = loggers, say
        self._failing: set[str] = set()

    def log(self, history: Sequence[Record]) -> None:
        """Write the epochs that are not written yet; what failed is tried again the next time."""
        for name, logger in self.loggers.items():
            try:
                logger.log(history)
            except Exception as error:  # a library's own; training is worth more than its log
                if name not in self._failing:
                    self._say(
                        f"The logger {name} could not write ({_short(error)}); training goes on, "
                        "and what is missing is written with the next epoch."
                    )
                self._failing.add(name)
            else:
                self._failing.discard(name)

    def close(self, status: str) -> None:
        """Close all of them."""
        for name, logger in self.loggers.items():
            try:
                logger.close(status)
            except Exception as error:  # as above
                self._say(f"The logger {name} could not be closed ({_short(error)}).")


@contextmanager
def open_loggers(
    names: Iterable[str],
    folder: Path,
    recipe: Recipe,
    say: Callable[[str], None],
    csv: RunLogger | None = None,
) -> Iterator[LoggerSet]:
    """Loggers of a run, closed at the end with how it went.

    Parameters
    ----------
    names : iterable of str
        See `check_loggers`. Those that have written into the folder before go on without being
        named.
    folder : Path
        Run folder; it exists.
    recipe : Recipe
    say : callable
        Told in words what could not be written later.
    csv : RunLogger, optional
        The run folder's own history, written first.

    Raises
    ------
    TrainingError
        If a logger cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> from paratope.models.recipes import load_recipe
    >>> folder = Path(tempfile.mkdtemp())
    >>> with open_loggers(["tensorboard"], folder, load_recipe("default"), print) as loggers:
    ...     loggers.log([{"epoch": 1, "train_loss": 0.5, "warning": ""}])
    >>> [path.name.split(".")[0] for path in (folder / "tensorboard").iterdir()]
    ['events']
    """
    loggers = LoggerSet({} if csv is None else {_ALWAYS: csv}, say)
    status = "failed"
    try:
        before = [name for name in LOGGERS if (folder / name).is_dir()]
        for name in check_loggers([*names, *before]):
            kind = LOGGERS[name]
            try:
                built = getattr(importlib.import_module(kind.module), kind.name)(folder, recipe)
            except Exception as error:  # each library has errors of its own
                raise TrainingError(
                    f"the logger {name} cannot be opened: {_short(error)}"
                ) from error
            loggers.loggers[name] = built
        yield loggers
        status = "finished"
    except Exception:
        raise
    except BaseException:  # interrupted: it can go on later
        status = "stopped"
        raise
    finally:
        loggers.close(status)


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
