"""Mutations of a table's rows: to be made or in the sequences already, and in whose numbers.

A residue fits a wrong number one time in fifteen, so no row is judged alone: the numbering is the
one that fits most variants of a parent, and whether sequences hold their mutations is told by the
rows that share a sequence or, where each has its own, by all of them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from paratope.core.errors import InputError
from paratope.core.number_text import is_not_measured
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
Fitting = dict[tuple[str, bool], int]
_MOLECULES = ("heavy", "light", "antigen")


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


def joined_mutations(parts: Mapping[str, str]) -> str:
    """Mutations of the cells of `mutation_columns`; empty if they hold none.

    >>> joined_mutations({"H": "D31A", "L": "S52T"})
    'H:D31A,L:S52T'
    >>> joined_mutations({"before": "D", "number": "31", "after": "A", "chain": "heavy"})
    'H:D31A'
    """
    if "number" in parts:
        text = "".join(parts[part].strip() for part in ("before", "number", "after"))
        chain = _CHAIN_NAMES.get(parts.get("chain", "").strip().lower(), "")
        parts = {chain: text.removesuffix(".0")}
    found = []
    whole = "" if len(parts) < 2 else parts.get("", "").strip()
    for chain, text in parts.items():
        is_kept = text.strip() == whole and re.search("[0-9]", whole)  # an unreadable one, too
        bare = () if _is_notation(text) else bare_mutations(text)
        if chain and bare:
            text = ",".join(str(one._replace(chain=chain)) for one in bare)
        if is_kept or bare or _is_notation(text) or looks_like_mutation(text):
            found.append(text.strip())
    return ",".join(found) or whole


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
        # how many fit each numbering before and after, and of how many
        self._held: dict[int, _Held] = {}
        self._own: tuple[Fitting, int] | None = None
        self._bare: tuple[Fitting, int] | None = None
        self._numbering: dict[int, tuple[Fitting, list[tuple[Named, ...]]]] = {}

    def text(self, cells: Cells) -> str:
        """A row's mutations, or its id where that is what names them; empty for none."""
        text = cells.get(self._column, "").strip()
        is_none = is_not_measured(text) or is_wild_type(text)
        bare = bare_mutations(text)
        if (
            bare
            and _OF_FC.search(text)
            and all(int(re.sub(r"\D", "", one.number)) > 130 for one in bare)
        ):
            return ""  # beyond the variable domain
        if is_none or _is_notation(text) or bare:
            return "" if is_none else text
        return text if not self._is_name and looks_like_mutation(text) else ""

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
            self._own = self._bare = None

    @property
    def has_mutations(self) -> bool:
        """Whether rows may have mutations, as far as they are remembered."""
        return self._column == "mutations" or any(texts != ("",) for texts in self._texts.values())

    def check_numbers(self, cells: Cells, parent: Molecule) -> None:
        """Raise `NumbersError` if another numbering fits more variants of a row's parent."""
        key = self._key(cells)
        if key not in self._numbering:
            variants = [v for each in self._texts.get(key, ()) if _is_numbered(v := _named(each))]
            self._numbering[key] = _that_fit([([v], parent) for v in variants]), variants
        counts, variants = self._numbering[key]
        named, total = named_mutations(self.text(cells)), len(variants)
        if total >= 3 and 2 * max(counts[name, False] for name in NUMBERINGS) < total:
            for one in named:
                shift = common_shift(variants, parent, one.chain)
                if shift and one.number.isdigit():
                    meant = one._replace(number=str(int(one.number) - shift))
                    raise NumbersError(
                        f"mutation {str(one)!r}: all of this parent's {total} variants fit with "
                        f"{shift} taken off their numbers: write {meant}"
                    )
        _check_numbers(self.text(cells), parent, counts, total, self._stated)

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
            if key not in self._held:
                self._held[key] = self._told_apart(texts, molecule)
            held = self._held[key]
            if is_parent or held.beside_none or held.variants > 1:
                return self._to_make_in_shared(text, held, bool(is_parent), molecule, cells)
        if named := named_mutations(text):
            return self._to_make_in_own(text, named, molecule)
        if not self._is_name and bare_mutations(text):
            self._check_bare(text, molecule)
        return False

    def _check_bare(self, text: str, molecule: Molecule) -> None:
        """Raise `MutationError` if sequences of their own have the residues before, as most do."""
        if self._bare is None:
            each_row = [(_options(self.text(row)), row) for row in self._own_rows()]
            rows = [(each[:2], self._molecule_of(row)) for each, row in each_row if len(each) > 2]
            rows = [(each, of) for each, of in rows if each[0] and of is not None]
            self._bare = _that_fit(rows), len(rows)
        counts, total = self._bare
        best = max(NUMBERINGS, key=lambda name: counts[name, False])
        made = max(counts[name, True] for name in NUMBERINGS)
        if 2 * counts[best, False] > total and counts[best, False] > made:
            if any(fits(one, molecule, best, False) for one in _options(text)[:2]):
                raise self._not_in_its_sequence(text, molecule, "which has the residue before it")

    def _told_apart(self, texts: Sequence[str], molecule: Molecule) -> "_Held":
        """Which of the mutations beside the same sequences these may hold."""
        variants = list({_options(each)[0] or each: each for each in texts if each}.values())
        befores, afters = set[str](), set[str]()
        for each in variants:
            options = _options(each)[: 2 if self._is_name else 3]

            def fit(
                made: bool, *names: str, options: Sequence[tuple[Named, ...]] = options
            ) -> bool:
                return any(fits(one, molecule, name, made) for one in options for name in names)

            if not fit(False, POSITION) and fit(True, POSITION):
                afters.add(each)
            elif fit(False, *NUMBERINGS):
                befores.add(each)
            elif len(variants) == 1 and fit(True, *NUMBERINGS):
                afters.add(each)
        return _Held(len(variants), "" in texts, befores, afters)

    def _to_make_in_shared(
        self, text: str, held: "_Held", is_parent: bool, molecule: Molecule, cells: Cells
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
        if self._own is None:
            rows = [([_named(self.text(r))], self._molecule_of(r)) for r in self._own_rows()]
            rows = [(each, of) for each, of in rows if each[0] and of is not None]
            self._own = _that_fit(rows), len(rows)
        counts, total = self._own
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
        _check_numbers(text, molecule, counts, total, self._stated)
        return True

    def _own_rows(self) -> list[Cells]:
        """Rows with sequences that no other mutation stands beside."""
        return [row for key, row in self._rows.items() if len(self._texts[key]) == 1]

    def _key(self, cells: Cells) -> int:
        if not is_not_measured(cells.get("heavy", "")):
            return hash(tuple(cells.get(name, "").strip() for name in _MOLECULES))
        names = ("parent", *(f"parent_{name}" for name in _MOLECULES))
        given = tuple(cells.get(name, "").strip() for name in names)
        return hash(given if any(given) else (self._parent, "", "", ""))


def _is_notation(text: str) -> bool:
    """Whether at least one of a text's mutations is written as this package does."""
    return any(named_mutations(part) for part in re.split(r"[,+;]", text))


def _named(text: str) -> tuple[Named, ...]:
    return named_mutations(text) if text else ()


def _options(text: str) -> list[tuple[Named, ...]]:
    """What a text may name: bare substitutions are of one of the chains."""
    if named := named_mutations(text):
        return [named]
    return [tuple(one._replace(chain=c) for one in bare_mutations(text)) for c in ("H", "L", "A")]


def _is_numbered(named: Sequence[Named]) -> bool:
    """Whether it tells numberings apart."""
    return any(one.before and not one.is_imgt for one in named)


def _that_fit(variants: Sequence[tuple[list[tuple[Named, ...]], Molecule]]) -> Fitting:
    """How many fit, by numbering; each is of one of its options."""
    return {
        (name, made): sum(
            any(fits(each, molecule, name, made) for each in options)
            for options, molecule in variants
        )
        for made in (False, True)
        for name in NUMBERINGS
    }


def _check_numbers(
    text: str, parent: Molecule, counts: Fitting, total: int, stated: str | None
) -> None:
    named, at_position = named_mutations(text), counts[POSITION, False]
    best = stated or max(NUMBERINGS, key=lambda name: counts[name, False])
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
    for one in named:
        is_other = one.chain in ("H", "L") and one.before and not one.is_imgt
        place = position_of(one, parent, best) if is_other else one.number
        if place is None:
            raise NumbersError(
                f"mutation {text!r}: {said}, but it has no {one.before} at {scheme} number "
                f"{one.chain}:{one.number}"
            )
        meant.append(one._replace(number=str(place)))
    if meant != [*named]:
        raise NumbersError(
            f"mutation {text!r}: {said}, {at_position} positions in its sequence: write "
            f"{','.join(map(str, meant))}"
        )
