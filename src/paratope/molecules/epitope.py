"""The epitope as users write it: residues of the antigen, one by one or as ranges."""

import re

from paratope.core.errors import InputError
from paratope.molecules.sequences import Antigen

Epitope = frozenset[tuple[str, int]]
_PART = re.compile(r"(?:(A\d*):)?([A-Z])?(\d+)(?:\s*[-–]\s*([A-Z])?(\d+))?")


def parse_epitope(text: str, antigen: Antigen) -> Epitope:
    """Residues as (chain, position from 1), from a list such as ``K93, D101`` or ``90-110``.

    Chains of the antigen are A, A2, A3, …; without one it is the first, as in ``A2:35-40``. Raises
    `InputError` if a part is no residue or range, lies outside the antigen, or names another
    residue than the one there.

    >>> sorted(parse_epitope("K2, 4-5", Antigen("MKVLA")))
    [('A', 2), ('A', 4), ('A', 5)]
    """
    residues: set[tuple[str, int]] = set()
    for part in filter(None, (part.strip() for part in re.split(r"[,;]", text))):
        if (match := _PART.fullmatch(part.upper())) is None:
            raise InputError(
                f"epitope: {part!r} is neither a residue such as K93 nor a range such as 90-110"
            )
        chain, first_letter, first, last_letter, last = match.groups()
        index = int((chain or "A")[1:] or 1) - 1
        if not 0 <= index < len(antigen.chains):
            raise InputError(
                f"epitope: {part!r} names chain {chain}; the antigen has {len(antigen.chains)}"
            )
        sequence = antigen.chains[index]
        start, end = int(first), int(last or first)
        if not 1 <= start <= end <= len(sequence):
            raise InputError(
                f"epitope: {part!r} lies outside the antigen's {len(sequence)} residues"
            )
        for letter, position in ((first_letter, start), (last_letter, end)):
            if letter and sequence[position - 1] != letter:
                raise InputError(
                    f"epitope: {part!r} names {letter} at {position}, where the antigen has "
                    f"{sequence[position - 1]}; positions are counted from 1 in the antigen given"
                )
        residues |= {(chain or "A", position) for position in range(start, end + 1)}
    if not residues:
        raise InputError("epitope: no residue given; expected such as K93,D101 or 90-110")
    return frozenset(residues)
