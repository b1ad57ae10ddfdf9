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
from paratope.data.splits.assignment import (
    assign_by_rank,
    assign_groups,
    part_names,
    size_notes,
)
from paratope.data.splits.clusters import renumber
from paratope.data.splits.kinds import KINDS, Request, SplitSettings, replicate_groups, row_labels
from paratope.data.splits.proof import prove
from paratope.data.tables import write_table

DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)
DEFAULT_SETTINGS = SplitSettings()
TIERS = {
    "random": "random",
    "unseen position": "position",
    "unseen antibody": "antibody",
    "unseen antigen": "antigen",
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Which part each measurement belongs to, and the proof of what crosses the cut.

    Attributes
    ----------
    assignment : np.ndarray, (rows,)
        ``"train"``, ``"validation"``, ``"test"``, the fold number, or the label given.
    groups : np.ndarray of int, (rows,)
        What was kept together.
    proof : dict
        JSON-ready; see docs/splits.md.
    """

    assignment: np.ndarray
    groups: np.ndarray
    proof: dict

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
    notes = [*grouping.notes, *size_notes(names, shares, parts, grouping.groups)]
    wanted = {str(name): round(float(share), 4) for name, share in zip(names, shares, strict=True)}
    facts = {"by": by, "seed": seed, "wanted": wanted, **grouping.facts, "notes": notes}
    return _proven(measurements, np.array(names)[parts], grouping.groups, settings, facts)


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
