"""The recipes' comparison and full-width training: the benchmarks measure what they say."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from paratope.data.measurements import Measurement
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.evaluation.comparison import compare
from paratope.models.batches import BatchPlan, Examples
from paratope.models.recipes import load_recipe
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from published_files import benchmark_fixture, module_fixture

benchmark = benchmark_fixture("benchmark_training_speed", "benchmark_recipes")
runs = module_fixture("runs", "recipe_runs")
tables = module_fixture("tables", "recipe_tables")
speed = module_fixture("speed", "benchmark_training_speed")


@pytest.fixture
def job(runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """24 pairs of two antigens; the recipes read by the encoder that costs nothing."""
    monkeypatch.setattr(runs, "ENCODERS", ("residue", "residue"))
    rng = np.random.default_rng(0)
    chains = ["E" + "".join(rng.choice(list(AMINO_ACIDS), 30)) for _ in range(26)]
    pairs = [Pair(Antibody(chain), Antigen((chains[n % 2],))) for n, chain in enumerate(chains[2:])]
    rows = tuple(Measurement(pair, float(rng.normal(8, 1))) for pair in pairs)
    parts = np.array((["train"] * 4 + ["validation", "validation", "test", "test"]) * 3)
    ids = tuple(f"row-{n}" for n in range(24))
    return lambda name: runs.Job(
        *(name, "random", 0, 2, tmp_path / runs.slug(name), rows, ids, parts), np.arange(24) % 2
    )


def test_all_recipes_get_one_width_and_keep_the_rest(runs, tables):
    for name in tables.RECIPE_NAMES:
        own = load_recipe("v2.6" if name == tables.FAULTY else name)
        made = runs.settings(name, seed=5, epochs=7)
        assert (made.network.dim, made.network.heads) == (runs.WIDTH, runs.HEADS)
        assert (made.training.seed, made.training.max_epochs) == (5, 7)
        assert (made.loss, made.schedule) == (own.loss, own.schedule)
        kept = ("learning_rate", "weight_decay", "batch_size", "patience", "min_delta", "monitor")
        for key in kept:
            assert getattr(made.training, key) == getattr(own.training, key)
        assert made.training.accumulate == (1 if name == tables.FAULTY else own.training.accumulate)
        for key in ("layers", "tower_layers", "dropout", "output", "use_cross_attention"):
            assert getattr(made.network, key) == getattr(own.network, key)


def test_one_run_of_each_kind_is_judged_and_compared(benchmark, runs, tables, job):
    lines = {name: runs.run(job(name)) for name in ("v2.6", tables.FAULTY)}
    for line in lines.values():
        assert line["test_rows"] == 6
        assert line["epochs"] == len(line["history"]) == 2
        assert line["recall_sd"] is None or line["recall_sd"] >= 0
        assert min(line[key] for key in ("cpu_seconds", "checkpoint_mb", "peak_memory_mb")) > 0
    # one first residue and one unknown: nothing is left to tell antibodies apart by
    assert lines[tables.FAULTY]["distinct"] == 2
    assert lines[tables.FAULTY]["distinct_one_antigen"] == 1
    assert lines["v2.6"]["distinct"] == 6
    found = runs.baselines(job("v2.6"))
    assert [line["recipe"] for line in found] == list(tables.BASELINE_NAMES)
    folder = job("v2.6").folder
    both = compare([str(folder), str(folder.parent / "complex_mean.csv")])
    assert both.rows == 6
    assert both.grouping == "group"


def test_the_faults_are_those_of_the_release(runs, tmp_path):
    faulty = sys.modules["recipe_faults"].FaultyEmbeddings
    with EmbeddingStore(load_encoder("residue"), tmp_path) as store:
        antibodies, antigens = faulty.of_antibodies(store), faulty.of_antigens(store, 10)
        first, other = antibodies.get(("EVQLVE", "DIQM")), antibodies.get(("EAAAA", "DWWW"))
        assert first.shape == (1, store.encoder.dim)
        assert np.array_equal(first, other)
        assert not np.array_equal(first, antibodies.get(("QVQLVE", "DIQM")))
        pooled = antigens.get(("MKV",))
        assert pooled == pytest.approx(store.get(("MKV",)).sum(axis=0, keepdims=True) / 10)


def a_line(recipe: str, split: str, **values: Any) -> dict[str, Any]:
    line = {
        **{"spearman": 0.5, "spearman_within": 0.3, "rmse": 1.3, "r2": 0.2, "recall_sd": 5.0},
        **{"largest_recall_jump": 9.0, "outside_percent": 0.0, "epochs": 3, "best_epoch": 2},
        **{"distinct": 10, "pairs": 10, "distinct_one_antigen": 4, "pairs_one_antigen": 4},
        **{"cpu_seconds": 9.0, "peak_memory_mb": 900.0, "checkpoint_mb": 1.0, "parameters": 10},
    }
    return {"recipe": recipe, "split": split, "seed": 0, **line, **values}


def test_verdicts_follow_from_the_numbers(tables):
    runs = [a_line(name, "random") for name in (*tables.RECIPE_NAMES, *tables.BASELINE_NAMES)]
    for line in runs:
        if line["recipe"] == tables.FAULTY:
            line |= {"distinct_one_antigen": 1, "pairs_one_antigen": 90}
        if line["recipe"] == "v2.6":
            line |= {"recall_sd": 30.0}
        if line["recipe"] in ("v2.6", "default"):
            line |= {"outside_percent": 2.0}
        if line["recipe"] == "v2.7":
            line |= {"spearman": 0.3, "rmse": 1.4, "recall_sd": 11.0}
    faults = tables.fault_lines({}, [tables.with_shares(line) for line in runs])
    assert [row.rsplit("|", 2)[1].strip() for row in faults[2:]] == [
        "the bugs'",
        "the recipe's own: there without the bugs",
        "no single recipe's: the default has it too",
        "neither's, on these labels",
        "neither's, on these labels",
    ]
    promises = [row.rsplit("|", 2)[1].strip() for row in tables.promise_lines(runs)[2:]]
    assert promises == ["no", "yes", "in 0 of 1 runs"]


def test_release_facts_come_from_its_files_and_a_spread_says_what_is_undefined(
    runs, tables, reference_root, tmp_path
):
    assert tables.spread([1.0, 2.0, 3.0], 1) == "2.0 ± 1.0"
    assert tables.spread([None, 0.5, 0.5], 2) == "0.50 (2 of 3)"
    assert tables.spread([None], 2) == "–"
    facts = runs.release_facts(reference_root / "v2.6_release")
    assert (facts["rows"], facts["distinct"]) == (23961, 9)
    assert facts["recall_sd"] == 39.35001416511261
    assert runs.release_facts(tmp_path) is None


def test_counted_operations_are_those_of_the_products(speed):
    """A head without attention layers: its products can be counted by hand."""
    small = ["network.dim=16", "network.layers=0", "network.regressor=[8]", "network.heads=2"]
    recipe = load_recipe("v2.6", small)
    examples = Examples.from_measurements(speed.simulated(4))
    rows = BatchPlan(examples, 4).batches(0)
    forward = 0
    for length, width in zip(examples.lengths(), (1024, 2560), strict=True):
        places = 4 * int(length.max())
        kernel = recipe.network.kernel
        forward += 2 * places * (width * 16 + 16 * 16 + 16 * kernel + 16 * 2)
    forward += 2 * 4 * (48 * 8 + 8 * 3)
    counted = speed.operations(recipe, examples, rows)
    # backwards: as much for the weights, and as much again for what reaches them
    assert counted == pytest.approx(3 * forward, rel=0.03)
    assert 0 <= speed.padding_share(examples, rows) < 0.5


def test_the_page_of_training_speed_compares_with_its_targets(speed):
    found = {
        **{"parameters": 5e7, "threads": 2, "pairs_timed": 128, "seconds_timed": 60.0},
        **{"epoch_minutes": 13.0, "share_percent": 61.0, "peak_memory_gb": 5.0},
        **{"checkpoint_gb": 0.6, "bundle_mb": 200.0, "checkpoint_percent": 6.0},
        **{"checkpoint_seconds": 2.0, "gflop_per_pair": 60.0, "gflop_per_second": 130.0},
        **{"peak_gflop_per_second": 180.0, "peaks": [170.0, 180.0], "padding_percent": 6.0},
        "load_average_after": 0.5,
        "store_gb": 0.8,
    }
    rows = [line for line in speed.page(found, load_recipe("v2.6")) if line.startswith("| ")]
    ends = [line.rsplit(":", 1)[-1].strip(" |") for line in rows[1:]]
    assert ends == ["missed", "reached", "reached", "reached", "reached", "missed"]
