"""What variants change in their parents, and what a language model says of each changed site.

Antibody chains are aligned by IMGT number, so that variants may differ in length; an antigen is
compared residue by residue where it has its parent's length. Nothing here is learned.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from paratope.core.errors import InputError
from paratope.encoders.residue import residue_table
from paratope.molecules.numbering import REGIONS, number_chain
from paratope.molecules.sequences import AMINO_ACIDS, Pair

GAP = len(AMINO_ACIDS)  # a residue that is not there, or X
NO_REGION = len(REGIONS)  # antigens
# An antigen that shares less with a parent's is another antigen, not a mutant of it.
_ANTIGEN_IDENTITY = 0.7


class LanguageModel(Protocol):
    """What is asked of a language model of antibody chains."""

    def embeddings(self, chains: Sequence[str]) -> Iterator[np.ndarray]:
        """(residues, dim) float32 of each chain."""
        ...

    def log_probabilities(self, chain: str) -> np.ndarray:
        """(residues, 20) log-probability of every residue at every place, in its context."""
        ...


class Site(NamedTuple):
    """A place of a molecule: ``H``, ``L``, or ``A0``, ``A1``, … for antigen chains; its number."""

    role: str
    label: str


class Change(NamedTuple):
    """One changed site of one parent; residues as index into `AMINO_ACIDS`, or `GAP`."""

    parent: int
    site: Site
    before: int
    after: int


@dataclasses.dataclass(frozen=True)
class ParentSites:
    """The sites of one parent.

    Attributes
    ----------
    residues : dict of Site to int
    place : dict of Site to float
        Position along the chain in IMGT numbers, to tell neighbours.
    region : dict of Site to int
        Index into `REGIONS`, or `NO_REGION`.
    embedding : dict of Site to np.ndarray, (dim,) float32
        Of antibody sites; empty without a language model.
    log_probability : dict of Site to np.ndarray, (20,)
    """

    residues: dict[Site, int]
    place: dict[Site, float]
    region: dict[Site, int]
    embedding: dict[Site, np.ndarray]
    log_probability: dict[Site, np.ndarray]

    @classmethod
    def of(cls, pair: Pair, language: LanguageModel | None) -> "ParentSites":
        """The sites of a parent, with what the language model says of them."""
        residues = dict(sites_of(pair))
        place = {site: number_of(site) for site in residues}
        region = regions_of(pair)
        embedding: dict[Site, np.ndarray] = {}
        log_probability: dict[Site, np.ndarray] = {}
        for role, chain in antibody_chains(pair) if language is not None else ():
            assert language is not None
            sites = [site for site, _ in antibody_sites(role, chain)]
            own = numbered(chain)
            rows = next(iter(language.embeddings([chain])))[own.start : own.end]
            table = language.log_probabilities(chain)[own.start : own.end]
            embedding |= zip(sites, rows, strict=True)
            log_probability |= zip(sites, table, strict=True)
        return cls(residues, place, region, embedding, log_probability)


class Numbered(NamedTuple):
    """A chain's variable domain: ``chain[start:end]``, its site labels, residues and regions."""

    start: int
    end: int
    labels: tuple[str, ...]
    residues: tuple[int, ...]
    regions: tuple[int, ...]


@functools.lru_cache(maxsize=32768)
def numbered(chain: str) -> Numbered:
    """A chain by IMGT numbers; one that is no antibody domain is counted from 1."""
    residues = tuple(AMINO_ACIDS.find(residue) % (GAP + 1) for residue in chain)
    try:
        domain = number_chain(chain)
    except InputError:
        labels = tuple(str(place) for place in range(1, len(chain) + 1))
        return Numbered(0, len(chain), labels, residues, (NO_REGION,) * len(chain))
    regions = tuple(REGIONS.index(region) for region in domain.regions)
    own = residues[domain.start : domain.end]
    return Numbered(domain.start, domain.end, domain.positions, own, regions)


def antibody_chains(pair: Pair) -> Iterator[tuple[str, str]]:
    """Heavy and light chain with their roles."""
    yield "H", pair.antibody.heavy
    if pair.antibody.light is not None:
        yield "L", pair.antibody.light


def antibody_sites(role: str, chain: str) -> Iterator[tuple[Site, int]]:
    """IMGT sites of a variable domain and the residues there."""
    own = numbered(chain)
    for label, residue in zip(own.labels, own.residues, strict=True):
        yield Site(role, label), residue


