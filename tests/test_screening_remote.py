"""Screens whose library or folder is on another file system: the rows of a local screen."""

import gzip
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import fsspec
import polars as pl
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from conftest import Run
from paratope.core.errors import InputError, OutputError
from paratope.core.progress import silent
from paratope.screening import screen
from paratope.screening.remote_folder import at_hand
from small_screens import (
    NO_ANTIBODIES,
    blocks_of,
    check_same_screen,
    parts,
    variants,
    write_fasta,
)

ROWS, TOP = 90, 6
TABLES = ("hits.csv", "rejected.csv", "histogram.csv")


@pytest.fixture(scope="module")
def chains() -> list[str]:
    """Variants, and two that are no antibodies."""
    made = variants(ROWS - 2)
    return [*made[:50], *NO_ANTIBODIES, *made[50:]]


@pytest.fixture(scope="module")
def library(tmp_path_factory, chains) -> Path:
    return write_fasta(tmp_path_factory.mktemp("library") / "library.fasta", chains)


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with blocks_of(fast=16, rescored=8, sample=10):
        yield


@pytest.fixture(scope="module")
def plain(campaign_folder, library, tmp_path_factory):
    """The local screen."""
    folder = tmp_path_factory.mktemp("plain") / "hits"
    return screen(library, folder, model=campaign_folder, top=TOP)


@pytest.fixture
def lab(library, tmp_path, monkeypatch):
    """An object store with the library in it; afterwards no temporary file is left here."""
    files = fsspec.filesystem("memory")
    files.pipe_file("/lab/library.fasta", library.read_bytes())
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    yield files
    files.rm("/lab", recursive=True)
    assert not list((tmp_path / "tmp").iterdir())


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def copied(files, folder: Path) -> Path:
    """What the store holds of the screen."""
    for name in files.find("/lab/hits"):
        copy = folder / name.removeprefix("/lab/hits/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(name, str(copy))
    return folder


def test_an_object_store_holds_the_folder_of_a_local_screen(
    plain, lab, campaign_folder, tmp_path, run_paratope: Run
):
    lab.pipe_file("/lab/hits/.paratope-0a1b-2c3d.tmp", b"of a killed one")
    words = "--model", campaign_folder, "--top", TOP, "-o", "memory://lab/hits"
    done = run_paratope("screen", "memory://lab/library.fasta", *words, code=3)
    assert "Written: memory://lab/hits." in done.err
    copy = copied(lab, tmp_path / "copy")
    assert names(copy) == names(plain.folder)
    assert parts(copy).equals(parts(plain.folder))
    for name in TABLES:
        assert (copy / name).read_bytes() == (plain.folder / name).read_bytes()
    logs = [pl.read_csv(each / "throughput.csv") for each in (copy, plain.folder)]
    assert logs[0]["rows"].to_list() == logs[1]["rows"].to_list()
    # nothing is left to do
    where = "memory://lab/hits"
    again = screen("memory://lab/library.fasta", where, model=campaign_folder, top=TOP)
    assert again.folder == where
    assert again.hits.equals(plain.hits)
    assert again.summary["rows"] == ROWS


def test_a_remote_folder_of_packed_files_into_a_local_one(
    plain, lab, chains, campaign_folder, tmp_path
):
    for name, start, end in (("a.fasta.gz", 0, 40), ("b.fasta.gz", 40, ROWS)):
        text = "".join(f">v{n}\n{chains[n]}\n" for n in range(start, end))
        lab.pipe_file(f"/lab/parts/{name}", gzip.compress(text.encode()))
    lab.pipe_file("/lab/parts/notes.md", b"not a library")
    into = f"file://{tmp_path}/hits"
    (tmp_path / "hits").mkdir()
    (tmp_path / "hits" / ".paratope-0a1b-2c3d.tmp").write_text("of one killed at its first write")
    again = screen("memory://lab/parts/", into, model=campaign_folder, top=TOP)
    assert again.folder == tmp_path / "hits"
    assert again.hits["id"].to_list() == plain.hits["id"].to_list()
    assert pl.read_csv(tmp_path / "hits" / "rejected.csv")["row"].to_list() == [51, 52]


def test_writes_that_fail_lose_nothing_that_was_written(
    plain, lab, library, campaign_folder, tmp_path, monkeypatch
):
    put, left, sent = MemoryFileSystem.put_file, [0], []

    def full(self, lpath, rpath, **options):
        if left[0] == 0:
            raise OSError("quota exceeded")
        left[0] -= 1
        sent.append(rpath)
        put(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", full)
    stops, again = 0, None
    while again is None:
        left[0] = 2 + 3 * stops
        try:
            again = screen(library, "memory://lab/hits", model=campaign_folder, top=TOP)
        except OutputError as problem:
            told, stops = str(problem), stops + 1
            assert told.startswith("cannot write memory://lab/hits/")
            assert "quota exceeded; what was written before is kept: repeat" in told
            assert stops < 20
    assert stops > 3
    copy = copied(lab, tmp_path / "copy")
    assert names(copy) == names(plain.folder)
    assert parts(copy).equals(parts(plain.folder))
    assert again.hits.equals(plain.hits)
    # no block was scored again
    rescored = [n for n, name in enumerate(sent) if "/full/" in name]
    assert len({sent[n] for n in rescored}) == len(rescored)
    blocks = [name for name in sent[: rescored[0]] if "/parts/" in name]
    assert len(set(blocks)) == len(blocks) == 6


def test_another_screen_or_something_else_there_is_refused(lab, library, campaign_folder):
    asked = {"model": campaign_folder, "top": TOP}
    screen(library, "memory://lab/hits", **asked)
    lab.pipe_file("/lab/other.fasta", library.read_bytes().partition(b">v9\n")[0])
    before = {name: lab.cat_file(name) for name in lab.find("/lab")}
    other, taken = "memory://lab/other.fasta", "is not empty and holds no screen"
    with pytest.raises(InputError, match="^memory://lab/hits holds a screen of another library"):
        screen(other, "memory://lab/hits", **asked)
    with pytest.raises(OutputError, match=f"^memory://lab {taken}"):
        screen(library, "memory://lab/", **asked)
    with pytest.raises(OutputError, match="this is a file; expected a folder"):
        screen(library, other, **asked)
    assert {name: lab.cat_file(name) for name in lab.find("/lab")} == before


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("memory://lab/none.fasta", "memory://lab/none.fasta: no such file, folder or bucket"),
        ("memory://lab/empty.fasta", "memory://lab/empty.fasta: the file is empty"),
        ("memory://lab/notes", "memory://lab/notes: no library in this folder"),
        ("nowhere://lab/a.fasta", "unknown protocol 'nowhere'; valid names: "),
        ("s3://lab/a.fasta", "s3:// needs the package s3fs: pip install s3fs"),
    ],
)
def test_a_library_that_cannot_be_had(
    source, told, lab, campaign_folder, tmp_path, monkeypatch, run_paratope: Run
):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    lab.pipe_file("/lab/empty.fasta", b"")
    lab.pipe_file("/lab/notes/notes.md", b"not a library")
    words = "--model", campaign_folder, "-o", tmp_path / "hits"
    assert told in run_paratope("screen", source, *words, code=2).err


