"""LoRA: small changes of an encoder's attention, trained together with the network.

To each chosen projection W a product of two thin matrices is added, W + (alpha / rank) B A (Hu et
al. 2022, "LoRA: low-rank adaptation of large language models", ICLR). Only A and B are trained and
saved; B begins at zero. The network of an adapted side reads residue tokens and encodes them
itself, so nothing an adapted encoder gives is ever in the store of embeddings.
"""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paratope.core.errors import MissingExtraError, TrainingError
from paratope.core.progress import Progress, silent
from paratope.encoders import Encoder, load_encoder, molecule_units
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.encoders.language_models import TOKENS_PER_BATCH, TransformerEncoder, length_batches
from paratope.encoders.protocol import Role
from paratope.models.batches import Embeddings
from paratope.models.network import Network
from paratope.models.recipes import LoraSettings, NetworkConfig
from paratope.molecules.sequences import ALPHABET, Chains

SIDES: tuple[Role, Role] = ("antibody", "antigen")
# type of model -> projections that are changed unless the recipe names others
DEFAULT_TARGETS = {"bert": ("query", "value"), "esm": ("query", "value"), "t5": ("q", "v")}
_CHAIN = len(ALPHABET)  # a residue's code is its index in the alphabet plus this for every chain


class ResidueTokens:
    """Molecules as one number per residue, in place of the `EmbeddingStore` of a trained encoder.

    >>> tokens = ResidueTokens(load_encoder("antiberty"))
    >>> tokens.get(("ACD", "AC"))[:, 0].tolist()
    [0.0, 1.0, 2.0, 21.0, 22.0]
    >>> chains_of(tokens.get(("ACD", "AC"))[:, 0])
    ('ACD', 'AC')
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open."""

    def fill(self, molecules: Iterable[Chains], progress: Progress = silent) -> int:
        """Encode nothing: 0."""
        return 0

    def get(self, molecule: Chains) -> np.ndarray:
        """Code of every residue, (residues, 1) float32."""
        codes = [
            ALPHABET.index(residue) + _CHAIN * index
            for index, chain in enumerate(molecule)
            for residue in chain
        ]
        return np.array(codes, dtype=np.float32)[:, None]


def chains_of(codes: Sequence[float] | np.ndarray) -> Chains:
    """Chains of a molecule's codes, the inverse of `ResidueTokens.get`."""
    chains: dict[int, str] = {}
    for code in codes:
        index, residue = divmod(int(code), _CHAIN)
        chains[index] = chains.get(index, "") + ALPHABET[residue]
    return tuple(chains.values())


