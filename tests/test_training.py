"""Training: its steps, repeatable, resumable, watched; a run folder that says what happened."""

import contextlib
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, TrainingError
from paratope.models.batches import BatchPlan, Examples, collate
from paratope.models.recipes import RECIPES, ScheduleSettings, load_recipe
from paratope.molecules.sequences import AMINO_ACIDS
from paratope.training import RunOptions, fit, score, train_table
from paratope.training.learner import Learner, Schedule
from paratope.training.loop import untrained_network
from paratope.training.monitors import EarlyStopping, Monitors
from paratope.training.run_folder import history_table, summarise
from paratope.training.table import TrainingRows
from small_campaigns import HEAVY, LIGHT
from small_runs import TINY, comparable, examples, rows, run, same_weights, tiny


def test_one_seed_gives_equal_weights_and_another_does_not(data):
    first, second = run(data, tiny()), run(data, tiny())
    assert same_weights(first, second)
    assert comparable(first.history) == comparable(second.history)
    assert not same_weights(first, run(data, tiny("training.seed=1")))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_scores_alike_afterwards(data, name):
    result = run(data, tiny("training.accumulate=2", "training.max_epochs=2", name=name))
    assert result.stopped == "all 2 epochs done"
    assert [record["epoch"] for record in result.history] == [1, 2]
    train, validation, store = data
    scores = score(result.network(), validation, (store, store))
    again = score(result.network(), validation, (store, store), batch_size=2)
    assert np.allclose(scores.mean, again.mean, atol=1e-5)
    exact = validation.censoring == 0
    best = result.history[result.best_epoch - 1]
    error = scores.mean - validation.pkd
    beyond = np.where(exact, error, np.maximum(error, 0))
    assert best["validation_rmse"] == pytest.approx(np.sqrt(np.mean(beyond**2)), rel=1e-4)


def test_training_moves_every_weight(data):
    before = run(data, tiny("training.max_epochs=1", "training.learning_rate=1e-12")).state
    after = run(data, tiny("training.weight_decay=0", "loss.strong_binder_bce=0.5")).state
    still = {name for name, weights in before.items() if torch.equal(weights, after[name])}
    assert {name for name in still if not name.startswith("output_")} == set()


def test_warmup_cosine_follows_the_released_rates():
    recipe = load_recipe("v2.6")
    schedule = Schedule(recipe.schedule, recipe.training.learning_rate, 1, 50)
    rates = [schedule.rate(step) for step in range(50)]
    assert rates[:5] == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4, 5e-4])
    # epochs 6 to 11 of the release's own history, before its second schedule cut in
    assert rates[5:11] == pytest.approx(
        [4.99391e-4, 4.97567e-4, 4.94537e-4, 4.90315e-4, 4.84923e-4, 4.78386e-4], rel=1e-5
    )
    assert rates[-1] == pytest.approx(0)


def test_plateau_cuts_the_rate_only_after_patience():
    settings = ScheduleSettings(name="plateau", factor=0.5, patience=2, min_learning_rate=0.2)
    schedule = Schedule(settings, 1.0, steps_per_epoch=10, max_epochs=9)
    trace = []
    for spearman in [0.1, 0.2, 0.2, 0.1, 0.2, 0.3, 0.1, 0.1, math.nan, 0.1, 0.1, 0.1]:
        trace.append(schedule.rate(len(trace) * 10))
        schedule.after_epoch(spearman)
    assert trace == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert schedule.rate(999) == 0.2


def test_a_run_stops_when_nothing_improves_and_keeps_the_best(data):
    recipe = tiny(
        *("training.max_epochs=40", "training.patience=2", "training.learning_rate=0.3"),
        *("training.monitor=rmse", "schedule.name=constant", "schedule.warmup_epochs=0"),
    )
    result = run(data, recipe)
    assert result.stopped == "validation rmse did not improve for 2 epochs"
    errors = [record["validation_rmse"] for record in result.history]
    assert result.best_epoch == 1 + int(np.argmin(errors)) == len(errors) - 2


