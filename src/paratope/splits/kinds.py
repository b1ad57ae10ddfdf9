"""The ways to split measurements, each a grouping of rows that is never cut."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from paratope.errors import InputError, unknown_name
from paratope.measurements import Measurement
from paratope.sequences import Pair
from paratope.splits.assignment import deal, part_names, size_notes
from paratope.splits.clusters import antigen_clusters, linked, renumbered, same_molecule


@dataclasses.dataclass(frozen=True)
class Split:
    """Which part each measurement belongs to, and the proof that nothing leaks.

    Attributes
    ----------
    assignment : np.ndarray, (rows,)
        ``"train"``, ``"validation"``, ``"test"``, or the fold number.
    groups : np.ndarray of int, (rows,)
        What was kept together.
    proof : dict
        JSON-ready; see `paratope.splits.proof`.
    """

    assignment: np.ndarray
    groups: np.ndarray
    proof: dict


def split_measurements(
    measurements: Sequence[Measurement],
    by: str = "antigen",
    *,
    fractions: Sequence[float] | None = None,
    folds: int | None = None,
    seed: int = 0,
    antigen_identity: float = 0.3,
    antigen_coverage: float = 0.5,
) -> Split:
    """Split measurements into parts without cutting a group."""
    if by not in KINDS:
        raise InputError(unknown_name("kind of split", by, KINDS))
    if not measurements:
        raise InputError("there are no measurements to split")
    if fractions is None and folds is None:
        fractions = (0.8, 0.1, 0.1)
    names, shares = part_names(fractions, folds)
    together = replicate_groups(measurements)
    if by == "antigen":
        pairs = _pairs(measurements)
        clusters = antigen_clusters(
            [pair.antigen for pair in pairs], antigen_identity, antigen_coverage
        )
        together = joined(together, row_labels(measurements, pairs, clusters))
    parts = deal(together, shares, seed)
    notes = size_notes(names, shares, parts, together)
    proof = {"by": by, "seed": seed, "rows": len(measurements), "notes": notes}
    return Split(np.array(names)[parts], together, proof)


KINDS = {"random": "", "antigen": ""}


def _pairs(measurements: Sequence[Measurement]) -> list[Pair]:
    """Every distinct pair that rows measure or refer to as parent."""
    pairs = {row.pair: None for row in measurements}
    pairs.update({row.parent: None for row in measurements if row.parent is not None})
    return list(pairs)


def row_labels(
    measurements: Sequence[Measurement], pairs: Sequence[Pair], labels: np.ndarray
) -> np.ndarray:
    """Groups of rows whose pair or parent bears one label."""
    label = dict(zip(pairs, labels.tolist(), strict=True))
    count = len(measurements)
    links = [(row, count + label[one.pair]) for row, one in enumerate(measurements)]
    links += [
        (row, count + label[one.parent])
        for row, one in enumerate(measurements)
        if one.parent is not None
    ]
    ends = np.array(links, np.int64)
    return linked(count + int(labels.max()) + 1, ends[:, 0], ends[:, 1])[:count]


def joined(*groupings: np.ndarray) -> np.ndarray:
    """The finest grouping that cuts none of those given.

    >>> joined(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist()
    [0, 0, 0, 1]
    """
    count = len(groupings[0])
    first, second, offset = [], [], count
    for groups in groupings:
        first.append(np.arange(count))
        second.append(groups + offset)
        offset += int(groups.max()) + 1
    return renumbered(linked(offset, np.concatenate(first), np.concatenate(second))[:count])


def replicate_groups(measurements: Sequence[Measurement]) -> np.ndarray:
    """Groups of rows that measure one thing: replicates, fragments, near-duplicates, reverse mutants.

    Rows are one if antibody and antigen are the same molecule each (see `same_molecule`), whatever their
    names, or if one row's pair and parent are the other's parent and pair.

    Parameters
    ----------
    measurements : sequence of Measurement

    Returns
    -------
    np.ndarray of int, (rows,)
    """
    pairs = _pairs(measurements)
    antibodies = same_molecule([pair.antibody.chains for pair in pairs])
    antigens = same_molecule([pair.antigen.chains for pair in pairs])
    same = dict(zip(pairs, zip(antibodies.tolist(), antigens.tolist(), strict=True), strict=True))
    by_pair = renumbered([same[row.pair] for row in measurements])
    steps = []
    for number, row in enumerate(measurements):
        if row.parent is None or same[row.parent] == same[row.pair]:
            steps.append((number,))
        else:
            steps.append(tuple(sorted((same[row.pair], same[row.parent]))))
    return joined(by_pair, renumbered(steps))
