"""The network depends on every residue of both sides and on nothing else."""

import gc
import weakref

import pytest
import torch
from torch.nn import functional

from paratope.models.batches import PairBatch
from paratope.models.network import FeedForward, Network, bounded, unbounded
from paratope.models.recipes import RECIPES, NetworkConfig, load_recipe

ANTIBODY_DIM, ANTIGEN_DIM = 12, 9
SMALL = {"dim": 16, "heads": 4, "regressor": (24,)}
SIDES = ("antibody", "antigen")
TOLERANCE = 1e-5


def config_of(recipe: str, **changes) -> NetworkConfig:
    settings = {**load_recipe(recipe).network.model_dump(), **SMALL, **changes}
    return NetworkConfig(antibody_dim=ANTIBODY_DIM, antigen_dim=ANTIGEN_DIM, **settings)


@pytest.fixture(params=RECIPES)
def network(request) -> Network:
    """A small network of every recipe, its last layer not tiny so that changes show."""
    torch.manual_seed(0)
    return Network(config_of(request.param)).eval()


def molecules(lengths: list[int], dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.zeros(len(lengths), max(lengths), dim)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
    for number, length in enumerate(lengths):
        tokens[number, :length] = torch.randn(length, dim, generator=generator)
        mask[number, :length] = True
    return tokens, mask


def make_batch(antibody_lengths=(7, 11, 9, 5), antigen_lengths=(13, 6), rows=None) -> PairBatch:
    """Rows pair every antibody with every antigen unless given as (antibody, antigen)."""
    antibody = molecules(list(antibody_lengths), ANTIBODY_DIM, 1)
    antigen = molecules(list(antigen_lengths), ANTIGEN_DIM, 2)
    if rows is None:
        rows = [(b, g) for b in range(len(antibody[0])) for g in range(len(antigen[0]))]
    first, second = torch.tensor(rows).T
    none, number = torch.zeros(len(rows), dtype=torch.long), torch.arange(len(rows))
    pkd = torch.linspace(5, 11, len(rows))
    return PairBatch(*antibody, first, *antigen, second, pkd, none, none, number)


def answers(network: Network, batch: PairBatch) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(list(network(batch)))  # (3, B)


def longer(tokens: torch.Tensor, mask: torch.Tensor, more: int) -> list[torch.Tensor]:
    """The same molecules with more padding, which is filled with garbage."""
    garbage = 100 * torch.randn(len(tokens), more, tokens.shape[2])
    padded = torch.cat([torch.where(mask[..., None], tokens, 100.0), garbage], dim=1)
    return [padded, torch.cat([mask, torch.zeros(len(mask), more, dtype=torch.bool)], dim=1)]


def test_padding_order_and_size_of_a_batch_do_not_change_the_prediction(network):
    batch = make_batch()
    whole = answers(network, batch)
    antibody, antibody_mask = longer(batch.antibody, batch.antibody_mask, 17)
    antigen, antigen_mask = longer(batch.antigen, batch.antigen_mask, 40)
    sides = {"antibody": antibody, "antibody_mask": antibody_mask}
    padded = batch._replace(**sides, antigen=antigen, antigen_mask=antigen_mask)
    assert torch.allclose(whole, answers(network, padded), atol=TOLERANCE)
    order = torch.randperm(len(batch.row))
    turned = {f"{side}_index": getattr(batch, f"{side}_index")[order] for side in SIDES}
    found = answers(network, batch._replace(**turned))
    assert torch.allclose(whole[:, order], found, atol=TOLERANCE)
    for row in range(len(batch.row)):
        alone = {"row": torch.tensor([row])}
        for side in SIDES:
            tokens, mask, index = (getattr(batch, side + part) for part in ("", "_mask", "_index"))
            one, here = slice(index[row], index[row] + 1), mask[index[row]]
            alone |= {side: tokens[one, here], f"{side}_mask": mask[one, here]}
            alone |= {f"{side}_index": torch.tensor([0])}
        found = answers(network, batch._replace(**alone))
        assert torch.allclose(whole[:, row], found[:, 0], atol=TOLERANCE)


@pytest.mark.parametrize("side", ["antibody", "antigen"])
@pytest.mark.parametrize("change", ["remove", "shuffle", "swap", "one residue"])
def test_either_molecule_changes_the_prediction(network, side, change):
    batch = make_batch(antigen_lengths=(13, 13), antibody_lengths=(11, 11), rows=[(0, 0), (1, 1)])
    tokens, mask = getattr(batch, side).clone(), getattr(batch, f"{side}_mask").clone()
    if change == "remove":
        mask[:] = False
    elif change == "shuffle":
        tokens = tokens[:, torch.randperm(tokens.shape[1], generator=torch.Generator())]
    elif change == "swap":
        tokens = tokens.flip(0)
    else:
        tokens[:, 4] = torch.randn(tokens.shape[2])
    changed = batch._replace(**{side: tokens, f"{side}_mask": mask})
    difference = (answers(network, batch) - answers(network, changed)).abs()
    assert torch.isfinite(difference).all()
    assert (difference[0] > 1e-4).all(), difference  # the pKd of both rows
    masks = {f"{one}_mask": torch.zeros_like(getattr(batch, f"{one}_mask")) for one in SIDES}
    found = answers(network, batch._replace(**masks))  # both may be absent
    assert torch.isfinite(found).all()
    assert torch.allclose(found, found[:, :1].expand_as(found))


def test_each_side_attends_to_the_other_by_residue(monkeypatch):
    torch.manual_seed(0)
    network = Network(config_of("default")).eval()
    batch = make_batch(rows=[(0, 0), (1, 1)], antibody_lengths=(7, 11))
    calls, attend = [], functional.scaled_dot_product_attention

    def watched(query, key, value, attn_mask):
        calls.append((query, key, attn_mask))
        return attend(query, key, value, attn_mask=attn_mask)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", watched)
    network(batch)
    sides = [batch.antibody_mask, batch.antigen_mask]
    for call, mask, context_mask in zip(calls, sides, sides[::-1], strict=True):
        query, key, present = call
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        weights = logits.masked_fill(~present, -torch.inf).softmax(dim=-1)[..., :-1]
        assert weights.shape == (2, 4, mask.shape[1], context_mask.shape[1])
        assert (weights.sum(-1) < 1).all()  # the rest went to nothing
        assert (weights.masked_select(~context_mask[:, None, None, :]) == 0).all()
        here = weights[0][:, mask[0]][:, :, context_mask[0]]
        assert (here.std(dim=-1) > 1e-4).all()  # differ by the residue that is heard
        assert (here.std(dim=-2) > 1e-6).all()  # and by the residue that listens


def test_gradients_reach_every_parameter_which_attend_only_with_cross_attention(network):
    attends = any("attends" in name for name, _ in network.named_parameters())
    assert attends == bool(len(network.interactions)) == network.config.use_cross_attention
    network.train()
    sum(part.sum() for part in network(make_batch())).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad.abs() > 0).any(), name


