"""Measured pairs as arrays, and batches of them: padding, masks, buckets, each molecule once.

A batch holds its unique molecules (many rows share one antigen) and says by index which row uses
which: towers run once per molecule, only the interaction once per row.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from paratope.core.errors import InputError
from paratope.core.interruption import Resumable
from paratope.data.measurements import Measurement
from paratope.encoders import Encoder
from paratope.encoders.protocol import Role
from paratope.molecules.sequences import Chains

T = TypeVar("T", bound=Hashable)
# Rows are sorted by length inside windows of so many batches: little padding, enough chance.
_BATCHES_PER_WINDOW = 8


class Embeddings(Protocol):
    """Anything that gives the per-residue embedding of a molecule, such as an `EmbeddingStore`."""

    def get(self, molecule: Chains, /) -> np.ndarray:
        """Embedding of the molecule's residues, (residues, dim)."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Examples:
    """Pairs with what was measured of them, as arrays over unique molecules; n rows."""

    # antibodies, antigens: Chains of the unique molecules
    antibodies: tuple[Chains, ...]
    antigens: tuple[Chains, ...]
    # antibody_index, antigen_index: (n,) molecule of each row
    antibody_index: np.ndarray
    antigen_index: np.ndarray
    pkd: np.ndarray  # (n,)
    censoring: np.ndarray  # (n,) values of `Censoring`
    assays: Chains  # Names of the assays
    assay: np.ndarray  # (n,) assay of each row

    def __len__(self) -> int:
        return len(self.pkd)

    @classmethod
    def from_measurements(cls, measurements: Sequence[Measurement]) -> Self:
        """Examples of measurements; `InputError` if one has no pKd."""
        for number, measurement in enumerate(measurements, start=1):
            if measurement.pkd is None:
                raise InputError(
                    f"measurement {number} has no pKd; expected one in every row "
                    "(non-binders get theirs from bound_non_binders)"
                )
        antibodies, antibody_index = unique([row.pair.antibody.chains for row in measurements])
        antigens, antigen_index = unique([row.pair.antigen.chains for row in measurements])
        assays, assay = unique([row.assay for row in measurements])
        pkd = np.array([row.pkd for row in measurements], dtype=np.float32)
        censoring = np.array([row.censoring for row in measurements], dtype=np.int64)
        index = antibody_index, antigen_index
        return cls(antibodies, antigens, *index, pkd, censoring, assays, assay)

    def rows(self, chosen: np.ndarray) -> "Examples":
        """Some of the rows, over the same molecules and assays."""
        names = ("antibody_index", "antigen_index", "pkd", "censoring", "assay")
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def fingerprint(self) -> str:
        """SHA-256 of every row's molecules, value, censoring and assay, in order."""
        digest = hashlib.sha256(repr((self.antibodies, self.antigens, self.assays)).encode())
        for name in ("antibody_index", "antigen_index", "assay", "censoring", "pkd"):
            digest.update(getattr(self, name).tobytes())
        return digest.hexdigest()

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Residues of each row's antibody and antigen, (n,) each."""
        antibody, antigen = (
            np.array([sum(map(len, chains)) for chains in molecules], dtype=np.int64)
            for molecules in (self.antibodies, self.antigens)
        )
        return antibody[self.antibody_index], antigen[self.antigen_index]


def unique(items: Sequence[T]) -> tuple[tuple[T, ...], np.ndarray]:
    """Different items in order of their first appearance, and each item's index among them."""
    positions: dict[T, int] = {}
    index = [positions.setdefault(item, len(positions)) for item in items]
    return tuple(positions), np.array(index, dtype=np.int64)


def fit_molecule(
    encoder: Encoder, chains: Chains, role: Role, max_residues: int = 0
) -> tuple[Chains, str | None]:
    """Chains cut to what an encoder, and a recipe's limit (0: none), let it see; and a note if so.

    Raises `EncoderError` if the encoder refuses the molecule.
    """
    chains, note = encoder.fit_length(chains, role)
    total = sum(map(len, chains))
    if not max_residues or total <= max_residues:
        return chains, note
    ends = itertools.accumulate(map(len, chains))
    lengths = [max_residues - end + len(chain) for chain, end in zip(chains, ends, strict=True)]
    kept = [chain[:length] for chain, length in zip(chains, lengths, strict=True) if length > 0]
    cut = (
        f"{role}: the last {total - max_residues} of {total} residues are left out "
        f"(limit {max_residues})"
    )
    return tuple(kept), cut if note is None else f"{note}; {cut}"


