"""Monitors: each fault is planted in a real run and named; a healthy run is left in peace."""

import dataclasses
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.errors import TrainingError
from paratope.data import findings
from paratope.data.datasets.simulated import simulate
from paratope.data.measurements import Measurement
from paratope.data.tables import frame_from_measurements, write_table
from paratope.models.batches import Examples
from paratope.models.recipes import RECIPES, MonitorSettings, load_recipe, recipe_toml
from paratope.molecules.sequences import Antibody, Antigen, Pair
from paratope.training import RunOptions, fit, learner, loop, monitors, train_table
from paratope.training.run_folder import history_table
from small_runs import examples, run, tiny

STEADY = ["schedule.name=constant", "training.learning_rate=0.01"]


def learnable(count: int, seed: int) -> Examples:
    """Pairs whose pKd grows with the tryptophans of the antibody: a small network learns that."""
    random = np.random.default_rng(seed)
    measurements = []
    for _ in range(count):
        bulky = int(random.integers(0, 13))
        letters = np.array(list("W" * bulky + "G" * (12 - bulky)))
        random.shuffle(letters)
        pair = Pair(Antibody("".join(letters)), Antigen(("MKTAYIAKQR",)))
        measurements.append(Measurement(pair, 5 + 0.5 * bulky + float(random.normal(0, 0.1))))
    return Examples.from_measurements(measurements)


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    """Training and validation examples that are quickly learned, with their store."""
    with examples(tmp_path_factory.mktemp("easy"), learnable(64, 0), learnable(32, 1)) as found:
        yield found


def fit_easy(easy, *changes: str, name: str = "default"):
    return run(easy, tiny(*STEADY, "training.batch_size=8", *changes, name=name))


def fit_tiny(data, *changes: str):
    return run(data, tiny(*changes))


@pytest.mark.parametrize("name", RECIPES)
def test_a_healthy_run_is_left_in_peace(easy, name):
    result = fit_easy(easy, "training.max_epochs=5", "training.accumulate=1", name=name)
    assert result.best_spearman > 0.9
    for record in result.history:
        assert record["warning"] == record["warned"] == record["dead_gradients"] == ""
        assert record["dead_unit_share"] == record["share_out_of_range"] == 0
        assert record["tie_share"] < 0.3
        assert record["distinct"] > 10
        assert record["loss_gap"] == record["validation_loss"] - record["train_sample_loss"]
        assert math.isfinite(record["recall_sd"])
    table = history_table(result.history)
    titles = "Loss Gap,Train Sample Loss,Distinct,Tie Share,Spread Ratio,Share Out Of Range,"
    titles += "Recall Sd,Recall Jump,Dead Unit Share,Dead Gradients,Warned,Warning"
    assert set(titles.split(",")) <= set(table.columns)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.iterdir()}


def with_pkd(examples: Examples, pkd) -> Examples:
    return dataclasses.replace(examples, pkd=pkd)


def test_an_infinite_label_is_named_and_leaves_the_checkpoint(data, tmp_path):
    train, validation, store = data
    train = with_pkd(train, train.pkd.copy())
    kept = []

    def spoil(record):
        kept.append(contents(tmp_path))
        train.pkd[7] = np.inf

    recipe = tiny("training.accumulate=2", "training.balance=none")
    message = r"epoch 2, batch .*: measured pKd is NaN or infinite for training rows 7 \(counted"
    with pytest.raises(TrainingError, match=message):
        run((train, validation, store), recipe, tmp_path, on_epoch=spoil)
    assert contents(tmp_path) == kept[0]


def test_a_loss_that_overflows_is_named(data):
    train, validation, store = data
    train = with_pkd(train, np.where(np.arange(len(train)) == 3, 1e12, train.pkd))
    message = "loss focal_regression is inf although predictions and measured values"
    with pytest.raises(TrainingError, match=message) as caught:
        fit_tiny((train, validation, store), "training.balance=none", "loss.focal_regression=1")
    rows = str(caught.value).partition("training rows ")[2].partition(" (counted")[0].split(", ")
    assert "3" in rows
    assert len(rows) == 4


class Spoiled:
    """A store in which one molecule's embedding holds an infinite number."""

    def __init__(self, store, molecule) -> None:
        self.store, self.molecule = store, molecule

    def get(self, molecule):
        values = np.array(self.store.get(molecule))
        values[-1, -1] = np.inf if molecule == self.molecule else values[-1, -1]
        return values


