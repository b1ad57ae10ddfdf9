"""Campaigns of many rows: two models are made, the better one is kept, up to the next round."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.adaptation import adapt
from paratope.campaigns.adaptation import networks as tuning
from paratope.campaigns.adaptation.networks import NETWORKS, ModelCandidate, NetworkOptions
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import INDUCING_ROWS, SparseCampaignModel
from paratope.data.tables import frame_from_measurements
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.opening import predictor_of
from small_campaigns import PARENT, exact_campaign
from test_large_campaign import ANTIGEN, PLACES, VH, VL
from trained_models import TrainedRun

ROWS = 240


def made(count: int, label: str = "pkd") -> Campaign:
    """Two changes of a heavy chain each, with effects that add up; two assays of some variants."""
    random = np.random.default_rng(2)
    effects = {(place, residue): random.normal(0, 0.7) for place in PLACES for residue in "ADFKSY"}
    known: dict[str, float] = {}
    while len(known) < count - 20:
        chain, total = list(VH), 8.0
        for place in random.choice(PLACES, size=2, replace=False):
            residue = str(random.choice(list("ADFKSY")))
            chain[place] = residue
            total += effects[place, residue]
        known.setdefault("".join(chain), total)
    chains = [*known, *list(known)[:20]]
    values = np.array([known[chain] for chain in chains]) + random.normal(0, 0.2, count)
    pairs = [Pair(Antibody(chain, VL, f"v{n}"), ANTIGEN) for n, chain in enumerate(chains)]
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


TRAIN, TEST = 5_100, 200
NETWORK_SECONDS = 60.0


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

    # as the command does, with less time for the networks
    adapted = adapt(train, model, report=False, network_seconds=NETWORK_SECONDS)
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
