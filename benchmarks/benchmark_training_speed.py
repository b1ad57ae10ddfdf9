"""Speed and size of training recipe v2.6 at full width from cached embeddings.

python benchmarks/benchmark_training_speed.py [--threads 2] [--pairs 192] [-o benchmarks/results]

The network is the recipe's own (1024 wide). Embeddings of the shapes of its encoders (1024 numbers
a residue of an antibody, 2560 of an antigen) are random, as what they hold costs no time; they are
read from an embedding store on disk. Every pair has an antibody and an antigen of its own, so that
nothing is shared inside a batch: 220 to 240 residues, and 100 to 512. The recipe's training loop
runs one epoch over the pairs in batches of 32, four to a step; all steps but the first are timed.
Floating-point operations are those that torch's counter finds in the network, forwards and
backwards, padding included; the matrix-product peak is measured before and after.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paratope.core.progress import peak_memory_mb
from paratope.data.datasets.simulated import simulate
from paratope.data.measurements import Measurement
from paratope.encoders import BaseEncoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.models.batches import BatchPlan, Examples, PairBatch
from paratope.models.bundle import make_bundle, write_bundle
from paratope.models.calibration import Calibration
from paratope.models.ensembling import environment
from paratope.models.model import Scored
from paratope.models.network import Network
from paratope.models.recipes import NetworkConfig, Recipe, load_recipe
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from paratope.training import RunOptions, fit
from paratope.training.checkpoints import LATEST
from paratope.training.loggers import RunLog
from paratope.training.runs import held_out
from results_writer import RESULTS, circumstances, write_results

ANTIBODY_DIM, ANTIGEN_DIM = 1024, 2560
EPOCH_PAIRS = 1000
RELEASE_CHECKPOINT_GB = 16.3
PACKAGES = ("paratope", "torch", "numpy", "lmdb")
MATRIX = 4096
LETTERS = np.array(list(AMINO_ACIDS))


class RandomEncoder(BaseEncoder):
    """Vectors of a wanted width that stand for those of an encoder of that width."""

    def __init__(self, dim: int) -> None:
        self.name = f"random-{dim}@1"
        self.dim = dim
        self._random = np.random.default_rng(dim)

    def _encode_units(self, units: list[tuple[str, ...]]) -> list[np.ndarray]:
        shapes = [(sum(map(len, unit)), self.dim) for unit in units]
        return [self._random.standard_normal(shape, dtype=np.float32) for shape in shapes]


class Clock(RunLog):
    """When each phase of the training loop began, and what was said of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, str, dict[str, Any]]] = []

    def event(self, phase: str, **values: object) -> None:
        """Note the time."""
        self.seen.append((time.perf_counter(), phase, values))

    def times(self, phase: str) -> list[float]:
        """When a phase was reached."""
        return [moment for moment, name, _ in self.seen if name == phase]


def simulated(pairs: int) -> list[Measurement]:
    """Measurements of random sequences with the lengths of variable domains and of antigens."""
    rng = np.random.default_rng(0)

    def chain(low: int, high: int) -> str:
        return "".join(rng.choice(LETTERS, int(rng.integers(low, high + 1))))

    rows = [Pair(Antibody(chain(220, 240)), Antigen((chain(100, 512),))) for _ in range(pairs)]
    values = rng.normal(8, 1.5, pairs)
    return [Measurement(pair, float(value)) for pair, value in zip(rows, values, strict=True)]


def matrix_peak(seconds: float = 8.0) -> float:
    """Best rate of a product of two large float32 matrices, in GFLOP/s."""
    left, right = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    out = torch.empty(MATRIX, MATRIX)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX**3 / best / 1e9


def blank_batch(examples: Examples, rows: np.ndarray) -> PairBatch:
    """A batch with the shapes of the real one and no memory behind them."""
    antibody, antigen = (length[rows] for length in examples.lengths())
    count = len(rows)
    index = torch.arange(count)
    labels = {name: torch.zeros(count, dtype=torch.long) for name in ("censoring", "assay", "row")}
    sides: dict[str, torch.Tensor] = {}
    for side, length, dim in (
        ("antibody", antibody, ANTIBODY_DIM),
        ("antigen", antigen, ANTIGEN_DIM),
    ):
        longest = int(length.max())
        sides[side] = torch.zeros(count, longest, dim)
        sides[f"{side}_mask"] = torch.zeros(count, longest, dtype=torch.bool)
        sides[f"{side}_index"] = index
    return PairBatch(**sides, pkd=torch.zeros(count), **labels)


