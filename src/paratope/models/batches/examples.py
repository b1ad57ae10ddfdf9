"""Measured pairs as arrays over unique molecules."""

import dataclasses
import hashlib
from collections.abc import Hashable, Sequence
from typing import Self, TypeVar

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.encoders import Encoder
from paratope.encoders.protocol import Role
from paratope.molecules.sequences import Pair

Chains = tuple[str, ...]
T = TypeVar("T", bound=Hashable)

# What a row says beyond its value: the true pKd is at most / exactly / at least `pkd`.
CENSORING_CODES = {Censoring.AT_MOST: -1, Censoring.EXACT: 0, Censoring.AT_LEAST: 1}


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
        >>> from paratope.molecules.sequences import Antibody, Antigen, Pair
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

    def fingerprint(self) -> str:
        """SHA-256 of every row's molecules, value, censoring, assay and weight, in order."""
        digest = hashlib.sha256(repr((self.antibodies, self.antigens, self.assays)).encode())
        columns = (self.antibody_index, self.antigen_index, self.assay, self.censoring)
        for column in (*columns, self.pkd, self.weight):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Residues of each row's antibody and antigen, (n,) each."""
        antibody = np.array([sum(map(len, chains)) for chains in self.antibodies], dtype=np.int64)
        antigen = np.array([sum(map(len, chains)) for chains in self.antigens], dtype=np.int64)
        return antibody[self.antibody_index], antigen[self.antigen_index]


def fit_molecule(
    encoder: Encoder, chains: Chains, role: Role, max_residues: int = 0
) -> tuple[Chains, str | None]:
    """Chains of a molecule cut to what its encoder, and a recipe's own limit, let it see.

    Parameters
    ----------
    encoder : Encoder
    chains : tuple of str
    role : {"antibody", "antigen"}
    max_residues : int
        Limit of the recipe for the whole molecule, 0 for none; the last residues are left out.

    Returns
    -------
    chains : tuple of str
    note : str or None
        What was left out.

    Raises
    ------
    EncoderError
        If the encoder refuses the molecule.

    Examples
    --------
    >>> from paratope.encoders import load_encoder
    >>> fit_molecule(load_encoder("residue"), ("EVQL", "DIQM"), "antigen", max_residues=6)
    (('EVQL', 'DI'), 'antigen: the last 2 of 8 residues are left out (limit 6)')
    """
    chains, note = encoder.fit_length(chains, role)
    total = sum(map(len, chains))
    if not max_residues or total <= max_residues:
        return chains, note
    kept: list[str] = []
    left = max_residues
    for chain in chains:
        if left > 0:
            kept.append(chain[:left])
            left -= len(chain)
    cut = (
        f"{role}: the last {total - max_residues} of {total} residues are left out "
        f"(limit {max_residues})"
    )
    return tuple(kept), cut if note is None else f"{note}; {cut}"


def _unique(items: Sequence[T]) -> tuple[tuple[T, ...], np.ndarray]:
    numbers: dict[T, int] = {}
    index = np.array([numbers.setdefault(item, len(numbers)) for item in items], dtype=np.int64)
    return tuple(numbers), index
