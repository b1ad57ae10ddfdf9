"""Splitting measurements: groups, parts, and the proof beside them."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from paratope.core.errors import InputError, unknown_name
from paratope.core.files import write_json
from paratope.data.measurements import Measurement
from paratope.data.splits.clusters import renumber
from paratope.data.splits.kinds import KINDS, Request, SplitSettings, replicate_groups, row_labels
from paratope.data.splits.proof import prove
from paratope.data.tables import write_table

PART_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}
DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)
DEFAULT_SETTINGS = SplitSettings()
# A part this far (as a share of all rows) from its wanted size is remarked on.
_TOLERANCE = 0.02
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
        Two (train, test) or three (train, validation, test) shares of the rows; 0.8, 0.1, 0.1 by
        default.
    folds : int, optional
        Number of equal folds instead of fractions.
    seed : int
        Same rows, settings and seed: same split.
    settings : SplitSettings
        How antibodies and antigens are grouped.
    labels : sequence of str, optional
        For ``by="column"``: a label for every row; the source's own folds by default. Without
        fractions and folds the labels are the parts as they are.

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If the kind, the shares or a threshold is wrong, or the rows do not form enough groups.

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
    if labels is not None and by != "column":
        raise InputError(f"labels are for a split by column, not by {by}")
    if fractions is None and folds is None:
        if by == "column":
            return _as_given(measurements, labels, settings)
        fractions = DEFAULT_FRACTIONS
    names, shares = part_names(fractions, folds)
    replicates = replicate_groups(measurements)
    request = Request(measurements, replicates, names, shares, seed, settings, labels)
    grouping = KINDS[by](request)
    if grouping.parts is not None:
        parts = grouping.parts
    elif grouping.rank is not None:
        parts = assign_by_rank(grouping.groups, grouping.rank, shares)
    else:
        parts = assign_groups(grouping.groups, shares, seed)
    notes = [*grouping.notes, *_size_notes(names, shares, parts, grouping.groups)]
    wanted = {str(name): round(float(share), 4) for name, share in zip(names, shares, strict=True)}
    facts = {"by": by, "seed": seed, "wanted": wanted, **grouping.facts, "notes": notes}
    return _proven(measurements, np.array(names)[parts], grouping.groups, settings, facts)


def part_names(
    fractions: Sequence[float] | None, folds: int | None
) -> tuple[tuple[str, ...] | tuple[int, ...], np.ndarray]:
    """Names of the parts and the share of rows each is to get.

    Parameters
    ----------
    fractions : sequence of float, optional
        Two (train, test) or three (train, validation, test) positive numbers that sum to 1.
    folds : int, optional
        Number of equal folds, at least 2; their names are 0, 1, ...

    Returns
    -------
    names : tuple of str or of int
    shares : np.ndarray of float, (parts,)

    Raises
    ------
    InputError
        If both or neither are given, or they are out of range.

    Examples
    --------
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
    if len(shares) not in PART_NAMES or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(
            "fractions are two (train, test) or three (train, validation, test) positive numbers "
            f"that sum to 1, got {tuple(map(float, shares))}"
        )
    return PART_NAMES[len(shares)], shares / shares.sum()