def operations(recipe: Recipe, examples: Examples, batches: Iterable[np.ndarray]) -> float:
    """Floating-point operations of the network on some batches, forwards and backwards."""
    config = NetworkConfig(
        antibody_dim=ANTIBODY_DIM, antigen_dim=ANTIGEN_DIM, **recipe.network.model_dump()
    )
    total = 0
    # shapes alone: nothing is computed, and the products inside attention are there to be counted
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        network = Network(config)
        for rows in batches:
            with FlopCounterMode(display=False) as counter:
                output = network(blank_batch(examples, rows))
                sum(tensor.sum() for tensor in output).backward()
            total += counter.get_total_flops()
    return float(total)


def padding_share(examples: Examples, batches: Sequence[np.ndarray]) -> float:
    """Share of the residues' places in a batch that hold none."""
    places = residues = 0
    for rows in batches:
        for length in examples.lengths():
            places += len(rows) * int(length[rows].max())
            residues += int(length[rows].sum())
    return 1 - residues / places


def measure(recipe: Recipe, pairs: int, folder: Path) -> dict[str, Any]:
    """Train one epoch; seconds of its steps, checkpoint, sizes, memory."""
    examples = Examples.from_measurements(simulated(pairs))
    settings = recipe.training
    plan = BatchPlan(examples, settings.batch_size, settings.seed, settings.balance)
    batches = plan.batches(0)
    timed = batches[settings.accumulate :]
    with (
        EmbeddingStore(RandomEncoder(ANTIBODY_DIM), folder) as antibodies,
        EmbeddingStore(RandomEncoder(ANTIGEN_DIM), folder) as antigens,
    ):
        antibodies.fill(examples.antibodies)
        antigens.fill(examples.antigens)
    # opened anew: what was written is not held any more
    clock = Clock()
    with (
        EmbeddingStore(RandomEncoder(ANTIBODY_DIM), folder) as antibodies,
        EmbeddingStore(RandomEncoder(ANTIGEN_DIM), folder) as antigens,
    ):
        run = folder / "run"
        result = fit(
            examples,
            None,
            recipe,
            (antibodies, antigens),
            RunOptions(device="cpu"),
            folder=run,
            log=clock,
        )
    memory = peak_memory_mb()
    store = sum(path.stat().st_blocks for path in folder.rglob("data.mdb")) * 512 / 1e9
    steps = clock.times("step")
    seconds = steps[-1] - steps[0]
    count = sum(len(rows) for rows in timed)
    saved = [values["seconds"] for _, phase, values in clock.seen if phase == "saved"]
    flops = operations(recipe, examples, timed)
    epoch = seconds * EPOCH_PAIRS / count
    network = result.network()
    return {
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "pairs_timed": count,
        "seconds_timed": seconds,
        "epoch_minutes": epoch / 60,
        "gflop_per_pair": flops / count / 1e9,
        "gflop_per_second": flops / seconds / 1e9,
        "padding_percent": 100 * padding_share(examples, timed),
        "peak_memory_gb": memory / 1e3,
        "store_gb": store,
        "checkpoint_gb": (run / LATEST).stat().st_size / 1e9,
        "checkpoint_seconds": statistics.median(saved),
        "checkpoint_percent": 100 * statistics.median(saved) / (epoch + statistics.median(saved)),
        "bundle_mb": bundle_megabytes(network, recipe, folder / "bundle"),
    }


def bundle_megabytes(network: Network, recipe: Recipe, folder: Path) -> float:
    """Size of the model folder that a run of this network ends in."""
    rows = simulate(antibodies=32, antigens=2, seed=0).measurements
    known = ApplicabilityDomain.of_pairs(row.pair for row in rows)
    means = np.random.default_rng(1).normal(8, 1, (3, len(rows))).astype(np.float32)
    bundle = make_bundle(
        [network],
        {"antibody": "igt5", "antigen": "esm2-3b", "max_residues": 512},
        recipe.model_dump(mode="json"),
        Calibration(held_out(rows, Scored(means[0], np.exp(0.5 * means[1]), means[2]), known)),
        known,
        metrics={},
        environment=environment(),
        card="",
    )
    written = write_bundle(bundle, folder)
    return sum(path.stat().st_size for path in written.iterdir()) / 1e6


