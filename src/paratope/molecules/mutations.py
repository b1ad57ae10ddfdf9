"""Mutations of an antibody or antigen: their notation, applied and checked against the parent.

Positions are residues counted from 1 in the variable domain's sequence (in the whole chain, for an
antigen):

=================  =================================================================================
``H:S31A``         residue 31 of the heavy chain, S in the parent, becomes A
``L:T94del``       residue 94 of the light chain, T, is left out
``H:103insGY``     GY is put in after residue 103 (``H:0insGY``: before the first)
``A:K12E``         residue 12 of the antigen; ``A2:K12E`` of its second chain
=================  =================================================================================

The same by IMGT numbers, which are counted alike in every antibody, has the parent's residue
behind the number, then an arrow (``→`` or ``->``):

=================  =================================================================================
``H:36S→A``        IMGT position 36, S in the parent, becomes A
``H:111AY→W``      IMGT position 111A, Y in the parent, becomes W: the last letter is the residue
``H:111AY→del``    that residue is left out
``H:111AY→YGS``    GS is put in after it
=================  =================================================================================

Several are joined by ``,`` or ``+``; ``WT`` is none.
"""

import dataclasses
import itertools
import re
import string
from collections.abc import Iterable, Sequence
from typing import overload

from rapidfuzz.distance import Levenshtein

from paratope.core.errors import InputError
from paratope.molecules.numbering import REGIONS, SCHEMES, Domain, number_chain, prepare_antibody
from paratope.molecules.sequences import ALPHABET, Antibody, Antigen, Pair

WILD_TYPE = "WT"
_NO_MUTATION = frozenset({"", "wt", "wild type", "wild-type", "wildtype", "parent", "none", "-"})
_EXPECTED = (
    "expected such as H:S31A (chain, residue in the parent, position from 1, new residue), "
    "H:S31del, H:31insGG, or by IMGT numbers H:36S→A; several joined by ','"
)
_CHAIN_NAMES = {"H": "heavy chain", "L": "light chain", "A": "antigen"}
_CHAIN = r"(?P<chain>[HL]|A[1-9]?[0-9]*):"
_FORMS = (
    re.compile(_CHAIN + r"(?P<before>[A-Z])(?P<position>[0-9]+)(?P<after>[A-Z])", re.IGNORECASE),
    re.compile(_CHAIN + r"(?P<before>[A-Z])(?P<position>[0-9]+)(?P<after>)del"),
    re.compile(_CHAIN + r"(?P<before>)(?P<position>[0-9]+)ins(?P<after>[A-Z]+)"),
    re.compile(_CHAIN + r"ins(?P<before>)(?P<position>[0-9]+)(?P<after>[A-Z]+)"),
)
_IMGT_FORM = re.compile(
    r"(?P<chain>[HL]):(?P<label>[0-9]+[A-Z]*)(?P<before>[A-Z])(?:→|->)(?P<after>[A-Z]+|del)"
)
# Residues shown to each side of one that is not what a mutation says.
_NEIGHBOURS = 2

# What one region of one chain is called: H1 is the CDR1 of the heavy chain.
REGION_NAMES: dict[str, tuple[str, str]] = {
    chain + region.removeprefix("CDR"): (chain, region) for chain in "HL" for region in REGIONS
}
_REGION_GROUPS = {"ALL": tuple(REGION_NAMES)} | {
    group: tuple(
        name for name, (chain, region) in REGION_NAMES.items() if group in (chain, region[:-1])
    )
    for group in ("CDR", "FR", "H", "L")
}


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Mutation:
    """A substitution, a deletion or an insertion; `InputError` if none of them, or no change.

    >>> str(Mutation("H", "S", 31, "A")), str(Mutation("H", "S", 31, ""))
    ('H:S31A', 'H:S31del')
    """

    # ``"H"``, ``"L"``, or ``"A"`` for the antigen (``"A2"`` for its second chain, and so on)
    chain: str
    before: str  # The residue there in the parent; empty for an insertion
    # Of the residue, from 1 in the variable domain (antigen: in the chain). An insertion goes
    # behind it, 0 being before the first residue.
    position: int
    after: str  # The new residue; empty for a deletion; one or more residues for an insertion

    def __post_init__(self) -> None:
        chains = self.chain in ("H", "L", "A") or re.fullmatch(r"A([2-9]|[1-9]\d+)", self.chain)
        letters = set(self.before + self.after) <= set(ALPHABET)
        shape = (len(self.before), min(len(self.after), 2 if self.before else 1))
        if not (chains and letters and shape in ((1, 1), (1, 0), (0, 1))):
            raise InputError(f"mutation {str(self)!r}: {_EXPECTED}")
        if self.position < len(self.before) or self.position < 0:
            raise InputError(f"mutation {str(self)!r}: positions are counted from 1")
        if self.before == self.after:
            raise InputError(f"mutation {str(self)!r} changes nothing; leave it out")

    def __str__(self) -> str:
        """By position in the sequence, as `parse_mutation` reads it."""
        if not self.before:
            return f"{self.chain}:{self.position}ins{self.after}"
        return f"{self.chain}:{self.before}{self.position}{self.after or 'del'}"

    @property
    def kind(self) -> str:
        """``"substitution"``, ``"deletion"`` or ``"insertion"``."""
        if not self.before:
            return "insertion"
        return "substitution" if self.after else "deletion"

    def imgt(self, parent: Antibody | Pair) -> str:
        """By IMGT numbers of the parent; an antigen's mutation, which has none, as ``str``.

        >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDN"
        ...        "SKNTLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
        >>> Mutation("H", "S", 31, "A").imgt(Antibody(vhh))
        'H:36S→A'
        """
        if self.chain not in ("H", "L") or not self.position:
            return str(self)
        domain = chain_domain(parent, self.chain)
        if self.position > len(domain.residues):
            raise InputError(_beyond(self, domain.residues))
        label, before = domain.positions[self.position - 1], domain.residues[self.position - 1]
        after = self.after or "del"
        return f"{self.chain}:{label}{before}→{after if self.before else before + after}"