@pytest.mark.parametrize("mixed", [False, True])
def test_feed_forward_makes_its_gelu_anew_and_gives_the_same_bits(monkeypatch, mixed):
    torch.manual_seed(0)
    layer, states = FeedForward(config_of("v2.6")).eval(), torch.randn(2, 7, 16, requires_grad=True)
    made: list[weakref.ref] = []
    gelu = functional.gelu

    def watched(values: torch.Tensor) -> torch.Tensor:
        made.append(weakref.ref(active := gelu(values)))
        return active

    found = []
    for plain in (True, False):
        layer.zero_grad(), setattr(states, "grad", None)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            if plain:
                output = states + layer.narrow(gelu(layer.widen(layer.norm(states))))
            else:
                monkeypatch.setattr(functional, "gelu", watched)
                output = layer(states)
                gc.collect()
                assert [active() for active in made] == [None]  # not kept
        output.square().sum().backward()
        gradients = [states.grad, *(parameter.grad for parameter in layer.parameters())]
        found.append([output.detach(), *(gradient.clone() for gradient in gradients)])
    assert len(made) == 2  # made anew, once
    assert all(torch.equal(*both) for both in zip(*found, strict=True))


def test_gradients_are_equal_every_time_with_several_threads():
    """Many rows of one molecule add to its gradient; above 32,768 elements threads share it."""
    torch.manual_seed(0)
    network = Network(config_of("default"))
    batch = make_batch([60, 61], [70], rows=[(row % 2, 0) for row in range(64)])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = set()
        for _ in range(10):
            network.zero_grad()
            network.eval()(batch).mean.sum().backward()
            grads = [weight.grad for weight in network.parameters() if weight.grad is not None]
            gradients.add(b"".join(grad.numpy().tobytes() for grad in grads))
    finally:
        torch.set_num_threads(threads)
    assert len(gradients) == 1


