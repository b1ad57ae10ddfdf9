"""Landscapes of many variants: exact processes, sparse ones, and with networks."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaigns.adaptation.networks import NetworkOptions, tune_networks
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel, SparseCampaignModel
from paratope.data.datasets import load_dataset
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.evaluation.metrics import METRICS
from paratope.molecules.sequences import Antibody, Pair

# Landscape: rows of the exact process that is given a part only.
LANDSCAPES = {"aayl49": 2500, "2fjg": 1000}
INDUCING = (600, 1200, 2000)
# Of these, of the process that networks are added to.
NETWORKS_BESIDE = 1200
BUDGET_SECONDS = 200.0
HELD_OUT = 0.1
COVERAGE = 0.9


def whole_landscape(root: Path, assay: str) -> Campaign:
    """All variants of the commonest length, with their consensus as parent."""
    rows = load_dataset(f"abbibench_{assay}", root, as_published=True).measurements
    scores = {row.pair.antibody.heavy: row for row in rows if row.score is not None}
    length = Counter(map(len, scores)).most_common(1)[0][0]
    kept = [row for heavy, row in scores.items() if len(heavy) == length]
    first = kept[0].pair
    heavy = "".join(
        Counter(column).most_common(1)[0][0]
        for column in zip(*(row.pair.antibody.heavy for row in kept), strict=True)
    )
    count = len(kept)
    return Campaign(
        tuple(row.pair for row in kept),
        np.array([row.score for row in kept], float),
        "score",
        np.zeros(count, int),
        np.zeros(count, int),
        (assay,),
        np.ones(count, int),
        np.full(count, np.nan),
        (Pair(Antibody(heavy, first.antibody.light, "consensus"), first.antigen),),
    )


def large_lines(root: Path) -> list[dict[str, Any]]:
    """Spearman, RMSE, coverage and seconds of each model of each landscape."""
    language = AntibodyLanguage()
    lines = []
    for assay, part in LANDSCAPES.items():
        campaign = whole_landscape(root, assay)
        order = np.random.default_rng(0).permutation(len(campaign))
        count = round(HELD_OUT * len(campaign))
        test, train = campaign.rows(order[:count]), campaign.rows(order[count:])
        some = train.rows(np.arange(part))
        for _ in language.embeddings([pair.antibody.heavy for pair in campaign.pairs]):
            pass  # encoded, if they were not
        add = _adder(lines, assay, test)
        add(
            f"exact, {part} rows",
            part,
            lambda rows=some: CampaignModel.fit(rows, language=language),
        )
        add(
            "exact, all rows",
            len(train),
            lambda rows=train: CampaignModel.fit(rows, language=language),
        )
        for inducing in INDUCING:
            add(
                f"sparse, {inducing} inducing",
                len(train),
                lambda rows=train, many=inducing: SparseCampaignModel.fit(
                    rows, language=language, inducing=many
                ),
            )
        add("sparse, with networks", len(train), lambda rows=train: _with_networks(rows, language))
    return lines


def _with_networks(train: Campaign, language: AntibodyLanguage) -> CampaignModel:
    networks = tune_networks(train, options=NetworkOptions(BUDGET_SECONDS))
    model = SparseCampaignModel.fit(
        train, language=language, prior=networks, inducing=NETWORKS_BESIDE
    )
    model.prior = networks.predictor
    return model


def _adder(
    lines: list[dict[str, Any]], assay: str, test: Campaign
) -> Callable[[str, int, Callable[[], CampaignModel]], None]:
    def add(name: str, rows: int, fit: Callable[[], CampaignModel]) -> None:
        began = time.perf_counter()
        model = fit()
        seconds = time.perf_counter() - began
        answer = model.predict_latent(test.pairs)
        predicted = model.to_label(answer.mean)
        low, high = model.interval(answer, COVERAGE)
        inside = (low <= test.values) & (test.values <= high)
        share = model.importance().terms.get("general_model", 0.0)
        lines.append(
            {
                "assay": assay,
                "model": name,
                "trained_on": rows,
                "judged": len(test),
                "spearman": round(float(METRICS["spearman"](test.values, predicted)), 4),
                "rmse": round(float(METRICS["rmse"](test.values, predicted)), 4),
                "coverage": round(float(np.mean(inside)), 4),
                "width": round(float(np.mean(high - low) / np.std(test.values)), 3),
                "network_share": round(share, 4),
                "seconds": round(seconds, 1),
            }
        )
        print(lines[-1], flush=True)

    return add


def large_table(lines: list[dict[str, Any]]) -> list[str]:
    """As Markdown."""
    header = (
        "| landscape | model | learned from | judged on | Spearman | RMSE | 90 % covers | width, "
        "SD | networks' share | seconds |"
    )
    return [
        header,
        "|" + "---|" * 10,
        *(
            f"| {line['assay']} | {line['model']} | {line['trained_on']} | {line['judged']} | "
            f"{line['spearman']:.3f} | {line['rmse']:.3f} | {line['coverage']:.1%} | "
            f"{line['width']:.2f} | {line['network_share']:.0%} | {line['seconds']:.0f} |"
            for line in lines
        ),
    ]
