"""Fixtures every test file may use."""

import os

# Matrices here are small, and two test processes share two cores: one thread each is quickest.
# Set before anything imports torch, and inherited by the processes that tests start. Users have
# the default number of threads, and so has `make test-threads`.
if os.environ.get("PARATOPE_TEST_THREADS") != "default":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

# Time is measured in benchmarks: an example that takes longer on a busy machine fails nothing.
settings.register_profile("paratope", deadline=None)
settings.load_profile("paratope")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's folder."""
    return ROOT


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of public data: PARATOPE_DATA, by default ../shared/data beside the checkout."""
    folder = Path(os.environ.get("PARATOPE_DATA") or ROOT.parent / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"public data not found at {folder}; set PARATOPE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def reference_root(data_root: Path) -> Path:
    """The folder of reference files (v2.6 release, vocabularies, draws) beside the data."""
    folder = data_root.parent / "reference"
    if not folder.is_dir():
        pytest.skip(f"reference files not found at {folder}")
    return folder


class Finished(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_paratope(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run ``paratope ARGUMENTS`` in this process: ``run_paratope("scan", path, code=0)``."""
    from paratope.cli import main

    def run(*arguments: object, code: int | None = None) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        ended = left.value.code
        ended = ended if isinstance(ended, int) else 0 if ended is None else 1
        assert code in (None, ended), f"exit code {ended}\n{out}\n{err}"
        return Finished(ended, out, err)

    return run
