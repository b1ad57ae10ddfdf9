"""Molecules of a row: its sequences, or the mutations that make them of a parent's."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Mapping

from paratope.core.errors import InputError, located
from paratope.core.number_text import is_not_measured
from paratope.data.tables.columns import id_among
from paratope.data.tables.variants import MADE, MOLECULES, Cells, Molecule, MutationError, Variants
from paratope.molecules.mutations import Mutation, apply_mutations, parse_mutations
from paratope.molecules.numbering import find_domains, number_chain, prepare_antibody
from paratope.molecules.sequences import (
    Antibody,
    Antigen,
    Pair,
    antigen_doubt,
    clean_antibody,
    clean_antigen,
    clean_sequence,
)

NO_LIGHT_CHAIN = (
    "no light chain, but the framework of a conventional VH, which has one: predicted as a single "
    "domain"
)
_SINGLE_DOMAIN = re.compile(r"\bvhhs?\b|nanobod|single.?domain|sdab|\bdab")
# Capitals up to here may be a name ("FERRITIN").
_MAX_DOUBTED_RESIDUES = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Molecules:
    """What a row's cells say."""

    antibody: Antibody
    antigen: Antigen | None = None  # None if the cells hold none
    notes: tuple[str, ...] = ()
    # Still to be made in the antigen, the parent's first
    antigen_mutations: tuple[tuple[Mutation, ...], ...] = ()
    made_in: Antibody | None = None  # Whose mutations were made, where its sequences stood there

    @property
    def molecule(self) -> Molecule:
        """The pair, or the antibody alone."""
        return self.antibody if self.antigen is None else Pair(self.antibody, self.antigen)

    def paired_with(self, antigen: Antigen) -> Antigen:
        """An antigen with the row's mutations of it; `InputError` if they do not fit."""
        pair = Pair(self.antibody, antigen)
        for mutations in self.antigen_mutations:
            pair = apply_mutations(pair, mutations)
        return pair.antigen


def peptide_note(antigen: Antigen) -> tuple[str, ...]:
    """What to say of an antigen so short that it may be a name."""
    if max(map(len, antigen.chains)) > _MAX_DOUBTED_RESIDUES:
        return ()
    shown = "|".join(antigen.chains)
    return (f"antigen: {shown!r} read as a peptide; if it is a name, give its residues",)


def antibody_antigen(pair: Pair) -> tuple[str, ...]:
    """What to say of an antigen that is an antibody's chain, the pair's own or another's."""
    domains = [domain for chain in pair.antigen.chains for domain in find_domains(chain)]
    if not domains:
        return ()
    if {domain.residues for domain in domains} & set(pair.antibody.chains):
        return ("antigen: it is a chain of the antibody itself",)
    kinds = " and ".join(sorted({"heavy" if each.is_heavy else "light" for each in domains}))
    return (f"antigen: it holds an antibody domain ({kinds} chain)",)