def test_without_validation_the_last_epoch_is_taken_and_nothing_to_train_on_is_said(data):
    train, _, store = data
    result = fit(train, None, tiny("training.patience=1"), (store, store), RunOptions(device="cpu"))
    assert (result.best_epoch, result.stopped) == (3, "all 3 epochs done")
    assert math.isnan(result.best_spearman)
    summary = summarise(history_table(result.history))
    assert (summary["best_spearman"], summary["status"]) == (None, "unknown")
    with pytest.raises(TrainingError, match="nothing to train on"):
        fit(Examples.from_measurements([]), None, tiny(), (store, store))


def test_a_collapsed_run_warns_in_its_history_and_stops_if_asked(data):
    train, _, store = data
    flat = tiny("training.learning_rate=1e-9", "training.stop_on_collapse=true")
    wide = {"pkd": np.linspace(-1e3, 1e3, 18, dtype=np.float32), "censoring": np.zeros(18, int)}
    wide = dataclasses.replace(train, **wide)
    result = fit(train, wide, flat, (store, store), RunOptions(device="cpu"))
    assert len(result.history) == 2  # after the first epoch, a network may still be untrained
    assert "their standard deviation is" in result.history[1]["warning"]
    assert result.stopped.startswith("after epoch 2: predictions have collapsed")


def test_summary_and_early_stopping_reproduce_the_release(reference_root):
    release = reference_root / "v2.6_release"
    history = pl.read_csv(release / "training_history_v2.6.csv")
    training = load_recipe("v2.6").training
    stopping = EarlyStopping(training.patience, training.min_delta)
    epochs = zip(history["Epoch"], history["Val Spearman"], strict=True)
    assert [epoch for epoch, value in epochs if stopping.update(epoch, value)] == [15]
    found = summarise(history)
    expected = json.loads((release / "training_summary_v2.6.json").read_text())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == (value if key == "status" else pytest.approx(value, rel=1e-12)), key
    assert (found["best_spearman_epoch"], found["status"]) == (12, "unstable")


def test_history_begins_with_the_released_columns_and_counts_dropped_rows(data):
    result = run(data, tiny("loss.soft_spearman=0.1", "training.balance=none"))
    table = history_table(result.history)
    assert table.columns[:5] == "Epoch,Train Loss,Val Spearman,Val Recall,Learning Rate".split(",")
    assert {"Val Loss", "Val RMSE", "Train Loss Gaussian Nll", "Warning"} <= set(table.columns)
    assert len(table) == 3
    train, record = data[0], result.history[0]
    assert record["train_dropped_soft_spearman"] == int((train.censoring != 0).sum())
    assert record["train_dropped_gaussian_nll"] == 0
    assert len(BatchPlan(train, 4)) == 5


FAST = ["encoders.antibody=residue", *TINY, "training.max_epochs=1"]
COLUMNS = "data.columns=kd_nM=Kd (nM)"
SMALL = [item for change in (*TINY, "training.max_epochs=1") for item in ("--set", change)]
OPTIONS = ("--encoders", "residue,residue", "--split", "random", "--columns", "kd_nM=Kd (nM)")


def user_table(folder: Path, count: int = 12, bad: bool = False) -> Path:
    """Mutants of one antibody against two antigens, as a user would write them."""
    lines = ["id,VH,VL,antigen,Kd (nM),well"]
    for number in range(count):
        heavy = HEAVY[:101] + AMINO_ACIDS[number % 20] + HEAVY[102:]
        antigen = ("MKTAYIAKQRQISFVKSHFSRQ", "GSHMLEDPVAGTWYRNE")[number % 2]
        lines.append(f"ab{number},{heavy},{LIGHT},{antigen},{10 ** (number % 5 - 1)},A{number}")
    if bad:
        lines.append(f"worse,{HEAVY},{LIGHT},MKTAYIAKQRQ,not measured yet,B1")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(tmp_path: Path, *settings: str):
    """A run on the user's table."""
    recipe = load_recipe("default", [*FAST, COLUMNS, *settings])
    return train_table(user_table(tmp_path), recipe, tmp_path / "run", RunOptions(device="cpu"))