def test_rows_of_a_broken_embedding_are_named(data):
    train, validation, store = data
    for part, row, where in (
        (train, 11, "epoch 1, batch .*: antibody embedding is NaN.* for training rows 11"),
        (validation, 4, "epoch 1, validation: antibody embedding is NaN.* for validation rows 4 "),
    ):
        spoiled = Spoiled(store, part.antibodies[part.antibody_index[row]])
        with pytest.raises(TrainingError, match=f"^{where}"):
            fit(train, validation, tiny(), (spoiled, store))


def changed_network(monkeypatch, change) -> None:
    """Let `fit` begin with a network that was changed."""
    untrained = loop.untrained_network

    def network(*arguments):
        built = untrained(*arguments)
        change(built)
        return built

    monkeypatch.setattr(loop, "untrained_network", network)


def test_a_gradient_that_is_not_finite_is_named(data, tmp_path, monkeypatch):
    steps, kept = [], []

    def spoil(gradient):
        steps.append(1)
        return gradient * math.nan if len(steps) > 7 else gradient

    changed_network(monkeypatch, lambda net: net.antigen_tower.project.weight.register_hook(spoil))
    message = "^epoch 2, batch 3 on: the gradient of antigen_tower.project.weight is .* in a step"
    recipe, keep = tiny("training.balance=none"), lambda record: kept.append(contents(tmp_path))
    with pytest.raises(TrainingError, match=f"{message} over training rows "):
        run(data, recipe, tmp_path, on_epoch=keep)
    assert contents(tmp_path) == kept[-1]


def test_collapse_flags_the_released_predictions(reference_root):
    frame = pl.read_csv(reference_root / "v2.6_release" / "test_predictions.csv")
    observed = monitors.collapse_of(frame["pred"].to_numpy(), frame["true"].to_numpy())
    assert observed.columns["distinct"] == 9
    assert observed.columns["tie_share"] == pytest.approx(19610 / 23961)
    assert observed.warning.startswith("predictions have collapsed: 9 distinct values in 23961 ro")


@pytest.mark.parametrize(
    ("predicted", "collapsed"),
    [
        (np.linspace(5, 11, 40), False),
        (np.linspace(7.8, 8.2, 40), False),  # an honest model of a hard table: 7 % of the spread
        (np.linspace(7.9, 8.1, 40), True),
        (np.where(np.arange(40) < 11, 9.0625, np.linspace(5, 11, 40)), False),
        (np.where(np.arange(40) < 13, 9.0625, np.linspace(5, 11, 40)), True),
        (np.repeat([6.0, 7.0, 8.0, 9.0, 10.0], 8), True),
    ],
)
def test_collapse_knows_ties_few_values_and_no_spread(predicted, collapsed):
    assert bool(monitors.collapse_of(predicted, np.linspace(5, 11, 40)).finding) is collapsed


@pytest.mark.parametrize(
    ("recipe", "changes", "spreads", "told"),
    [
        ("v2.6", [], [0.001] * 6, [5, 6]),  # five epochs of warm-up
        ("v2.7", [], [0.001] * 3, [2, 3]),
        ("v2.7", [], [0.001, 0.01, 0.011, 0.02], [3]),  # still learning to differ in 2 and 4
        ("v2.7", [], [0.001, 0.3, 0.001], [3]),
        ("v2.7", ["monitors.collapse=off"], [0.001] * 3, []),
    ],
)
def test_a_network_that_has_not_learned_yet_has_not_collapsed(recipe, changes, spreads, told):
    watching = monitors.Monitors(load_recipe(recipe, changes))
    measured = np.linspace(5, 11, 40)
    history = []
    for epoch, spread in enumerate(spreads, start=1):
        answers = monitors.Answers(8 + spread * (measured - 8), measured, strong=10)
        record = {"epoch": epoch}
        history.append({**record, **watching.after_epoch(record, answers, history)})
    found = [record["epoch"] for record in history if record["warned"] == "collapse"]
    assert found == told


def judged(monitor, strong: int = 50, **columns: list[float]) -> monitors.Observation:
    history = pl.DataFrame(columns).to_dicts()
    return monitor(monitors.Epoch(history, monitors.Answers(np.zeros(0), np.zeros(0), strong)))


def overfitting(train: list[float], validation: list[float]) -> monitors.Observation:
    return judged(monitors.observe_overfitting, train_sample_loss=train, validation_loss=validation)


def recall_warning(recalls: list[float], strong: int) -> str:
    return judged(monitors.observe_recall, strong, validation_recall_percent=recalls).warning


