"""Several trained networks as one scorer: states of molecules, scores of pairs of states.

Every scorer offers the same three steps, so that what runs once per molecule (`antibody_state`,
`antigen_state`) stays apart from what runs for every pair (`score`).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paratope.core.errors import ModelError
from paratope.models.batches import Embeddings, pad
from paratope.models.network import Network, NetworkConfig

Chains = tuple[str, ...]
# Pairs that are scored at once, and residue pairs they may hold: bounds the memory of attention.
_PAIRS_PER_BLOCK = 64
_RESIDUE_PAIRS_PER_BLOCK = 8_000_000


class States(NamedTuple):
    """Latents of molecules, one tensor (molecules, L, dim) per network, and mask (molecules, L)."""

    latents: tuple[Tensor, ...]
    mask: Tensor


class RawScores(NamedTuple):
    """Uncalibrated answers, float64, (n,) each.

    Attributes
    ----------
    mean : np.ndarray
        pKd, mean over the networks.
    sd : np.ndarray
        Standard deviation: what the networks expect as noise, and their disagreement.
    strong_logit : np.ndarray
        Logit of pKd ≥ 9, mean over the networks.
    """

    mean: np.ndarray
    sd: np.ndarray
    strong_logit: np.ndarray


class Ensemble:
    """Networks of one shape that answer together.

    Parameters
    ----------
    networks : sequence of Network
        At least one, all of one configuration.
    antibody_store, antigen_store : Embeddings
        Where embeddings are read.

    Raises
    ------
    ModelError
        If there is no network, or their configurations differ.
    """

    def __init__(
        self, networks: Sequence[Network], antibody_store: Embeddings, antigen_store: Embeddings
    ) -> None:
        if not networks:
            raise ModelError("an ensemble needs at least one network")
        if any(network.config != networks[0].config for network in networks):
            raise ModelError("networks of an ensemble must have one shape; these differ")
        self.networks = tuple(network.eval() for network in networks)
        self.antibody_store = antibody_store
        self.antigen_store = antigen_store

    @property
    def config(self) -> NetworkConfig:
        """Shape of every network."""
        return self.networks[0].config

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.networks[0].parameters()).device

    def antibody_state(self, molecules: Sequence[Chains]) -> States:
        """Latents of antibodies; runs once per molecule."""
        towers = [network.antibody_tower for network in self.networks]
        return self._state(molecules, self.antibody_store, towers)

    def antigen_state(self, molecules: Sequence[Chains]) -> States:
        """Latents of antigens; runs once per molecule."""
        towers = [network.antigen_tower for network in self.networks]
        return self._state(molecules, self.antigen_store, towers)

    def _state(
        self, molecules: Sequence[Chains], store: Embeddings, towers: Sequence[torch.nn.Module]
    ) -> States:
        tokens, mask = pad([store.get(molecule) for molecule in molecules])
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            return States(tuple(tower(tokens, mask) for tower in towers), mask)

    def score(
        self,
        antibodies: States,
        antigens: States,
        antibody_index: Sequence[int] | np.ndarray | None = None,
        antigen_index: Sequence[int] | np.ndarray | None = None,
    ) -> RawScores:
        """Answers for pairs of states.

        Parameters
        ----------
        antibodies, antigens : States
        antibody_index, antigen_index : sequence of int, optional
            State of each row; without them, row n pairs antibody n with antigen n.

        Returns
        -------
        RawScores
            (rows,) each.
        """
        rows = len(antibodies.mask) if antibody_index is None else len(antibody_index)
        left = torch.as_tensor(
            np.arange(rows) if antibody_index is None else np.asarray(antibody_index)
        ).to(self.device)
        right = torch.as_tensor(
            np.arange(rows) if antigen_index is None else np.asarray(antigen_index)
        ).to(self.device)
        answers = np.zeros((len(self.networks), 3, rows))
        step = self._rows_at_once(antibodies, antigens)
        with torch.inference_mode():
            for number, network in enumerate(self.networks):
                for start in range(0, rows, step):
                    block = slice(start, start + step)
                    output = network.interact(
                        antibodies.latents[number],
                        antibodies.mask,
                        antigens.latents[number],
                        antigens.mask,
                        left[block],
                        right[block],
                    )
                    for kind, values in enumerate(output):
                        answers[number, kind, block] = values.double().cpu().numpy()
        means, variances = answers[:, 0], np.exp(answers[:, 1])
        sd = np.sqrt(variances.mean(axis=0) + means.var(axis=0))
        return RawScores(means.mean(axis=0), sd, answers[:, 2].mean(axis=0))

    def _rows_at_once(self, antibodies: States, antigens: States) -> int:
        residue_pairs = antibodies.mask.shape[1] * antigens.mask.shape[1]
        return max(1, min(_PAIRS_PER_BLOCK, _RESIDUE_PAIRS_PER_BLOCK // residue_pairs))

    def score_pairs(self, antibodies: Sequence[Chains], antigens: Sequence[Chains]) -> RawScores:
        """Answers for pairs of molecules, row by row; towers run once per molecule of a block.

        Parameters
        ----------
        antibodies, antigens : sequence of tuple of str
            Chains of each row's molecules.
        """
        lengths = [
            (sum(map(len, antigen)), antigen, sum(map(len, antibody)), row)
            for row, (antibody, antigen) in enumerate(zip(antibodies, antigens, strict=True))
        ]
        order = [entry[-1] for entry in sorted(lengths)]
        result = RawScores(*(np.zeros(len(order)) for _ in range(3)))
        for start in range(0, len(order), 4 * _PAIRS_PER_BLOCK):
            rows = order[start : start + 4 * _PAIRS_PER_BLOCK]
            left = {antibodies[row]: None for row in rows}
            right = {antigens[row]: None for row in rows}
            left_number = {molecule: number for number, molecule in enumerate(left)}
            right_number = {molecule: number for number, molecule in enumerate(right)}
            answer = self.score(
                self.antibody_state(list(left)),
                self.antigen_state(list(right)),
                [left_number[antibodies[row]] for row in rows],
                [right_number[antigens[row]] for row in rows],
            )
            for values, part in zip(result, answer, strict=True):
                values[rows] = part
        return result


def network_config_to_json(config: NetworkConfig) -> dict[str, object]:
    """A network's shape as plain values."""
    return dataclasses.asdict(config)


def network_config_from_json(data: object) -> NetworkConfig:
    """The inverse of `network_config_to_json`; `ModelError` for unknown or missing fields."""
    if not isinstance(data, dict):
        raise ModelError(f"config.json: 'network' should be a table of sizes, got {data!r}")
    try:
        regressor = tuple(data.get("regressor", ()))
        return NetworkConfig(**{**data, "regressor": regressor})
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"config.json does not describe a network of this version: {error}"
        ) from error
