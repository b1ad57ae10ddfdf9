"""The ways to split measurements; each is a grouping of rows that is never cut."""

import dataclasses
import re
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.data.splits.antibodies import antibody_clusters
from paratope.data.splits.clusters import antigen_clusters, renumbered
from paratope.data.splits.families import mutated_positions
from paratope.data.splits.groups import distinct_pairs, joined, row_groups

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
# A part may be this much larger than wanted before a position is passed over for another.
_OVERSHOOT = 1.1


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to group; recorded in the proof.

    Attributes
    ----------
    antigen_identity, antigen_coverage : float
        Thresholds of `antigen_clusters`.
    antibody_identity : float
        Threshold of `antibody_clusters`.
    region : str
        ``"cdr3"``, ``"cdrs"`` or ``"variable"``.
    """

    antigen_identity: float = 0.3
    antigen_coverage: float = 0.5
    antibody_identity: float = 0.8
    region: str = "cdr3"


@dataclasses.dataclass(frozen=True)
class Task:
    """What a kind of split is given: the rows, what must stay together, the wanted parts."""

    measurements: Sequence[Measurement]
    together: np.ndarray
    names: tuple[str, ...] | tuple[int, ...]
    shares: np.ndarray
    seed: int
    settings: Settings
    labels: Sequence[str] | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a kind of split asks for.

    Attributes
    ----------
    groups : np.ndarray of int, (rows,)
        Never cut.
    rank : np.ndarray of float, (rows,), optional
        Low ranks go to the first part.
    parts : np.ndarray of int, (rows,), optional
        The part of each row, where the kind decides it.
    notes : tuple of str
    facts : dict
        For the proof.
    """

    groups: np.ndarray
    rank: np.ndarray | None = None
    parts: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    facts: dict = dataclasses.field(default_factory=dict)


def _by_random(task: Task) -> Plan:
    return Plan(task.together)


def _by_antigen(task: Task) -> Plan:
    return Plan(joined(task.together, _antigen_groups(task)))


def _by_antibody(task: Task) -> Plan:
    return Plan(joined(task.together, _antibody_groups(task)))


def _by_both(task: Task) -> Plan:
    # rows are edges between antibody and antigen clusters; whole components travel, none is dropped
    return Plan(joined(task.together, _antigen_groups(task), _antibody_groups(task)))


def _antigen_groups(task: Task) -> np.ndarray:
    pairs = distinct_pairs(task.measurements)
    identity, coverage = task.settings.antigen_identity, task.settings.antigen_coverage
    labels = antigen_clusters([pair.antigen for pair in pairs], identity, coverage)
    return row_groups(task.measurements, pairs, labels)


def _antibody_groups(task: Task) -> np.ndarray:
    pairs = distinct_pairs(task.measurements)
    region, identity = task.settings.region, task.settings.antibody_identity
    labels = antibody_clusters([pair.antibody for pair in pairs], region, identity)
    return row_groups(task.measurements, pairs, labels)


def _by_mutations(task: Task) -> Plan:
    counts = np.array([len(found) for found in mutated_positions(task.measurements)], float)
    return Plan(task.together, rank=counts)


def _by_date(task: Task) -> Plan:
    dates = [row.origin.date for row in task.measurements]
    wrong = next((date for date in dates if date and not _DATE.fullmatch(date)), None)
    if wrong is not None:
        raise InputError(f"dates must be YYYY, YYYY-MM or YYYY-MM-DD, got {wrong!r}")
    if not any(dates):
        raise InputError(
            "no row has a date; a split by date needs a column 'date' with dates such as 2024-05-31"
        )
    order = {date: place for place, date in enumerate(sorted(set(dates)))}
    undated = dates.count("")
    notes = (f"{undated} rows without a date count as the oldest",) if undated else ()
    return Plan(task.together, rank=np.array([order[date] for date in dates], float), notes=notes)


def _by_column(task: Task) -> Plan:
    labels = task.labels
    if labels is None:
        folds = [row.origin.fold for row in task.measurements]
        if any(fold is None for fold in folds):
            raise InputError("a split by column needs a label for every row")
        labels = [str(fold) for fold in folds]
    if len(labels) != len(task.measurements):
        raise InputError(f"{len(labels)} labels for {len(task.measurements)} measurements")
    return Plan(joined(task.together, renumbered(labels)))