class PairBatch(NamedTuple):
    """Rows of measured pairs over the unique molecules they use."""

    antibody: Tensor  # (antibodies, La, Da) embeddings of the unique antibodies, zero where padded
    antibody_mask: Tensor  # (antibodies, La) true at residues, False at padding
    antibody_index: Tensor  # (B,) antibody of each row
    # antigen, antigen_mask, antigen_index: The same for antigens
    antigen: Tensor
    antigen_mask: Tensor
    antigen_index: Tensor
    pkd: Tensor  # (B,)
    censoring: Tensor  # (B,) values of `Censoring`
    assay: Tensor  # (B,) number of the assay. Values are ranked only inside one.
    row: Tensor  # (B,) position of the row in the examples the batch was made of

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return type(self)(*(tensor.to(device) for tensor in self))


def label_batch(examples: Examples, rows: Sequence[int] | np.ndarray) -> PairBatch:
    """The labels of some rows, without their molecules."""
    chosen = np.asarray(rows, dtype=np.int64)
    tokens, mask, index = torch.zeros(0, 0, 0), torch.zeros(0, 0).bool(), torch.zeros(0).long()
    return PairBatch(
        *(tokens, mask, index) * 2,
        pkd=torch.from_numpy(examples.pkd[chosen]),
        censoring=torch.from_numpy(examples.censoring[chosen]),
        assay=torch.from_numpy(examples.assay[chosen]),
        row=torch.from_numpy(chosen),
    )


def collate(
    examples: Examples,
    rows: Sequence[int] | np.ndarray,
    antibody_store: Embeddings,
    antigen_store: Embeddings,
) -> PairBatch:
    """Batch of some rows of the examples, in their order, each molecule embedded once."""
    batch = label_batch(examples, rows)
    for side, store in (("antibody", antibody_store), ("antigen", antigen_store)):
        molecules = examples.antibodies if side == "antibody" else examples.antigens
        rows_index = getattr(examples, f"{side}_index")[batch.row.numpy()]
        used, index = np.unique(rows_index, return_inverse=True)
        tokens, mask = pad([store.get(molecules[molecule]) for molecule in used])
        new = {side: tokens, f"{side}_mask": mask, f"{side}_index": torch.from_numpy(index)}
        batch = batch._replace(**new)
    return batch


def pad(embeddings: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Embeddings (residues, dim) as one zero-padded float32 tensor and a mask, true at residues."""
    longest = max(len(embedding) for embedding in embeddings)
    tokens = torch.zeros(len(embeddings), longest, embeddings[0].shape[1])
    mask = torch.zeros(len(embeddings), longest, dtype=torch.bool)
    values = tokens.numpy()
    for position, embedding in enumerate(embeddings):
        values[position, : len(embedding)] = embedding  # the only copy, also of a read-only view
        mask[position, : len(embedding)] = True
    return tokens, mask


class BatchPlan(Resumable):
    """Which rows each batch of each epoch holds: a function of seed and epoch, bucketed by length.

    With `balance` ``"none"`` every row comes once an epoch; with ``"assay"`` or ``"antigen"`` as
    many are drawn, with replacement, a group of m rows in proportion to m ** `balance_power`. An
    epoch's last batch may be smaller.
    """

    kept = ("seed", "epoch", "position")

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int = 0,
        balance: str = "none",
        balance_power: float = 0.5,
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.epoch = self.position = 0
        self._antibody_length, self._antigen_length = examples.lengths()
        self._antigen_index = examples.antigen_index
        self._probability: np.ndarray | None = None  # of drawing each row; None: each once
        if balance != "none" and len(examples):
            group = {"assay": examples.assay, "antigen": examples.antigen_index}[balance]
            weight = np.bincount(group).astype(np.float64)[group] ** (balance_power - 1.0)
            self._probability = weight / weight.sum()

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Rows of every batch of an epoch."""
        random = np.random.default_rng((self.seed, epoch))
        count = len(self._antigen_index)
        if self._probability is None:
            rows = random.permutation(count)
        else:
            rows = random.choice(count, size=count, p=self._probability)
        batches: list[np.ndarray] = []
        window = self.batch_size * _BATCHES_PER_WINDOW
        for start in range(0, count, window):
            part = rows[start : start + window]
            lengths = self._antibody_length[part], self._antigen_length[part]
            part = part[np.lexsort((lengths[0], self._antigen_index[part], lengths[1]))]
            batches += [
                part[first : first + self.batch_size]
                for first in range(0, len(part), self.batch_size)
            ]
        return [batches[index] for index in random.permutation(len(batches))]

    def __len__(self) -> int:
        return -(-len(self._antigen_index) // self.batch_size)

    def start_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.epoch, self.position = epoch, 0


def batches_by_length(examples: Examples, batch_size: int) -> list[np.ndarray]:
    """Every row once, in batches of similar lengths: for prediction, where order is free."""
    antibody_length, antigen_length = examples.lengths()
    rows = np.lexsort((antibody_length, examples.antigen_index, antigen_length))
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
