"""What must stay together whatever the kind of split, and the joining of groupings."""

from collections.abc import Sequence

import numpy as np

from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import linked, renumbered, same_molecule
from paratope.molecules.sequences import Pair


def distinct_pairs(measurements: Sequence[Measurement]) -> list[Pair]:
    """Every distinct pair that rows measure or refer to as parent."""
    pairs = {row.pair: None for row in measurements}
    pairs.update({row.parent: None for row in measurements if row.parent is not None})
    return list(pairs)


def row_groups(
    measurements: Sequence[Measurement], pairs: Sequence[Pair], labels: np.ndarray
) -> np.ndarray:
    """Groups of rows whose pair or parent bears one label.

    Parameters
    ----------
    measurements : sequence of Measurement
    pairs : sequence of Pair
        As of `distinct_pairs`.
    labels : np.ndarray of int, (pairs,)

    Returns
    -------
    np.ndarray of int, (rows,)
    """
    label = dict(zip(pairs, labels.tolist(), strict=True))
    count = len(measurements)
    links = []
    for number, row in enumerate(measurements):
        links.append((number, count + label[row.pair]))
        if row.parent is not None:
            links.append((number, count + label[row.parent]))
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
    """Groups of rows that measure one thing: replicates, fragments, reverse mutants.

    Rows are one if antibody and antigen are the same molecule each (see
    `paratope.data.splits.clusters.same_molecule`: fragments, tags, constant domains, loose ends),
    whatever their names, or if one row's pair and parent are the other's parent and pair.

    Parameters
    ----------
    measurements : sequence of Measurement

    Returns
    -------
    np.ndarray of int, (rows,)

    Examples
    --------
    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> made = (("EVQLVE", "MKVLA"), ("EVQLVE", "GGMKVLA"), ("QVQLVE", "MKVLA"))
    >>> rows = [Measurement(Pair(Antibody(heavy), Antigen((antigen,))), 8.0)
    ...         for heavy, antigen in made]
    >>> replicate_groups(rows).tolist()
    [0, 0, 1]
    """
    pairs = distinct_pairs(measurements)
    antibodies = same_molecule([pair.antibody.chains for pair in pairs])
    antigens = same_molecule([pair.antigen.chains for pair in pairs])
    same = dict(zip(pairs, zip(antibodies.tolist(), antigens.tolist(), strict=True), strict=True))
    steps: list[object] = []
    for number, row in enumerate(measurements):
        if row.parent is None or same[row.parent] == same[row.pair]:
            steps.append(number)
        else:
            steps.append(frozenset((same[row.pair], same[row.parent])))
    return joined(renumbered([same[row.pair] for row in measurements]), renumbered(steps))