def page(costs: dict[str, Any], recipe: Recipe) -> list[str]:
    """The numbers beside their targets."""
    size = RELEASE_CHECKPOINT_GB / 25
    training = recipe.training
    text = f"""
        Recipe {recipe.name} from cached embeddings: {costs["parameters"] / 1e6:.1f} million trained
        parameters, batches of {training.batch_size} pairs, {training.accumulate} to a step,
        {costs["threads"]} threads. Embeddings are random numbers of the encoders' shapes
        ({ANTIBODY_DIM} and {ANTIGEN_DIM} numbers a residue), read from a store on disk; every pair
        has its own antibody (220 to 240 residues) and antigen (100 to 512).
    """
    lines = [
        "# Training at full width",
        "",
        one_line(text),
        "",
        "| | measured | target |",
        "|---|---|---|",
    ]
    share, seconds = costs["checkpoint_percent"], costs["checkpoint_seconds"]
    rows = (
        (
            f"an epoch of {EPOCH_PAIRS:,} pairs, extrapolated from {costs['pairs_timed']} "
            f"({costs['seconds_timed']:.0f} s)",
            f"{costs['epoch_minutes']:.1f} min",
            "≤ 12 min",
            costs["epoch_minutes"] <= 12,
        ),
        (
            "share of the matrix-product peak",
            f"{costs['share_percent']:.0f} %",
            "≥ 60 %",
            costs["share_percent"] >= 60,
        ),
        (
            "peak memory",
            f"{costs['peak_memory_gb']:.2f} GB",
            "< 6 GB",
            costs["peak_memory_gb"] < 6,
        ),
        (
            "checkpoint with optimiser",
            f"{costs['checkpoint_gb']:.3f} GB",
            f"< {size:.3f} GB (1/25 of {RELEASE_CHECKPOINT_GB} GB)",
            costs["checkpoint_gb"] < size,
        ),
        ("model folder", f"{costs['bundle_mb']:.0f} MB", "< 250 MB", costs["bundle_mb"] < 250),
        (
            "checkpoint writing, one an epoch",
            f"{share:.2f} % of the time ({seconds:.1f} s)",
            "< 5 %",
            costs["checkpoint_percent"] < 5,
        ),
    )
    lines += [
        f"| {what} | {value} | {target}: {'reached' if reached else 'missed'} |"
        for what, value, target, reached in rows
    ]
    before, after = costs["peaks"]
    text = f"""
        {costs["gflop_per_pair"]:.1f} GFLOP a pair, {costs["gflop_per_second"]:.0f} GFLOP/s in
        training; peak {costs["peak_gflop_per_second"]:.0f} GFLOP/s (float32 product of two matrices
        of {MATRIX} × {MATRIX}, the better of before, {before:.0f}, and after, {after:.0f}).
        {costs["padding_percent"]:.1f} % of the places in a batch are padding. Peak memory counts
        the pages of the store that were read, {costs["store_gb"]:.2f} GB at most, which the system
        takes back when it needs them. Load of the machine after: {costs["load_average_after"]}.
    """
    return [*lines, "", one_line(text)]


def one_line(text: str) -> str:
    """Text without its line breaks."""
    return " ".join(text.split())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=192, help="the first 128 warm up")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record = circumstances("make benchmark-training-speed", PACKAGES)
    recipe = load_recipe("v2.6", ["training.max_epochs=1", *options.set])
    if options.pairs <= recipe.training.batch_size * recipe.training.accumulate:
        parser.error("the first step only warms up: give --pairs more rows than a step takes")
    before = matrix_peak()
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(recipe, options.pairs, Path(folder))
    peaks = [before, matrix_peak()]
    peak = max(peaks)
    costs |= {
        "threads": options.threads,
        "peaks": peaks,
        "peak_gflop_per_second": peak,
        "share_percent": 100 * costs["gflop_per_second"] / peak,
        "load_average_after": round(os.getloadavg()[0], 2),
    }
    record |= {"settings": {"pairs": options.pairs, "set": options.set}, **costs}
    write_results("training_speed", record, page(costs, recipe), options.output)
    print("\n".join(page(costs, recipe)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
