"""Variants as arrays that kernels compare: changes, aligned residues, embeddings, sums."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from paratope.kernels.changes import (
    GAP,
    NO_REGION,
    Change,
    LanguageModel,
    Parents,
    ParentSites,
    Site,
    antibody_chains,
    antibody_sites,
    number_of,
    numbered,
    residue_descriptors,
)
from paratope.sequences import Pair

# Dimensions that are kept of a site's embedding: a fixed random projection keeps the distances of
# whole chains to a few per cent (Johnson & Lindenstrauss 1984), at an eighth of the size.
PROJECTED = 64
_CHAIN_GAP = 1000.0  # sites of different chains are no neighbours
_ROLES = {"H": 0, "L": 1}


@dataclasses.dataclass(frozen=True)
class ChangeTable:
    """The distinct changes of some variants, u of them.

    Attributes
    ----------
    key : np.ndarray of str, (u,)
        Site, without the parent: the same IMGT site of two parents is one.
    place : np.ndarray of float, (u,)
        Along all chains, far apart between chains.
    before, after, region : np.ndarray of int, (u,)
    embedding : np.ndarray, (u, dim)
        Of the parent's residue in its context; zeros without a language model.
    profile : np.ndarray, (u, 20)
        Probability of each residue there; zeros without.
    likelihood : np.ndarray, (u, 3)
        Log-odds of the new residue, entropy of the site, log-probability of the parent's residue.
    """

    key: np.ndarray
    place: np.ndarray
    before: np.ndarray
    after: np.ndarray
    region: np.ndarray
    embedding: np.ndarray
    profile: np.ndarray
    likelihood: np.ndarray


@dataclasses.dataclass(frozen=True)
class Features:
    """Arrays of n variants.

    Attributes
    ----------
    changes : ChangeTable
    row, column : np.ndarray of int
        Which variant has which change of the table.
    parent, antigen : np.ndarray of int, (n,)
    residues : np.ndarray of int8, (n, sites)
        At the IMGT sites of all parents.
    delta : np.ndarray, (n, sites * PROJECTED) float32
        Embedding minus the parent's at each antibody site, projected.
    mean : np.ndarray, (n, chains * dim) float32
        Mean embedding of heavy and light chain.
    prior : np.ndarray, (n,)
        The general model's pKd; zeros without one.
    """

    changes: ChangeTable
    row: np.ndarray
    column: np.ndarray
    parent: np.ndarray
    antigen: np.ndarray
    residues: np.ndarray
    delta: np.ndarray
    mean: np.ndarray
    prior: np.ndarray

    def __len__(self) -> int:
        return len(self.parent)

    def incidence(self) -> np.ndarray:
        """(n, u): 1 where a variant has a change."""
        matrix = np.zeros((len(self), len(self.changes.after)))
        matrix[self.row, self.column] = 1.0
        return matrix

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum over each variant's changes of values of changes, (n, …)."""
        found = np.zeros((len(self), *values.shape[1:]))
        np.add.at(found, self.row, values[self.column])
        return found


