"""`adapt` from Python and from the command line: models, reports, and every kind of bad input."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import Run
from paratope.campaigns.adaptation import Adapted, adapt
from paratope.core.errors import InputError, ModelError, OutputError
from paratope.models.bundle import read_bundle
from paratope.models.prediction import OUTPUT_COLUMNS, SCORE_COLUMNS
from paratope.models.predictor import Predictor
from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.sequences import Antibody, Antigen
from test_numbering import LYSOZYME, VH, VHH, VK

PARENT = Antibody(VH, VK, "wt")
OTHER_ANTIGEN = "MKVLAAGIVGLLLAQWERTYHHGDSEEKKLMNPQRSTVWYACDEFGHIKLMNPQ"
# places of CDR-H3 and of CDR-L3, and what mutating each of them costs
EFFECTS = {
    "H:W99": -1.0,
    "H:G100": -0.5,
    "H:G101": 0.4,
    "H:D102": -0.2,
    "L:Q89": -0.8,
    "L:H91": 0.1,
}
LETTERS = "AFKSTV"
NANOBODY = pl.DataFrame([{"id": "nano", "heavy": VHH, "light": "", "antigen": LYSOZYME}])


def row_of(text: str, **columns: object) -> dict[str, object]:
    made = apply_mutations(PARENT, parse_mutations(text, PARENT))
    return {"id": text, "heavy": made.heavy, "light": made.light, **columns}


def plate(column: str = "pkd", antigen: str | None = LYSOZYME, **more: object) -> pl.DataFrame:
    """Single mutants and the wild type, 25 rows."""
    rng = np.random.default_rng(0)
    rows = [row_of("WT", **{column: 8.0})]
    for place, effect in EFFECTS.items():
        for number, letter in enumerate(LETTERS[:4]):
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
    assert np.abs((frame["pkd"] - again["pkd"]).to_numpy()).max() < 1e-4
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
    for path in sorted(folders[0].rglob("*")):
        if path.is_file():
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


def failing(frame: pl.DataFrame, tmp_path: Path, run_paratope: Run, *more: str) -> str:
    """What the command says, without a traceback and without a folder."""
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    frame.write_csv(source)
    command = ("adapt", source, "-o", folder, "--prior", "none", "--no-report", *more)
    done = run_paratope(*command, code=2)
    assert not folder.exists()
    assert done.err.startswith("Error: ")
    return done.err


def mixed_units() -> pl.DataFrame:
    pkd = plate()[:12].with_columns(score=pl.lit(None, pl.Float64))
    score = plate("score")[12:].with_columns(pkd=pl.lit(None, pl.Float64)).select(pkd.columns)
    return pl.concat([pkd, score])


@pytest.mark.parametrize(
    ("frame", "messages"),
    [
        (plate()[:1], ("a campaign needs at least two measured variants, got 1; 24 or more",)),
        (
            plate().with_columns(pkd=pl.lit(7.0)),
            ("all 25 measured values are 7: there is nothing",),
        ),
        (
            plate().with_columns(pkd=pl.lit("<5")),
            ("all 25 values are bounds (25 at most 5)", "at least one variant inside the assay's"),
        ),
        (mixed_units(), ("mixed units: 12 rows have a pKd or Kd", "13 rows have only a score")),
    ],
    ids=["one measurement", "all equal", "all bounds", "mixed units"],
)
def test_what_cannot_be_learned_from(frame, messages, tmp_path, run_paratope):
    stderr = failing(frame, tmp_path, run_paratope)
    assert all(message in stderr for message in messages)


def test_mixed_units_within_a_column_leave_the_rest_usable(tmp_path, run_paratope):
    """A Kd in M among Kd in nM: named, left out, the others learned from."""
    frame = plate().with_columns(kd_nM=10 ** (9 - pl.col("pkd"))).drop("pkd")
    frame[5, "kd_nM"] = 3e-9
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    frame.write_csv(source)
    done = run_paratope("adapt", source, "-o", folder, "--prior", "none", "--no-report", code=3)
    assert "1 of 25 rows are left out" in done.err
    assert "it looks like a Kd in M" in done.err
    assert "learned from 24 values" in done.err
    assert Predictor.load(folder).predict(pool())["error"].null_count() == 4


def test_two_assays_without_overlap():
    assay = pl.when(pl.int_range(pl.len()) < 13).then(pl.lit("spr")).otherwise(pl.lit("bli"))
    found, predictor = quick(plate().with_columns(assay=assay))
    assert any("no variant was also measured in 'spr'" in note for note in found.campaign.notes)
    assert predictor.predict(pool())["error"].null_count() == 4


def test_a_wrong_parent_is_said_and_the_model_still_made():
    nano = NANOBODY.with_columns(pkd=pl.lit(6.0)).select(plate().columns)
    parent = pl.when(pl.col("id") == "nano").then(pl.lit("")).otherwise(pl.lit("nano"))
    found, predictor = quick(pl.concat([plate(), nano]).with_columns(parent=parent))
    assert any("wrong parent: 'nano'" in note for note in found.campaign.notes)
    predicted = predictor.predict(pool())["pkd"]
    assert predicted[0] < predicted[1]


def test_a_third_of_contradictory_replicates():
    """Said, the noise grows, and the ranking is still of use."""
    rng = np.random.default_rng(1)
    shift = np.where(np.arange(25) % 3 == 0, 1.6, 0.0) * rng.choice([-1, 1], 25)
    again = plate().with_columns(pkd=pl.col("pkd") + pl.Series(shift + 0.05 * rng.normal(size=25)))
    found, predictor = quick(pl.concat([plate(), again]))
    (note,) = [note for note in found.campaign.notes if "contradict" in note]
    assert "replicates of 9 of 25 repeated variants contradict" in note
    calm, calm_predictor = quick(plate())
    assert found.model.noise_variance > calm.model.noise_variance
    frames = [one.predict(pool()) for one in (predictor, calm_predictor)]
    widths = [(frame["pkd_high"] - frame["pkd_low"]).mean() for frame in frames]
    assert widths[0] > widths[1]
    assert frames[0]["pkd"][0] < frames[0]["pkd"][1]


@pytest.mark.parametrize(
    ("others", "note"),
    [
        (pool(OTHER_ANTIGEN), "another antigen than the campaign's"),
        (NANOBODY, "another antibody than the campaign's"),
    ],
)
def test_a_pool_of_other_molecules(others, note, adapted):
    out = adapted.predictor().predict(pl.concat([pool(), others]))
    assert out["domain"].to_list() == ["in"] * 4 + ["out"] * others.height
    assert all(note in text for text in out["note"][4:])
    width = (out["pkd_high"] - out["pkd_low"]).to_numpy()
    assert width[4:].min() > width[:4].max()


def test_several_antigens_given_for_all_rows(tmp_path, run_paratope):
    fasta = tmp_path / "two.fasta"
    fasta.write_text(f">a\n{LYSOZYME}\n>b\n{OTHER_ANTIGEN}\n")
    said = failing(plate(antigen=None), tmp_path, run_paratope, "--antigen", str(fasta))
    assert "2 antigens given for all rows; expected one, or a column 'antigen'" in said


def test_a_folder_that_is_no_model_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is no model folder"):
        adapt(plate(), tmp_path)
    with pytest.raises(OutputError, match="this is a file; expected a folder"):
        adapt(plate(), tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_single_domain_campaign():
    rows = [
        {"heavy": VHH[: n - 1] + letter + VHH[n:], "kd_nM": 10.0 + 3 * (n % 7), "antigen": LYSOZYME}
        for n in (28, 29, 30, 31, 100, 101)
        for letter in "AST"
        if VHH[n - 1] != letter
    ]
    _, predictor = quick(pl.DataFrame(rows))
    predicted = predictor.predict(pl.DataFrame([{"heavy": VHH}]))
    assert predicted["error"].null_count() == 1
    assert predicted["domain"][0] == "in"


def test_indels_are_learned_from_and_antigens_may_be_objects():
    indels = (("H:103insG", 7.0), ("H:G101del", 7.5), ("H:103insGS", 6.5))
    extra = pl.DataFrame([row_of(text, pkd=value) for text, value in indels])
    antigens = [Antigen((LYSOZYME,), "HEL")]
    found, predictor = quick(pl.concat([plate(antigen=None), extra]), antigens=antigens)
    assert found.campaign.antigens == tuple(antigens)
    out = predictor.predict(pl.DataFrame([row_of("H:103insS"), row_of("WT")]))
    assert out["error"].null_count() == 2
    assert out["pkd"][0] < out["pkd"][1]
