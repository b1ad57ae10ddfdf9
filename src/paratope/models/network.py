"""The network: an antibody's residues, an antigen's residues, and how tightly they bind.

Two towers read one molecule each and give a latent per residue; they run once per molecule.
`Network.interact` lets every residue of one side attend to every residue of the other, pools both
sides and answers; it is all that runs for each pair. Padding is masked wherever residues mix: in
convolutions, attention and pooling.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from paratope.core.units import PKD_MAX_OUTPUT, PKD_MIN_OUTPUT
from paratope.models.batches import PairBatch
from paratope.models.recipes import NetworkConfig

# log-variances of a pKd the network can state: standard deviations from 0.05 to 7.4
LOG_VARIANCE_RANGE = (-6.0, 4.0)


class NetworkOutput(NamedTuple):
    """What the network says of each row, float32, (B,) each."""

    mean: Tensor  # pKd
    log_variance: Tensor  # Of the pKd; natural logarithm
    strong_logit: Tensor  # Logit of pKd ≥ 9


def bounded(raw: Tensor, low: float, high: float) -> Tensor:
    """Raw values onto (low, high) by an arc tangent: slope 1 in the middle.

    The slope falls with 1 / raw², not exponentially as a sigmoid's, so no prediction gets stuck.
    """
    width = high - low
    return (low + high) / 2 + width / math.pi * torch.atan(raw * (math.pi / width))


def unbounded(value: float, low: float, high: float) -> float:
    """Raw value that `bounded` takes to `value`, which lies inside (low, high)."""
    width = high - low
    return width / math.pi * math.tan(math.pi / width * (value - (low + high) / 2))


class Network(nn.Module):
    """Cross-attention between the residues of an antibody and an antigen."""

    output_center: Tensor
    output_spread: Tensor
    output_doubt: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.antibody_tower = Tower(config.antibody_dim, config)
        self.antigen_tower = Tower(config.antigen_dim, config)
        layers = config.layers if config.use_cross_attention else 0
        self.interactions = nn.ModuleList(Interaction(config) for _ in range(layers))
        pooling = AttentionPooling if config.use_cross_attention else MeanPooling
        self.antibody_pooling = pooling(config)
        self.antigen_pooling = pooling(config)
        widths = (3 * config.dim, *config.regressor)
        blocks: list[nn.Module] = [nn.LayerNorm(widths[0])]
        for width, next_width in zip(widths, widths[1:], strict=False):
            blocks += [nn.Linear(width, next_width), nn.GELU(), nn.Dropout(config.dropout)]
        self.regressor = nn.Sequential(*blocks, nn.Linear(widths[-1], 3))
        # where and how wide the training labels lie; part of the weights, not trained
        self.register_buffer("output_center", torch.tensor(0.0))
        self.register_buffer("output_spread", torch.tensor(1.0))
        self.register_buffer("output_doubt", torch.tensor(0.0))

    def set_output_scale(self, mean: float, sd: float) -> None:
        """Let the untrained network answer about the labels' mean, in units of their spread."""
        center = mean
        if self.config.output == "bounded":
            margin = 0.5  # of a pKd from either end, where the raw scale is still short
            inside = min(max(mean, PKD_MIN_OUTPUT + margin), PKD_MAX_OUTPUT - margin)
            center = unbounded(inside, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT)
        self.output_center.fill_(center)
        sd = min(max(sd, 0.1), 5.0)
        self.output_spread.fill_(sd)
        self.output_doubt.fill_(unbounded(2 * math.log(sd), *LOG_VARIANCE_RANGE))

    def forward(self, batch: PairBatch) -> NetworkOutput:
        """Answer for every row of a batch; each tower runs once per unique molecule."""
        antibody = self.antibody_tower(batch.antibody, batch.antibody_mask)
        antigen = self.antigen_tower(batch.antigen, batch.antigen_mask)
        masked = antibody, batch.antibody_mask, antigen, batch.antigen_mask
        return self.interact(*masked, batch.antibody_index, batch.antigen_index)

    def interact(
        self,
        antibody: Tensor,
        antibody_mask: Tensor,
        antigen: Tensor,
        antigen_mask: Tensor,
        antibody_index: Tensor | None = None,
        antigen_index: Tensor | None = None,
    ) -> NetworkOutput:
        """Answer, (B,) each, for pairs of the towers' latents (molecules, L, dim).

        Masks (molecules, L) are true at residues; a side without any is an absent molecule. The
        indices (B,) name each row's molecules (default: n, n), so that what depends on one is
        computed once.
        """
        states, masks = (antibody, antigen), (antibody_mask, antigen_mask)
        index = (antibody_index, antigen_index)
        for layer in self.interactions:
            states = layer(states, masks, index)
            masks = (_rows(masks[0], index[0]), _rows(masks[1], index[1]))
            index = (None, None)  # from here on every row has states of its own
        pooled_antibody = _rows(self.antibody_pooling(states[0], masks[0]), index[0])
        pooled_antigen = _rows(self.antigen_pooling(states[1], masks[1]), index[1])
        with torch.autocast(pooled_antibody.device.type, enabled=False):
            left, right = pooled_antibody.float(), pooled_antigen.float()  # (B, dim)
            answer = self.regressor(torch.cat([left, right, left * right], dim=-1))  # (B, 3)
            mean = self.output_center + self.output_spread * answer[:, 0]
            if self.config.output == "bounded":
                mean = bounded(mean, PKD_MIN_OUTPUT, PKD_MAX_OUTPUT)
            log_variance = bounded(answer[:, 1] + self.output_doubt, *LOG_VARIANCE_RANGE)
            return NetworkOutput(mean, log_variance, answer[:, 2])


