"""Whose numbers mutations are written in, and whether a sequence holds them already."""

import functools
import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from paratope.molecules.numbering import SCHEMES, find_domains, prepare_antibody
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Pair

POSITION = "position"
# Names of the numberings in messages; positions are counted from 1 in the variable domain.
NUMBERINGS = {POSITION: "position"} | {
    scheme: scheme.upper() if scheme == "imgt" else scheme.capitalize() for scheme in SCHEMES
}
_CHAIN = r"(?P<chain>[HL]|A[0-9]*):"
_FORMS = (
    re.compile(_CHAIN + r"(?P<before>[A-Z])(?P<number>[0-9]+[A-Z]?)(?P<after>DEL|[A-Z])"),
    re.compile(_CHAIN + r"(?P<before>)(?P<number>[0-9]+)INS(?P<after>[A-Z]+)"),
    re.compile(_CHAIN + r"INS(?P<before>)(?P<number>[0-9]+)(?P<after>[A-Z]+)"),
)
_ARROW = re.compile(_CHAIN + r"(?P<number>[0-9]+[A-Z]*)(?P<before>[A-Z])(?:→|->)(?P<after>[A-Z]+)")
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
_LETTERS = dict(zip(_NAMES, AMINO_ACIDS, strict=True)) | {one: one for one in AMINO_ACIDS}


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


def named_mutations(text: str) -> tuple[Named, ...]:
    """Mutations of a text; none if a part of it is not of the notation.

    Read too are numbers with a letter, which only numbering schemes have.

    >>> named_mutations("H:S52aA")
    (Named(chain='H', before='S', number='52A', after='A', is_imgt=False),)
    """
    named = []
    for part in re.split(r"[,+;]", "".join(text.split()).upper()):
        match = next((match for form in _FORMS if (match := form.fullmatch(part))), None)
        arrow = None if match else _ARROW.fullmatch(part)
        if (match := match or arrow) is not None:
            chain = "A" if match["chain"] == "A1" else match["chain"]
            after = "" if match["after"] == "DEL" else match["after"]
            named.append(Named(chain, match["before"], match["number"], after, arrow is not None))
        elif part:
            return ()
    return tuple(named)


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
    for one in sorted(named, key=lambda one: int(one.number.rstrip(string.ascii_uppercase))):
        scheme = "imgt" if one.is_imgt else POSITION if one.chain[:1] == "A" else numbering
        residues = _residues(molecule, one.chain, scheme)
        if residues is None:
            continue
        in_sequence = scheme == POSITION and one.number.isdigit()
        at = int(one.number) + shifts[one.chain] if made and in_sequence else 0
        inserted = one.after if not one.before else one.after[1:] if one.is_imgt else ""
        if not one.before:
            there = "".join(residues.get(str(at + step + 1), "") for step in range(len(inserted)))
            if made and in_sequence and there != inserted:
                return False
        else:
            wanted = one.after if made and not inserted else one.before
            if wanted and residues.get(str(at) if at else one.number) != wanted:
                return False
        shifts[one.chain] += len(inserted) - (one.after == "")
    return True


def common_shift(
    variants: Iterable[tuple[Named, ...]], molecule: Antibody | Pair, chain: str
) -> int | None:
    """What to take off all numbers of a chain to make them positions; None if nothing does."""
    wanted = {
        (int(one.number), one.before)
        for variant in variants
        for one in variant
        if one.chain == chain and one.before and one.number.isdigit() and not one.is_imgt
    }
    residues = _residues(molecule, chain, POSITION) or {}
    shifts = [
        shift
        for shift in {number - int(at) for number, _ in wanted for at in residues}
        if all(residues.get(str(number - shift)) == before for number, before in wanted)
    ]
    return shifts[0] if len(wanted) >= 3 and len(shifts) == 1 else None


def position_of(one: Named, molecule: Antibody | Pair, numbering: str) -> int | None:
    """Position in the sequence of a mutation's number; None if its residue is not there."""
    residues = _residues(molecule, one.chain, numbering) or {}
    if residues.get(one.number) != one.before:
        return None
    return list(residues).index(one.number) + 1


def _residues(molecule: Antibody | Pair, chain: str, numbering: str) -> dict[str, str] | None:
    """Residues of a chain by their numbers, in order; None for an antigen that is not given."""
    if chain[:1] == "A":
        if isinstance(molecule, Antibody):
            return None
        chains, index = molecule.antigen.chains, int(chain[1:] or 1) - 1
        return _by_number(chains[index], POSITION) if 0 <= index < len(chains) else {}
    antibody = molecule if isinstance(molecule, Antibody) else molecule.antibody
    antibody, _ = prepare_antibody(antibody)
    residues = antibody.heavy if chain == "H" else antibody.light
    return _by_number(residues, numbering) if residues else {}


@functools.lru_cache(maxsize=1024)
def _by_number(residues: str, numbering: str) -> dict[str, str]:
    if numbering == POSITION:
        return {str(number): residue for number, residue in enumerate(residues, start=1)}
    domain = next(iter(find_domains(residues, numbering)), None)
    return dict(zip(domain.positions, domain.residues, strict=True)) if domain else {}
