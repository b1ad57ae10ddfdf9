"""Fitting the general model to measured pairs, and judging it on rows it did not see."""

import dataclasses
import functools
import hashlib
import itertools
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import antibody_clusters, antigen_clusters, renumber
from paratope.models.applicability_domain import ApplicabilityDomain, cdr_loops
from paratope.models.general.intervals import (
    DIFFERENCE,
    MIN_ROWS,
    STRATA,
    Errors,
    Intervals,
    stratum_of,
)
from paratope.models.general.level import (
    NEW,
    Level,
    LevelRows,
    cell_of,
    is_peptide,
    peptide_features,
)
from paratope.models.general.pair_kernel import PairKernel
from paratope.models.general.substitutions import (
    Change,
    MeasuredChange,
    SubstitutionScore,
    changes_between,
    is_mutant,
)
from paratope.molecules.numbering import number_chain, prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair


@dataclasses.dataclass(frozen=True)
class Fit:
    """What was learned from some rows, and how peptides' features are standardised."""

    substitutions: SubstitutionScore
    level: Level
    peptide_mean: np.ndarray
    peptide_sd: np.ndarray
    kernel: PairKernel


@dataclasses.dataclass(frozen=True)
class Roots:
    """Where the domain's molecules belong: indices of its lists and of the level's effects.

    `antigen_cluster`, `antigen_effect`: (antigens,); `antibody_family`: (antibodies,);
    `families`: (families, 2) cluster and antibody family; `cluster_rows`: (clusters,) rows trained.
    """

    antigen_cluster: np.ndarray
    antigen_effect: np.ndarray
    antibody_family: np.ndarray
    families: np.ndarray
    cluster_rows: np.ndarray


# Variance of a measurement around its pair's true pKd, over that of pairs around their level and Δ:
# replicates across papers scatter by 0.5 pKd each, pairs by about one.
_NOISE_SHARE = 0.25
# IMGT numbers of the residues that tell antibodies apart.
_CORE = (5, 124)


@dataclasses.dataclass(frozen=True)
class MeasuredPairs:
    """Pairs that were learned from; `key` are hashes of their residues, ascending."""

    key: np.ndarray
    effect: np.ndarray  # Above level and Δ, in pKd, shrunk by the noise of their measurements
    pkd: np.ndarray  # Mean of what was measured
    delta: np.ndarray  # Δ to the parents they were learned as variants of, 0 of others

    def row(self, pair: Pair) -> int:
        """Index of a pair; -1 if it was not measured."""
        key = pair_key(pair)
        index = int(np.searchsorted(self.key, key))
        return index if index < len(self.key) and self.key[index] == key else -1


