"""The ways to split measurements, groupings of rows never cut, and where pairs are mutated."""

import dataclasses
import functools
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Literal

import numpy as np

from paratope.core.errors import InputError
from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import (
    antibody_clusters,
    antigen_clusters,
    join_groups,
    near_groups,
    renumber,
    same_molecule,
    single_linkage,
    strip_tags,
)
from paratope.molecules.sequences import Pair

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")
# A part may be this much larger than wanted before a position is passed over for another.
_OVERSHOOT = 1.1
# Chains that differ in at most this share of residues belong to one family.
_FAMILY_DISTANCE = 0.2


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
    antigens = same_molecule([strip_tags(pair.antigen).chains for pair in pairs])
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


def _joined(request: Request, *molecules: Literal["antigen", "antibody"]) -> Grouping:
    """Rows whose pair or parent lies in one cluster of the molecules stay together."""
    pairs, settings = _distinct_pairs(request.measurements), request.settings
    rows, groupings = len(request.measurements), [request.replicates]
    for molecule in molecules:
        if molecule == "antigen":
            antigens = [pair.antigen for pair in pairs]
            identity, coverage = settings.antigen_identity, settings.antigen_coverage
            clusters = antigen_clusters(antigens, identity, coverage)
        else:
            antibodies = [pair.antibody for pair in pairs]
            clusters = antibody_clusters(antibodies, settings.region, settings.antibody_identity)
        cluster_of = dict(zip(pairs, clusters.tolist(), strict=True))
        links = [
            (index, rows + cluster_of[pair])
            for index, row in enumerate(request.measurements)
            for pair in (row.pair, row.parent)
            if pair is not None
        ]
        count = rows + int(clusters.max()) + 1
        groupings.append(single_linkage(count, np.array(links).T)[:rows])
    return Grouping(join_groups(*groupings))


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
    "antibody": lambda request: _joined(request, "antibody"),
    "antigen": lambda request: _joined(request, "antigen"),
    # rows are edges between antibody and antigen clusters; whole components travel, none is dropped
    "both": lambda request: _joined(request, "antigen", "antibody"),
    # test rows mutate positions that no training row mutates
    "position": _by_position,
    # few mutations to train on, many to test on
    "mutations": lambda request: Grouping(
        request.replicates,
        rank=np.array([len(mutated) for mutated in mutated_positions(request.measurements)], float),
    ),
    # the past to train on, the newest to test on
    "date": _by_date,
    "column": lambda request: Grouping(
        join_groups(
            request.replicates, renumber(map(str, row_labels(request.measurements, request.labels)))
        )
    ),
}


# kinds that ask which antigen a row is of
BY_ANTIGEN = ("antigen", "both")


# where a measured pair differs from its parent, whatever the table says


def mutated_positions(measurements: Sequence[Measurement]) -> list[frozenset[Hashable]]:
    """Positions in which each pair differs from its parent: (role, parent chain, position from 0).

    The parent is the measurement's own; where it names none, the parent chain nearest to its chain,
    or else the consensus of the chains of the same length within 20 % of each other. A parent's set
    is empty.

    >>> from paratope.molecules.sequences import Antibody, Antigen
    >>> heavies = ("EVQLV", "EVQAV", "EVQLV")
    >>> rows = [Measurement(Pair(Antibody(h), Antigen(("MKV",))), 8.0) for h in heavies]
    >>> [len(positions) for positions in mutated_positions(rows)]
    [0, 1, 0]
    """
    pairs = [_chains(row.pair) for row in measurements]
    stated = [_chains(row.parent) for row in measurements]
    chains, parents = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for by_role, each_row in ((chains, pairs), (parents, stated)):
        for role, chain in itertools.chain.from_iterable(map(dict.items, each_row)):
            by_role[role].append(chain)
    references = {role: parent_chains(chains[role], parents[role]) for role in chains}
    differences_of = functools.cache(differences)  # of a parent and a chain, which many rows share
    return [
        frozenset(
            (role, parent, position)
            for role, chain in pair.items()
            for parent in [parent_pair.get(role, references[role][chain])]
            for position in differences_of(parent, chain)
        )
        for pair, parent_pair in zip(pairs, stated, strict=True)
    ]


def _chains(pair: Pair | None) -> dict[str, str]:
    """Chains by role; none without a pair."""
    if pair is None:
        return {}
    light = {} if pair.antibody.light is None else {"light": pair.antibody.light}
    antigen = {f"antigen{index}": chain for index, chain in enumerate(pair.antigen.chains)}
    return {"heavy": pair.antibody.heavy, **light, **antigen}


def differences(parent: str, chain: str) -> tuple[int, ...]:
    """Positions of `parent` (from 0) in which a chain differs; an insertion counts where it stands.

    Equal lengths are compared position by position, others by the fewest edits.

    >>> differences("ACDEF", "ACEEF"), differences("ACDEF", "ACEF")
    ((2,), (2,))
    """
    if len(parent) == len(chain):
        pairs = enumerate(zip(parent, chain, strict=True))
        return tuple(position for position, (before, after) in pairs if before != after)
    from rapidfuzz.distance import Levenshtein

    return tuple(sorted({edit.src_pos for edit in Levenshtein.editops(parent, chain)}))


def parent_chains(chains: Sequence[str], parents: Iterable[str] = ()) -> dict[str, str]:
    """The parent of each chain: a given parent within reach, or its family's consensus.

    >>> parent_chains(["AAAAAA", "AAAAAC", "AAAAGA", "WWWW"])["AAAAAC"]
    'AAAAAA'
    """
    parent_of: dict[str, str] = {}
    given = dict.fromkeys(parents)
    by_length: dict[int, list[str]] = defaultdict(list)
    rows = Counter(chains)
    for chain in rows:
        by_length[len(chain)].append(chain)
    for length, members in by_length.items():
        centres = [parent for parent in given if len(parent) == length]
        for index, (near, _) in enumerate(near_groups(members, _FAMILY_DISTANCE, centres)):
            family = [members[row] for row in near]
            measured = [chain for chain in family for _ in range(rows[chain])]
            parent = centres[index] if index < len(centres) else consensus(measured)
            parent_of.update(dict.fromkeys(family, parent))
    return parent_of


def consensus(chains: Sequence[str]) -> str:
    """Most frequent residue of each position of equally long chains; ties go to the first letter.

    >>> consensus(["ACD", "ACE", "GCE"])
    'ACE'
    """
    columns = (Counter(sorted(column)) for column in zip(*chains, strict=True))
    return "".join(counts.most_common(1)[0][0] for counts in columns)
