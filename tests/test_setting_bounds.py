"""Settings of commands that would take all memory or never end: refused before anything is made."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from paratope.campaigns.campaign_simulation import ReplayOptions
from paratope.campaigns.scanning.mutational_scan import ScanOptions
from paratope.campaigns.suggestion.acquisition import BatchOptions
from paratope.campaigns.suggestion.candidates import Generation, parse_generators
from paratope.cli.doctor import D13_HEAVY
from paratope.core.errors import InputError
from paratope.data.datasets.simulated import simulate
from paratope.data.splits import split_measurements
from paratope.molecules.mutations import Mutation
from paratope.molecules.sequences import AMINO_ACIDS, Antibody

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
    "10^9 antibodies": (lambda: simulate(antibodies=10**9), "GB of memory; at most 1,000,000"),
    "10^23 antibodies": (lambda: simulate(antibodies=10**23), "at most 1,000,000"),
    "many of everything": (
        lambda: simulate(antibodies=1000, antigens=1000, assays=9, measured=1e-6),
        "9e\\+06 measurements",
    ),
    "replicates": (lambda: simulate(replicates=10**9), "at most 1,000,000"),
    "noise": (lambda: simulate(noise_sd=1e300), "noise_sd must be at least 0 and at most 10"),
    "folds": (lambda: split(by="random", folds=10**9), "at most 20, each with a row"),
    "folds 0": (lambda: split(by="random", folds=0), "at least 2 folds"),
    "folds -1": (lambda: split(by="random", folds=-1), "at least 2 folds"),
    "fractions": (lambda: split(by="random", fractions=(float("nan"), 0.2)), "that sum to 1"),
    "candidates": (lambda: parse_generators("double:99999"), "at most 20,000 of a kind"),
    "candidates, 5000 digits": (lambda: parse_generators("single:" + "9" * 5000), "at most 20,000"),
    "candidates 0": (lambda: parse_generators("single:000"), "at least 1"),
    "candidates -1": (lambda: parse_generators("single:-1"), "at least 1"),
    "mutations": (lambda: Generation({}, max_mutations=1000), "at most 100"),
    "batch": (lambda: BatchOptions(10**6), "GB of memory; at most 2000"),
    "repeats": (lambda: ReplayOptions(repeats=10**9).settled(None), "at most 100"),  # type: ignore[arg-type]
    "scan 0": (lambda: ScanOptions(max_mutations=0).variants(PARENT), "at least 1 mutation"),
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


def test_more_mutations_than_there_are_to_combine_cost_nothing():
    assert len(ScanOptions(combine=ALL[:2], max_mutations=10**9).variants(PARENT)[1]) == 2


COMMANDS = {
    "data simulate --antibodies 99999999 -o {dir}/t.csv": "at most 1,000,000",
    "data simulate --antibodies 0 -o {dir}/t.csv": "--antibodies",
    f"scan --heavy {D13_HEAVY} --antigen MKVL --max-mutations 0 -o {{dir}}/s": "--max-mutations",
    f"scan --heavy {D13_HEAVY} --antigen {'MKVLITRN' * 9} --combine , -o {{dir}}/s": "no mutation",
    f"scan --heavy {D13_HEAVY} --antigen {'MKVLITRN' * 9} --combine -1 -o {{dir}}/s": "-1",
    "evaluate t.csv --seed -1": "--seed",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_in_words(command: str, tmp_path: Path, run_paratope: Callable):
    done = run_paratope(*command.format(dir=tmp_path).split())
    assert (done.code, COMMANDS[command] in done.err) == (2, True), done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())
