"""How fast a library is screened, what a screen misses, and what a user's own loop would take.

python benchmarks/benchmark_screen.py [--parts million growth loop recall pairs interaction …]

* million: 1,000,000 distinct VH variants (1 to 8 changes) of one parent by a campaign's model of
  384 rows, by the command, from FASTA to ``hits.csv``, nothing encoded before;
* growth: the same of 10,000 and 100,000;
* loop: the loop a user would write (AntiBERTy in transformers, mean embeddings, batches of 32 in
  the library's order, a Gaussian process of scikit-learn), on a sample, extrapolated;
* recall: of the full model's true top 1,000 of 20,000, for campaigns of four landscapes, every
  variant scored in full; antibodies that the random sample scores in full do not count;
* pairs: antibodies × antigens by the default model, against encoding each pair anew, as the v2.6
  release did: here its antibody alone, at the loop's rate; its antigen encoder is not at hand;
* interaction: what runs for each pair once molecules have been read, in the default model, and in
  the bundled ensemble of networks, its members together and one alone;
* ray: the million by two workers of one thread on Ray, against this machine's own engine of
  two threads, one after the other, nothing encoded before;
* suggest, scan: a plate of 96 generated candidates, and all mutants of one Fv, nothing encoded.

Each part keeps what the others wrote.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.campaigns.adaptation import adapt
from paratope.campaigns.campaign_model.fast_scoring import FastScorer
from paratope.data.datasets import data_root, load_dataset
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen
from paratope.screening import funnel
from paratope.screening.scoring import CampaignScreen, GeneralScreen
from results_writer import RESULTS, circumstances, write_results

TOPIC = "screen"
PACKAGES = ("paratope", "torch", "transformers", "numpy", "scikit-learn", "polars")
LANDSCAPES = ("aayl49", "1n8z", "2fjg", "3gbn_h1")
ROWS, MILLION, TOP = 384, 1_000_000, 1000
GROWTH = (10_000, 100_000)
RAY_ROWS, RAY_TOP = MILLION, TOP
LOOP_ROWS = 512
# What is assumed of a GPU: half-precision products, and the share of them that an encoder reaches.
GPU_TFLOPS, GPU_SHARE = 100, 0.3
# A library of which every variant is scored in full, and its top.
RECALL_ROWS, RECALL_TOP, AT_ONCE = 20_000, 1000, 250
LETTERS = np.frombuffer(AMINO_ACIDS.encode(), np.uint8)


def main() -> None:
    """Run some parts, and write the table of all that are known."""
    parts: dict[str, Callable[[Path], Any]] = {
        "million": million,
        "growth": growth,
        "loop": loop,
        "recall": recall,
        "pairs": pairs,
        "interaction": interaction,
        "ray": ray,
        "suggest": suggest,
        "scan": scan,
    }
    parser = argparse.ArgumentParser(description="How fast a library is screened.")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=LANDSCAPES)
    parser.add_argument("--work", type=Path, help="folder to keep models and libraries in")
    chosen = parser.parse_args()
    record = circumstances("python benchmarks/benchmark_screen.py", PACKAGES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in chosen.parts:
            load = round(os.getloadavg()[0], 2)
            run = parts[name]
            answer = recall(folder, chosen.landscapes) if name == "recall" else run(folder)
            results = {**measured(), name: {"load_before": load, **answer}}
            print(name, json.dumps(results[name]), flush=True)
            write_results(TOPIC, {**record, "results": results}, lines(results))


def measured() -> dict[str, Any]:
    """What is known by now."""
    path = RESULTS / f"{TOPIC}.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


def campaign(folder: Path, name: str = LANDSCAPES[0]) -> Path:
    """The model of a campaign of `ROWS` variants of a landscape, drawn at random."""
    target = folder / f"model-{name}"
    if not (target / "config.json").exists():
        rows = load_dataset(f"abbibench_{name}", data_root()).measurements
        order = np.random.default_rng(0).permutation(len(rows))[:ROWS]
        adapt([rows[index] for index in order], target, report=False)
    return target


def parent_of(model: Path) -> dict[str, Any]:
    """The campaign's first parent."""
    return json.loads((model / "campaign.json").read_text())["parents"][0]


