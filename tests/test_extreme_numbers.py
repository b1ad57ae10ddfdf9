"""Values of 1e300, NaN and outliers are told; settings that would never end are refused at once."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.campaign import campaign_of
from paratope.campaigns.campaign_simulation import ReplayOptions
from paratope.campaigns.scanning.mutational_scan import ScanOptions
from paratope.campaigns.suggestion.acquisition import BatchOptions
from paratope.campaigns.suggestion.candidates import Generation, parse_generators
from paratope.cli.doctor import D13_HEAVY
from paratope.core.errors import InputError
from paratope.data.datasets.simulated import simulate
from paratope.data.splits import split_measurements
from paratope.data.tables import frame_from_measurements
from paratope.evaluation import evaluate
from paratope.molecules.mutations import Mutation
from paratope.molecules.sequences import AMINO_ACIDS, Antibody

RANDOM = np.random.default_rng(0)
TRUE = RANDOM.normal(8, 1, 40)
PRED = TRUE + RANDOM.normal(0, 0.5, 40)
LOW, HIGH = PRED - 1, PRED + 1


def put(values: np.ndarray, value: float) -> np.ndarray:
    """The values with another one at index 3."""
    changed = values.copy()
    changed[3] = value
    return changed


# Columns beside true and pred, rows that are judged, and what is said of the others
EVALUATED: dict[str, tuple[dict[str, object], int, str]] = {
    "prediction": ({"pred": put(PRED, 1e300)}, 39, "prediction is beyond"),
    "measured": ({"true": put(TRUE, -1e300)}, 39, "measured value is beyond"),
    "both": ({"true": put(TRUE, 1e200), "pred": put(PRED, 1e300)}, 39, "is beyond"),
    "a bound": ({"true": [">1e300", *map(str, TRUE[1:])]}, 39, "cannot be read"),
    "NaN": ({"pred": put(PRED, np.nan)}, 39, "no prediction"),
    "infinite": ({"pred": put(PRED, np.inf)}, 39, "prediction is an error"),
    "a low end": ({"pkd_low": put(LOW, -1e300), "pkd_high": HIGH}, 40, "intervals ignored"),
    "a NaN end": ({"pkd_low": LOW, "pkd_high": put(HIGH, np.nan)}, 40, "intervals ignored"),
    "crossed": ({"pkd_low": HIGH, "pkd_high": LOW}, 40, "end below their beginning"),
    "coverage": ({"pkd_low": LOW, "pkd_high": HIGH, "coverage": PRED}, 40, "'coverage' ignored"),
    "p_strong": ({"p_strong": PRED}, 40, "'p_strong' ignored"),
}


@pytest.mark.parametrize("case", EVALUATED)
def test_evaluated_without_them(case: str):
    columns, judged, says = EVALUATED[case]
    report = evaluate(pl.DataFrame({"true": TRUE, "pred": PRED} | columns))
    assert len(report.table) == judged
    assert says in " ".join(report.table.left_out)
    assert report.metrics["pearson"].value == pytest.approx(0.86, abs=0.06)


def campaign(values: np.ndarray) -> object:
    rows = frame_from_measurements(simulate(antibodies=len(values), antigens=1).measurements)
    return campaign_of(rows.select("id", "heavy", "light", "antigen").with_columns(score=values))


@pytest.mark.parametrize(
    "values",
    [TRUE * 1e300, put(TRUE, 1e300), put(TRUE, -1.7e308), 10.0 ** np.linspace(-300, 300, 40)],
    ids=["all", "one", "the largest", "mixed"],
)
def test_nothing_but_huge_values_and_a_campaign_of_huge_scores_are_refused(values: np.ndarray):
    with pytest.raises(InputError, match=r"values are beyond ±1e\+100 \(first: row 'antibody-"):
        campaign(values)
    with pytest.raises(InputError, match="40 rows: measured value is beyond"):
        evaluate(pl.DataFrame({"true": TRUE * 1e200, "pred": PRED}))


@pytest.mark.parametrize(
    ("values", "is_far"),
    [
        (put(TRUE, 1e12), True),
        (put(TRUE, -1e12), True),
        (10.0 ** np.linspace(-9, 9, 40), True),
        (TRUE, False),
        (TRUE * 1e-20, False),
        (10.0 ** (TRUE - 5), False),
        (np.where(TRUE < 8.5, 0.0, TRUE), False),
    ],
    ids=["high", "low", "mixed", "clean", "small", "counts", "floor"],
)
def test_an_outlier_is_named(values: np.ndarray, is_far: bool):
    notes = [note for note in campaign(values).notes if "far from the others" in note]
    assert bool(notes) == is_far
    assert not notes or "leave out what is a slip" in notes[0]


PARENT = Antibody(D13_HEAVY)
ALL = [
    Mutation("H", before, n, after)
    for n, before in enumerate(D13_HEAVY, 1)
    for after in AMINO_ACIDS
    if after != before
]


def split(**options: object) -> object:
    return split_measurements(simulate(antibodies=20, antigens=1).measurements, **options)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "10^23 antibodies": (lambda: simulate(antibodies=10**23), "GB of memory; at most 1,000,000"),
    "many of everything": (
        lambda: simulate(antibodies=1000, antigens=1000, assays=9, measured=1e-6),
        "9e\\+06 measurements",
    ),
    "replicates": (lambda: simulate(replicates=10**9), "at most 1,000,000"),
    "noise": (lambda: simulate(noise_sd=1e300), "noise_sd must be at least 0 and at most 10"),
    "folds": (lambda: split(by="random", folds=10**9), "at most 20, each with a row"),
    "folds -1": (lambda: split(by="random", folds=-1), "at least 2 folds"),
    "fractions": (lambda: split(by="random", fractions=(float("nan"), 0.2)), "that sum to 1"),
    "candidates": (lambda: parse_generators("double:99999"), "at most 20,000 of a kind"),
    "candidates, 5000 digits": (lambda: parse_generators("single:" + "9" * 5000), "at most 20,000"),
    "mutations": (lambda: Generation({}, max_mutations=1000), "at most 100"),
    "batch": (lambda: BatchOptions(10**6), "GB of memory; at most 2000"),
    "repeats": (lambda: ReplayOptions(repeats=10**9).settled(None), "at most 100"),  # type: ignore[arg-type]
    "scan -1": (lambda: ScanOptions(max_mutations=-1).variants(PARENT), "at least 1 mutation"),
    "scan all": (
        lambda: ScanOptions(combine=ALL, max_mutations=1000).variants(PARENT),
        "over 10\\^12 combinations",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_made(case: str):
    ask, says = REFUSED[case]
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(InputError, match=says):
        ask()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - start < 5
    assert peak < 1 << 27
    # more mutations than there are to combine cost nothing
    assert len(ScanOptions(combine=ALL[:2], max_mutations=10**9).variants(PARENT)[1]) == 2


COMMANDS = {
    "data simulate --antibodies 99999999 -o {dir}/t.csv": "at most 1,000,000",
    "data simulate --antibodies 0 -o {dir}/t.csv": "--antibodies",
    f"scan --heavy {D13_HEAVY} --antigen MKVL --max-mutations 0 -o {{dir}}/s": "--max-mutations",
    f"scan --heavy {D13_HEAVY} --antigen {'MKVLITRN' * 9} --variants , -o {{dir}}/s": "alanine",
    f"scan --heavy {D13_HEAVY} --antigen {'MKVLITRN' * 9} --variants -1 -o {{dir}}/s": "-1",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_in_words(command: str, tmp_path: Path, run_paratope: Callable):
    done = run_paratope(*command.format(dir=tmp_path).split())
    assert (done.code, COMMANDS[command] in done.err) == (2, True), done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())
