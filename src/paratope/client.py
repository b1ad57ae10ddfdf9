"""A client of `paratope serve`, for pipelines; it needs nothing but Python itself.

>>> client = Client("http://127.0.0.1:8000")
>>> client.address
'http://127.0.0.1:8000'
"""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paratope.core.errors import ParatopeError
from paratope.core.files import atomic_file

_PAIRS = 1_000  # of one request
_LONGEST_WAIT = 60.0


class ServerError(ParatopeError):
    """What a server refuses, in its words; `status` is 0 where none was reached."""

    def __init__(self, status: int, code: str, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id


class Client:
    """Asks a server; raises `ServerError` for what it refuses.

    `token` is by default that of the variable ``PARATOPE_TOKEN``. Where a server is busy, it is
    asked again after the time it names, at most `retries` times.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        token: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 5,
    ) -> None:
        self.address = address.rstrip("/")
        self._token = os.environ.get("PARATOPE_TOKEN") if token is None else token
        self._timeout, self._retries = timeout, retries

    def health(self) -> dict[str, Any]:
        """Version and models; an error until the server is ready."""
        return self._json("GET", "/health")

    def models(self) -> list[dict[str, Any]]:
        """The models that can be asked."""
        return self._json("GET", "/v1/models")["models"]

    def predict(
        self, pairs: Iterable[Mapping[str, Any]], model: str = "default", **options: Any
    ) -> list[dict[str, Any]]:
        """Predictions of pairs (``id``, ``heavy``, ``light``, ``antigen``) of any number, in order.

        `options` are those of ``POST /v1/predict``: ``parent``, ``coverage``, …; with a parent, at
        most 1,000 pairs at once.
        """
        rows = [dict(pair) for pair in pairs]
        answers: list[dict[str, Any]] = []
        step = len(rows) or 1 if options.get("parent") else _PAIRS
        for start in range(0, len(rows), step):
            body = {"pairs": rows[start : start + step], "model": model, **options}
            answers += self._json("POST", "/v1/predict", body)["predictions"]
        return answers

    def upload(self, table: str | os.PathLike[str]) -> dict[str, Any]:
        """Upload a table, streamed; its ``id`` is for jobs."""
        path = Path(table)
        query = urllib.parse.urlencode({"name": path.name})
        with path.open("rb") as file:
            length = str(path.stat().st_size)
            answer = self._ask("POST", f"/v1/tables?{query}", file, {"Content-Length": length})
        return json.loads(answer)

    def start(
        self, kind: str, tables: Sequence[str | os.PathLike[str]] = (), **options: Any
    ) -> dict[str, Any]:
        """Start a job: predict-table, scan, adapt, suggest, screen or evaluate.

        `tables` are uploaded first; `options` are those of ``POST /v1/KIND``.
        """
        ids = [self.upload(table)["id"] for table in tables]
        if kind in ("adapt", "evaluate"):
            options["tables"] = ids
        elif ids:
            (options["table"],) = ids
        return self._json("POST", f"/v1/{kind}", options)

    def job(self, job_id: str) -> dict[str, Any]:
        """State, progress and results of a job."""
        return self._json("GET", f"/v1/jobs/{job_id}")

    def wait(self, job: Mapping[str, Any], every: float = 1.0) -> dict[str, Any]:
        """The job once it has ended; raises `ServerError` if it failed or was cancelled."""
        while True:
            told = self.job(job["id"])
            if told["state"] == "finished":
                return told
            if told["state"] in ("failed", "cancelled"):
                raise ServerError(200, told["state"], told["error"] or "the job was cancelled")
            time.sleep(every)

    def download(
        self, job: Mapping[str, Any], name: str, target: str | os.PathLike[str] | None = None
    ) -> bytes:
        """A file of a finished job's results; also written to `target`, if one is given."""
        content = self._ask("GET", f"/v1/jobs/{job['id']}/files/{urllib.parse.quote(name)}")
        if target is not None:
            with atomic_file(target) as file:
                file.write(content)
        return content

    def delete(self, job: Mapping[str, Any]) -> None:
        """End a job that waits or runs; remove the results of one that has ended."""
        self._ask("DELETE", f"/v1/jobs/{job['id']}")

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self._ask(method, path, data, {"Content-Type": "application/json"}))

    def _ask(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        headers = dict(headers or {})
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        for attempt in range(self._retries + 1):
            request = urllib.request.Request(
                self.address + path, data, headers, method=method
            )  # only ever http(s): the address is the caller's own
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    problem, wait = _problem(error), error.headers.get("Retry-After")
                if wait is None or attempt == self._retries or hasattr(data, "read"):
                    raise problem from None
                time.sleep(min(float(wait), _LONGEST_WAIT))
            except (urllib.error.URLError, OSError) as error:
                reason = getattr(error, "reason", error)
                words = f"{self.address} cannot be reached: {reason}; is 'paratope serve' running?"
                raise ServerError(0, "unreachable", words) from error
        raise AssertionError("the last attempt returns or raises")


def _problem(error: urllib.error.HTTPError) -> ServerError:
    try:
        told = json.loads(error.read())["error"]
        details = "; ".join(f"{one['field']}: {one['message']}" for one in told["details"])
        words = told["message"]
        if details and details not in words:
            words += f" ({details})"
        return ServerError(error.code, told["code"], words, told["request_id"])
    except (ValueError, KeyError, TypeError):
        return ServerError(error.code, "refused", f"the server answered {error.code}")