def variants(chain: str, count: int, seed: int) -> list[str]:
    """So many distinct variants of a chain, with 1 to 8 changes anywhere."""
    random = np.random.default_rng(seed)
    parent = np.frombuffer(chain.encode(), np.uint8)
    made: dict[str, None] = {}
    while len(made) < count:
        rows = np.tile(parent, (50_000, 1))
        changes = random.integers(1, 9, len(rows))
        for step in range(8):
            some = changes > step
            places = random.integers(0, len(parent), int(some.sum()))
            rows[some, places] = LETTERS[random.integers(0, 20, int(some.sum()))]
        made.update(dict.fromkeys(row.tobytes().decode() for row in rows))
        made.pop(chain, None)
    return list(made)[:count]


def library(folder: Path, model: Path, count: int) -> Path:
    """A FASTA file of variants of the campaign's heavy chain."""
    path = folder / f"library-{count}.fasta"
    if not path.exists():
        chains = variants(parent_of(model)["heavy"], count, seed=1)
        text = "".join(f">v{number}\n{chain}\n" for number, chain in enumerate(chains))
        path.write_text(text)
    return path


def timed(folder: Path, command: Sequence[object]) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of ``paratope …``, with an empty cache."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        began, environment = time.perf_counter(), {**os.environ, "PARATOPE_CACHE": cache}
        words = [sys.executable, "-m", "paratope", *map(str, command)]
        none = subprocess.DEVNULL
        process = subprocess.Popen(words, env=environment, stdout=none, stderr=none)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 2),
    }


def screened(folder: Path, count: int, top: int = TOP, engine: str = "local") -> dict[str, Any]:
    """One screen by the command, with what it says of itself."""
    model = campaign(folder)
    with tempfile.TemporaryDirectory(dir=folder) as hits:
        command = ["screen", library(folder, model, count), "--model", model, "--top", top]
        command += ["--engine", engine]
        answer: dict[str, Any] = {"rows": count, **timed(folder, [*command, "-o", f"{hits}/hits"])}
        manifest = json.loads((Path(hits) / "hits" / "manifest.json").read_text())["finished"]
        log = pl.read_csv(Path(hits) / "hits" / "throughput.csv")
    by_stage = log.group_by("stage").agg(pl.col("seconds").sum(), pl.col("rows").sum())
    for stage, seconds, rows in by_stage.iter_rows():
        answer[stage] = {"rows": rows, "seconds": round(seconds, 1)}
    (answer["recall"],) = manifest["recall"].values()
    return answer


def million(folder: Path) -> dict[str, Any]:
    """The million."""
    return screened(folder, MILLION)


def growth(folder: Path) -> dict[str, Any]:
    """Smaller libraries."""
    return {str(count): screened(folder, count) for count in GROWTH}


def ray(folder: Path) -> dict[str, Any]:
    """Both engines on the processors of this machine."""
    answer: dict[str, Any] = {"rows": RAY_ROWS, "top": RAY_TOP}
    for engine in ("local", "ray=2"):
        load = round(os.getloadavg()[0], 2)
        answer[engine] = {"load_before": load, **screened(folder, RAY_ROWS, RAY_TOP, engine)}
    return answer


