"""Variants aligned by IMGT number to a campaign's parents, and what they change in them.

Antibody chains are aligned by number, so that variants may differ in length; an antigen is compared
residue by residue where it has its parent's length. Nothing here is learned.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from paratope.core.errors import InputError
from paratope.encoders.likelihood import LanguageModel
from paratope.molecules.numbering import REGIONS, find_domains
from paratope.molecules.sequences import AMINO_ACIDS, Pair

GAP = len(AMINO_ACIDS)  # no residue, or X
NO_REGION = len(REGIONS)  # antigens
# An antigen that shares less with a parent's is another antigen, not a mutant of it.
_ANTIGEN_IDENTITY = 0.7
# Costs of a parent of another format (single domain, paired) than a variant, and of another
# antigen: more than any number of changes.
_OTHER_FORMAT, OTHER_ANTIGEN = 10**6, 1000
# Numberings whose columns are kept: variants of one length share theirs.
_REMEMBERED = 4096


class Site(NamedTuple):
    """A position of a molecule: chain ``H``, ``L``, or ``A0``, ``A1``, … of the antigen; number.

    Numbers are IMGT's in antibody domains and counted from 1 in antigens; ``n1``, ``n2``, … in an
    antibody chain that is no domain, so that they never meet an IMGT number.
    """

    role: str
    label: str

    @property
    def key(self) -> str:
        """One text for each site: ``H111A``, ``A0:35``."""
        return f"{self.role}:{self.label}" if self.of_antigen else f"{self.role}{self.label}"

    @property
    def of_antigen(self) -> bool:
        """Whether it is in an antigen chain."""
        return self.role.startswith("A")

    @property
    def position(self) -> float:
        """Position along its chain: ``111A`` is 111.1, ``111B`` 111.2.

        >>> Site("H", "111B").position
        111.2
        """
        digits = self.label.lstrip("n").rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        letter = self.label.lstrip("n")[len(digits) :]
        if not digits.isdigit():
            raise InputError(f"{self.label!r} is no site number; expected one such as 35 or 111A")
        return int(digits) + (round(0.1 * (ord(letter[0]) - ord("A") + 1), 1) if letter else 0.0)


class SiteSubstitution(NamedTuple):
    """One changed site of one parent; residues as index into `AMINO_ACIDS`, or `GAP`."""

    parent: int
    site: Site
    before: int
    after: int


class NumberedChain(NamedTuple):
    """A chain's variable domain: ``chain[start:end]``, its site labels, residues and regions."""

    start: int
    end: int
    labels: tuple[str, ...]
    residues: tuple[int, ...]
    regions: tuple[int, ...]


@functools.lru_cache(maxsize=32768)
def numbered(chain: str) -> NumberedChain:
    """A chain by IMGT numbers; ``n1``, ``n2``, … if it is no antibody domain."""
    residues, domains = _residues(chain), find_domains(chain)
    if not domains:
        labels = tuple(f"n{position}" for position in range(1, len(chain) + 1))
        return NumberedChain(0, len(chain), labels, residues, (NO_REGION,) * len(chain))
    domain = domains[0]
    regions = tuple(REGIONS.index(region) for region in domain.regions)
    inside = residues[domain.start : domain.end]
    return NumberedChain(domain.start, domain.end, domain.positions, inside, regions)


def _residues(chain: str) -> tuple[int, ...]:
    return tuple(AMINO_ACIDS.find(residue) % (GAP + 1) for residue in chain)


def antibody_chains(pair: Pair) -> Iterator[tuple[str, str]]:
    """Heavy and light chain with their roles."""
    yield "H", pair.antibody.heavy
    if pair.antibody.light is not None:
        yield "L", pair.antibody.light