def sites_of(pair: Pair) -> Iterator[tuple[Site, int]]:
    """Every site of a pair and its residue; antigen sites are counted from 1."""
    for role, chain in antibody_chains(pair):
        yield from antibody_sites(role, chain)
    for number, chain in enumerate(pair.antigen.chains):
        for place, residue in enumerate(chain, start=1):
            yield Site(f"A{number}", str(place)), AMINO_ACIDS.find(residue) % (GAP + 1)


def regions_of(pair: Pair) -> dict[Site, int]:
    """Region of every antibody site."""
    found = {}
    for role, chain in antibody_chains(pair):
        own = numbered(chain)
        for label, region in zip(own.labels, own.regions, strict=True):
            found[Site(role, label)] = region
    return found


def number_of(site: Site) -> float:
    """Where a site stands along its chain: ``111A`` is 111.1, ``111B`` 111.2.

    >>> number_of(Site("H", "111B"))
    111.2
    """
    digits = site.label.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    letter = site.label[len(digits) :]
    if not digits.isdigit():
        raise InputError(f"{site.label!r} is no site number; expected one such as 35 or 111A")
    return int(digits) + (round(0.1 * (ord(letter[0]) - ord("A") + 1), 1) if letter else 0.0)


class Parents:
    """The parents of a campaign and how far variants are from them.

    Parameters
    ----------
    pairs : sequence of Pair
        At least one.
    sites : sequence of ParentSites
        Of each.
    """

    def __init__(self, pairs: Sequence[Pair], sites: Sequence[ParentSites]) -> None:
        self.pairs, self.sites = tuple(pairs), tuple(sites)

    def changes(self, pair: Pair) -> tuple[int, tuple[Change, ...]]:
        """The nearest parent and what is changed in it, in order of its sites."""
        antibody = dict(_antibody(pair))
        best: tuple[int, int, tuple[Change, ...]] | None = None
        for number, parent in enumerate(self.pairs):
            if (parent.antibody.light is None) != (pair.antibody.light is None):
                continue
            same, of_antigen = self.antigen_changes(number, pair.antigen.chains)
            found = (*self._antibody_changes(number, antibody), *of_antigen)
            cost = len(found) + 1000 * (not same)
            if best is None or cost < best[0]:
                best = (cost, number, tuple(found))
        if best is None:  # a VHH among paired ones, or the reverse: the heavy chain alone counts
            found = tuple(self._antibody_changes(0, antibody))
            return 0, tuple(change for change in found if change.site.role == "H")
        return best[1], best[2]

    def _antibody_changes(self, number: int, residues: dict[Site, int]) -> Iterable[Change]:
        own = self.sites[number].residues
        for site, before in own.items():
            after = residues.get(site, GAP)
            if not site.role.startswith("A") and after != before:
                yield Change(number, site, before, after)
        for site, after in residues.items():
            if site not in own:
                yield Change(number, site, GAP, after)

    def antigen_changes(
        self, number: int, chains: tuple[str, ...]
    ) -> tuple[bool, tuple[Change, ...]]:
        """Whether an antigen is a parent's or a mutant of it, and what is changed in it."""
        own = self.pairs[number].antigen.chains
        if own == chains:
            return True, ()
        if len(own) != len(chains) or not all(
            len(a) == len(b) and _identity(a, b) >= _ANTIGEN_IDENTITY
            for a, b in zip(own, chains, strict=True)
        ):
            return False, ()
        return True, tuple(
            Change(
                number,
                Site(f"A{role}", str(place)),
                AMINO_ACIDS.find(a) % (GAP + 1),
                AMINO_ACIDS.find(b) % (GAP + 1),
            )
            for role, (before, after) in enumerate(zip(own, chains, strict=True))
            for place, (a, b) in enumerate(zip(before, after, strict=True), start=1)
            if a != b
        )


def _antibody(pair: Pair) -> Iterator[tuple[Site, int]]:
    for role, chain in antibody_chains(pair):
        yield from antibody_sites(role, chain)


def _identity(a: str, b: str) -> float:
    return sum(x == y for x, y in zip(a, b, strict=True)) / max(len(a), 1)


def residue_descriptors() -> np.ndarray:
    """BLOSUM62 rows and physico-chemical descriptors of the 20 residues and of a gap, (21, 31)."""
    return residue_table()[:, 20:].astype(np.float64)


def residue_similarity() -> np.ndarray:
    """exp(-d² / median d²) over the descriptors, (21, 21); a gap is like a gap alone."""
    table = residue_descriptors()
    squared = ((table[:, None] - table[None]) ** 2).sum(-1)
    scale = np.median(squared[:GAP, :GAP][squared[:GAP, :GAP] > 0])
    similarity = np.exp(-squared / scale)
    similarity[GAP, :GAP] = similarity[:GAP, GAP] = 0.0
    return similarity
