"""What brings a term to mean 0 and variance 1 over the training variants."""

import dataclasses

import numpy as np

_TINY = 1e-9


@dataclasses.dataclass(frozen=True)
class Centring:
    """What brings a term to mean 0 and variance 1 over the training variants.

    k'(x, y) = (k(x, y) - mean_t k(x, t) - mean_t k(t, y) + mean k) / scale: the kernel of features
    centred on the training variants, or on those of them that are the `reference`.
    """

    column_mean: np.ndarray  # (n,)
    mean: float
    scale: float
    reference: np.ndarray | None = None  # (n,), of bool

    @classmethod
    def of(cls, gram: np.ndarray, reference: np.ndarray | None = None) -> "Centring | None":
        """Of a term's training Gram matrix; None if the training variants are all alike."""
        rows = slice(None) if reference is None else reference
        column, diagonal = gram[rows].mean(0), float(np.diag(gram)[rows].mean())
        mean = float(column[rows].mean())
        scale = diagonal - mean
        if scale <= 1e-6 * max(abs(diagonal), _TINY):
            return None
        return cls(column, mean, scale, reference)

    def middle(self, gram: np.ndarray) -> np.ndarray:
        """Mean over the reference of (new, training) values of the term, (new,)."""
        return (gram if self.reference is None else gram[:, self.reference]).mean(1)

    def train(self, gram: np.ndarray) -> np.ndarray:
        """The training Gram matrix, centred and scaled."""
        centred = gram - self.column_mean[None] - self.column_mean[:, None] + self.mean
        return centred / self.scale

    def cross(self, gram: np.ndarray) -> np.ndarray:
        """(new, training) values of the term."""
        own = self.middle(gram)[:, None]
        return (gram - own - self.column_mean[None] + self.mean) / self.scale

    def between(self, gram: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(new, new) values; `left` and `right` are their `middle`."""
        return (gram - left[:, None] - right[None] + self.mean) / self.scale

    def own(self, diagonal: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Values of new variants with themselves; `mean` is their `middle`."""
        return (diagonal - 2 * mean + self.mean) / self.scale
