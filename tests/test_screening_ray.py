"""Screens on Ray: the rows of the local engine, whoever is killed meanwhile."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from paratope.core.errors import InputError
from paratope.screening.engines import check_engine
from small_screens import (
    LONGER,
    NO_ANTIBODIES,
    check_same_screen,
    parts,
    variants,
    write_fasta,
)

ROWS, TOP = 120, 6
# What the scripts share: small blocks, the workers of a cluster of this process.
_COMMON = """
import os, pathlib, signal, sys, threading, time
import paratope.screening.run as run
from paratope.screening import funnel, run_folder, screen
run.FAST_ROWS, run.RESCORED_ROWS, run.SAMPLE_ROWS, funnel._FIRST_MORE = 8, 4, 20, 10

def above(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

def workers():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name = (path / "cmdline").read_bytes()
            if name.startswith(b"ray::_Worker") and above(above(path.name)) == os.getpid():
                found.append(int(path.name))
        except OSError:
            pass
    return sorted(found)
"""
# Kills itself, or a worker, at some of its writes: ``worker:2 driver:4``.
_KILLED = """
import fsspec
from fsspec.implementations.local import LocalFileSystem
class Disk(LocalFileSystem):
    protocol = "disk"
    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("disk://"))
fsspec.register_implementation("disk", Disk)
library, folder, model, engine = sys.argv[1:5]
plan = {int(number): who for who, number in (word.split(":") for word in sys.argv[5:])}
written, write = 0, run_folder.write_part
def killing(path, frame):
    global written
    written += 1
    if who := plan.get(written):
        target = os.getpid() if who == "driver" else workers()[written % len(workers())]
        threading.Timer(0.001, os.kill, (target, signal.SIGKILL)).start()
    write(path, frame)
run_folder.write_part = killing
screen(library, folder, model=model, top=6, device="cpu", engine=engine)
assert written >= max(plan, default=0)
"""
# Blocks straight to an engine, one of whose workers is killed.
_BOUNDED = """
import numpy as np
from paratope.models.predictor import Predictor
from paratope.screening.blocks import BlockScorer, Task
from paratope.screening.engines import LocalEngine, open_engine
from paratope.screening.library import library_files, read_library
from paratope.screening.scoring import screen_model

predictor = Predictor.load(sys.argv[3], "cpu")
antigens = (predictor.default_antigen,)
scorer = BlockScorer(screen_model(predictor, antigens, 0.9), ["a"], True)
taken = 0
def tasks():
    global taken
    for block in read_library(library_files([sys.argv[1]]), 4, antigens):
        taken += 1
        yield Task(block.number, len(block), block)
local = {answer.number: answer.part for answer in LocalEngine(scorer).answers("scored", tasks())}
taken, answers = 0, {}
with open_engine("ray=2", scorer, predictor, "cpu") as engine:
    for answer in engine.answers("scored", tasks()):
        assert taken - len(answers) <= 2 * 2 + 1, (taken, len(answers))
        if len(answers) == 3:
            assert len(workers()) == 2, workers()
            os.kill(workers()[0], signal.SIGKILL)
        assert answer.number not in answers
        answers[answer.number] = answer.part
        assert answer.peak_mb > 50
assert answers.keys() == local.keys()
for number, part in local.items():
    assert answers[number].drop("fast").equals(part.drop("fast"))
    np.testing.assert_allclose(answers[number]["fast"], part["fast"], atol=1e-6)
left = time.monotonic() + 30
while workers() and time.monotonic() < left:
    time.sleep(0.1)
assert not workers()
print("the same")
"""
# A cluster that others join.
_CLUSTER = """
import ray
print(ray.init(address="local", num_cpus=2, include_dashboard=False).address_info["gcs_address"])
input()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Variants, a chain that must be numbered, and two that are no antibodies."""
    chains = variants(ROWS - 3)
    chains[50:50] = [LONGER, *NO_ANTIBODIES]
    return write_fasta(tmp_path_factory.mktemp("library") / "library.fasta", chains)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """One thread, as each worker has."""
    words = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    # a cluster that Ray begins by itself asks for its user's token
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token"}
    return subprocess.run(words, check=False, env=environment, capture_output=True, text=True)


def test_engines_have_names(run_paratope: Run, library, tmp_path):
    assert check_engine("ray=ray://head:10001") == ("ray", "ray://head:10001")
    for name in ("spark", "local=3", "ray="):
        with pytest.raises(InputError, match="expected 'local'"):
            check_engine(name)
    done = run_paratope("screen", library, "--engine", "spark", "-o", tmp_path / "x", code=2)
    assert "no engine 'spark'" in done.err


@pytest.mark.slow
def test_blocks_under_way_are_few_and_a_killed_worker_is_replaced(library, two_form_folder):
    done = python(_COMMON + _BOUNDED, library, "", two_form_folder)
    assert done.returncode == 0, done.stderr
    assert "the same" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # five processes, three of which begin a cluster
def test_five_kills_of_driver_or_worker_give_the_rows_of_the_local_engine(
    library, two_form_folder, tmp_path
):
    """One run, which the local engine began; the folder does not say who scored what.

    To Ray's drivers the folder is on another file system.
    """
    drawn = random.Random(2)

    def start(name: str, engine: str, *plan: str) -> int:
        folder = f"{'' if engine == 'local' else 'disk://'}{tmp_path / name}"
        ended = python(_COMMON + _KILLED, library, folder, two_form_folder, engine, *plan)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        return ended.returncode

    assert start("whole", "local") == 0
    assert start("killed", "local", "driver:2") == -signal.SIGKILL
    for _ in range(2):
        plan = f"worker:{drawn.randint(1, 3)}", f"driver:{drawn.randint(4, 7)}"
        assert start("killed", "ray=2", *plan) == -signal.SIGKILL
    assert start("killed", "ray=2", f"worker:{drawn.randint(1, 3)}") == 0
    ours = check_same_screen(tmp_path / "killed", tmp_path / "whole", ROWS)
    assert ours["full"].is_not_null().sum() > TOP


@pytest.mark.slow
def test_a_cluster_by_its_address(library, two_form_folder, tmp_path, run_paratope: Run):
    """The command joins one, and leaves it as it was."""
    command = [sys.executable, "-W", "ignore", "-c", _CLUSTER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as cluster:
        address = cluster.stdout.readline().strip()
        script = "from paratope.cli import main; main()"
        screened = ["screen", library, "--model", two_form_folder, "--top", TOP]
        done = python(script, *screened, "--engine", f"ray={address}", "-o", tmp_path / "joined")
        assert done.returncode == 3, done.stderr  # two rows are no antibodies
        assert done.stdout == ""
        assert cluster.poll() is None
        cluster.communicate("\n")
    run_paratope(*screened, "-o", tmp_path / "local", code=3)
    ours, theirs = parts(tmp_path / "joined"), parts(tmp_path / "local")
    numbers = ["fast", "full", "low", "high", "p_strong"]  # this process may have more threads
    assert ours.drop(numbers).equals(theirs.drop(numbers))
    for name in numbers:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)
    gone = python(script, *screened, "--engine", f"ray={address}", "-o", tmp_path / "gone")
    assert gone.returncode == 2
    assert f"no Ray cluster answers at '{address}'" in gone.stderr
