"""Fitting the general model to measured pairs, and judging it on rows it did not see."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import antibody_clusters, antigen_clusters, renumber
from paratope.models.general.level import Level, LevelRows, cell_of, is_peptide, peptide_features
from paratope.models.general.substitutions import (
    Change,
    MeasuredChange,
    SubstitutionScore,
    changes_between,
    is_mutant,
)
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair


@dataclasses.dataclass(frozen=True)
class Fit:
    """What was learned from some rows, and how peptides' features are standardised."""

    substitutions: SubstitutionScore
    level: Level
    peptide_mean: np.ndarray
    peptide_sd: np.ndarray


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
        of = self.cluster, self.antigen, self.family
        return tuple(int(index.max()) + 1 for index in of)

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
        fit = Fit(substitutions, Level(0.0, *np.zeros((6, 0))), mean, sd)
        level = Level.fit(self.rows(fit, chosen), self.pkd[chosen], self.sizes)
        return dataclasses.replace(fit, level=level)

    def rows(self, fit: Fit, chosen: np.ndarray) -> LevelRows:
        """What the level reads of the rows of a mask."""
        index = np.flatnonzero(chosen).tolist()
        parents = [self.parents[row] for row in index]
        known = self.cluster[chosen], self.antigen[chosen], self.family[chosen]
        return level_rows(fit, parents, [self.changes[row] for row in index], known)

    def predict(self, fit: Fit, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Level and Δ of the rows of a mask, (n,) each."""
        rows = self.rows(fit, chosen)
        return fit.level.level(rows), fit.level.delta(rows)


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
    scores = np.zeros((len(parents), 2))
    for row, (parent, changed) in enumerate(zip(parents, changes, strict=True)):
        cells[row] = cell_of(parent.antigen, parent.antibody.light is None)
        if is_peptide(parent.antigen):
            peptide[row] = (peptide_features(parent.antigen) - fit.peptide_mean) / fit.peptide_sd
        if changed:
            epitope = epitopes[row] if epitopes is not None else None
            scores[row, 0] = fit.substitutions.antibody(changed).sum()
            scores[row, 1] = fit.substitutions.antigen(changed, epitope).sum()
    return LevelRows(cells, peptide, *known, scores)


def _prepared(pair: Pair) -> Pair:
    antibody, _ = prepare_antibody(pair.antibody)
    return Pair(Antibody(antibody.heavy, antibody.light), Antigen(pair.antigen.chains))
