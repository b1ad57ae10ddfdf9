"""A replay as files: every round as a table, the comparison as JSON, a figure."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl

from paratope.campaigns.campaign_simulation.comparison import METRICS, Comparison, Interval
from paratope.campaigns.campaign_simulation.landscape import Landscape
from paratope.campaigns.campaign_simulation.replay import Replay
from paratope.core.files import atomic_file
from paratope.data.tables import write_table
from paratope.evaluation.figures import save_figure
from paratope.evaluation.figures.rounds import campaign_rounds


def write_replay(
    landscape: Landscape, replayed: Replay, comparison: Comparison, folder: Path
) -> list[Path]:
    """Write ``rounds.csv``, ``summary.json`` and ``rounds.png`` into a folder.

    Parameters
    ----------
    landscape : Landscape
    replayed : Replay
    comparison : Comparison
    folder : Path
        Made if it is not there.

    Returns
    -------
    list of Path
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / name for name in ("rounds.csv", "summary.json", "rounds.png")]
    frame = pl.DataFrame(
        [one._asdict() for one in replayed.results], infer_schema_length=None
    ).fill_nan(None)
    write_table(frame, written[0])
    text = json.dumps(summary(landscape, replayed, comparison), indent=2, sort_keys=True) + "\n"
    with atomic_file(written[1]) as file:
        file.write(text.encode())
    save_figure(replay_figure(landscape, replayed, comparison), written[2])
    return written


def replay_figure(landscape: Landscape, replayed: Replay, comparison: Comparison) -> Any:
    """The figure of ``rounds.png``: best found and top found, strategy by strategy.

    Parameters
    ----------
    landscape : Landscape
    replayed : Replay
    comparison : Comparison
    """
    label = "pKd" if landscape.campaign.label == "pkd" else "score"
    plan = replayed.plan
    return campaign_rounds(
        [plan.start + number * plan.batch for number in range(plan.rounds + 1)],
        {name: comparison.rounds[name]["best"] for name in replayed.strategies},
        {name: comparison.rounds[name]["recall"] for name in replayed.strategies},
        label=f"best {label} found",
        recall_label=f"share of the best {plan.top} found, %",
        limit=float(landscape.values.max()),
    )


def summary(landscape: Landscape, replayed: Replay, comparison: Comparison) -> dict[str, Any]:
    """What ``summary.json`` holds."""
    plan = replayed.plan
    return {
        "landscape": {
            "variants": len(landscape),
            "label": landscape.campaign.label,
            "best": float(landscape.values.max()),
            "top": int(landscape.top(plan.top).sum()),
            "notes": list(landscape.notes),
        },
        "plan": {
            name: getattr(plan, name)
            for name in ("batch", "rounds", "repeats", "start", "top", "seed")
        },
        "rounds": {
            name: {metric: [_numbers(one) for one in by_metric[metric]] for metric in METRICS}
            for name, by_metric in comparison.rounds.items()
        },
        "saved": [
            {
                "against": one.rival,
                "metric": one.metric,
                "rounds": _numbers(one.rounds),
                "measurements": one.variants,
            }
            for one in comparison.saved
        ],
        "better_than_best": {
            name: better for name in replayed.strategies if (better := _better(replayed, name))
        },
    }


def _better(replayed: Replay, name: str) -> dict[str, float]:
    """Variants that were expected to beat the best before them, and that did, a round."""
    rows = [
        one
        for one in replayed.results
        if one.strategy == name and math.isfinite(one.expected_better)
    ]
    if not rows:
        return {}
    return {
        "expected": sum(one.expected_better for one in rows) / len(rows),
        "found": sum(one.found_better for one in rows) / len(rows),
    }


def _numbers(one: Interval) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in one._asdict().items()}