def assign_groups(groups: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Assign whole groups to parts: large groups first, each to the part that lacks most rows.

    Parameters
    ----------
    groups : np.ndarray of int, (rows,)
        Group of each row, 0 to groups - 1.
    shares : np.ndarray of float, (parts,)
        Wanted share of rows of each part.
    seed : int
        Orders groups of similar size.

    Returns
    -------
    np.ndarray of int, (rows,)
        Part of each row. Every part gets at least one group.

    Raises
    ------
    InputError
        If there are fewer groups than parts.

    Examples
    --------
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
        if not counts[part]:
            spare = np.flatnonzero(counts[part_of_group] > 1)
            part_of_group[spare[np.argmin(sizes[spare])]] = part
    return part_of_group[groups]


def assign_by_rank(groups: np.ndarray, rank: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Assign groups to parts by rank, lowest to the first part; groups of one rank are never cut.

    Parameters
    ----------
    groups : np.ndarray of int, (rows,)
    rank : np.ndarray of float, (rows,)
        A group stands at its highest rank.
    shares : np.ndarray of float, (parts,)

    Returns
    -------
    np.ndarray of int, (rows,)
        Part of each row; no rank of an earlier part exceeds a group's rank of a later one.

    Raises
    ------
    InputError
        If there are fewer distinct ranks than parts.

    Examples
    --------
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
    wanted = np.cumsum(shares)[:-1] * len(groups)
    # the cut after the value that comes nearest, leaving at least one value to every part
    cuts: list[int] = []
    for index, rows in enumerate(wanted):
        low = cuts[-1] + 1 if cuts else 0
        high = len(values) - (len(wanted) - index)
        cuts.append(low + int(np.argmin(np.abs(reached[low:high] - rows))))
    return np.searchsorted(np.array(cuts), np.arange(len(values)), side="left")[value_of]


def _size_notes(
    names: Sequence[object], shares: np.ndarray, parts: np.ndarray, groups: np.ndarray
) -> list[str]:
    """Remarks on parts that could not get their wanted size because groups are not cut."""
    got = np.bincount(parts, minlength=len(shares)) / len(parts)
    if (np.abs(got - shares) <= _TOLERANCE).all():
        return []
    largest = int(np.bincount(groups).max())
    sizes = ", ".join(
        f"{name} {share:.1%} (wanted {wanted:.1%})"
        for name, share, wanted in zip(names, got, shares, strict=True)
    )
    return [
        f"groups are not cut, so the parts are {sizes}; the largest group holds {largest} of "
        f"{len(parts)} rows"
    ]


def _as_given(
    measurements: Sequence[Measurement], labels: Sequence[str] | None, settings: SplitSettings
) -> Split:
    """Parts that somebody else chose; the proof says what they leak."""
    assignment = np.array(row_labels(measurements, labels))
    if labels is not None:
        blank = next((row for row, label in enumerate(labels) if not str(label).strip()), None)
        if blank is not None:
            raise InputError(f"row {blank + 1} has no label to split by")
        assignment = assignment.astype(str)
    notes = ["the parts are as given; nothing was moved to keep groups whole"]
    groups = renumber(assignment.tolist())
    return _proven(measurements, assignment, groups, settings, {"by": "column", "notes": notes})


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


def tiers(
    measurements: Sequence[Measurement],
    seed: int = 0,
    *,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
) -> dict[str, Split]:
    """Splits of growing difficulty for one report.

    Parameters
    ----------
    measurements : sequence of Measurement
    seed : int
    fractions : sequence of float

    Returns
    -------
    dict of str to Split
        ``"random"``, ``"unseen position"``, ``"unseen antibody"``, ``"unseen antigen"``, in this
        order. A tier the rows do not allow (one antigen, no mutants) is absent, and every proof
        names it with the reason under ``"tiers_impossible"``.

    Raises
    ------
    InputError
        If not even a random split is possible.
    """
    splits: dict[str, Split] = {}
    impossible: dict[str, str] = {}
    for tier, kind in TIERS.items():
        try:
            splits[tier] = split_measurements(
                measurements,
                by=kind,
                fractions=fractions,
                seed=seed,
                settings=SplitSettings(region="cdrs"),
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
    """Write ``split.csv`` (the input's columns and ``split``) and ``proof.json``.

    Parameters
    ----------
    frame : polars.DataFrame
        The table as read.
    split : Split
    folder : path
        Made if it is not there.
    rows : sequence of int, optional
        Row of the frame of each measurement, where some rows hold none; those get no part.
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

    Parameters
    ----------
    frame : polars.DataFrame
        The table as read.
    splits : dict of str to Split
        From `tiers`.
    folder : path
        Made if it is not there. The tier "unseen antigen" goes to ``unseen-antigen``; ``tiers.csv``
        holds the table once for each tier, with the columns ``tier`` and ``split``.
    rows : sequence of int, optional
        Row of the frame of each measurement, where some rows hold none; those are left out.
    """
    stacked = []
    for tier, split in splits.items():
        write_split(frame, split, Path(folder) / tier.replace(" ", "-"), rows)
        kept = frame if rows is None else frame[list(rows)]
        stacked.append(
            kept.with_columns(
                pl.lit(tier).alias("tier"),
                pl.Series("split", [str(part) for part in split.assignment], dtype=pl.String),
            )
        )
    write_table(pl.concat(stacked), Path(folder) / "tiers.csv")
