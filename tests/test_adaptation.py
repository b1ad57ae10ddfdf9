"""`adapt` from Python and from the command line: models and reports."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.adaptation import Adapted, adapt
from paratope.core.errors import InputError, ModelError
from paratope.models.bundle import read_bundle
from paratope.models.prediction import OUTPUT_COLUMNS, SCORE_COLUMNS
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antigen
from small_campaigns import row_of
from test_numbering import LYSOZYME, VHH

# places of CDR-H3 and of CDR-L3, and what mutating each of them costs
EFFECTS = {"H:W99": -1.0, "H:G100": -0.5, "H:G101": 0.4, "H:D102": -0.2, "L:Q89": -0.8}
EFFECTS |= {"L:H91": 0.1}


def plate(column: str = "pkd", antigen: str | None = LYSOZYME, **more: object) -> pl.DataFrame:
    """Single mutants and the wild type, 25 rows."""
    rng = np.random.default_rng(0)
    rows = [row_of("WT", **{column: 8.0})]
    for place, effect in EFFECTS.items():
        for number, letter in enumerate("AFKS"):
            value = 8.0 + effect * (1 + 0.3 * number) + 0.05 * rng.standard_normal()
            rows.append(row_of(f"{place}{letter}", **{column: round(value, 3)}))
    frame = pl.DataFrame(rows)
    if antigen is not None:
        frame = frame.with_columns(pl.lit(antigen).alias("antigen"))
    return frame.with_columns(**{name: pl.lit(value) for name, value in more.items()})


def pool(antigen: str | None = LYSOZYME) -> pl.DataFrame:
    """Double mutants that nobody measured."""
    doubles = ("H:W99A,L:Q89A", "H:G101A,L:H91A", "H:G101F,L:H91F", "H:W99F,H:D102A")
    frame = pl.DataFrame([row_of(text) for text in doubles])
    return frame if antigen is None else frame.with_columns(pl.lit(antigen).alias("antigen"))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """The plate's model with its report."""
    folder = tmp_path_factory.mktemp("campaigns") / "my-campaign"
    return adapt(plate(), folder, prior="none")


def quick(frame: pl.DataFrame, **options) -> tuple[Adapted, Predictor]:
    """A model without a report."""
    found = adapt(frame, prior="none", report=False, **options)
    return found, found.predictor()


@pytest.fixture(scope="module")
def nameless() -> Adapted:
    """A model of scores whose antigen nobody named."""
    return adapt(plate("score", None), prior="default", report=False)


def test_a_plate_becomes_a_model_folder(adapted):
    frame = Predictor.load(adapted.folder).predict(pool())
    assert frame.columns[: len(OUTPUT_COLUMNS)] == list(OUTPUT_COLUMNS)
    assert frame["pkd"][0] < frame["pkd"][3] < frame["pkd"][1]  # effects add up
    assert (frame["pkd_low"] < frame["pkd"]).all()
    assert (frame["pkd"] < frame["pkd_high"]).all()
    assert frame["domain"].to_list() == ["in"] * 4
    predictor = adapted.predictor()
    again = predictor.predict(pool())
    for name in ("pkd", "pkd_low", "pkd_high", "p_strong"):
        assert np.abs((frame[name] - again[name]).to_numpy()).max() < 1e-4
    absent = predictor.predict(pool(None))  # the campaign's only antigen need not be repeated
    assert absent["pkd"].to_list() == again["pkd"].to_list()
    assert absent["domain"].to_list() == ["in"] * 4


def test_the_folder_holds_card_and_report(adapted):
    report = adapted.folder / "report"
    names = {path.name for path in report.iterdir()}
    assert names == {
        "expectation.json", "held_out.csv", "held_out.png", "learning_curve.png", "positions.png"
    }  # fmt: skip
    assert {path.name for path in adapted.written} == names
    card = (adapted.folder / "card.md").read_text("utf-8")
    for said in ("25 values (25 exact, 0 bounds)", "| held out |", "one-hot ridge", "H:107",
                 "24 more measurements", "General model beneath**: none"):  # fmt: skip
        assert said in card
    for line in card.splitlines():
        if line.startswith("!["):
            assert (adapted.folder / line.split("](")[1].rstrip(")")).is_file()
    stored = json.loads((report / "expectation.json").read_text("utf-8"))
    assert stored == adapted.report.to_json()
    assert read_bundle(adapted.folder).metrics == stored
    held_out = pl.read_csv(report / "held_out.csv")
    assert sorted(held_out["id"]) == sorted(plate()["id"])


def test_the_report_finds_what_was_put_in(adapted):
    assert adapted.report.learned
    model = adapted.report.validations["random"].model
    assert model.spearman > 0.6
    sites = adapted.model.importance().sites
    strongest = max(sites, key=lambda one: one["spread"])
    assert (strongest["chain"], strongest["imgt"]) in (("H", "107"), ("L", "105"))
    assert strongest["effect"] < 0


def test_equal_measurements_give_equal_bytes(tmp_path):
    folders = [tmp_path / place / "c" for place in "ab"]
    for folder in folders:
        adapt(plate(), folder, prior="none", report=False)
    for path in filter(Path.is_file, folders[0].rglob("*")):
        again = folders[1] / path.relative_to(folders[0])
        assert again.read_bytes() == path.read_bytes(), path.name


