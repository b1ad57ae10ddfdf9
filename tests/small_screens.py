"""Small libraries, and what the tests of screens ask of the folders that come of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from small_campaigns import HEAVY

LONGER = HEAVY[:100] + "GY" + HEAVY[100:]
NO_ANTIBODIES = ["EVQL", HEAVY[:50] + "1" + HEAVY[51:]]


def variants(count: int, seed: int = 0, most: int = 4) -> list[str]:
    """Heavy chains with up to so many changes, most of them where the campaign has its own."""
    random = np.random.default_rng(seed)
    places = [30, 52, 56, *range(98, 105)]
    made = []
    for _ in range(count):
        residues = list(HEAVY)
        for place in random.choice(places, random.integers(1, most + 1), replace=False):
            residues[place] = str(random.choice(list("ADEFGHIKLMNPQRSTVY")))
        made.append("".join(residues))
    return made


def write_fasta(path: Path, chains: list[str]) -> Path:
    path.write_text("".join(f">v{n}\n{chain}\n" for n, chain in enumerate(chains)))
    return path


@contextlib.contextmanager
def blocks_of(fast: int, rescored: int, sample: int) -> Iterator[None]:
    """Blocks so small that a screen of few rows has many."""
    with pytest.MonkeyPatch.context() as patch:
        for name, rows in {"FAST": fast, "RESCORED": rescored, "SAMPLE": sample}.items():
            patch.setattr(f"paratope.screening.run.{name}_ROWS", rows)
        patch.setattr("paratope.screening.funnel._FIRST_MORE", 10)
        yield


def parts(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "parts").iterdir())])


def check_same_screen(folder: Path, whole: Path, rows: int) -> pl.DataFrame:
    """Rows of a screen that was killed are those of a whole one, each once."""
    ours, theirs = parts(folder), parts(whole)
    assert ours["row"].to_list() == list(range(rows))
    assert ours.drop("fast").equals(theirs.drop("fast"))
    np.testing.assert_allclose(ours["fast"], theirs["fast"], atol=1e-6)  # sums of single precision
    for name in ("hits.csv", "rejected.csv", "histogram.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert not list(folder.rglob("*.tmp"))
    return ours