def test_train_table_writes_the_run_folder_and_run_toml_runs_again_to_the_same_weights(tmp_path):
    trained = train(tmp_path, "data.split=random")
    run_folder = tmp_path / "run"
    assert sorted(path.name for path in run_folder.iterdir()) == [
        *("checkpoints", "log.txt", "metrics.json", "run.toml", "split.csv"),
        "test_predictions.csv",
        *("training_history_default.csv", "training_history_default.png"),
        "training_summary_default.json",
    ]
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert metrics["hyperparameters"]["batch_size"] == 4
    assert metrics["rows"] == trained.part_sizes
    predictions = pl.read_csv(run_folder / "test_predictions.csv")
    assert predictions.columns[:4] == ["id", "true", "pred", "error"]
    assert np.allclose(predictions["pred"], trained.scores["test"].mean, atol=1e-6)
    again = load_recipe(run_folder / "run.toml")
    second = train_table(again.data.table, again, tmp_path / "again", RunOptions(device="cpu"))
    assert same_weights(trained.result, second.result)
    assert (run_folder / "run.toml").read_bytes() == (tmp_path / "again" / "run.toml").read_bytes()


def test_a_split_file_is_obeyed(tmp_path):
    table = user_table(tmp_path)
    parts = ["train"] * 6 + ["test"] * 3 + ["validation"] * 2 + [""]
    frame = pl.read_csv(table).with_columns(pl.Series("split", parts))
    frame.sample(fraction=1, shuffle=True).write_csv(tmp_path / "split.csv")
    trained = train(tmp_path, f"data.split={tmp_path / 'split.csv'}")
    assert trained.part_sizes == {"train": 6, "validation": 2, "test": 3}
    assert trained.part("test")[0] == ["ab6", "ab7", "ab8"]
    assert list(trained.rows.parts) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,part\nab0,train\n", "no column split.*found id, part"),
        ("id,split\nab0,learn\n", "holds 'learn'; expected train, validation, test"),
        ("id,split\nab0,train\nab0,test\n", "id 'ab0' is in two parts, train and test"),
        ("id,split\nother,train\n", "it is of another table"),
        ("id,split\nab0,test\n", "no row is in the part 'train'"),
    ],
)
def test_a_wrong_split_file_is_explained(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, f"data.split={tmp_path / 'split.csv'}")


def test_a_recipes_limit_of_residues_is_reported_and_kinds_of_split_listed(tmp_path):
    trained = train(tmp_path, "data.split=random", "encoders.max_residues=20")
    assert trained.rows.usable.notes == {"rows cut to what the encoders see": 12}
    assert {len(row.pair.antigen.chains[0]) for row in trained.rows.usable.cut} == {20, 17}
    with pytest.raises(InputError, match="'chance'.*antigen"):
        train(tmp_path, "data.split=chance")


def test_sides_longer_than_a_release_takes_are_cut_and_counted(tmp_path, run_paratope):
    long, short = "MKTAYIAKQRQISFVKSHFS" * 30, "GSHMLEDPVAGTWYRNE"  # 600 and 17 residues
    text = user_table(tmp_path).read_text(encoding="utf-8")
    (tmp_path / "table.csv").write_text(
        text.replace("MKTAYIAKQRQISFVKSHFSRQ", long), encoding="utf-8"
    )
    assert short in text
    command = ("train", tmp_path / "table.csv", "--recipe", "v2.6", "-o", tmp_path / "run")
    done = run_paratope(*command, *OPTIONS, *SMALL, code=0)
    card = (tmp_path / "run" / "card.md").read_text("utf-8")
    assert "6 rows cut to what the encoders see." in done.err
    assert "- 6 rows cut to what the encoders see" in card


