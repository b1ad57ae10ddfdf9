"""`adapt` from Python and from the command line: models, reports, and campaigns of many rows."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.adaptation import Adapted, adapt
from paratope.campaigns.adaptation import networks as tuning
from paratope.campaigns.adaptation.networks import NETWORKS, ModelCandidate, NetworkOptions
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import INDUCING_ROWS, SparseCampaignModel
from paratope.core.errors import InputError, ModelError
from paratope.data.tables import frame_from_measurements
from paratope.models.bundle import read_bundle
from paratope.models.prediction import OUTPUT_COLUMNS, SCORE_COLUMNS
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.opening import predictor_of
from small_campaigns import PARENT, additive_mutants, exact_campaign, row_of
from test_large_campaign import ANTIGEN, PLACES
from test_numbering import LYSOZYME, VH, VHH
from test_numbering import VK as VL
from trained_models import TrainedRun

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
    return adapt(plate(), folder)


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
                 "24 more measurements", "Expected before measurements**: what"):  # fmt: skip
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
    assert "by the general model default" in (tmp_path / "c" / "card.md").read_text("utf-8")
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


ROWS = 240


def made(count: int, label: str = "pkd") -> Campaign:
    """Changes of a heavy chain, with effects that add up; two assays of some variants."""
    random = np.random.default_rng(2)
    known = additive_mutants(random, count - 20, [("H", place) for place in PLACES], 3, 0.7)
    chains = [*known, *list(known)[:20]]
    values = np.array([known[one] for one in chains]) + random.normal(0, 0.2, count)
    pairs = [Pair(Antibody(*one, f"v{n}"), ANTIGEN) for n, one in enumerate(chains)]
    values = values if label == "pkd" else 10.0 ** (values - 8)
    made = exact_campaign(pairs, values, Pair(PARENT, ANTIGEN))
    again = (np.arange(count) >= count - 20).astype(int)
    return dataclasses.replace(made, label=label, assay=again, assays=("plate", "other plate"))


@pytest.fixture(scope="module")
def networks(tiny_predictor: Predictor) -> tuning.TunedNetworks:
    told = []
    options, report = NetworkOptions(1.0, device="cpu"), lambda *reported: told.append(reported)
    found = tuning.tune_networks(made(ROWS), tiny_predictor, options, progress=report)
    trained = [(done, total) for stage, done, total in told if stage == "training networks"]
    assert trained[-1][1] == NETWORKS * found.epochs
    assert trained == sorted(trained)
    return found


def test_every_row_is_predicted_by_a_network_that_did_not_see_it(networks: tuning.TunedNetworks):
    campaign = made(ROWS)
    bundle = networks.predictor.bundle
    assert bundle.config["members"] == NETWORKS
    told = networks.predict_pkd(campaign.pairs)
    alone = []
    for number in range(NETWORKS):
        own = [name for name in bundle.weights if name.startswith(f"{number}.")]
        weights = {f"0.{name.partition('.')[2]}": bundle.weights[name] for name in own}
        config = {**bundle.config, "members": 1}
        single = dataclasses.replace(bundle, config=config, weights=weights)
        alone.append(predictor_of(single, "cpu").predict_pkd(campaign.pairs))
    of_first, of_second = (np.isclose(told, one, atol=1e-4) for one in alone)
    assert (of_first | of_second).all()
    assert 0.3 < of_first.mean() < 0.7
    twice = of_first[:20] == of_first[-20:]  # the same variants in the other assay
    assert twice.all()
    mean = networks.predictor.predict_pkd(campaign.pairs)
    np.testing.assert_allclose(mean, np.mean(alone, axis=0), atol=1e-4)


def test_new_variants_are_told_by_all_networks(networks: tuning.TunedNetworks):
    new = [Pair(Antibody(VH.replace("WGGDG", "AGADA"), VL, "new"), ANTIGEN)]
    np.testing.assert_allclose(networks.predict_pkd(new), networks.predictor.predict_pkd(new))


def test_a_budget_cuts_epochs_then_rows(tiny_predictor: Predictor):
    found = tuning.tune_networks(made(ROWS), tiny_predictor, NetworkOptions(1e-3, device="cpu"))
    assert found.epochs == 3
    assert found.rows <= ROWS // NETWORKS + 1
    assert found.seconds < 60


def test_scores_are_learned_as_pkd_without_an_antigen(tiny_predictor: Predictor):
    campaign = made(ROWS, "score")
    unknown = Antigen(("X",))
    pairs = tuple(Pair(pair.antibody, unknown) for pair in campaign.pairs)
    nameless = dataclasses.replace(campaign, pairs=pairs)
    found = tuning.tune_networks(nameless, tiny_predictor, NetworkOptions(0.5, device="cpu"))
    told = found.predict_pkd(pairs)
    assert np.isfinite(told).all()
    assert 5.0 < told.mean() < 12.0


def test_additive_effects_need_no_network(tiny_predictor: Predictor):
    campaign = made(ROWS)
    options = NetworkOptions(0.5, device="cpu")
    model, choice = tuning.choose_model(
        campaign, general=tiny_predictor, inducing=60, options=options
    )
    assert choice.kept == tuning.SPARSE
    assert isinstance(model, SparseCampaignModel)
    assert model.prior is tiny_predictor
    assert len(model.campaign) == ROWS
    assert choice.train_rows + choice.judged_rows == ROWS
    assert choice.judged_rows == pytest.approx(0.1 * ROWS, abs=2)
    assert [one.spearman > 0.6 for one in choice.candidates] == [True, True]
    assert "kept: sparse Gaussian process" in choice.sentence
    assert json.loads(json.dumps(choice.to_json(), allow_nan=False))["kept"] == tuning.SPARSE


@pytest.mark.slow
def test_effects_that_many_antigens_share_need_networks():
    """What is good against one kind of antigens is bad against the other, each antigen met a few
    times: the kernel learns of each antigen alone, networks see which are of one kind.
    """
    random = np.random.default_rng(1)
    kinds = [ANTIGEN.chains[0], "GSHMWWPLEKKDDTTRRAANNQ" * 2]
    antigens = [
        [Antigen((chain + "GS" * tail,), f"{kind}.{tail}") for tail in range(1, 21)]
        for kind, chain in enumerate(kinds)
    ]
    known: dict[str, float] = {}
    while len(known) < 400:
        chain = list(VH)
        for place in random.choice(PLACES, size=4, replace=False):
            chain[place] = str(random.choice(list("ADFKSY")))
        known.setdefault("".join(chain), 1.5 if chain[101] in "DFY" else -1.5)
    kind = np.arange(400) % 2
    values = 8.0 + np.where(kind == 0, 1, -1) * np.array(list(known.values()))

    def pairs(kinds: np.ndarray) -> tuple[Pair, ...]:
        return tuple(
            Pair(Antibody(chain, VL, f"v{number}"), antigens[own][number // 2 % 20])
            for number, (chain, own) in enumerate(zip(known, kinds.tolist(), strict=True))
        )

    measured = values + random.normal(0, 0.1, 400)
    campaign = exact_campaign(pairs(kind), measured, Pair(PARENT, ANTIGEN))
    options = NetworkOptions(3000, device="cpu")
    model, choice = tuning.choose_model(campaign, inducing=60, options=options)
    assert choice.kept == tuning.NETWORK
    assert choice.candidates[1].rmse < 0.5 * choice.candidates[0].rmse
    assert len(model.campaign) == 400
    assert isinstance(model.prior, Predictor)
    assert model.importance().terms["general_model"] > 0.5
    # the other kind's view of a variant, which was never measured
    assert np.corrcoef(model.predict(pairs(1 - kind)), 16 - values)[0, 1] > 0.9


def test_what_ranks_better_is_kept():
    weak, strong = ModelCandidate("weak", 0.4, 1.0, 1.0), ModelCandidate("strong", 0.6, 1.0, 1.0)
    assert tuning.better(weak, strong) is strong
    assert tuning.better(strong, weak) is strong
    nothing = ModelCandidate("nothing", float("nan"), 1.0, 1.0)
    assert tuning.better(strong, nothing) is strong
    said = tuning.ModelChoice("weak", (nothing,), 1, 1, {}).to_json()
    assert said["candidates"][0]["spearman"] is None


def test_adapt_makes_a_large_campaigns_model(tiny_run: TrainedRun, tmp_path: Path):
    campaign = made(100)
    table, folder = frame_from_measurements(campaign.measurements()), tmp_path / "model"
    told = set()
    limits = {"exact_rows": 90, "network_seconds": 0.5, "report": False, "device": "cpu"}
    progress = lambda what, done, total: told.add(what)  # noqa: E731
    adapted = adapt(table, folder, prior=tiny_run.folder, progress=progress, **limits)
    assert {"fitting", "training networks"} <= told
    note = adapted.campaign.notes[-1]
    assert note == adapted.choice.sentence
    assert note in (folder / "card.md").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["choice"]["kept"] == adapted.choice.kept
    predictor = Predictor.load(folder, "cpu")
    frame = predictor.predict(table.head(5))
    np.testing.assert_allclose(
        frame["pkd"].to_numpy(), adapted.model.predict(campaign.pairs[:5]), atol=2e-3
    )


# More rows than inducing points, and more than one exact process may learn from.
TRAIN, EXACT, TEST = 2_200, 2_100, 200
NETWORK_SECONDS = 30.0


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_simulated_landscape_from_adapt_to_suggest(tmp_path, run_paratope):
    table = tmp_path / "table.csv"
    run_paratope(
        *("data", "simulate", "-o", table, "--antibodies", TRAIN + TEST, "--antigens", 1),
        *("--noise", 0.3, "--floor", 7, "--seed", 1, "--single-domain"),
        code=0,
    )
    frame = pl.read_csv(table, infer_schema=False)
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    frame.head(TRAIN).write_csv(train)
    frame.tail(TEST).write_csv(test)
    model = tmp_path / "model"

    # as the command does with more than 5,000 rows, and with less time for the networks
    limits = {"exact_rows": EXACT, "network_seconds": NETWORK_SECONDS}
    adapted = adapt(train, model, report=False, **limits)
    assert any("two models learned from" in note for note in adapted.campaign.notes)
    choice = json.loads((model / "metrics.json").read_text())["choice"]
    assert choice["train_rows"] + choice["judged_rows"] == TRAIN
    assert all(one["spearman"] > 0.3 for one in choice["candidates"])
    campaign = json.loads((model / "campaign.json").read_text())
    assert len(campaign["anchors"]) <= INDUCING_ROWS < len(campaign["pairs"]) == TRAIN

    run_paratope("predict", test, "--model", model, "-o", tmp_path / "told.csv", code=0)
    told = pl.read_csv(tmp_path / "told.csv", infer_schema_length=None)
    measured = frame.tail(TEST)["pkd"]
    exact = ~measured.str.starts_with("<").to_numpy()
    value = measured.str.strip_chars("<").cast(float).to_numpy()
    mean, low, high = (told[name].to_numpy() for name in ("pkd", "pkd_low", "pkd_high"))
    assert np.corrcoef(mean[exact], value[exact])[0, 1] > 0.4
    assert 0.83 <= np.mean((low <= value) & (value <= high), where=exact) <= 0.97
    assert mean[~exact].mean() < mean[exact].mean()  # bounds lie low

    chosen = tmp_path / "next.csv"
    run_paratope("suggest", model, "--batch", 24, "--candidates", test, "-o", chosen, code=0)
    assert pl.read_csv(chosen)["heavy"].n_unique() == 24