# checked against a parent


def check_mutation(parent: Antibody | Pair, mutation: Mutation) -> None:
    """Raise `InputError` if the parent has no such position, or another residue there."""
    try:
        residues = _chain_residues(parent, mutation.chain)
    except InputError as error:
        raise InputError(f"mutation {str(mutation)!r}: {error}") from None
    if mutation.position > len(residues):
        raise InputError(_beyond(mutation, residues))
    if mutation.before and residues[mutation.position - 1] != mutation.before:
        raise InputError(_differs(mutation, residues))


def chain_domain(parent: Antibody | Pair, chain: str) -> Domain:
    """The numbered variable domain of chain ``"H"`` or ``"L"``; `InputError` if there is none."""
    return number_chain(_chain_residues(parent, chain))


def _variable_domains(parent: Antibody | Pair) -> Antibody:
    antibody = parent.antibody if isinstance(parent, Pair) else parent
    return prepare_antibody(antibody)[0]


def _chain_residues(parent: Antibody | Pair, chain: str) -> str:
    if chain in ("H", "L"):
        antibody = _variable_domains(parent)
        residues = antibody.heavy if chain == "H" else antibody.light
        if residues is None:
            raise InputError(
                "the parent has no light chain (a single-domain antibody); its only chain is H"
            )
        return residues
    if not isinstance(parent, Pair):
        raise InputError("this is of the antigen; expected a mutation of the antibody, H or L")
    number, count = int(chain[1:] or 1), len(parent.antigen.chains)
    if number > count:
        raise InputError(f"the antigen has {count} chain{'s' * (count != 1)}, no {chain}")
    return parent.antigen.chains[number - 1]


def _ordered(mutations: Iterable[Mutation]) -> tuple[Mutation, ...]:
    """By chain (H, L, A, A2 …) and position, an insertion behind what else is there."""

    def key(mutation: Mutation) -> tuple[int, int, int, bool]:
        number = int(mutation.chain[1:] or 1)
        return "HLA".index(mutation.chain[0]), number, mutation.position, not mutation.before

    return tuple(sorted(mutations, key=key))


def _check_distinct(ordered: Sequence[Mutation]) -> None:
    for first, second in itertools.pairwise(ordered):
        places = {(each.chain, each.position, not each.before) for each in (first, second)}
        if len(places) == 1:
            raise InputError(
                f"mutations {first} and {second} change the same position; give one of them"
            )


def _chain_name(chain: str) -> str:
    return _CHAIN_NAMES[chain[0]] + (f" chain {chain[1:]}" if chain[1:] else "")


def _beyond(mutation: Mutation, residues: str) -> str:
    return (
        f"mutation {str(mutation)!r}: the parent's {_chain_name(mutation.chain)} has "
        f"{len(residues)} residues"
    )