class Tower(nn.Module):
    """Latent of every residue of one molecule: projection, position, convolutions."""

    def __init__(self, token_dim: int, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token_dim)
        self.project = nn.Linear(token_dim, config.dim)
        self.position_scale = nn.Parameter(torch.full((config.dim,), 0.1))
        self.blocks = nn.ModuleList(ConvolutionBlock(config) for _ in range(config.tower_layers))
        self.last_norm = nn.LayerNorm(config.dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Latents (molecules, L, dim) of embeddings (molecules, L, token_dim); zero at padding."""
        states = self.project(self.norm(tokens))
        states = states + self.position_scale * sinusoids(tokens.shape[1], states)
        for block in self.blocks:
            states = block(states, mask)
        return self.last_norm(states) * mask.unsqueeze(-1)


class ConvolutionBlock(nn.Module):
    """Depthwise convolution along the chain, then a mix of channels, added to the input."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.along = nn.Conv1d(
            config.dim, config.dim, config.kernel, padding=config.kernel // 2, groups=config.dim
        )
        self.across = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States of the same shape (molecules, L, dim)."""
        inside = self.norm(states) * mask.unsqueeze(-1)  # padding looks like the end of the chain
        neighbours = self.along(inside.transpose(1, 2)).transpose(1, 2)
        return states + self.dropout(self.across(functional.gelu(neighbours)))


class Interaction(nn.Module):
    """One layer in which each side attends to the other, both from the states before the layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.antibody_norm, self.antigen_norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.antibody_attends = CrossAttention(config)
        self.antigen_attends = CrossAttention(config)
        self.antibody_feed_forward = FeedForward(config)
        self.antigen_feed_forward = FeedForward(config)

    def forward(
        self,
        states: tuple[Tensor, Tensor],
        masks: tuple[Tensor, Tensor],
        index: tuple[Tensor | None, Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """States of both sides, one per row: (B, La, dim), (B, Lg, dim)."""
        antibody, antigen = self.antibody_norm(states[0]), self.antigen_norm(states[1])
        to_antibody = self.antibody_attends(antibody, antigen, masks[1], index[0], index[1])
        to_antigen = self.antigen_attends(antigen, antibody, masks[0], index[1], index[0])
        return (
            self.antibody_feed_forward(_rows(states[0], index[0]) + to_antibody),
            self.antigen_feed_forward(_rows(states[1], index[1]) + to_antigen),
        )


class CrossAttention(nn.Module):
    """Multi-head attention from one molecule's residues to another's.

    There is always a null key with logit 0 and value 0, so a residue may attend to nothing and an
    absent partner is well defined (Miller 2023, "Attention is off by one").
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.key_value = nn.Linear(config.dim, 2 * config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        states: Tensor,
        context: Tensor,
        context_mask: Tensor,
        index: Tensor | None = None,
        context_index: Tensor | None = None,
    ) -> Tensor:
        """What each residue hears, (B, L, dim); projections run once per molecule."""
        query = _rows(self._split(self.query(states)), index)  # (B, heads, Lq, dim / heads)
        null = (0, 0, 0, 1)  # one more row of zeros at the end of the residues
        key, value = (
            _rows(functional.pad(self._split(part), null), context_index)
            for part in self.key_value(context).chunk(2, dim=-1)
        )
        mask = functional.pad(context_mask, (0, 1), value=True)[:, None, None, :]
        heard = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=_rows(mask, context_index)
        )
        return self.dropout(self.out(heard.transpose(1, 2).flatten(2)))

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers at each residue, added to the input."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden = config.feed_forward * config.dim
        self.norm = nn.LayerNorm(config.dim)
        self.widen, self.narrow = nn.Linear(config.dim, hidden), nn.Linear(hidden, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """States of the same shape (B, L, dim)."""
        hidden = self.widen(self.norm(states))

        def narrow(hidden: Tensor) -> Tensor:
            return self.narrow(functional.gelu(hidden))

        if not torch.is_grad_enabled():  # and importing what checkpoint needs takes seconds
            return states + self.dropout(narrow(hidden))
        # the widest tensors there are: GELU's is made again for the backward pass, not kept
        narrowed = checkpoint(narrow, hidden, use_reentrant=False, preserve_rng_state=False)
        return states + self.dropout(narrowed)


class AttentionPooling(nn.Module):
    """Weighted mean over residues, each head with weights of its own; no residues give zero."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.score = nn.Linear(config.dim, config.heads, bias=False)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, dim) of (B, L, dim)."""
        states = self.norm(states)
        values = states.unflatten(-1, (self.score.out_features, -1))  # (B, L, heads, dim / heads)
        logits = self.score(states).masked_fill(~mask.unsqueeze(-1), -math.inf)
        null = functional.pad(logits, (0, 0, 0, 1))  # a residue that is nobody's, with logit 0
        weights = null.softmax(dim=1)[:, :-1]  # (B, L, heads)
        return (values * weights.unsqueeze(-1)).sum(dim=1).flatten(1)


class MeanPooling(nn.Module):
    """Plain mean over residues; no residues give zero."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, dim) of (B, L, dim)."""
        present = mask.unsqueeze(-1)
        return (self.norm(states) * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)


def sinusoids(length: int, like: Tensor) -> Tensor:
    """Sines and cosines of the position, (length, width of `like`); Vaswani et al. 2017, 3.5."""
    half = like.shape[-1] // 2
    position = torch.arange(length, device=like.device, dtype=torch.float32)
    channel = torch.arange(half, device=like.device, dtype=torch.float32)
    rate = torch.exp(channel * (-math.log(1e4) / half))
    angle = position[:, None] * rate[None, :]
    return torch.cat([angle.sin(), angle.cos()], dim=-1).to(like.dtype)


def _rows(molecules: Tensor, index: Tensor | None) -> Tensor:
    # not molecules[index], whose backward pass adds in no fixed order: runs would differ
    return molecules if index is None else molecules.index_select(0, index)