class MoleculeReader:
    """Reads antibodies and antigens from the cells of one table.

    `default_antigen` is for rows that give none (errors without it), `parent` the id of the parent
    of rows of mutations that name none.
    """

    def __init__(
        self, columns: Mapping[str, str], default_antigen: Antigen | None, parent: str | None
    ) -> None:
        self._columns = columns
        self._default_antigen = default_antigen
        self._parent = parent
        self._rows: dict[str, Cells] = {}
        self._variants = Variants(columns, self._beside, parent)

    def remember(self, row_id: str, cells: Cells) -> None:
        """Keep what a row says of mutations, and the first row of an id that others may name."""
        self._variants.remember(cells)
        can_be_named = self._parent is not None or "parent" in self._columns
        if can_be_named and "mutations" in self._columns:
            self._rows.setdefault(row_id, cells)

    @property
    def has_mutations(self) -> bool:
        """Whether rows may have mutations, as far as they are remembered."""
        return self._variants.has_mutations

    def mutations(self, cells: Cells) -> str:
        """A row's mutations as it writes them, in its id if nowhere else; empty for none."""
        return self._variants.text(cells)

    def read(self, cells: Cells) -> Molecules:
        """The molecules of a row.

        Raises `InputError`, naming the user's column, if a sequence cannot be read, a parent is
        missing or mutations do not fit it.
        """
        if _is_variant(cells):
            return self._variant(cells)
        molecules = self._of_sequences(cells)
        column = self._column("mutations" if "mutations" in self._columns else "id")
        with located(column):
            row = self._rows.get(cells.get("parent", "").strip())
            given = cells
            if row is not None and not _is_variant(row):
                given = {f"parent_{name}": row.get(name, "") for name in MOLECULES}
            is_parent = None  # where that is not known
            pair = Pair(molecules.antibody, molecules.antigen or Antigen(()))
            with contextlib.suppress(InputError):
                if parent := self.parent_of(pair, given):
                    is_parent = parent.residues == pair.residues
            if not self._variants.to_make(cells, molecules.molecule, is_parent):
                return molecules
        made = self._with_mutations(molecules, self._variants.text(cells), column)
        notes = (*made.notes, MADE)
        return dataclasses.replace(made, notes=notes, made_in=molecules.antibody)

    def antigen(self, cells: Cells) -> tuple[Antigen, tuple[str, ...]]:
        """The antigen of a row's own cells, or the default one, and notes."""
        text, name = cells.get("antigen", ""), cells.get("antigen_name", "").strip()
        if self._default_antigen is not None and is_not_measured(text):
            antigen = self._default_antigen
            return dataclasses.replace(antigen, name=name or antigen.name), ()
        with located(self._column("antigen")):
            if text.strip() and is_not_measured(text):  # "NaN", "NA": letters of residues, too
                raise InputError(f"antigen: missing ({text.strip()!r}); expected its residues")
            antigen, notes = _antigen_of(text)
            if doubt := antigen_doubt(text):
                raise InputError(f"antigen: {doubt}; expected its residues, one letter each")
        return dataclasses.replace(antigen, name=name), (*notes, *peptide_note(antigen))

    def parent_of(self, pair: Pair, cells: Cells) -> Pair | None:
        """The parent by its own sequences, the row's where it gives none; None without any."""
        given = {name: cells.get(f"parent_{name}", "") for name in MOLECULES}
        given = {name: "" if is_not_measured(text) else text for name, text in given.items()}
        if not any(given.values()):
            return None
        antibody, antigen = pair.antibody, pair.antigen
        with located("parent"):
            if given["heavy"]:
                antibody, _ = prepare_antibody(clean_antibody(given["heavy"], given["light"])[0])
                light = antibody.light or pair.antibody.light
                antibody = dataclasses.replace(antibody, light=light)
            if given["antigen"]:
                antigen, _ = _antigen_of(given["antigen"])
        return Pair(
            dataclasses.replace(antibody, name="parent"),
            dataclasses.replace(antigen, name=pair.antigen.name),
        )

    def _of_sequences(self, cells: Cells) -> Molecules:
        heavy, light = cells.get("heavy", ""), cells.get("light", "")
        words = light.strip().lower()  # "None", "NA", "VHH", "--": a single domain
        is_said = len(words) < 30 and _SINGLE_DOMAIN.search(words)
        light = "" if is_said or is_not_measured(light) or not words.strip("-.~*") else light
        only_light = bool(light.strip()) and is_not_measured(heavy)
        try:
            if only_light:  # an scFv in the wrong column
                domains = find_domains(clean_sequence(light, "light chain")[0])
                if len({domain.is_heavy for domain in domains}) < 2:
                    raise InputError("heavy chain: empty")
                heavy, light = light, ""
            antibody, notes = clean_antibody(heavy, light)
            antibody, more = prepare_antibody(antibody)
        except InputError as problem:
            hint = ""
            if str(problem).startswith("heavy chain: no antibody"):
                with contextlib.suppress(InputError):
                    antigen, _ = _antigen_of(cells.get("antigen", ""))
                    if any(map(find_domains, antigen.chains)):
                        hint = f"; {self._column('antigen')} holds one: are the two exchanged?"
            at_light = str(problem).startswith("light chain") and light
            column = self._column("light" if at_light else "heavy")
            raise InputError(f"{column}: {problem}{hint}") from None
        if only_light:
            notes = (f"{self._column('light')} holds an scFv", *notes)
        notes += more
        said = [self._columns.get("heavy", ""), cells.get("format", ""), cells.get("light", "")]
        if antibody.light is None and not _SINGLE_DOMAIN.search(" ".join(said).lower()):
            notes += (NO_LIGHT_CHAIN,) if number_chain(antibody.heavy).is_conventional_vh else ()
        if is_not_measured(cells.get("antigen", "")):
            return Molecules(antibody, None, notes)
        antigen, more = self.antigen(cells)
        return Molecules(antibody, antigen, (*notes, *more))

    def _variant(self, cells: Cells, descendants: tuple[str, ...] = ()) -> Molecules:
        parent = self._parent_molecules(cells, descendants)
        column = self._column("mutations")
        if not is_not_measured(cells.get("antigen", "")):
            antigen, notes = self.antigen(cells)
            parent = Molecules(parent.antibody, antigen, (*parent.notes, *notes))
        with located(column):
            self._variants.check_numbers(cells, parent.molecule)
        return self._with_mutations(parent, cells["mutations"], column)

    def _with_mutations(self, parent: Molecules, text: str, column: str) -> Molecules:
        try:
            mutations = parse_mutations(text, parent.antibody)
            in_antibody = [mutation for mutation in mutations if mutation.chain in ("H", "L")]
            antibody = apply_mutations(parent.antibody, in_antibody)
        except InputError as problem:
            raise MutationError(f"{column}: {problem}") from None
        in_antigen = tuple(mutation for mutation in mutations if mutation not in in_antibody)
        steps = (*parent.antigen_mutations, in_antigen)
        return dataclasses.replace(parent, antibody=antibody, antigen_mutations=steps)

    def _parent_molecules(self, cells: Cells, descendants: tuple[str, ...]) -> Molecules:
        name = cells.get("parent", "").strip()
        if is_not_measured(name):
            if not is_not_measured(cells.get("parent_heavy", "")):
                with located("parent"):
                    given = {name: cells.get(f"parent_{name}", "") for name in MOLECULES}
                    return self._of_sequences(given)
            if self._parent is None:
                raise InputError(
                    f"{self._column('mutations')}: mutations without a heavy chain need their "
                    "parent: give its id in a column 'parent', or its sequences in "
                    "'parent_heavy', 'parent_light', 'parent_antigen'"
                )
            name = self._parent
        name = id_among(name, self._rows)
        if name in descendants:
            raise InputError(f"{self._column('parent')}: {name!r} is its own parent")
        if name not in self._rows:
            raise InputError(
                f"{self._column('parent')}: no row {name!r} that can be read; expected the id of "
                "another row"
            )
        row = self._rows[name]
        if _is_variant(row):
            return self._variant(row, (*descendants, name))
        with located(f"parent {name!r}"):
            return self._of_sequences(row)

    def _beside(self, cells: Cells) -> Molecule | None:
        """A row's own sequences; None if they cannot be read."""
        with contextlib.suppress(InputError):
            return self._of_sequences(cells).molecule
        return None

    def _column(self, canonical: str) -> str:
        return f"column {self._columns.get(canonical, canonical)!r}"


def _is_variant(cells: Cells) -> bool:
    """Whether a row has mutations and no heavy chain."""
    has_heavy = not is_not_measured(cells.get("heavy", ""))
    return not has_heavy and bool(cells.get("mutations", "").strip())


@functools.lru_cache(maxsize=256)
def _antigen_of(text: str) -> tuple[Antigen, tuple[str, ...]]:
    return clean_antigen(text)