def _differs(mutation: Mutation, residues: str) -> str:
    """What is at the position instead, what stands around it, and what was probably meant."""
    position, wanted = mutation.position, mutation.before
    first = max(1, position - _NEIGHBOURS)
    around = residues[first - 1 : position + _NEIGHBOURS]
    message = (
        f"mutation {str(mutation)!r}: the parent has {residues[position - 1]} at position "
        f"{position} of its {_chain_name(mutation.chain)}, not {wanted} (residues {first} to "
        f"{first + len(around) - 1} are {around})"
    )
    if mutation.chain in ("H", "L"):
        for scheme in SCHEMES:
            domain = number_chain(residues, scheme)
            if str(position) in domain.positions:
                index = domain.positions.index(str(position))
                if residues[index] == wanted:
                    name = scheme.upper() if scheme == "imgt" else scheme.capitalize()
                    meant = dataclasses.replace(mutation, position=index + 1)
                    return f"{message}; {name} number {position} is {wanted}: write {meant}"
    positions = [at for at, letter in enumerate(residues, start=1) if letter == wanted]
    if not positions:
        return f"{message}; there is no {wanted} in this chain"
    nearest = min(positions, key=lambda at: (abs(at - position), at))
    return f"{message}; the nearest {wanted} is at position {nearest}"


# read and written


def parse_mutation(text: str, parent: Antibody | Pair | None = None) -> Mutation:
    """One mutation of its notation.

    A parent is needed for IMGT numbers; the mutation is checked against it (one of the antigen only
    if it is a pair). Raises `InputError` if it cannot be read, or the parent has another residue
    there.

    >>> parse_mutation("H:S31A")
    Mutation(chain='H', before='S', position=31, after='A')
    """
    written = "".join(text.split())
    match = next((match for form in _FORMS if (match := form.fullmatch(written))), None)
    if match is not None:
        chain = match["chain"].upper()
        mutation = Mutation(
            "A" if chain == "A1" else chain,
            match["before"].upper(),
            int(match["position"]),
            match["after"].upper(),
        )
    elif (match := _IMGT_FORM.fullmatch(written)) is None:
        raise InputError(f"mutation {text.strip()!r}: cannot be read; {_EXPECTED}")
    elif parent is None:
        raise InputError(
            f"mutation {text.strip()!r} has IMGT numbers, which need the parent's sequence; "
            "give the parent, or the position in the sequence such as H:S31A"
        )
    else:
        mutation = _from_imgt(match, parent)
    if isinstance(parent, Pair) or (parent is not None and mutation.chain in ("H", "L")):
        check_mutation(parent, mutation)
    return mutation


def is_wild_type(text: str) -> bool:
    """Whether a text says that there is no mutation: ``WT``, ``wild type``, nothing."""
    return text.strip().lower() in _NO_MUTATION


def parse_mutations(text: str, parent: Antibody | Pair | None = None) -> tuple[Mutation, ...]:
    """Mutations joined by ``,`` or ``+`` (``;`` is read too), in order of chain and position.

    ``WT`` and nothing are no mutation. Raises `InputError` as `parse_mutation`, and if two change
    the same position.

    >>> [str(mutation) for mutation in parse_mutations("L:T93Y + H:S31A")]
    ['H:S31A', 'L:T93Y']
    >>> parse_mutations("WT")
    ()
    """
    if is_wild_type(text):
        return ()
    parts = [part for part in re.split(r"[,+;]", text) if part.strip()]
    mutations = _ordered(parse_mutation(part, parent) for part in parts)
    _check_distinct(mutations)
    return mutations


def format_mutations(mutations: Iterable[Mutation], imgt_of: Antibody | Pair | None = None) -> str:
    """Mutations joined by ``,``; ``WT`` for none; by the IMGT numbers of a parent if one is given.

    >>> format_mutations([Mutation("H", "S", 31, "A"), Mutation("H", "Y", 33, "")])
    'H:S31A,H:Y33del'
    """
    texts = (str(each) if imgt_of is None else each.imgt(imgt_of) for each in mutations)
    return ",".join(texts) or WILD_TYPE


