"""What a user installs and what checks a fresh clone: the wheel, the tasks, the whole check."""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT
from paratope.cli import COMMANDS

PACKAGE = ROOT / "src" / "paratope"
README = ROOT / "README.md"


def run(command: list, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package_and_is_small(tmp_path: Path):
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("paratope-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("paratope/")}
    files = {
        f"paratope/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == files
    assert "paratope/py.typed" in held
    assert wheel.stat().st_size < 25e6


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_plain_installation_runs_every_command_of_the_readme(tmp_path: Path):
    """What a newcomer does: an environment of its own, the README's line for pip, no extra."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    lines = [line for _, body in fences for line in body.splitlines()]
    assert "pip install -c constraints.txt ." in lines
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    binaries = tmp_path / "venv" / "bin"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PARATOPE_CACHE": str(tmp_path / "cache"),
    }
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    def shell(command: str, folder: Path = tmp_path) -> str:
        done = run(["bash", "-c", command], cwd=folder, env=environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    shell("python -m pip install -c constraints.txt .", ROOT)
    assert str(tmp_path) in shell("python -c 'import paratope; print(paratope.__file__)'")
    commands = [line for line in lines if line.startswith("paratope ")]
    assert {line.split()[1] for line in commands} >= {"doctor", "adapt", "suggest", "predict"}
    for line in [*commands, *(f"paratope {name} --help" for name in COMMANDS)]:
        shell(line)
    assert "works; --acquisition nei needs" in " ".join(shell("paratope doctor").split())
    for language, body in fences:
        if language == "python":
            shell(f"python - <<'END'\n{body}END")


def test_the_whole_check_fails_without_the_public_data_or_runs_every_part(
    repository: Path, tmp_path: Path
):
    done = run([repository / ".ci" / "run"], env=os.environ | {"PARATOPE_DATA": f"{tmp_path}/none"})
    assert done.returncode == 1
    assert "the public data are not at" in done.stderr
    assert done.stdout == ""  # nothing was built or run
    script = (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert script.index("make setup") < script.index("for part in test test-threads test-slow lint")


@pytest.mark.parametrize(
    "target", "setup demo test test-slow test-threads lint benchmark-speed default-model".split()
)
def test_tasks_exist_and_set_up_first(target: str, repository: Path):
    make = ["make", "--dry-run", "--always-make", "VENV=/nowhere/.venv"]
    done = run([*make, target], cwd=repository)
    assert done.returncode == 0, done.stderr
    assert "-c constraints.txt" in done.stdout  # pinned, so no GPU build of torch is pulled


@pytest.mark.parametrize("page", ["README.md", "docs/inputs.md", "docs/idea.md"])
def test_pkd_is_said_to_mean_monovalent_affinity(page: str, repository: Path):
    text = (repository / page).read_text(encoding="utf-8").replace("*", "")
    assert "monovalent affinit" in text


def test_traced_files_are_those_whose_functions_are_called(tmp_path: Path, monkeypatch):
    spec = importlib.util.spec_from_file_location("count_house", ROOT / "scripts/count_house.py")
    assert spec is not None
    assert spec.loader is not None
    count_house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(count_house)
    package = tmp_path / "toy"
    package.mkdir()
    (package / "parts.py").write_text("def number():\n    return 1\n")
    (package / "rows.py").write_text("from toy.parts import number\n\nnumber()\n")
    (package / "reading.py").write_text(
        "def read():\n    from toy import rows\n    return len(rows.__name__)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with count_house.entered(package, "read") as files:
        importlib.import_module("toy.reading").read()  # what an import calls does not count
        importlib.import_module("toy.parts").number()
    reading, parts = package / "reading.py", package / "parts.py"
    assert files == {"reader": {reading}, "all": {reading, parts}}
    assert sys.getprofile() is None
