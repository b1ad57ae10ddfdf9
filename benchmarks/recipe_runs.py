"""One run of the recipes' comparison: which rows, how it is trained, how it is judged."""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.progress import peak_memory_mb
from paratope.data.datasets import training_rows
from paratope.data.measurements import Measurement
from paratope.data.tables import write_table
from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.evaluation.baselines import BASELINES
from paratope.evaluation.metrics import EvaluationRows, compute
from paratope.models.batches import Examples, fit_molecule
from paratope.models.recipes import Recipe, load_recipe
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.training import RunOptions, fit, score
from paratope.training.run_folder import (
    history_table,
    open_run_folder,
    prediction_table,
    summarise,
    write_predictions,
    write_run,
)
from paratope.training.table import PARTS
from recipe_faults import FaultyEmbeddings
from recipe_tables import BASELINE_NAMES, FAULTY

ENCODERS = ("antiberty", "residue")
WIDTH, HEADS, MAX_RESIDUES = 32, 1, 256
JUDGED = ("spearman", "rmse", "r2", "pearson", "bias", "auroc", "recall_percent")
# A cluster with fewer exact rows says nothing about ranking inside it.
MIN_ROWS_FOR_RANKING = 10
RESULT = "result.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """One training run: which recipe, on which parts of which split."""

    recipe: str
    split: str
    seed: int
    epochs: int
    folder: Path
    rows: tuple[Measurement, ...]
    ids: tuple[str, ...]
    parts: np.ndarray
    clusters: np.ndarray

    def part(self, name: str) -> tuple[list[str], list[Measurement]]:
        """Identifiers and measurements of a part."""
        places = np.flatnonzero(self.parts == name)
        return [self.ids[index] for index in places], [self.rows[index] for index in places]


def settings(name: str, seed: int, epochs: int) -> Recipe:
    """A recipe at the width of the comparison; its regressor shrinks as its width does."""
    source = load_recipe("v2.6" if name == FAULTY else name)
    shrink = WIDTH / source.network.dim
    changes = {
        "encoders.antibody": ENCODERS[0],
        "encoders.antigen": ENCODERS[1],
        "encoders.max_residues": MAX_RESIDUES,
        "network.dim": WIDTH,
        "network.heads": HEADS,
        "network.regressor": [max(1, round(width * shrink)) for width in source.network.regressor],
        "training.max_epochs": min(epochs, source.training.max_epochs),
        "training.seed": seed,
        # the release declared accumulation, but did a step after every batch
        **({"training.accumulate": 1} if name == FAULTY else {}),
    }
    made = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    return load_recipe(source.name, made)


def prepared_rows(absci_rows: int | None) -> tuple[list[Measurement], dict[str, int]]:
    """Training rows as every network of the comparison sees them, and counts of them."""
    imported = training_rows()
    counts = dict(imported.counts)
    rows = thinned(imported.measurements, absci_rows)
    if len(rows) < len(imported.measurements):
        counts["absci_her2, drawn"] = absci_rows or 0
    encoders = [load_encoder(name) for name in ENCODERS]
    kept, cut = [], 0
    for row in rows:
        if row.pkd is None:
            continue
        try:
            antibody, _ = prepare_antibody(row.pair.antibody)
        except InputError:
            counts["no antibody domain found"] = counts.get("no antibody domain found", 0) + 1
            continue
        chains, first = fit_molecule(encoders[0], antibody.chains, "antibody", MAX_RESIDUES)
        antigen, second = fit_molecule(
            encoders[1], row.pair.antigen.chains, "antigen", MAX_RESIDUES
        )
        cut += bool(first or second)
        heavy, *light = chains
        pair = Pair(
            Antibody(heavy, light[0] if light else None, antibody.name),
            Antigen(antigen, row.pair.antigen.name),
        )
        kept.append(dataclasses.replace(row, pair=pair))
    counts["used"] = len(kept)
    counts["of them bounds only"] = sum(row.censoring is not Censoring.EXACT for row in kept)
    counts["of them with a molecule cut"] = cut
    return kept, counts


def thinned(rows: Sequence[Measurement], count: int | None) -> list[Measurement]:
    """All rows but those of Absci HER2, of which `count` are drawn; they cost most."""
    her2 = [index for index, row in enumerate(rows) if row.origin.source == "absci_her2"]
    if count is None or count >= len(her2):
        return list(rows)
    drawn = set(np.random.default_rng(0).choice(her2, count, replace=False).tolist())
    left_out = set(her2) - drawn
    return [row for index, row in enumerate(rows) if index not in left_out]


def run(job: Job) -> dict[str, Any]:
    """Train, judge, write the run folder; in a process of its own, so that memory is its own."""
    import torch

    recipe = settings(job.recipe, job.seed, job.epochs)
    shutil.rmtree(job.folder, ignore_errors=True)  # of a run that was broken off
    examples = {name: Examples.from_measurements(job.part(name)[1]) for name in PARTS}
    with (
        open_run_folder(job.folder, recipe, resume=False) as log,
        EmbeddingStore(load_encoder(recipe.encoders.antibody)) as antibodies,
        EmbeddingStore(load_encoder(recipe.encoders.antigen)) as antigens,
    ):
        stores: Any = (antibodies, antigens)
        for part in examples.values():
            antibodies.fill(part.antibodies)
            antigens.fill(part.antigens)
        if job.recipe == FAULTY:
            stores = (
                FaultyEmbeddings.of_antibodies(antibodies),
                FaultyEmbeddings.of_antigens(antigens, MAX_RESIDUES),
            )
        clocks = time.perf_counter(), time.process_time()
        result = fit(
            examples["train"],
            examples["validation"],
            recipe,
            stores,
            RunOptions(device="cpu"),
            folder=job.folder / "checkpoints",
            log=log,
        )
        seconds = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
        network = result.network()
        scores = {name: score(network, part, stores) for name, part in examples.items()}
    about = {"rows": {name: len(part) for name, part in examples.items()}, "split": job.split}
    write_run(job.folder, result, {name: job.part(name) for name in PARTS}, scores, about)
    test = with_groups(prediction_table(*job.part("test"), scores["test"]), job)
    write_predictions(job.folder, test)
    history = history_table(result.history)
    summary = summarise(history)
    line = {
        **named(job),
        **judge(scores["test"].mean, job),
        "recall_sd": summary["recall_std"],
        "largest_recall_jump": summary["max_recall_jump"],
        "stability": summary["status"],
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped": result.stopped,
        "seconds": seconds[0],
        "cpu_seconds": seconds[1],
        "threads": torch.get_num_threads(),
        "peak_memory_mb": peak_memory_mb(),
        "checkpoint_mb": (job.folder / "checkpoints/checkpoint_latest.pth").stat().st_size / 1e6,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "history": history.to_dicts(),
    }
    return plain(line)


def named(job: Job, recipe: str | None = None) -> dict[str, Any]:
    """Which run a line is of."""
    return {"recipe": recipe or job.recipe, "split": job.split, "seed": job.seed}


def plain(value: Any) -> Any:
    """JSON has no NaN: what is not defined is null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_groups(table: pl.DataFrame, job: Job) -> pl.DataFrame:
    """A table of the test rows with their antigen clusters, as `paratope compare` draws them."""
    groups = [str(cluster) for cluster in job.clusters[job.parts == "test"]]
    return table.with_columns(pl.Series("group", groups))