def _from_imgt(match: re.Match[str], parent: Antibody | Pair) -> Mutation:
    chain, label, before, after = match["chain"], match["label"], match["before"], match["after"]
    text = match[0]
    try:
        domain = chain_domain(parent, chain)
    except InputError as error:
        raise InputError(f"mutation {text!r}: {error}") from None
    labels = domain.positions
    if label not in labels:

        def distance(other: str) -> int:
            there, wanted = (int(text.rstrip(string.ascii_uppercase)) for text in (other, label))
            return abs(there - wanted)

        near = ", ".join(sorted(sorted(labels, key=distance)[:4], key=labels.index))
        raise InputError(
            f"mutation {text!r}: the parent's {_chain_name(chain)} has no IMGT position {label}; "
            f"near it are {near}"
        )
    position = labels.index(label) + 1
    residue = domain.residues[position - 1]
    if residue != before:
        longer = label + before  # "111A→W", meant as the position 111A
        hint = ""
        if longer in labels:
            there = domain.residues[labels.index(longer)]
            hint = (
                f"; for IMGT position {longer}, put its residue {there} behind the number: "
                f"{chain}:{longer}{there}→{after}"
            )
        raise InputError(
            f"mutation {text!r}: the parent has {residue} at IMGT position {label} (position "
            f"{position} of its {_chain_name(chain)}), not {before}{hint}"
        )
    if after == "del" or len(after) == 1:
        return Mutation(chain, before, position, "" if after == "del" else after)
    if after[0] != before:
        raise InputError(
            f"mutation {text!r}: an insertion begins with the residue it goes behind, as in "
            f"{chain}:{label}{before}→{before}{after[1:]}"
        )
    return Mutation(chain, "", position, after[1:])


# applied, and found again


@overload
def apply_mutations(parent: Antibody, mutations: Iterable[Mutation]) -> Antibody: ...
@overload
def apply_mutations(parent: Pair, mutations: Iterable[Mutation]) -> Pair: ...
def apply_mutations(parent: Antibody | Pair, mutations: Iterable[Mutation]) -> Antibody | Pair:
    """The parent with mutations, each counted in it and checked against it, under its names.

    It is cut to its variable domains if it is not yet; mutations of an antigen need a pair. Raises
    `InputError` as `check_mutation`; if two mutations change the same position, a mutation is of a
    chain that is not there, or nothing of a chain is left.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> apply_mutations(Antibody(vhh), parse_mutations("H:S31A,H:Y32del")).heavy[26:36]
    'FTFSAAMSWV'
    """
    ordered = _ordered(mutations)
    _check_distinct(ordered)
    for mutation in ordered:
        check_mutation(parent, mutation)

    def changed(residues: str, chain: str) -> str:
        for mutation in reversed([one for one in ordered if one.chain == chain]):
            start = mutation.position - len(mutation.before)
            residues = residues[:start] + mutation.after + residues[mutation.position :]
        if not residues:
            raise InputError(f"nothing is left of the {_chain_name(chain)} after its deletions")
        return residues

    antibody = _variable_domains(parent)
    light = None if antibody.light is None else changed(antibody.light, "L")
    variant = Antibody(changed(antibody.heavy, "H"), light, antibody.name)
    if isinstance(parent, Antibody):
        return variant
    antigens = enumerate(parent.antigen.chains)
    chains = tuple(changed(residues, _antigen_chain(index)) for index, residues in antigens)
    return Pair(variant, Antigen(chains, parent.antigen.name))


@overload
def mutations_between(parent: Antibody, variant: Antibody) -> tuple[Mutation, ...]: ...
@overload
def mutations_between(parent: Pair, variant: Pair) -> tuple[Mutation, ...]: ...
def mutations_between(parent: Antibody | Pair, variant: Antibody | Pair) -> tuple[Mutation, ...]:
    """What makes the variant of the parent: ``apply_mutations(parent, …)`` gives the variant.

    Chains of different length are aligned by their IMGT numbers, or, where that takes fewer
    changes, by the fewest edits; antibodies are cut to their variable domains if they are not yet.
    In order of chain and position. Raises `InputError` if one has a chain that the other lacks, or
    is no antibody.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> format_mutations(mutations_between(Antibody(vhh), Antibody(vhh.replace("SSY", "SY"))))
    'H:S30del'
    """
    old, new = _variable_domains(parent), _variable_domains(variant)
    if (old.light is None) != (new.light is None):
        which = "the variant" if old.light is None else "the parent"
        raise InputError(f"{which} has a light chain and the other has none: no variant of it")
    mutations = _between_domains("H", old.heavy, new.heavy)
    if old.light is not None and new.light is not None:
        mutations += _between_domains("L", old.light, new.light)
    if isinstance(parent, Pair) and isinstance(variant, Pair):
        chains = parent.antigen.chains, variant.antigen.chains
        if len(chains[0]) != len(chains[1]):
            raise InputError(
                f"the parent's antigen has {len(chains[0])} chains, the variant's {len(chains[1])}"
            )
        for index, (before, after) in enumerate(zip(*chains, strict=True)):
            mutations += _fewest_edits(_antigen_chain(index), before, after)
    return tuple(mutations)


def _antigen_chain(index: int) -> str:
    return "A" if index == 0 else f"A{index + 1}"


