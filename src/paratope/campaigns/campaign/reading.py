"""From a table or measurements to a campaign: which values it is about, and what is odd in them."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from paratope.campaigns.campaign.campaign import UNKNOWN_ANTIGEN, Campaign, Label
from paratope.campaigns.campaign.parents import find_parents
from paratope.campaigns.campaign.replicates import merge
from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, unknown_name
from paratope.core.units import LARGEST
from paratope.data.audit import audit_notes
from paratope.data.measurements import Measurement, ParentValues, bound_non_binders
from paratope.data.tables import InputTable, read_antigens, read_table, table_from_frame
from paratope.data.tables.rows import REPEATED_ID
from paratope.molecules.mutations import apply_mutations, mutations_between, parse_mutations
from paratope.molecules.numbering import find_domains
from paratope.molecules.sequences import Antibody, Pair, Residues

# A substitution in anybody's numbers: chain, residue, number, residue.
_SUBSTITUTION = re.compile(r"\w+:([A-Z])-?\d+[A-Za-z]?([A-Z])")


# So many interquartile ranges from the median lies no value of one scale.
_FAR, _LEAST_FOR_OUTLIERS = 1e3, 5


def campaign_of(
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    antigens: Any = None,
    assay: str | None = None,
) -> Campaign:
    """The campaign that a table (see `paratope.data.tables`), or measurements, describe.

    The table may be a path, a DataFrame or an `InputTable`, or several of them (plates of one
    assay, unless a column ``assay`` says otherwise), and lack the antigen: `antigens` (a FASTA
    file, or one Antigen in a sequence) is that of all rows. Predictions are on the scale of
    `assay`, by default the one with the most rows. Raises `InputError` if nothing can be learned
    (no readable row, mixed units, only bounds), or if no row is of the assay named.

    >>> from paratope.data.datasets.simulated import simulate
    >>> rows = simulate(antibodies=30, antigens=1, seed=1).measurements
    >>> campaign = campaign_of(rows)
    >>> len(campaign), campaign.label, len(campaign.antigens)
    (30, 'pkd', 1)
    """
    measurements, notes, left_out = _measurements(source, columns, antigens)
    total = len(measurements) + len(left_out)
    measurements, more = _with_one_antigen(measurements)
    labelled = choose_label(measurements)
    censoring = [row.censoring for row in labelled.rows]
    if Censoring.EXACT not in censoring:
        bounds = Counter(zip(labelled.values, censoring, strict=True)).most_common(3)
        said = ", ".join(
            f"{count} {side.name.lower().replace('_', ' ')} {value:g}"
            for (value, side), count in bounds
        )
        raise InputError(
            f"all {len(censoring)} values are bounds ({said}): no row says how strong anything "
            "binds, so there is no scale to learn; measure at least one variant inside the assay's "
            "range, or rank with the default model: paratope predict"
        )
    merged = merge(
        [row.pair.residues for row in labelled.rows],
        [row.assay for row in labelled.rows],
        labelled.values,
        censoring,
        log10=labelled.label == "pkd",
    )
    rows = [labelled.rows[index] for index in merged.first]
    counts = Counter(row.assay for row in rows)
    if assay is not None and assay not in counts:
        raise InputError(unknown_name("assay", assay, counts))
    names = tuple(sorted(counts, key=lambda name: (name != assay, -counts[name])))
    assay_index = np.array([names.index(row.assay) for row in rows])
    parents, parent_notes = find_parents(labelled.rows)
    pairs = tuple(row.pair for row in rows)
    left_out = (*left_out, *labelled.left_out)
    unusable = [
        f"{len(left_out)} of {total} rows are left out; first: {reason}" for reason in left_out
    ]
    all_notes = (
        *notes,
        *more,
        *labelled.notes,
        *unusable[:1],
        *_domain_notes(pairs),
        *merged.notes,
        *parent_notes,
        *_mutation_notes(labelled.rows),
        *_overlap_notes(pairs, assay_index, names),
        *_outlier_notes(rows, merged.values),
        *_poverty_notes(merged.values, merged.censoring, assay_index, names),
    )
    return Campaign(
        pairs,
        merged.values,
        labelled.label,
        merged.censoring,
        assay_index,
        names,
        merged.replicates,
        merged.noise_sd,
        parents,
        tuple(dict.fromkeys(all_notes)),
        left_out,
    )


def _measurements(
    source: Any, columns: Mapping[str, str] | None, antigens: Any
) -> tuple[list[Measurement], tuple[str, ...], tuple[str, ...]]:
    """Measurements, notes on the table, and errors of the rows that have none."""
    if isinstance(source, Sequence) and not isinstance(source, str):
        kinds = (str, os.PathLike, InputTable)
        if source and all(isinstance(each, kinds) or hasattr(each, "columns") for each in source):
            return _plates(source, columns, antigens)
    if isinstance(source, str) or not isinstance(source, InputTable | Sequence):
        if isinstance(antigens, str) or not isinstance(antigens, Sequence | None):
            antigens = read_antigens(antigens)
        if antigens is not None and len(antigens) != 1:
            raise InputError(
                f"{len(antigens)} antigens given for all rows; expected one, or a column 'antigen' "
                "that says which row is of which"
            )
        options: dict[str, Any] = {"columns": columns, "antigens": antigens, "require": "measured"}
        is_file = isinstance(source, str | os.PathLike) or hasattr(source, "read")
        read: Any = read_table if is_file else table_from_frame
        source = read(source, default_antigen=UNKNOWN_ANTIGEN, **options)
    if isinstance(source, InputTable):
        bad = tuple(row.error or f"row {row.id!r}: no measured value" for row in source.failed)
        rows = list(source.measurements)
        _check_size(rows)
        notes = (*source.notes, *_row_notes(source), *audit_notes(source))
    else:
        if not all(isinstance(row, Measurement) for row in source):
            raise InputError(
                "a campaign is made of a table, or of Measurement objects; got a sequence of "
                f"{type(next(iter(source))).__name__}"
            )
        _check_size(source)
        rows = bound_non_binders(list(source))
        bad = tuple(
            f"row {row.pair.antibody.name!r}: no binding, and nothing measured to bound it by"
            for row in rows
            if row.pkd is None and row.delta_pkd is None and row.score is None
        )
        notes = audit_notes(rows)
        rows = [row for row in rows if (row.pkd, row.delta_pkd, row.score) != (None, None, None)]
    if not rows:
        first = f"; first error: {bad[0]}" if bad else ""
        raise InputError(f"no measurement can be used, of {len(bad)} rows{first}")
    return rows, notes, bad


def _plates(
    sources: Sequence[Any], columns: Mapping[str, str] | None, antigens: Any
) -> tuple[list[Measurement], tuple[str, ...], tuple[str, ...]]:
    """As `_measurements`, of several tables: plates of one assay, unless a column says which.

    A later plate was chosen to be better, so its values are not brought to the scale of the first;
    variants on several plates tell whether they agree.
    """
    plates = [_measurements(each, columns, antigens) for each in sources]
    files = [str(each) if isinstance(each, str | os.PathLike) else "table" for each in sources]
    stems = [os.path.basename(name).split(".")[0] for name in files]  # an assay's name without one
    named = [{row.assay for row in rows} for rows, _, _ in plates]
    notes = [note for _, said, _ in plates for note in said]
    bad = tuple(error for _, _, errors in plates for error in errors)
    if any(names != {stem} for names, stem in zip(named, stems, strict=True)):
        notes.append(f"{len(plates)} tables joined, their assays kept")
        return [row for rows, _, _ in plates for row in rows], tuple(notes), bad
    joined = " and ".join(stems)
    values: list[dict[Any, float]] = []
    for rows, _, _ in plates:
        exact = [row for row in rows if row.censoring is Censoring.EXACT]
        valued = ((row, row.pkd if row.pkd is not None else row.score) for row in exact)
        values.append({row.pair.residues: value for row, value in valued if value is not None})
    shifts = [
        later[key] - values[0][key] for later in values[1:] for key in later.keys() & values[0]
    ]
    said = f"{len(plates)} tables ({joined}) joined as plates of one assay"
    if shifts:
        said += (
            f"; {len(shifts)} variants on both differ by {float(np.mean(shifts)):+.2g} on average"
        )
    notes.append(f"{said}. Where their values do not compare, name assays in a column 'assay'")
    rows = [dataclasses.replace(row, assay=joined) for plate, _, _ in plates for row in plate]
    return rows, tuple(notes), bad


def _row_notes(table: InputTable) -> Iterator[str]:
    """What was said of rows, each with how many; ids of replicates are repeated rightly."""
    counts: Counter[str] = Counter()
    named: dict[str, set[tuple[str, ...]]] = {}
    for row in table.rows:
        counts.update(note for note in row.notes if REPEATED_ID not in note)
        if row.pair is not None:
            named.setdefault(row.id, set()).add(row.pair.antibody.chains)
    yield from (f"{note} ({count} row{'s' * (count > 1)})" for note, count in counts.items())
    shared = [name for name, antibodies in named.items() if len(antibodies) > 1]
    if shared:
        yield (
            f"{len(shared)} id{'s stand' if len(shared) > 1 else ' stands'} for several antibodies "
            f"(first {shared[0]!r}); sequences are believed, ids are not"
        )


def _with_one_antigen(
    measurements: list[Measurement],
) -> tuple[list[Measurement], tuple[str, ...]]:
    """Rows without an antigen get the one that the others name, if it is one."""
    known = {row.pair.antigen.chains: row.pair.antigen for row in reversed(measurements)}
    known.pop(UNKNOWN_ANTIGEN.chains, None)  # of the others, the first of each name
    missing = sum(row.pair.antigen.chains not in known for row in measurements)
    if not missing or not known:
        return measurements, ()
    if len(known) > 1:
        return measurements, (
            f"{missing} rows name no antigen where others name {len(known)}: they are taken for "
            "rows of one more antigen",
        )
    (antigen,) = known.values()
    filled = [
        row
        if row.pair.antigen.chains in known
        else dataclasses.replace(row, pair=Pair(row.pair.antibody, antigen))
        for row in measurements
    ]
    return filled, (f"{missing} rows name no antigen: read as the one that the others name",)


def _domain_notes(pairs: Sequence[Pair]) -> Iterator[str]:
    """Antibodies with a chain that has no IMGT numbers."""
    chains = dict.fromkeys(chain for pair in pairs for chain in pair.antibody.chains)
    strange = {chain for chain in chains if not find_domains(chain)}
    named = [p.antibody.name for p in pairs if not strange.isdisjoint(p.antibody.chains)]
    if named:
        yield (
            f"{len(named)} rows have a chain that is no antibody domain (first {named[0]!r}): its "
            "residues are counted from 1 and compared with such chains alone, not by IMGT number"
        )


def _mutation_notes(rows: Sequence[Measurement]) -> Iterator[str]:
    """Whether the mutations a row names lead from its parent to its sequence."""
    wrong = []
    for row in rows:
        text = ",".join(row.origin.mutations)
        if row.parent is None or ":" not in text or _other_numbers(text, row.parent, row.pair):
            continue
        parent, problem = row.parent.antibody, None
        try:
            made = apply_mutations(parent, parse_mutations(text, parent))
            if Antibody(made.heavy, made.light).chains != row.pair.antibody.chains:
                problem = f"{text} does not lead from its parent {parent.name!r} to its sequence"
        except InputError as error:
            problem = error
        if problem:
            wrong.append(f"row {row.pair.antibody.name!r}: {problem}")
    if wrong:
        yield (
            f"wrong parent or mutations in {len(wrong)} rows (the sequences are believed); first: "
            f"{wrong[0]}"
        )


def _other_numbers(text: str, parent: Pair, variant: Pair) -> bool:
    """Whether mutations fit but for their numbers, such as those of a structure's residues."""
    named = [_SUBSTITUTION.fullmatch(part.strip()) for part in text.split(",")]
    if None in named:
        return False
    try:
        made = mutations_between(parent, variant)
    except InputError:
        return False
    letters = Counter((mutation.before, mutation.after) for mutation in made)
    return letters == Counter(match.groups() for match in named if match is not None)


