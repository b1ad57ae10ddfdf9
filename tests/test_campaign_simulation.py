"""Replayed campaigns: landscapes, strategies, what is saved, files, the command."""

import dataclasses
import itertools
import json

import numpy as np
import polars as pl
import pytest

from paratope.campaigns import campaign_simulation as replays
from paratope.campaigns.campaign import Campaign, campaign_of
from paratope.campaigns.campaign_simulation import Landscape, ModelStrategy, ReplayOptions, replay
from paratope.core.errors import InputError
from paratope.data.datasets.simulated import simulate
from paratope.data.tables import frame_from_measurements, write_table
from small_campaigns import SmallCampaignModel, small_campaign


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    return replays.landscape_of(small_campaign(220, seed=4))


@pytest.fixture(scope="module")
def replayed(landscape: Landscape):
    strategies = replays.parse_strategies("all", SmallCampaignModel, "ucb", 0.25)
    return replay(landscape, strategies, ReplayOptions(batch=12, rounds=3, repeats=3))


class Oracle:
    """Knows every value: the best that any strategy can do."""

    name = "oracle"

    def choose(self, landscape, measured, batch, seed):
        order = np.argsort(-landscape.values, kind="stable")
        left = [row for row in order.tolist() if row not in set(measured)]
        return replays.Plate(tuple(left[:batch]))


def test_every_strategy_starts_from_the_same_plates_and_never_measures_twice(replayed, landscape):
    assert replayed.strategies == tuple(replays.STRATEGIES)
    for metric in ("best", "recall"):
        first = [replayed.curves(name, metric)[:, 0].tolist() for name in replayed.strategies]
        assert all(one == first[0] for one in first)
        for name in replayed.strategies:  # nothing found is lost
            assert (np.diff(replayed.curves(name, metric), axis=1) >= 0).all()
    assert {one.measured for one in replayed.results} == {12, 24, 36, 48}
    for one in replayed.results:
        assert one.best + one.regret == pytest.approx(landscape.values.max())
        assert 0.0 <= one.recall <= 1.0


def test_a_model_finds_more_than_chance(replayed):
    chance = replayed.curves("random", "recall")[:, -1].mean()
    for name in ("model", "greedy", "one_hot_gp"):
        assert replayed.curves(name, "recall")[:, -1].mean() > chance + 0.1


def test_the_best_possible_strategy_reaches_the_top_in_one_round(landscape):
    plan = ReplayOptions(batch=12, rounds=2, repeats=1, top=12)
    found = replays.compare(replay(landscape, [Oracle(), replays.Strategy()], plan))
    assert found.rounds["oracle"]["recall"][1].mean == 1.0
    assert found.rounds["oracle"]["regret"][1].mean == 0.0
    assert all(one.rounds.mean >= 0 for one in found.saved)


def test_the_same_seed_gives_the_same_replay(landscape):
    plans = [ReplayOptions(batch=10, rounds=1, repeats=2, seed=seed) for seed in (3, 3, 4)]
    strategy = ModelStrategy(SmallCampaignModel, acquisition="thompson", explore=0.5)
    found = [replay(landscape, [strategy], plan).curves("model", "batch_mean") for plan in plans]
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).all()


def test_strategies_see_measured_values_only(landscape):
    measured = np.arange(0, 40)
    shuffled = landscape.campaign.values.copy()
    shuffled[40:] = np.random.default_rng(0).permutation(shuffled[40:])
    other = Landscape(dataclasses.replace(landscape.campaign, values=shuffled))
    for strategy in replays.parse_strategies("all", SmallCampaignModel, "nei", 0.5):
        rows = strategy.choose(landscape, measured, 8, 1).rows
        assert len(set(rows)) == 8
        assert min(rows) >= 40
        assert strategy.choose(other, measured, 8, 1).rows == rows


def test_expected_and_found_numbers_of_better_ones_agree(landscape):
    plan = ReplayOptions(batch=15, rounds=2, repeats=6)
    strategy = ModelStrategy(SmallCampaignModel, explore=0.5)
    rows = [one for one in replay(landscape, [strategy], plan).results if one.round]
    expected = np.mean([one.expected_better for one in rows])
    found = np.mean([one.found_better for one in rows])
    assert expected == pytest.approx(found, abs=2.0)
    assert found > 0


def test_rounds_saved_in_known_cases():
    steady, fast = np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([[0.0, 3.0, 3.0, 3.0]])
    for one, other, saved in ((fast, steady, 2.0), (steady, fast, -2.0), (steady, steady, 0.0)):
        assert replays.saved_rounds(one, other).tolist() == [saved]
    assert replays.mean_interval(np.array([2.0])).mean == 2.0
    found = replays.mean_interval(np.array([1.0, 2.0, 3.0]))
    reach = 4.303 / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), abs=1e-3)


