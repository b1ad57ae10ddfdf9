"""Rows that give a parent and mutations in place of sequences."""

import dataclasses
from collections.abc import Callable, Mapping

from paratope.core.errors import InputError
from paratope.core.units import is_not_measured
from paratope.molecules.mutations import Mutation, apply_mutations, parse_mutations
from paratope.molecules.sequences import Antibody, Antigen, Pair

Cells = Mapping[str, str]
# Columns that say what a row of mutations is a variant of.
PARENT_COLUMNS = ("parent", "parent_heavy", "parent_light", "parent_antigen")


@dataclasses.dataclass(frozen=True, slots=True)
class Molecules:
    """What a row's cells say.

    Attributes
    ----------
    antibody : Antibody
    antigen : Antigen or None
        None if the cells hold none.
    notes : tuple of str
    of_antigen : tuple of tuple of Mutation
        What is still to be made of the antigen, parent's mutations first.
    """

    antibody: Antibody
    antigen: Antigen | None = None
    notes: tuple[str, ...] = ()
    of_antigen: tuple[tuple[Mutation, ...], ...] = ()

    def paired_with(self, antigen: Antigen) -> Antigen:
        """An antigen with the row's mutations of it; `InputError` if they do not fit."""
        pair = Pair(self.antibody, antigen)
        for mutations in self.of_antigen:
            pair = apply_mutations(pair, mutations)
        return pair.antigen


class Variants:
    """Builds variants from parents' rows and mutations.

    Parameters
    ----------
    columns : mapping of str to str
        Canonical name to the user's name.
    parent : str or None
        Id of the parent of rows that name none.
    read_antibody, read_antigen : callable
        Give a molecule of a row's cells, and notes.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        parent: str | None,
        read_antibody: Callable[[Cells], tuple[Antibody, tuple[str, ...]]],
        read_antigen: Callable[[Cells], tuple[Antigen, tuple[str, ...]]],
    ) -> None:
        self._columns = columns
        self._parent = parent
        self._read_antibody = read_antibody
        self._read_antigen = read_antigen
        self._rows: dict[str, Cells] = {}

    def remember(self, row_id: str, cells: Cells) -> None:
        """Keep a row that others may name as their parent; the first of its id counts."""
        can_be_named = self._parent is not None or "parent" in self._columns
        if can_be_named and "mutations" in self._columns:
            self._rows.setdefault(row_id, cells)

    def is_variant(self, cells: Cells) -> bool:
        """Whether a row has mutations and no heavy chain."""
        has_heavy = not is_not_measured(cells.get("heavy", ""))
        return not has_heavy and bool(cells.get("mutations", "").strip())

    def build(self, cells: Cells) -> Molecules:
        """The variant that a row's cells describe.

        Raises
        ------
        InputError
            If its parent is missing or cannot be read, or the mutations do not fit it.
        """
        return self._build(cells, ())

    def _build(self, cells: Cells, descendants: tuple[str, ...]) -> Molecules:
        parent = self._parent_of(cells, descendants)
        try:
            mutations = parse_mutations(cells["mutations"], parent.antibody)
            in_antibody = [one for one in mutations if one.chain in ("H", "L")]
            antibody = apply_mutations(parent.antibody, in_antibody)
        except InputError as problem:
            raise InputError(f"column {self._name('mutations')!r}: {problem}") from None
        in_antigen = tuple(one for one in mutations if one.chain not in ("H", "L"))
        own = self._own_antigen(cells)
        if own is not None:
            antigen, notes = own
            return Molecules(antibody, antigen, (*parent.notes, *notes), (in_antigen,))
        steps = (*parent.of_antigen, in_antigen)
        return Molecules(antibody, parent.antigen, parent.notes, steps)

    def _parent_of(self, cells: Cells, descendants: tuple[str, ...]) -> Molecules:
        name = cells.get("parent", "").strip()
        if is_not_measured(name) and not is_not_measured(cells.get("parent_heavy", "")):
            given = {key: cells.get(f"parent_{key}", "") for key in ("heavy", "light", "antigen")}
            try:
                return self._molecules(given)
            except InputError as problem:
                raise InputError(f"parent: {problem}") from None
        if is_not_measured(name):
            if self._parent is None:
                raise InputError(
                    f"column {self._name('mutations')!r}: mutations without a heavy chain need "
                    "their parent: give its id in a column 'parent', or its sequences in "
                    "'parent_heavy', 'parent_light', 'parent_antigen'"
                )
            name = self._parent
        if name in descendants:
            raise InputError(f"column {self._name('parent')!r}: {name!r} is its own parent")
        if name not in self._rows:
            raise InputError(
                f"column {self._name('parent')!r}: no row {name!r} that can be read; expected the "
                "id of another row"
            )
        row = self._rows[name]
        if self.is_variant(row):
            return self._build(row, (*descendants, name))
        try:
            return self._molecules(row)
        except InputError as problem:
            raise InputError(f"parent {name!r}: {problem}") from None

    def _molecules(self, cells: Cells) -> Molecules:
        antibody, notes = self._read_antibody(cells)
        antigen = self._own_antigen(cells)
        if antigen is None:
            return Molecules(antibody, None, notes)
        return Molecules(antibody, antigen[0], (*notes, *antigen[1]))

    def _own_antigen(self, cells: Cells) -> tuple[Antigen, tuple[str, ...]] | None:
        if is_not_measured(cells.get("antigen", "")):
            return None
        return self._read_antigen(cells)

    def _name(self, column: str) -> str:
        return self._columns.get(column, column)
