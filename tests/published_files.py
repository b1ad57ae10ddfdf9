"""The public tables and what becomes of their rows, for the tests that read them."""

import csv
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from paratope.data.datasets import DATASETS, Imported, load_dataset

# What becomes of every row of the public files, verified by hand.
ROWS = json.loads((Path(__file__).parent / "data" / "public_rows.json").read_text("utf-8"))
COUNTS: dict[str, dict[str, int]] = ROWS["files"]
MAIN_FILE = {name: DATASETS[name].files[0].path for name in COUNTS}
PUBLIC = sorted(COUNTS)


def published(path: Path, separator: str = ",") -> list[dict[str, str]]:
    """Rows of a file, read without the package."""
    encoding = "latin-1" if "AB-Bind" in path.name else "utf-8-sig"
    with path.open(newline="", encoding=encoding) as stream:
        lines = [fields for fields in csv.reader(stream, delimiter=separator) if any(fields)]
    return [dict(zip(lines[0], fields, strict=False)) for fields in lines[1:]]


def alone_in(folder: Path, root: Path, name: str) -> Imported:
    """Import a public data set from a folder that holds its first file only."""
    path = root / MAIN_FILE[name]
    (folder / path.name).symlink_to(path)
    return load_dataset(name, folder)


def benchmark_fixture(*modules: str):
    """A fixture: the last of these modules of the benchmarks, once all are imported."""

    @pytest.fixture(scope="module", name="benchmark")
    def benchmark(repository: Path) -> ModuleType:
        folder = str(repository / "benchmarks")
        sys.path.insert(0, folder)
        try:
            return [importlib.import_module(module) for module in modules][-1]
        finally:
            sys.path.remove(folder)

    return benchmark


def module_fixture(fixture: str, module: str):
    """A fixture: a module that the benchmark imports."""
    return pytest.fixture(scope="module", name=fixture)(lambda benchmark: sys.modules[module])