def test_both_sides_of_the_gap_are_the_same_loss(data):
    train, _, store = data
    for record in fit_tiny((train, train, store), "network.dropout=0.5").history:
        assert record["train_sample_loss"] == pytest.approx(record["validation_loss"], abs=1e-6)
        assert record["train_sample_loss"] != pytest.approx(record["train_loss"], abs=1e-3)


OVERFIT = [
    *("training.max_epochs=12", "network.dropout=0", "training.weight_decay=0"),
    *("loss.gaussian_nll=0", "loss.pairwise_rank=0", "loss.strong_binder_bce=0", "loss.mse=1"),
    *("training.balance=none", *STEADY),
]


def test_an_overfitted_run_is_told_and_ends_if_asked(data):
    result = fit_tiny(data, *OVERFIT)
    first = next(record for record in result.history if "overfitting" in record["warned"])
    assert first["epoch"] > 3
    assert "overfitting: since epoch" in first["warning"]
    assert "raise network.dropout" in first["warning"]
    best = min(result.history, key=lambda record: record["validation_loss"])
    assert first["train_sample_loss"] < best["train_sample_loss"]
    assert first["validation_loss"] > best["validation_loss"]
    assert first["loss_gap"] > best["loss_gap"]
    stopped = fit_tiny(data, *OVERFIT, "monitors.overfitting=stop")
    assert len(stopped.history) == first["epoch"]
    assert stopped.stopped == f"after epoch {first['epoch']}: {first['warning']}"


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=12),
    st.sampled_from([0.5, 1.0, 4.0]),
    st.sampled_from([-8.0, 0.0, 8.0]),
)
def test_overfitting_does_not_depend_on_the_losses_zero_and_scale(losses, scale, shift):
    rounded = [(round(left, 2), round(right, 2)) for left, right in losses]
    left, right = np.array(rounded).T
    plain = overfitting(left.tolist(), right.tolist())
    moved = overfitting((scale * left + shift).tolist(), (scale * right + shift).tolist())
    assert moved.columns["loss_gap"] == pytest.approx(scale * plain.columns["loss_gap"], abs=1e-9)
    close = 1e-9  # comparisons of equal numbers may fall either way once they are moved
    margins = np.abs(right - right.min() - 0.1 * (left[0] - left))
    if (margins > close).all() and len(set(right)) == len(right) == len(set(left)):
        gaps = right - left
        if len({round(gap, 6) for gap in gaps}) == len(gaps):
            assert bool(moved.warning) == bool(plain.warning)


def test_overfitting_needs_all_of_it():
    falling, worse = [1.0, 0.8, 0.6, 0.5, 0.4], [1.0, 0.9, 1.2, 1.3, 1.4]
    assert overfitting(falling, worse).warning
    assert not overfitting(falling[:4], worse[:4]).warning  # two epochs only
    assert not overfitting([1.0, 0.8, 0.9, 1.1, 1.2], worse).warning  # both get worse
    assert not overfitting(falling, [1.0, 0.9, 0.92, 0.92, 0.92]).warning  # hardly worse
    assert not overfitting(falling, [1.0, 0.9, 0.85, 0.8, 0.78]).warning  # gap grows, both better
    assert math.isnan(overfitting([0.4], [math.nan]).columns["loss_gap"])


def test_the_releases_recall_is_unstable_and_one_that_rises_is_not(reference_root):
    assert not recall_warning([0.0, 20.0, 60.0, 90.0, 95.0], strong=50)
    assert not recall_warning([100.0, 0.0, 100.0], strong=9)
    assert recall_warning([100.0, 0.0, 100.0], strong=10)
    assert not recall_warning([100.0, 14.0, *[90.0] * 5], strong=50)  # long ago
    assert not recall_warning([math.nan, 50.0], strong=50)
    history = pl.read_csv(reference_root / "v2.6_release" / "training_history_v2.6.csv")
    recalls = history["Val Recall"].to_list()
    found = monitors.recall_stability(recalls)
    assert found.sd == pytest.approx(39.35001416511261, rel=1e-12)
    assert found.max_jump == pytest.approx(85.64277865950433, rel=1e-12)
    assert found.status == "unstable"
    told = [epoch for epoch in range(1, 16) if recall_warning(recalls[:epoch], strong=8000)]
    assert told[0] == 3
    warning = recall_warning(recalls[:3], strong=8000)
    assert "swung between 14.4 % and 100.0 %" in warning
    assert "largest fall 85.6 points" in warning


