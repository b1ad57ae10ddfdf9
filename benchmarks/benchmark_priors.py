"""What other antibodies teach a campaign: its prior mean, on landscapes of families left out.

python benchmarks/benchmark_priors.py [--measured 8 16 24 96 384] [-o results]

A campaign model learns from a few variants of a landscape, once with the prior mean of
`paratope.campaigns.kernels.substitution_prior` and once without, and ranks the others: on variants
drawn at random, and on those that change positions no measured variant changes. The general model
behind the prior mean was fitted without the landscape's antibody family.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from campaign_landscapes import Remembered, spearman
from measured_landscapes import MeasuredLandscape, measured_landscapes, without_family
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.kernels.substitution_prior import SubstitutionPrior
from paratope.data.datasets import training_rows
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.models.general.fitting import Fit, TrainingTable
from results_writer import RESULTS, circumstances, write_results

PACKAGES = ("paratope", "torch", "numpy", "scipy")
REPEATS = {8: 6, 16: 6, 24: 6, 96: 4, 384: 1}
MODES = ("random", "unseen")
FEWEST_VARIANTS = 50
FEWEST_RANKED = 30
POOL = 600  # Variants of a landscape, drawn once
RANKED = 300  # Of those not measured
COVERAGE = 0.9
ARMS = ("none", "auto")


def drawn(
    landscape: MeasuredLandscape, count: int, mode: str, repeat: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows measured and rows ranked; None where there are too few."""
    rng, total = np.random.default_rng([count, repeat, mode == "unseen"]), len(landscape.pairs)
    sites = [frozenset((c.chain, c.number) for c in each) for each in landscape.changes]
    inside = np.arange(total)
    if mode == "unseen":  # measured variants change some positions, ranked ones others, too
        allowed: set[tuple[str, str]] = set()
        every = sorted(set().union(*sites))
        for index in rng.permutation(len(every)):
            allowed.add(every[index])
            inside = np.array([i for i, each in enumerate(sites) if each and each <= allowed])
            if len(inside) >= 1.3 * count:
                break
    if len(inside) < count:
        return None
    measured = np.sort(rng.choice(inside, count, replace=False))
    rest = np.setdiff1d(np.arange(total), measured)
    if mode == "unseen":
        seen = set().union(*(sites[row] for row in measured))
        rest = np.array([row for row in rest if not sites[row] <= seen], int)
    rest = np.sort(rng.permutation(rest)[:RANKED])
    few = len(rest) < FEWEST_RANKED or np.ptp(landscape.measured[measured]) == 0
    return None if few else (measured, rest)


def campaign_of_rows(landscape: MeasuredLandscape, rows: np.ndarray) -> Campaign:
    """Measured variants as a campaign whose parent is named."""
    count = len(rows)
    return Campaign(
        pairs=tuple(landscape.pairs[row] for row in rows),
        values=landscape.measured[rows],
        label="score",
        censoring=np.zeros(count, int),
        assay=np.zeros(count, int),
        assays=(landscape.name,),
        replicates=np.ones(count, int),
        noise_sd=np.full(count, np.nan),
        parents=(landscape.parent,),
    )


def prior_of(fit: Fit) -> SubstitutionPrior:
    """The prior mean by a general model."""
    scores, slopes = fit.substitutions, fit.level.slopes
    ours = float(slopes[0]), float(slopes[2])
    return SubstitutionPrior(dict(scores.weights), scores.mean_weight, *ours)


def draws(
    landscape: MeasuredLandscape, fit: Fit, sizes: list[int], language: Remembered
) -> Iterator[dict[str, Any]]:
    """Every draw of a landscape, with and without the prior mean."""
    elsewhere = prior_of(fit)
    for count in sizes:
        for mode in MODES:
            for repeat in range(REPEATS[count]):
                rows = drawn(landscape, count, mode, repeat)
                if rows is None:
                    continue
                measured, ranked = rows
                campaign = campaign_of_rows(landscape, measured)
                pairs, truth = [landscape.pairs[row] for row in ranked], landscape.measured[ranked]
                line: dict[str, Any] = {
                    "landscape": landscape.name, "class": landscape.kind, "measured": count,
                    "mode": mode, "repeat": repeat, "ranked": len(ranked)}  # fmt: skip
                for arm, prior in zip(ARMS, (None, elsewhere), strict=True):
                    model = CampaignModel.fit(campaign, language=language, prior=prior)
                    answer = model.predict_latent(pairs)
                    low, high = model.interval(answer, COVERAGE)
                    inside = (truth >= low - 1e-9) & (truth <= high + 1e-9)
                    line[arm] = {
                        "spearman": round(spearman(truth, answer.mean), 4),
                        "coverage": round(float(inside.mean()), 4),
                    }
                yield line


