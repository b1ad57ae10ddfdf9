"""Recomputation: tensors that the backward pass makes anew instead of keeping them in memory."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def linear_of_gelu(hidden: Tensor, linear: nn.Linear) -> Tensor:
    """`linear` of GELU of `hidden`, bit for bit, without keeping the GELU for the backward pass.

    In a network that widens its states before a GELU that is the largest tensor there is, and
    quickly made again from `hidden`, which is kept.

    Parameters
    ----------
    hidden : Tensor
        (..., width of the linear layer's input).
    linear : nn.Linear

    Returns
    -------
    Tensor
        (..., width of its output).

    Examples
    --------
    >>> linear, hidden = nn.Linear(4, 2), torch.randn(3, 4)
    >>> torch.equal(linear_of_gelu(hidden, linear), linear(functional.gelu(hidden)))
    True
    """
    active = functional.gelu(hidden)
    # autograd shows `keep` other objects of the same storage, and holds what `keep` refers to
    storage, size = active.untyped_storage()._cdata, active.numel()

    def keep(tensor: Tensor) -> Tensor | torch.Size:
        same = tensor.untyped_storage()._cdata == storage and tensor.numel() == size
        return tensor.shape if same else tensor

    def bring(kept: Tensor | torch.Size) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        return functional.gelu(hidden.detach()).reshape(kept)

    with torch.autograd.graph.saved_tensors_hooks(keep, bring):
        return linear(active)
