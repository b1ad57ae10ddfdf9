"""A batch: rows over the unique molecules they use, padded and masked."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from paratope.models.batches.examples import Chains, Examples


class Embeddings(Protocol):
    """Anything that gives the per-residue embedding of a molecule, such as an `EmbeddingStore`."""

    def get(self, molecule: Chains, /) -> np.ndarray:
        """Embedding of the molecule's residues, (residues, dim)."""
        ...


class PairBatch(NamedTuple):
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
        return self._replace(
            antibody=none, antibody_mask=no_mask, antigen=none, antigen_mask=no_mask
        )

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return type(self)(*(tensor.to(device) for tensor in self))


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
    return _batch(
        examples,
        chosen,
        (antibody, antibody_mask, torch.from_numpy(antibody_index)),
        (antigen, antigen_mask, torch.from_numpy(antigen_index)),
    )


def _batch(
    examples: Examples,
    chosen: np.ndarray,
    antibodies: tuple[Tensor, Tensor, Tensor],
    antigens: tuple[Tensor, Tensor, Tensor],
) -> PairBatch:
    return PairBatch(
        *antibodies,
        *antigens,
        pkd=torch.from_numpy(examples.pkd[chosen]),
        censoring=torch.from_numpy(examples.censoring[chosen]),
        assay=torch.from_numpy(examples.assay[chosen]),
        weight=torch.from_numpy(examples.weight[chosen]),
        row=torch.from_numpy(chosen),
    )


class Window(Sequence[PairBatch]):
    """Batches of one optimiser step, each made when it is asked for: one is held at a time.

    Parameters
    ----------
    examples : Examples
    rows : sequence of ndarray of int
        Rows of each batch.
    stores : tuple of Embeddings
        Of antibodies and of antigens.
    device : torch.device or str
        Where the batches are to be.
    """

    def __init__(
        self,
        examples: Examples,
        rows: Sequence[np.ndarray],
        stores: tuple[Embeddings, Embeddings],
        device: torch.device | str = "cpu",
    ) -> None:
        self.examples, self.rows, self.stores, self.device = examples, rows, stores, device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: Any) -> Any:
        """The batch of a position, or a window of a slice."""
        if isinstance(position, slice):
            return Window(self.examples, self.rows[position], self.stores, self.device)
        return collate(self.examples, self.rows[position], *self.stores).to(self.device)

    def labels(self) -> list[PairBatch]:
        """Every batch without its molecules."""
        none, no_mask = torch.zeros(0, 0, 0), torch.zeros(0, 0, dtype=torch.bool)
        index = (self.examples.antibody_index, self.examples.antigen_index)
        made = []
        for rows in self.rows:
            chosen = np.asarray(rows, dtype=np.int64)
            places = [np.unique(one[chosen], return_inverse=True)[1] for one in index]
            sides = (none, no_mask, torch.from_numpy(places[0]))
            others = (none, no_mask, torch.from_numpy(places[1]))
            made.append(_batch(self.examples, chosen, sides, others).to(self.device))
        return made


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
    values = tokens.numpy()
    for number, embedding in enumerate(embeddings):
        values[number, : len(embedding)] = embedding  # the only copy, also of a read-only view
        mask[number, : len(embedding)] = True
    return tokens, mask