def test_a_swinging_recall_is_told_and_ends_the_run_if_asked(easy):
    """The release's fault: nothing is learned, and one shared output crosses 9 up and down."""
    *parts, store = easy
    random = np.random.default_rng(0)
    parts = [with_pkd(p, random.normal(9, 0.5, len(p)).astype(np.float32)) for p in parts]
    changes = ["training.learning_rate=0.1", "training.max_epochs=12", "monitors.recall=stop"]
    result = fit_easy((*parts, store), *changes, "training.balance=none", name="v2.7")
    last = result.history[-1]
    assert "recall" in last["warned"].split(", ")
    assert "recall of strong binders (pKd >= 9) is unstable" in result.stopped
    recalls = [record["validation_recall_percent"] for record in result.history]
    assert last["recall_sd"] == pytest.approx(np.std(recalls))
    assert last["recall_jump"] == pytest.approx(np.abs(np.diff(recalls)).max())


def test_impossible_predictions_are_told_and_end_the_run_if_asked(data):
    """Labels in another unit pull a free output out of the range; a bounded one stays inside."""
    found = monitors.range_of(np.array([3.999, 4.0, 9.0, 14.0, 14.001]), np.full(5, 9.0))
    assert found.columns["share_out_of_range"] == 0.4
    assert found.warning.startswith("40.0 % of the predictions lie outside pKd 4 to 14")
    *parts, store = data
    strange = (*(with_pkd(part, part.pkd - 8) for part in parts), store)
    for output, reaction in (("free", "warn"), ("free", "stop"), ("bounded", "stop")):
        result = fit_tiny(strange, f"network.output={output}", f"monitors.range={reaction}")
        record = result.history[0]
        assert ("range" in record["warned"]) == (output == "free")
        assert record["share_out_of_range"] == (1.0 if output == "free" else 0.0)
        assert len(result.history) == (1 if (output, reaction) == ("free", "stop") else 3)
        if output == "free":
            assert "100.0 % of the predictions lie outside pKd 4 to 14" in record["warning"]
            assert "of the measured values" in record["warning"]


def test_parts_without_a_gradient_are_named_and_end_the_run_if_asked(data, monkeypatch):
    def kill(network):
        torch.nn.init.constant_(network.regressor[1].bias, -1e4)  # its GELU gives 0 ever after

    changed_network(monkeypatch, kill)
    warned = fit_tiny(data)
    assert len(warned.history) == 3
    record = warned.history[0]
    dead = record["dead_gradients"].split(", ")
    assert {"antibody_tower", "antigen_tower", "interactions"} <= set(dead)
    assert "regressor.3.bias" not in dead  # the answer's own offset still learns
    assert record["dead_unit_share"] == 1
    assert "exactly zero for the whole epoch" in record["warning"]
    assert "100 % of the hidden units got no gradient" in record["warning"]
    stopped = fit_tiny(data, "monitors.gradients=stop")
    assert len(stopped.history) == 1
    assert stopped.stopped.startswith("after epoch 1: dead gradients: the gradient of antibody_to")


def test_dead_units_are_counted_and_vanished_parameters_named(data, monkeypatch):
    def hurt(network):
        with torch.no_grad():
            network.regressor[1].bias[:3] = -1e4
        network.antigen_tower.position_scale.register_hook(lambda gradient: gradient * 1e-12)
        network.antibody_tower.requires_grad_(False)  # frozen on purpose: nothing to tell

    changed_network(monkeypatch, hurt)
    record = fit_tiny(data, "training.max_epochs=1").history[0]
    assert record["dead_gradients"] == "antigen_tower.position_scale"
    assert "the gradient of antigen_tower.position_scale was below 1e-08" in record["warning"]
    network = loop.untrained_network(tiny(), data[0], (data[2], data[2]))
    weights = [p for p in network.parameters() if p.requires_grad and p.dim() > 1][:-1]
    assert record["dead_unit_share"] == 3 / sum(len(weight) for weight in weights)