@dataclasses.dataclass(frozen=True)
class ParentSites:
    """The antibody sites of one parent."""

    residues: dict[Site, int]
    region: dict[Site, int]  # Index into `REGIONS`, or `NO_REGION`
    embedding: dict[Site, np.ndarray]  # Empty without a language model
    log_probability: dict[Site, np.ndarray]  # (20,)

    @classmethod
    def of(cls, pair: Pair, language: LanguageModel | None) -> "ParentSites":
        """The sites of a parent, with what the language model says of them."""
        sites = cls({}, {}, {}, {})
        for role, chain in antibody_chains(pair):
            domain = numbered(chain)
            labels = [Site(role, label) for label in domain.labels]
            sites.residues.update(zip(labels, domain.residues, strict=True))
            sites.region.update(zip(labels, domain.regions, strict=True))
            if language is not None:
                inside = slice(domain.start, domain.end)
                rows = next(iter(language.embeddings([chain])))[inside]
                sites.embedding.update(zip(labels, rows, strict=True))
                table = language.log_probabilities(chain)[inside]
                sites.log_probability.update(zip(labels, table, strict=True))
        return sites


class Aligned(NamedTuple):
    """n variants in the frame of the parents."""

    parent: np.ndarray  # (n,) the nearest
    residues: np.ndarray  # (n, sites) index into `AMINO_ACIDS`, or `GAP`
    # row, column: Which variant has which of the substitutions, by rows
    row: np.ndarray
    column: np.ndarray
    substitutions: tuple[SiteSubstitution, ...]  # The distinct ones
    # Chains of the antigen a variant is compared by: the parent's for a mutant of it
    antigen: tuple[tuple[str, ...], ...]


