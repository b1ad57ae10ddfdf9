"""With the network blocked, everything bundled works, and nothing even tries to connect."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from conftest import ROOT

# Python imports this by itself at the start of every process that has its folder on PYTHONPATH, so
# that child processes are blocked as well. Sockets inside the machine's own kernel stay allowed.
GUARD = """
import os, socket

def refuse(what):
    def refused(self_or_host, *arguments, **options):
        family = getattr(self_or_host, "family", None)
        if family == getattr(socket, "AF_UNIX", object()):
            return originals[what](self_or_host, *arguments, **options)
        with open(os.environ["CONNECTION_LOG"], "a") as log:
            print(what, self_or_host, *arguments, file=log)
        raise OSError(101, "Network is unreachable")
    return refused

originals = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}
for name in originals:
    setattr(socket.socket, name, refuse(name))
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, refuse(name))
"""


@functools.cache
def without_network() -> tuple[str, ...]:
    """Prefix that gives a command an empty network of its own, where the system lets us."""
    prefix = ("unshare", "--map-root-user", "--net")
    if shutil.which("unshare") is None:
        return ()
    probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if probe.returncode == 0 else ()


class Offline:
    """Runs Python with the network blocked and tells what tried to connect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "connections.txt"
        (folder / "sitecustomize.py").write_text(GUARD)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "PYTHONPATH": str(folder),
            "CONNECTION_LOG": str(self.log),
            "PARATOPE_CACHE": str(folder / "cache"),
            "HF_HOME": str(folder / "hub"),
        }

    def python(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*without_network(), sys.executable, "-c", code, *map(str, arguments)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def paratope(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.python("from paratope.cli import main; main()", *arguments)

    def attempts(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    return Offline(tmp_path)


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=1)",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', "
        "'import socket; socket.socket().connect((\"192.0.2.1\", 80))'], check=True)",
    ],
)
def test_the_guard_sees_attempts(code: str, offline: Offline):
    assert offline.python(code).returncode != 0
    assert "192.0.2.1" in offline.attempts()


@pytest.mark.parametrize(
    "command",
    ["predict examples/pairs.csv", "doctor --json", "models list", "encoders list", "data list"],
)
def test_commands(command: str, offline: Offline, tmp_path: Path):
    output = ("-o", tmp_path / "out.csv") if command.startswith("predict") else ()
    done = offline.paratope(*command.split(), *output)
    assert done.returncode == 0, done.stderr
    assert offline.attempts() == ""
    if output:
        table = pl.read_csv(tmp_path / "out.csv")
        assert table["pkd"].is_between(4, 14).all()
        assert table.height == pl.read_csv(ROOT / "examples" / "pairs.csv").height
    elif "--json" in command:
        report = json.loads(done.stdout)
        assert [check for check in report["checks"] if check["status"] == "fail"] == []
        assert report["ok"]