def test_train_command(tmp_path, run_paratope):
    table = user_table(tmp_path, bad=True)
    arguments = ("train", table, "-o", tmp_path / "run", *OPTIONS, *SMALL)
    finished = run_paratope(*arguments, code=3)  # one row in error: counted, left out, said
    assert "1 rows in error." in finished.err
    assert "all 1 epochs done" in finished.err
    assert "Spearman within an antigen    RMSE, pKd\n  this model " in finished.err
    assert finished.err.index("  this model ") < finished.err.index("  constant ")
    assert f"paratope evaluate {tmp_path / 'run'} -o report ; " in finished.err
    assert f"paratope predict new.csv --model {tmp_path / 'run'} " in finished.err
    assert (tmp_path / "run" / "metrics.json").is_file()
    bundle = tmp_path / "run" / "bundle"
    predicted = run_paratope("predict", table, "--model", bundle, "-o", "-", code=0)
    tested = pl.read_csv(tmp_path / "run" / "test_predictions.csv")
    both = tested.join(pl.read_csv(predicted.out.encode()), on="id")
    assert len(both) == len(tested) > 0
    assert np.allclose(both["pred"], both["pkd"], atol=5e-4 + 1e-4)  # three decimals are written

    refused = run_paratope(*arguments, code=2)
    assert "holds a run already; go on with --resume" in refused.err
    before = (tmp_path / "run" / "run.toml").read_bytes()
    changed = ("--set", "training.learning_rate=0.5", "--resume")
    refused = run_paratope(*arguments, *changed, code=2)
    assert "other settings of training" in refused.err
    assert (tmp_path / "run" / "run.toml").read_bytes() == before


def test_runs_of_other_seeds_are_judged_on_the_same_rows_unless_the_split_has_a_seed(tmp_path):
    def parts(*settings: str) -> list[str]:
        changed = load_recipe("default", [*FAST, COLUMNS, "data.split=random", *settings])
        recipe = changed.model_copy(
            update={
                "data": changed.data.model_copy(update={"table": str(user_table(tmp_path, 40))})
            }
        )
        return TrainingRows.read(recipe, "cpu").parts.tolist()

    assert load_recipe("v2.6").data.split_seed == 0
    fixed = parts()
    assert parts("training.seed=1") == parts("training.seed=2", "data.split_seed=0") == fixed
    assert parts("data.split_seed=1") != fixed


def test_a_run_toml_of_before_the_splits_own_seed_splits_as_it_did(tmp_path):
    written = "[training]\nseed = 3\n[data]\ntable = 't.csv'\n[loss]\nmse = 1.0\n"
    (tmp_path / "old.toml").write_text(written)
    assert load_recipe(tmp_path / "old.toml").data.split_seed == 3
    assert load_recipe(tmp_path / "old.toml", ["training.seed=4"]).data.split_seed == 3
    (tmp_path / "mine.toml").write_text(written.replace("table = 't.csv'", ""))
    assert load_recipe(tmp_path / "mine.toml").data.split_seed == 0


