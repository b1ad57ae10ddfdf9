"""Variants aligned by IMGT number to the sites of a campaign's parents, many at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from paratope.campaigns.kernels.changes import (
    GAP,
    Change,
    Numbered,
    Parents,
    ParentSites,
    Site,
    antibody_chains,
    number_of,
    numbered,
)
from paratope.molecules.sequences import Pair

_ROLES = {"H": 0, "L": 1}
# A parent of the other format than a variant (single domain, paired) is never the nearest.
_OTHER_FORMAT = 10**6
_OTHER_ANTIGEN = 1000
# Numberings whose columns are kept: variants of one length share theirs.
_REMEMBERED = 4096


class Aligned(NamedTuple):
    """n variants in the frame of the parents.

    Attributes
    ----------
    parent : np.ndarray of int, (n,)
        The nearest.
    residues : np.ndarray of int8, (n, sites)
        Index into `AMINO_ACIDS`, or `GAP`.
    row, column : np.ndarray of int
        Which variant has which of the changes.
    changes : tuple of Change
        The distinct ones.
    antigen : tuple of tuple of str
        Chains of the antigen a variant is compared by: the parent's for a mutant of it.
    """

    parent: np.ndarray
    residues: np.ndarray
    row: np.ndarray
    column: np.ndarray
    changes: tuple[Change, ...]
    antigen: tuple[tuple[str, ...], ...]


class Alignment:
    """The antibody sites of all parents, and variants at these sites.

    `Parents.changes` says what is changed in one variant; this says the same of many. Variants that
    have residues outside of the frame, unknown residues, or another format are left to it.

    Parameters
    ----------
    parents : Parents
    """

    def __init__(self, parents: Parents) -> None:
        self.parents = parents
        self.sites = _sites(parents.sites)
        self.roles = ("H", "L") if any(site.role == "L" for site in self.sites) else ("H",)
        self._column = {site: number for number, site in enumerate(self.sites)}
        self._own = np.stack([self._aligned(one) for one in parents.sites])
        self._paired = np.array([one.antibody.light is not None for one in parents.pairs])
        self._known_columns: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}

    def columns(self, role: str, chain: Numbered) -> np.ndarray:
        """Column of each residue of a chain, or -1, (residues,)."""
        key = role, chain.labels
        found = self._known_columns.get(key)
        if found is None:
            places = [self._column.get(Site(role, label), -1) for label in chain.labels]
            if len(self._known_columns) >= _REMEMBERED:
                self._known_columns.clear()
            found = self._known_columns[key] = np.array(places, int)
        return found

    def align(self, pairs: Sequence[Pair]) -> Aligned:
        """Parents, residues and changes of pairs."""
        residues, plain = self._residues(pairs)
        parent, plain = self._nearest(pairs, residues, plain)
        table: dict[Change, int] = {}
        row, column = self._plain_changes(residues, parent, plain, table)
        rows, columns = [row], [column]
        antigen = [pair.antigen.chains for pair in pairs]
        for number in np.flatnonzero(~plain).tolist():
            own, found = self.parents.changes(pairs[number])
            parent[number] = own
            rows.append(np.full(len(found), number))
            columns.append(np.array([table.setdefault(one, len(table)) for one in found], int))
            if any(change.site.role.startswith("A") for change in found):
                antigen[number] = self.parents.pairs[own].antigen.chains
        mutants = {
            (own, chains): self.parents.antigen_changes(own, chains)[1]
            for own, chains in set(zip(parent[plain].tolist(), _some(antigen, plain), strict=True))
        }
        for number in np.flatnonzero(plain).tolist():
            found = mutants[int(parent[number]), antigen[number]]
            if found:
                rows.append(np.full(len(found), number))
                columns.append(np.array([table.setdefault(one, len(table)) for one in found], int))
                antigen[number] = self.parents.pairs[int(parent[number])].antigen.chains
        row, column = np.concatenate(rows), np.concatenate(columns)
        order = np.argsort(row, kind="stable")
        return Aligned(parent, residues, row[order], column[order], tuple(table), tuple(antigen))

    def _aligned(self, sites: ParentSites) -> np.ndarray:
        found = np.full(len(self.sites), GAP, np.int8)
        for site, residue in sites.residues.items():
            if site in self._column:
                found[self._column[site]] = residue
        return found

    def _residues(self, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
        """Residues of pairs, (n, sites), and whether the frame holds them all, (n,)."""
        number = {chains: place for place, chains in enumerate(
            dict.fromkeys(pair.antibody.chains for pair in pairs))}  # fmt: skip
        distinct = {pair.antibody.chains: pair for pair in pairs}
        found = np.full((len(number), len(self.sites)), GAP, np.int8)
        plain = np.ones(len(number), bool)
        for chains, place in number.items():
            for role, chain in antibody_chains(distinct[chains]):
                own = numbered(chain)
                columns, residues = self.columns(role, own), np.array(own.residues, np.int8)
                inside = columns >= 0
                found[place, columns[inside]] = residues[inside]
                plain[place] &= bool(inside.all() and (residues != GAP).all())
        which = np.array([number[pair.antibody.chains] for pair in pairs], int)
        return found[which], plain[which]

    def _nearest(
        self, pairs: Sequence[Pair], residues: np.ndarray, plain: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nearest parent of each pair, and whether it is plain: one of its format is there."""
        cost = np.zeros((len(self.parents.pairs), len(pairs)), int)
        paired = np.array([pair.antibody.light is not None for pair in pairs], bool)
        antigens = list(dict.fromkeys(pair.antigen.chains for pair in pairs))
        which = {chains: place for place, chains in enumerate(antigens)}
        of_antigen = np.array([which[pair.antigen.chains] for pair in pairs], int)
        for number, own in enumerate(self._own):
            cost[number] = (residues != own).sum(1)
            cost[number] += _OTHER_FORMAT * (paired != self._paired[number])
            extra = [self.parents.antigen_changes(number, chains) for chains in antigens]
            more = [len(found) + _OTHER_ANTIGEN * (not same) for same, found in extra]
            cost[number] += np.array(more, int)[of_antigen]
        nearest = cost.argmin(0) if len(pairs) else np.zeros(0, int)
        lowest = cost.min(0) if len(pairs) else np.zeros(0, int)
        return nearest, plain & (lowest < _OTHER_FORMAT)

    def _plain_changes(
        self, residues: np.ndarray, parent: np.ndarray, plain: np.ndarray, table: dict[Change, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the changes at the frame's sites; new changes join the table."""
        row, site = np.nonzero((residues != self._own[parent]) & plain[:, None])
        own = parent[row]
        before, after = self._own[own, site].astype(int), residues[row, site].astype(int)
        letters = GAP + 1
        code = ((own * len(self.sites) + site) * letters + before) * letters + after
        _, first, column = np.unique(code, return_index=True, return_inverse=True)
        order = np.argsort(first)  # in the order in which they are met
        rank = np.empty(len(order), int)
        rank[order] = np.arange(len(order))
        for place in first[order].tolist():
            change = Change(
                int(own[place]), self.sites[int(site[place])], int(before[place]), int(after[place])
            )
            table[change] = len(table)
        return row, rank[column]


def _sites(parents: Sequence[ParentSites]) -> list[Site]:
    known = {site for one in parents for site in one.residues if not site.role.startswith("A")}
    return sorted(known, key=lambda site: (_ROLES[site.role], number_of(site)))


def _some(values: Sequence[tuple[str, ...]], keep: np.ndarray) -> list[tuple[str, ...]]:
    return [value for value, kept in zip(values, keep.tolist(), strict=True) if kept]
