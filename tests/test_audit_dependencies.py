"""The audit of dependencies: what pip-audit says, and what is said where it cannot be asked."""

import json
import sys

import pytest

import audit_dependencies

BAD = {"id": "PYSEC-2026-1", "fix_versions": ["9.9"], "aliases": [], "description": ""}


@pytest.fixture
def audit(tmp_path, monkeypatch, capsys):
    """The audit beside a pip-audit that gives an answer; its exit code and page."""

    def run(answer: str | None, code: int = 0, complaint: str = "") -> tuple[int, str]:
        if answer is not None:
            program = tmp_path / "pip-audit"
            lines = [
                f"#!{sys.executable}",
                "import sys",
                "assert any(line.startswith('fastapi==') for line in open(sys.argv[2]))",
                f"sys.stdout.write({answer!r}); sys.stderr.write({complaint!r}); sys.exit({code})",
            ]
            program.write_text("\n".join(lines))
            program.chmod(0o700)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "argv", ["audit", "-o", str(tmp_path / "page.md")])
        return audit_dependencies.main(), (tmp_path / "page.md").read_text("utf-8")

    return run


def test_vulnerabilities_are_listed_and_fail(audit):
    told = {"name": "fastapi", "version": "0.1", "vulns": [BAD]}
    answer = json.dumps({"dependencies": [told, {"name": "uvicorn", "version": "1", "vulns": []}]})
    code, page = audit(answer, code=1)
    assert code == 1
    assert "1 known vulnerabilities" in page
    assert "| fastapi | 0.1 | PYSEC-2026-1 | 9.9 |" in page
    code, page = audit(json.dumps({"dependencies": []}))
    assert code == 0
    assert "0 known vulnerabilities" in page


def test_without_a_database_the_page_says_that_nothing_was_checked(audit):
    for answer, why in ((None, "pip-audit is not installed"), ("", "no route to host")):
        code, page = audit(answer, 1, "Traceback\nno route to host")
        assert code == 0
        assert "**Not checked for known vulnerabilities: " in page
        assert why in page
        assert "| fastapi | " in page


def test_all_that_is_installed_is_listed_with_its_licence():
    packages = audit_dependencies.installed()
    assert {"torch", "fastapi", "starlette", "jinja2", "markupsafe"} <= set(packages)
    assert "pytest" not in packages  # a tool of development
    assert audit_dependencies.licence(packages["jinja2"]).startswith("BSD")
