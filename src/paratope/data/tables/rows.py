"""One row of a table as a pair and a measurement, or as an error that says where."""

import dataclasses
import datetime
import functools
from collections import Counter
from collections.abc import Mapping

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import is_not_measured, parse_bounded_number, parse_temperature_K
from paratope.data.measurements import Conditions, Measurement, Origin, ParentValues
from paratope.data.tables.blocks import Block
from paratope.data.tables.frames import as_text
from paratope.data.tables.values import Values, WrongUnitError, read_values
from paratope.data.tables.variants import Molecules, Variants
from paratope.molecules.numbering import find_domains, prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen, Pair, clean_antibody, clean_antigen

# What is said of a row whose id another row has, before that row's number.
REPEATED_ID = "was used before, in row"


@dataclasses.dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table.

    Attributes
    ----------
    index : int
        Number of the row, from 0, through all blocks.
    line : int
        Line of the file (row of the sheet) where it starts, header included; 0 if there is none.
    id : str
        The user's id, or the row's number from 1; with several antigens ``"id/antigen"``.
    pair : Pair or None
        Variable domains and antigen; None if the row is in error.
    measurement : Measurement or None
    notes : tuple of str
        What was changed or should be known.
    error : str or None
        Row, line, column and what is wrong.
    """

    index: int
    line: int
    id: str
    pair: Pair | None
    measurement: Measurement | None
    notes: tuple[str, ...]
    error: str | None


class RowReader:
    """Reads the rows of one table, block after block.

    Parameters
    ----------
    source : str
    columns : mapping of str to str
        Canonical name to the user's name.
    antigens : tuple of Antigen or None
        To pair every row with; None to read the antigen column.
    measured : bool
        Whether to read measurements.
    assay : str
        For rows that name none.
    default_antigen : Antigen or None
        For rows that give none; None makes them errors.
    parent : str or None
        Id of the row that rows of mutations alone are variants of, where they name none.
    """

    def __init__(
        self,
        source: str,
        columns: Mapping[str, str],
        antigens: tuple[Antigen, ...] | None,
        measured: bool,
        assay: str,
        default_antigen: Antigen | None = None,
        parent: str | None = None,
    ) -> None:
        self.source = source
        self.columns = dict(columns)
        self.antigens = antigens
        self.measured = measured
        self._assay = assay
        self._default_antigen = default_antigen
        self._index = 0
        self._row_number = 0
        # hashes, not ids: some 120 bytes a row however long the ids are
        self._first_seen: dict[int, int] = {}
        self._parents: dict[str, Pair] = {}
        self._parent_values = ParentValues()
        self._unread: Counter[str] = Counter()
        self._variants = Variants(self.columns, parent, self._antibody, self._antigen)

    def read(self, block: Block) -> list[TableRow]:
        """The rows of a block, each repeated for every antigen given."""
        texts = {name: as_text(block.frame[column]) for name, column in self.columns.items()}
        rows: list[TableRow] = []
        cells_of: list[dict[str, str]] = []
        every_cells = [
            dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)
        ]
        for position, cells in enumerate(every_cells):  # a parent may stand behind its variants
            if position not in block.errors:
                number = self._row_number + position + 1
                self._variants.remember(cells.get("id", "").strip() or str(number), cells)
        for position, line in enumerate(block.lines):
            cells = every_cells[position]
            notes = (block.notes[position],) if position in block.notes else ()
            made = self._read_row(cells, line, notes, block.errors.get(position))
            rows += made
            cells_of += [cells] * len(made)
        if self.measured:
            rows = [self._measured(*item) for item in zip(rows, cells_of, strict=True)]
            if self.columns.keys() & {"parent", "parent_heavy", "parent_antigen", "parent_pkd"}:
                rows = self._with_parents(rows, cells_of)
        return rows

    def take_notes(self) -> tuple[str, ...]:
        """Notes about the table since the last call: metadata that could not be read."""
        notes = tuple(f"{self.source}: {what} ({n} rows)" for what, n in self._unread.items())
        self._unread.clear()
        return notes

    def located(self, row_id: str, line: int, message: str) -> str:
        """An error message with the row's id and line."""
        return f"row {row_id!r}{f', line {line}' if line else ''}, {message}"

    def _read_row(
        self, cells: Mapping[str, str], line: int, notes: tuple[str, ...], broken: str | None
    ) -> list[TableRow]:
        self._row_number += 1
        row_id = cells.get("id", "").strip()
        if row_id:
            first = self._first_seen.setdefault(hash(row_id), self._row_number)
            if first != self._row_number:
                notes = (*notes, f"id {row_id!r} {REPEATED_ID} {first}")
        else:
            row_id = str(self._row_number)
        partners: tuple[Antigen | None, ...] = self.antigens or (None,)
        molecules, error = None, None
        if broken is not None:
            error = self.located(row_id, line, broken)
        else:
            try:
                molecules = self._molecules(cells)
                notes += molecules.notes
            except InputError as problem:
                error = self.located(row_id, line, str(problem))
        rows = []
        for partner in partners:
            name = f"{row_id}/{partner.name}" if partner and len(partners) > 1 else row_id
            pair, more, failure = None, (), error
            if molecules is not None:
                named = dataclasses.replace(molecules.antibody, name=row_id)
                try:
                    antigen = partner or molecules.antigen
                    if antigen is None:
                        antigen, more = self._antigen(cells)
                    pair = Pair(named, molecules.paired_with(antigen))
                except InputError as problem:
                    failure = self.located(row_id, line, str(problem))
            rows.append(TableRow(self._index, line, name, pair, None, (*notes, *more), failure))
            self._index += 1
        return rows

    def _molecules(self, cells: Mapping[str, str]) -> Molecules:
        if self._variants.is_variant(cells):
            return self._variants.build(cells)
        antibody, notes = self._antibody(cells)
        return Molecules(antibody, notes=notes)

    def _antibody(self, cells: Mapping[str, str]) -> tuple[Antibody, tuple[str, ...]]:
        light = cells.get("light", "")
        light = "" if is_not_measured(light) else light  # "None", "NA": a single domain
        try:
            antibody, notes = clean_antibody(cells.get("heavy", ""), light)
            antibody, more = prepare_antibody(antibody)
        except InputError as problem:
            at_light = str(problem).startswith("light chain") and light
            name = "light" if at_light else "heavy"
            column = self.columns.get(name, name)
            hint = ""
            if str(problem).startswith("heavy chain: no antibody") and self._antigen_is_antibody(
                cells
            ):
                hint = f"; column {self._antigen_column!r} holds one: are the two exchanged?"
            raise InputError(f"column {column!r}: {problem}{hint}") from None
        return antibody, notes + more

    def _antigen_is_antibody(self, cells: Mapping[str, str]) -> bool:
        try:
            antigen, _ = _cached_antigen(cells.get("antigen", ""))
        except InputError:
            return False
        return any(find_domains(chain) for chain in antigen.chains)

    def _antigen(self, cells: Mapping[str, str]) -> tuple[Antigen, tuple[str, ...]]:
        text = cells.get("antigen", "")
        if self._default_antigen is not None and is_not_measured(text):
            name = cells.get("antigen_name", "").strip()
            return dataclasses.replace(
                self._default_antigen, name=name or self._default_antigen.name
            ), ()
        try:
            if text.strip() and is_not_measured(text):  # "NaN", "NA": letters of residues, too
                raise InputError(f"antigen: missing ({text.strip()!r}); expected its residues")
            antigen, notes = _cached_antigen(text)
        except InputError as problem:
            raise InputError(f"column {self._antigen_column!r}: {problem}") from None
        return dataclasses.replace(antigen, name=cells.get("antigen_name", "").strip()), notes

    @property
    def _antigen_column(self) -> str:
        return self.columns.get("antigen", "antigen")

    def _measured(self, row: TableRow, cells: Mapping[str, str]) -> TableRow:
        if row.pair is None:
            return row
        conditions = self._conditions(cells)
        try:
            values = read_values(cells, self.columns, conditions.temperature_K)
            has_parent = any(
                not is_not_measured(cells.get(name, ""))
                for name in ("parent", "parent_heavy", "parent_antigen")
            )
            if values.delta_pkd is not None and values.pkd is None and not has_parent:
                raise InputError(
                    f"column {self.columns['ddg_kcal_mol']!r}: a ΔΔG needs a parent: give its id "
                    "in a column 'parent', or its sequences in 'parent_heavy', 'parent_light', "
                    "'parent_antigen'"
                )
        except InputError as problem:
            if isinstance(problem, WrongUnitError):
                self._unread[f"column {problem.column!r}: out of range, {problem.hint}"] += 1
            error = self.located(row.id, row.line, str(problem))
            return dataclasses.replace(row, error=error)
        measurement = self._measurement(row, row.pair, values, conditions, cells)
        notes = (*row.notes, *values.notes)
        return dataclasses.replace(row, measurement=measurement, notes=notes)

    def _measurement(
        self,
        row: TableRow,
        pair: Pair,
        values: Values,
        conditions: Conditions,
        cells: Mapping[str, str],
    ) -> Measurement:
        mutations = cells.get("mutations", "").replace(";", ",").split(",")
        fold = cells.get("fold", "").strip()
        origin = Origin(
            source=self.source,
            row=row.index + 1,
            complex_id=cells.get("complex", "").strip(),
            mutations=tuple(name.strip() for name in mutations if name.strip()),
            date=self._date(cells.get("date", "")),
            reference=cells.get("reference", "").strip(),
            fold=int(fold) if fold.lstrip("-").isdecimal() else None,
        )
        assay = cells.get("assay", "").strip() or self._assay
        return Measurement(
            pair,
            pkd=values.pkd,
            censoring=values.censoring,
            assay=assay,
            delta_pkd=values.delta_pkd,
            score=values.score,
            conditions=conditions,
            origin=origin,
        )

    def _conditions(self, cells: Mapping[str, str]) -> Conditions:
        kelvin = None
        text = cells.get("temperature", "")
        if not is_not_measured(text):
            unit = {"k": "K", "c": "C"}.get(self.columns["temperature"][-1:].lower(), "")
            unit = unit if "_" in self.columns["temperature"] else ""
            try:
                kelvin = parse_temperature_K(text, unit)
            except InputError:
                self._unread[f"column {self.columns['temperature']!r}: {text!r} is not read"] += 1
        return Conditions(cells.get("format", "").strip(), cells.get("method", "").strip(), kelvin)

    def _date(self, text: str) -> str:
        if is_not_measured(text):
            return ""
        try:
            return datetime.datetime.fromisoformat(text.strip()).date().isoformat()
        except ValueError:
            what = f"column {self.columns['date']!r}: not read; expected dates such as 2024-05-31"
            self._unread[what] += 1
            return ""

    def _with_parents(self, rows: list[TableRow], cells_of: list[dict[str, str]]) -> list[TableRow]:
        """Resolve parents; of a pKd, a ΔpKd and the parent's pKd, two give the third."""
        for row in rows:
            if row.pair is not None:
                self._parents.setdefault(row.id, row.pair)
            if row.measurement is not None:
                self._parent_values.add(row.measurement)
        resolved = []
        for row, cells in zip(rows, cells_of, strict=True):
            if row.measurement is not None:
                try:
                    row = self._with_parent(row, row.measurement, cells)
                except InputError as problem:
                    error = self.located(row.id, row.line, str(problem))
                    row = dataclasses.replace(row, measurement=None, error=error)
            resolved.append(row)
        return resolved

    def _with_parent(
        self, row: TableRow, measurement: Measurement, cells: Mapping[str, str]
    ) -> TableRow:
        parent = self._parent(row, measurement.pair, cells)
        parent_pkd, note = None, ""
        if parent is not None and not is_not_measured(cells.get("parent", "")):
            parent_pkd, note = self._parent_values.median(parent, measurement.assay)
        if parent_pkd is None:
            parent_pkd = self._stated_parent_pkd(cells)
        pkd, delta = measurement.pkd, measurement.delta_pkd
        if parent_pkd is not None:
            if delta is None and pkd is not None:
                delta = pkd - parent_pkd
            elif pkd is None and delta is not None:
                pkd = parent_pkd + delta
            else:
                note = ""
        changed = dataclasses.replace(measurement, parent=parent, pkd=pkd, delta_pkd=delta)
        notes = (*row.notes, note) if note else row.notes
        return dataclasses.replace(row, measurement=changed, notes=notes)

    def _stated_parent_pkd(self, cells: Mapping[str, str]) -> float | None:
        stated = cells.get("parent_pkd", "")
        if is_not_measured(stated):
            return None
        try:
            value, censoring = parse_bounded_number(stated)
        except InputError as problem:
            raise InputError(f"column {self.columns['parent_pkd']!r}: {problem}") from None
        return value if censoring is Censoring.EXACT else None

    def _parent(self, row: TableRow, pair: Pair, cells: Mapping[str, str]) -> Pair | None:
        parent_id = cells.get("parent", "").strip()
        if not is_not_measured(parent_id):
            suffix = row.id[len(pair.antibody.name) :]  # "/antigen", with several antigens
            if parent_id + suffix not in self._parents:
                raise InputError(
                    f"column {self.columns['parent']!r}: no row {parent_id!r} that can be read; "
                    "expected the id of another row"
                )
            return self._parents[parent_id + suffix]
        given = {
            name: cells.get(f"parent_{name}", "").strip() for name in ("heavy", "light", "antigen")
        }
        if all(is_not_measured(text) for text in given.values()):
            return None
        return self._parent_of_sequences(pair, given)

    def _parent_of_sequences(self, pair: Pair, given: Mapping[str, str]) -> Pair:
        """The parent's own chains where given, the row's where not."""
        antibody, antigen = pair.antibody, pair.antigen
        try:
            if not is_not_measured(given["heavy"]):
                light = "" if is_not_measured(given["light"]) else given["light"]
                cleaned, _ = clean_antibody(given["heavy"], light)
                antibody, _ = prepare_antibody(cleaned)
                if antibody.light is None and pair.antibody.light is not None:
                    antibody = dataclasses.replace(antibody, light=pair.antibody.light)
            if not is_not_measured(given["antigen"]):
                antigen, _ = _cached_antigen(given["antigen"])
        except InputError as problem:
            raise InputError(f"parent: {problem}") from None
        return Pair(
            dataclasses.replace(antibody, name="parent"),
            dataclasses.replace(antigen, name=pair.antigen.name),
        )


@functools.lru_cache(maxsize=256)
def _cached_antigen(text: str) -> tuple[Antigen, tuple[str, ...]]:
    return clean_antigen(text)
