"""The bundled models: what they are, and what they say of well-known pairs."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.models.bundle import BUNDLED_MODELS, bundled_folder, read_bundle
from paratope.models.predictor import Predictor

GOLDEN = Path(__file__).parent / "golden"
REGENERATE = (
    "the bundled model's predictions changed; if that is meant, run "
    "`.venv/bin/python tests/golden/regenerate.py` and say so in CHANGELOG.md"
)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load("default", device="cpu")


@pytest.fixture(scope="module")
def examples(predictor: Predictor, repository: Path) -> pl.DataFrame:
    return predictor.predict(repository / "examples" / "pairs.csv")


@pytest.mark.parametrize(("name", "tolerance"), [("default", 1e-6), ("network", 1e-4)])
def test_released_predictions(name: str, tolerance: float, repository: Path):
    predictor = Predictor.load(name, device="cpu")
    told = predictor.predict(repository / "examples" / "pairs.csv")
    golden = json.loads((GOLDEN / f"{name}_model.json").read_text())
    assert told["id"].to_list() == golden["id"], REGENERATE
    assert told["domain"].to_list() == golden["domain"], REGENERATE
    for column in ("pkd", "pkd_low", "pkd_high", "p_strong"):
        values = told[column], golden[column]
        np.testing.assert_allclose(*values, atol=tolerance, err_msg=REGENERATE)


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_size(name: str):
    assert sum(file.stat().st_size for file in bundled_folder(name).iterdir()) <= 20e6


def test_card_and_readme_lead_with_the_truth(repository: Path):
    """What the first sentence claims follows from the numbers on unseen antigens."""
    bundle = read_bundle(bundled_folder("default"))
    unseen = bundle.metrics["unseen_antigens"]
    assert unseen["difference_95"][1] < 0
    assert unseen["within_antigen_spearman"]["mean_95"][0] > 0
    first = next(line for line in bundle.card.splitlines()[1:] if line)
    assert first.startswith("**It ranks point mutants a little and cannot tell antigens apart")
    assert first in (repository / "README.md").read_text()


def test_an_antigen_like_no_other_is_out_of_domain_and_says_so(predictor, examples):
    row = examples.filter(pl.col("id") == "trastuzumab-HER2").select("heavy", "light")
    told = predictor.predict(row.with_columns(antigen=pl.lit("MWPHQNRYTCDE" * 9)))
    assert told["domain"][0] == "out"
    assert "out of domain" in told["note"][0]


def test_known_pairs_are_in_domain(examples: pl.DataFrame):
    row = examples.filter(pl.col("id").is_in(["trastuzumab-HER2", "D1.3-lysozyme"]))
    assert row["domain"].to_list() == ["in", "in"]


def test_antigens_of_others_do_not_make_an_antibody_strong(predictor, examples):
    """Of known pairs, and the same antibodies with every other antigen of the table."""
    known, antigens = examples.filter(domain="in"), examples.unique("antigen")
    pairs = known.select("heavy", "light", own="id", known="antigen").join(
        antigens.select("id", "antigen"), how="cross"
    )
    told = predictor.predict(pairs)
    own = pl.col("antigen") == pl.col("known")
    ranks = told.select("own", own.alias("is_own"), rank=pl.col("p_strong").rank().over("own"))
    ranks = dict(ranks.filter("is_own").select("own", "rank").iter_rows())
    assert ranks["trastuzumab-HER2"] >= len(antigens) - 1
    assert sum(ranks.values()) > 0.75 * len(antigens) * len(known)