def pair_key(pair: Pair) -> int:
    """63-bit hash of a pair's residues, the same on every machine.

    Of the antibody's domains IMGT `_CORE` alone, as structures and constructs end differently.
    """
    parts = [*map(_core, pair.antibody.chains), "", *pair.antigen.chains]
    digest = hashlib.blake2b("|".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@functools.lru_cache(maxsize=16384)
def _core(chain: str) -> str:
    domain = number_chain(chain)
    return "".join(itertools.compress(domain.residues, _is_core(domain.positions)))


@functools.lru_cache(maxsize=4096)  # variants of one antibody share their positions
def _is_core(positions: tuple[str, ...]) -> tuple[bool, ...]:
    numbers = (int(label.rstrip(string.ascii_letters)) for label in positions)
    return tuple(_CORE[0] <= number <= _CORE[1] for number in numbers)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What models that did not see a row's group say of it; n rows of a table.

    `level`, `delta`: (n,) in pKd; `constant`: mean of their training rows, each cluster weighted by
    the root of its size; `rows_in_cluster`: how many of them were of the row's antigen cluster.
    """

    level: np.ndarray
    delta: np.ndarray
    constant: np.ndarray
    rows_in_cluster: np.ndarray

    @property
    def pkd(self) -> np.ndarray:
        """Predictions, (n,)."""
        return self.level + self.delta

    def rows(self, chosen: np.ndarray) -> "HeldOut":
        """Some of the rows, by mask or index."""
        return HeldOut(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class TrainingTable:
    """Measured pairs of an exact pKd, cut to variable domains; n rows.

    A row is a variant of its `parents` entry (itself where none is known); the parent decides its
    antigen, family and clusters. `changes` are what it changes, `delta_pkd` is NaN where the parent
    was not measured beside it.
    """

    pairs: tuple[Pair, ...]
    parents: tuple[Pair, ...]
    changes: tuple[tuple[Change, ...], ...]
    pkd: np.ndarray
    delta_pkd: np.ndarray
    group: np.ndarray  # complex or campaign
    source: np.ndarray
    date: np.ndarray  # ISO, or empty
    cluster: np.ndarray  # of the antigen
    antigen: np.ndarray
    family: np.ndarray  # an antibody family against one antigen cluster
    antibody_family: np.ndarray  # the antibody family alone

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of clusters, antigens and families."""
        return (
            int(self.cluster.max()) + 1,
            int(self.antigen.max()) + 1,
            int(self.family.max()) + 1,
        )

    @property
    def single_domain(self) -> np.ndarray:
        """Which rows are of an antibody without a light chain."""
        return np.array([pair.antibody.light is None for pair in self.pairs])

    @classmethod
    def of(cls, measurements: Sequence[Measurement]) -> "TrainingTable":
        """Rows of an exact pKd whose antibody can be read; others are left out."""
        rows: list[tuple[Measurement, Pair, Pair, tuple[Change, ...]]] = []
        for row in measurements:
            if row.pkd is None or row.censoring is not Censoring.EXACT:
                continue
            try:
                pair = _prepared(row.pair)
            except InputError:
                continue
            parent, changes = pair, ()
            if row.parent is not None:
                try:
                    named = _prepared(row.parent)
                    changes = changes_between(named, pair)
                    same = named.antigen.chains == pair.antigen.chains
                    is_of = same or is_mutant(named.antigen, pair.antigen)
                    parent = named if is_of else Pair(named.antibody, pair.antigen)
                except InputError:
                    changes = ()
            rows.append((row, pair, parent, changes))
        parents = [parent for _, _, parent, _ in rows]
        clusters = antigen_clusters([parent.antigen for parent in parents])
        antibodies = antibody_clusters([parent.antibody for parent in parents])
        both = zip(clusters.tolist(), antibodies.tolist(), strict=True)
        measured = [row for row, _, _, _ in rows]
        return cls(
            tuple(pair for _, pair, _, _ in rows),
            tuple(parents),
            tuple(changes for _, _, _, changes in rows),
            np.array([row.pkd for row in measured], float),
            np.array([np.nan if row.delta_pkd is None else row.delta_pkd for row in measured]),
            np.array([f"{row.origin.source}:{row.origin.complex_id}" for row in measured]),
            np.array([row.origin.source for row in measured]),
            np.array([row.origin.date for row in measured]),
            clusters,
            renumber(parent.antigen.chains for parent in parents),
            renumber(both),
            antibodies,
        )

    def subset(self, chosen: np.ndarray) -> "TrainingTable":
        """The rows of a mask; clusters, antigens and families keep their numbers."""
        index = np.flatnonzero(chosen).tolist()
        values: dict[str, Any] = {
            field.name: tuple(column[row] for row in index)
            if isinstance(column := getattr(self, field.name), tuple)
            else column[chosen]
            for field in dataclasses.fields(self)
        }
        return TrainingTable(**values)

    def fit(self, chosen: np.ndarray) -> Fit:
        """Learn from the rows of a mask."""
        index = np.flatnonzero(chosen).tolist()
        substitutions = SubstitutionScore.of_mutants(
            MeasuredChange(self.changes[row], float(self.delta_pkd[row]), str(self.group[row]))
            for row in index
            if self.changes[row] and np.isfinite(self.delta_pkd[row])
        )
        features = np.array(
            [
                peptide_features(self.parents[row].antigen)
                for row in index
                if is_peptide(self.parents[row].antigen)
            ]
        ).reshape(-1, 5)
        mean = features.mean(axis=0) if len(features) else np.zeros(5)
        sd = features.std(axis=0) + 1e-6 if len(features) else np.ones(5)
        fit = Fit(substitutions, Level(0.0, *np.zeros((7, 0))), mean, sd, self.kernel(index))
        rows, kernel = self.rows(fit, chosen), fit.kernel.prior()
        return dataclasses.replace(fit, level=Level.fit(rows, self.pkd[chosen], self.sizes, kernel))

    def kernel(self, rows: Sequence[int]) -> PairKernel:
        """Kernel of some rows' parents; its landmarks are the first pair of each cluster."""
        parents = list(dict.fromkeys(self.parents[row] for row in rows))
        cluster = {self.parents[row]: int(self.cluster[row]) for row in rows}
        first: dict[int, int] = {}
        for index, parent in enumerate(parents):
            first.setdefault(cluster[parent], index)
        peptides = [is_peptide(parent.antigen) for parent in parents]
        return PairKernel.of_pairs(parents, peptides, list(first.values()))

    def cross_validate(self, groups: np.ndarray, folds: int = 5, seed: int = 0) -> HeldOut:
        """Predict each row by a model that saw no row of its group, (n,) group labels."""
        from sklearn.model_selection import GroupKFold

        empty = np.zeros((3, len(self)))
        held = HeldOut(empty[0], empty[1], empty[2], np.zeros(len(self), int))
        splitter = GroupKFold(folds, shuffle=True, random_state=seed)
        for train, test in splitter.split(self.pkd, groups=groups):
            mask = np.zeros(len(self), bool)
            mask[train] = True
            self.predict_into(held, self.fit(mask), mask, test)
        return held

    def predict_into(self, held: HeldOut, fit: Fit, trained: np.ndarray, test: np.ndarray) -> None:
        """Fill in what a fit of the rows of a mask says of other rows."""
        mask = np.zeros(len(self), bool)
        mask[test] = True
        rows = self.rows(fit, mask)
        held.level[mask], held.delta[mask] = fit.level.level(rows), fit.level.delta(rows)
        held.constant[mask] = fit.level.mean
        counts = np.bincount(self.cluster[trained], minlength=self.sizes[0])
        held.rows_in_cluster[mask] = counts[self.cluster[mask]]

    @property
    def row_weights(self) -> np.ndarray:
        """n(cluster)^-1/2 of each row, (n,)."""
        return 1 / np.sqrt(np.bincount(self.cluster)[self.cluster])

    @property
    def parent_pkd(self) -> np.ndarray:
        """Measured pKd of each variant's parent, (n,); NaN where it was not, and for parents."""
        changed = np.array([bool(changes) for changes in self.changes])
        return np.where(changed, self.pkd - self.delta_pkd, np.nan)

    def parent_share(self, held: HeldOut) -> float:
        """Share of the difference between a measured parent and its level that variants keep."""
        known = np.isfinite(self.parent_pkd)
        gap = (self.parent_pkd - held.level)[known]
        rest = (self.pkd - held.pkd)[known]
        weight = self.row_weights[known]
        return float(np.clip((weight * gap * rest).sum() / (weight * gap**2).sum(), 0.0, 1.0))

    def intervals(self, by_antigen: HeldOut, by_family: HeldOut, share: float) -> Intervals:
        """Errors by stratum: of antigens held out, and of antibody families held out.

        With a measured parent, errors are those of antigens held out.
        """
        single, weight = self.single_domain, self.row_weights
        sets: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in STRATA}
        for held in (by_antigen, by_family):
            for known in np.unique(held.rows_in_cluster):
                for is_single in (False, True):
                    rows = (held.rows_in_cluster == known) & (single == is_single)
                    name = stratum_of(int(known), is_single, parent_measured=False)
                    sets[name].append((np.flatnonzero(rows), self.pkd - held.pkd))
        known = np.isfinite(self.parent_pkd)
        part = share * (self.parent_pkd - by_antigen.level)
        sets["parent measured"].append((np.flatnonzero(known), self.pkd - by_antigen.pkd - part))
        strata = {}
        for name, parts in sets.items():
            rows = np.concatenate([index for index, _ in parts])
            errors = np.concatenate([values[index] for index, values in parts])
            if len(rows) >= MIN_ROWS:
                strata[name] = Errors(errors, weight[rows], self.pkd[rows])
        delta_errors = (self.delta_pkd - by_antigen.delta)[known]
        strata[DIFFERENCE] = Errors(delta_errors, weight[known], self.delta_pkd[known])
        return Intervals(strata)

    def measured_pairs(self, fit: Fit) -> MeasuredPairs:
        """What was measured of each pair, beside what a fit of all rows says."""
        rows = self.rows(fit, np.ones(len(self), bool))
        delta = fit.level.delta(rows)
        rest = self.pkd - fit.level.level(rows) - delta
        keys = np.array([pair_key(pair) for pair in self.pairs], np.int64)
        unique, index, count = np.unique(keys, return_inverse=True, return_counts=True)
        return MeasuredPairs(
            unique,
            np.bincount(index, rest) / (count + _NOISE_SHARE),
            np.bincount(index, self.pkd) / count,
            np.bincount(index, delta) / count,
        )

    def domain(self) -> tuple[ApplicabilityDomain, Roots]:
        """The molecules learned from, and where each belongs."""
        both = [*self.pairs, *self.parents]
        domain = ApplicabilityDomain.of_pairs(both)
        cluster_of: dict[tuple[str, ...], int] = {}
        effect_of: dict[tuple[str, ...], int] = {}
        family_of: dict[tuple[str, ...], int] = {}
        indices = zip(self.cluster, self.antigen, self.antibody_family, strict=True)
        for row, (cluster, antigen, family) in enumerate(indices):
            for pair in (self.parents[row], self.pairs[row]):
                cluster_of.setdefault(pair.antigen.chains, int(cluster))
                effect_of.setdefault(pair.antigen.chains, int(antigen))
                family_of.setdefault(cdr_loops(pair.antibody), int(family))
        families = np.full((self.sizes[2], 2), NEW)
        families[self.family, 0], families[self.family, 1] = self.cluster, self.antibody_family
        return domain, Roots(
            np.array([cluster_of[chains] for chains in domain.antigens]),
            np.array([effect_of[chains] for chains in domain.antigens]),
            np.array([family_of[loops] for loops in domain.antibodies]),
            families,
            np.bincount(self.cluster, minlength=self.sizes[0]),
        )

    def rows(self, fit: Fit, chosen: np.ndarray) -> LevelRows:
        """What the level reads of the rows of a mask."""
        index = np.flatnonzero(chosen).tolist()
        parents = [self.parents[row] for row in index]
        known = self.cluster[chosen], self.antigen[chosen], self.family[chosen]
        return level_rows(fit, parents, [self.changes[row] for row in index], known)


