"""A step: accumulated batches, one schedule, clipped gradients, heads in full precision."""

import contextlib

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from paratope.encoders import load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.models.batches import Examples, collate
from paratope.training.learner import Learner, Schedule
from paratope.training.loop import untrained_network
from paratope.training.monitors import Monitors
from small_runs import data, rows, run, tiny

__all__ = ["data"]  # a fixture

CPU = torch.device("cpu")


@contextlib.contextmanager
def every_step(see):
    """Show every optimiser before each of its steps, in whatever code that step is made."""
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
    examples = Examples.from_measurements(rows(128))
    with EmbeddingStore(load_encoder("residue"), tmp_path_factory.mktemp("many")) as store:
        store.fill((*examples.antibodies, *examples.antigens))
        yield examples, store


def step(learner: Learner, recipe, batches: list) -> dict[str, float]:
    places = ["here"] * len(batches)
    return learner.step(0, batches, batches, places, Monitors(recipe), lambda position: None)


SEPARABLE = ("huber", "mse", "focal_regression", "gaussian_nll", "strong_binder_bce")


@pytest.mark.parametrize("loss", SEPARABLE)
def test_32_rows_four_times_are_128_rows(many, loss):
    """Dropout off: loss, every gradient and the weights after the step, to 1e-6."""
    examples, store = many
    others = [f"loss.{name}={float(name == loss)}" for name in (*SEPARABLE, "pairwise_rank")]
    recipe = tiny("network.dropout=0", "training.gradient_clip=0", *others)
    steps = []
    for sizes in ([128], [32, 32, 32, 32]):
        torch.manual_seed(0)
        network = untrained_network(recipe, examples, (store, store))
        learner = Learner(network, recipe, 1, CPU)
        order = np.random.default_rng(5).permutation(128)
        windows = np.split(order, np.cumsum(sizes)[:-1])
        batches = [collate(examples, window, store, store) for window in windows]
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
    examples, store = many
    losses = ("loss.gaussian_nll=0", "loss.soft_spearman=1", "loss.strong_binder_bce=0")
    recipe = tiny("network.dropout=0", *losses)
    torch.manual_seed(0)
    network = untrained_network(recipe, examples, (store, store))
    learner = Learner(network, recipe, 1, CPU)
    batches = [collate(examples, part, store, store) for part in np.split(np.arange(128), 4)]
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
    """What the optimiser used at every step is what the recipe's one schedule says, and no more."""
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
        found: list[float] = []

        def see(optimizer) -> None:
            found.append(float(torch.cat([one.flatten() for one in gradients(optimizer)]).norm()))

        with every_step(see):
            run(data, tiny(f"training.gradient_clip={limit}", "training.max_epochs=1"))
        return found

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

    def watch(name: str):
        def hook(module, inputs, output) -> None:
            seen.setdefault(name, set()).update({inputs[0].dtype, output.dtype})

        return hook

    for name, module in learner.network.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(watch(name))
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


def test_a_mixed_precision_run_stays_close_to_a_full_one(data):
    settings = ("network.dropout=0", "training.max_epochs=2", "training.learning_rate=1e-4")
    full = run(data, tiny(*settings))
    mixed = run(data, tiny(*settings, "training.precision=bf16-mixed"))
    losses = [[record["train_loss"] for record in result.history] for result in (full, mixed)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
