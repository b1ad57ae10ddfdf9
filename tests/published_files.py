"""The public tables and what becomes of their rows, for the tests that read them."""

import csv
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from paratope.data.datasets import DATASETS, Imported, load_dataset

NOT_CARRIED = "mutation not in the mutant's chains"
FLAG = "flag ddG = 8 as censored"
AB1101 = {"measured": 644, "not an antibody": 379, FLAG: 50, NOT_CARRIED: 27}
SKEMPI = {"measured": 1054, "non-binder": 78, "censored": 39}

# What becomes of every row of the public files, verified by hand.
COUNTS: dict[str, dict[str, int]] = {
    "skempi": SKEMPI,
    "skempi_raw": {**SKEMPI, "not an antibody": 5874, "antibody, no sequences": 40},
    "sabdab": {"measured": 220, "measured, single-chain antibody": 11, "no heavy chain": 1},
    "sabdab_summary": {
        "no affinity": 5381,
        "further copy of an entry": 68,
        "affinity, no sequences": 40,
        "measured": 33,
        "affinity not positive": 1,
    },
    "absci_her2": {
        "spr-control, non-binder": 1097,
        "zero-shot, measured": 422,
        "spr-control, repeats a row of zero-shot": 422,
        "spr-control, measured": 336,
    },
    "general": {
        "measured": 2079,
        "one chain given twice, cut short": 25,
        "one domain of a single-chain antibody": 11,
        "measured, VHH": 11,
        "measured, chains swapped": 7,
        "not an antibody": 1,
        "no heavy chain": 1,
    },
    "ab_bind": {**AB1101, "no sequences": 1},
    "ab645": {"measured": 537, "not an antibody": 81, FLAG: 27},
    "ab1101": AB1101,
    "s1131": {"not an antibody": 1131},
    "abbibench_1n8z": {"measured": 419},
    "abbibench_2fjg": {"score": 2223},
    "abbibench_3gbn_h1": {"measured": 1673, "floor 7.0 as censored": 214},
    "abbibench_aayl49": {"score": 4312},
    "sabdab_full": {"measured": 562, "measured, in doubt": 3},
    "saaint_manual": {"measured": 681, "censored": 22},
    "nanobind_affinity": {"measured": 156, "not used: suspect value": 3},
    "hie2023": {"measured": 139},
    "shanker2024": {"measured": 62, "non-binder": 2},
    "magma_319345": {"measured": 347, "censored": 2},
    "magma_2221c06": {"measured": 189},
    "magma_215": {"measured": 393, "censored": 9},
    "magma_002s21f2": {"measured": 119, "censored": 9},
    "magma_c118": {"measured": 52},
    "phillips_cr9114_h3": {"measured": 6000, "censored": 500},
    "titeseq_4420": {"censored": 1801, "measured": 1001},
    "cr9114_mature_H1stem": {"measured": 2239},
    "cr9114_mature_H3": {"measured": 2247, "censored": 13},
    "cr9114_mature_fluB": {"measured": 2125, "censored": 139},
    "cr9114_germline_H1stem": {"measured": 2191, "censored": 4},
    "abagym_5a12_vegf": {"score": 456},
    "s2p6_peptides": {"score": 6377},
}
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
