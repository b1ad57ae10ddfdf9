"""Published numbers come out again from the published rows."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from paratope.datasets.abbibench import ASSAYS
from paratope.metrics import METRICS


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    path = repository / "benchmarks" / "benchmark_public.py"
    spec = importlib.util.spec_from_file_location("benchmark_public", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gearbind_on_all_antibody_rows(benchmark: ModuleType, data_root: Path):
    lines = {line["predictor"]: line for line in benchmark.gearbind(data_root)}
    for model, published in benchmark.GEARBIND_PUBLISHED.items():
        assert lines[model]["rows"] == "940"
        assert float(lines[model]["Pearson"]) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize(("name", "mean_alone"), [("ab645", 0.42), ("ab1101", 0.58)])
def test_protattba_and_what_the_complex_alone_gives(
    name: str, mean_alone: float, benchmark: ModuleType, data_root: Path
):
    model, baseline = benchmark.protattba(data_root, name)
    published = benchmark.PROTATTBA_PUBLISHED[name]
    assert float(model["Pearson"]) == pytest.approx(published, abs=1e-3)
    assert float(baseline["Pearson"]) == pytest.approx(mean_alone, abs=0.01)


@pytest.mark.parametrize("assay", ASSAYS)
def test_abbibench_spearman(assay: str, benchmark: ModuleType, data_root: Path):
    lines = benchmark.abbibench(data_root, assay)
    stated = [line for line in lines if line["published"]]
    assert len(stated) >= 30
    for line in stated:
        assert float(line["Spearman"]) == pytest.approx(float(line["published"]), abs=0.01)


def test_complex_mean_never_sees_its_own_fold(benchmark: ModuleType):
    measured = np.array([1.0, 3.0, 5.0, 9.0])
    got = benchmark.complex_mean(measured, ["a", "a", "b", "a"], np.array([0, 1, 1, 1]))
    assert got.tolist() == [6.0, 1.0, 1.0, 1.0]
    assert np.isnan(METRICS["pearson"](measured[1:], got[1:]))
