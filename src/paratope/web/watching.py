"""What is counted for those who watch a server: Prometheus metrics, and logs as lines of JSON."""

import logging
import sys
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from paratope import __version__
from paratope.web.settings import Limits

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Watch:
    """A server's metrics. `takes_tables` says which paths take bodies as large as tables."""

    def __init__(self, takes_tables: Callable[[str], bool] = lambda path: False) -> None:
        self._takes_tables = takes_tables
        self.registry = registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self._requests = Counter("paratope_requests", "Requests.", names, registry=registry)
        self._seconds = Histogram(
            "paratope_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "paratope_batch_rows", "Rows predicted together.", buckets=_ROWS, registry=registry
        )
        counts = {
            "hits": "Predictions from memory.",
            "misses": "Predictions that were not in memory.",
        }
        self.cache = {
            name: Counter(f"paratope_cache_{name}", text, registry=registry)
            for name, text in counts.items()
        }
        gauges = {
            "waiting_rows": "Rows that wait for a model.",
            "waiting_jobs": "Jobs that wait.",
            "running_jobs": "Jobs that run.",
            "stored_bytes": "Bytes of tables and results that are kept.",
        }
        self.gauges = {
            name: Gauge(f"paratope_{name}", text, registry=registry)
            for name, text in gauges.items()
        }
        self._models = Gauge(
            "paratope_model", "Models that are open.", ["name", "version"], registry=registry
        )
        Info("paratope", "This software.", registry=registry).info({"version": __version__})

    def most_bytes(self, path: str, limits: Limits) -> int:
        """How long a body may be."""
        return limits.table_bytes + 1_000_000 if self._takes_tables(path) else limits.body_bytes

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, rows: int) -> None:
        """Count rows that were predicted together."""
        self._batch.observe(rows)

    def model(self, name: str, version: str) -> None:
        """A model is open."""
        self._models.labels(name, version).set(1)

    def text(self) -> bytes:
        """Everything in Prometheus' own format."""
        return generate_latest(self.registry)


def log_to_stderr() -> None:
    """One line of JSON a request on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("paratope.web")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
