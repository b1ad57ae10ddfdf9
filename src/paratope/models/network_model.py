"""A model of trained networks: they read embeddings, answer together, and are calibrated.

Late interaction: what runs once per molecule (`antibody_state`, `antigen_state`) stays apart from
what runs for every pair (`score`).
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from paratope.core.errors import ModelError
from paratope.core.progress import console_progress
from paratope.data.measurements import PairContext
from paratope.encoders import Encoder, load_encoder
from paratope.encoders.embedding_store import EmbeddingStore
from paratope.encoders.language_models import length_batches, resolve_device
from paratope.encoders.protocol import Role
from paratope.models.applicability_domain import ApplicabilityDomain, DomainDistance
from paratope.models.batches import fit_molecule, pad, unique
from paratope.models.bundle import Bundle, BundleConfig
from paratope.models.calibration import Calibration
from paratope.models.explanation import Explanation, occlusion
from paratope.models.fine_tuning import SIDES, ResidueTokens, build_network, open_store
from paratope.models.model import (
    DEFAULT_COVERAGE,
    STRONG_PKD,
    Label,
    PairPredictions,
    Scored,
    unread_context,
)
from paratope.models.network import Network
from paratope.models.recipes import NetworkConfig
from paratope.molecules.sequences import Antibody, Antigen, Chains, Pair

Store = EmbeddingStore | ResidueTokens
# Bounds of memory: residues embedded at once, rows whose states are kept at once, pairs that
# attend to each other at once and residue pairs they may hold.
_RESIDUES_AT_ONCE = 16_384
_ROWS_AT_ONCE = 256
_PAIRS_AT_ONCE = 64
_RESIDUE_PAIRS_AT_ONCE = 8_000_000
_OUT_OF_DOMAIN = "out of domain: the antigen resembles none that the model was trained on"


class States(NamedTuple):
    """Latents of molecules, one tensor (molecules, L, dim) per network, and mask (molecules, L)."""

    latents: tuple[Tensor, ...]
    mask: Tensor


@dataclasses.dataclass(frozen=True)
class NetworkModel:
    """Networks of one shape that answer together; `ModelError` if there is none, or they differ."""

    networks: tuple[Network, ...]  # At least one, all of one configuration, in evaluation mode
    # antibody_store, antigen_store: Where molecules are read; they know the encoders
    antibody_store: Store
    antigen_store: Store
    calibration: Calibration
    domain: ApplicabilityDomain
    max_residues: int = 0  # Limit of a molecule's residues, 0 for none
    label: Label = "pkd"
    default_antigen: Antigen | None = None  # every row must name its antigen

    def __post_init__(self) -> None:
        if not self.networks:
            raise ModelError("an ensemble needs at least one network")
        if any(network.eval().config != self.config for network in self.networks):
            raise ModelError("networks of an ensemble must have one shape; these differ")

    @classmethod
    def open(
        cls, bundle: Bundle, device: str = "auto", cache: str | os.PathLike[str] | None = None
    ) -> "NetworkModel":
        """The model of a bundle, with its embedding stores in `cache` (default: the user's).

        Raises `ModelError` if its parts do not fit together, `EncoderError` if an encoder is not
        here.
        """
        config = BundleConfig.of(bundle.config)
        sizes, lora = config.network, config.encoders.lora
        if sizes is None:
            raise ModelError("config.json: 'network', the table of its sizes, is missing")
        domain = ApplicabilityDomain.from_json(bundle.familiarity)
        calibration = Calibration.from_json(bundle.calibration)
        names = {side: getattr(config.encoders, side) for side in SIDES}
        encoders = [load_encoder(name, device) for name in names.values()]
        for encoder, side in zip(encoders, SIDES, strict=True):
            if encoder.dim != (width := getattr(sizes, f"{side}_dim")):
                raise ModelError(
                    f"config.json: the {side} encoder {encoder.name} gives {encoder.dim} numbers "
                    f"for a residue, but the network reads {width}; these encoders are not its own"
                )
        states: list[dict[str, Any]] = [{} for _ in range(config.members)]
        for name, tensor in bundle.weights.items():
            member, _, parameter = name.partition(".")
            if not (member.isdecimal() and member.isascii() and int(member) < config.members):
                raise ModelError(f"model.safetensors holds {name!r}, of no network of this model")
            states[int(member)][parameter] = tensor
        networks = []
        for index, state in enumerate(states):
            if sum(tensor.numel() for tensor in state.values()) < sizes.weights:
                raise ModelError(
                    f"model.safetensors holds too few weights for config.json (network {index})"
                )
            with torch.random.fork_rng(devices=[]):  # weights are drawn before they are replaced
                network = build_network(sizes, lora, names, device)
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                raise ModelError(
                    f"model.safetensors does not fit config.json (network {index}): "
                    f"{' '.join(str(error).split())[:300]}"
                ) from error
            networks.append(network.to(resolve_device(device)))
        antibody_store = open_store(encoders[0], "antibody", lora, cache)
        antigen_store = open_store(encoders[1], "antigen", lora, cache)
        stores = antibody_store, antigen_store
        return cls(tuple(networks), *stores, calibration, domain, config.encoders.max_residues)

    @property
    def config(self) -> NetworkConfig:
        """Shape of every network."""
        return self.networks[0].config

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.networks[0].parameters()).device

    def close(self) -> None:
        """Close the embedding stores; the model cannot be used afterwards."""
        self.antibody_store.close()
        self.antigen_store.close()

    def cut_pair(self, pair: Pair) -> tuple[Pair, str | None]:
        """A pair cut to what the encoders see; see `fit_pair`."""
        stores = self.antibody_store, self.antigen_store
        return fit_pair(pair, stores[0].encoder, stores[1].encoder, self.max_residues)

    def judge(self, pairs: Sequence[Pair]) -> list[DomainDistance]:
        """How close each pair is to the training set."""
        return self.domain.judge(pairs)

    def predict_pairs(
        self,
        pairs: Sequence[Pair],
        *,
        parent: Pair | None = None,
        coverage: float = DEFAULT_COVERAGE,
        strong_threshold_pkd: float = STRONG_PKD,
        contexts: Sequence[PairContext] | None = None,
    ) -> PairPredictions:
        """Calibrated predictions; see `paratope.models.model.Model`."""
        distances = self.judge(pairs)
        domains = [distance.domain for distance in distances]
        answers = self.calibration.apply(
            self.score_pairs(pairs), domains, coverage, strong_threshold_pkd
        )
        difference = None
        if parent is not None:
            parent_pkd = float(self.predict_pairs([parent]).calibrated.value[0])
            difference = self.calibration.difference(answers.value, parent_pkd, domains, coverage)
        unread = map(unread_context, contexts or [PairContext()] * len(pairs))
        notes = [
            "; ".join(filter(None, [_OUT_OF_DOMAIN * (domain == "out"), note]))
            for domain, note in zip(domains, unread, strict=True)
        ]
        return PairPredictions(answers, distances, notes, difference)

    def explain(
        self,
        pairs: Sequence[Pair],
        contexts: Sequence[PairContext] | None = None,
        parent: Pair | None = None,
    ) -> list[Explanation]:
        """An `occlusion`; a network reads neither contexts nor a parent."""
        return occlusion(lambda asked: self.predict_pairs(asked).calibrated.value, pairs)

    def antibody_state(self, molecules: Sequence[Chains]) -> States:
        """Latents of antibodies; runs once per molecule."""
        return self._state(molecules, "antibody")

    def antigen_state(self, molecules: Sequence[Chains]) -> States:
        """Latents of antigens; runs once per molecule."""
        return self._state(molecules, "antigen")

    def _state(self, molecules: Sequence[Chains], side: Role) -> States:
        store: Store = getattr(self, f"{side}_store")
        towers = [getattr(network, f"{side}_tower") for network in self.networks]
        lengths = [sum(map(len, molecule)) for molecule in molecules]
        shape = len(molecules), max(lengths)
        mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
        latents = [torch.zeros(*shape, self.config.dim, device=self.device) for _ in towers]
        with torch.inference_mode():
            # embeddings are wide and latents narrow, so only some molecules' are held at once
            for block in length_batches(lengths, _RESIDUES_AT_ONCE):
                tokens, present = pad([store.get(molecules[index]) for index in block])
                tokens, present = tokens.to(self.device), present.to(self.device)
                for latent, tower in zip(latents, towers, strict=True):
                    latent[block, : tokens.shape[1]] = tower(tokens, present)
        return States(tuple(latents), mask.to(self.device))

    def score(
        self,
        antibodies: States,
        antigens: States,
        antibody_index: Sequence[int] | np.ndarray | None = None,
        antigen_index: Sequence[int] | np.ndarray | None = None,
    ) -> Scored:
        """Uncalibrated pKd for pairs of states; variance mean(σ²) + var(μ) over the networks.

        Lakshminarayanan et al. 2017.
        """
        rows = len(antibodies.mask) if antibody_index is None else len(antibody_index)
        left, right = (
            torch.as_tensor(np.arange(rows) if index is None else np.asarray(index)).to(self.device)
            for index in (antibody_index, antigen_index)
        )
        outputs = np.zeros((len(self.networks), 3, rows))
        residue_pairs = antibodies.mask.shape[1] * antigens.mask.shape[1]
        step = max(1, min(_PAIRS_AT_ONCE, _RESIDUE_PAIRS_AT_ONCE // residue_pairs))
        with torch.inference_mode():
            for member, network in enumerate(self.networks):
                for start in range(0, rows, step):
                    block = slice(start, start + step)
                    antibody = antibodies.latents[member], antibodies.mask
                    antigen = antigens.latents[member], antigens.mask
                    output = network.interact(*antibody, *antigen, left[block], right[block])
                    outputs[member, :, block] = torch.stack(list(output)).cpu().numpy()
        means, variances = outputs[:, 0], np.exp(outputs[:, 1])
        sd = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
        return Scored(means.mean(axis=0), sd, outputs[:, 2].mean(axis=0))

    def score_pairs(self, pairs: Sequence[Pair]) -> Scored:
        """Uncalibrated pKd of pairs that `cut_pair` has given; each molecule is encoded once."""
        antibodies = [pair.antibody.chains for pair in pairs]
        antigens = [pair.antigen.chains for pair in pairs]
        lengths = [
            (sum(map(len, antigen)), antigen, sum(map(len, antibody)))
            for antibody, antigen in zip(antibodies, antigens, strict=True)
        ]
        order = sorted(range(len(pairs)), key=lambda row: (lengths[row], row))
        scored = Scored(*np.zeros((3, len(pairs))))
        with console_progress() as progress:
            self.antibody_store.fill(dict.fromkeys(antibodies), progress)
            self.antigen_store.fill(dict.fromkeys(antigens), progress)
            for start in range(0, len(order), _ROWS_AT_ONCE):
                progress("scoring pairs", start, len(order))
                rows = order[start : start + _ROWS_AT_ONCE]
                left, left_index = unique([antibodies[row] for row in rows])
                right, right_index = unique([antigens[row] for row in rows])
                states = self.antibody_state(left), self.antigen_state(right)
                block = self.score(*states, left_index, right_index)
                for values, part in zip(scored, block, strict=True):
                    values[rows] = part
        return scored


def fit_pair(
    pair: Pair, antibody_encoder: Encoder, antigen_encoder: Encoder, max_residues: int = 0
) -> tuple[Pair, str | None]:
    """A pair cut to what the encoders see, and a note if so; `EncoderError` if one refuses it."""
    antibody, antigen = pair.antibody, pair.antigen
    heavy_light, note = fit_molecule(antibody_encoder, antibody.chains, "antibody", max_residues)
    chains, antigen_note = fit_molecule(antigen_encoder, antigen.chains, "antigen", max_residues)
    fitted = Pair(
        Antibody(heavy_light[0], (*heavy_light[1:], None)[0], antibody.name),
        Antigen(chains, antigen.name),
    )
    return fitted, "; ".join(text for text in (note, antigen_note) if text) or None