def _by_position(task: Task) -> Plan:
    touched = _group_positions(task)
    everything = sorted({place for places in touched for place in places}, key=repr)
    if not everything:
        raise InputError("no row differs from its parent, so there are no mutated positions")
    if isinstance(task.names[0], int):
        return Plan(joined(task.together, _sharing_positions(task, touched)))
    rng = np.random.default_rng(task.seed)
    order = [everything[place] for place in rng.permutation(len(everything))]
    # positions mutated on their own come first: rows mutated elsewhere too say less about them
    typical = _typical_mutations(touched)
    order.sort(key=lambda place: int(np.log2(typical[place])))
    sizes = np.bincount(task.together)
    part = np.zeros(len(sizes), np.int64)
    facts: dict = {}
    taken: set[Hashable] = set()
    for number in range(len(task.shares) - 1, 0, -1):
        wanted = task.shares[number] * len(task.together)
        left = [place for place in order if place not in taken]
        held, members = _hold_out(left, touched, sizes, wanted, part)
        part[members] = number
        taken |= held
        only = sum(int(sizes[group]) for group in members if touched[group] <= held)
        name = task.names[number]
        facts[f"positions_held_for_{name}"] = len(held)
        facts[f"rows_of_{name}_mutated_only_there"] = only
    if not (part == 0).any():
        raise InputError("every row mutates a held-out position; no row is left to train on")
    seen = {place for group in np.flatnonzero(part == 0) for place in touched[group]}
    facts["held_positions_mutated_in_train"] = len(seen & taken)
    return Plan(task.together, parts=part[task.together], facts=facts)


def _group_positions(task: Task) -> list[set[Hashable]]:
    touched: list[set[Hashable]] = [set() for _ in range(int(task.together.max()) + 1)]
    for group, places in zip(task.together, mutated_positions(task.measurements), strict=True):
        touched[group] |= places
    return touched


def _typical_mutations(touched: list[set[Hashable]]) -> dict[Hashable, float]:
    """For each position how many positions a group that mutates it mutates: the median."""
    counts: dict[Hashable, list[int]] = {}
    for places in touched:
        for place in places:
            counts.setdefault(place, []).append(len(places))
    return {place: float(np.median(found)) for place, found in counts.items()}


def _sharing_positions(task: Task, touched: list[set[Hashable]]) -> np.ndarray:
    """Groups of rows connected by positions they share; rows without mutations stand alone."""
    first: dict[Hashable, int] = {}
    together = task.together
    for group, places in enumerate(touched):
        low = min([first.get(place, group) for place in places], default=group)
        merged = {first[place] for place in places if place in first} | {group}
        moved = np.isin(together, list(merged))
        together = np.where(moved, low, together)
        first = {place: low if owner in merged else owner for place, owner in first.items()}
        first.update(dict.fromkeys(places, low))
    return renumbered(together)


def _hold_out(
    order: Sequence[Hashable],
    touched: list[set[Hashable]],
    sizes: np.ndarray,
    wanted: float,
    part: np.ndarray,
) -> tuple[set[Hashable], list[int]]:
    """Positions held out, and the free groups that mutate any of them: about `wanted` rows."""
    at: dict[Hashable, list[int]] = {place: [] for place in order}
    for group, places in enumerate(touched):
        for place in places:
            if place in at and part[group] == 0:
                at[place].append(group)
    held: set[Hashable] = set()
    members: dict[int, None] = {}
    count = 0
    gains = {place: int(sum(sizes[group] for group in at[place])) for place in order}
    order = [place for place in order if gains[place]]
    if order and all(gains[place] > wanted * _OVERSHOOT for place in order):
        order = [min(order, key=lambda place: gains[place])]
        wanted = gains[order[0]]
    for place in order:
        new = [group for group in at[place] if group not in members]
        gain = int(sum(sizes[group] for group in new))
        if count + gain > wanted * _OVERSHOOT:
            continue
        held.add(place)
        members.update(dict.fromkeys(new))
        count += gain
        if count >= wanted:
            break
    return held, list(members)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to split: what it is good for, and its plan."""

    summary: str
    plan: Callable[[Task], Plan]


KINDS: dict[str, Kind] = {
    "random": Kind("rows at random; only one thing measured twice stays together", _by_random),
    "antibody": Kind("antibodies of similar CDRs stay together", _by_antibody),
    "antigen": Kind("antigens of one family stay together", _by_antigen),
    "both": Kind("antibody and antigen clusters stay together", _by_both),
    "position": Kind("test rows mutate positions that no training row mutates", _by_position),
    "mutations": Kind("few mutations to train on, many to test on", _by_mutations),
    "date": Kind("the past to train on, the newest to test on", _by_date),
    "column": Kind("rows of one label stay together", _by_column),
}