def test_a_run_goes_on_and_runs_again_from_any_folder(tmp_path, run_paratope, monkeypatch):
    project, elsewhere = tmp_path / "project", tmp_path / "else" / "where"
    elsewhere.mkdir(parents=True)
    project.mkdir()
    user_table(project)
    random = pl.Series("split", ["train"] * 8 + ["validation"] * 2 + ["test"] * 2)
    frame = pl.read_csv(project / "table.csv").with_columns(random)
    frame.write_csv(project / "split.csv")
    options = [*OPTIONS, *SMALL]
    options[options.index("random")] = "split.csv"
    monkeypatch.chdir(project)
    run_paratope("train", "table.csv", "-o", "run", *options, code=0)
    written = (project / "run" / "run.toml").read_text("utf-8")
    assert 'table = "../table.csv"' in written
    assert 'split = "../split.csv"' in written

    monkeypatch.chdir(elsewhere)
    (elsewhere / "table.csv").write_text("another,table\n1,2\n")  # not to be taken for it
    run = Path("..", "..", "project", "run")
    resumed = run_paratope("train", "-o", run, "--resume", code=0)
    assert "nothing is left to do" in resumed.err
    (project / "run" / "metrics.json").unlink()
    shutil.copytree(project / "run" / "bundle", tmp_path / "before")
    run_paratope("train", "-o", run, "--resume", code=0)
    for file in (tmp_path / "before").iterdir():
        assert file.read_bytes() == (project / "run" / "bundle" / file.name).read_bytes(), file.name
    assert (project / "run" / "run.toml").read_text("utf-8") == written
    run_paratope("train", "--recipe", run / "run.toml", "-o", "again", code=0)
    tested = [folder / "test_predictions.csv" for folder in (project / "run", elsewhere / "again")]
    assert tested[0].read_bytes() == tested[1].read_bytes()

    project.rename(tmp_path / "moved")  # whole, with its table
    moved = run_paratope("train", "-o", tmp_path / "moved" / "run", "--resume", code=0)
    assert "nothing is left to do" in moved.err
    (tmp_path / "moved" / "table.csv").unlink()
    lost = run_paratope(
        "train", "--recipe", tmp_path / "moved" / "run" / "run.toml", "-o", "b", code=2
    )
    assert str(Path("moved", "table.csv")) in "".join(lost.err.split())


def test_a_recipe_file_may_name_its_table_from_the_current_folder_too(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    user_table(tmp_path)
    mine = tmp_path / "recipes" / "mine.toml"
    mine.write_text("[data]\ntable = 'table.csv'\nsplit = 'random'\n[loss]\nmse = 1.0\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(mine).data.table == "table.csv"
    user_table(tmp_path / "recipes")
    assert load_recipe(mine).data.table == str(Path("recipes", "table.csv"))
    assert load_recipe(mine).data.split == "random"
    assert load_recipe(mine, ["data.table=other.csv"]).data.table == "other.csv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing; give a table of measurements"),
        (("t.csv", "--device", "abacus"), "unknown device 'abacus'; valid names: auto, cpu, cuda"),
        (("t.csv", "--encoders", "residue"), "expected two encoders, such as antiberty,residue"),
        (("t.csv", "--logger", "csv,neptune"), "logger 'neptune'; valid names: csv, mlflow"),
    ],
)
def test_bad_usage_is_explained(run_paratope, arguments, message):
    finished = run_paratope("train", *arguments, code=2)
    assert message in " ".join(finished.err.replace("│", " ").split())


@pytest.mark.slow
def test_the_joined_skempi_table_trains_as_it_is(tmp_path, data_root):
    source = data_root / "skempi_v2" / "skempi_v2_antibody_antigen.csv"
    recipe = load_recipe("default", FAST)
    trained = train_table(source, recipe, tmp_path / "run", RunOptions(device="cpu"))
    assert trained.rows.split == "antigen"
    assert sum(trained.part_sizes.values()) == len(trained.rows.usable.ids) > 1000
    assert min(trained.part_sizes.values()) > 50


CPU = torch.device("cpu")


@contextlib.contextmanager
def every_step(see):
    """Show every optimiser before each of its steps."""
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: see(optimizer))
    try:
        yield
    finally:
        handle.remove()


