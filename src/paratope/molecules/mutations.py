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

Several are joined by ``,`` or ``+``; ``WT`` is none. What tables write in other numbers, or without
a chain, is read as a `Named` mutation; `fits` says in whose numbers a sequence has it.
"""

import dataclasses
import functools
import itertools
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from rapidfuzz.distance import Levenshtein

from paratope.core.errors import InputError
from paratope.molecules.numbering import (
    REGIONS,
    SCHEMES,
    Domain,
    find_domains,
    number_chain,
    prepare_antibody,
)
from paratope.molecules.sequences import ALPHABET, AMINO_ACIDS, Antibody, Pair

Molecule = TypeVar("Molecule", Antibody, Pair)
WILD_TYPE = "WT"
_NO_MUTATION = frozenset({"", "wt", "wild type", "wild-type", "wildtype", "parent", "none", "-"})
_EXPECTED = (
    "expected such as H:S31A (chain, residue in the parent, position from 1, new residue), "
    "H:S31del, H:31insGG, or by IMGT numbers H:36S→A; several joined by ','"
)
_CHAIN_NAMES = {"H": "heavy chain", "L": "light chain", "A": "antigen"}
_CHAIN = r"(?i)(?P<chain>[HL]|A[0-9]*):"
_FORMS = tuple(
    re.compile(_CHAIN + form)
    for form in (
        r"(?P<before>[A-Z])(?P<number>[0-9]+[A-Z]?)(?P<after>del|[A-Z])",
        r"(?P<before>)(?P<number>[0-9]+)ins(?P<after>[A-Z]+)",
        r"ins(?P<before>)(?P<number>[0-9]+)(?P<after>[A-Z]+)",
        r"(?P<number>[0-9]+[A-Z]*)(?P<before>[A-Z])(?P<arrow>→|->)(?P<after>[A-Z]+)",
    )
)
# A substitution or deletion whose chain is not named as this package does; HD31A and DH31A name it.
_BARE = re.compile(
    r"(?<![A-Za-z0-9])(?:(?![^HL][HL])[A-Z](?=[A-Z][0-9]))?(?P<before>[A-Z][a-z]{2}|[A-Z])"
    r"[HL]?(?P<number>[0-9]{1,4}[A-Za-z]?)(?:→|->|>)?(?P<after>[A-Z][a-z]{2}|[A-Z]|del)(?![A-Za-z0-9])"
)
# What only a mutation looks like, though it is not read
_UNREAD = re.compile(
    r"(?i)(?:\b|_)(?:del|ins|dup|Δ)\s?[a-z]?\d+|\d[a-z]?(?:del|ins|dup)|\b[HL]:|\b[a-z]\d{1,4}[a-z]?[*-](?=$|[\s,;/+])"
    r"|\b\d+[a-z]{1,2}\s?(?:→|->|>)|\b[a-z]\(\d+\)[a-z]|\b(?-i:[ac-ik-np-tvwy]\d{1,4}[ac-ik-np-tvwy])\b"
)
_NAMES = "Ala Cys Asp Glu Phe Gly His Ile Lys Leu Met Asn Pro Gln Arg Ser Thr Val Trp Tyr".split()
_LETTERS = dict(zip(_NAMES, AMINO_ACIDS, strict=True)) | {letter: letter for letter in AMINO_ACIDS}
# Residues shown to each side of one that is not what a mutation says.
_NEIGHBOURS = 2

POSITION = "position"
# Names of the numberings in messages; positions are counted from 1 in the variable domain.
NUMBERINGS = {POSITION: "position"} | {
    scheme: scheme.upper() if scheme == "imgt" else scheme.capitalize() for scheme in SCHEMES
}

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


class Named(NamedTuple):
    """A mutation as it is written; which numbers it has is not known yet."""

    chain: str  # ``"H"``, ``"L"``, ``"A"``, ``"A2"`` …; empty where none is named so
    before: str  # Residue before; empty for an insertion
    number: str  # such as ``"52A"``
    after: str  # Residues after; empty for a deletion
    is_imgt: bool = False  # written with an arrow

    def __str__(self) -> str:
        """As it is written."""
        if self.is_imgt:
            return f"{self.chain}:{self.number}{self.before}→{self.after or 'del'}"
        if not self.before:
            return f"{self.chain}:{self.number}ins{self.after}"
        return f"{self.chain}:{self.before}{self.number}{self.after or 'del'}"


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
        return str(Named(self.chain, self.before, str(self.position), self.after))

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
        residues = _residues_of(parent, mutation.chain)
    except InputError as error:
        raise InputError(f"mutation {str(mutation)!r}: {error}") from None
    position, wanted = mutation.position, mutation.before
    if position > len(residues):
        raise InputError(_beyond(mutation, residues))
    if not wanted or residues[position - 1] == wanted:
        return
    # what is there instead, what stands around it, and what was probably meant
    first = max(1, position - _NEIGHBOURS)
    around = residues[first - 1 : position + _NEIGHBOURS]
    message = (
        f"mutation {str(mutation)!r}: the parent has {residues[position - 1]} at position "
        f"{position} of its {_chain_name(mutation.chain)}, not {wanted} (residues {first} to "
        f"{first + len(around) - 1} are {around})"
    )
    named = Named(mutation.chain, wanted, str(position), mutation.after)
    for scheme in SCHEMES if mutation.chain in ("H", "L") else ():
        if (meant := position_of(named, parent, scheme)) is not None:
            meant = dataclasses.replace(mutation, position=meant)
            number = f"{NUMBERINGS[scheme]} number {position} is {wanted}"
            raise InputError(f"{message}; {number}: write {meant}")
    positions = [at for at, letter in enumerate(residues, start=1) if letter == wanted]
    if not positions:
        raise InputError(f"{message}; there is no {wanted} in this chain")
    nearest = min(positions, key=lambda at: (abs(at - position), at))
    raise InputError(f"{message}; the nearest {wanted} is at position {nearest}")


def chain_domain(parent: Antibody | Pair, chain: str) -> Domain:
    """The numbered variable domain of chain ``"H"`` or ``"L"``; `InputError` if there is none."""
    return number_chain(_residues_of(parent, chain))


def _chains(parent: Antibody | Pair) -> dict[str, str]:
    """Residues of each chain, ``"H"``, ``"L"``, ``"A"``, ``"A2"`` …: antibodies' of the domains."""
    antibody = parent.antibody if isinstance(parent, Pair) else parent
    chains = dict(zip("HL", prepare_antibody(antibody)[0].chains, strict=False))
    antigens = parent.antigen.chains if isinstance(parent, Pair) else ()
    return chains | {f"A{n}" if n > 1 else "A": each for n, each in enumerate(antigens, start=1)}


