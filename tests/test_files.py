"""Folders and files are written whole or not at all, and nobody else's are touched."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from paratope.core import files
from paratope.core.errors import OutputError
from paratope.core.files import atomic_file, atomic_folder, sole_writer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with two files of ours and three things of the user's."""
    folder = tmp_path / "model"
    (folder / "plots" / "deep").mkdir(parents=True)
    for name in ("config.json", "old.json", "notes.txt", "plots/deep/a.png"):
        (folder / name).write_text(f"old {name}")
    (folder / "link").symlink_to("notes.txt")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


KEPT = {name: f"old {name}" for name in ("notes.txt", "plots/deep/a.png")}
KEPT["link"] = KEPT["notes.txt"]


@pytest.mark.parametrize("way", ["exchange", "two renames", "no hard links"])
def test_listed_files_are_replaced_and_all_others_kept(model, way, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise OSError(1, "Operation not permitted")

    if way == "two renames":
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    elif way == "no hard links":
        monkeypatch.setattr(os, "link", refuse)
    with atomic_folder(model, replaces=("config.json", "old.json")) as folder:
        (folder / "config.json").write_text("new")
    assert contents(model) == {"config.json": "new", **KEPT}
    assert (model / "link").is_symlink()
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_a_failure_in_the_middle_or_of_the_second_rename_leaves_all_as_it_was(model, monkeypatch):
    before, rename = contents(model), Path.rename

    def write_half() -> None:
        with atomic_folder(model) as folder:
            (folder / "config.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert contents(model) == before
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)

    def fail_to_take_its_place(path: Path, target: Path) -> Path:
        if target == model and (path / "config.json").read_text() == "new":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_to_take_its_place)
    with pytest.raises(OutputError, match="No space left"), atomic_folder(model) as folder:
        (folder / "config.json").write_text("new")
    assert contents(model) == before
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_modes_are_those_of_the_folder_that_was_there(model, tmp_path):
    model.chmod(0o750)
    (model / "notes.txt").chmod(0o600)
    with atomic_folder(model) as folder:
        (folder / "config.json").write_text("new")
    umask = os.umask(0)
    os.umask(umask)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (model, model / "config.json")]
    assert modes == [0o750, 0o666 & ~umask]
    assert stat.S_IMODE((model / "notes.txt").stat().st_mode) == 0o600
    with atomic_folder(tmp_path / "deep" / "new") as folder:
        pass
    assert stat.S_IMODE((tmp_path / "deep" / "new").stat().st_mode) == 0o777 & ~umask


def test_a_link_stays_a_link_and_a_file_in_the_way_is_an_error_in_words(model, tmp_path):
    (tmp_path / "latest").symlink_to(model)
    with atomic_folder(tmp_path / "latest") as folder:
        (folder / "config.json").write_text("new")
    assert (tmp_path / "latest").is_symlink()
    assert (model / "config.json").read_text() == "new"
    assert (model / "notes.txt").read_text() == "old notes.txt"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"), atomic_folder(tmp_path / "file" / "x"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


HOLDER = """
import sys, time
from paratope.core import files
with getattr(files, sys.argv[1])(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("writer", ["atomic_file", "atomic_folder", "sole_writer"])
def test_two_writers_of_one_target_and_a_killed_one(writer: str, tmp_path: Path):
    command = [sys.executable, "-c", HOLDER, writer, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        for other in (atomic_file, atomic_folder, sole_writer):
            with pytest.raises(OutputError, match="another command is writing it"):
                other(tmp_path / "out").__enter__()
        with atomic_file(tmp_path / "beside") as file:
            file.write(b"another name is free")
        holder.kill()
    assert len(list(tmp_path.iterdir())) >= 2  # a lock or more is left
    with atomic_file(tmp_path / "out") as file:
        file.write(b"whole")
    assert contents(tmp_path) == {"out": "whole", "beside": "another name is free"}


def test_a_command_says_at_once_that_its_output_is_taken(tmp_path: Path, run_paratope):
    command = [sys.executable, "-c", HOLDER, "sole_writer", str(tmp_path / "out.csv")]
    arguments = ("data", "simulate", "--antibodies", 3, "-o", tmp_path / "out.csv")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        done = run_paratope(*arguments)
        assert (done.code, "another command is writing it" in done.err) == (2, True)
        holder.kill()
    assert run_paratope(*arguments).code == 0
    assert sorted(contents(tmp_path)) == ["out.csv", "truth.json"]