def level_rows(
    fit: Fit,
    parents: Sequence[Pair],
    changes: Sequence[Sequence[Change]],
    known: tuple[np.ndarray, np.ndarray, np.ndarray],
    epitopes: Sequence[frozenset[tuple[str, int]] | None] | None = None,
) -> LevelRows:
    """What the level reads of variants of parents; `known` are clusters, antigens and families."""
    peptide = np.zeros((len(parents), 5))
    cells = np.zeros(len(parents), int)
    scores = np.zeros((len(parents), 3))
    place = {parent: index for index, parent in enumerate(dict.fromkeys(parents))}
    peptides = np.array([is_peptide(parent.antigen) for parent in place], bool)
    similar = fit.kernel(list(place), peptides)[[place[parent] for parent in parents]]
    for row, (parent, changed) in enumerate(zip(parents, changes, strict=True)):
        cells[row] = cell_of(parent.antigen, parent.antibody.light is None)
        if is_peptide(parent.antigen):
            features = peptide_features(parent.antigen)
            # what is not known of it is taken as the average peptide's
            peptide[row] = np.nan_to_num((features - fit.peptide_mean) / fit.peptide_sd)
        if changed:
            epitope = epitopes[row] if epitopes is not None else None
            scores[row, 0] = fit.substitutions.antibody(changed).sum()
            scores[row, 1] = fit.substitutions.antigen(changed, epitope).sum()
            scores[row, 2] = fit.substitutions.cost(changed).sum()
    return LevelRows(cells, peptide, similar, *known, scores)


def _prepared(pair: Pair) -> Pair:
    antibody, _ = prepare_antibody(pair.antibody)
    return Pair(Antibody(antibody.heavy, antibody.light), Antigen(pair.antigen.chains))
