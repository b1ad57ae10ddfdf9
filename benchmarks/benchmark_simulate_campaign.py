"""Rounds that a campaign's model saves on measured landscapes, replayed plate by plate.

python benchmarks/benchmark_simulate_campaign.py [--landscapes 2fjg,aayl49] [--variants 600]

Each landscape of AbBiBench is cut to at most so many variants, drawn once, and replayed as
`paratope simulate-campaign` does it, without a general model (``--prior none``). The figure of the
documents is that of the first landscape.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.validation import campaign_fitter
from paratope.campaigns.campaign_simulation import (
    STRATEGIES,
    Comparison,
    Landscape,
    Replay,
    ReplayOptions,
    compare,
    landscape_of,
    parse_strategies,
    replay,
    replay_figure,
    summary,
)
from paratope.campaigns.suggestion.acquisition import DEFAULT_ACQUISITION, DEFAULT_EXPLORE
from paratope.data.datasets import load_dataset
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.evaluation.figures.style import save_figure
from results_writer import circumstances, write_results

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "campaign-rounds.png"
TOPIC = "simulate_campaign"
PACKAGES = ("paratope", "torch", "gpytorch", "botorch", "numpy", "scikit-learn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--landscapes", default="2fjg,aayl49")
    parser.add_argument("--variants", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    record: dict[str, Any] = circumstances("make benchmark-simulate-campaign", PACKAGES)
    plan = ReplayOptions(batch=24, rounds=4, repeats=arguments.repeats, top=20)
    fit = campaign_fitter(AntibodyLanguage())
    lines: list[str] = []
    for number, name in enumerate(arguments.landscapes.split(",")):
        landscape = cut(landscape_of(load_dataset(f"abbibench_{name}").measurements),
                        arguments.variants)  # fmt: skip
        strategies = parse_strategies("all", fit, DEFAULT_ACQUISITION, DEFAULT_EXPLORE)
        started = time.perf_counter()
        replayed = replay(landscape, strategies, plan)
        record[name] = summary(landscape, replayed, comparison := compare(replayed))
        record[name]["seconds"] = round(time.perf_counter() - started, 1)
        lines += page(name, landscape, replayed, comparison)
        if number == 0:
            FIGURE.parent.mkdir(parents=True, exist_ok=True)
            save_figure(replay_figure(landscape, replayed, comparison), FIGURE)
    write_results(TOPIC, record, lines)


def cut(landscape: Landscape, variants: int) -> Landscape:
    """At most so many variants, drawn once."""
    rows = np.random.default_rng(0).permutation(len(landscape))[:variants]
    return Landscape(landscape.campaign.rows(np.sort(rows)), landscape.notes)


def page(name: str, landscape: Landscape, replayed: Replay, comparison: Comparison) -> list[str]:
    """A landscape's tables."""
    plan = replayed.options
    lines = [
        f"**{name}**: {len(landscape):,} variants, a first plate of {plan.start} at random, then "
        f"rounds of {plan.batch}; share of the best {plan.top} found, mean of {plan.repeats} "
        "repeats (95 % interval after the last round), and rounds the model saves for the same "
        "share.",
        "",
        f"| strategy | {' | '.join(f'round {n}' for n in range(plan.rounds + 1))} | interval | "
        "rounds saved |",
        f"|---|{'---|' * (plan.rounds + 3)}",
    ]
    saved = {
        saving.rival: saving.rounds for saving in comparison.saved if saving.metric == "recall"
    }
    for strategy in replayed.strategies:
        recall = comparison.rounds[strategy]["recall"]
        last = recall[-1]
        gained = saved.get(strategy)
        text = (
            "" if gained is None else f"{gained.mean:.1f} ({gained.low:.1f} to {gained.high:.1f})"
        )
        cells = " | ".join(f"{share.mean:.0%}" for share in recall)
        lines.append(
            f"| `{strategy}`: {STRATEGIES[strategy]} | {cells} | {max(last.low, 0):.0%} to "
            f"{min(last.high, 1):.0%} | {text} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    main()
