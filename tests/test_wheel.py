"""What a user installs: the wheel holds everything that prediction needs, and nothing else."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from paratope.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "paratope"
README = ROOT / "README.md"

pytestmark = pytest.mark.slow


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (path,) = folder.glob("paratope-*.whl")
    return path


def test_wheel_holds_every_file_of_the_package_and_is_small(wheel: Path):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("paratope/")}
    files = {
        f"paratope/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == files
    assert "paratope/py.typed" in held
    assert wheel.stat().st_size < 25e6


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

    def run(command: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("python -m pip install -c constraints.txt .", ROOT)
    assert str(tmp_path) in run("python -c 'import paratope; print(paratope.__file__)'")
    commands = [line for line in lines if line.startswith("paratope ")]
    assert {line.split()[1] for line in commands} >= {"doctor", "adapt", "suggest", "predict"}
    for line in [*commands, *(f"paratope {name} --help" for name in COMMANDS)]:
        run(line)
    assert "works; --acquisition nei needs" in " ".join(run("paratope doctor").split())
    for language, body in fences:
        if language == "python":
            run(f"python - <<'END'\n{body}END")


def test_installed_wheel_predicts_from_anywhere(wheel: Path, tmp_path: Path):
    """Not from the checkout: from a folder of its own, found before the editable installation."""
    site = tmp_path / "site"
    pip("install", "--no-deps", "--target", site, wheel)
    code = "import paratope; print(paratope.__file__); from paratope.cli import main; main()"
    pairs = ROOT / "examples" / "pairs.csv"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(pairs), "-o", "out.csv"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "PARATOPE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert pl.read_csv(tmp_path / "out.csv")["pkd"].null_count() == 0
