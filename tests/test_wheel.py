"""What a user installs: the wheel holds everything that prediction needs, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "paratope"

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


def test_wheel_holds_every_file_of_the_package(wheel: Path):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("paratope/")}
    files = {
        f"paratope/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == files
    assert "paratope/py.typed" in held


def test_wheel_is_small(wheel: Path):
    assert wheel.stat().st_size < 25e6


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
