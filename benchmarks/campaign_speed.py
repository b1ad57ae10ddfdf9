"""Seconds a campaign takes once embeddings are cached: fitting, report, prediction, suggestion."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaign import Campaign
from paratope.campaign_model import CampaignModel
from paratope.datasets import load_dataset
from paratope.datasets.abbibench import ASSAYS
from paratope.kernels import AntibodyLanguage
from paratope.sequences import Antibody, Pair

ASSAY = "aayl49"
FIT_ROWS = {96: 20.0, 384: 45.0, 2000: 240.0}
REPORT_ROWS = (96, 384)  # that of 2,000 takes minutes more
POOL_ROWS, POOL_SECONDS = 10_000, 60.0


def speed_lines(root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Raw rows and the page."""
    from paratope.adaptation import expect
    from paratope.adaptation.learner import fitting
    from paratope.bundle import write_bundle
    from paratope.campaign_bundle import campaign_bundle
    from paratope.predictor import Predictor
    from paratope.suggestion import suggest

    measurements = load_dataset(f"abbibench_{ASSAY}", root, as_published=True).measurements
    distinct = {row.pair.antibody.chains: row for row in measurements}
    rows = list(distinct.values())
    order = np.random.default_rng(0).permutation(len(rows))
    language = AntibodyLanguage()
    found: list[dict[str, Any]] = []

    def record(what: str, seconds: float, limit: float | None) -> None:
        found.append({"what": what, "seconds": round(seconds, 2), "limit": limit})

    pool = _pool(rows, POOL_ROWS)
    list(language.embeddings([pair.antibody.heavy for pair in pool]))  # encoded before the clock
    list(language.embeddings([row.pair.antibody.light or "" for row in rows[:1]]))
    for count, limit in FIT_ROWS.items():
        chosen = [rows[place] for place in order[:count]]
        list(language.embeddings([row.pair.antibody.heavy for row in chosen]))
        campaign = _campaign(chosen)
        started = time.perf_counter()
        model = CampaignModel.fit(campaign, language=language)
        took = time.perf_counter() - started
        record(f"fit {count} rows", took, limit)
        if count in REPORT_ROWS:
            started = time.perf_counter()
            expect(campaign, fitting(language))
            record(f"report for {count} rows", time.perf_counter() - started, 2 * limit)
        if count == 384:
            started = time.perf_counter()
            model.answer(pool)
            record(f"predict {POOL_ROWS:,} variants", time.perf_counter() - started, POOL_SECONDS)
            with tempfile.TemporaryDirectory() as folder:
                bundle = campaign_bundle(model, metrics={}, environment={}, card="# Speed\n")
                predictor = Predictor.load(write_bundle(bundle, Path(folder) / "campaign"))
                started = time.perf_counter()
                suggest(predictor, 96, candidates=pool)
                took = time.perf_counter() - started
            record(f"suggest 96 of {POOL_ROWS:,}", took, 60.0)
    lines = [
        "# Campaigns: seconds",
        "",
        f"Variants of {ASSAY} (AbBiBench), heavy chains; embeddings cached before.",
        "",
        "| what | seconds | limit |",
        "| --- | --- | --- |",
        *(f"| {row['what']} | {row['seconds']:.1f} | {row['limit']:g} |" for row in found),
    ]
    return found, lines


def _pool(rows: list[Any], count: int) -> list[Pair]:
    """Recombinations of the landscape's variants: as many changed sites as they have."""
    random = np.random.default_rng(1)
    context = rows[0].pair
    heavies = [row.pair.antibody.heavy for row in rows]
    length = len(heavies[0])
    same = [heavy for heavy in heavies if len(heavy) == length]
    made: dict[str, None] = {}
    while len(made) < count:
        left, right = (same[place] for place in random.integers(len(same), size=2))
        cut = int(random.integers(1, length))
        made.setdefault(left[:cut] + right[cut:])
    return [Pair(Antibody(heavy, context.antibody.light), context.antigen) for heavy in made]


def _campaign(rows: list[Any]) -> Campaign:
    count = len(rows)
    return Campaign(
        tuple(row.pair for row in rows),
        np.array([row.score if row.score is not None else row.pkd for row in rows], float),
        "score",
        np.zeros(count, int),
        np.zeros(count, int),
        (ASSAY,),
        np.ones(count, int),
        np.full(count, np.nan),
        (),
    )


assert ASSAY in ASSAYS