def gradients(optimizer) -> list[torch.Tensor]:
    return [
        parameter.grad.clone()
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """128 rows of 3 assays' worth of antigens, a third of them bounds, and their store."""
    whole = Examples.from_measurements(rows(128))
    with examples(tmp_path_factory.mktemp("many"), whole, whole) as (_, _, store):
        yield whole, store


def step(learner: Learner, recipe, batches: list) -> dict[str, float]:
    places = ["here"] * len(batches)
    return learner.step(0, batches, batches, places, Monitors(recipe), lambda position: None)


SEPARABLE = ("huber", "mse", "focal_regression", "gaussian_nll", "strong_binder_bce")


@pytest.mark.parametrize("loss", SEPARABLE)
def test_32_rows_four_times_are_128_rows(many, loss):
    """Dropout off: loss, every gradient and the weights after the step, to 1e-6."""
    whole, store = many
    others = [f"loss.{name}={float(name == loss)}" for name in (*SEPARABLE, "pairwise_rank")]
    recipe = tiny("network.dropout=0", "training.gradient_clip=0", *others)
    steps = []
    for sizes in ([128], [32, 32, 32, 32]):
        torch.manual_seed(0)
        network = untrained_network(recipe, whole, (store, store))
        learner = Learner(network, recipe, 1, CPU)
        order = np.random.default_rng(5).permutation(128)
        windows = np.split(order, np.cumsum(sizes)[:-1])
        batches = [collate(whole, window, store, store) for window in windows]
        seen: list[list[torch.Tensor]] = []
        with every_step(lambda optimizer, seen=seen: seen.append(gradients(optimizer))):
            sums = step(learner, recipe, batches)
        assert len(seen) == 1  # one step, however many batches
        changed = [weight for weight in network.parameters() if weight.grad is not None]
        weights = [weight.detach().clone() for weight in changed]
        steps.append((sums["loss"], seen[0], weights))
    (loss_whole, loss_parts), (gradients_whole, gradients_parts), weights = zip(*steps, strict=True)
    assert loss_parts == pytest.approx(loss_whole, rel=1e-6, abs=1e-6)
    assert len(gradients_whole) == len(gradients_parts) > 10
    scale = max(float(gradient.abs().max()) for gradient in gradients_whole)
    for whole, parts in zip(gradients_whole, gradients_parts, strict=True):
        assert torch.allclose(whole, parts, rtol=0, atol=1e-6 * max(1.0, scale))
    moved = [
        float((whole - parts).abs().max())
        for whole, parts, gradient in zip(*weights, gradients_whole, strict=True)
        if float(gradient.abs().min()) > 1e-4  # AdamW's first step is the gradient's sign
    ]
    assert max(moved) < 1e-6


def test_rank_losses_compare_rows_of_one_micro_batch_only(many):
    """Documented: the accumulated loss is the mean of the micro-batches' own."""
    whole, store = many
    losses = ("loss.gaussian_nll=0", "loss.soft_spearman=1", "loss.strong_binder_bce=0")
    recipe = tiny("network.dropout=0", *losses)
    torch.manual_seed(0)
    network = untrained_network(recipe, whole, (store, store))
    learner = Learner(network, recipe, 1, CPU)
    batches = [collate(whole, part, store, store) for part in np.split(np.arange(128), 4)]
    with torch.no_grad():
        losses = [float(learner.objective(learner.network(batch), batch)[0]) for batch in batches]
    assert step(learner, recipe, batches)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(
    "schedule",
    [
        ("schedule.name=constant", "schedule.warmup_epochs=0"),
        ("schedule.name=warmup_cosine", "schedule.warmup_epochs=2"),
        ("schedule.name=plateau", "schedule.patience=0", "schedule.factor=0.5"),
    ],
)
def test_one_schedule_drives_the_rate_of_every_step(data, schedule):
    recipe = tiny(*schedule, "training.accumulate=2", "training.max_epochs=6")
    trace: list[float] = []
    with every_step(lambda optimizer: trace.append(optimizer.param_groups[0]["lr"])):
        result = run(data, recipe)
    steps_per_epoch = len(trace) // 6
    assert steps_per_epoch == 3
    alone = Schedule(recipe.schedule, recipe.training.learning_rate, steps_per_epoch, 6)
    expected = []
    for number, record in enumerate(result.history):
        first = number * steps_per_epoch
        expected += [alone.rate(step) for step in range(first, first + steps_per_epoch)]
        alone.after_epoch(record["validation_spearman"])
    assert trace == expected
    assert [record["learning_rate"] for record in result.history] == trace[2::3]
    assert (len(set(trace)) > 1) is (recipe.schedule.name != "constant")


def test_gradients_are_clipped_to_the_recipes_norm(data):
    def norms(limit: float) -> list[float]:
        found: list[list[torch.Tensor]] = []
        with every_step(lambda optimizer: found.append(gradients(optimizer))):
            run(data, tiny(f"training.gradient_clip={limit}", "training.max_epochs=1"))
        return [float(torch.cat([one.flatten() for one in step]).norm()) for step in found]

    limit = 0.05
    clipped, free = norms(limit), norms(0)
    assert min(free) > limit
    assert clipped == pytest.approx([limit] * len(free), rel=1e-3)


def test_heads_compute_in_float32_when_the_rest_does_not(data):
    """bf16-mixed: towers and attention in bfloat16; regressor, output and losses in float32."""
    train, _, store = data
    recipe = tiny("training.precision=bf16-mixed", "network.dropout=0")
    learner = Learner(untrained_network(recipe, train, (store, store)), recipe, 1, CPU)
    seen: dict[str, set[torch.dtype]] = {}
    for name, module in learner.network.named_modules():
        if isinstance(module, torch.nn.Linear):
            kinds = seen.setdefault(name, set())
            module.register_forward_hook(
                lambda _, given, made, kinds=kinds: kinds.update({given[0].dtype, made.dtype})
            )
    batch = collate(train, np.arange(8), store, store)
    output = learner.predict(batch)
    heads = {name for name in seen if name.startswith("regressor")}
    assert len(heads) == 2
    assert all(seen[name] == {torch.float32} for name in heads)
    assert torch.bfloat16 in seen["interactions.0.antibody_attends.query"]
    assert torch.bfloat16 in seen["antibody_tower.project"]
    assert {tensor.dtype for tensor in output} == {torch.float32}
    total, _, _ = learner.objective(output, batch)
    assert total.dtype == torch.float32
    assert {parameter.dtype for parameter in learner.network.parameters()} == {torch.float32}
    # and such a run stays close to a full one
    settings = ("network.dropout=0", "training.max_epochs=2", "training.learning_rate=1e-4")
    full = run(data, tiny(*settings))
    mixed = run(data, tiny(*settings, "training.precision=bf16-mixed"))
    losses = [[record["train_loss"] for record in result.history] for result in (full, mixed)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


EASY = [
    *("network.dim=32", "network.heads=4", "network.tower_layers=1", "network.feed_forward=2"),
    *("network.regressor=[64]", "network.dropout=0", "training.batch_size=12"),
    *("training.accumulate=1", "training.max_epochs=100", "training.patience=0"),
    *("training.learning_rate=3e-3", "training.weight_decay=0", "training.monitor=rmse"),
    *("training.balance=none", "schedule.name=constant", "schedule.warmup_epochs=0"),
    *[f"loss.{name}=0" for name in ("huber", "focal_regression", "soft_spearman")],
    *[f"loss.{name}=0" for name in ("gaussian_nll", "pairwise_rank", "strong_binder_bce")],
    "loss.mse=1",
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_network_of_every_recipe_learns_twelve_pairs(recipe, tmp_path):
    exact = [dataclasses.replace(row, censoring=Censoring.EXACT) for row in rows(12)]
    pairs = Examples.from_measurements(exact)
    with examples(tmp_path, pairs, pairs) as (_, _, store):
        result = fit(pairs, pairs, load_recipe(recipe, EASY), (store, store))
        predicted = score(result.network(), pairs, (store, store)).mean
    assert np.sqrt(np.mean((predicted - pairs.pkd) ** 2)) < 0.1
