"""The ways to split measurements; each is a grouping of rows that is never cut."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.data.splits.antibodies import antibody_clusters
from paratope.data.splits.clusters import (
    antigen_clusters,
    join_groups,
    renumber,
    same_molecule,
    single_linkage,
)
from paratope.data.splits.families import mutated_positions
from paratope.molecules.sequences import Pair

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
# A part may be this much larger than wanted before a position is passed over for another.
_OVERSHOOT = 1.1


@dataclasses.dataclass(frozen=True)
class SplitSettings:
    """How molecules are grouped, recorded in the proof: `antigen_clusters`, `antibody_clusters`."""

    antigen_identity: float = 0.3
    antigen_coverage: float = 0.5
    antibody_identity: float = 0.8
    region: str = "cdr3"  # ``"cdr3"``, ``"cdrs"`` or ``"variable"``


@dataclasses.dataclass(frozen=True)
class Request:
    """What a kind of split is given."""

    measurements: Sequence[Measurement]
    replicates: np.ndarray  # (rows,) group of each, see `replicate_groups`
    names: tuple[str, ...] | tuple[int, ...]  # of the parts
    shares: np.ndarray  # (parts,) of the rows, as wanted
    seed: int
    settings: SplitSettings
    labels: Sequence[str] | None  # (rows,)


@dataclasses.dataclass(frozen=True)
class Grouping:
    """How a kind of split groups rows."""

    groups: np.ndarray  # (rows,) never cut
    rank: np.ndarray | None = None  # (rows,) low ranks go to the first part
    parts: np.ndarray | None = None  # (rows,) where the kind decides them
    notes: tuple[str, ...] = ()
    facts: dict = dataclasses.field(default_factory=dict)  # for the proof


def replicate_groups(measurements: Sequence[Measurement]) -> np.ndarray:
    """Groups of rows, (rows,), that measure one thing: replicates, fragments, reverse mutants.

    Rows are grouped if antibody and antigen are the same molecule each (see `same_molecule`:
    fragments, tags, constant domains, loose ends), whatever their names, or if one row's pair and
    parent are the other's parent and pair.
    """
    pairs = _distinct_pairs(measurements)
    antibodies = same_molecule([pair.antibody.chains for pair in pairs])
    antigens = same_molecule([pair.antigen.chains for pair in pairs])
    same = dict(zip(pairs, zip(antibodies.tolist(), antigens.tolist(), strict=True), strict=True))
    steps = (
        index
        if row.parent is None or same[row.parent] == same[row.pair]
        else frozenset((same[row.pair], same[row.parent]))
        for index, row in enumerate(measurements)
    )
    return join_groups(renumber(same[row.pair] for row in measurements), renumber(steps))


def _distinct_pairs(measurements: Sequence[Measurement]) -> list[Pair]:
    """Every distinct pair that rows measure or refer to as parent."""
    parents = [row.parent for row in measurements if row.parent is not None]
    return list(dict.fromkeys([*(row.pair for row in measurements), *parents]))


def _group_rows(
    measurements: Sequence[Measurement], pairs: Sequence[Pair], clusters: np.ndarray
) -> np.ndarray:
    """Groups of rows whose pair or parent lies in one cluster."""
    cluster_of = dict(zip(pairs, clusters.tolist(), strict=True))
    rows = len(measurements)
    links = [
        (index, rows + cluster_of[pair])
        for index, row in enumerate(measurements)
        for pair in (row.pair, row.parent)
        if pair is not None
    ]
    return single_linkage(rows + int(clusters.max()) + 1, np.array(links).T)[:rows]


def _antigen_groups(request: Request) -> np.ndarray:
    pairs, settings = _distinct_pairs(request.measurements), request.settings
    clusters = antigen_clusters(
        [pair.antigen for pair in pairs], settings.antigen_identity, settings.antigen_coverage
    )
    return _group_rows(request.measurements, pairs, clusters)


def _antibody_groups(request: Request) -> np.ndarray:
    pairs, settings = _distinct_pairs(request.measurements), request.settings
    clusters = antibody_clusters(
        [pair.antibody for pair in pairs], settings.region, settings.antibody_identity
    )
    return _group_rows(request.measurements, pairs, clusters)


def _joined(request: Request, *groupings: np.ndarray) -> Grouping:
    return Grouping(join_groups(request.replicates, *groupings))


def _by_date(request: Request) -> Grouping:
    dates = [row.origin.date for row in request.measurements]
    wrong = next((date for date in dates if date and not _DATE.fullmatch(date)), None)
    if wrong is not None:
        raise InputError(f"dates must be YYYY, YYYY-MM or YYYY-MM-DD, got {wrong!r}")
    if not any(dates):
        raise InputError(
            "no row has a date; a split by date needs a column 'date' with dates such as 2024-05-31"
        )
    _, rank = np.unique(dates, return_inverse=True)
    undated = dates.count("")
    notes = (f"{undated} rows without a date count as the oldest",) if undated else ()
    return Grouping(request.replicates, rank=rank.astype(float), notes=notes)


def row_labels(
    measurements: Sequence[Measurement], labels: Sequence[str] | None
) -> Sequence[str | int]:
    """A label for each row: those given, else the source's own folds."""
    if labels is None:
        folds = [row.origin.fold for row in measurements if row.origin.fold is not None]
        if len(folds) < len(measurements):
            raise InputError("a split by column needs a label for every row")
        return folds
    if len(labels) != len(measurements):
        raise InputError(f"{len(labels)} labels for {len(measurements)} measurements")
    return labels


