"""``paratope doctor``: what works is said to work, and what does not ends with an exit code."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from paratope.cli import doctor
from paratope.cli.doctor import CHECKS, Check, run_checks
from paratope.core.errors import ModelError


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "cache"))


def test_everything_bundled_works(run_paratope):
    done = run_paratope("doctor", code=0)
    assert "Everything bundled works." in done.out
    for name in ("python", "torch", "device", "cache", "encoder antiberty", "default model"):
        assert name in done.out


def test_json(run_paratope, tmp_path):
    report = json.loads(run_paratope("doctor", "--json").out)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["ok"]
    assert {check["status"] for check in checks.values()} <= {"ok", "note"}
    assert str(tmp_path / "cache") in checks["cache"]["detail"]
    assert "pKd" in checks["default model"]["detail"]
    assert checks["numbering"]["detail"].endswith("H + K")


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
