"""Seconds a campaign takes once embeddings are cached, and those of scans of one antibody."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.scanning.columns import FULL_ROWS
from paratope.data.datasets import load_dataset
from paratope.data.datasets.abbibench import ASSAYS
from paratope.encoders.likelihood import AntibodyLanguage
from paratope.molecules.sequences import Antibody, Pair

ASSAY = "aayl49"
FIT_ROWS = {96: 20.0, 384: 45.0, 2000: 240.0}
POOL_ROWS, POOL_SECONDS = 10_000, 60.0
# The landscape of which an antibody is scanned, and how many others a model is adapted to.
SCAN_ASSAY, SCAN_ROWS = "1n8z", 96
SCAN_SECONDS = {"default": 5.0, "adapted": 120.0}
# A scan that is read, not computed: what a person takes for at once.
AGAIN_SECONDS = 2.0


class Clock:
    """What took how long, and how long it may take."""

    def __init__(self) -> None:
        self.timings: list[dict[str, Any]] = []

    def time(self, what: str, limit: float, run: Callable[[], Any]) -> Any:
        """Run something; its seconds and its processor's are recorded."""
        started, worked = time.perf_counter(), time.process_time()
        result = run()
        seconds, processor = time.perf_counter() - started, time.process_time() - worked
        self.timings.append(
            {
                "what": what,
                "seconds": round(seconds, 2),
                "processor_seconds": round(processor, 2),
                "limit": limit,
                "reached": seconds <= limit,
            }
        )
        print(f"{what}: {seconds:.1f} s", flush=True)
        return result


def speed_lines(root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Raw rows and the page; on all cores, as a user's commands run."""
    import torch
    from threadpoolctl import threadpool_limits

    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    threadpool_limits(cores)
    clock = Clock()
    _campaigns(root, clock)
    _scans(root, clock)
    return clock.timings, speed_page(clock.timings)


def speed_page(timings: list[dict[str, Any]]) -> list[str]:
    """A table of what took how long, beside its limit."""
    return [
        "# Campaigns: seconds",
        "",
        f"Fitting, report, prediction and suggestion: variants of {ASSAY} (AbBiBench), heavy "
        "chains; embeddings cached before. Reports: the limit is twice that of the fit. Scans: all "
        f"single mutants of both chains of an antibody of {SCAN_ASSAY}, by the default model, "
        f"which encodes nothing, and by one adapted to {SCAN_ROWS} measurements, which encodes the "
        f"{FULL_ROWS} best by its fast form.",
        "",
        "| what | seconds | of processor time | limit | reached |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {row['what']} | {row['seconds']:.1f} | {row['processor_seconds']:.1f} | "
            f"{row['limit']:g} | {'yes' if row['reached'] else 'no'} |"
            for row in timings
        ),
    ]


def _campaigns(root: Path, clock: Clock) -> None:
    from paratope.campaigns.adaptation import validate
    from paratope.campaigns.adaptation.validation import AssayPredictor, campaign_fitter
    from paratope.campaigns.suggestion import suggest
    from paratope.models.predictor import Predictor

    rows = _variants(ASSAY, root)
    order = np.random.default_rng(0).permutation(len(rows))
    language = AntibodyLanguage()
    refit = campaign_fitter(language)
    pool = _pool(rows, POOL_ROWS)
    _encode(language, [*pool, *(row.pair for row in rows[: max(FIT_ROWS)])])
    for count, limit in FIT_ROWS.items():
        chosen = [rows[index] for index in order[:count]]
        _encode(language, [row.pair for row in chosen])
        campaign = _campaign(chosen)
        model = clock.time(
            f"fit {count:,} rows",
            limit,
            lambda campaign=campaign: CampaignModel.fit(campaign, language=language),
        )
        clock.time(
            f"report for {count:,} rows",
            2 * limit,
            lambda campaign=campaign: validate(campaign, lambda part: AssayPredictor(refit(part))),
        )
        with tempfile.TemporaryDirectory() as folder:
            predictor = Predictor.load(_written(model, Path(folder)))
            clock.time(
                f"predict {POOL_ROWS:,} variants with a model of {count:,} rows",
                POOL_SECONDS,
                lambda predictor=predictor: predictor.predict(pool),
            )
        with tempfile.TemporaryDirectory() as folder:  # nothing remembered from the prediction
            predictor = Predictor.load(_written(model, Path(folder)))
            clock.time(
                f"suggest 96 of {POOL_ROWS:,} with a model of {count:,} rows",
                POOL_SECONDS,
                lambda predictor=predictor: suggest(predictor, 96, candidates=pool),
            )


def _scans(root: Path, clock: Clock) -> None:
    from paratope.campaigns.scanning import scan

    rows = _variants(SCAN_ASSAY, root)
    order = np.random.default_rng(0).permutation(len(rows))
    campaign = _campaign([rows[index] for index in order[:SCAN_ROWS]])
    subject = campaign.pairs[0]
    for name, limit in SCAN_SECONDS.items():
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            source: Any = name
            if name == "adapted":
                model = CampaignModel.fit(campaign, language=AntibodyLanguage(cache=cache))
                source = _written(model, cache)

            def run(source: Any = source, cache: Path = cache) -> Any:
                return scan(source, subject.antibody, subject.antigen, cache=cache)

            what = f"scan with the {name} model"
            scanned = clock.time(f"{what}, nothing cached", limit, run)
            clock.timings[-1]["mutants"] = scanned.variants.height
            clock.time(f"{what}, repeated", AGAIN_SECONDS, run)


def _variants(assay: str, root: Path) -> list[Any]:
    measurements = load_dataset(f"abbibench_{assay}", root, as_published=True).measurements
    return list({row.pair.antibody.chains: row for row in measurements}.values())


def _encode(language: AntibodyLanguage, pairs: list[Pair]) -> None:
    """Fill the store before the clock starts."""
    for _ in language.embeddings(
        sorted({chains for pair in pairs for chains in pair.antibody.chains})
    ):
        pass


def _written(model: CampaignModel, folder: Path) -> Path:
    from paratope.campaigns.campaign_bundle import campaign_bundle
    from paratope.models.bundle import write_bundle

    bundle = campaign_bundle(model, metrics={}, environment={}, card="# Speed\n")
    return write_bundle(bundle, folder / "campaign")


def _pool(rows: list[Any], count: int) -> list[Pair]:
    """Recombinations of the landscape's variants: as many changed sites as they have."""
    random = np.random.default_rng(1)
    context = rows[0].pair
    heavies = [row.pair.antibody.heavy for row in rows]
    length = len(heavies[0])
    same = [heavy for heavy in heavies if len(heavy) == length]
    made: dict[str, None] = {}
    while len(made) < count:
        left, right = (same[index] for index in random.integers(len(same), size=2))
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


assert {ASSAY, SCAN_ASSAY} <= set(ASSAYS)