class Aligner:
    """The antibody sites of all parents (at least one), and variants at these sites.

    The nearest parent is that of the fewest changes, of the same format and antigen if there is
    one. A variant of another format than every parent is compared with the first by its heavy
    chain.
    """

    def __init__(self, parents: Sequence[Pair], sites: Sequence[ParentSites]) -> None:
        self.parents = tuple(parents)
        self.sites = sorted(
            {site for parent in sites for site in parent.residues},
            key=lambda site: (site.role, site.position, site.label),
        )
        column = {site: index for index, site in enumerate(self.sites)}
        self._heavy = np.array([site.role == "H" for site in self.sites], bool)
        self._parent_rows = np.full((len(sites), len(self.sites)), GAP, np.int8)
        for row, parent in zip(self._parent_rows, sites, strict=True):
            row[[column[site] for site in parent.residues]] = list(parent.residues.values())

        @functools.lru_cache(_REMEMBERED)
        def columns(role: str, labels: tuple[str, ...]) -> np.ndarray:
            """Column of each label of a chain, or -1, (labels,)."""
            return np.array([column.get(Site(role, label), -1) for label in labels], int)

        self.columns = columns

    def align(self, pairs: Sequence[Pair]) -> Aligned:
        """Parents, residues and substitutions of pairs."""
        antibodies = {pair.antibody.chains: pair for pair in pairs}
        frames, inserted = self._frames(list(antibodies.values()))
        index = {chains: row for row, chains in enumerate(antibodies)}
        antibody = np.array([index[pair.antibody.chains] for pair in pairs], int)
        residues = frames[antibody]
        antigens = list(dict.fromkeys(pair.antigen.chains for pair in pairs))
        index = {chains: row for row, chains in enumerate(antigens)}
        antigen = np.array([index[pair.antigen.chains] for pair in pairs], int)
        mutants = [
            [antigen_mutations(parent.antigen.chains, chains) for chains in antigens]
            for parent in self.parents
        ]
        parent, same_format = self._nearest(pairs, residues, mutants, antigen)

        table: dict[SiteSubstitution, int] = {}
        compared = same_format[:, None] | self._heavy
        rows, site = np.nonzero((residues != self._parent_rows[parent]) & compared)
        of_row = parent[rows]
        before, after = (
            self._parent_rows[of_row, site].astype(int),
            residues[rows, site].astype(int),
        )
        code = ((of_row * len(self.sites) + site) * (GAP + 1) + before) * (GAP + 1) + after
        _, first, columns = np.unique(code, return_index=True, return_inverse=True)
        for change in first.tolist():
            changed = self.sites[int(site[change])], int(before[change]), int(after[change])
            table[SiteSubstitution(int(of_row[change]), *changed)] = len(table)
        chains = [pair.antigen.chains for pair in pairs]
        mutated = np.array([[bool(mutations) for mutations in row] for row in mutants], bool)
        mutated = mutated.reshape(len(self.parents), len(antigens))[parent, antigen]
        more: list[tuple[int, int]] = []
        longer = np.array([bool(extra) for extra in inserted], bool)[antibody]
        for row in np.flatnonzero(mutated | longer).tolist():
            nearest, comparable = int(parent[row]), bool(same_format[row])
            changed = [
                (site, GAP, after)
                for site, after in inserted[antibody[row]]
                if comparable or site.role == "H"
            ]
            if mutated[row] and comparable:
                changed += mutants[nearest][antigen[row]] or []
                chains[row] = self.parents[nearest].antigen.chains
            for site, before, after in changed:
                substitution = SiteSubstitution(nearest, site, before, after)
                more.append((row, table.setdefault(substitution, len(table))))
        extra = np.array(more, int).reshape(-1, 2)
        rows, columns = np.append(rows, extra[:, 0]), np.append(columns, extra[:, 1])
        order = np.argsort(rows, kind="stable")
        return Aligned(parent, residues, rows[order], columns[order], tuple(table), tuple(chains))

    def _frames(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, list[list[tuple[Site, int]]]]:
        """Residues of pairs at the sites, (n, sites), and those that stand at no site."""
        frames = np.full((len(pairs), len(self.sites)), GAP, np.int8)
        inserted: list[list[tuple[Site, int]]] = [[] for _ in pairs]
        for row, (pair, extra) in enumerate(zip(pairs, inserted, strict=True)):
            for role, chain in antibody_chains(pair):
                domain = numbered(chain)
                columns = self.columns(role, domain.labels)
                residues = np.array(domain.residues, np.int8)
                inside = columns >= 0
                frames[row, columns[inside]] = residues[inside]
                for index in np.flatnonzero(~inside).tolist():
                    extra.append((Site(role, domain.labels[index]), domain.residues[index]))
        return frames, inserted

    def _nearest(
        self,
        pairs: Sequence[Pair],
        residues: np.ndarray,
        mutants: Sequence[Sequence[Sequence[tuple[Site, int, int]] | None]],
        antigen: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nearest parent of each pair, and whether one of its format is there."""
        if not len(pairs):
            return np.zeros(0, int), np.zeros(0, bool)
        cost = np.zeros((len(self.parents), len(pairs)), int)
        paired = np.array([pair.antibody.light is not None for pair in pairs])
        for index, parent in enumerate(self.parents):
            of_antigen = [
                OTHER_ANTIGEN if mutations is None else len(mutations)
                for mutations in mutants[index]
            ]
            cost[index] = (residues != self._parent_rows[index]).sum(1)
            cost[index] += _OTHER_FORMAT * (paired != (parent.antibody.light is not None))
            cost[index] += np.array(of_antigen)[antigen]
        same_format = cost.min(0) < _OTHER_FORMAT
        return np.where(same_format, cost.argmin(0), 0), same_format


def antigen_mutations(
    parent: tuple[str, ...], chains: tuple[str, ...], identity: float = _ANTIGEN_IDENTITY
) -> list[tuple[Site, int, int]] | None:
    """Changed sites of an antigen, before and after; None if it is no mutant of it."""
    if parent == chains:
        return []
    if [len(chain) for chain in parent] != [len(chain) for chain in chains]:
        return None
    changed = []
    for index, (original, mutant) in enumerate(zip(parent, chains, strict=True)):
        positions = [p for p in range(len(original)) if original[p] != mutant[p]]
        if len(positions) > (1 - identity) * max(len(original), 1):
            return None
        before, after = _residues(original), _residues(mutant)
        changed += [(Site(f"A{index}", str(p + 1)), before[p], after[p]) for p in positions]
    return changed
