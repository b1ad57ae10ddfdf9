"""How fast antibody chains are encoded, beside a loop of transformers, and what int8 changes.

python benchmarks/benchmark_encoding.py [--sequences 48] [--repeats 5] [--work FOLDER]

Chains are those of the examples' antibodies, heavy and light in turn, with up to eight residues cut
or replaced. The loop is what a user would write: batches of 32 in the given order, padded, float32.
All ways have their turn in every repeat, with the machine's matrix products between. One thread and
its processor time, because the machine may do other work; ``--wall`` for all cores and the clock.

Int8 is judged by the full predictions of a campaign's model for random variants of its parent.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import spearmanr

from benchmark_screen import campaign, parent_of, variants
from paratope.encoders import encoding_speed
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.models.predictor import Predictor
from paratope.screening.scoring import CampaignScreen
from results_writer import circumstances, write_results

TOPIC = "encoding"
PACKAGES = ("paratope", "torch", "transformers", "numpy")
EXAMPLES = Path(__file__).parents[1] / "examples" / "pairs.csv"
VARIANTS, BATCH = 200, 32
LOOP = "transformers, float32, padded"


def main() -> None:
    """Measure both, and write the table."""
    parser = argparse.ArgumentParser(description="How fast antibody chains are encoded.")
    parser.add_argument("--sequences", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder to keep the campaign's model in")
    parser.add_argument("--wall", action="store_true", help="all cores and the clock")
    chosen = parser.parse_args()
    if not chosen.wall:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
    record = circumstances("python " + shlex.join(sys.argv), PACKAGES)
    clock = time.perf_counter if chosen.wall else time.process_time
    examples = pl.read_csv(EXAMPLES)
    parents = [
        chain for row in examples.select("heavy", "light").iter_rows() for chain in row if chain
    ]
    chains = encoding_speed.chains_like(list(dict.fromkeys(parents)), chosen.sequences)
    ways = {LOOP: loop(), **encoding_speed.ways_to_encode()}
    speeds, peak = encoding_speed.compare_speed(ways, chains, chosen.repeats, clock)
    with tempfile.TemporaryDirectory() as temporary:
        drifted = drift(chosen.work or Path(temporary), VARIANTS)
    lengths = sorted(map(len, chains))
    record |= {
        "clock": "wall" if chosen.wall else "processor, one thread",
        "sequences": len(chains),
        "repeats": chosen.repeats,
        "residues": [lengths[0], lengths[-1]],
        "peak_gflops": peak,
        "speeds": [speed._asdict() for speed in speeds],
        "int8_predictions": drifted,
    }
    write_results(TOPIC, record, lines(record))


def loop() -> encoding_speed.Encode:
    """AntiBERTy in `transformers`, as a user would write it."""
    from transformers import BertConfig, BertModel

    encoder = AntibertyEncoder("cpu")
    bert = encoder.language_model.bert
    model = BertModel(BertConfig(**vars(bert.config)), add_pooling_layer=False).eval()
    model.load_state_dict(bert.state_dict(), strict=False)
    pad = encoder.token_table.pad

    def encode(chains: Sequence[str]) -> list[np.ndarray]:
        rows: list[np.ndarray] = []
        for start in range(0, len(chains), BATCH):
            tokens = [encoder.tokenize((chain,)).ids for chain in chains[start : start + BATCH]]
            longest = max(map(len, tokens))
            ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids in tokens])
            mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in tokens])
            with torch.inference_mode():
                states = model(input_ids=ids, attention_mask=mask).last_hidden_state
            rows += [
                each[1 : len(ids) - 1].numpy() for each, ids in zip(states, tokens, strict=True)
            ]
        return rows

    return encode


def drift(folder: Path, count: int) -> dict[str, Any]:
    """What int8 changes in the full predictions of a campaign's model."""
    folder.mkdir(parents=True, exist_ok=True)
    path = campaign(folder)
    predictor, parent = Predictor.load(path, "cpu"), parent_of(path)
    asked = predictor.campaign, [predictor.default_antigen], 0.9
    antibodies = [(heavy, parent.get("light")) for heavy in variants(parent["heavy"], count, 2)]
    language = predictor.campaign.language
    model = CampaignScreen(*asked)
    exact = model.full(antibodies).value[:, 0]
    language.encoder = language.encoder.in_int8()
    rounded = CampaignScreen(*asked).full(antibodies).value[:, 0]
    differences = np.abs(exact - rounded)
    return {
        "variants": count,
        "unit": model.label,
        "spearman": float(spearmanr(exact, rounded).statistic),
        "difference_99": float(np.percentile(differences, 99)),
        "standard_deviation": float(exact.std()),
        "fast_form_spearman": float(spearmanr(exact, model.fast(antibodies).value[:, 0]).statistic),
    }


def lines(record: dict[str, Any]) -> list[str]:
    """The table as Markdown."""
    table = [
        "| AntiBERTy | sequences/s | GFLOP/s | of the peak | speed | embeddings differ by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for speed in record["speeds"]:
        table.append(
            f"| {speed['name']} | {speed['sequences_per_second']:.1f} | {speed['gflops']:.0f} | "
            f"{speed['share_of_peak']:.0%} | {speed['ratio']:.2f} × | {speed['drift']:.1e} |"
        )
    low, high = record["residues"]
    of = record["int8_predictions"]
    return [
        *table,
        "",
        f"{record['sequences']} chains, heavy and light mixed, {low} to {high} residues; time: "
        f"{record['clock']}; medians of {record['repeats']} alternating repeats. The peak is "
        f"{record['peak_gflops']:.0f} GFLOP/s of float32 matrix products, measured in between. "
        "Operations of padding do not count. Embeddings: root mean square difference, relative.",
        "",
        f"Full predictions of {of['variants']} random variants by a campaign's model, int8 against "
        f"float32: Spearman {of['spearman']:.4f} (the fast form: {of['fast_form_spearman']:.3f}), "
        f"99 % differ by less than {of['difference_99']:.3f} ({of['unit']}; the predictions' "
        f"standard deviation is {of['standard_deviation']:.3f}).",
    ]


if __name__ == "__main__":
    main()
