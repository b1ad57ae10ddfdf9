"""Time and size of what a user waits for, each beside its target.

python benchmarks/benchmark_speed.py [--quick] [-o benchmarks/results]

Commands run as a user runs them, each in a process of its own; "cold" is with an empty cache of
embeddings. The variants are 200 single and double mutants of trastuzumab against the whole
extracellular part of HER2. Training is timed on rows of SKEMPI v2 (simulated ones where it is not
there), with the default recipe: once with embeddings from the store, once with every molecule of
every batch encoded anew, all those of a batch together.
"""

import argparse
import csv
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paratope.core.errors import ParatopeError
from paratope.data.datasets import data_root
from paratope.data.datasets.simulated import simulate
from paratope.data.tables import read_table
from paratope.encoders import Encoder, load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.models.batches import BatchPlan, Examples
from paratope.models.bundle import bundled_folder
from paratope.models.recipes import load_recipe
from paratope.molecules.sequences import AMINO_ACIDS
from paratope.training import RunOptions, fit
from paratope.training.table import usable_rows
from results_writer import RESULTS, circumstances, write_results

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "pairs.csv"
EXAMPLE = "trastuzumab-HER2"
SKEMPI = Path("skempi_v2") / "skempi_v2_antibody_antigen.csv"
PACKAGES = ("paratope", "torch", "transformers", "numpy", "polars", "lmdb")
VARIANTS = 200
MEGABYTE = 1e6
Result = dict[str, Any]


def result(
    name: str, values: Sequence[float], unit: str, target: tuple[str, float] | None = None
) -> Result:
    """The median of some values beside its target, such as ``("<", 8)``."""
    median = statistics.median(values)
    measured: Result = {
        "name": name,
        "median": round(median, 4),
        "unit": unit,
        "all": [round(value, 4) for value in values],
    }
    if target is not None:
        sign, limit = target
        reached = {"<": median < limit, "<=": median <= limit, ">=": median >= limit}[sign]
        measured |= {"target": f"{sign} {limit:g}", "reached": reached}
    return measured


# commands


def run_command(arguments: Sequence[str | Path], cache: Path) -> float:
    """Seconds of one run of ``paratope``; the benchmark ends if it fails."""
    program = Path(sys.executable).with_name("paratope")
    command = [str(program), *map(str, arguments)]
    environment = {**os.environ, "PARATOPE_CACHE": str(cache)}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"paratope {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return seconds


def time_help(runs: int) -> Iterable[Result]:
    with tempfile.TemporaryDirectory() as cache:
        seconds = [run_command(["--help"], Path(cache)) for _ in range(runs)]
    yield result("`paratope --help`", seconds, "s", ("<", 0.5))


def time_one_pair(model: str, runs: int) -> Iterable[Result]:
    row = example()
    chains = [part for key in ("heavy", "light", "antigen") for part in (f"--{key}", row[key])]
    seconds = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as cache:
            seconds.append(run_command(["predict", *chains, "--model", model], Path(cache)))
    name = f"`paratope predict --model {model}`, one pair, cold"
    yield result(name, seconds, "s", ("<", 2 if model == "default" else 8))


def time_variants(model: str, runs: int) -> Iterable[Result]:
    cold, again = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            table, output = folder / "variants.csv", folder / "predictions.csv"
            write_variants(table)
            arguments = ["predict", table, "--model", model, "-o", output]
            cold.append(run_command(arguments, folder / "cache"))
            again.append(run_command(arguments, folder / "cache"))
            with output.open(encoding="utf-8", newline="") as file:
                predicted = sum(1 for row in csv.DictReader(file) if row["pkd"])
            if predicted != VARIANTS:
                sys.exit(f"{predicted} of {VARIANTS} variants were predicted")
    name = f"`paratope predict --model {model}`, {VARIANTS} pairs of one antigen"
    yield result(f"{name}, cold", cold, "s", ("<", 2 if model == "default" else 30))
    yield result(f"{name}, again", again, "s")


def example() -> dict[str, str]:
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        return next(row for row in csv.DictReader(file) if row["id"] == EXAMPLE)