def _by_position(request: Request) -> Grouping:
    replicates, names = request.replicates, request.names
    sizes = np.bincount(replicates)
    mutated: list[set[Hashable]] = [set() for _ in sizes]  # positions, by group of replicates
    for group, positions in zip(replicates, mutated_positions(request.measurements), strict=True):
        mutated[group] |= positions
    everything = sorted(set().union(*mutated), key=repr)
    if not everything:
        raise InputError("no row differs from its parent, so there are no mutated positions")
    if isinstance(names[0], int):
        # folds share no position at all: groups that mutate one stay together
        index_of = {position: len(sizes) + index for index, position in enumerate(everything)}
        links = [(group, index_of[at]) for group, held in enumerate(mutated) for at in held]
        joined = single_linkage(len(sizes) + len(everything), np.array(links).T)
        return Grouping(joined[replicates])
    rng = np.random.default_rng(request.seed)
    order = [everything[index] for index in rng.permutation(len(everything))]
    # positions mutated on their own come first: rows mutated elsewhere too say less about them
    counts: dict[Hashable, list[int]] = defaultdict(list)
    for positions in mutated:
        for position in positions:
            counts[position].append(len(positions))
    order.sort(key=lambda position: int(np.log2(np.median(counts[position]))))
    part = np.zeros(len(sizes), np.int64)
    facts: dict = {}
    held_out: set[Hashable] = set()
    for index in range(len(names) - 1, 0, -1):
        wanted = request.shares[index] * len(replicates)
        free = [position for position in order if position not in held_out]
        sizes_left = {int(group): int(sizes[group]) for group in np.flatnonzero(part == 0)}
        held, members = _hold_out(free, mutated, sizes_left, wanted)
        part[members] = index
        held_out |= held
        only = sum(int(sizes[group]) for group in members if mutated[group] <= held)
        facts[f"positions_held_for_{names[index]}"] = len(held)
        facts[f"rows_of_{names[index]}_mutated_only_there"] = only
    if not (part == 0).any():
        raise InputError("every row mutates a held-out position; no row is left to train on")
    trained = set().union(*(mutated[group] for group in np.flatnonzero(part == 0)))
    facts["held_positions_mutated_in_train"] = len(trained & held_out)
    return Grouping(replicates, parts=part[replicates], facts=facts)


def _hold_out(
    order: Sequence[Hashable],
    mutated: Sequence[set[Hashable]],
    sizes: dict[int, int],
    wanted: float,
) -> tuple[set[Hashable], list[int]]:
    """Positions held out, and the groups (of those in `sizes`) that mutate any of them."""
    groups_at: dict[Hashable, list[int]] = {position: [] for position in order}
    for group in sizes:
        for position in mutated[group] & groups_at.keys():
            groups_at[position].append(group)
    rows_at = {position: sum(sizes[group] for group in groups_at[position]) for position in order}
    order = [position for position in order if rows_at[position]]
    if order and all(rows_at[position] > wanted * _OVERSHOOT for position in order):
        order = [min(order, key=lambda position: rows_at[position])]
        wanted = rows_at[order[0]]
    held: set[Hashable] = set()
    members: dict[int, None] = {}
    rows = 0
    for position in order:
        added = [group for group in groups_at[position] if group not in members]
        added_rows = sum(sizes[group] for group in added)
        if rows + added_rows <= wanted * _OVERSHOOT:
            held.add(position)
            members.update(dict.fromkeys(added))
            rows += added_rows
        if rows >= wanted:
            break
    return held, list(members)


KINDS: dict[str, Callable[[Request], Grouping]] = {
    "random": lambda request: Grouping(request.replicates),
    "antibody": lambda request: _joined(request, _antibody_groups(request)),
    "antigen": lambda request: _joined(request, _antigen_groups(request)),
    # rows are edges between antibody and antigen clusters; whole components travel, none is dropped
    "both": lambda request: _joined(request, _antigen_groups(request), _antibody_groups(request)),
    # test rows mutate positions that no training row mutates
    "position": _by_position,
    # few mutations to train on, many to test on
    "mutations": lambda request: Grouping(
        request.replicates,
        rank=np.array([len(mutated) for mutated in mutated_positions(request.measurements)], float),
    ),
    # the past to train on, the newest to test on
    "date": _by_date,
    "column": lambda request: _joined(
        request, renumber(map(str, row_labels(request.measurements, request.labels)))
    ),
}
