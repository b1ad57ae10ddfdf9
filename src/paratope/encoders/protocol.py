"""What every encoder is: residues in, one row of numbers per residue out."""

import abc
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from paratope.core.errors import EncoderError
from paratope.molecules.sequences import ALPHABET, Chains

_ALPHABET = frozenset(ALPHABET)
Role = Literal["antibody", "antigen"]


@runtime_checkable
class Encoder(Protocol):
    """A frozen map from the chains of one molecule to one vector per residue."""

    name: str  # With revision, "antiberty@0.1.3"; encoders of one name give equal numbers
    dim: int  # Length of each residue's vector
    # Longest chain it takes (longest molecule, for a paired encoder); None for no limit
    max_residues: int | None
    paired: bool  # Whether a chain's vectors depend on the other chain

    def encode(self, molecules: Sequence[Chains]) -> list[np.ndarray]:
        """One float32 array (residues, dim) per molecule: chains in order, no special tokens."""
        ...

    def fit_length(self, chains: Chains, role: Role = "antigen") -> tuple[Chains, str | None]:
        """Chains that the encoder takes, and a note if something had to be cut."""
        ...


class BaseEncoder(abc.ABC):
    """What encoders share: checks of their input, chains encoded once, limits stated.

    A child sets the attributes of `Encoder` and writes `_encode_units`; a unit is what is encoded
    together: one chain, or for a paired encoder the whole molecule.
    """

    name: str
    dim: int
    max_residues: int | None = None
    paired: bool = False

    @abc.abstractmethod
    def _encode_units(self, units: list[Chains]) -> list[np.ndarray]:
        """One float32 array (residues, dim) per unit; units are checked and all different."""

    def encode(self, molecules: Sequence[Chains]) -> list[np.ndarray]:
        """One float32 array (residues, dim) per molecule: chains in order, no special tokens.

        Raises `EncoderError` if a chain is empty, over `max_residues`, or of letters not in
        `ALPHABET`.
        """
        split = [molecule_units(tuple(molecule), self.paired) for molecule in molecules]
        unique = list(dict.fromkeys(unit for units in split for unit in units))
        for unit in unique:
            self._check_unit(unit)
        rows = dict(zip(unique, self._encode_units(unique), strict=True))
        for unit in unique:
            expected = (sum(map(len, unit)), self.dim)
            assert rows[unit].shape == expected, f"{self.name}: {rows[unit].shape} != {expected}"
        return [np.concatenate([rows[unit] for unit in units]) for units in split]

    def fit_length(self, chains: Chains, role: Role = "antigen") -> tuple[Chains, str | None]:
        """Chains that the encoder takes, and a note if something had to be cut.

        An antigen's chain over the limit is cut at its end; an antibody's, whose binding site could
        be lost, and all that a paired encoder gets is refused with an `EncoderError`.
        """
        limit = self.max_residues
        units = molecule_units(chains, self.paired)
        if limit is None or all(sum(map(len, unit)) <= limit for unit in units):
            return chains, None
        if role == "antibody" or self.paired:
            longest = max(sum(map(len, unit)) for unit in units)
            where = "in all" if self.paired else "in a chain"
            advice = "; give the variable domains alone" * (role == "antibody")
            raise EncoderError(
                f"{role}: {longest} residues {where}; {self.name} takes at most {limit}{advice}"
            )
        cut = [
            f"antigen chain {index} cut from {len(chain)} to its first {limit} residues"
            for index, chain in enumerate(chains, start=1)
            if len(chain) > limit
        ]
        note = f"{'; '.join(cut)}: the limit of {self.name}"
        return tuple(chain[:limit] for chain in chains), note

    def _check_unit(self, unit: Chains) -> None:
        if not unit or not all(unit):
            raise EncoderError(f"{self.name}: a molecule needs at least one residue in each chain")
        for chain in unit:
            if strange := sorted(set(chain) - _ALPHABET):
                raise EncoderError(
                    f"{self.name}: {strange[0]!r} at position {chain.index(strange[0]) + 1} is no "
                    f"residue; expected {ALPHABET}; clean it with molecules.sequences first"
                )
        residues = sum(map(len, unit))
        if self.max_residues is not None and residues > self.max_residues:
            raise EncoderError(
                f"{self.name}: {residues} residues; at most {self.max_residues} are taken; "
                "cut the chain (fit_length does, and says so) or choose another encoder"
            )


def molecule_units(molecule: Chains, paired: bool) -> tuple[Chains, ...]:
    """The parts of a molecule that are encoded together; `EncoderError` if it has no chain."""
    if not molecule:
        raise EncoderError("a molecule needs at least one residue; this one has no chain")
    return (molecule,) if paired else tuple((chain,) for chain in molecule)