def _residues_of(parent: Antibody | Pair, chain: str) -> str:
    chains = _chains(parent)
    if chain in chains:
        return chains[chain]
    if chain == "L":
        raise InputError(
            "the parent has no light chain (a single-domain antibody); its only chain is H"
        )
    if not isinstance(parent, Pair):
        raise InputError("this is of the antigen; expected a mutation of the antibody, H or L")
    count = len(parent.antigen.chains)
    raise InputError(f"the antigen has {count} chain{'s' * (count != 1)}, no {chain}")


def _ordered(mutations: Iterable[Mutation]) -> tuple[Mutation, ...]:
    """By chain (H, L, A, A2 …) and position, an insertion behind what else is there.

    Raises `InputError` if two change the same position.
    """

    def key(mutation: Mutation) -> tuple[int, int, int, bool]:
        number = int(mutation.chain[1:] or 1)
        return "HLA".index(mutation.chain[0]), number, mutation.position, not mutation.before

    ordered = sorted(mutations, key=key)
    for first, second in itertools.pairwise(ordered):
        if key(first) == key(second):
            raise InputError(
                f"mutations {first} and {second} change the same position; give one of them"
            )
    return tuple(ordered)


def _chain_name(chain: str) -> str:
    return _CHAIN_NAMES[chain[0]] + (f" chain {chain[1:]}" if chain[1:] else "")


def _beyond(mutation: Mutation, residues: str) -> str:
    return (
        f"mutation {str(mutation)!r}: the parent's {_chain_name(mutation.chain)} has "
        f"{len(residues)} residues"
    )


# read and written