def test_files(replayed, landscape, tmp_path):
    written = replays.write_replay(landscape, replayed, replays.compare(replayed), tmp_path / "out")
    assert [path.name for path in written] == ["rounds.csv", "summary.json", "rounds.png"]
    frame = pl.read_csv(written[0])
    assert frame.height == 3 * 4 * len(replays.STRATEGIES)
    summary = json.loads(written[1].read_text())
    assert summary["landscape"]["variants"] == 220
    rounds = {name: len(found["best"]) for name, found in summary["rounds"].items()}
    assert rounds == dict.fromkeys(replays.STRATEGIES, 4)
    saved = {(one["against"], one["metric"]) for one in summary["saved"]}
    assert saved == set(itertools.product(set(replays.STRATEGIES) - {"model"}, ("best", "recall")))
    assert set(summary["better_than_best"]) == {"model", "greedy"}
    assert written[2].read_bytes().startswith(b"\x89PNG")
    rounds = frame.filter(pl.col("strategy") == "model").group_by("round", maintain_order=True)
    means = rounds.agg(pl.col("recall").mean())["recall"].to_list()
    stated = [one["mean"] for one in summary["rounds"]["model"]["recall"]]
    assert means == pytest.approx(stated, abs=1e-3)


def test_one_antigen_and_one_assay_are_replayed():
    rows = simulate(antibodies=40, antigens=2, assays=2, measured=0.8, seed=1).measurements
    landscape = replays.landscape_of(rows)
    assert len({pair.antigen for pair in landscape.campaign.pairs}) == 1
    assert len(set(landscape.campaign.assay.tolist())) == 1
    assert [note.split(" ")[1].rstrip(":,") for note in landscape.notes] == ["antigens", "assays"]


def test_bounds_are_no_reason_to_stop():
    rows = simulate(antibodies=80, antigens=1, floor_pkd=7.6, seed=2).measurements
    landscape = replays.landscape_of(rows)
    assert (landscape.campaign.censoring == -1).sum() > 20

    def refuse(campaign: Campaign) -> SmallCampaignModel:
        raise InputError("all values are bounds")

    plan = ReplayOptions(batch=10, rounds=1, repeats=1)
    assert replay(landscape, [ModelStrategy(refuse)], plan).results[1].measured == 20


def test_plans_landscapes_and_strategies_that_are_none(landscape):
    for plan, message in (
        ({"batch": 60, "rounds": 5}, "take 360 variants, the landscape has 220: ask for at most 2"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"start": 1}, "at least 2 variants"),
    ):
        with pytest.raises(InputError, match=message):
            replay(landscape, [replays.Strategy()], ReplayOptions(**plan))
    campaign = small_campaign(40)
    with pytest.raises(InputError, match="a landscape of 10 variants; expected at least 20"):
        replays.landscape_of(campaign.rows(np.arange(10)))
    with pytest.raises(InputError, match="all 40 variants have the value 8"):
        replays.landscape_of(dataclasses.replace(campaign, values=np.full(40, 8.0)))
    for text, message in (
        ("best", "unknown strategy 'best'; valid names: all, greedy"),
        ("", "no strategy is named"),
    ):
        with pytest.raises(InputError, match=message):
            replays.parse_strategies(text, SmallCampaignModel, "ucb", 0.25)


@pytest.mark.parametrize("label", ["pkd", pytest.param("score", marks=pytest.mark.slow)])
def test_the_command_with_the_campaign_model(label, tmp_path, run_paratope):
    frame = frame_from_measurements(small_campaign(26).measurements())
    table, out = tmp_path / "landscape.csv", tmp_path / "out"
    write_table(frame.rename({"pkd": label} if label != "pkd" else {}), table)
    arguments = ("--batch", 6, "--rounds", 2, "--repeats", 1, "--compare", "model,random")
    done = run_paratope("simulate-campaign", table, *arguments, "-o", out, code=0)
    name = "pKd" if label == "pkd" else "score"
    assert f"26 variants, best {name}" in done.out
    assert "against random" in done.out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["landscape"]["label"] == label
    assert summary["plan"]["start"] == 6
    assert pl.read_csv(out / "rounds.csv").height == 6
    assert run_paratope("simulate-campaign", table, "--explore", 2).code == 2


@pytest.mark.slow
def test_an_imported_landscape(data_root, tmp_path, run_paratope):
    table = tmp_path / "1n8z.csv"
    run_paratope("data", "import", "abbibench_1n8z", "-o", table, code=0)
    campaign = campaign_of(str(table))
    assert len(replays.landscape_of(campaign)) == len(campaign) > 400
    arguments = ("--batch", 24, "--rounds", 2, "--repeats", 1, "--compare", "one_hot_gp,random")
    run_paratope("simulate-campaign", table, *arguments, "-o", tmp_path / "out", code=0)
