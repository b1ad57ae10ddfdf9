"""Measured pairs as arrays, and batches of them: padding, masks, buckets, each molecule once.

Many rows of a table share one antigen, so a batch holds its unique molecules and says by index
which row uses which: the network's towers then run once per molecule and only the interaction runs
once per row.
"""

import dataclasses
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from paratope.errors import InputError
from paratope.measurements import Measurement
from paratope.sequences import Pair
from paratope.units import Censoring

Chains = tuple[str, ...]
T = TypeVar("T", bound=Hashable)

# Sign of what a row says beyond its value: the true pKd is at most / exactly / at least `pkd`.
CENSORING_CODES = {Censoring.AT_MOST: -1, Censoring.EXACT: 0, Censoring.AT_LEAST: 1}
# Rows are sorted by length inside windows of this many batches, so that padding is little and
# chance is not lost.
_BATCHES_PER_WINDOW = 8


class Embeddings(Protocol):
    """Anything that gives the per-residue embedding of a molecule, such as an `EmbeddingStore`."""

    def get(self, molecule: Chains, /) -> np.ndarray:
        """Embedding of the molecule's residues, (residues, dim)."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class PairBatch:
    """Rows of measured pairs over the unique molecules they use.

    Attributes
    ----------
    antibody : Tensor
        Embeddings of the unique antibodies, zero where padded, (antibodies, La, Da).
    antibody_mask : Tensor
        True at residues, False at padding, (antibodies, La).
    antibody_index : Tensor
        Antibody of each row, (B,).
    antigen, antigen_mask, antigen_index : Tensor
        The same for antigens.
    pkd : Tensor
        Measured value, NaN where there is none, (B,).
    censoring : Tensor
        -1: the true pKd is at most `pkd`; 0: it is `pkd`; 1: it is at least `pkd`. (B,)
    assay : Tensor
        Number of the assay, (B,). Values are ranked only inside one.
    weight : Tensor
        Weight of the row in losses that are sums over rows, (B,).
    row : Tensor
        Position of the row in the examples the batch was made of, (B,).
    """

    antibody: Tensor
    antibody_mask: Tensor
    antibody_index: Tensor
    antigen: Tensor
    antigen_mask: Tensor
    antigen_index: Tensor
    pkd: Tensor
    censoring: Tensor
    assay: Tensor
    weight: Tensor
    row: Tensor

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.row)

    def without_molecules(self) -> Self:
        """The labels alone, for what is to be kept after the embeddings are no longer needed."""
        none, no_mask = self.antibody.new_zeros(0, 0, 0), self.antibody_mask.new_zeros(0, 0)
        return dataclasses.replace(
            self, antibody=none, antibody_mask=no_mask, antigen=none, antigen_mask=no_mask
        )

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        fields = {
            field.name: getattr(self, field.name).to(device) for field in dataclasses.fields(self)
        }
        return type(self)(**fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Examples:
    """Pairs with what was measured of them, as arrays over unique molecules; n rows.

    Attributes
    ----------
    antibodies, antigens : tuple of tuple of str
        Chains of the unique molecules.
    antibody_index, antigen_index : ndarray of int
        Molecule of each row, (n,).
    pkd : ndarray of float32
        NaN where nothing was measured, (n,).
    censoring : ndarray of int
        -1, 0, 1 as in `PairBatch`, (n,).
    assays : tuple of str
        Names of the assays.
    assay : ndarray of int
        Assay of each row, (n,).
    weight : ndarray of float32
        (n,).
    """

    antibodies: tuple[Chains, ...]
    antigens: tuple[Chains, ...]
    antibody_index: np.ndarray
    antigen_index: np.ndarray
    pkd: np.ndarray
    censoring: np.ndarray
    assays: tuple[str, ...]
    assay: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.pkd)

    @classmethod
    def from_measurements(
        cls, measurements: Sequence[Measurement], weights: Sequence[float] | None = None
    ) -> Self:
        """Examples of measurements that have a pKd.

        Raises
        ------
        InputError
            If a measurement has no pKd.

        Examples
        --------
        >>> from paratope.sequences import Antibody, Antigen, Pair
        >>> pair = Pair(Antibody("EVQL"), Antigen(("MKV",)))
        >>> examples = Examples.from_measurements(
        ...     [Measurement(pair, 8.5), Measurement(pair, 5.0, Censoring.AT_MOST)]
        ... )
        >>> len(examples), examples.antibodies, examples.censoring.tolist()
        (2, (('EVQL',),), [0, -1])
        """
        values = []
        for number, measurement in enumerate(measurements, start=1):
            if measurement.pkd is None:
                raise InputError(
                    f"measurement {number} has no pKd; expected one in every row "
                    "(non-binders get theirs from bound_non_binders)"
                )
            values.append(measurement.pkd)
        codes = [CENSORING_CODES[measurement.censoring] for measurement in measurements]
        assays = [measurement.assay for measurement in measurements]
        pairs = [measurement.pair for measurement in measurements]
        return cls._build(pairs, values, codes, assays, weights)

    @classmethod
    def from_pairs(cls, pairs: Sequence[Pair]) -> Self:
        """Examples of pairs to be predicted: no value is known."""
        count = len(pairs)
        return cls._build(pairs, [np.nan] * count, [0] * count, [""] * count, None)

    @classmethod
    def _build(
        cls,
        pairs: Sequence[Pair],
        values: Sequence[float],
        codes: Sequence[int],
        assay_names: Sequence[str],
        weights: Sequence[float] | None,
    ) -> Self:
        antibodies, antibody_index = _unique([pair.antibody.chains for pair in pairs])
        antigens, antigen_index = _unique([pair.antigen.chains for pair in pairs])
        assays, assay = _unique(assay_names)
        return cls(
            antibodies=antibodies,
            antigens=antigens,
            antibody_index=antibody_index,
            antigen_index=antigen_index,
            pkd=np.asarray(values, dtype=np.float32),
            censoring=np.asarray(codes, dtype=np.int64),
            assays=assays,
            assay=assay,
            weight=np.ones(len(pairs), np.float32)
            if weights is None
            else np.asarray(weights, np.float32),
        )

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Residues of each row's antibody and antigen, (n,) each."""
        antibody = np.array([sum(map(len, chains)) for chains in self.antibodies], dtype=np.int64)
        antigen = np.array([sum(map(len, chains)) for chains in self.antigens], dtype=np.int64)
        return antibody[self.antibody_index], antigen[self.antigen_index]