class Featuriser:
    """Makes `Features` of pairs, in the frame of a campaign's parents.

    Parameters
    ----------
    parents : sequence of Pair
        At least one.
    sites : sequence of ParentSites
        Of each parent.
    antigens : sequence of tuple of str
        Chains of the antigens that were measured.
    """

    def __init__(
        self,
        parents: Sequence[Pair],
        sites: Sequence[ParentSites],
        antigens: Sequence[tuple[str, ...]],
    ) -> None:
        self.parents = Parents(parents, sites)
        self.antigens = tuple(antigens)
        known = {
            site
            for one in sites
            for site in one.residues
            if not site.role.startswith("A")
        }  # fmt: skip
        self.sites = sorted(known, key=lambda site: (_ROLES[site.role], number_of(site)))
        self._column = {site: number for number, site in enumerate(self.sites)}
        self.dim = next((len(v) for one in sites for v in one.embedding.values()), 0)
        self.roles = ("H", "L") if any(site.role == "L" for site in self.sites) else ("H",)
        self._projection = _projection(self.dim)
        self._parent_rows = [
            self._aligned({site: row @ self._projection for site, row in one.embedding.items()})
            for one in sites
        ]

    def features(
        self,
        pairs: Sequence[Pair],
        language: LanguageModel | None,
        prior_pkd: np.ndarray | None = None,
    ) -> Features:
        """Features of pairs; embeddings are asked of the language model."""
        delta = np.zeros((len(pairs), len(self.sites) * PROJECTED * bool(self.dim)), np.float16)
        mean = np.zeros((len(pairs), len(self.roles) * self.dim), np.float16)
        frame = self.frame(pairs)
        if self.dim and language is not None:
            for number, (row, average) in enumerate(self._embedded(pairs, frame[0], language)):
                delta[number], mean[number] = row, average
        return self.assemble(pairs, delta, mean, prior_pkd, frame)

    def frame(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, list[tuple[Change, ...]]]:
        """Parent of each pair, (n,), and its changes."""
        found = [self.parents.changes(pair) for pair in pairs]
        return np.array([number for number, _ in found], int), [change for _, change in found]

    def assemble(
        self,
        pairs: Sequence[Pair],
        delta: np.ndarray,
        mean: np.ndarray,
        prior_pkd: np.ndarray | None = None,
        frame: tuple[np.ndarray, list[tuple[Change, ...]]] | None = None,
    ) -> Features:
        """Features of pairs whose embeddings are known, as half-precision numbers."""
        parent, changes = frame or self.frame(pairs)
        table: dict[Change, int] = {}
        row, column = [], []
        for number, found in enumerate(changes):
            for change in found:
                row.append(number)
                column.append(table.setdefault(change, len(table)))
        number_of_antigen = {chains: n for n, chains in enumerate(self.antigens)}
        antigen = [
            number_of_antigen.get(
                self.parents.pairs[own].antigen.chains
                if any(change.site.role.startswith("A") for change in found)
                else pair.antigen.chains,
                -1,
            )
            for pair, own, found in zip(pairs, parent, changes, strict=True)
        ]
        residues = np.full((len(pairs), len(self.sites)), GAP, np.int8)
        for number, pair in enumerate(pairs):
            for role, chain in antibody_chains(pair):
                for site, residue in antibody_sites(role, chain):
                    if site in self._column:
                        residues[number, self._column[site]] = residue
        return Features(
            self._table(list(table)),
            np.array(row, int),
            np.array(column, int),
            parent,
            np.array(antigen, int),
            residues,
            delta.astype(np.float32),
            mean.astype(np.float32),
            np.zeros(len(pairs)) if prior_pkd is None else np.asarray(prior_pkd, float),
        )

    def _table(self, changes: Sequence[Change]) -> ChangeTable:
        count = len(changes)
        embedding = np.zeros((count, self.dim), np.float32)
        profile, likelihood = np.zeros((count, 20)), np.zeros((count, 3))
        place, region = np.zeros(count), np.zeros(count, int)
        for number, change in enumerate(changes):
            own = self.parents.sites[change.parent]
            near = change.site if change.site in own.residues else _nearest(own, change.site)
            chain = _ROLES.get(change.site.role, 2 + int(change.site.role[1:] or 0)
                               if change.site.role.startswith("A") else 0)  # fmt: skip
            place[number] = number_of(change.site) + _CHAIN_GAP * chain
            region[number] = own.region.get(near, NO_REGION)
            if near in own.embedding:
                embedding[number] = own.embedding[near]
                table = own.log_probability[near]
                profile[number] = np.exp(table)
                likelihood[number] = _likelihood(table, change)
        return ChangeTable(
            np.array([f"{one.site.role}{one.site.label}" for one in changes], dtype=np.str_),
            place,
            np.array([one.before for one in changes], int),
            np.array([one.after for one in changes], int),
            region,
            embedding,
            profile,
            likelihood,
        )

    def _embedded(
        self, pairs: Sequence[Pair], parent: np.ndarray, language: LanguageModel
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        chains = [chain for pair in pairs for _, chain in antibody_chains(pair)]
        rows_of = language.embeddings(chains)
        for pair, own in zip(pairs, parent, strict=True):
            rows: dict[Site, np.ndarray] = {}
            average = np.zeros((len(self.roles), self.dim), np.float32)
            for role, chain in antibody_chains(pair):
                own_sites = numbered(chain)
                embedding = next(rows_of)[own_sites.start : own_sites.end]
                projected = embedding @ self._projection
                sites = (Site(role, label) for label in own_sites.labels)
                rows |= zip(sites, projected, strict=True)
                if role in self.roles:
                    average[self.roles.index(role)] = embedding.mean(0)
            yield self._aligned(rows, self._parent_rows[own]), average.ravel()

    def _aligned(
        self, rows: dict[Site, np.ndarray], parent: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows at the frame's sites minus the parent's; where one has no residue, no change."""
        aligned = np.zeros((len(self.sites), PROJECTED if self.dim else 0), np.float32)
        for site, row in rows.items():
            if site in self._column:
                aligned[self._column[site]] = row
        if parent is not None:
            both = parent.reshape(aligned.shape)
            there = (aligned != 0).any(1) & (both != 0).any(1)
            aligned = np.where(there[:, None], aligned - both, 0.0)
        return aligned.ravel()


def single_changes(sites: ParentSites) -> np.ndarray:
    """Likelihood features of every single residue change of a parent's antibody, (changes, 3)."""
    found = [
        _likelihood(table, Change(0, site, sites.residues[site], after))
        for site, table in sites.log_probability.items()
        for after in range(GAP)
        if after != sites.residues[site]
    ]
    return np.array(found) if found else np.zeros((0, 3))


def _likelihood(table: np.ndarray, change: Change) -> tuple[float, float, float]:
    own = float(table[change.before]) if change.before < GAP else float(table.mean())
    new = float(table[change.after]) if change.after < GAP else float(table.mean())
    return new - own, -float((np.exp(table) * table).sum()), own


def _nearest(sites: ParentSites, site: Site) -> Site:
    """The parent's site that is closest to one it does not have."""
    same = [one for one in sites.residues if one.role == site.role] or list(sites.residues)
    return min(same, key=lambda one: abs(number_of(one) - number_of(site)))


def _projection(dim: int) -> np.ndarray:
    if not dim:
        return np.zeros((0, PROJECTED), np.float32)
    random = np.random.default_rng(0).normal(size=(dim, PROJECTED))
    # orthogonal columns, scaled so that squared lengths are kept on average
    return (np.linalg.qr(random)[0] * np.sqrt(dim / PROJECTED)).astype(np.float32)


def substitution_descriptors() -> np.ndarray:
    """Change of the descriptors by every substitution, (380, 31)."""
    table = residue_descriptors()[:GAP]
    pairs = [(a, b) for a in range(GAP) for b in range(GAP) if a != b]
    return np.array([table[b] - table[a] for a, b in pairs])