def test_scores_without_an_antigen(nameless):
    assert any("no general model is asked" in note for note in nameless.campaign.notes)
    predictor = nameless.predictor()
    for antigen in (None, LYSOZYME):  # an antigen nobody asked for does no harm
        frame = predictor.predict(pool(antigen))
        assert frame["error"].null_count() == 4
        assert set(SCORE_COLUMNS) <= set(frame.columns)
        assert frame["pkd"].null_count() == 4
        assert frame["score"][0] < frame["score"][3] < frame["score"][1]
        assert (frame["score_low"] < frame["score_high"]).all()


def test_a_general_model_beneath(tmp_path):
    found = adapt(plate(), tmp_path / "c", prior="default", report=False)
    assert "general_model" in found.model.weights
    assert "General model beneath**: default" in (tmp_path / "c" / "card.md").read_text("utf-8")
    frame = Predictor.load(tmp_path / "c").predict(pool())
    assert frame["pkd"][0] < frame["pkd"][1]
    with pytest.raises(InputError, match="this is the model of a campaign; expected a general"):
        adapt(plate(), prior=tmp_path / "c")
    with pytest.raises(ModelError, match="unknown model 'nosuch'"):
        adapt(plate(), prior="nosuch")


def test_replicates_bounds_and_assays_together():
    first = plate().with_columns(assay=pl.lit("spr"))
    second = first.with_columns(assay=pl.lit("bli"), pkd=pl.col("pkd") - 1.5)
    frame = pl.concat([first, first[3:9], second[:12]])
    exact = pl.col("pkd").cast(pl.String)
    bounds = pl.when(pl.col("pkd") < 6.4).then(pl.lit("<6.4")).otherwise(exact)
    frame = frame.with_columns(pkd=bounds)
    found, predictor = quick(frame)
    assert found.campaign.assays == ("spr", "bli")
    assert (found.campaign.censoring == -1).any()
    spr = predictor.predict(pool())["pkd"].to_numpy()
    bli = quick(frame, assay="bli")[1].predict(pool())["pkd"].to_numpy()
    assert 0.8 < float(np.mean(spr - bli)) < 2.2  # on the scale that was asked for


def test_the_command_says_what_to_expect(tmp_path, run_paratope):
    source, folder = tmp_path / "plate.csv", tmp_path / "my-campaign"
    plate()[:10].write_csv(source)
    done = run_paratope("adapt", source, "-o", folder, "--prior", "none", code=0)
    for said in ("What to expect", "variants at random", "one-hot Gaussian process",
                 "24 more measurements should buy", "every number of this"):  # fmt: skip
        assert said in done.out
    assert "learned from 10 values of 10 antibodies" in done.err
    pool().write_csv(tmp_path / "pool.csv")
    target = tmp_path / "predictions.csv"
    done = run_paratope("predict", tmp_path / "pool.csv", "--model", folder, "-o", target, code=0)
    assert pl.read_csv(target).height == 4


def test_options_of_the_command(tmp_path, run_paratope):
    source, folder = tmp_path / "elisa.csv", tmp_path / "c"
    plate("OD450", None, well="A1").write_csv(source)
    command = ("adapt", source, "-o", folder, "--no-report", "--columns")
    done = run_paratope(*command, "score=OD450", "--antigen", LYSOZYME, "--prior", "none", code=0)
    assert "What to expect" not in done.out
    assert Predictor.load(folder).label == "score"
    assert not (folder / "report" / "expectation.json").exists()
    assert "Not judged" in (folder / "card.md").read_text("utf-8")
    run_paratope(*command, "score=OD", code=2)
    elsewhere = ("adapt", source, "-o", tmp_path / "d", "--columns", "score=OD450")
    unknown = run_paratope(*elsewhere, "--assay", "spr", code=2)
    assert "unknown assay 'spr'; valid names: elisa" in unknown.err


def test_a_wrong_parent_is_said_and_the_model_still_made():
    row = {"id": "nano", "heavy": VHH, "light": "", "pkd": 6.0, "antigen": LYSOZYME}
    nano = pl.DataFrame([row]).select(plate().columns)
    parent = pl.when(pl.col("id") == "nano").then(pl.lit("")).otherwise(pl.lit("nano"))
    found, predictor = quick(pl.concat([plate(), nano]).with_columns(parent=parent))
    assert any("wrong parent: 'nano'" in note for note in found.campaign.notes)
    predicted = predictor.predict(pool())["pkd"]
    assert predicted[0] < predicted[1]


def test_indels_are_learned_from_and_antigens_may_be_objects():
    indels = (("H:103insG", 7.0), ("H:G101del", 7.5), ("H:103insGS", 6.5))
    extra = pl.DataFrame([row_of(text, pkd=value) for text, value in indels])
    antigens = [Antigen((LYSOZYME,), "HEL")]
    found, predictor = quick(pl.concat([plate(antigen=None), extra]), antigens=antigens)
    assert found.campaign.antigens == tuple(antigens)
    out = predictor.predict(pl.DataFrame([row_of("H:103insS"), row_of("WT")]))
    assert out["error"].null_count() == 2
    assert out["pkd"][0] < out["pkd"][1]
