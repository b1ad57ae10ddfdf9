"""The checkout's own tasks: what checks a fresh clone refuses to check less than everything."""

import os
import subprocess
from pathlib import Path

import pytest


def test_the_whole_check_fails_without_the_public_data(repository: Path, tmp_path: Path):
    done = subprocess.run(
        [repository / ".ci" / "run"],
        env={**os.environ, "PARATOPE_DATA": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the public data are not at" in done.stderr
    assert done.stdout == ""  # nothing was built or run


def test_the_whole_check_builds_then_runs_every_part(repository: Path):
    script = (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert script.index("make setup") < script.index("for part in test test-threads test-slow lint")


@pytest.mark.parametrize(
    "target", "setup demo test test-slow test-threads lint benchmark-speed default-model".split()
)
def test_tasks_exist_and_set_up_first(target: str, repository: Path):
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "VENV=/nowhere/.venv", target],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "-c constraints.txt" in done.stdout  # pinned, so no GPU build of torch is pulled


@pytest.mark.parametrize("page", ["README.md", "docs/inputs.md", "docs/idea.md"])
def test_pkd_is_said_to_mean_monovalent_affinity(page: str, repository: Path):
    text = (repository / page).read_text(encoding="utf-8").replace("*", "")
    assert "monovalent affinit" in text
