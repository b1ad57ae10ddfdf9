"""Few-shot campaigns: our model, its terms one by one, baselines and published scores, one table.

python benchmarks/benchmark_campaign.py [--parts landscapes ablation large …] [--workers 2]

Landscapes, caps and draws are those of the reference file beside the public data. The campaign
model is given the measured variants of a draw and their parent: no general model, no landscape.
The ablation leaves one term of the kernel out at a time, on other draws than the ones reported.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

from campaign_folds import FOLD_SETS, fold_lines
from campaign_landscapes import (
    ASSAYS,
    BASELINE_COLUMNS,
    COVERAGES,
    MODES,
    REPEATS,
    Landscape,
    campaign_draw,
    dropped_term,
)
from campaign_large import COVERAGE, HELD_OUT, large_lines, large_table
from campaign_speed import speed_lines
from campaign_tables import TARGETS, ablation_table, cell_table, coverage_table, folds_table
from paratope.data.datasets import data_root
from paratope.data.datasets.abbibench import published_spearman
from results_writer import RESULTS, circumstances, write_results

PACKAGES = ("paratope", "torch", "numpy", "scikit-learn")
# Draws of the ablation: not those of the table.
ABLATION_REPEATS = range(100, 102)
ABLATION_MEASURED = (96,)
PUBLISHED_SHOWN = 3

_open: dict[str, Landscape] = {}


def landscape(root: Path, assay: str) -> Landscape:
    """A landscape, read once in each process."""
    if assay not in _open:
        _open[assay] = Landscape.read(root, assay)
    return _open[assay]


def one_draw(task: tuple[Path, str, str, int, int]) -> dict[str, Any] | None:
    """Every predictor on one draw."""
    root, assay, mode, measured, repeat = task
    return campaign_draw(landscape(root, assay), mode, measured, repeat)


def one_ablation(task: tuple[Path, str, str, int, int]) -> list[dict[str, Any]]:
    """Our model with all terms, and with one fewer, on one draw."""
    root, assay, mode, measured, repeat = task
    return dropped_term(landscape(root, assay), mode, measured, repeat)


def draws(root: Path, repeats: dict[int, Iterable[int]]) -> list[tuple]:
    """All draws, by landscape, so that each process keeps its own."""
    return [
        (root, assay, mode, measured, repeat)
        for assay, mode in itertools.product(ASSAYS, MODES)
        for measured, numbers in repeats.items()
        for repeat in numbers
    ]


def run(function: Any, tasks: Sequence[tuple], workers: int) -> list[Any]:
    """Results of all tasks, in order, with a line on stderr now and then."""
    results, started = [], time.time()
    # fresh processes: forked ones would inherit the locks of libraries' threads
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for number, result in enumerate(pool.map(function, tasks), start=1):
            results.append(result)
            if number % 10 == 0 or number == len(tasks):
                print(f"{number} of {len(tasks)} draws, {time.time() - started:.0f} s",
                      file=sys.stderr, flush=True)  # fmt: skip
    return results


def landscapes(root: Path, workers: int, folder: Path, record: dict[str, Any]) -> None:
    """The table of cells, and the coverage of intervals."""
    tasks = draws(root, {measured: range(count) for measured, count in REPEATS.items()})
    rows = [row for row in run(one_draw, tasks, workers) if row is not None]
    published = {
        assay: [
            {"model": f"{row['model']} {row['score']}", "spearman": row["spearman_raw"]}
            for row in published_spearman(root)
            .filter(pl.col("dataset") == assay)
            .sort(pl.col("spearman_raw").abs(), descending=True, nulls_last=True)
            .to_dicts()[:PUBLISHED_SHOWN]
        ]
        for assay in ASSAYS
    }
    lines = [
        "# Campaigns: ranking a landscape from a few of its variants",
        "",
        "Mean Spearman over repeats on the variants that were not measured. Draws: those of the "
        "reference; a draw with fewer than 100 variants to rank is not reported. The model is "
        "given the measured variants and the parent in which the draws count mutations, the "
        "consensus of the landscape's sequences; one column names no parent, and the consensus of "
        "the measured variants is taken. Behind ours: the difference to the best baseline of "
        "the cell (in the mean) and its paired standard error over repeats. Target: what was set "
        "before.",
        "",
        *cell_table(rows, TARGETS, BASELINE_COLUMNS),
        "",
        "## Published zero-shot scores of the same landscapes",
        "",
        "Spearman with the label over all rows, the three strongest of each; most need a "
        "structure. Shown, not compared: they saw no measurement.",
        "",
        *(
            f"- {assay}: " + "; ".join(f"{row['model']} {row['spearman']:.2f}" for row in best)
            for assay, best in published.items()
        ),
        "",
        "## Intervals",
        "",
        f"Share of the ranked variants inside the interval, at a nominal "
        f"{', '.join(f'{level:.0%}' for level in COVERAGES)}.",
        "",
        *coverage_table(rows),
    ]
    content = {"draws": rows, "published": published, "targets": TARGETS}
    finish("campaign", lines, {**record, **content}, folder)


def ablation(root: Path, workers: int, folder: Path, record: dict[str, Any]) -> None:
    """What leaving one term out changes."""
    tasks = draws(root, dict.fromkeys(ABLATION_MEASURED, ABLATION_REPEATS))
    rows = [row for part in run(one_ablation, tasks, workers) for row in part]
    lines = [
        "# Campaigns: the kernel, term by term",
        "",
        "Change of Spearman when one term is left out and the rest fitted again: mean over "
        f"landscapes, draws (repeats {ABLATION_REPEATS.start} to {ABLATION_REPEATS.stop - 1}, "
        "none of which is in the main table) and N = "
        f"{' and '.join(map(str, ABLATION_MEASURED))}, with its standard error over draws. Below "
        "zero: the term helps.",
        "",
        *ablation_table(rows),
    ]
    finish("campaign_ablation", lines, {**record, "draws": rows}, folder)


def folds(root: Path, workers: int, folder: Path, record: dict[str, Any]) -> None:
    """AB645 and AB1101 in ProtAttBA's folds."""
    rows = [row for name in FOLD_SETS for row in fold_lines(root, name)]
    lines = [
        "# Campaigns of many antibodies: ddG in ProtAttBA's folds",
        "",
        "All rows as published, flags (ddG = 8) and complexes without an antibody included. The "
        "folds are random rows: every predictor sees the complex in training. Pearson and "
        "Spearman of ddG over all rows; ProtAttBA's from its own predictions.",
        "",
        *folds_table(rows),
    ]
    finish("campaign_folds", lines, {**record, "lines": rows}, folder)


