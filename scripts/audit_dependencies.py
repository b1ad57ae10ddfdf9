"""Ask pip-audit for known vulnerabilities of what is installed; without it, say what is installed.

python scripts/audit_dependencies.py [-o docs/dependency-audit.md]

`pip-audit` is taken from the PATH, where there is one; it needs a database on the network. Where
it is missing, or reaches none, nothing is checked, and the page says so. In any case it lists every
package that ``paratope[all]`` brings along, with its version and licence, for whoever audits by
other means. Exit code 1: vulnerabilities are known.
"""

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LONGEST_LICENCE = 60  # some packages give their licence's whole text


def installed(name: str = "paratope", extra: str = "all") -> dict[str, metadata.Distribution]:
    """A package and all that it needs, as far as it is installed; sorted by name."""
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra)]
    while waiting:
        name, extra = waiting.pop()
        key = (canonicalize_name(name), extra)
        if key in seen:
            continue
        seen.add(key)
        try:
            found[key[0]] = distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another platform
            continue
        for text in distribution.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, one) for one in ("", *needed.extras)]
    return dict(sorted(found.items()))


def licence(distribution: metadata.Distribution) -> str:
    """What a package says of its licence: the expression, the classifier, or the first line."""
    about = distribution.metadata
    classifiers = about.get_all("Classifier") or []
    named = [text.split(" :: ")[-1] for text in classifiers if text.startswith("License :: ")]
    named = [text for text in named if text != "OSI Approved"]
    text = about.get("License-Expression") or ", ".join(named) or about.get("License") or ""
    first = text.strip().partition("\n")[0].replace("|", "/")
    return first if len(first) <= LONGEST_LICENCE else f"{first[:LONGEST_LICENCE]}…"


def known_vulnerabilities(
    packages: dict[str, metadata.Distribution],
) -> tuple[list[list[str]] | None, str]:
    """Package, version, identifier and version of the repair of each; None, and why, if unknown."""
    program = shutil.which("pip-audit")
    if program is None:
        return None, "pip-audit is not installed"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.writelines(
            f"{name}=={one.version.partition('+')[0]}\n"
            for name, one in packages.items()
            if name != "paratope"
        )
        pins.flush()
        command = [program, "-r", pins.name, "--no-deps", "--disable-pip", "-f", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answered: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):  # it has failed before an answer
        *_, last = done.stderr.strip().splitlines() or ["no answer"]
        return None, f"pip-audit reached no database ({last[:200]})"
    return [
        [one["name"], one["version"], bad["id"], ", ".join(bad["fix_versions"]) or "none yet"]
        for one in answered
        for bad in one.get("vulns", ())
    ], ""


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def page(packages: dict[str, metadata.Distribution], vulnerable: Any, why: str) -> str:
    """What was found, as Markdown."""
    day = datetime.date.today().isoformat()
    lines = ["# Dependencies that are installed", ""]
    about = f"`python scripts/audit_dependencies.py`, {day}, Python {sys.version.split()[0]}"
    if vulnerable is None:
        lines += [f"**Not checked for known vulnerabilities: {why}.**", "", f"{about}."]
    else:
        lines += [f"{len(vulnerable)} known vulnerabilities ({about}).", ""]
        lines += table(["package", "version", "vulnerability", "repaired in"], vulnerable)
    rows = [
        [name, one.version, licence(one) or "not stated"]
        for name, one in packages.items()
        if name != "paratope"
    ]
    lines += ["", f"What `paratope[all]` brings along: {len(rows)} packages.", ""]
    return "\n".join([*lines, *table(["package", "version", "licence"], rows), ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, help="file to write; default: stdout")
    output = parser.parse_args().output
    packages = installed()
    vulnerable, why = known_vulnerabilities(packages)
    text = page(packages, vulnerable, why)
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    if vulnerable is None:
        print(f"not checked: {why}", file=sys.stderr)
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