def parse_mutation(text: str, parent: Antibody | Pair | None = None) -> Mutation:
    """One mutation of its notation.

    A parent is needed for IMGT numbers; the mutation is checked against it (one of the antigen only
    if it is a pair). Raises `InputError` if it cannot be read, or the parent has another residue
    there.

    >>> parse_mutation("H:S31A")
    Mutation(chain='H', before='S', position=31, after='A')
    """
    named, shown = _read(text), text.strip()
    of_domain = named is not None and named.chain in ("H", "L")
    if named is None or not (of_domain if named.is_imgt else named.number.isdigit()):
        raise InputError(f"mutation {shown!r}: cannot be read; {_EXPECTED}")
    if not named.is_imgt:
        mutation = Mutation(named.chain, named.before, int(named.number), named.after)
    elif parent is None:
        raise InputError(
            f"mutation {shown!r} has IMGT numbers, which need the parent's sequence; "
            "give the parent, or the position in the sequence such as H:S31A"
        )
    else:
        mutation = _from_imgt("".join(text.split()), named, parent)
    if isinstance(parent, Pair) or (parent is not None and of_domain):
        check_mutation(parent, mutation)
    return mutation


def _read(text: str) -> Named | None:
    """A text that is of the notation, numbers with a letter included, as it is written."""
    written = "".join(text.split())
    match = next((match for form in _FORMS if (match := form.fullmatch(written))), None)
    if match is None:
        return None
    parts = {name: part.upper() for name, part in match.groupdict().items()}
    chain = "A" if parts["chain"] == "A1" else parts["chain"]
    # of an arrow, capitals DEL are residues
    is_deletion = match["after"] == "del" or ("arrow" not in parts and parts["after"] == "DEL")
    after = "" if is_deletion and parts["before"] else parts["after"]
    return Named(chain, parts["before"], parts["number"], after, "arrow" in parts)


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
    return _ordered(parse_mutation(part, parent) for part in parts)


def format_mutations(mutations: Iterable[Mutation], imgt_of: Antibody | Pair | None = None) -> str:
    """Mutations joined by ``,``; ``WT`` for none; by the IMGT numbers of a parent if one is given.

    >>> format_mutations([Mutation("H", "S", 31, "A"), Mutation("H", "Y", 33, "")])
    'H:S31A,H:Y33del'
    """
    texts = (str(each) if imgt_of is None else each.imgt(imgt_of) for each in mutations)
    return ",".join(texts) or WILD_TYPE


def _from_imgt(text: str, named: Named, parent: Antibody | Pair) -> Mutation:
    chain, before, label, after, _ = named
    try:
        domain = chain_domain(parent, chain)
    except InputError as error:
        raise InputError(f"mutation {text!r}: {error}") from None
    residues = dict(zip(domain.positions, domain.residues, strict=True))
    if label not in residues:

        def distance(other: str) -> int:
            there, wanted = (int(each.rstrip(string.ascii_uppercase)) for each in (other, label))
            return abs(there - wanted)

        labels = domain.positions
        near = ", ".join(sorted(sorted(labels, key=distance)[:4], key=labels.index))
        raise InputError(
            f"mutation {text!r}: the parent's {_chain_name(chain)} has no IMGT position {label}; "
            f"near it are {near}"
        )
    position = domain.positions.index(label) + 1
    if residues[label] != before:
        hint = ""
        if there := residues.get(longer := label + before):  # "111A→W", meant as the position 111A
            hint = (
                f"; for IMGT position {longer}, put its residue {there} behind the number: "
                f"{chain}:{longer}{there}→{after or 'del'}"
            )
        raise InputError(
            f"mutation {text!r}: the parent has {residues[label]} at IMGT position {label} "
            f"(position {position} of its {_chain_name(chain)}), not {before}{hint}"
        )
    if len(after) <= 1:
        return Mutation(chain, before, position, after)
    if after[0] != before:
        raise InputError(
            f"mutation {text!r}: an insertion begins with the residue it goes behind, as in "
            f"{chain}:{label}{before}→{before}{after[1:]}"
        )
    return Mutation(chain, "", position, after[1:])


# applied, and found again