def write_variants(path: Path) -> None:
    """Distinct antibodies with one or two mutations anywhere in their variable domains."""
    row = example()
    rng = np.random.default_rng(0)
    variants: dict[tuple[str, str], None] = {}
    while len(variants) < VARIANTS:
        chains = {"heavy": list(row["heavy"]), "light": list(row["light"])}
        for _ in range(rng.integers(1, 3)):
            letters = chains[str(rng.choice(["heavy", "light"]))]
            position = int(rng.integers(len(letters)))
            letters[position] = str(rng.choice([x for x in AMINO_ACIDS if x != letters[position]]))
        variants["".join(chains["heavy"]), "".join(chains["light"])] = None
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "heavy", "light", "antigen"])
        for number, (heavy, light) in enumerate(variants, start=1):
            writer.writerow([f"variant-{number}", heavy, light, row["antigen"]])


# training


class Timed:
    """Embeddings of a store, and the seconds it took to read them."""

    def __init__(self, store: EmbeddingStore) -> None:
        self.store, self.seconds = store, 0.0

    def get(self, molecule: tuple[str, ...]) -> np.ndarray:
        """One molecule's embedding, read."""
        start = time.perf_counter()
        rows = self.store.get(molecule)
        self.seconds += time.perf_counter() - start
        return rows


class Reencoded:
    """Embeddings made anew for every batch, and the seconds it took: nothing is kept.

    All molecules of a batch are encoded in one call, so that the encoder can batch them.
    """

    def __init__(self, encoder: Encoder, batches: Iterable[list[tuple[str, ...]]]) -> None:
        self.encoder, self.batches, self.seconds = encoder, iter(batches), 0.0
        self.ready: dict[tuple[str, ...], np.ndarray] = {}

    def get(self, molecule: tuple[str, ...]) -> np.ndarray:
        """One molecule's embedding, of the batch in work."""
        if not self.ready:
            molecules = next(self.batches)
            start = time.perf_counter()
            self.ready = dict(zip(molecules, self.encoder.encode(molecules), strict=True))
            self.seconds += time.perf_counter() - start
        return self.ready.pop(molecule)


def training_examples(rows: int, encoders: tuple[Encoder, Encoder]) -> tuple[Examples, str]:
    """Rows spread evenly over the table, and what they are."""
    path = data_root() / SKEMPI
    if path.is_file():
        table = read_table(path, require="measured")
        measurements = usable_rows(table, *encoders, max_residues=0).cut
        source = "SKEMPI v2"
    else:
        measurements = simulate(antibodies=rows, antigens=1).measurements
        source = "simulated"
    chosen = np.unique(np.linspace(0, len(measurements) - 1, rows).round().astype(int))
    return Examples.from_measurements([measurements[row] for row in chosen]), source


def timed_epochs(
    examples: Examples, recipe: Any, sources: tuple[Any, Any], folder: Path
) -> dict[str, list[float]]:
    """Seconds of every epoch but the first, whole and in the sources of embeddings."""
    marks: list[tuple[float, float]] = []

    def mark(_record: object = None) -> None:
        marks.append((time.perf_counter(), sum(source.seconds for source in sources)))

    fit(examples, None, recipe, sources, RunOptions(on_epoch=mark), folder=folder)
    whole, embeddings = np.diff(np.array(marks), axis=0).T.tolist()
    return {"epoch": whole, "embeddings": embeddings}