def of_landscapes(
    judge: Callable[[MeasuredLandscape, Fit, Remembered], Iterable[dict[str, Any]]],
) -> tuple[list[dict[str, Any]], int]:
    """Lines of `judge` for `POOL` variants of each landscape, with its family; and how many.

    The general model that it is given was fitted without the landscape's family.
    """
    table = TrainingTable.of(training_rows().measurements)
    landscapes = measured_landscapes(FEWEST_VARIANTS)
    lines: list[dict[str, Any]] = []
    for landscape, (family, fit) in zip(landscapes, without_family(table, landscapes), strict=True):
        started, language = time.perf_counter(), Remembered(AntibodyLanguage())
        rows = np.random.default_rng(0).permutation(len(landscape.pairs))[:POOL]
        part = landscape.take(np.sort(rows))
        lines += [{**line, "family": family} for line in judge(part, fit, language)]
        took = time.perf_counter() - started
        print(f"{landscape.name}: {took:.0f} s", file=sys.stderr, flush=True)
    return lines, len(landscapes)


def of_families(
    lines: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]
) -> np.ndarray:
    """Mean of a value of each family, a mean over its landscapes, each a mean over its draws."""
    by: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        by[line["family"]][line["landscape"]].append(value(line))
    return np.array(
        [statistics.fmean(map(statistics.fmean, each.values())) for each in by.values()]
    )


def gained(line: dict[str, Any]) -> float:
    return line["auto"]["spearman"] - line["none"]["spearman"]


def tables(lines: list[dict[str, Any]]) -> list[str]:
    """Means over families, and every landscape."""
    shown = [
        "| measured | ranked | families | without | with | difference (SE over families) | lowest "
        "family | 90 % intervals cover: without | with |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cells = sorted({(line["measured"], line["mode"]) for line in lines})
    for measured, mode in cells:
        part = [one for one in lines if (one["measured"], one["mode"]) == (measured, mode)]
        before, after, cover, covered = (
            of_families(part, lambda line, arm=arm, name=name: line[arm][name]).mean()
            for name in ("spearman", "coverage") for arm in ARMS)  # fmt: skip
        gain = of_families(part, gained)
        error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else float("nan")
        shown.append(
            f"| {measured} | {mode} | {len(gain)} | {before:.3f} | {after:.3f} | "
            f"{gain.mean():+.3f} ± {error:.3f} | {gain.min():+.3f} | {cover:.1%} | {covered:.1%} |"
        )
    shown += [
        "",
        "Difference of each landscape, with its paired standard error over draws:",
        "",
        "| landscape | class | "
        + " | ".join(f"{measured} {mode}" for measured, mode in cells) + " |",
        "|---|---|" + "---|" * len(cells),
    ]  # fmt: skip
    for name in dict.fromkeys(line["landscape"] for line in lines):
        own = [line for line in lines if line["landscape"] == name]
        texts = []
        for cell in cells:
            gains = [gained(line) for line in own if (line["measured"], line["mode"]) == cell]
            text = f"{statistics.fmean(gains):+.3f}" if gains else ""
            if len(gains) > 1:
                text += f" ± {statistics.stdev(gains) / np.sqrt(len(gains)):.3f}"
            texts.append(text)
        shown.append(f"| {name} | {own[0]['class']} | " + " | ".join(texts) + " |")
    return shown


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--measured", nargs="+", type=int, default=list(REPEATS))
    arguments.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = arguments.parse_args()
    command = " ".join(["python", "benchmarks/benchmark_priors.py", *sys.argv[1:]])
    record: dict[str, Any] = circumstances(command, PACKAGES)
    lines, count = of_landscapes(
        lambda part, fit, language: draws(part, fit, options.measured, language)
    )
    shown = [
        "# A campaign's prior mean",
        "",
        "Spearman with what was measured, of variants that were not, learned from few of a "
        "landscape: without a prior mean (`--prior none`) and with it (`--prior auto`, the "
        "default). The general model behind it never saw the landscape's antibody family. "
        f"{count} landscapes of at least {FEWEST_VARIANTS} variants; random: variants "
        "like those measured; unseen: variants that change positions no measured variant changes. "
        "A family counts once.",
        "",
        *tables(lines),
    ]
    write_results("priors", {**record, "draws": lines}, shown, options.output)


if __name__ == "__main__":
    main()