def apply_mutations(parent: Molecule, mutations: Iterable[Mutation]) -> Molecule:
    """The parent with mutations, each counted in it and checked against it, under its names.

    It is cut to its variable domains if it is not yet; mutations of an antigen need a pair. Raises
    `InputError` as `check_mutation`; if two mutations change the same position, a mutation is of a
    chain that is not there, or nothing of a chain is left.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> apply_mutations(Antibody(vhh), parse_mutations("H:S31A,H:Y32del")).heavy[26:36]
    'FTFSAAMSWV'
    """
    ordered, chains = _ordered(mutations), _chains(parent)
    for mutation in ordered:
        check_mutation(parent, mutation)
    for mutation in reversed(ordered):
        residues, start = chains[mutation.chain], mutation.position - len(mutation.before)
        chains[mutation.chain] = residues[:start] + mutation.after + residues[mutation.position :]
    for chain, residues in chains.items():
        if not residues:
            raise InputError(f"nothing is left of the {_chain_name(chain)} after its deletions")
    heavy, light = chains.pop("H"), chains.pop("L", None)
    if isinstance(parent, Antibody):
        return dataclasses.replace(parent, heavy=heavy, light=light)
    variant = dataclasses.replace(parent.antibody, heavy=heavy, light=light)
    antigen = dataclasses.replace(parent.antigen, chains=tuple(chains.values()))
    return dataclasses.replace(parent, antibody=variant, antigen=antigen)


def mutations_between(parent: Molecule, variant: Molecule) -> tuple[Mutation, ...]:
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
    old, new = _chains(parent), _chains(variant)
    if ("L" in old) != ("L" in new):
        which = "the parent" if "L" in old else "the variant"
        raise InputError(f"{which} has a light chain and the other has none: no variant of it")
    if isinstance(parent, Pair) and isinstance(variant, Pair) and len(old) != len(new):
        count, other = len(parent.antigen.chains), len(variant.antigen.chains)
        raise InputError(f"the parent's antigen has {count} chains, the variant's {other}")
    shared = [chain for chain in old if chain in new and old[chain] != new[chain]]
    each = (_between_chains(chain, old[chain], new[chain]) for chain in shared)
    return tuple(itertools.chain.from_iterable(each))


def _between_chains(chain: str, old: str, new: str) -> Iterable[Mutation]:
    steps = []
    if len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        steps = [("replace", index, b) for index, (a, b) in pairs if a != b]
        if Levenshtein.distance(old, new) == len(steps):
            return _merged(chain, old, steps)
    edits = Levenshtein.editops(old, new)
    edited = [(e.tag, e.src_pos, "" if e.tag == "delete" else new[e.dest_pos]) for e in edits]
    fewest = _merged(chain, old, edited)
    if chain not in ("H", "L"):
        return fewest
    if len(old) != len(new):  # residues with the same IMGT number are aligned
        left, right = number_chain(old).positions, number_chain(new).positions
        here, at = {label: index for index, label in enumerate(left)}, len(old)
        for label, residue in zip(reversed(right), reversed(new), strict=True):
            at = here.get(label, at)
            if label not in here:
                steps.insert(0, ("insert", at, residue))
            elif old[at] != residue:
                steps.insert(0, ("replace", at, residue))
        steps += [("delete", here[label], "") for label in left if label not in {*right}]

    def residues_changed(mutations: tuple[Mutation, ...]) -> int:
        return sum(max(len(each.before), len(each.after)) for each in mutations)

    return min(_merged(chain, old, steps), fewest, key=residues_changed)


def _merged(chain: str, old: str, steps: Iterable[tuple[str, int, str]]) -> tuple[Mutation, ...]:
    """Steps at indices from 0 as mutations; residues put in at one index as one insertion."""
    inserted: dict[int, str] = {}
    mutations = []
    for tag, index, letter in steps:
        if tag == "insert":
            inserted[index] = inserted.get(index, "") + letter
        else:
            mutations.append(Mutation(chain, old[index], index + 1, letter))
    mutations += [Mutation(chain, "", index, letters) for index, letters in inserted.items()]
    return _ordered(mutations)


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


# in whose numbers


def named_mutations(text: str) -> tuple[Named, ...]:
    """Mutations of a text; none if a part of it is not of the notation.

    Read too are numbers with a letter, which only numbering schemes have.

    >>> named_mutations("H:S52aA")
    (Named(chain='H', before='S', number='52A', after='A', is_imgt=False),)
    """
    named = [_read(part) for part in re.split(r"[,+;]", text) if part.strip()]
    return () if None in named else tuple(filter(None, named))