def time_training(rows: int, epochs: int) -> Iterable[Result]:
    recipe = load_recipe("default", [f"training.max_epochs={epochs + 1}", "training.patience=0"])
    names = (recipe.encoders.antibody, recipe.encoders.antigen)
    encoders = (load_encoder(names[0]), load_encoder(names[1]))
    examples, source = training_examples(rows, encoders)
    training = recipe.training
    plan = BatchPlan(
        examples, training.batch_size, training.seed, training.balance, training.balance_power
    )
    batches = [batch for epoch in range(epochs + 1) for batch in plan.batches(epoch)]
    sides = (
        (examples.antibodies, examples.antibody_index),
        (examples.antigens, examples.antigen_index),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        anew = []
        for encoder, (molecules, index) in zip(encoders, sides, strict=True):
            used = [[molecules[number] for number in np.unique(index[batch])] for batch in batches]
            anew.append(Reencoded(encoder, [[molecules[0]], *used]))  # the first tells its size
        with (
            EmbeddingStore(encoders[0], folder) as left,
            EmbeddingStore(encoders[1], folder) as right,
        ):
            for store, (molecules, _) in zip((left, right), sides, strict=True):
                store.fill(molecules)
            cached = timed_epochs(examples, recipe, (Timed(left), Timed(right)), folder / "cached")
        encoded = timed_epochs(examples, recipe, (anew[0], anew[1]), folder / "encoded")
        checkpoint = (folder / "cached" / "checkpoint_latest.pth").stat().st_size
    yield from training_results(cached, encoded, f"{len(examples)} rows ({source})", names)
    yield result("training checkpoint, default recipe", [checkpoint / MEGABYTE], "MB", ("<", 50))


def training_results(
    cached: dict[str, list[float]], encoded: dict[str, list[float]], rows: str, names: Sequence[str]
) -> Iterable[Result]:
    by = " and ".join(names)
    yield result(f"training epoch of {rows}, cached embeddings", cached["epoch"], "s")
    yield result(f"training epoch of {rows}, re-encoding with {by}", encoded["epoch"], "s")
    yield result(
        "training: re-encoding over cached, per epoch",
        [a / b for a, b in zip(encoded["epoch"], cached["epoch"], strict=True)],
        "times",
        (">=", 20),
    )
    shares = zip(encoded["embeddings"], encoded["epoch"], strict=True)
    yield result(
        "encoders' share of an epoch that re-encodes", [100 * a / b for a, b in shares], "%"
    )
    shares = zip(cached["embeddings"], cached["epoch"], strict=True)
    yield result(
        "reading's share of an epoch from the store", [100 * a / b for a, b in shares], "%"
    )
    pairs = zip(encoded["embeddings"], cached["embeddings"], strict=True)
    yield result("encoding over reading embeddings, per epoch", [a / b for a, b in pairs], "times")


# sizes


def size_of_model() -> Iterable[Result]:
    folder = bundled_folder("default")
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        print("the default model is not in this checkout; its size is left out", file=sys.stderr)
        return
    size = sum(path.stat().st_size for path in files) / MEGABYTE
    yield result("default model, all its files", [size], "MB", ("<=", 20))


# report


def page(results: Sequence[Result]) -> list[str]:
    missed = [result for result in results if result.get("reached") is False]
    judged = [result for result in results if "reached" in result]
    lines = [
        "# Speed and size",
        "",
        f"Medians; {len(judged) - len(missed)} of {len(judged)} targets reached.",
        "",
        "| what | median | target | reached | runs | lowest | highest |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        reached = {True: "yes", False: "**no**", None: ""}[result.get("reached")]
        lowest, highest = (f"{limit:.3g}" for limit in (min(result["all"]), max(result["all"])))
        cells = (
            result["name"],
            f"{result['median']:.3g} {result['unit']}",
            result.get("target", ""),
            reached,
        )
        lines.append(f"| {' | '.join(cells)} | {len(result['all'])} | {lowest} | {highest} |")
    return lines


def run_all(quick: bool) -> list[Result]:
    steps: list[Callable[[], Iterable[Result]]] = [
        lambda: time_help(3 if quick else 7),
        *(
            functools.partial(timed, model, 1 if quick else 3)
            for model in ("default", "network")
            for timed in (time_one_pair, time_variants)
        ),
        lambda: time_training(64 if quick else 256, 1 if quick else 3),
        size_of_model,
    ]
    results = []
    for step in steps:
        for result in step():
            results.append(result)
            target = f", target {result['target']}" if "target" in result else ""
            verdict = {True: ": reached", False: ": NOT reached", None: ""}[result.get("reached")]
            print(
                f"{result['name']}: {result['median']:.3g} {result['unit']}{target}{verdict}",
                file=sys.stderr,
                flush=True,
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and size of what a user waits for.")
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all?")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    command = "python benchmarks/benchmark_speed.py"
    command += " --quick" * asked.quick
    record = circumstances(command, PACKAGES)
    try:
        results = run_all(asked.quick)
    except ParatopeError as error:
        sys.exit(f"Error: {error}")
    record |= {"quick": asked.quick, "results": results}
    lines = page(results)
    write_results("speed", record, lines, asked.output)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