def loop(folder: Path) -> dict[str, Any]:
    """The loop a user would write, on a sample of the same library."""
    import torch
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    from transformers import BertConfig, BertModel

    from paratope.encoders.antiberty import AntibertyEncoder

    encoder = AntibertyEncoder("cpu")
    source = encoder._folder
    config = BertConfig(**json.loads((source / "config.json").read_text()))
    model = BertModel(config, add_pooling_layer=False).eval()
    weights = torch.load(source / "pytorch_model.bin", weights_only=True, map_location="cpu")
    own = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    model.load_state_dict(own, strict=False)

    def embedded(chains: Sequence[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(chains), 32):
            ids = [encoder.tokenize((chain,)).ids for chain in chains[start : start + 32]]
            longest = max(map(len, ids))
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
            batch = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
            with torch.inference_mode():
                hidden = model(input_ids=batch, attention_mask=mask).last_hidden_state
            parts.append(((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy())
        return np.concatenate(parts)

    folder_of_model = campaign(folder)
    document = json.loads((folder_of_model / "campaign.json").read_text())
    train = embedded([pair["heavy"] for pair in document["pairs"]])
    process = GaussianProcessRegressor(RBF(10.0) + WhiteKernel(0.1), normalize_y=True)
    process.fit(train, np.array(document["values"]))
    text = library(folder, folder_of_model, MILLION).read_text()[: 200 * LOOP_ROWS]
    sample = text.split("\n")[1::2][:LOOP_ROWS]
    embedded(sample[:64])
    began = time.perf_counter()
    process.predict(embedded(sample))
    rate = len(sample) / (time.perf_counter() - began)
    return {
        "rows": len(sample),
        "rows_per_second": round(rate, 2),
        "million_hours": round(MILLION / rate / 3600, 2),
    }


def recall(folder: Path, landscapes: Sequence[str] = LANDSCAPES) -> dict[str, Any]:
    """What the funnel holds of the full model's true top, in each landscape's campaign.

    Landscapes that another run asked in the same way are kept.
    """
    answer: dict[str, Any] = {"rows": RECALL_ROWS, "top": RECALL_TOP}
    asked: dict[str, Any] = {}
    for name in landscapes:
        model_folder = campaign(folder, name)
        parent = parent_of(model_folder)
        chains = [(chain, parent["light"]) for chain in variants(parent["heavy"], RECALL_ROWS, 2)]
        with Predictor.load(model_folder) as predictor:
            model = predictor.campaign
            antigen = model.default_antigen or model.campaign.antigens[0]
            fast = model.to_label(FastScorer(model.fast, antigen).score(chains).mean)
            screen = CampaignScreen(model, [antigen], 0.9)
            blocks = (chains[start : start + AT_ONCE] for start in range(0, len(chains), AT_ONCE))
            full = np.concatenate([screen.full(block).value[:, 0] for block in blocks])
        asked[name] = funnelled(fast, full)
        print(name, asked[name], flush=True)
    known = measured().get("recall", {})
    same = all(known.get(key) == value for key, value in answer.items())
    answer["landscapes"] = (known["landscapes"] if same else {}) | asked
    of_all = [each["recall"] for each in answer["landscapes"].values()]
    return answer | {"mean": round(float(np.mean(of_all)), 4)}


def funnelled(fast: np.ndarray, full: np.ndarray) -> dict[str, Any]:
    """The funnel on known scores."""
    count = len(fast)
    ranking = funnel.FastRanking(count, float(fast.min()), float(fast.max()))
    ranking.add(np.arange(count), fast)
    sample = funnel.sampled(np.arange(count), RECALL_TOP, 0)
    kept = funnel.first_kept(RECALL_TOP, count)
    while True:
        rows = np.union1d(ranking.rows[:kept], sample)
        known = funnel.Known(rows, fast[rows], full[rows])
        following = funnel.next_kept(ranking, known, kept, RECALL_TOP, 0.95)
        if following == kept:
            break
        kept = following
    said = funnel.assess(ranking, known, kept, RECALL_TOP, sample)
    best = np.argsort(-full)[:RECALL_TOP]
    return {
        "kept": kept,
        "recall": round(float(np.isin(best, ranking.rows[:kept]).mean()), 4),
        "said": round(said.estimate, 4),
        "correlation": round(float(np.corrcoef(fast, full)[0, 1]), 4),
    }


def pairs(folder: Path, antibodies: int = 2000, antigens: int = 100) -> dict[str, Any]:
    """Antibodies × antigens by the default model."""
    model = campaign(folder)
    parent = parent_of(model)
    path = folder / f"library-{antibodies}.fasta"
    chains = variants(parent["heavy"], antibodies, 3)
    path.write_text("".join(f">v{n}\n{chain}\n" for n, chain in enumerate(chains)))
    random, panel = np.random.default_rng(0), folder / "panel.fasta"
    texts = ["".join(random.choice(list(AMINO_ACIDS), 200)) for _ in range(antigens)]
    panel.write_text("".join(f">a{n}\n{text}\n" for n, text in enumerate(texts)))
    with tempfile.TemporaryDirectory(dir=folder) as hits:
        command = ["screen", path, "--antigen", panel, "--top", 10, "-o", f"{hits}/hits"]
        answer = timed(folder, command)
    return {"pairs": antibodies * antigens, **answer}


def interaction(folder: Path, antibodies: int = 200, antigens: int = 20) -> dict[str, Any]:
    """Pairs a second of the bundled models, molecules read before, median of three."""
    random = np.random.default_rng(0)
    parent = parent_of(campaign(folder))
    heavy = [(chain, parent["light"]) for chain in variants(parent["heavy"], antibodies, 4)]
    panel = [("".join(random.choice(list(AMINO_ACIDS), 200)),) for _ in range(antigens)]
    answer: dict[str, Any] = {"pairs": antibodies * antigens}

    def rate(run: Callable[[], Any]) -> float:
        rates = []
        for _ in range(3):
            began = time.perf_counter()
            run()
            rates.append(antibodies * antigens / (time.perf_counter() - began))
        return round(float(np.median(rates)), 1)

    with Predictor.load("default") as predictor:
        screen = GeneralScreen(predictor, [Antigen(chains) for chains in panel], 0.9)
        screen.full(heavy)
        answer["default"] = rate(lambda: screen.full(heavy))
    with Predictor.load("network") as predictor:
        ensemble: Any = predictor.model
        index = np.divmod(np.arange(antibodies * antigens), antigens)
        for members in (len(ensemble.networks), 1):
            model = dataclasses.replace(ensemble, networks=ensemble.networks[:members])
            molecules = [tuple(filter(None, chains)) for chains in heavy]
            model.antibody_store.fill(molecules)
            model.antigen_store.fill(panel)
            states = model.antibody_state(molecules), model.antigen_state(panel)
            answer[f"{members} networks"] = rate(lambda m=model, s=states: m.score(*s, *index))
            latent = states[0].latents[0]
            answer["latent_kb"] = round(latent[0].numel() * latent.element_size() / 1024, 1)
    return answer


def suggest(folder: Path) -> dict[str, Any]:
    """A plate of 96 of generated candidates, campaign of 96 rows."""
    rows = load_dataset(f"abbibench_{LANDSCAPES[0]}", data_root()).measurements
    order = np.random.default_rng(1).permutation(len(rows))[:96]
    target = folder / "model-96"
    if not (target / "config.json").exists():
        adapt([rows[index] for index in order], target, report=False)
    output = folder / "next.csv"
    return timed(folder, ["suggest", target, "--batch", 96, "-o", output])


def scan(folder: Path) -> dict[str, Any]:
    """All single mutants of one Fv by a campaign's model."""
    model = campaign(folder, "1n8z")
    parent = parent_of(model)
    antibody = Antibody(parent["heavy"], parent["light"])
    with tempfile.TemporaryDirectory(dir=folder) as output:
        chains = ["--heavy", antibody.heavy, "--light", antibody.light]
        command = ["scan", *chains, "--model", model, "-o", f"{output}/scan"]
        answer = timed(folder, command)
    return {"mutants": 19 * sum(map(len, antibody.chains)), **answer}


def lines(results: dict[str, Any]) -> list[str]:
    """The page."""
    page = ["# Screening", "", "| what | reached | at least | aim |", "| --- | --- | --- | --- |"]

    def row(what: str, reached: str, least: str, aim: str) -> None:
        page.append(f"| {what} | {reached} | {least} | {aim} |")

    whole, own = results.get("million"), results.get("loop")
    if whole:
        stages = {name: whole[name] for name in ("fast", "rescored") if name in whole}
        told = "; ".join(
            f"{name} {each['rows']:,} in {each['seconds']:,.0f} s" for name, each in stages.items()
        )
        row(
            f"{whole['rows']:,} distinct VH variants, campaign of {ROWS} rows, FASTA to hits.csv",
            f"{whole['seconds'] / 60:.1f} minutes ({told}; {whole['processor_seconds']:,.0f} s of "
            "processor time)",
            "15 minutes",
            "4 minutes",
        )
        row("peak memory of that", f"{whole['peak_gb']:.2f} GB", "2 GB", "1 GB")
        said = whole["recall"]
        row(
            f"its expected recall of the full model's top {said['top']:,}",
            f"{said['estimate']:.3f} with {said['kept']:,} kept; at the edge {said['edge_hits']} "
            f"of {said['edge_rows']} in the top, of the sample beyond {said['sample_hits']} of "
            f"{said['sample_rows']}",
            "0.95",
            "0.99",
        )
    if whole and own:
        row(
            f"against a user's loop ({own['rows_per_second']:.1f} rows a second on "
            f"{own['rows']} rows, extrapolated to {own['million_hours']:.1f} hours)",
            f"{own['million_hours'] * 3600 / whole['seconds']:.0f} ×",
            "50 ×",
            "150 ×",
        )
    if known := results.get("recall"):
        each = ", ".join(
            f"{name} {value['recall']:.3f} (said {value['said']:.3f}, kept {value['kept']})"
            for name, value in known["landscapes"].items()
        )
        row(
            f"recall of the full model's true top {known['top']:,} of {known['rows']:,}, mean of "
            f"the campaigns of {len(known['landscapes'])} landscapes",
            f"{known['mean']:.3f}: {each}",
            "0.95",
            "0.99",
        )
    if (grown := results.get("growth")) and whole:
        sizes = [*(grown[str(count)] for count in GROWTH), whole]
        fast = [each["fast"]["seconds"] for each in sizes]
        row(
            "growth, 10⁴ → 10⁵ → 10⁶ rows: seconds of the fast form (of all, nearly constant where "
            "the best are encoded)",
            " → ".join(
                f"{seconds:.1f} ({each['seconds']:.0f})"
                for seconds, each in zip(fast, sizes, strict=True)
            )
            + f"; ten times the rows take {fast[1] / fast[0]:.1f} and {fast[2] / fast[1]:.1f} "
            "times the seconds",
            "11 times",
            "",
        )
    if many := results.get("pairs"):
        row(
            f"{many['pairs']:,} pairs (2,000 × 100) by the default model, start to hits.csv",
            f"{many['pairs'] / many['seconds']:,.0f} pairs a second",
            "",
            "",
        )
        if own:
            row(
                "the same against encoding each pair's antibody anew, at the loop's rate "
                "(extrapolated; encoding the antigens is left out)",
                f"{many['pairs'] / many['seconds'] / own['rows_per_second']:,.0f} ×",
                "100 ×",
                "200 ×",
            )
    if alone := results.get("interaction"):
        rates = "; ".join(
            f"{name.removesuffix('s') if name.startswith('1 ') else name} {value:,.0f}"
            for name, value in alone.items()
            if "network" in name
        )
        row(
            "default model alone, molecules read before, pairs a second",
            f"{alone['default']:,.0f}",
            "3,000",
            "10,000",
        )
        row(
            f"interaction alone, bundled networks ({alone['latent_kb']:.0f} kB an antibody and "
            "network), pairs a second",
            rates,
            "3,000",
            "10,000",
        )
    if engines := results.get("ray"):
        local, workers = engines["local"], engines["ray=2"]
        row(
            f"Ray, two workers of one thread, against the local engine of two threads, one run "
            f"after the other, {engines['rows']:,} variants, top {engines['top']}",
            f"{local['seconds'] / workers['seconds']:.2f} × ({local['seconds']:.0f} s local, "
            f"{workers['seconds']:.0f} s with Ray's start)",
            "0.8 ×",
            "0.95 ×",
        )
    if plate := results.get("suggest"):
        row(
            "suggest --batch 96, generated candidates, campaign of 96 rows, nothing encoded",
            f"{plate['seconds']:.0f} s",
            "60 s",
            "20 s",
        )
    if mutants := results.get("scan"):
        row(
            f"scan of one Fv ({mutants['mutants']:,} mutants), nothing encoded",
            f"{mutants['seconds']:.0f} s",
            "120 s",
            "60 s",
        )
    if whole:
        page += _machines(whole)
    loads = {name: each["load_before"] for name, each in results.items()}
    told = ", ".join(f"{name} {value}" for name, value in loads.items())
    return [
        *page,
        "",
        f"Load of the two cores when each part began: {told} (2 is two busy cores).",
    ]


def _machines(whole: dict[str, Any]) -> list[str]:
    """Hours of one such machine, from the rates of the million."""
    fast = whole["fast"]["rows"] / whole["fast"]["seconds"]
    full = whole["rescored"]["rows"] / whole["rescored"]["seconds"]
    (packed,) = [
        each
        for each in json.loads((RESULTS / "encoding.json").read_text())["speeds"]
        if each["name"] == "float32"
    ]
    operations = packed["gflops"] / packed["sequences_per_second"]  # 10⁹ of an antibody chain
    on_gpu = GPU_TFLOPS * 1000 * GPU_SHARE / operations
    page = [
        "",
        "Hours of one such machine for a campaign's model and the top 1,000, from these rates; the "
        "share that is scored in full falls as a library grows, here it is taken to stay as it is "
        "in number. Blocks are independent, so n machines take an n-th of each stage; machines are "
        "those that end within a day. The GPU is computed, not measured: one that reaches "
        f"{GPU_SHARE:.0%} of {GPU_TFLOPS} TFLOP/s encodes {on_gpu:,.0f} chains a second of "
        f"{operations:.1f} GFLOP each, and its fast form runs on the two cores beside it.",
        "",
        "| antibodies | antigens | fast form | full form of the best | machines | bottleneck | "
        "full form, one GPU | machines with a GPU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for count in (10**6, 10**8, 10**9):
        for antigens in (1, 100):
            first = count * antigens / fast / 3600
            then = whole["rescored"]["rows"] * antigens / full / 3600
            what = "fast form" if first > then else "encoding the best"
            gpu = whole["rescored"]["rows"] * antigens / on_gpu / 3600
            page.append(
                f"| {count:,} | {antigens} | {first:,.2f} | {then:,.2f} | "
                f"{math.ceil((first + then) / 24):,} | {what} | {gpu:,.2f} | "
                f"{math.ceil((first + gpu) / 24):,} |"
            )
    return page


if __name__ == "__main__":
    main()