def collate(
    examples: Examples,
    rows: Sequence[int] | np.ndarray,
    antibody_store: Embeddings,
    antigen_store: Embeddings,
) -> PairBatch:
    """Batch of some rows of the examples, each molecule embedded once.

    Parameters
    ----------
    examples : Examples
    rows : sequence of int
        Which rows, in the batch's order.
    antibody_store, antigen_store : Embeddings
        Where the molecules' embeddings are.

    Returns
    -------
    PairBatch
    """
    chosen = np.asarray(rows, dtype=np.int64)
    antibodies, antibody_index = np.unique(examples.antibody_index[chosen], return_inverse=True)
    antigens, antigen_index = np.unique(examples.antigen_index[chosen], return_inverse=True)
    antibody, antibody_mask = pad(
        [antibody_store.get(examples.antibodies[index]) for index in antibodies]
    )
    antigen, antigen_mask = pad([antigen_store.get(examples.antigens[index]) for index in antigens])
    return PairBatch(
        antibody=antibody,
        antibody_mask=antibody_mask,
        antibody_index=torch.from_numpy(antibody_index),
        antigen=antigen,
        antigen_mask=antigen_mask,
        antigen_index=torch.from_numpy(antigen_index),
        pkd=torch.from_numpy(examples.pkd[chosen]),
        censoring=torch.from_numpy(examples.censoring[chosen]),
        assay=torch.from_numpy(examples.assay[chosen]),
        weight=torch.from_numpy(examples.weight[chosen]),
        row=torch.from_numpy(chosen),
    )


