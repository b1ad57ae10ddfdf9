"""Which of the measured values a campaign is about: pKd, a score, or the change of pKd."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from paratope.campaigns.campaign.campaign import Label
from paratope.core.errors import InputError
from paratope.data.measurements import Measurement, ParentValues
from paratope.molecules.sequences import Residues


class Labelled(NamedTuple):
    """The rows a campaign is made of, and the value of each."""

    label: Label
    rows: Sequence[Measurement]
    values: tuple[float, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()  # Rows that have no such value


def choose_label(measurements: Sequence[Measurement]) -> Labelled:
    """The value that all rows share: a pKd if they have one, else a score, else a ΔpKd.

    A ΔpKd becomes a pKd where the parent's is measured. Where none is, the values are the changes
    themselves, as scores, and each parent's is zero. Raises `InputError` if some rows have only a
    pKd and others only a score: no scale holds both.
    """
    parents = ParentValues()
    for row in measurements:
        parents.add(row)
    rows, disagreeing = [], {}
    for row in measurements:
        if row.pkd is None and row.delta_pkd is not None and (parent := row.parent) is not None:
            pkd, note = parents.median(parent, row.assay)
            if pkd is not None:
                row = dataclasses.replace(row, pkd=pkd + row.delta_pkd)
            if note:
                disagreeing[row.assay, parent.residues] = note
        rows.append(row)
    notes = tuple(disagreeing.values())
    with_pkd = [row for row in rows if row.pkd is not None]
    scored = [row for row in rows if row.score is not None]
    pkds = tuple(float(row.pkd) for row in rows if row.pkd is not None)
    if len(with_pkd) == len(rows):
        if scored:
            notes += (f"the scores of {len(scored)} rows are not used: every row has a pKd",)
        return Labelled("pkd", rows, pkds, notes)
    if len(scored) == len(rows):
        unused = (
            f"scores are learned, which every row has; the pKd of {len(with_pkd)} rows is not used "
            "(a table of those rows alone would give a model of pKd)"
        )
        scores = tuple(float(row.score) for row in rows if row.score is not None)
        return Labelled("score", rows, scores, (unused,) if with_pkd else ())
    if scored:
        only_score = [row for row in scored if row.pkd is None]
        parts = [_counted(with_pkd, "a pKd or Kd"), _counted(only_score, "only a score")]
        if other := len(rows) - len(only_score) - len(with_pkd):
            parts.append(f"{other} only a ΔΔG")
        raise InputError(
            f"mixed units: {', '.join(part for part in parts if part)}; no scale holds both. Adapt "
            "to one of them: name its column with --columns, such as --columns pkd=YOUR_COLUMN, "
            "and leave out the other rows"
        )
    if with_pkd:
        errors = tuple(
            f"row {row.pair.antibody.name!r}: a ΔΔG whose parent has no measured pKd, among rows "
            "that have a pKd; give it in a column 'parent_pkd', or measure the parent in a row of "
            "its own"
            for row in rows
            if row.pkd is None
        )
        return Labelled("pkd", with_pkd, pkds, notes, errors)
    return _changes(rows)


def _changes(rows: Sequence[Measurement]) -> Labelled:
    """Changes of pKd as scores; a parent differs from itself by nothing."""
    parents: dict[tuple[str, Residues], Measurement] = {}
    for row in rows:
        if row.parent is not None:
            same = Measurement(row.parent, delta_pkd=0.0, assay=row.assay)
            parents.setdefault((row.assay, row.parent.residues), same)
    for row in rows:
        parents.pop((row.assay, row.pair.residues), None)
    kept = [*rows, *parents.values()]
    note = (
        "no parent's pKd is known: the values are changes of pKd against the parent, and so are "
        "predictions (as score, above 0 stronger than the parent); a column 'parent_pkd' would "
        "give pKd"
    )
    return Labelled("score", kept, tuple(float(row.delta_pkd or 0.0) for row in kept), (note,))


def _counted(rows: Sequence[Measurement], what: str) -> str:
    if not rows:
        return ""
    assays = ", ".join(dict.fromkeys(repr(row.assay) for row in rows[:100]))
    first = rows[0].pair.antibody.name
    return f"{len(rows)} rows have {what} (assay {assays}; first {first!r})"
