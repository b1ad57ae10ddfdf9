"""The first plate of a campaign, replayed on measured landscapes.

python benchmarks/benchmark_first_plate.py [-o results]

Of a landscape's variants a plate is chosen before any value is known: as `paratope suggest` does
with `--parent FILE`, at random, or the highest expected values. A campaign's model with its prior
mean learns from it and ranks the others. The general model behind both never saw the antibody
family.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmark_priors import campaign_of_rows, of_landscapes, prior_of
from campaign_landscapes import Remembered, spearman
from general_comparators import expected_by
from measured_landscapes import MeasuredLandscape
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.suggestion.first_plate import representative_batch, similarities
from paratope.models.general.fitting import Fit
from results_writer import RESULTS, circumstances, write_results

PACKAGES = ("paratope", "torch", "numpy", "scipy")
SIZES = (24, 96)
FEWEST_RANKED = 40
REPEATS = 6  # Of each landscape, on so many random parts
SHARE = 0.7
RANDOM_PLATES = 3  # On each part
# Landscapes of the families by which the design was chosen (docs/LOG.md); others had no part in it.
CHOSEN_BY = (
    "magma_319345",
    "magma_215",
    "phillips_cr9114_h3",
    "cr9114_germline_H1stem",
    "cr9114_mature_H1stem",
    "cr9114_mature_H3",
    "cr9114_mature_fluB",
    "abagym_5a12_vegf",
    "abbibench:2fjg",
    "abbibench:3gbn_h1",
)
OTHERS = "families that had no part in the choice"
PLATES = ("random", "highest expected", "suggest")


def replayed(landscape: MeasuredLandscape, fit: Fit, language: Remembered) -> list[dict[str, Any]]:
    """Spearman on the rest after each plate."""
    elsewhere, lines = prior_of(fit), []
    for repeat in range(REPEATS):
        random = np.random.default_rng([7, repeat])
        total = len(landscape.pairs)
        part = landscape.take(np.sort(random.permutation(total)[: int(SHARE * total)]))
        expected, count = expected_by(fit, part), len(part.pairs)
        kernel, residues = similarities(part.parent, part.pairs, language)
        for size in SIZES:
            if count < size + FEWEST_RANKED:
                continue
            plates = [("random", random.permutation(count)[:size]) for _ in range(RANDOM_PLATES)]
            plates.append(("highest expected", np.argsort(-expected, kind="stable")[:size]))
            best = representative_batch(kernel, size, expected, residues)
            plates.append(("suggest", np.array(best)))
            for name, rows in plates:
                measured = np.sort(rows)
                rest = np.setdiff1d(np.arange(count), measured)
                value = 0.0
                if np.ptp(part.measured[measured]):
                    campaign = campaign_of_rows(part, measured)
                    model = CampaignModel.fit(campaign, language=language, prior=elsewhere)
                    mean = model.predict_latent([part.pairs[row] for row in rest]).mean
                    value = spearman(part.measured[rest], mean)
                line = {"landscape": landscape.name, "class": landscape.kind, "size": size}
                lines.append({**line, "plate": name, "repeat": repeat, "spearman": round(value, 4)})
    return lines


def over_families(lines: list[dict[str, Any]], plate: str) -> dict[int, float]:
    """Mean Spearman after a plate by family, each a mean over its landscapes."""
    by: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line["plate"] == plate:
            by[line["family"]][line["landscape"]].append(line["spearman"])
    return {
        family: statistics.fmean(map(statistics.fmean, each.values()))
        for family, each in by.items()
    }


def counts_as(kind: str, line: dict[str, Any]) -> bool:
    """Whether a landscape's line belongs to a row of the table."""
    return kind in ("all", line["class"]) or (kind == OTHERS and line["landscape"] not in CHOSEN_BY)


def tables(lines: list[dict[str, Any]]) -> list[str]:
    """Means over families, by class of landscape; then every landscape."""
    shown = [
        "| plate of | class | families | random | highest expected | suggest | suggest − "
        "random (SE over families) |",
        "|---|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys(line["class"] for line in lines)
    for size in SIZES:
        for kind in ("all", OTHERS, *kinds):
            some = [one for one in lines if one["size"] == size and counts_as(kind, one)]
            if not some:
                continue
            means = {plate: over_families(some, plate) for plate in PLATES}
            gains = np.array([means["suggest"][f] - means["random"][f] for f in means["random"]])
            error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else float("nan")
            cells = " | ".join(f"{statistics.fmean(means[plate].values()):.3f}" for plate in PLATES)
            shown.append(
                f"| {size} | {kind} | {len(gains)} | {cells} | {gains.mean():+.3f} ± {error:.3f} |"
            )
    shown += ["", "| landscape | " + " | ".join(f"{n}: {p}" for n in SIZES for p in PLATES) + " |"]
    shown.append("|---|" + "---|" * (len(SIZES) * len(PLATES)))
    for name in dict.fromkeys(line["landscape"] for line in lines):
        own = [line for line in lines if line["landscape"] == name]
        cells = []
        for size in SIZES:
            for plate in PLATES:
                values = [
                    line["spearman"]
                    for line in own
                    if (line["size"], line["plate"]) == (size, plate)
                ]
                cells.append(f"{statistics.fmean(values):.3f}" if values else "")
        shown.append(f"| {name} | " + " | ".join(cells) + " |")
    return shown


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = arguments.parse_args()
    command = " ".join(["python", "benchmarks/benchmark_first_plate.py", *sys.argv[1:]])
    record: dict[str, Any] = circumstances(command, PACKAGES)
    lines, _ = of_landscapes(replayed)
    shown = [
        "# The first plate",
        "",
        "Spearman on the variants that were not measured, after a plate chosen before any value "
        f"was known, on {REPEATS} random parts of each landscape. A family counts once.",
        "",
        *tables(lines),
    ]
    write_results("first_plate", {**record, "plates": lines}, shown, options.output)


if __name__ == "__main__":
    main()