def bare_mutations(text: str) -> tuple[Named, ...]:
    """Mutations in a text that name no chain as `named_mutations` does; none if there are none.

    >>> [str(one) for one in bare_mutations("HC-Y33W/Asp31Ala")], bare_mutations("clone 7")
    ([':Y33W', ':D31A'], ())
    """
    named = []
    for match in _BARE.finditer(text):
        before, after = (_LETTERS.get(match[name]) for name in ("before", "after"))
        if before and before != after and (after or match["after"] == "del"):
            named.append(Named("", before, match["number"].upper(), after or ""))
    return tuple(named)


def looks_like_mutation(text: str) -> bool:
    """Whether a text that `bare_mutations` does not read may still be a mutation.

    >>> [looks_like_mutation(text) for text in ("del31", "ins52aG", "D31-", "d31a", "clone 7")]
    [True, True, True, True, False]
    """
    return _UNREAD.search(text) is not None


def fits(named: tuple[Named, ...], molecule: Antibody | Pair, numbering: str, made: bool) -> bool:
    """Whether a molecule has, in a numbering, the residues before mutations (after, if `made`).

    What numbers say nothing of fits: mutations of the antigen if it is not given, an insertion
    that is not made, a deletion that is.
    """
    shifts: Counter[str] = Counter()
    for mutation in sorted(
        named, key=lambda mutation: int(mutation.number.rstrip(string.ascii_uppercase))
    ):
        scheme = (
            "imgt" if mutation.is_imgt else POSITION if mutation.chain[:1] == "A" else numbering
        )
        residues = _by_number(molecule, mutation.chain, scheme)
        if residues is None:
            continue
        in_sequence = scheme == POSITION and mutation.number.isdigit()
        at = int(mutation.number) + shifts[mutation.chain] if made and in_sequence else 0
        before, after = mutation.before, mutation.after
        inserted = after if not before else after[1:] if mutation.is_imgt else ""
        if not before:
            there = "".join(residues.get(str(at + step + 1), "") for step in range(len(inserted)))
            if made and in_sequence and there != inserted:
                return False
        else:
            wanted = after if made and not inserted else before
            if wanted and residues.get(str(at) if at else mutation.number) != wanted:
                return False
        shifts[mutation.chain] += len(inserted) - (after == "")
    return True


def common_shift(
    variants: Iterable[tuple[Named, ...]], molecule: Antibody | Pair, chain: str
) -> int | None:
    """What to take off all numbers of a chain to make them positions; None if nothing does."""
    wanted = {
        (int(mutation.number), mutation.before)
        for variant in variants
        for mutation in variant
        if mutation.chain == chain
        and mutation.before
        and mutation.number.isdigit()
        and not mutation.is_imgt
    }
    residues = _by_number(molecule, chain, POSITION) or {}
    shifts = [
        shift
        for shift in {number - int(at) for number, _ in wanted for at in residues}
        if all(residues.get(str(number - shift)) == before for number, before in wanted)
    ]
    return shifts[0] if len(wanted) >= 3 and len(shifts) == 1 else None


def position_of(mutation: Named, molecule: Antibody | Pair, numbering: str) -> int | None:
    """Position in the sequence of a mutation's number; None if its residue is not there."""
    residues = _by_number(molecule, mutation.chain, numbering) or {}
    if residues.get(mutation.number) != mutation.before:
        return None
    return list(residues).index(mutation.number) + 1


def _by_number(molecule: Antibody | Pair, chain: str, numbering: str) -> dict[str, str] | None:
    """Residues of a chain by their numbers, in order; None for an antigen that is not given."""
    if chain[:1] == "A" and isinstance(molecule, Antibody):
        return None
    residues = _chains(molecule).get(chain, "")
    return _numbered(residues, POSITION if chain[:1] == "A" else numbering)


@functools.lru_cache(maxsize=1024)
def _numbered(residues: str, numbering: str) -> dict[str, str]:
    if numbering == POSITION:
        return {str(number): residue for number, residue in enumerate(residues, start=1)}
    domain = next(iter(find_domains(residues, numbering)), None)
    return dict(zip(domain.positions, domain.residues, strict=True)) if domain else {}
