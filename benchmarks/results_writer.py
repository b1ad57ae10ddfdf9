"""What every benchmark records beside its numbers, and how its two files are written."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def circumstances(command: str, packages: Sequence[str]) -> dict[str, Any]:
    """Command, date, machine and versions; to be taken before the work, for the load's sake."""
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory, operating system."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": usable,
        "memory_gb": round(memory / 1e9, 1),
        "system": platform.platform(terse=True),
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def footer(record: Mapping[str, Any]) -> list[str]:
    """Lines that say on what a record was measured."""
    on = record["machine"]
    versions = [f"Python {record['python']}"]
    versions += [f"{name} {number}" for name, number in record["versions"].items()]
    return [
        "",
        f"`{record['command']}`, {record['date']}, {on['cpu']}, {on['cores']} cores, "
        f"{on['memory_gb']} GB, {on['system']}; load of the machine before: "
        f"{record['load_average_before']}.",
        "",
        ", ".join(versions),
    ]


def write_results(
    topic: str, record: Mapping[str, Any], lines: Sequence[str], folder: Path = RESULTS
) -> None:
    """Write ``<topic>.md`` and ``<topic>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*lines, *footer(record)])
    (folder / f"{topic}.md").write_text(f"{text}\n", encoding="utf-8")
    content = json.dumps(record, indent=2, allow_nan=False)
    (folder / f"{topic}.json").write_text(f"{content}\n", encoding="utf-8")