def judge(predicted: np.ndarray, job: Job) -> dict[str, Any]:
    """Metrics of predictions of the test rows, and how varied they are."""
    _, rows = job.part("test")
    exact = np.array([row.censoring is Censoring.EXACT for row in rows])
    codes = [row.censoring for row in rows]
    measured = np.array([row.pkd for row in rows], dtype=float)
    values = compute(EvaluationRows(measured, predicted, censoring=codes), JUDGED)
    clusters = job.clusters[job.parts == "test"]
    pairs = {(row.pair.antibody.chains, row.pair.antigen.chains): n for n, row in enumerate(rows)}
    antigens = [antigen for _, antigen in pairs]
    largest = max(dict.fromkeys(antigens), key=antigens.count)
    once = np.fromiter(pairs.values(), int)
    of_largest = np.array([row for pair, row in pairs.items() if pair[1] == largest])
    inside = []
    for cluster in np.unique(clusters):
        chosen = exact & (clusters == cluster)
        if chosen.sum() >= MIN_ROWS_FOR_RANKING and np.ptp(measured[chosen]) > 0:
            rho = compute(EvaluationRows(measured[chosen], predicted[chosen]), ["spearman"])[
                "spearman"
            ]
            inside.append(0.0 if np.isnan(rho) else rho)
    return {
        "test_rows": len(rows),
        "test_exact_rows": int(exact.sum()),
        "test_clusters": len(np.unique(clusters)),
        **{name: float(value) if np.isfinite(value) else None for name, value in values.items()},
        "spearman_within": float(np.mean(inside)) if inside else None,
        "outside_percent": float(100 * np.mean((predicted < 4) | (predicted > 14))),
        "distinct": distinct(predicted[once]),
        "pairs": len(once),
        "distinct_one_antigen": distinct(predicted[of_largest]),
        "pairs_one_antigen": len(of_largest),
    }


def distinct(values: np.ndarray) -> int:
    """How many values differ, to four decimals."""
    return len(np.unique(np.round(values.astype(float), 4)))


def baselines(job: Job) -> list[dict[str, Any]]:
    """Baselines fitted on the training rows, judged on the test rows, written as tables."""
    ids, rows = job.part("test")
    lines = []
    for name in BASELINE_NAMES:
        predicted = BASELINES[name]().fit(job.part("train")[1]).predict_pkd([r.pair for r in rows])
        table = pl.DataFrame(
            {
                "id": ids,
                "true": [row.pkd for row in rows],
                "pred": predicted,
                "censoring": [row.censoring.name.lower() for row in rows],
            }
        )
        table = with_groups(table, job)
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, job.folder.parent / f"{name}.csv", keep=table.columns)
        lines.append({**named(job, name), **judge(predicted, job)})
    return lines


def slug(name: str) -> str:
    """A recipe's name as that of a folder."""
    return name.replace(",", "").replace(" ", "-")


def release_facts(folder: Path) -> dict[str, Any] | None:
    """The v2.6 release by the same numbers, from its own files; None where they are not."""
    predictions = folder / "test_predictions.csv"
    history = folder / "training_history_v2.6.csv"
    if not (predictions.is_file() and history.is_file()):
        return None
    table, epochs = pl.read_csv(predictions), pl.read_csv(history)
    predicted, measured = table["pred"].to_numpy(), table["true"].to_numpy()
    summary = summarise(epochs)
    return {
        "rows": len(table),
        "epochs": len(epochs),
        "distinct": distinct(predicted),
        "one_antigen_percent": 100 * distinct(predicted) / len(table),
        "recall_sd": summary["recall_std"],
        "largest_recall_jump": summary["max_recall_jump"],
        "outside_percent": float(100 * np.mean((predicted < 4) | (predicted > 14))),
        **compute(EvaluationRows(measured, predicted), ["spearman", "rmse", "r2"]),
    }
