"""What a run writes as it goes: ``log.txt``, and its epochs to TensorBoard, W&B or MLflow.

A line of the log is a time (UTC), a phase and its values; it reaches the operating system at once,
so the last one says where a killed run was::

    2026-03-01T09:30:00.125Z batch epoch=2 batch=7/32 window=3/4 step=12
    2026-03-01T09:30:00.350Z checkpoint epoch=2 batch=8/32 step=13
    2026-03-01T09:30:00.371Z saved megabytes=1.8 seconds=0.021

Everything stays in the run folder, and nothing is sent anywhere unless the user's own environment
says so (``WANDB_MODE=online``, ``MLFLOW_TRACKING_URI``). A resumed run goes on where each logger
stopped: an epoch is written once. The libraries are imported when they are used.
"""

import fcntl
import importlib.util
import json
import logging
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Self

from paratope.core.errors import MissingExtraError, OutputError, TrainingError, unknown_name
from paratope.core.files import write_json
from paratope.models.recipes import Recipe, recipe_toml

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from wandb import Run

LOG = "log.txt"
Record = Mapping[str, Any]
_ALWAYS = "csv"  # the run folder's own history
_EPOCH = "epoch"  # the value that is written last: with it, an epoch is complete
_PROJECT = "paratope"  # of Weights & Biases; MLflow's experiment
_MLFLOW_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_LONGEST_TAG = 5000  # characters, of what every store of MLflow takes