def pad(embeddings: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Embeddings of several molecules as one zero-padded tensor and its mask.

    Parameters
    ----------
    embeddings : sequence of ndarray
        (residues, dim) each.

    Returns
    -------
    tokens : Tensor
        float32, (molecules, longest, dim).
    mask : Tensor
        True at residues, (molecules, longest).

    Examples
    --------
    >>> tokens, mask = pad([np.ones((2, 4)), np.ones((3, 4))])
    >>> tokens.shape, mask.sum(dim=1).tolist()
    (torch.Size([2, 3, 4]), [2, 3])
    """
    longest = max(len(embedding) for embedding in embeddings)
    tokens = torch.zeros(len(embeddings), longest, embeddings[0].shape[1])
    mask = torch.zeros(len(embeddings), longest, dtype=torch.bool)
    for number, embedding in enumerate(embeddings):
        # an embedding may be a read-only view of the store; the copy into `tokens` is the only one
        # made
        tokens[number, : len(embedding)] = torch.from_numpy(np.array(embedding, dtype=np.float32))
        mask[number, : len(embedding)] = True
    return tokens, mask


class BatchPlan:
    """Which rows each batch of each epoch holds: seeded, bucketed by length, resumable.

    The plan of an epoch is a function of the seed and the epoch alone, so a position inside it is
    all the state there is. Iterating gives the batches from that position on and moves it.

    Parameters
    ----------
    examples : Examples
    batch_size : int
        Rows a batch; the last batch of an epoch may be smaller.
    seed : int
    balance : str
        ``"none"``: every row once an epoch. ``"assay"`` or ``"antigen"``: as many rows are drawn,
        with replacement, so that a group of m rows is drawn in proportion to m ** `balance_power`.
    balance_power : float
        0: every group equally often; 1: as often as it has rows.

    Examples
    --------
    >>> from paratope.sequences import Antibody, Antigen, Pair
    >>> pairs = [Pair(Antibody("EVQL" * n), Antigen(("MKV",))) for n in range(1, 6)]
    >>> plan = BatchPlan(Examples.from_pairs(pairs), batch_size=2, seed=0)
    >>> sorted(int(row) for batch in plan for row in batch), plan.position
    ([0, 1, 2, 3, 4], 3)
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seed: int = 0,
        balance: str = "none",
        balance_power: float = 0.5,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._antibody_length, self._antigen_length = examples.lengths()
        self._antigen_index = examples.antigen_index
        self._probability = _row_probability(examples, balance, balance_power)

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
            part = self._by_length(rows[start : start + window])
            batches += [
                part[first : first + self.batch_size]
                for first in range(0, len(part), self.batch_size)
            ]
        return [batches[index] for index in random.permutation(len(batches))]

    def _by_length(self, rows: np.ndarray) -> np.ndarray:
        keys = (self._antibody_length[rows], self._antigen_index[rows], self._antigen_length[rows])
        return rows[np.lexsort(keys)]

    def __iter__(self) -> Iterator[np.ndarray]:
        for batch in self.batches(self.epoch)[self.position :]:
            self.position += 1
            yield batch

    def __len__(self) -> int:
        return -(-len(self._antigen_index) // self.batch_size)

    def start_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the plan is: seed, epoch and batches already given."""
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to where another plan of the same examples was."""
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])
        self.position = int(state["position"])


def batches_by_length(examples: Examples, batch_size: int) -> list[np.ndarray]:
    """Every row once, in batches of similar lengths: for prediction, where order is free."""
    antibody_length, antigen_length = examples.lengths()
    rows = np.lexsort((antibody_length, examples.antigen_index, antigen_length))
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def _row_probability(examples: Examples, balance: str, power: float) -> np.ndarray | None:
    if balance == "none" or not len(examples):
        return None
    group = {"assay": examples.assay, "antigen": examples.antigen_index}[balance]
    size = np.bincount(group).astype(np.float64)[group]
    probability = size ** (power - 1.0)
    return probability / probability.sum()


def _unique(items: Sequence[T]) -> tuple[tuple[T, ...], np.ndarray]:
    numbers: dict[T, int] = {}
    index = np.array([numbers.setdefault(item, len(numbers)) for item in items], dtype=np.int64)
    return tuple(numbers), index
