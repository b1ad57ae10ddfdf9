"""Mutations of a table's rows: to be made or in the sequences already, and in whose numbers.

A residue fits a wrong number one time in fifteen, so no row is judged alone: the numbering is the
one that fits most variants of a parent, and whether sequences hold their mutations is told by the
rows that share a sequence or, where each has its own, by all of them.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import polars as pl

from paratope.core.errors import InputError
from paratope.core.number_text import is_not_measured
from paratope.data.tables.formats import as_text
from paratope.molecules.mutations import (
    NUMBERINGS,
    POSITION,
    Named,
    bare_mutations,
    common_shift,
    fits,
    is_wild_type,
    looks_like_mutation,
    named_mutations,
    position_of,
)
from paratope.molecules.sequences import Antibody, Pair

# Variants of one parent, and rows with sequences of their own, that are looked at.
MAX_VARIANTS = 1000
MAX_ROWS = 200
# What is said of rows whose mutations are made.
MADE = "its mutations are made: the sequences beside them are the parent's"

# A row's texts by canonical column.
Cells = Mapping[str, str]
Molecule = Antibody | Pair
# How many variants fit each numbering, still to be made or made, and of how many
Fitting = tuple[dict[tuple[str, bool], int], int]
MOLECULES = ("heavy", "light", "antigen")

# Names of columns that may hold mutations and that no alias covers; those of one chain; and the
# parts of a mutation in columns of their own. Letters of names count, in lower case.
_WHOLE = re.compile(
    r"name|(variant|mutant|mutation)(name|code|id)?|hgvs(p|protein)?|(aa|aminoacid)changes?"
    r"|((aa|aminoacid|point)?(mutation|substitution)s?(kabat|imgt|chothia)?)"
)
_CHAINS = {
    "H": re.compile(r"(heavy|v?h|hc|vhh)(chain)?(mutation|substitution|mut)s?|(mutation|mut)s?v?h"),
    "L": re.compile(r"(light|v?l|lc|vk)(chain)?(mutation|substitution|mut)s?|(mutation|mut)s?v?l"),
    "A": re.compile(r"(antigen|ag|target|rbd|spike)(mutation|substitution|mut|variant|mutant)s?"),
}
_PARTS = {
    "before": "wt wtaa wtresidue wildtype wildtypeaa from aawt ref refaa original",
    "number": "position pos resnum residuenumber site",
    "after": "mut mutaa mutant mutantaa mutresidue to aamut alt altaa",
    "chain": "chain",
}
_OF_FC = re.compile(r"(?i)\bigg|\bfc\b")
_CHAIN_NAMES = {"h": "H", "heavy": "H", "vh": "H", "hc": "H", "l": "L", "light": "L", "vl": "L"}


def mutation_columns(names: Sequence[str], matched: Mapping[str, str]) -> dict[str, str]:
    """Columns to join to a row's mutations: ``"H"``, ``"L"``, ``""`` or parts to the user's names.

    Empty if there is none; a column of mutations that is matched already is ``""``, and only the
    antigen's are joined to it.

    >>> mutation_columns(["heavy", "VH mutations"], {"heavy": "heavy"})
    {'H': 'VH mutations'}
    """
    keys = {re.sub(r"[^a-z]", "", n.lower()): n for n in names if n not in matched.values()}
    if "mutations" in matched:
        antigen = next((name for key, name in keys.items() if _CHAINS["A"].fullmatch(key)), None)
        return {"": matched["mutations"], "A": antigen} if antigen else {}
    parts = {
        part: next((keys[key] for key in known.split() if key in keys), "")
        for part, known in _PARTS.items()
    }
    if parts["before"] and parts["number"] and parts["after"]:
        return {part: name for part, name in parts.items() if name}
    chains = {
        chain: name
        for chain, known in _CHAINS.items()
        for key, name in keys.items()
        if known.fullmatch(key)
    }
    whole = next((name for key, name in keys.items() if _WHOLE.fullmatch(key)), None)
    return ({"": whole} if whole and chains.keys() <= {"A"} else {}) | chains


def joined_mutations(parts: Mapping[str, str], frame: pl.DataFrame) -> list[str]:
    """Each row's mutations, of the columns that `mutation_columns` gives; empty for none.

    >>> frame = pl.DataFrame({"wt": ["D", ""], "pos": ["31", ""], "mut": ["A", ""]})
    >>> joined_mutations({"before": "wt", "number": "pos", "after": "mut"}, frame)
    ['D31A', '']
    """
    columns = [as_text(frame[name]) for name in parts.values()]
    return [_joined(dict(zip(parts, row, strict=True))) for row in zip(*columns, strict=True)]


def _joined(parts: Mapping[str, str]) -> str:
    if "number" in parts:
        text = "".join(parts[part].strip() for part in ("before", "number", "after"))
        chain = _CHAIN_NAMES.get(parts.get("chain", "").strip().lower(), "")
        parts = {chain: text.removesuffix(".0")}
    joined = []
    whole = "" if len(parts) < 2 else parts.get("", "").strip()
    for chain, text in parts.items():
        is_kept = text.strip() == whole and re.search("[0-9]", whole)  # an unreadable one, too
        bare = () if _is_notation(text) else bare_mutations(text)
        if chain and bare:
            text = ",".join(str(mutation._replace(chain=chain)) for mutation in bare)
        if is_kept or bare or _is_notation(text) or looks_like_mutation(text):
            joined.append(text.strip())
    return ",".join(joined) or whole


class MutationError(InputError):
    """A row's mutations are not those of its sequences."""


