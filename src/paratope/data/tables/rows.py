"""Rows: cells of a block as pairs and measurements, or as errors that say where."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import polars as pl

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError, located, unknown_name
from paratope.core.number_text import is_not_measured, plain_commas, plain_text
from paratope.core.units import (
    PKD_MAX_MEASURABLE,
    PKD_MIN_MEASURABLE,
    parse_bounded_number,
    parse_temperature_K,
)
from paratope.data.measurements import (
    PARENT_KINDS,
    Conditions,
    Measurement,
    Origin,
    PairContext,
    ParentKind,
    ParentValues,
    bound_non_binders,
)
from paratope.data.tables.columns import (
    MEASURED_COLUMNS,
    PAIR_COLUMNS,
    VALUE_COLUMNS,
    id_among,
    iso_date,
    iso_dates,
    match_columns,
    missing_column,
    predicted_columns,
    residues_before_names,
    whole_number,
)
from paratope.data.tables.formats import Block, as_text, read_antigens
from paratope.data.tables.molecules import MoleculeReader, antibody_antigen, peptide_note
from paratope.data.tables.sources import Source
from paratope.data.tables.values import (
    AGREEMENT_LOG10,
    RowOfValues,
    ValueColumns,
    WrongUnitError,
    read_values,
)
from paratope.data.tables.variants import Cells, joined_mutations, mutation_columns
from paratope.molecules.epitope import parse_epitope
from paratope.molecules.sequences import Antigen, Pair

Require = Literal["pair", "measured"]
# Columns that say what is known of a pair beside its residues.
CONTEXT_COLUMNS = frozenset(
    {"parent", "parent_heavy", "parent_light", "parent_pkd", "parent_is", "epitope"}
)
# What is said of a row whose id another row has, before that row's number.
REPEATED_ID = "was used before, in row"


class ReadOptions(TypedDict, total=False):
    """How a table is read; each may be left out."""

    # Canonical name to the user's column, where the name is not known (`ALIASES`). If it names a
    # column of measured values, no other is read.
    columns: Mapping[str, str] | None
    # FASTA file or antigens, each of which is paired with every antibody
    antigens: Source | Sequence[Antigen] | None
    # ``"pair"`` (the default) reads antibody and antigen and leaves measured values alone;
    # ``"measured"`` also reads a measurement in every row.
    require: Require
    # Weakest pKd the assay can see, for non-binders; by default the weakest measured in it
    limit_pkd: float | None
    # Antigen of the rows that give none; without it they are errors, as is a table without any
    default_antigen: Antigen | None
    # Id of the row that rows of mutations are variants of, where no parent is named beside them
    parent: str | None
    # Cells of `CONTEXT_COLUMNS` for rows that have none of their own
    context: Mapping[str, str]
    # Types of value, such as ``"IC50"``, that are read as if they were Kd, where a column says of
    # each row which it is; each is an assay of its own. Without it they are errors.
    take: Collection[str]


@dataclasses.dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table."""

    index: int  # Number of the row, from 0, through all blocks
    # Line of the file (row of the sheet) where it starts, header included; 0 if there is none
    line: int
    id: str  # The user's id, or the row's number from 1; with several antigens ``"id/antigen"``
    pair: Pair | None  # Variable domains and antigen; None if the row is in error
    measurement: Measurement | None
    notes: tuple[str, ...]  # What was changed or should be known
    error: str | None  # Row, line, column and what is wrong
    context: PairContext = PairContext()  # Of a pair that is not read as measured

    def with_error(self, problem: object) -> "TableRow":
        """The row in error; it has no measurement."""
        line = f", line {self.line}" if self.line else ""
        error = f"row {self.id!r}{line}, {problem}"
        return dataclasses.replace(self, measurement=None, error=error)

    def with_measurement(self, measurement: Measurement, *notes: str) -> "TableRow":
        """The row with a measurement, and more notes."""
        return dataclasses.replace(self, measurement=measurement, notes=(*self.notes, *notes))


def _parent_kind(text: str) -> ParentKind:
    for kind in PARENT_KINDS:
        if kind == text.lower():
            return kind
    raise InputError(unknown_name("parent_is", text, PARENT_KINDS))


