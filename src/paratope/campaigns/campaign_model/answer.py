"""What a campaign's model says of pairs, on its own scale and against a parent."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Posterior(NamedTuple):
    """Joint Gaussian of noise-free latent values.

    Attributes
    ----------
    mean : np.ndarray, (n,)
    covariance : np.ndarray, (n, n)
    """

    mean: np.ndarray
    covariance: np.ndarray


class Answer(NamedTuple):
    """What the model says of n pairs, latent.

    Attributes
    ----------
    mean, sd : np.ndarray, (n,)
        Of a new measurement: noise included.
    domain : np.ndarray of str, (n,)
        ``in``: only sites were changed that measured variants change, too; ``near``: others as
        well; ``out``: another antibody or antigen.
    note : tuple of str
        Why a pair is out of the domain, or in what its antigen differs.
    """

    mean: np.ndarray
    sd: np.ndarray
    domain: np.ndarray
    note: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Sequence["Answer"]) -> "Answer":
        """One after the other."""
        if not parts:
            return cls(np.zeros(0), np.zeros(0), np.zeros(0, str), ())
        mean, sd, domain = (np.concatenate(found) for found in list(zip(*parts, strict=True))[:3])
        return cls(mean, sd, domain, tuple(note for part in parts for note in part.note))
