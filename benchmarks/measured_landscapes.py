"""Measured variants of one antibody each: scans, libraries, maturation and evolution."""

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from paratope.core.errors import ParatopeError
from paratope.data.datasets import load_dataset
from paratope.data.splits.clusters import antibody_clusters
from paratope.models.general.fitting import Fit, TrainingTable
from paratope.models.general.substitutions import Change, changes_between
from paratope.molecules.alignment import consensus_pair
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antibody, Pair

# Landscapes: class, family. One family counts once in the mean.
LANDSCAPES: dict[str, tuple[str, str]] = {
    "hie2023": ("evolution", ""),
    "shanker2024": ("evolution", ""),
    "magma_319345": ("library", "319-345"),
    "magma_2221c06": ("library", "222-1C06"),
    "magma_215": ("germline", "2-15"),
    "magma_002s21f2": ("germline", "002-S21F2"),
    "magma_c118": ("germline", "C118"),
    "phillips_cr9114_h3": ("germline", "CR9114"),
    "titeseq_4420": ("library", "4-4-20"),
    "cr9114_germline_H1stem": ("scan", "CR9114"),
    "cr9114_mature_H1stem": ("scan", "CR9114"),
    "cr9114_mature_H3": ("scan", "CR9114"),
    "cr9114_mature_fluB": ("scan", "CR9114"),
    "abagym_5a12_vegf": ("scan", "5A12"),
    "abbibench_1n8z": ("library", "trastuzumab"),
    "abbibench_2fjg": ("scan", "G6"),
    "abbibench_3gbn_h1": ("library", "CR6261"),
    "abbibench_aayl49": ("library", "AAYL49"),
}


@dataclasses.dataclass(frozen=True)
class MeasuredLandscape:
    """n variants of one parent, each with its mean pKd or score; replicates are averaged."""

    name: str
    kind: str  # scan, library, germline or evolution
    family: str
    parent: Pair
    pairs: tuple[Pair, ...]
    changes: tuple[tuple[Change, ...], ...]
    measured: np.ndarray

    def take(self, rows: np.ndarray) -> "MeasuredLandscape":
        """Some of the variants."""
        pairs, changes = (tuple(each[row] for row in rows) for each in (self.pairs, self.changes))
        measured = self.measured[rows]
        return dataclasses.replace(self, pairs=pairs, changes=changes, measured=measured)


def measured_landscapes(fewest: int) -> list[MeasuredLandscape]:
    """All landscapes of at least `fewest` variants that can be read."""
    return [each for name in LANDSCAPES for each in _of_dataset(name) if len(each.pairs) >= fewest]


def _of_dataset(name: str) -> Iterator[MeasuredLandscape]:
    kind, family = LANDSCAPES[name]
    by_assay: dict[str, list] = defaultdict(list)
    for row in load_dataset(name).measurements:
        value = row.pkd if row.pkd is not None else row.score
        if value is not None:
            by_assay[row.assay].append((row, value))
    for assay, rows in by_assay.items():
        named = Counter(row.parent for row, _ in rows if row.parent is not None)
        read = []
        for row, value in rows:
            try:
                read.append((prepared(row.pair), value))
            except ParatopeError:
                continue
        parent = (
            prepared(named.most_common(1)[0][0])
            if named
            else consensus_pair([pair for pair, _ in read])
        )
        values: dict[tuple[Change, ...], list[float]] = defaultdict(list)
        pairs: dict[tuple[Change, ...], Pair] = {}
        for pair, value in read:
            try:
                variant = Pair(pair.antibody, parent.antigen)
                changes = changes_between(parent, variant)
            except ParatopeError:
                continue
            values[changes].append(value)
            pairs.setdefault(changes, variant)
        label = assay if ":" in assay else name
        of = family or label.split(":")[-1].split("_")[0]
        measured = np.array([statistics.fmean(each) for each in values.values()])
        yield MeasuredLandscape(
            label, kind, of, parent, tuple(pairs.values()), tuple(values), measured
        )


def without_family(
    table: TrainingTable, landscapes: Sequence[MeasuredLandscape]
) -> list[tuple[int, Fit]]:
    """Antibody cluster of each landscape's parent, and the general model without it."""
    parents = [landscape.parent.antibody for landscape in landscapes]
    together = antibody_clusters([*(pair.antibody for pair in table.parents), *parents])
    families, fitted = together[: len(table)], {}
    answer = []
    for own, landscape in zip(together[len(table) :].tolist(), landscapes, strict=True):
        if own not in fitted:
            source = landscape.name.split(":")[0]
            fitted[own] = table.fit((families != own) & (table.source != source))
        answer.append((own, fitted[own]))
    return answer


def prepared(pair: Pair) -> Pair:
    """Its variable domains alone, without names."""
    antibody, _ = prepare_antibody(pair.antibody)
    return Pair(Antibody(antibody.heavy, antibody.light), pair.antigen)
