"""Search: trials inside the training rows, the same after an interruption, the best as a run."""

import dataclasses
import json
import math
import signal
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("optuna", reason="the extra [research] is not installed")

from paratope.core.errors import MissingExtraError, TrainingError
from paratope.core.interruption import Interrupted, Interruption
from paratope.models.recipes import RECIPES, Recipe, load_recipe
from paratope.training import RunOptions
from paratope.training import search as searching
from paratope.training.search import Choice, InnerFolds, Range, Trial, search, search_space
from trained_models import TINY_RECIPE, simulated_table

SEARCH_RECIPE = (*TINY_RECIPE, "training.max_epochs=2", "network.tower_layers=0")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "measurements.csv"
    return simulated_table(path, antibodies=36, antigens=2, backgrounds=4, seed=3)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("default", SEARCH_RECIPE)


@pytest.fixture(scope="module")
def found(table: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("found")
    return folder, search(table, recipe, folder, 3)


def rows_of(path: Path) -> list[dict[str, str]]:
    return pl.read_csv(path, infer_schema=False).to_dicts()


def without_time(trials) -> list[Trial]:
    return [dataclasses.replace(trial, seconds=0.0) for trial in trials]


@pytest.mark.parametrize("name", RECIPES)
def test_every_searched_value_makes_a_valid_recipe(name):
    recipe = load_recipe(name)
    space = search_space(recipe)
    own = searching.values_of(recipe, space)
    for key, domain in space.items():
        ends = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
        assert min(ends) <= own[key] <= max(ends)
        if isinstance(domain, Choice):
            assert own[key] in ends
        for value in ends:
            changed = searching.with_values(recipe, {key: value})
            assert searching.values_of(changed, [key]) == {key: value}
            assert changed.network.dim % changed.network.heads == 0


def test_the_space_is_what_the_table_says_but_for_pinned_keys(table, tmp_path):
    space = search_space(load_recipe("v2.6"))
    losses = {key for key in space if key.startswith("loss.")}
    assert losses == {"loss.soft_spearman", "loss.strong_binder_bce"}  # the heaviest, Huber, stays
    assert [key for key in space if key not in losses] == [
        key for key in searching.SPACE if not key.startswith("loss.")
    ]
    assert space["training.learning_rate"] == Range(5e-5, 5e-3, log=True)
    assert space["network.dim"] == Choice((512, 1024, 2048))
    assert "network.layers" not in search_space(load_recipe("v2.5"))  # no cross-attention
    recipe = load_recipe("default")
    everything = search_space(recipe)
    assert "network.dropout" not in search_space(recipe, ["network.dropout"])
    with pytest.raises(TrainingError, match="nothing to search"):
        search(table, recipe, tmp_path / "run", 2, pins=everything)
    assert not (tmp_path / "run").exists()


def test_folds_are_of_training_rows_alone_and_cut_no_group(table, recipe, found, tmp_path):
    inner = InnerFolds.of_table(table, recipe, searching.FOLDS, "cpu")
    assert inner.split == "antibody"  # as the run's own split is
    assert len(set(inner.fold)) == searching.FOLDS
    for train, validation in inner.examples():
        assert len(train) + len(validation) == len(inner.rows)
        assert set(train.antibodies).isdisjoint(validation.antibodies)
    # held-out rows have no influence
    used = {(row.pair.antibody.chains, row.pair.antigen.chains) for row in inner.rows}
    rows = rows_of(table)
    changed = 0
    for row in rows:
        antibody = tuple(filter(None, (row["heavy"], row.get("light"))))
        if (antibody, tuple(row["antigen"].split("|"))) not in used:
            row["pkd"], changed = "4.5", changed + 1
    assert 0 < changed < len(rows) / 2
    pl.DataFrame(rows).write_csv(tmp_path / "changed.csv")
    again = search(tmp_path / "changed.csv", recipe, tmp_path / "run", 3)
    assert without_time(again.trials) == without_time(found[1].trials)


def test_a_search_writes_its_trials_and_its_best(found, recipe):
    folder, result = found
    first = result.trials[0]
    assert first.values == searching.values_of(recipe, search_space(recipe))  # the recipe itself
    assert len({json.dumps(trial.values) for trial in result.trials}) == 3
    for trial in result.trials:
        assert trial.state == searching.DONE
        assert len(trial.folds) == searching.FOLDS
        assert trial.objective == pytest.approx(np.mean(trial.folds))
        assert trial.epochs == searching.FOLDS * recipe.training.max_epochs
    assert result.best.objective == max(trial.objective for trial in result.trials)
    assert searching.values_of(result.recipe, result.best.values) == result.best.values
    lines = rows_of(folder / "search" / "trials.csv")
    assert [line["trial"] for line in lines] == ["1", "2", "3"]
    assert [line["best"] == "true" for line in lines].count(True) == 1
    assert {"state", "spearman", *search_space(recipe)} <= set(lines[0])
    best = load_recipe(folder / "search" / "best.toml")
    assert best == result.recipe
    assert best.name == "default-search"
    assert (folder / "search" / "trials.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_search_goes_on_to_the_same_trials(table, recipe, found, tmp_path):
    ended: list[Trial] = []

    def stop(stage: str, done: int, total: int) -> None:
        if ended and stage == "training" and done == total:  # in the middle of the second trial
            signal.raise_signal(signal.SIGTERM)

    with Interruption() as interruption:
        options = RunOptions(interruption=interruption, progress=stop)
        with pytest.raises(Interrupted):
            search(table, recipe, tmp_path, 3, options=options, on_trial=ended.append)
    assert len(ended) == 1
    with pytest.raises(TrainingError, match="holds a search already; go on with --resume"):
        search(table, recipe, tmp_path, 3)
    notes: list[str] = []
    options = RunOptions(resume=True, say=notes.append)
    result = search(table, recipe, tmp_path, 3, options=options)
    assert notes == ["Going on after 1 of 3 trials."]
    assert without_time(result.trials) == without_time(found[1].trials)


def test_a_finished_search_is_read_not_repeated_and_another_does_not_go_on(
    table, recipe, found, monkeypatch
):
    folder, result = found
    options = RunOptions(resume=True)
    monkeypatch.setattr(searching, "fit", None)
    assert search(table, recipe, folder, 3, options=options) == result
    other = load_recipe("default", [*SEARCH_RECIPE, "training.seed=9"])
    for settings, pins in ((other, ()), (recipe, ("network.dropout",))):
        with pytest.raises(TrainingError, match="holds a search with other"):
            search(table, settings, folder, 3, pins, options)


def test_a_hopeless_trial_is_given_up(table, recipe, tmp_path, monkeypatch):
    made: list[int] = []

    def fit_by_number(train, validation, recipe, stores, options):
        value = 0.1 if len(made) >= 5 * searching.FOLDS else 0.8
        made.append(1)
        for epoch in range(1, recipe.training.max_epochs + 1):
            options.on_epoch({"epoch": epoch, "validation_spearman": value})
        return types.SimpleNamespace(best_spearman=value)

    monkeypatch.setattr(searching, "fit", fit_by_number)
    longer = searching.with_values(recipe, {"training.max_epochs": 4})
    result = search(table, longer, tmp_path, 6)
    *good, bad = result.trials
    assert [trial.state for trial in good] == [searching.DONE] * 5
    assert bad.state == searching.PRUNED
    assert bad.epochs < searching.FOLDS * 4
    assert bad.objective == pytest.approx(0.1)
    assert result.best.number == 1  # the earliest of equals


def test_a_trial_that_fails_is_kept_and_the_search_goes_on(table, recipe, tmp_path, monkeypatch):
    def fail(*arguments, **more):
        raise TrainingError("epoch 1, batch 1: mean is NaN")

    monkeypatch.setattr(searching, "fit", fail)
    with pytest.raises(TrainingError, match="none of the 2 trials ended well.*mean is NaN"):
        search(table, recipe, tmp_path, 2)
    lines = rows_of(tmp_path / "search" / "trials.csv")
    assert [line["state"] for line in lines] == [searching.FAILED, searching.FAILED]


def test_no_ranking_is_the_worst_objective():
    ended = (
        (searching.DONE, searching.NO_RANKING, (searching.NO_RANKING,)),
        (searching.DONE, -0.2, (-0.2,)),
        (searching.PRUNED, 0.9, ()),
    )
    trials = [
        Trial(number, state, {"network.dropout": 0.1}, objective, folds, 1, 1.0)
        for number, (state, objective, folds) in enumerate(ended, start=1)
    ]
    assert searching.best_of(trials) is trials[1]
    assert searching.trials_table(trials)["best"].to_list() == [False, True, False]
    assert searching._ranking(math.nan) == searching.NO_RANKING


def test_a_missing_extra_and_a_damaged_search_are_said(table, recipe, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "optuna", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'paratope\[research\]'"):
            search(table, recipe, tmp_path, 2)
    assert not list(tmp_path.iterdir())
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "optuna.log").write_text("{\n[]\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"optuna\.log: damaged .* delete .* search afresh"):
        search(table, recipe, tmp_path, 3, options=RunOptions(resume=True))


def test_the_command_searches_then_trains_the_best(table, tmp_path, run_paratope):
    pinned = [part for one in SEARCH_RECIPE for part in ("--set", one)]
    command = ["train", table, *pinned, "--search", "2", "-o", tmp_path / "run"]
    done = run_paratope(*command, code=0)
    assert "trial 1" in done.err
    assert "Best" in done.err
    run = tomllib.loads((tmp_path / "run" / "run.toml").read_text("utf-8"))
    best = tomllib.loads((tmp_path / "run" / "search" / "best.toml").read_text("utf-8"))
    assert run["name"] == "default-search"
    assert {**run, "data": {}} == {**best, "data": {}}
    assert run["network"]["dim"] == 8  # set by the user, so not searched
    assert (tmp_path / "run" / "bundle" / "config.json").is_file()
    again = run_paratope(*command, "--resume", code=0)
    assert "nothing is left to do" in again.err
    refused = run_paratope(*command, code=2)
    assert "--resume" in refused.err


def test_the_command_says_how_to_go_on(table, tmp_path, run_paratope, monkeypatch):
    monkeypatch.setattr(searching, "fit", lambda *_, **more: signal.raise_signal(signal.SIGINT))
    options = ("--search", "2", "-o", tmp_path / "run", "--set", SEARCH_RECIPE[0])
    done = run_paratope("train", table, *options, code=130)
    assert "the same command and --resume" in done.err
