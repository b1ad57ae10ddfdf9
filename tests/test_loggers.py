"""Loggers: what was logged is read back; every epoch once, whatever happened; nothing is sent."""

import contextlib
import json
import math
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from paratope.core.errors import MissingExtraError, TrainingError
from paratope.core.interruption import Interrupted
from paratope.models.recipes import load_recipe
from paratope.training.loggers import LOGGERS, LoggerSet, RunLog, check_loggers, open_loggers
from paratope.training.run_folder import HistoryFile, history_table
from small_runs import run, tiny
from test_offline import Offline

RECIPE = load_recipe("default")
# mlflow's own use of a newer sqlalchemy, when its store is first imported
mlflow_warns = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
Steps = dict[str, list[tuple[int, float]]]


def record(epoch: int, **values) -> dict:
    return {"epoch": epoch, "train_loss": 1 / epoch, "validation_rmse": math.nan, **values}


def tensorboard_events(run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()


def tensorboard_scalars(run: Path) -> Steps:
    events = tensorboard_events(run)
    names = events.Tags()["scalars"]
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in names}


def wandb_records(path: Path) -> Iterator:
    """Records of an offline run's file: LevelDB's log format behind seven bytes."""
    from wandb.proto import wandb_internal_pb2

    content, at, piece = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        _, length, kind = struct.unpack_from("<IHB", content, at)
        if left < 7 or not kind:
            at += left
            continue
        piece += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last of several pieces
            entry = wandb_internal_pb2.Record()
            entry.ParseFromString(piece)
            yield entry
            piece = b""


def items(entries) -> dict:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in entries}


def wandb_scalars(run: Path) -> Steps:
    scalars: Steps = defaultdict(list)
    for path in sorted((run / "wandb").glob("offline-run-*/*.wandb")):
        for values in (items(found.history.item) for found in wandb_records(path)):
            for name, value in values.items():
                scalars[name].append((values["_step"], value))
    return scalars


def mlflow_scalars(run: Path) -> Steps:
    client, known = mlflow_client(run)
    history = {
        name: client.get_metric_history(known.info.run_id, name) for name in known.data.metrics
    }
    return {name: [(one.step, one.value) for one in metrics] for name, metrics in history.items()}


def mlflow_client(run: Path):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'paratope'")
    (known,) = client.search_runs([experiment.experiment_id])
    return client, known


TRAIN = """
import os, signal, sys
from pathlib import Path
from paratope.data.datasets.simulated import simulate
from paratope.data.tables import frame_from_measurements, write_table
from paratope.models.recipes import load_recipe
from paratope.training import RunOptions, train_table

folder, resume = Path(sys.argv[1]), len(sys.argv) > 2
table = folder / "table.csv"
if not resume:
    rows = simulate(antibodies=20, antigens=1, seed=3).measurements
    write_table(frame_from_measurements(rows), table)
recipe = load_recipe("default", [
    "encoders.antibody=residue", "network.dim=8", "network.heads=2", "network.regressor=[8]",
    "training.max_epochs=4", "training.batch_size=4", "data.split=random",
    "monitors.range=stop" if resume else "monitors.range=warn",
])

def after(record):
    if record["epoch"] == 2 and not resume:
        os.kill(os.getpid(), signal.SIGKILL)

assert not {"tensorboard", "wandb", "mlflow"} & set(sys.modules)  # until they are used
loggers = [] if resume else ["tensorboard,wandb", "mlflow"]
options = RunOptions(resume=resume, on_epoch=after, loggers=loggers)
train_table(table, recipe, folder / "run 1%", options)
"""


