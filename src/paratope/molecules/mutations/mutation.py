"""One mutation, and whether a parent has what it changes."""

import dataclasses
import re
from collections.abc import Iterable

from paratope.core.errors import InputError
from paratope.molecules.numbering import SCHEMES, Domain, number_chain, prepare_antibody
from paratope.molecules.sequences import ALPHABET, Antibody, Pair

EXPECTED = (
    "expected such as H:S31A (chain, residue in the parent, place from 1, new residue), "
    "H:S31del, H:31insGG, or by IMGT numbers H:36S→A; several joined by ','"
)
_CHAIN_NAMES = {"H": "heavy chain", "L": "light chain", "A": "antigen"}
_SHOWN_NEIGHBOURS = 2


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Mutation:
    """One change of one place.

    Attributes
    ----------
    chain : str
        ``"H"``, ``"L"``, or ``"A"`` for the antigen (``"A2"`` for its second chain, and so on).
    before : str
        The residue there in the parent; empty for an insertion.
    position : int
        Place of the residue, from 1 in the variable domain (antigen: in the chain). An insertion
        goes behind it, 0 being before the first residue.
    after : str
        The new residue; empty for a deletion; one or more residues for an insertion.

    Raises
    ------
    InputError
        If it is no substitution, deletion or insertion, or changes nothing.

    Examples
    --------
    >>> str(Mutation("H", "S", 31, "A")), str(Mutation("H", "S", 31, ""))
    ('H:S31A', 'H:S31del')
    """

    chain: str
    before: str
    position: int
    after: str

    def __post_init__(self) -> None:
        chains = self.chain in ("H", "L", "A") or re.fullmatch(r"A([2-9]|[1-9]\d+)", self.chain)
        letters = set(self.before + self.after) <= set(ALPHABET)
        shape = (len(self.before), min(len(self.after), 2 if self.before else 1))
        if not (chains and letters and shape in ((1, 1), (1, 0), (0, 1))):
            raise InputError(f"mutation {str(self)!r}: {EXPECTED}")
        if self.position < len(self.before) or self.position < 0:
            raise InputError(f"mutation {str(self)!r}: places are counted from 1")
        if self.before == self.after:
            raise InputError(f"mutation {str(self)!r} changes nothing; leave it out")

    def __str__(self) -> str:
        """By place in the sequence, as `parse_mutation` reads it."""
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


def check_mutation(parent: Antibody | Pair, mutation: Mutation) -> None:
    """Raise `InputError` if the parent has no such place, or another residue there."""
    try:
        residues = chain_residues(parent, mutation.chain)
    except InputError as error:
        raise InputError(f"mutation {str(mutation)!r}: {error}") from None
    if mutation.position > len(residues):
        raise InputError(_beyond(mutation, residues))
    if mutation.before and residues[mutation.position - 1] != mutation.before:
        raise InputError(_differs(mutation, residues))


def variable_domains(parent: Antibody | Pair) -> Antibody:
    """The antibody, cut to its variable domains if it is not yet."""
    antibody = parent.antibody if isinstance(parent, Pair) else parent
    return prepare_antibody(antibody)[0]


def chain_residues(parent: Antibody | Pair, chain: str) -> str:
    """Residues of the variable domain ``"H"`` or ``"L"``, or of an antigen's chain.

    Raises `InputError` if there is no such chain.
    """
    if chain in ("H", "L"):
        antibody = variable_domains(parent)
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


def chain_domain(parent: Antibody | Pair, chain: str) -> Domain:
    """The numbered variable domain of chain ``"H"`` or ``"L"``.

    Raises `InputError` if the antibody has no such chain.
    """
    return number_chain(chain_residues(parent, chain))


def mutation_order(mutation: Mutation) -> tuple[int, str, int, bool]:
    """Sorts by chain (H, L, A, A2 …) and place, an insertion behind what else is there."""
    rank = "HLA".index(mutation.chain[0])
    return rank, mutation.chain[1:].zfill(6), mutation.position, not mutation.before


def check_places(mutations: Iterable[Mutation]) -> None:
    """Raise `InputError` if two mutations change the same place."""
    seen: dict[tuple[str, int, bool], Mutation] = {}
    for mutation in mutations:
        place = (mutation.chain, mutation.position, not mutation.before)
        if place in seen:
            raise InputError(
                f"mutations {seen[place]} and {mutation} change the same place; give one of them"
            )
        seen[place] = mutation


def chain_name(chain: str) -> str:
    """``"heavy chain"`` for ``"H"``."""
    return _CHAIN_NAMES[chain[0]] + (f" chain {chain[1:]}" if chain[1:] else "")


def _beyond(mutation: Mutation, residues: str) -> str:
    return (
        f"mutation {str(mutation)!r}: the parent's {chain_name(mutation.chain)} has "
        f"{len(residues)} residues"
    )


def _differs(mutation: Mutation, residues: str) -> str:
    """What is at the place instead, what stands around it, and what was probably meant."""
    place, wanted = mutation.position, mutation.before
    first = max(1, place - _SHOWN_NEIGHBOURS)
    around = residues[first - 1 : place + _SHOWN_NEIGHBOURS]
    last = first + len(around) - 1
    message = (
        f"mutation {str(mutation)!r}: the parent has {residues[place - 1]} at place {place} of its "
        f"{chain_name(mutation.chain)}, not {wanted} (residues {first} to {last} are {around})"
    )
    if mutation.chain in ("H", "L"):
        for scheme in SCHEMES:
            domain = number_chain(residues, scheme)
            if str(place) in domain.positions:
                meant = domain.positions.index(str(place)) + 1
                if residues[meant - 1] == wanted:
                    name = scheme.upper() if scheme == "imgt" else scheme.capitalize()
                    meant_one = dataclasses.replace(mutation, position=meant)
                    return f"{message}; {name} number {place} is {wanted}: write {meant_one}"
    places = [number for number, letter in enumerate(residues, start=1) if letter == wanted]
    if not places:
        return f"{message}; there is no {wanted} in this chain"
    nearest = min(places, key=lambda number: (abs(number - place), number))
    return f"{message}; the nearest {wanted} is at place {nearest}"