class RunLog:
    """Writes what happens in a run; as a context, to a file that no other run writes to meanwhile.

    Without a path nothing is written; `say` is told every note, `write_history` the records of all
    epochs after each. Entering raises `TrainingError` if another process is writing the file.
    """

    def __init__(self, path: Path | None = None, say: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._say = say
        self._file: IO[str] | None = None
        self.write_history: Callable[[Sequence[Mapping[str, Any]]], None] = lambda history: None

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        try:
            self._file = self.path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise TrainingError(
                f"{self.path.parent}: another process is training into this folder; wait for it, "
                "or give another folder"
            ) from None
        except OSError:
            pass  # a file system without locks: nothing to go by
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def event(self, phase: str, **values: object) -> None:
        """Write a line of a phase and its values."""
        words = [
            f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in values.items()
        ]
        self._write(" ".join([phase, *words]))

    def note(self, text: str) -> None:
        """Write a line in words, and say it."""
        self._write(f"note {text}")
        if self._say is not None:
            self._say(text)

    def _write(self, text: str) -> None:
        if self._file is not None:
            time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            self._file.write(f"{time}Z {' '.join(text.split())}\n")


class RunLogger:
    """Writes the epochs of a run to somewhere, each once."""

    needs: ClassVar[tuple[str, ...]] = ()  # Modules that have to be installed
    logged = 0  # Epochs that are written

    def log(self, history: Sequence[Record]) -> None:
        """Write the epochs of a history that are not written yet."""
        for record in history[self.logged :]:
            self._write(record["epoch"], numbers(record), record.get("warning", ""))
            self.logged = record["epoch"]

    def _write(self, epoch: int, values: dict[str, float], warning: str) -> None:
        raise NotImplementedError

    def close(self, status: str) -> None:
        """Finish: the run is ``"finished"``, ``"stopped"`` (it can be resumed) or ``"failed"``."""


class TensorBoardLogger(RunLogger):
    """Scalars, warnings and the recipe as event files in ``<run>/tensorboard/``."""

    needs = ("tensorboard",)

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.path = folder / "tensorboard"
        self._writer: SummaryWriter | None = None
        if self.path.is_dir():
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

            events = EventAccumulator(str(self.path), size_guidance={"scalars": 0}).Reload()
            if _EPOCH in events.Tags()["scalars"]:
                self.logged = max(event.step for event in events.Scalars(_EPOCH))
        if not self.logged:
            self._open().add_text("recipe", f"```toml\n{recipe_toml(recipe)}```", 0)

    def _open(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            # what was written of an epoch that was cut short is left out by every reader
            purge = self.logged + 1 if self.path.is_dir() else None
            self._writer = SummaryWriter(str(self.path), purge_step=purge)
        return self._writer

    def _write(self, epoch: int, values: dict[str, float], warning: str) -> None:
        writer = self._open()
        if warning:
            writer.add_text("warning", warning, epoch)
        for name, value in {**values, _EPOCH: epoch}.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def close(self, status: str) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class WandbLogger(RunLogger):
    """Metrics, warnings and the recipe (as configuration) as offline files in ``<run>/wandb/``.

    Nothing is sent, unless by ``wandb sync`` or ``WANDB_MODE=online`` in the environment; neither
    code nor the machine's state is reported. The library writes its file late, so a killed run
    loses epochs there: a run that goes on is written anew from its first, and replaces what was
    there.
    """

    needs = ("wandb",)

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.config = folder.resolve(), dict(_settings(recipe))
        self.path = self.folder / "wandb" / "run.json"
        self.path.parent.mkdir(exist_ok=True)
        self.state = {"id": secrets.token_hex(4), "closed_after": 0} | _read_state(self.path)
        write_json(self.path, self.state)
        self._run: Run | None = None
        if not self.state["closed_after"]:
            self._open()

    def _open(self) -> "Run":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
        import wandb

        if self._run is None:
            mode = os.environ.get("WANDB_MODE") or "offline"
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or _PROJECT,
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
        if len(history) > self.state["closed_after"]:  # else all of them were written before
            super().log(history)

    def _write(self, epoch: int, values: dict[str, float], warning: str) -> None:
        run = self._open()
        text = {"warning": warning} if warning else {}
        if epoch >= run.step:  # what a server has already is not sent again
            run.log({**values, **text, _EPOCH: epoch}, step=epoch, commit=True)

    def close(self, status: str) -> None:
        """Finish the run; its file is whole from now on."""
        if self._run is None:
            return
        written = Path(self._run.dir).parent
        self._run.finish(exit_code=0 if status == "finished" else 1)
        for path in self.path.parent.glob(f"offline-run-*-{self.state['id']}"):
            if path != written:
                shutil.rmtree(path)
        write_json(self.path, {**self.state, "closed_after": self.logged})


class MlflowLogger(RunLogger):
    """Metrics, warnings (as tags) and the recipe (as parameters) in SQLite in ``<run>/mlflow/``.

    ``MLFLOW_TRACKING_URI``, if the user has set it, names another store.
    """

    needs = ("mlflow", "sqlalchemy", "alembic")

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not every table of a new store
        home, users_uri = (folder / "mlflow").resolve(), os.environ.get("MLFLOW_TRACKING_URI")
        home.mkdir(exist_ok=True)
        uri = users_uri or f"sqlite:///{home / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=uri)
        known = _read_state(home / "run.json")
        self._running = known.get("tracking_uri") != uri
        if not self._running:
            self.run_id = known["run_id"]
        else:
            experiment = self.client.get_experiment_by_name(_PROJECT)
            if experiment is not None:
                number = experiment.experiment_id
            else:
                artifacts = None if users_uri else (home / "artifacts").as_uri()
                number = self.client.create_experiment(_PROJECT, artifact_location=artifacts)
            run = self.client.create_run(number, run_name=folder.resolve().name)
            self.run_id = run.info.run_id
            write_json(home / "run.json", {"tracking_uri": uri, "run_id": self.run_id})
            params = [Param(key, str(value)) for key, value in _settings(recipe)]
            self.client.log_batch(self.run_id, params=params)
        epochs = self.client.get_metric_history(self.run_id, _EPOCH)
        self.logged = max((metric.step for metric in epochs), default=0)

    def _write(self, epoch: int, values: dict[str, float], warning: str) -> None:
        from mlflow.entities import Metric, RunTag

        now, values = int(time.time() * 1000), {**values, _EPOCH: float(epoch)}
        metrics = [Metric(name, value, now, epoch) for name, value in values.items()]
        tags = [RunTag(f"warning.epoch_{epoch}", warning[:_LONGEST_TAG])] if warning else []
        if not self._running:
            self.client.update_run(self.run_id, status="RUNNING")
            self._running = True
        self.client.log_batch(self.run_id, metrics=metrics, tags=tags)

    def close(self, status: str) -> None:
        """Say how the run ended."""
        if self._running:
            self.client.set_terminated(self.run_id, status=_MLFLOW_STATUS[status])


LOGGERS: dict[str, type[TensorBoardLogger | WandbLogger | MlflowLogger]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MlflowLogger,
}


def check_loggers(names: Iterable[str]) -> tuple[str, ...]:
    """Names of the loggers to open, each once, from names or lists of them separated by commas.

    ``csv`` is always there. Raises `TrainingError` if there is no such logger, `MissingExtraError`
    if its library is not installed.
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
    """Several loggers as one; where one fails, `say` is told so and training goes on."""

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
    """Loggers of a run, closed with how it went; those that wrote there before go on unnamed.

    `csv` is the run folder's own history, written first. `TrainingError` if one cannot be opened.
    """
    loggers = LoggerSet({} if csv is None else {_ALWAYS: csv}, say)
    status = "failed"
    try:
        before = [name for name in LOGGERS if (folder / name).is_dir()]
        for name in check_loggers([*names, *before]):
            try:
                loggers.loggers[name] = LOGGERS[name](folder, recipe)
            except Exception as error:  # each library has errors of its own
                raise TrainingError(
                    f"the logger {name} cannot be opened: {_short(error)}"
                ) from error
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


def numbers(record: Record) -> dict[str, float]:
    """The numbers of an epoch's record, without its own and those that are not defined."""
    return {
        name: float(value)
        for name, value in record.items()
        if name != _EPOCH and isinstance(value, int | float) and math.isfinite(value)
    }


def _settings(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Every key of a recipe that is set, as ``section.key``, and its value."""
    for section, value in recipe.model_dump(mode="json").items():
        keys = value if isinstance(value, dict) else {"": value}
        for key, setting in keys.items():
            if setting != "":
                yield f"{section}.{key}".removesuffix("."), setting


def _read_state(path: Path) -> dict[str, Any]:
    """What a logger noted about its run beside what it wrote; empty at its first time."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