def test_gradient_peaks_go_on_from_a_checkpoint(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    whole, before, after = (monitors.GradientPeaks() for _ in range(3))
    for step in range(4):
        for index, parameter in enumerate(network.parameters()):
            parameter.grad = torch.full_like(parameter, float(index == step))
        for peaks in (whole, before if step < 2 else after):
            peaks.add(network, "here", [0])
        if step == 1:
            torch.save(before.state_dict(), tmp_path / "state.pth")
            after.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert after.state_dict().keys() == whole.state_dict().keys()
    assert all(torch.equal(after.peaks[name], whole.peaks[name]) for name in whole.peaks)
    assert whole.take().columns == after.take().columns
    assert whole.take().finding is None  # taken: begun anew


def test_monitors_that_are_off_leave_no_trace(data):
    names = ("collapse", "overfitting", "recall", "range", "gradients")
    off = [f"monitors.{name}=off" for name in names]
    plain, unwatched = fit_tiny(data), fit_tiny(data, *off)
    gone = plain.history[0].keys() - unwatched.history[0].keys()
    assert gone == {
        *("distinct", "tie_share", "spread_ratio", "share_out_of_range", "recall_sd"),
        *("recall_jump", "loss_gap", "train_sample_loss", "dead_unit_share", "dead_gradients"),
    }
    for name, weights in plain.state.items():  # watching changes nothing that is learned
        assert torch.equal(weights, unwatched.state[name])


def test_warnings_are_in_the_runs_summary(tmp_path):
    rows = simulate(antibodies=20, antigens=1, seed=3).measurements
    rows = [dataclasses.replace(row, pkd=2 + row.pkd / 10) for row in rows]  # below 4, all of them
    table, run = tmp_path / "strange.csv", tmp_path / "run"
    write_table(frame_from_measurements(rows), table)
    settings = ["encoders.antibody=residue", "network.output=free", "data.split=random"]
    train_table(table, tiny(*settings), run, RunOptions(device="cpu"))
    summary = json.loads((run / "training_summary_default.json").read_text())
    assert summary["warned"]["range"] == [1, 2, 3]
    history = pl.read_csv(run / "training_history_default.csv")
    assert history["Warned"].str.contains("range").all()
    assert history["Warning"].str.contains("of the predictions lie outside pKd 4 to 14").all()
    assert (history["Share Out Of Range"] == 1).all()


def test_settings_are_shown_and_checked(run_paratope):
    shown = tomllib.loads(run_paratope("train", "--show", "--set", "monitors.gradients=stop").out)
    assert shown["monitors"] == {**dict.fromkeys(monitors.MONITORS, "warn"), "gradients": "stop"}
    with pytest.raises(TrainingError, match=r"monitors.recall: .*'off', 'warn' or 'stop'"):
        load_recipe("default", ["monitors.recall=sometimes"])
    with pytest.raises(TrainingError, match=r"valid keys of \[monitors\]: collapse, gradients"):
        load_recipe("default", ["monitors.speed=warn"])
    assert "[monitors]" in recipe_toml(load_recipe("v2.6"))
    ways = ("monitors.collapse=stop", "training.stop_on_collapse=true")
    reactions, others = (monitors.Monitors(load_recipe("default", [way])).reactions for way in ways)
    assert reactions == others
    assert reactions["collapse"] == "stop"


def test_the_page_states_the_limits_of_the_code(repository):
    page = (repository / "docs" / "recipes.md").read_text("utf-8")
    section = " ".join(page.partition("## Monitors")[2].partition("## Loggers")[0].split())
    for text in (
        f"fewer than {findings.FEW_ALWAYS} distinct predictions",
        f"more than {100 * findings.MAX_TIE_SHARE:g} % of them equal",
        f"a spread below {100 * findings.MIN_SPREAD_RATIO:g} % of the measured",
        f"for {monitors.OVERFITTED_EPOCHS} epochs",
        f"above its minimum by {100 * monitors.MIN_RISE:g} %",
        f"in the latest {monitors.RECALL_WINDOW} epochs",
        f"fell by more than {monitors.MAX_RECALL_FALL:g} points",
        f"a standard deviation above {monitors.MAX_STABLE_RECALL_SD:g};",
        f"at least {monitors.MIN_STRONG} strong binders",
        f"more than {100 * findings.MAX_OUTSIDE_SHARE:g} % of the predictions lie outside",
        f"AdamW's ε of {monitors.VANISHED:g}",
        f"more than {100 * monitors.MAX_DEAD_UNITS:g} % of the hidden units",
        f"at most {learner.MAX_SAMPLE} training rows",
    ):
        assert text in section, text
    written = [part for part in section.split("`monitors.")[1:] if " = " not in part[:25]]
    told = {part.partition("`")[0] for part in written}
    assert set(MonitorSettings.model_fields) == {"gradients", *monitors.MONITORS} == told
