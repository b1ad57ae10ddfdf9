"""``paratope doctor``: what works is said to work, and what does not ends with an exit code."""

import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from paratope.cli import COMMANDS, doctor
from paratope.cli.doctor import CHECKS, NEEDS, Check, run_checks
from paratope.core.errors import ModelError

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def test_everything_bundled_works_in_words_and_as_json(run_paratope):
    done = run_paratope("doctor", code=0)
    assert "Every command works" in done.out
    for name in ("python", "torch", "device", "cache", "encoder antiberty", "default model"):
        assert name in done.out
    report = json.loads(run_paratope("doctor", "--json").out)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["ok"]
    assert {check["status"] for check in checks.values()} <= {"ok", "note"}
    assert os.environ["PARATOPE_CACHE"] in checks["cache"]["detail"]
    assert "pKd" in checks["default model"]["detail"]
    assert checks["numbering"]["detail"].endswith("H + K")


def test_every_command_has_a_line_of_what_it_needs():
    lines = {check.name: check for check in CHECKS["commands"]()}
    assert list(lines) == list(NEEDS)
    assert set(NEEDS) == set(COMMANDS)
    assert all(check.detail.startswith("works") for check in lines.values())


def test_what_a_command_lacks_is_said_with_the_extra_that_brings_it(monkeypatch, run_paratope):
    monkeypatch.setattr(doctor, "CHECKS", {"commands": CHECKS["commands"]})
    monkeypatch.setitem(sys.modules, "botorch", None)
    done = run_paratope("doctor", "--json", code=0)
    checks = {check["name"]: check for check in json.loads(done.out)["checks"]}
    said = "works; --acquisition nei needs pip install '.[campaign]'"
    assert checks["suggest"] == {"name": "suggest", "status": "note", "detail": said}
    assert checks["adapt"]["status"] == "ok"
    monkeypatch.setitem(sys.modules, "paratope.campaigns.suggestion", None)
    assert "Not working: suggest" in run_paratope("doctor", code=3).out


@pytest.mark.slow
def test_a_server_is_started_and_asked(monkeypatch, run_paratope):
    monkeypatch.setattr(doctor, "CHECKS", {})
    done = run_paratope("doctor", "--serve", "--json", code=0)
    (check,) = json.loads(done.out)["checks"]
    assert check["name"] == "server"
    assert "pKd 8.3 by http://127.0.0.1:" in check["detail"]


def test_extras_are_those_of_the_project():
    """What a plain installation lacks is all that a command may note."""
    optional = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    asked = [(re.split(r"[\[=>]", one)[0], extra) for extra in optional for one in optional[extra]]
    asked = [(name.replace("mlflow-skinny", "mlflow"), extra) for name, extra in asked]
    asked = [(name.replace("markdown-it-py", "markdown_it"), extra) for name, extra in asked]
    brought = {(name.replace("-", "_"), extra) for name, extra in asked}
    noted = {tuple(one) for needs in NEEDS.values() for one in needs.get("options", {}).values()}
    assert noted == {one for one in brought if one[0] not in ("paratope", "sqlalchemy", "alembic")}


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ModelError("config.json is altered"), "config.json is altered"),
        (ZeroDivisionError("a bug"), "ZeroDivisionError: a bug"),
    ],
)
def test_what_is_broken_is_said(error, detail, monkeypatch, run_paratope):
    def broken() -> Iterator[Check]:
        raise error
        yield

    monkeypatch.setattr(doctor, "CHECKS", {"devices": CHECKS["device"], "model": broken})
    assert list(run_checks())[-1] == Check("model", "fail", detail)
    done = run_paratope("doctor", code=3)
    assert "Not working: model" in done.out
    assert detail in done.out
    assert not json.loads(run_paratope("doctor", "--json").out)["ok"]


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(doctor, "CHECKS", {"cache": CHECKS["cache"]})
    (check,) = run_checks()
    assert check.status == "fail"
    assert str(tmp_path / "file") in check.detail


def test_public_data_are_named_where_they_are(data_root, monkeypatch):
    monkeypatch.setenv("PARATOPE_DATA", str(data_root))
    monkeypatch.setattr(doctor, "CHECKS", {"data": CHECKS["public data"]})
    (check,) = run_checks()
    assert check.status == "ok"
    assert "skempi" in check.detail
    monkeypatch.setenv("PARATOPE_DATA", str(data_root / "nowhere"))
    (check,) = run_checks()
    assert check.status == "note"
    assert "set PARATOPE_DATA" in check.detail