class AdaptedTower(nn.Module):
    """A tower that reads residue tokens: the adapted encoder, then the tower of the network.

    Its weights are the adapter's and the tower's; the encoder, changed in place, is no part of it.
    """

    tokens_at_once = TOKENS_PER_BATCH

    def __init__(
        self, tower: nn.Module, encoder: TransformerEncoder, settings: LoraSettings
    ) -> None:
        super().__init__()
        self.tower = tower
        self.encoder = encoder
        from peft import LoraConfig, inject_adapter_in_model

        model = encoder.language_model.base_model  # without a head, which no residue's state sees
        targets = settings.targets or DEFAULT_TARGETS[model.config.model_type]
        lora = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=list(targets))
        layers = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
        projections = sorted({name.split(".")[-1] for name in layers})
        if missing := sorted(set(targets) - set(projections)):
            raise TrainingError(
                f"lora.targets: {encoder.name} has no projection {missing[0]!r}; "
                f"valid names: {', '.join(projections)}"
            )
        inject_adapter_in_model(lora, model)
        adapters = {
            # a parameter's key may hold no dot
            name.removesuffix(".default.weight").replace(".", "-"): weight
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        self.adapters = nn.ParameterDict(adapters)

    def forward(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Latents (molecules, L, dim) of tokens (molecules, L, 1); zero at padding."""
        lengths = mask.sum(dim=1).tolist()
        rows = codes[:, :, 0].cpu().numpy()
        molecules = [chains_of(row[:length]) for row, length in zip(rows, lengths, strict=True)]
        return self.tower(self.encode(molecules, codes.device), mask)

    def encode(self, molecules: Sequence[Chains], device: torch.device) -> Tensor:
        """Embeddings of molecules by the adapted encoder, (molecules, L, dim), zero at padding."""
        split = [molecule_units(molecule, self.encoder.paired) for molecule in molecules]
        units = list(dict.fromkeys(unit for units in split for unit in units))
        self.move_encoder(device)
        tokenized = [self.encoder.tokenize(unit) for unit in units]
        batches = length_batches([len(unit.ids) for unit in tokenized], self.tokens_at_once)
        known: dict[Chains, Tensor] = {}
        for batch in batches:
            part = [tokenized[index] for index in batch]
            # A large encoder's layers of a whole training batch fit no memory: of several batches,
            # each is passed once more when its gradient is due.
            if len(batches) > 1 and torch.is_grad_enabled():
                states = checkpoint(
                    self.encoder.residue_states, part, use_reentrant=False, preserve_rng_state=False
                )
            else:
                states = self.encoder.residue_states(part)
            names = [units[index] for index in batch]
            known.update(zip(names, cast(list[Tensor], states), strict=True))
        rows = [torch.cat([known[unit] for unit in units]) for units in split]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def move_encoder(self, device: torch.device) -> None:
        """Put the encoder, which does not follow ``tower.to(device)``, where its adapter is."""
        model = self.encoder.language_model
        if any(weight.device != device for weight in model.parameters()):
            model.to(device)


def adapted_sides(settings: LoraSettings) -> tuple[Role, ...]:
    """Sides whose encoder is trained."""
    return tuple(side for side in SIDES if settings.rank and settings.side in (side, "both"))


def open_store(
    encoder: Encoder, side: Role, settings: LoraSettings, cache: Any = None
) -> EmbeddingStore | ResidueTokens:
    """What a network reads a side from: stored embeddings, or tokens; raises as `build_network`."""
    if side in adapted_sides(settings):
        _check_adaptable(encoder, side, settings)
        return ResidueTokens(encoder)
    return EmbeddingStore(encoder, cache)


def embedding_width(store: Embeddings, molecule: Chains) -> int:
    """Width of the embeddings a network gets to see by way of a store."""
    return store.encoder.dim if isinstance(store, ResidueTokens) else store.get(molecule).shape[1]


def build_network(
    config: NetworkConfig, settings: LoraSettings, encoders: Mapping[str, str], device: str = "auto"
) -> Network:
    """An untrained network, its sides' encoders (as for `load_encoder`) adapted by the settings.

    Raises `TrainingError` if an encoder cannot be adapted so, `MissingExtraError` without peft.
    """
    network = Network(config)
    adapt(network, settings, encoders, device)
    return network


def adapt(
    network: Network, settings: LoraSettings, encoders: Mapping[str, str], device: str = "auto"
) -> None:
    """Let a network train its encoders; see `build_network`."""
    for side in adapted_sides(settings):
        encoder = load_encoder(encoders[side], device)
        _check_adaptable(encoder, side, settings)
        assert isinstance(encoder, TransformerEncoder)
        tower = getattr(network, f"{side}_tower")
        setattr(network, f"{side}_tower", AdaptedTower(tower, encoder, settings))


def _check_adaptable(encoder: Encoder, side: Role, settings: LoraSettings) -> None:
    """Make sure that an encoder can be adapted, and that peft is there to do it."""
    if not isinstance(encoder, TransformerEncoder):
        other = next(name for name in SIDES if name != side)
        raise TrainingError(
            f"lora.side={settings.side}: the {side} encoder {encoder.name} is not one that LoRA "
            f"can train; use lora.side={other}, or a language model"
        )
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError("LoRA fine-tuning (lora.rank above 0)", "research")