def _overlap_notes(
    pairs: Sequence[Pair], assay: np.ndarray, names: tuple[str, ...]
) -> Iterator[str]:
    """Assays that no shared variant links to the first."""
    assays_of: dict[object, set[int]] = {}
    for pair, number in zip(pairs, assay.tolist(), strict=True):
        assays_of.setdefault(pair.residues, set()).add(number)
    linked, more = set[int](), {0}
    while not more <= linked:
        linked |= more
        more = {number for group in assays_of.values() if group & linked for number in group}
    apart = [name for number, name in enumerate(names) if number not in linked]
    if apart:
        listed = ", ".join(map(repr, apart[:5])) + " …" * (len(apart) > 5)
        yield (
            f"assay{'s' * (len(apart) > 1)} {listed}: no variant was also measured in "
            f"{names[0]!r}, so the offset between them rests on their similar variants alone; "
            "measuring two or three variants in both would fix it"
        )


def _check_size(rows: Sequence[Measurement]) -> None:
    """Raise `InputError` for scores whose squares are no numbers."""
    huge = [row for row in rows if row.score is not None and not abs(row.score) <= LARGEST]
    if huge:
        raise InputError(
            f"{len(huge)} of {len(rows)} values are beyond ±{LARGEST:g} (first: row "
            f"{huge[0].pair.antibody.name!r}, {huge[0].score:g}): leave them out, or give "
            "logarithms"
        )