class RowReader:
    """Reads the rows of one table, block after block.

    `sample` are its first rows, which tell what a column holds where its name is not enough.
    Its ``columns`` are those read, canonical name to the user's; its ``antigens`` those every row
    is paired with, or None. Raises `InputError` if a column that is needed is missing.
    """

    def __init__(self, source: str, sample: pl.DataFrame, **options: Unpack[ReadOptions]) -> None:
        if unknown := options.keys() - ReadOptions.__annotations__.keys():
            raise TypeError(f"unknown options of a table: {', '.join(sorted(unknown))}")
        require, antigens = options.get("require", "pair"), options.get("antigens")
        if require not in ("pair", "measured"):
            raise InputError(unknown_name("requirement", require, ("pair", "measured")))
        if isinstance(antigens, Sequence) and not isinstance(antigens, str):
            if not antigens:
                raise InputError("no antigen given; expected at least one")
            self.antigens: tuple[Antigen, ...] | None = tuple(antigens)
        else:
            self.antigens = None if antigens is None else read_antigens(antigens)
        self.source = source
        self._is_measured = require == "measured"
        self._notes: list[str] = []
        default_antigen = options.get("default_antigen")
        self.columns = self._matched(sample, options.get("columns"), default_antigen)
        by_hand = bool(set(options.get("columns") or ()) & set(VALUE_COLUMNS))
        take, names = options.get("take", ()), sample.columns
        self._values = ValueColumns(source, names, self.columns, take=take, only_matched=by_hand)
        if self._is_measured and not (self._values.has_any or "binder" in self.columns):
            message = missing_column(source, "pkd", sample, self.columns)
            others = (
                "" if predicted_columns(names) else f"; or give one of {', '.join(VALUE_COLUMNS)}"
            )
            raise InputError(message + others)
        read = {*self.columns.values(), *self._values.columns.values()}
        if self._is_measured and (unread := [n for n in predicted_columns(names) if n not in read]):
            shown = " and ".join(map(repr, unread))
            self._notes.append(
                f"{source}: {shown} are predictions of Paratope: not read as measured"
            )
        for antigen in self.antigens or ():
            self._notes += [f"{source}: {note}" for note in peptide_note(antigen)]
        self._limit_pkd = options.get("limit_pkd")
        self._context = dict(options.get("context", {}))
        self._assay = "stdin" if source == "stdin" else Path(source).name.split(".")[0]
        self._index = 0
        self._row_number = 0
        # hashes, not ids: some 120 bytes a row however long the ids are
        self._first_seen: dict[int, int] = {}
        self._parents: dict[str, Pair] = {}
        self._parent_values = ParentValues()
        self._unread: Counter[str] = Counter()
        self._molecules = MoleculeReader(self.columns, default_antigen, options.get("parent"))

    def _matched(
        self,
        sample: pl.DataFrame,
        columns: Mapping[str, str] | None,
        default_antigen: Antigen | None,
    ) -> dict[str, str]:
        wanted = MEASURED_COLUMNS if self._is_measured else PAIR_COLUMNS
        if by_hand := set(columns or ()) & set(VALUE_COLUMNS):
            wanted = [name for name in wanted if name not in VALUE_COLUMNS or name in by_hand]
        matched = match_columns(sample.columns, columns, wanted)
        self._mutations = mutation_columns(sample.columns, matched)
        if self._mutations and "mutations" not in matched:
            matched["mutations"] = next(iter(self._mutations.values()))
        matched, notes = residues_before_names(matched, sample, columns or {})
        self._notes += [f"{self.source}: {note}" for note in notes]
        has_mutations = {"mutations", "parent_heavy"} <= matched.keys()
        if "heavy" not in matched and not has_mutations:
            raise InputError(missing_column(self.source, "heavy", sample, matched))
        has_antigen = default_antigen is not None or "antigen" in matched
        if self.antigens is not None:
            if "antigen" in matched:
                self._notes.append(
                    f"{self.source}: every row is paired with the antigens given; column "
                    f"{matched.pop('antigen')!r} is not read"
                )
        elif not (has_antigen or (has_mutations and "parent_antigen" in matched)):
            message = missing_column(self.source, "antigen", sample, matched)
            raise InputError(f"{message}, or give the antigens as a FASTA file")
        return matched

    def remember(self, block: Block, rows_before: int) -> list[Cells]:
        """A block's cells, kept for rows that name them or are judged with them."""
        texts: dict[str, list[str]] = {
            name: as_text(block.frame[column])
            for name, column in self.columns.items()
            if name not in VALUE_COLUMNS
        }
        if "parent_pkd" in texts:
            texts["parent_pkd"], _ = plain_commas(texts["parent_pkd"])
        if any(text.strip() == "+" for text in texts.get("binder", ())):
            texts["binder"] = ["no" if plain_text(t).strip() == "-" else t for t in texts["binder"]]
        if "date" in texts:
            texts["date"], note = iso_dates(texts["date"])
            said = f"{self.source}: column {self.columns['date']!r}: {note}"
            if note and said not in self._notes:
                self._notes.append(said)
        if self._mutations:
            texts["mutations"] = joined_mutations(self._mutations, block.frame)
        rows_of_cells: list[Cells] = [
            dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)
        ]
        for number, cells in enumerate(rows_of_cells):
            if number not in block.errors:
                row_id = cells.get("id", "").strip() or str(rows_before + number + 1)
                self._molecules.remember(row_id, cells)
        return rows_of_cells

    @property
    def read_columns(self) -> list[str]:
        """The user's columns that are read."""
        return list(dict.fromkeys([*self.columns.values(), *self._mutations.values()]))

    @property
    def has_mutations(self) -> bool:
        """Whether rows may have mutations, which are judged over all rows."""
        return self._molecules.has_mutations

    def read(self, block: Block) -> list[TableRow]:
        """The rows of a block, each repeated for every antigen given."""
        # all at first: a parent may stand behind its variants
        rows_of_cells = self.remember(block, self._row_number)
        measured = self._values.read(block.frame) if self._is_measured else []
        self.columns |= self._values.roles
        paired: list[tuple[TableRow, Cells]] = []
        for number, cells in enumerate(rows_of_cells):
            notes = (block.notes[number],) if number in block.notes else ()
            for row in self._pairs(cells, block.lines[number], notes, block.errors.get(number)):
                if self._is_measured and row.pair is not None:
                    row = self._measured(row, row.pair, cells, measured[number])
                paired.append((row, cells))
        has_context = bool(self._context) or not CONTEXT_COLUMNS.isdisjoint(self.columns)
        for row, _ in paired if self._is_measured or has_context else ():
            if row.pair is not None:
                self._parents.setdefault(row.id, row.pair)
        if not self._is_measured:
            if not has_context:
                return [row for row, _ in paired]
            return [self._with_context(row, cells) for row, cells in paired]
        for row, _ in paired:
            if row.measurement is not None:
                self._parent_values.add(row.measurement)
        rows = [self._with_parent(row, cells) for row, cells in paired]
        measurements = [row.measurement for row in rows if row.measurement is not None]
        bounded = iter(bound_non_binders(measurements, self._limit_pkd))
        for index, row in enumerate(rows):
            if row.measurement is None:
                continue
            after = next(bounded)
            if not after.has_value:
                rows[index] = row.with_error(
                    f"no binding, and nothing measured in assay {after.assay!r} to bound it by; "
                    "give the weakest Kd the assay can see, such as '>10 uM'"
                )
            elif after != row.measurement:
                note = "no binding: read as at most the weakest value of the assay"
                rows[index] = row.with_measurement(after, note)
        return rows

    def take_notes(self) -> tuple[str, ...]:
        """Notes about the table since the last call."""
        unread = (f"{self.source}: {what} ({n} rows)" for what, n in self._unread.items())
        notes = (*self._notes, *self._values.notes, *unread)
        for kept in (self._notes, self._values.notes, self._unread):
            kept.clear()
        return notes

    def _pairs(
        self, cells: Cells, line: int, notes: tuple[str, ...], broken: str | None
    ) -> list[TableRow]:
        """A row as its pairs with all antigens, nothing measured."""
        self._row_number += 1
        row_id = cells.get("id", "").strip()
        if row_id:
            first = self._first_seen.setdefault(hash(row_id), self._row_number)
            if first != self._row_number:
                notes = (*notes, f"id {row_id!r} {REPEATED_ID} {first}")
        else:
            row_id = str(self._row_number)
        molecules, problem = None, broken
        if broken is None:
            try:
                molecules = self._molecules.read(cells)
                notes += molecules.notes
            except InputError as error:
                problem = str(error)
        partners: tuple[Antigen | None, ...] = self.antigens or (None,)
        rows = []
        for partner in partners:
            name = f"{row_id}/{partner.name}" if partner and len(partners) > 1 else row_id
            row = TableRow(self._index, line, name, None, None, notes, None)
            self._index += 1
            try:
                if molecules is None:
                    raise InputError(problem)
                antigen, more = partner or molecules.antigen, ()
                if antigen is None:
                    antigen, more = self._molecules.antigen(cells)
                antibody = dataclasses.replace(molecules.antibody, name=row_id)
                pair = Pair(antibody, molecules.paired_with(antigen))
                more = (*notes, *more, *antibody_antigen(pair))
                made_in = molecules.made_in
                context = PairContext(Pair(made_in, antigen) if made_in is not None else None)
                rows.append(dataclasses.replace(row, pair=pair, notes=more, context=context))
            except InputError as error:
                rows.append(row.with_error(error))
        return rows

    def _measured(self, row: TableRow, pair: Pair, cells: Cells, written: RowOfValues) -> TableRow:
        """A row with what its own cells say was measured."""
        kelvin, temperature = None, cells.get("temperature", "")
        if not is_not_measured(temperature):
            column = self.columns["temperature"]
            unit = {"k": "K", "c": "C"}.get(column[-1:].lower(), "") if "_" in column else ""
            try:
                kelvin = parse_temperature_K(temperature, unit)
            except InputError:
                self._unread[f"column {column!r}: {temperature!r} is not read"] += 1
        try:
            if written.problem is not None:
                raise written.problem
            columns = {**self.columns, **self._values.columns}
            values = read_values({**cells, **written.cells}, columns, kelvin)
            parent_columns = ("parent", "parent_heavy", "parent_antigen")
            has_parent = any(not is_not_measured(cells.get(name, "")) for name in parent_columns)
            if values.delta_pkd is not None and values.pkd is None and not has_parent:
                raise InputError(
                    f"column {self.columns['ddg_kcal_mol']!r}: a ΔΔG needs a parent: give its id "
                    "in a column 'parent', or its sequences in 'parent_heavy', 'parent_light', "
                    "'parent_antigen'"
                )
        except InputError as problem:
            if isinstance(problem, WrongUnitError):
                self._unread[problem.note] += 1
            return row.with_error(problem)
        text = {name: cells.get(name, "").strip() for name in MEASURED_COLUMNS}
        fold, date = whole_number(text["fold"]), iso_date(text["date"])
        if not (date or is_not_measured(text["date"])):
            expected = "not read; expected dates such as 2024-05-31"
            self._unread[f"column {self.columns['date']!r}: {expected}"] += 1
        mutations = text["mutations"].replace(";", ",").split(",")
        measurement = Measurement(
            pair,
            pkd=values.pkd,
            censoring=values.censoring,
            assay=" ".join(filter(None, (text["assay"] or self._assay, written.kind))),
            delta_pkd=values.delta_pkd,
            score=values.score,
            conditions=Conditions(text["format"], text["method"], kelvin),
            origin=Origin(
                source=self.source,
                row=row.index + 1,
                complex_id=text["complex"],
                mutations=tuple(name.strip() for name in mutations if name.strip()),
                date=date,
                reference=whole_number(text["reference"]),
                fold=int(fold) if fold.lstrip("-").isdecimal() else None,
            ),
        )
        return row.with_measurement(measurement, *written.notes, *values.notes)

    def _with_context(self, row: TableRow, cells: Cells) -> TableRow:
        """What a row's cells say of its parent and its epitope, for a prediction.

        A cell that cannot be read is not used, which a note says: users' columns of these names
        hold free text, too. What was asked for all rows is an error of the row instead.
        """
        pair = row.pair
        if pair is None:
            return row
        known: dict[str, Any] = {}
        notes = []
        readers: dict[str, Callable[[str], Any]] = {
            "parent": lambda text: self._parent_in_table(row, pair, text),
            "parent_pkd": self._parent_pkd,
            "parent_is": _parent_kind,
            "epitope": lambda text: parse_epitope(text, pair.antigen),
        }
        for name, read in readers.items():
            own = cells.get(name, "").strip()
            text = self._context.get(name, "") if is_not_measured(own) else own
            try:
                if not is_not_measured(text):
                    known[name] = read(text)
                    if known[name] is None:
                        raise InputError(f"expected a number, got the bound {text!r}")
                elif name == "parent" and (parent := self._molecules.parent_of(pair, cells)):
                    known[name] = parent
            except InputError as problem:
                if text and text != own:
                    return dataclasses.replace(row.with_error(problem), pair=None)
                notes.append(f"column {self.columns.get(name, name)!r} is not used: {problem}")
        context = row.context._replace(**known)
        return dataclasses.replace(row, context=context, notes=(*row.notes, *notes))

    def _parent_in_table(self, row: TableRow, pair: Pair, parent_id: str) -> Pair:
        if (parent := self._named_parent(row, pair, parent_id)) is None:
            raise InputError(f"{parent_id!r} names no row of the table that can be read")
        return parent

    def _named_parent(self, row: TableRow, pair: Pair, parent_id: str) -> Pair | None:
        """The row of an id, that of the same antigen where each row has several; None for none."""
        if is_not_measured(parent_id):
            return None
        suffix = row.id[len(pair.antibody.name) :]  # "/antigen", with several
        return self._parents.get(id_among(parent_id, self._parents, suffix))

    @staticmethod
    def _parent_pkd(text: str) -> float | None:
        """A parent's stated pKd, such as an assay measures; None for a bound."""
        value, censoring = parse_bounded_number(text)
        if censoring is not Censoring.EXACT:
            return None
        if not PKD_MIN_MEASURABLE <= value <= PKD_MAX_MEASURABLE:
            raise InputError(
                f"expected the parent's pKd, -log10(Kd / M), from {PKD_MIN_MEASURABLE:g} to "
                f"{PKD_MAX_MEASURABLE:g}, got {text!r} (a Kd of 5 nM is a pKd of 8.3)"
            )
        return value

    def _with_parent(self, row: TableRow, cells: Cells) -> TableRow:
        """Resolve the parent; of a pKd, a ΔpKd and the parent's pKd, two give the third."""
        measurement = row.measurement
        if measurement is None:
            return row
        note, parent_pkd = "", None
        parent_id, stated = cells.get("parent", "").strip(), cells.get("parent_pkd", "")
        pkd, delta = measurement.pkd, measurement.delta_pkd
        try:
            if is_not_measured(parent_id):
                parent = self._molecules.parent_of(measurement.pair, cells)
            else:
                parent = self._named_parent(row, measurement.pair, parent_id)
                column = f"column {self.columns['parent']!r}"
                if parent is not None:
                    parent_pkd, note = self._parent_values.median(parent, measurement.assay)
                elif pkd is None and measurement.score is None:
                    raise InputError(
                        f"{column}: no row {parent_id!r} that can be read; expected the id of "
                        "another row"
                    )
                else:  # a value of its own needs no parent
                    self._unread[f"{column}: names no row of the table, so it is not used"] += 1
            if parent_pkd is None and not is_not_measured(stated):
                with located(f"column {self.columns['parent_pkd']!r}"):
                    parent_pkd = self._parent_pkd(stated)
        except InputError as problem:
            return row.with_error(problem)
        if parent_pkd is not None and pkd is not None:
            seen = pkd - parent_pkd
            delta = seen if delta is None else delta
            if min(abs(delta), abs(seen)) > 0.3 and abs(seen + delta) <= AGREEMENT_LOG10:
                return row.with_error(
                    f"its ΔΔG says a ΔpKd of {delta:.3g}, its pKd and its parent's {seen:.3g}: the "
                    "sign is turned; a positive ddg_kcal_mol is weaker"
                )
        elif parent_pkd is not None and delta is not None:
            pkd = parent_pkd + delta
            if not PKD_MIN_MEASURABLE <= pkd <= PKD_MAX_MEASURABLE:
                return row.with_error(
                    f"its ΔΔG and its parent's pKd of {parent_pkd:.3g} make a pKd of {pkd:.3g}, "
                    "which no assay measures; ddg_kcal_mol is in kcal/mol, positive for weaker"
                )
        else:
            note = ""
        changed = dataclasses.replace(measurement, parent=parent, pkd=pkd, delta_pkd=delta)
        return row.with_measurement(changed, *filter(None, [note]))
