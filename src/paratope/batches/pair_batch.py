"""A batch: rows over the unique molecules they use, padded and masked."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from paratope.batches.examples import Chains, Examples


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
    values = tokens.numpy()
    for number, embedding in enumerate(embeddings):
        values[number, : len(embedding)] = embedding  # the only copy, also of a read-only view
        mask[number, : len(embedding)] = True
    return tokens, mask