class NumbersError(MutationError):
    """The numbers of a mutation are not positions in the sequence."""


class _Held(NamedTuple):
    """Mutations that stand beside the same sequences."""

    variants: int  # different ones
    beside_none: bool  # whether a row has these sequences and no mutation
    befores: set[str]  # those of which the sequences have the residues before
    afters: set[str]  # and those of which they have the ones after


class Variants:
    """What the rows of one table say of mutations.

    `columns` are canonical names to the user's, `molecule_of` reads a row's own sequences, `parent`
    is the id of the parent of rows that name none.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        molecule_of: Callable[[Cells], Molecule | None],
        parent: str | None = None,
    ) -> None:
        self._column = "mutations" if "mutations" in columns else "id"
        stated = columns.get("mutations", "").lower()  # "Mutations (Kabat)"
        self._is_name = self._column == "id" or re.search(r"(name|id)\s*$", stated) is not None
        self._stated = next((name for name in NUMBERINGS if name in stated), None)
        self._molecule_of = molecule_of
        self._parent = parent or ""
        self._texts: dict[int, tuple[str, ...]] = {}  # of each parent or sequence, "" for none
        self._rows: dict[int, Cells] = {}  # some with sequences, the first of each
        self._held: dict[int, _Held] = {}
        self._own: dict[bool, Fitting] = {}  # see `_fitting_of_own`
        self._numbering: dict[int, tuple[Fitting, list[tuple[Named, ...]]]] = {}

    def text(self, cells: Cells) -> str:
        """A row's mutations, or its id where that is what names them; empty for none."""
        text = cells.get(self._column, "").strip()
        if is_not_measured(text) or is_wild_type(text):
            return ""
        bare = bare_mutations(text)
        numbers = [int(re.sub(r"\D", "", mutation.number)) for mutation in bare]
        if bare and _OF_FC.search(text) and min(numbers) > 130:  # beyond the variable domain
            return ""
        is_unread = not self._is_name and looks_like_mutation(text)
        return text if bare or is_unread or _is_notation(text) else ""

    def remember(self, cells: Cells) -> None:
        """Keep what a row says; rows must be remembered before they are judged."""
        text = self.text(cells)
        if not text and self._column == "id" and not is_wild_type(cells.get("id", "")):
            return
        key = self._key(cells)
        texts = self._texts.setdefault(key, ())
        if text not in texts and len(texts) < MAX_VARIANTS:
            self._texts[key] = (*texts, text)
            self._numbering.pop(key, None)
            self._held.pop(key, None)
        if text and len(self._rows) < MAX_ROWS and not is_not_measured(cells.get("heavy", "")):
            self._rows.setdefault(key, cells)
            self._own.clear()

    @property
    def has_mutations(self) -> bool:
        """Whether rows may have mutations, as far as they are remembered."""
        return self._column == "mutations" or any(texts != ("",) for texts in self._texts.values())

    def check_numbers(self, cells: Cells, parent: Molecule) -> None:
        """Raise `NumbersError` if another numbering fits more variants of a row's parent."""
        key = self._key(cells)
        if key not in self._numbering:
            named = map(named_mutations, self._texts.get(key, ()))
            variants = [variant for variant in named if _is_numbered(variant)]
            self._numbering[key] = _that_fit([([v], parent) for v in variants]), variants
        (counts, total), variants = self._numbering[key]
        text = self.text(cells)
        if total >= 3 and 2 * max(counts[name, False] for name in NUMBERINGS) < total:
            for mutation in named_mutations(text):
                shift = common_shift(variants, parent, mutation.chain)
                if shift and mutation.number.isdigit():
                    meant = mutation._replace(number=str(int(mutation.number) - shift))
                    raise NumbersError(
                        f"mutation {str(mutation)!r}: all of this parent's {total} variants fit "
                        f"with {shift} taken off their numbers: write {meant}"
                    )
        self._check_positions(text, parent, counts, total)

    def to_make(self, cells: Cells, molecule: Molecule, is_parent: bool | None) -> bool:
        """Whether a row's mutations are still to be made in the sequences beside them.

        `is_parent` says whether they are its parent's; None if that is not known. False if there is
        no mutation, the sequences hold them, or nobody can tell. Raises `InputError` if the
        sequences are of another variant, or the numbers are no positions.
        """
        text = self.text(cells)
        if not text or is_parent is False:
            return False
        key = self._key(cells)
        texts = self._texts.get(key, (text,))
        if is_parent or len(texts) > 1:
            held = self._held[key] = self._held.get(key) or self._told_apart(texts, molecule)
            if is_parent or held.beside_none or held.variants > 1:
                return self._to_make_in_shared(text, held, bool(is_parent), molecule, cells)
        if named := named_mutations(text):
            return self._to_make_in_own(text, named, molecule)
        if self._is_name or not bare_mutations(text):
            return False
        counts, total = self._fitting_of_own(bare=True)
        best = max(NUMBERINGS, key=lambda name: counts[name, False])
        made = max(counts[name, True] for name in NUMBERINGS)
        if 2 * counts[best, False] > total and counts[best, False] > made:
            if _any_fit(_options(text)[:2], molecule, False, best):
                raise self._not_in_its_sequence(text, molecule, "which has the residue before it")
        return False

    def _told_apart(self, texts: Sequence[str], molecule: Molecule) -> _Held:
        """Which of the mutations beside the same sequences these may hold."""
        variants = list({_options(each)[0] or each: each for each in texts if each}.values())
        befores, afters = set[str](), set[str]()
        for each in variants:
            fit = functools.partial(_any_fit, _options(each)[: 2 if self._is_name else 3], molecule)
            if not fit(False, POSITION) and fit(True, POSITION):
                afters.add(each)
            elif fit(False, *NUMBERINGS):
                befores.add(each)
            elif len(variants) == 1 and fit(True, *NUMBERINGS):
                afters.add(each)
        return _Held(len(variants), "" in texts, befores, afters)

    def _to_make_in_shared(
        self, text: str, held: _Held, is_parent: bool, molecule: Molecule, cells: Cells
    ) -> bool:
        """Of sequences that stand beside several mutations: they hold those of one at most."""
        befores, afters = held.befores, held.afters
        if self._is_name and not _is_notation(text) and len(befores) < held.variants:
            return False  # names of clones
        if afters and len(afters) >= len(befores) + held.beside_none + is_parent:
            if any(_options(each) == _options(text) for each in afters):
                return False
            raise MutationError(
                f"mutation {text!r} is not in its sequence, which is that of {min(afters)} in "
                "another row"
            )
        if _is_notation(text):
            self.check_numbers(cells, molecule)
            return True
        raise self._not_in_its_sequence(text, molecule, "which rows without it have as well")

    def _not_in_its_sequence(self, text: str, molecule: Molecule, why: str) -> MutationError:
        meant = [
            ",".join(map(str, option))
            for option in _options(text)
            if option and fits(option, molecule, POSITION, False)
        ]
        hint = f": write {' or '.join(meant)}" if meant else ", such as H:S31A or H:S31del"
        return MutationError(
            f"mutation {text!r} is not in its sequence, {why}; name its chain and count from 1 in "
            f"the variable domain{hint}"
        )

    def _to_make_in_own(self, text: str, named: tuple[Named, ...], molecule: Molecule) -> bool:
        """Of sequences that no other mutation stands beside: all such rows are judged together."""
        counts, total = self._fitting_of_own(bare=False)
        is_before = fits(named, molecule, POSITION, False)
        if 2 * counts[POSITION, True] > total and counts[POSITION, True] >= counts[POSITION, False]:
            if is_before and not fits(named, molecule, POSITION, True):
                raise MutationError(
                    f"mutation {text!r} is not in its sequence, which has the residue before it "
                    "where other rows hold theirs; give the variant's sequences"
                )
            return False
        best, is_made = max(counts, key=lambda way: counts[way])
        if is_made or 2 * counts[best, False] <= total:
            return False
        if any(counts[name, True] == counts[best, False] for name in NUMBERINGS):
            raise NumbersError(
                f"mutation {text!r} can be read two ways, by different numbers: still to be made, "
                "or in its sequence already; give the parent in place of heavy and light, or no "
                "mutation"
            )
        self._check_positions(text, molecule, counts, total)
        return True

    def _fitting_of_own(self, *, bare: bool) -> Fitting:
        """Of rows with sequences beside one mutation alone, whose chain is not named if `bare`."""
        if bare not in self._own:
            rows = []
            for key, row in self._rows.items():
                options = _options(self.text(row)) if len(self._texts[key]) == 1 else [()]
                if options[0] and (len(options) > 1) == bare:
                    molecule = self._molecule_of(row)
                    rows += [] if molecule is None else [(options[:2], molecule)]
            self._own[bare] = _that_fit(rows)
        return self._own[bare]

    def _check_positions(
        self, text: str, parent: Molecule, counts: Mapping[tuple[str, bool], int], total: int
    ) -> None:
        """Raise `NumbersError` if a numbering fits more variants than positions do."""
        named, at_position = named_mutations(text), counts[POSITION, False]
        best = self._stated or max(NUMBERINGS, key=lambda name: counts[name, False])
        if not _is_numbered(named):
            return
        if best == POSITION:
            if total >= 3 and 2 * at_position < total and fits(named, parent, POSITION, False):
                raise NumbersError(
                    f"mutation {text!r} may fit by chance: {at_position} of this parent's {total} "
                    "variants fit positions in its sequence, and no numbering fits more; count "
                    "positions from 1 in the variable domain"
                )
            return
        scheme = NUMBERINGS[best]
        said = f"{counts[best, False]} of this parent's {total} variants fit {scheme} numbers"
        meant = []
        for mutation in named:
            chain, before, number = mutation.chain, mutation.before, mutation.number
            if chain in ("H", "L") and before and not mutation.is_imgt:
                position = position_of(mutation, parent, best)
                if position is None:
                    raise NumbersError(
                        f"mutation {text!r}: {said}, but it has no {before} at {scheme} number "
                        f"{chain}:{number}"
                    )
                number = str(position)
            meant.append(mutation._replace(number=number))
        if meant != [*named]:
            raise NumbersError(
                f"mutation {text!r}: {said}, {at_position} positions in its sequence: write "
                f"{','.join(map(str, meant))}"
            )

    def _key(self, cells: Cells) -> int:
        if not is_not_measured(cells.get("heavy", "")):
            return hash(tuple(cells.get(name, "").strip() for name in MOLECULES))
        names = ("parent", *(f"parent_{name}" for name in MOLECULES))
        given = tuple(cells.get(name, "").strip() for name in names)
        return hash(given if any(given) else (self._parent, "", "", ""))


def _is_notation(text: str) -> bool:
    """Whether at least one of a text's mutations is written as this package does."""
    return any(named_mutations(part) for part in re.split(r"[,+;]", text))


def _options(text: str) -> list[tuple[Named, ...]]:
    """What a text may name: bare substitutions are of one of the chains."""
    if named := named_mutations(text):
        return [named]
    bare = bare_mutations(text)
    return [tuple(each._replace(chain=chain) for each in bare) for chain in ("H", "L", "A")]


def _any_fit(
    options: Sequence[tuple[Named, ...]], molecule: Molecule, made: bool, *names: str
) -> bool:
    return any(fits(named, molecule, name, made) for named in options for name in names)


def _is_numbered(named: Sequence[Named]) -> bool:
    """Whether it tells numberings apart."""
    return any(mutation.before and not mutation.is_imgt for mutation in named)


def _that_fit(variants: Sequence[tuple[list[tuple[Named, ...]], Molecule]]) -> Fitting:
    """How many fit, by numbering; each is of one of its options."""
    counts = {
        (name, made): sum(_any_fit(*variant, made, name) for variant in variants)
        for made in (False, True)
        for name in NUMBERINGS
    }
    return counts, len(variants)