@pytest.mark.slow
def test_two_commands_do_not_write_one_remote_folder(lab, library, campaign_folder):
    script = "import sys; from paratope.cli import main; main()"
    words = "screen", library, "--model", campaign_folder, "-o", "memory://lab/hits/"
    command = [sys.executable, "-c", script, *map(str, words)]
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    with at_hand([library], "memory://lab/hits/", silent):
        second = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "cannot write memory://lab/hits/: another command is writing it" in second.stderr


# A file system whose files are torn while they are put, and appear whole only by renaming. Kills
# itself, as ``kill -9`` does, around the n-th of them; never for n below 0.
_KILLED = """
import os, signal, sys, threading, time
import fsspec
import paratope.screening.run as run
from fsspec.implementations.local import LocalFileSystem
from paratope.screening import funnel, screen
run.FAST_ROWS, run.RESCORED_ROWS, run.SAMPLE_ROWS, funnel._FIRST_MORE = 16, 8, 10, 10
left, delay = int(sys.argv[4]), float(sys.argv[5])
class Torn(LocalFileSystem):
    protocol = "torn"
    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("torn://"))
    def put_file(self, ours, theirs, **options):
        global left
        if left == 0:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        left -= 1
        with open(ours, "rb") as read, open(theirs, "wb") as file:
            content = read.read()
            file.write(content[: len(content) // 2])
            file.flush()
            time.sleep(0.01)
            file.write(content[len(content) // 2 :])
fsspec.register_implementation("torn", Torn)
screen(sys.argv[1], sys.argv[2], model=sys.argv[3], top=6, device="cpu")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine processes
def test_kills_leave_whole_files_and_the_rows_of_an_uninterrupted_screen(
    library, campaign_folder, tmp_path
):
    drawn, kills = random.Random(3), 0
    (tmp_path / "tmp").mkdir()

    def start(output: object, write: int, delay: float) -> int:
        words = [_KILLED, f"torn://{library}", output, campaign_folder, write, delay]
        command = [sys.executable, "-c", *map(str, words)]
        environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
        return subprocess.run(command, check=False, env=environment).returncode

    remote, killed = f"torn://{tmp_path}/killed", tmp_path / "killed"
    for write in (0, 2, 3, 5, 4, 6):
        code = start(remote, write, drawn.uniform(0, 0.02))
        assert code == -signal.SIGKILL
        kills += 1
        for path in killed.rglob("*.parquet"):
            pl.read_parquet(path)
    assert list((tmp_path / "tmp").iterdir())
    assert start(remote, -1, 0) == 0
    assert not list((tmp_path / "tmp").iterdir())  # nor what the killed ones left
    assert start(tmp_path / "whole", -1, 0) == 0
    check_same_screen(killed, tmp_path / "whole", ROWS)
    assert names(killed) == names(tmp_path / "whole")