def _outlier_notes(rows: Sequence[Measurement], values: np.ndarray) -> Iterator[str]:
    """Values so far from the others that the scale between them means nothing."""
    low, middle, high = np.quantile(np.unique(values), (0.25, 0.5, 0.75))
    far = np.flatnonzero(np.abs(values - middle) > _FAR * (high - low))
    if len(far) and len(values) >= _LEAST_FOR_OUTLIERS:
        first = rows[far[0]].pair.antibody.name
        yield (
            f"{len(far)} value{'s lie' if len(far) > 1 else ' lies'} far from the others (first: "
            f"row {first!r}, {values[far[0]]:g}; half of all lie between {low:g} and {high:g}): "
            "leave out what is a slip; values of several magnitudes are learned better as "
            "logarithms"
        )


def _poverty_notes(
    values: np.ndarray, censoring: np.ndarray, assay: np.ndarray, names: tuple[str, ...]
) -> Iterator[str]:
    """Campaigns that hold next to nothing to learn."""
    exact = values[censoring == Censoring.EXACT]
    spreads = [np.ptp(values[assay == number]) for number in range(len(names))]
    if len(values) == 1:
        yield "one measurement: differences between variants cannot be learned from it"
    elif len(exact) == len(values) and max(spreads) == 0:
        yield (
            f"all {len(values)} values are equal within their assay ({exact[0]:g}): nothing in "
            "them tells variants apart"
        )
    elif len(exact) < 0.2 * len(values):
        yield (
            f"only {len(exact)} of {len(values)} values are measured, the others are bounds: what "
            "is learned is mostly what does not bind"
        )


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
