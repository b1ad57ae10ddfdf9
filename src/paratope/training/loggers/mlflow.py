"""MLflow: a SQLite store in the run folder, or the tracking server the user has named."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from paratope.models.recipes import Recipe
from paratope.training.loggers.protocol import Record, numbers, read_state, settings, write_state

EXPERIMENT = "paratope"
_LAST = "epoch"
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_LONGEST_TAG = 5000  # characters, of what every store takes


class MlflowLogger:
    """Metrics, warnings (as tags) and the recipe (as parameters) in ``<run>/mlflow/``.

    ``MLFLOW_TRACKING_URI``, if the user has set it, names another store.

    Parameters
    ----------
    folder : Path
        Run folder.
    recipe : Recipe
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not every table of a new store
        home = (folder / "mlflow").resolve()
        home.mkdir(exist_ok=True)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=uri)
        known = read_state(home / "run.json")
        self._running = known.get("tracking_uri") != uri
        if not self._running:
            self.run_id = known["run_id"]
        else:
            self.run_id = self._new_run(home, folder.resolve().name)
            write_state(home / "run.json", {"tracking_uri": uri, "run_id": self.run_id})
            params = [Param(key, str(value)) for key, value in settings(recipe)]
            self.client.log_batch(self.run_id, params=params)
        epochs = self.client.get_metric_history(self.run_id, _LAST)
        self.logged = max((metric.step for metric in epochs), default=0)

    def _new_run(self, home: Path, name: str) -> str:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            number = experiment.experiment_id
        elif os.environ.get("MLFLOW_TRACKING_URI"):
            number = self.client.create_experiment(EXPERIMENT)
        else:
            artifacts = (home / "artifacts").as_uri()
            number = self.client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        return self.client.create_run(number, run_name=name).info.run_id

    def log(self, history: Sequence[Record]) -> None:
        """Write the epochs that the store does not hold, each as a whole."""
        from mlflow.entities import Metric, RunTag

        for record in history[self.logged :]:
            epoch, now = record["epoch"], int(time.time() * 1000)
            values = {**numbers(record), _LAST: float(epoch)}
            metrics = [Metric(name, value, now, epoch) for name, value in values.items()]
            warning = record.get("warning", "")[:_LONGEST_TAG]
            tags = [RunTag(f"warning.epoch_{epoch}", warning)] if warning else []
            if not self._running:
                self.client.update_run(self.run_id, status="RUNNING")
                self._running = True
            self.client.log_batch(self.run_id, metrics=metrics, tags=tags)
            self.logged = epoch

    def close(self, status: str) -> None:
        """Say how the run ended."""
        if self._running:
            self.client.set_terminated(self.run_id, status=_STATUS[status])