def _between_domains(chain: str, old: str, new: str) -> list[Mutation]:
    if old == new:
        return []
    if len(old) == len(new):
        aligned = enumerate(zip(old, new, strict=True), start=1)
        in_place = [Mutation(chain, a, position, b) for position, (a, b) in aligned if a != b]
        if len(in_place) <= 2:  # no alignment takes fewer
            return in_place
    else:
        in_place = _by_numbering(chain, old, new)

    def residues_changed(mutations: list[Mutation]) -> int:
        return sum(max(len(one.before), len(one.after)) for one in mutations)

    return min(in_place, _fewest_edits(chain, old, new), key=residues_changed)


def _fewest_edits(chain: str, old: str, new: str) -> list[Mutation]:
    """Substitutions, deletions and insertions of the Levenshtein distance."""
    steps = [
        (edit.tag, edit.src_pos, "" if edit.tag == "delete" else new[edit.dest_pos])
        for edit in Levenshtein.editops(old, new)
    ]
    return _merged(chain, old, steps)


def _by_numbering(chain: str, old: str, new: str) -> list[Mutation]:
    """Residues with the same IMGT number are aligned."""
    left, right = number_chain(old), number_chain(new)
    here, there = set(left.positions), set(right.positions)
    steps: list[tuple[str, int, str]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        if i < len(old) and (j == len(new) or left.positions[i] not in there):
            steps.append(("delete", i, ""))
            i += 1
        elif j < len(new) and (i == len(old) or right.positions[j] not in here):
            steps.append(("insert", i, new[j]))
            j += 1
        else:  # the same number: both are in one order
            if old[i] != new[j]:
                steps.append(("replace", i, new[j]))
            i, j = i + 1, j + 1
    return _merged(chain, old, steps)


def _merged(chain: str, old: str, steps: list[tuple[str, int, str]]) -> list[Mutation]:
    """Steps at indices from 0 as mutations; residues put in at one index as one insertion."""
    inserted: dict[int, str] = {}
    mutations = []
    for tag, index, letter in steps:
        if tag == "insert":
            inserted[index] = inserted.get(index, "") + letter
        else:
            mutations.append(Mutation(chain, old[index], index + 1, letter))
    mutations += [Mutation(chain, "", index, letters) for index, letters in inserted.items()]
    return list(_ordered(mutations))


# regions by name


def parse_regions(text: str) -> tuple[str, ...]:
    """Regions named in a list: keys of `REGION_NAMES`, in their order.

    Separated by ``,``: such keys (``H3``, ``LFR1``); ``CDR1`` or ``FR1`` of both chains; ``CDRH3``
    for ``H3``; ``CDR``, ``FR``, ``H``, ``L``, ``all``. Raises `InputError` if a name is none of
    these, or there is none.

    >>> parse_regions("CDR3,H1"), parse_regions("CDR-H3")
    (('H1', 'H3', 'L3'), ('H3',))
    """
    chosen: set[str] = set()
    for part in text.split(","):
        name = re.sub(r"^CDR-?([HL]?)([123])$", r"\1\2", part.strip().upper())
        if not name:
            continue
        members = _REGION_GROUPS.get(name, (name,) if name in REGION_NAMES else ())
        if not members and f"H{name}" in REGION_NAMES:  # a CDR or framework of both chains
            members = (f"H{name}", f"L{name}")
        if not members:
            valid = ", ".join((*_REGION_GROUPS, "CDR1", "FR1", *REGION_NAMES))
            raise InputError(f"unknown region {part.strip()!r}; valid names: {valid}")
        chosen.update(members)
    if not chosen:
        raise InputError("no region is named; expected such as CDR, H3 or all")
    return tuple(name for name in REGION_NAMES if name in chosen)


def positions_in(
    antibody: Antibody | Pair, chain: str, regions: Sequence[str] | None = None
) -> tuple[int, ...]:
    """Positions (from 1) of a chain's residues that are in regions; all of them by default.

    Raises `InputError` for a region that there is not.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> positions_in(Antibody(vhh), "H", ["H1"])
    (26, 27, 28, 29, 30, 31, 32, 33)
    """
    domain = chain_domain(antibody, chain)
    if unknown := [name for name in regions or () if name not in REGION_NAMES]:
        raise InputError(f"unknown region {unknown[0]!r}; valid names: {', '.join(REGION_NAMES)}")
    wanted = {REGION_NAMES[name] for name in (REGION_NAMES if regions is None else regions)}
    return tuple(
        position
        for position, region in enumerate(domain.regions, start=1)
        if (chain, region) in wanted
    )
