"""Which of the measured values a campaign is about: pKd, a score, or the change of pKd."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from paratope.campaigns.campaign.campaign import Label
from paratope.core.errors import InputError
from paratope.data.measurements import Measurement, ParentValues
from paratope.molecules.sequences import Pair

Key = tuple[tuple[str, ...], tuple[str, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Labelled:
    """The rows a campaign is made of, and the value of each."""

    label: Label  # {"pkd", "score"}
    rows: tuple[Measurement, ...]
    values: tuple[float, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # Rows that have no such value


def pair_key(pair: Pair) -> Key:
    """What makes two pairs the same: their residues, not their names."""
    return pair.residues


def choose_label(measurements: Sequence[Measurement]) -> Labelled:
    """The value that all rows share: a pKd if they have one, else a score, else a ΔpKd.

    A ΔpKd becomes a pKd where the parent's is measured. Where none is, the values are the changes
    themselves, as scores, and each parent's is zero.

    Parameters
    ----------
    measurements : sequence of Measurement
        At least one.

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        If some rows have only a pKd and others only a score: no scale holds both.
    """
    rows, notes = _with_parents_pkd(measurements)
    have = Counter(
        name
        for row in rows
        for name in ("pkd", "score", "delta_pkd")
        if getattr(row, name) is not None
    )
    if have["pkd"] == len(rows):
        unused = f"the scores of {have['score']} rows are not used: every row has a pKd"
        return _labelled(rows, "pkd", (*notes, unused) if have["score"] else tuple(notes))
    if have["score"] == len(rows):
        unused = (
            f"scores are learned, which every row has; the pKd of {have['pkd']} rows is not used "
            "(a table of those rows alone would give a model of pKd)"
        )
        return _labelled(rows, "score", (unused,) if have["pkd"] else ())
    if have["score"]:
        raise InputError(_mixed(rows))
    if have["pkd"]:
        left = [row for row in rows if row.pkd is None]
        kept = [row for row in rows if row.pkd is not None]
        errors = tuple(f"row {row.pair.antibody.name!r}: {_NO_PARENT_PKD}" for row in left)
        return dataclasses.replace(_labelled(kept, "pkd", tuple(notes)), left_out=errors)
    return _changes(rows)


_NO_PARENT_PKD = (
    "a ΔΔG whose parent has no measured pKd, among rows that have a pKd; give it in a column "
    "'parent_pkd', or measure the parent in a row of its own"
)


def _labelled(rows: Sequence[Measurement], name: Label, notes: tuple[str, ...] = ()) -> Labelled:
    return Labelled(name, tuple(rows), tuple(float(getattr(row, name)) for row in rows), notes)


def _with_parents_pkd(measurements: Sequence[Measurement]) -> tuple[list[Measurement], list[str]]:
    """ΔpKd added to the parent's pKd, and notes."""
    parents = ParentValues()
    for row in measurements:
        parents.add(row)
    rows, notes = [], {}
    for row in measurements:
        if row.pkd is None and row.delta_pkd is not None and (parent := row.parent) is not None:
            pkd, note = parents.median(parent, row.assay)
            if pkd is not None:
                row = dataclasses.replace(row, pkd=pkd + row.delta_pkd)
            if note:
                notes[row.assay, parent.residues] = note
        rows.append(row)
    return rows, list(notes.values())


def _changes(rows: Sequence[Measurement]) -> Labelled:
    """Changes of pKd as scores; a parent differs from itself by nothing."""
    parents: dict[tuple[str, Key], Measurement] = {}
    for row in rows:
        if row.parent is not None:
            same = Measurement(row.parent, delta_pkd=0.0, assay=row.assay)
            parents.setdefault((row.assay, pair_key(row.parent)), same)
    for row in rows:
        parents.pop((row.assay, pair_key(row.pair)), None)
    kept = [*rows, *parents.values()]
    note = (
        "no parent's pKd is known: the values are changes of pKd against the parent, and so are "
        "predictions (as score, above 0 stronger than the parent); a column 'parent_pkd' would "
        "give pKd"
    )
    values = tuple(float(row.delta_pkd or 0.0) for row in kept)
    return Labelled("score", tuple(kept), values, (note,))


def _mixed(rows: Sequence[Measurement]) -> str:
    only_score = [row for row in rows if row.score is not None and row.pkd is None]
    with_pkd = [row for row in rows if row.pkd is not None]
    other = len(rows) - len(only_score) - len(with_pkd)
    parts = [_some(with_pkd, "a pKd or Kd"), _some(only_score, "only a score")]
    if other:
        parts.append(f"{other} only a ΔΔG")
    return (
        f"mixed units: {', '.join(part for part in parts if part)}; no scale holds both. Adapt to "
        "one of them: name its column with --columns, such as --columns pkd=YOUR_COLUMN, and "
        "leave out the other rows"
    )


def _some(rows: Sequence[Measurement], what: str) -> str:
    if not rows:
        return ""
    assays = ", ".join(dict.fromkeys(repr(row.assay) for row in rows[:100]))
    first = rows[0].pair.antibody.name
    return f"{len(rows)} rows have {what} (assay {assays}; first {first!r})"
