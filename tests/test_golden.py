"""The default model: what it is, what it says of well-known pairs, that it makes sense."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.models.bundle import bundled_folder, read_bundle
from paratope.models.predictor import Predictor
from paratope.molecules.numbering import cdrs
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair

GOLDEN = Path(__file__).parent / "golden" / "default_model.json"
REGENERATE = (
    "the default model's predictions changed; if that is meant, run "
    "`.venv/bin/python tests/golden/regenerate.py` and say so in CHANGELOG.md"
)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load("default", device="cpu", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def examples(predictor: Predictor, repository: Path) -> pl.DataFrame:
    return predictor.predict(repository / "examples" / "pairs.csv")


def test_released_predictions(examples: pl.DataFrame):
    golden = json.loads(GOLDEN.read_text())
    assert examples["id"].to_list() == golden["id"], REGENERATE
    assert examples["domain"].to_list() == golden["domain"], REGENERATE
    for name in ("pkd", "pkd_low", "pkd_high", "p_strong"):
        np.testing.assert_allclose(examples[name], golden[name], atol=1e-4, err_msg=REGENERATE)


def test_size_and_members():
    folder = bundled_folder("default")
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 20e6
    assert read_bundle(folder).config["members"] >= 3


def test_card_and_readme_lead_with_the_truth(repository: Path):
    """What the first sentence claims follows from the numbers on unseen antigens."""
    bundle = read_bundle(bundled_folder("default"))
    unseen = bundle.metrics["unseen_antigens"]
    proven = (
        unseen["rmse_difference_95"][1] < 0 and unseen["within_antigen_spearman"]["mean_95"][0] > 0
    )
    first = next(line for line in bundle.card.splitlines()[1:] if line)
    claim = "Better than the constant" if proven else "No better than the constant"
    assert first.startswith(f"**{claim} on unseen antigens")
    assert first in (repository / "README.md").read_text()


def test_held_out_intervals_cover():
    """Nominal 90 % covers at least 85 % of held-out rows in every domain, and is not idly wide."""
    metrics = read_bundle(bundled_folder("default")).metrics
    for part in ("unseen_antigens", "unseen_antibodies"):
        for domain, reached in metrics[part]["coverage_reached"].items():
            if metrics[part]["rows_by_domain"][domain] >= 40:
                assert 0.85 <= reached <= 0.97, (part, domain)


def test_heavy_cdrs_to_alanine_lower_the_pkd_and_point_mutants_differ(predictor, examples):
    row = examples.row(by_predicate=pl.col("id") == "trastuzumab-HER2", named=True)
    heavy, light, target = row["heavy"], row["light"], Antigen(tuple(row["antigen"].split("|")))
    bare = heavy
    for name in ("H1", "H2", "H3"):
        loop = cdrs(Antibody(heavy, light))[name]
        bare = bare.replace(loop, "A" * len(loop))
    chains = [heavy, bare, *(heavy[:98] + one + heavy[99:] for one in AMINO_ACIDS)]
    values = predictor.predict_pkd([Pair(Antibody(one, light), target) for one in chains])
    before, after, *mutants = values.round(4)
    assert after < before
    assert len(np.unique(mutants)) == len(AMINO_ACIDS)


def test_known_pairs_are_in_domain_and_the_absurd_one_says_it_is_not(examples: pl.DataFrame):
    rows = dict(zip(examples["id"], examples.select("domain", "note").iter_rows(), strict=True))
    assert rows["trastuzumab-HER2"][0] == rows["D1.3-lysozyme"][0] == "in"
    assert rows["trastuzumab-ubiquitin"][0] == "out"
    assert "out of domain" in rows["trastuzumab-ubiquitin"][1]


def test_antigens_of_others_do_not_make_an_antibody_strong(predictor, examples):
    known, antigens = examples.filter(domain="in"), examples.unique("antigen")
    pairs = known.select("heavy", "light", own="id", known="antigen").join(
        antigens.select("id", "antigen"), how="cross"
    )
    told = predictor.predict(pairs)
    own = pl.col("antigen") == pl.col("known")
    ranks = told.select("own", own.alias("is_own"), rank=pl.col("p_strong").rank().over("own"))
    ranks = dict(ranks.filter("is_own").select("own", "rank").iter_rows())
    assert ranks["trastuzumab-HER2"] == len(antigens)
    assert sum(ranks.values()) > 0.85 * len(antigens) * len(known)