@pytest.mark.slow  # two processes that import torch, wandb and mlflow
@mlflow_warns
def test_a_killed_run_is_logged_once_and_nothing_is_sent(tmp_path):
    offline = Offline(tmp_path)
    killed = offline.python(TRAIN, tmp_path)
    assert killed.returncode == -9, killed.stderr
    folder = tmp_path / "run 1%"
    history = folder / "training_history_default.csv"
    assert pl.read_csv(history)["Epoch"].to_list() == [1, 2]  # on disk, though it was killed
    resumed = offline.python(TRAIN, tmp_path, "resume")
    assert resumed.returncode == 0, resumed.stderr
    assert offline.attempts() == ""

    table = pl.read_csv(history)
    columns = {"train_loss": "Train Loss", "validation_rmse": "Val RMSE", "epoch": "Epoch"}
    columns |= {name: name.replace("_", " ").title() for name in ("loss_gap", "spread_ratio")}
    columns |= {"learning_rate": "Learning Rate"}
    for read in READERS.values():
        scalars = read(folder)
        for name, title in columns.items():
            steps, values = zip(*scalars[name], strict=True)
            assert steps == (1, 2, 3, 4), (read.__name__, name)
            assert values == pytest.approx(table[title].to_list(), rel=1e-6)

    _, known = mlflow_client(folder)
    assert known.info.status == "FINISHED"
    assert known.info.run_name == "run 1%"
    assert known.data.params["training.learning_rate"] == "0.001"
    (written,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    records = list(wandb_records(written))
    (begun,) = [found.run for found in records if found.HasField("run")]
    assert items(begun.config.update)["network.dim"] == 8
    assert not begun.HasField("git")
    assert [found.exit.exit_code for found in records if found.HasField("exit")] == [0]


READERS = {"tensorboard": tensorboard_scalars, "wandb": wandb_scalars, "mlflow": mlflow_scalars}


@mlflow_warns
@pytest.mark.parametrize("name", LOGGERS)
def test_what_was_logged_is_read_back_and_goes_on(name, tmp_path):
    folder = tmp_path / "run 1%"
    folder.mkdir()
    history = [record(epoch, warning="collapsed" if epoch == 2 else "") for epoch in (1, 2, 3, 4)]
    with contextlib.suppress(Interrupted), open_loggers([name], folder, RECIPE, print) as loggers:
        loggers.log([])
        loggers.log(history[:1])
        loggers.log(history[:2])
        raise Interrupted(15)
    for _ in range(2):  # goes on without being named; the second time nothing is left to write
        with open_loggers([], folder, RECIPE, print) as loggers:
            assert list(loggers.loggers) == [name]
            for count in (2, 3, 4):
                loggers.log(history[:count])
    scalars = READERS[name](folder)
    assert scalars["train_loss"] == [(n, pytest.approx(1 / n)) for n in (1, 2, 3, 4)]
    assert [value for _, value in scalars["epoch"]] == [1, 2, 3, 4]
    assert "validation_rmse" not in scalars  # it is not a number
    assert dict(texts_of(name, folder)) == {2: "collapsed"}


def texts_of(name: str, folder: Path) -> list[tuple[int, str]]:
    if name == "wandb":
        return wandb_scalars(folder)["warning"]
    if name == "mlflow":
        tags = mlflow_client(folder)[1].data.tags
        return [(int(tag[-1]), text) for tag, text in tags.items() if tag.startswith("warning")]
    return tensorboard_texts(folder, "warning")


def tensorboard_texts(folder: Path, name: str) -> list[tuple[int, str]]:
    events = tensorboard_events(folder).Tensors(f"{name}/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in events]


def test_an_epoch_that_was_cut_short_is_written_again_as_a_whole(tmp_path):
    history = [record(epoch, warning="hm" if epoch == 2 else "") for epoch in (1, 2, 3)]
    with open_loggers(["tensorboard"], tmp_path, RECIPE, print) as loggers:
        loggers.log(history[:1])
        loggers.log(history[:2])
        logger = loggers.loggers["tensorboard"]
        logger._open().add_scalar("train_loss", 9.0, 3)  # and there it was killed
    with open_loggers([], tmp_path, RECIPE, print) as loggers:  # goes on without being named
        for count in (2, 3, 3):
            loggers.log(history[:count])
    scalars = tensorboard_scalars(tmp_path)
    assert scalars["train_loss"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    ((_, recipe),) = tensorboard_texts(tmp_path, "recipe")
    assert "[training]\nmax_epochs = 30" in recipe


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_library_names_the_extra(name, monkeypatch):
    message = rf"^the logger {name} needs an optional part: pip install 'paratope\[research\]'$"
    for absent in LOGGERS[name].needs:
        with monkeypatch.context() as patched:
            there = lambda module, absent=absent: None if module == absent else 1  # noqa: E731
            patched.setattr("importlib.util.find_spec", there)
            with pytest.raises(MissingExtraError, match=message):
                check_loggers([name])


class Sometimes:
    """A logger whose disk is full now and then."""

    def __init__(self) -> None:
        self.full, self.lengths, self.closed = False, [], ""

    def log(self, history) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.lengths.append(len(history))

    def close(self, status) -> None:
        self.closed = status


def test_training_goes_on_where_a_logger_fails(data, tmp_path):
    said, logger = [], Sometimes()

    def fill(record):
        logger.full = record["epoch"] < 3

    loggers = LoggerSet({"disk": logger, "csv": HistoryFile(tmp_path, "default")}, said.append)
    log = RunLog()
    log.write_history = loggers.log
    result = run(data, tiny("training.max_epochs=4"), log=log, on_epoch=fill)
    assert logger.lengths == [0, 1, 4]
    assert len(said) == 1
    assert "The logger disk could not write (OSError: [Errno 28] No space left" in said[0]
    written = pl.read_csv(tmp_path / "training_history_default.csv")
    assert written.columns == history_table(result.history).columns
    assert written["Epoch"].to_list() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "finished"), (Interrupted(15), "stopped"), (TrainingError("NaN"), "failed")],
)
def test_loggers_are_told_how_it_ended_or_end_it_before_it_begins(error, status, tmp_path):
    logger = Sometimes()
    expected = contextlib.nullcontext() if error is None else pytest.raises(type(error))
    with expected, open_loggers(["csv"], tmp_path, RECIPE, print, csv=logger):
        if error is not None:
            raise error
    assert logger.closed == status
    (tmp_path / "tensorboard").write_text("a file where a folder should be")
    with pytest.raises(TrainingError, match="^the logger tensorboard cannot be opened: "):
        open_loggers(["tensorboard"], tmp_path, RECIPE, print).__enter__()


def test_the_page_lists_every_logger(repository):
    page = (repository / "docs" / "recipes.md").read_text("utf-8")
    table = page.partition("## Loggers")[2].partition("```\n")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")][1:] == [
        *LOGGERS
    ]
