"""A server for tests: in this process, or a real one on a free port of this machine."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
from starlette.testclient import TestClient

from conftest import ROOT
from paratope.web.application import create_app
from paratope.web.settings import ServeSettings

EXAMPLES = pl.read_csv(ROOT / "examples" / "pairs.csv").select("id", "heavy", "light", "antigen")
PAIRS = EXAMPLES.fill_null("").to_dicts()


@contextlib.contextmanager
def asked(folder: Path, is_ready: bool = True, **settings: Any) -> Iterator[TestClient]:
    """A client of an application in this process."""
    app = create_app(ServeSettings(folder, **settings))
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        until(lambda: not is_ready or app.state.ready)
        yield client


def until(condition: Any, seconds: float = 60.0) -> Any:
    """Wait for something to be true; what it is then."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return value


class Server:
    """A real server, in a process of its own."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder, self.options, self.environment = folder, options, environment
        self.log = folder.parent / f"{folder.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> "Server":
        """Start, and wait until it says its address and is healthy."""
        command = [sys.executable, "-m", "paratope", "serve", "--port", "0", "--folder"]
        with self.log.open("ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                [*command, str(self.folder), *self.options],
                env={**os.environ, **self.environment},
                stderr=log,
                stdout=log,
            )
        said = re.compile(r"http://127\.0\.0\.1:[1-9]\d*")

        def address() -> str:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            match = said.search(self.log.read_text()[begin:])
            return match[0] if match else ""

        self.address = until(address)
        until(self.is_healthy)
        return self

    def is_healthy(self) -> bool:
        """Whether it answers predictions."""
        try:
            return httpx2.get(f"{self.address}/health").status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def __enter__(self) -> "Server":
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
