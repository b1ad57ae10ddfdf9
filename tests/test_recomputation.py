"""What is made anew in the backward pass is what was there, and was not kept meanwhile."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional

from paratope.models import recomputation
from paratope.models.recomputation import linear_of_gelu


@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 24)])
def test_outputs_and_gradients_are_the_same_bits(shape: tuple[int, ...]):
    torch.manual_seed(0)
    linear = nn.Linear(24, 6)
    hidden = torch.randn(shape, requires_grad=True)
    found = []
    for function in (linear_of_gelu, lambda one, layer: layer(functional.gelu(one))):
        linear.zero_grad(), setattr(hidden, "grad", None)
        output = function(hidden, linear)
        output.square().sum().backward()
        assert hidden.grad is not None
        assert linear.weight.grad is not None
        found.append((output.detach(), hidden.grad.clone(), linear.weight.grad.clone()))
    for mine, plain in zip(*found, strict=True):
        assert torch.equal(mine, plain)


def test_the_gelu_is_not_kept(monkeypatch: pytest.MonkeyPatch):
    made: list[weakref.ref] = []
    gelu = functional.gelu

    def watched(values: torch.Tensor) -> torch.Tensor:
        active = gelu(values)
        made.append(weakref.ref(active))
        return active

    monkeypatch.setattr(recomputation.functional, "gelu", watched)
    output = linear_of_gelu(torch.randn(3, 5, 8, requires_grad=True), nn.Linear(8, 2))
    gc.collect()
    assert [active() for active in made] == [None]
    output.sum().backward()
    assert len(made) == 2  # made anew, once


def test_mixed_precision_and_no_gradient():
    linear, hidden = nn.Linear(8, 3), torch.randn(4, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = linear_of_gelu(hidden, linear)
        plain = linear(functional.gelu(hidden))
    assert torch.equal(output, plain)
    output.sum().backward()
    assert hidden.grad is not None
    with torch.inference_mode():
        assert torch.equal(linear_of_gelu(hidden, linear), linear(functional.gelu(hidden)))