def test_bounded_output_is_smooth_and_keeps_a_gradient_everywhere():
    for raw in (-1e4, -300.0, -1.0, 0.0, 2.0, 300.0, 1e4):
        value = torch.tensor(raw, requires_grad=True)
        result = bounded(value, 4.0, 14.0)
        result.backward()
        assert result.dtype == torch.float32
        assert 4.0 < float(result.detach()) < 14.0
        assert float(value.grad) > 0
    raw = torch.linspace(-30, 30, 6001, dtype=torch.float64)
    slope = bounded(raw, 4.0, 14.0).diff() / raw.diff()
    assert (slope > 0).all()
    assert slope.diff().abs().max() < 0.01  # no kink: the slope of a clamp jumps by 1
    assert float(slope.max()) == pytest.approx(1.0, abs=1e-3)
    for pkd in (4.2, 6.0, 9.0, 13.7):
        raw = torch.tensor(unbounded(pkd, 4.0, 14.0), dtype=torch.float64)
        assert float(bounded(raw, 4.0, 14.0)) == pytest.approx(pkd)


@pytest.mark.parametrize(("pkd", "sd"), [(8.3, 1.2), (13.9, 0.2), (4.0, 3.0)])
@pytest.mark.parametrize("recipe", ["default", "v2.6"])
def test_output_scale_sets_where_an_untrained_network_answers(recipe, pkd, sd):
    network = Network(config_of(recipe)).eval()
    network.set_output_scale(pkd, sd)
    with torch.no_grad():
        network.regressor[-1].weight.zero_()
        network.regressor[-1].bias.zero_()
    output = network(make_batch())
    expected = min(max(pkd, 4.5), 13.5) if recipe == "default" else pkd
    assert float(output.mean[0].detach()) == pytest.approx(expected, abs=1e-4)
    assert float(torch.exp(0.5 * output.log_variance[0].detach())) == pytest.approx(sd, rel=1e-4)
    copy = Network(network.config)
    copy.load_state_dict(network.state_dict())  # the scale travels with the weights
    assert torch.equal(answers(copy.eval(), make_batch()), answers(network, make_batch()))


def test_outputs_are_float32_under_mixed_precision_and_in_range_for_absurd_weights(network):
    batch = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        mixed = network(batch)
    assert [tensor.dtype for tensor in mixed] == [torch.float32] * 3
    assert torch.allclose(mixed.mean, answers(network, batch)[0], atol=0.1)
    with torch.no_grad():
        network.regressor[-1].weight.mul_(1e4)
    mean = answers(network, batch)[0]
    # recipes with a free output may leave the range
    assert ((mean < 4) | (mean > 14)).any() == (network.config.output != "bounded")


def test_towers_run_once_and_interact_serves_every_pair(network):
    batch = make_batch()
    antibody = network.antibody_tower(batch.antibody, batch.antibody_mask)
    antigen = network.antigen_tower(batch.antigen, batch.antigen_mask)
    assert antibody.shape == (4, 11, 16)
    assert antigen.shape == (2, 13, 16)
    one = torch.zeros(4, dtype=torch.long)
    first, mask = antigen[:1], batch.antigen_mask[:1]
    with torch.no_grad():
        # a block of a screen: four antibodies, one antigen
        block = network.interact(antibody, batch.antibody_mask, first, mask, None, one)
        repeated = first.expand(4, -1, -1), mask.expand(4, -1)
        aligned = network.interact(antibody, batch.antibody_mask, *repeated)
    rows = batch.antigen_index == 0
    whole = answers(network, batch)[:, rows]
    assert torch.allclose(torch.stack(list(block)), whole, atol=TOLERANCE)
    assert torch.allclose(torch.stack(list(aligned)), whole, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("recipe", "dims", "least", "most"),
    [
        ("v2.6", {"antibody_dim": 1024, "antigen_dim": 2560}, 45e6, 55e6),
        ("default", {"antibody_dim": 512, "antigen_dim": 51}, 1, 2e6),
    ],
)
def test_recipe_v26_has_about_50_million_parameters_and_the_default_few(recipe, dims, least, most):
    with torch.device("meta"):
        network = Network(NetworkConfig(**dims, **load_recipe(recipe).network.model_dump()))
    assert least <= sum(parameter.numel() for parameter in network.parameters()) <= most
