"""Variants as arrays that kernels compare: changes, aligned residues, embeddings, sums."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.kernels.alignment import Aligned, Alignment
from paratope.campaigns.kernels.changes import (
    GAP,
    NO_REGION,
    Change,
    LanguageModel,
    Parents,
    ParentSites,
    Site,
    antibody_chains,
    number_of,
    numbered,
    residue_descriptors,
)
from paratope.campaigns.kernels.summaries import chain_summaries
from paratope.molecules.sequences import Pair

# Dimensions that are kept of a site's embedding: a fixed random projection keeps the distances of
# whole chains to a few per cent (Johnson & Lindenstrauss 1984), at an eighth of the size.
PROJECTED = 64
_CHAIN_GAP = 1000.0  # sites of different chains are no neighbours
_ROLES = {"H": 0, "L": 1}
# Changes whose description is kept.
_REMEMBERED = 50_000


@dataclasses.dataclass(frozen=True)
class ChangeTable:
    """The distinct changes of some variants, u of them.

    Attributes
    ----------
    key : np.ndarray of str, (u,)
        Site, without the parent: the same IMGT site of two parents is one.
    parent : np.ndarray of int, (u,)
        What is changed.
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
    parent: np.ndarray
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
    regional : np.ndarray, (n, regions, PROJECTED) float32
        Mean of `delta` over the sites of each region of each chain; no columns without a language
        model.
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
    regional: np.ndarray
    mean: np.ndarray
    prior: np.ndarray

    def __len__(self) -> int:
        return len(self.parent)

    @functools.cached_property
    def has(self) -> Any:
        """(n, u) sparse matrix: 1 where a variant has a change."""
        from scipy.sparse import csr_array

        shape = len(self), len(self.changes.after)
        return csr_array((np.ones(len(self.row)), (self.row, self.column)), shape=shape)

    def incidence(self) -> np.ndarray:
        """(n, u): 1 where a variant has a change."""
        return self.has.toarray()

    def summed(self, between: np.ndarray, other: "Features") -> np.ndarray:
        """Sum over both variants' changes of what is `between` two changes, (n, n of other)."""
        return (other.has @ (self.has @ between).T).T

    def summed_own(self, between: np.ndarray) -> np.ndarray:
        """The diagonal of `summed` with themselves, (n,)."""
        return np.asarray(self.has.multiply(self.has @ between).sum(1)).ravel()

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum over each variant's changes of values of changes, (n, …)."""
        return np.asarray(self.has @ values)


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
        self._alignment = Alignment(self.parents)
        self.sites, self.roles = self._alignment.sites, self._alignment.roles
        self.dim = next((len(v) for one in sites for v in one.embedding.values()), 0)
        self._projection = _projection(self.dim)
        self._parent_rows = [self._of_parent(one) for one in sites]
        self._described: dict[Change, _Described] = {}
        self._regions = self._site_regions(sites)

    def features(
        self,
        pairs: Sequence[Pair],
        language: LanguageModel | None,
        prior_pkd: np.ndarray | None = None,
    ) -> Features:
        """Features of pairs; embeddings are asked of the language model."""
        delta = np.zeros((len(pairs), len(self.sites), PROJECTED * bool(self.dim)), np.float16)
        mean = np.zeros((len(pairs), len(self.roles) * self.dim), np.float16)
        aligned = self._alignment.align(pairs)
        if self.dim and language is not None:
            self._embed(pairs, aligned.parent, language, delta, mean)
        return self._assembled(aligned, delta.reshape(len(pairs), -1), mean, prior_pkd)

    def assemble(
        self,
        pairs: Sequence[Pair],
        delta: np.ndarray,
        mean: np.ndarray,
        prior_pkd: np.ndarray | None = None,
    ) -> Features:
        """Features of pairs whose embeddings are known, as half-precision numbers."""
        return self._assembled(self._alignment.align(pairs), delta, mean, prior_pkd)

    def _assembled(
        self,
        aligned: Aligned,
        delta: np.ndarray,
        mean: np.ndarray,
        prior_pkd: np.ndarray | None,
    ) -> Features:
        count = len(aligned.parent)
        number_of_antigen = {chains: n for n, chains in enumerate(self.antigens)}
        return Features(
            self._table(aligned.changes),
            aligned.row,
            aligned.column,
            aligned.parent,
            np.array([number_of_antigen.get(chains, -1) for chains in aligned.antigen], int),
            aligned.residues,
            delta.astype(np.float32),
            self._regional(delta.astype(np.float32)),
            mean.astype(np.float32),
            np.zeros(count) if prior_pkd is None else np.asarray(prior_pkd, float),
        )

    def _site_regions(self, parents: Sequence[ParentSites]) -> list[np.ndarray]:
        """Which of the sites stand in each region of each chain that any parent has."""
        places: dict[tuple[str, int], list[int]] = {}
        for number, site in enumerate(self.sites):
            region = next(one.region[site] for one in parents if site in one.region)
            places.setdefault((site.role, region), []).append(number)
        return [np.array(found) for _, found in sorted(places.items())]

    def _regional(self, delta: np.ndarray) -> np.ndarray:
        by_site = delta.reshape(len(delta), len(self.sites), -1)
        means = [by_site[:, places].mean(1) for places in self._regions]
        return np.stack(means, 1) if means else by_site[:, :0]

    def _table(self, changes: Sequence[Change]) -> ChangeTable:
        found = [self._describe(change) for change in changes]
        return ChangeTable(
            np.array([f"{one.site.role}{one.site.label}" for one in changes], dtype=np.str_),
            np.array([one.parent for one in changes], int),
            np.array([one.place for one in found], float),
            np.array([one.before for one in changes], int),
            np.array([one.after for one in changes], int),
            np.array([one.region for one in found], int),
            _stacked([one.embedding for one in found], self.dim, np.float32),
            _stacked([one.profile for one in found], 20, np.float64),
            _stacked([one.likelihood for one in found], 3, np.float64),
        )

    def _describe(self, change: Change) -> "_Described":
        """What is known of a change, once for each."""
        found = self._described.get(change)
        if found is not None:
            return found
        own = self.parents.sites[change.parent]
        near = change.site if change.site in own.residues else _nearest(own, change.site)
        chain = _ROLES.get(change.site.role, 2 + int(change.site.role[1:] or 0)
                           if change.site.role.startswith("A") else 0)  # fmt: skip
        embedding, profile, likelihood = np.zeros(self.dim, np.float32), np.zeros(20), np.zeros(3)
        if near in own.embedding:
            table = own.log_probability[near]
            embedding, profile = own.embedding[near], np.exp(table)
            likelihood = np.array(_likelihood(table, change))
        found = _Described(
            number_of(change.site) + _CHAIN_GAP * chain,
            own.region.get(near, NO_REGION),
            embedding,
            profile,
            likelihood,
        )
        if len(self._described) >= _REMEMBERED:
            self._described.clear()
        self._described[change] = found
        return found

    def _embed(
        self,
        pairs: Sequence[Pair],
        parent: np.ndarray,
        language: LanguageModel,
        delta: np.ndarray,
        mean: np.ndarray,
    ) -> None:
        """Fill in embeddings minus the parent's, (n, sites, PROJECTED), and means, (n, …)."""
        rows: dict[tuple[str, str, int], list[int]] = {}
        for number, (pair, own) in enumerate(zip(pairs, parent.tolist(), strict=True)):
            for role, chain in antibody_chains(pair):
                if role in self.roles:
                    rows.setdefault((role, chain, own), []).append(number)
        summaries = chain_summaries(language, (chain for _, chain, _ in rows), self._projection)
        for (role, chain, own), numbers in rows.items():
            summary = summaries[chain]
            columns = self._alignment.columns(role, numbered(chain))
            inside = columns >= 0
            columns, projected = columns[inside], summary.projected[inside]
            theirs = self._parent_rows[own][columns]
            there = (projected != 0).any(1) & (theirs != 0).any(1)
            moved = np.where(there[:, None], projected - theirs, 0.0)
            delta[np.array(numbers)[:, None], columns] = moved.astype(np.float16)
            place = self.roles.index(role) * self.dim
            mean[numbers, place : place + self.dim] = summary.mean

    def _of_parent(self, sites: ParentSites) -> np.ndarray:
        """A parent's embeddings, projected, at the frame's sites; (sites, PROJECTED)."""
        found = np.zeros((len(self.sites), PROJECTED if self.dim else 0), np.float32)
        column = {site: number for number, site in enumerate(self.sites)}
        for site, row in sites.embedding.items():
            found[column[site]] = row @ self._projection
        return found


class _Described(NamedTuple):
    """What is known of one change; see `ChangeTable`."""

    place: float
    region: int
    embedding: np.ndarray
    profile: np.ndarray
    likelihood: np.ndarray


def _stacked(rows: Sequence[np.ndarray], width: int, dtype: Any) -> np.ndarray:
    return np.stack(rows).astype(dtype, copy=False) if rows else np.zeros((0, width), dtype)


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