def large(root: Path, workers: int, folder: Path, record: dict[str, Any]) -> None:
    """Many variants: exact, sparse, with networks."""
    rows = large_lines(root)
    lines = [
        "# Campaigns of many variants: exact, sparse, with networks",
        "",
        f"All variants of a landscape (commonest length); {HELD_OUT:.0%} drawn at random are "
        "ranked by models that learned from the others, or from some of them. The sparse process "
        "compares new variants with its inducing ones; networks are two of the default recipe, "
        "trained from nothing on halves of the rows, whose answers are one more term of the "
        f"kernel. Coverage of the {COVERAGE:.0%} intervals and their width in standard deviations "
        "of the landscape; networks' share: of the variance of the fitted values. Seconds of "
        "fitting, embeddings being cached.",
        "",
        *large_table(rows),
    ]
    finish("campaign_large", lines, {**record, "lines": rows}, folder)


def speed(root: Path, workers: int, folder: Path, record: dict[str, Any]) -> None:
    """Seconds of fitting, predicting and reporting."""
    rows, lines = speed_lines(root)
    finish("campaign_speed", lines, {**record, "lines": rows}, folder)


PARTS = {
    "landscapes": landscapes,
    "ablation": ablation,
    "folds": folds,
    "large": large,
    "speed": speed,
}


def finish(name: str, lines: list[str], content: dict[str, Any], folder: Path) -> None:
    """Print and write."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    write_results(name, content, lines, folder)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = arguments.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core
    command = " ".join(["python", "benchmarks/benchmark_campaign.py", *sys.argv[1:]])
    for name in options.parts:
        record, started = circumstances(command, PACKAGES), time.time()
        PARTS[name](data_root(), options.workers, options.output, record)
        print(f"{name}: {time.time() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
