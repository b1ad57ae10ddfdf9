"""What may not be suggested: liabilities the parent has not, residues nobody wants."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from paratope.campaigns.suggestion.candidates import Candidate
from paratope.campaigns.suggestion.knowledge import Knowledge
from paratope.core.errors import InputError, unknown_name
from paratope.molecules.liabilities import (
    LIABILITIES,
    Liability,
    find_liabilities,
    new_liabilities,
    select_liabilities,
)
from paratope.molecules.mutations import Mutation
from paratope.molecules.sequences import AMINO_ACIDS

DEFAULT_RESIDUES = "C"
PARENTAL = "parental"


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """What is left out.

    Attributes
    ----------
    liabilities : tuple of str
        Keys of `paratope.molecules.liabilities.LIABILITIES`.
    residues : str
        Residues that no mutation may bring.
    parental : bool
        Whether a liability that the parent has counts, too.
    """

    liabilities: tuple[str, ...] = select_liabilities()
    residues: str = DEFAULT_RESIDUES
    parental: bool = False

    def __str__(self) -> str:
        """In words.

        >>> str(Filters(("deamidation",), "C"))
        'deamidation, residue C'
        """
        parts = [*self.liabilities]
        if self.residues:
            parts.append(f"residue{'s' * (len(self.residues) > 1)} {', '.join(self.residues)}")
        if self.parental and self.liabilities:
            parts.append("the parent's own liabilities, too")
        return ", ".join(parts) or "nothing"


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """Candidates that a filter took.

    Attributes
    ----------
    reasons : dict of int to tuple of str
        Number of the candidate, and all that spoke against it.
    """

    reasons: dict[int, tuple[str, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """How many candidates each reason took, most frequent first; one may have several."""
        return dict(
            Counter(one for reasons in self.reasons.values() for one in reasons).most_common()
        )

    def __str__(self) -> str:
        """In words.

        >>> str(LeftOut({4: ("deamidation",), 7: ("deamidation", "residue C")}))
        '2 candidates left out: 2 deamidation, 1 residue C'
        """
        total = len(self.reasons)
        if not total:
            return "no candidate left out"
        parts = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.items())
        return f"{total:,} candidate{'s' * (total > 1)} left out: {parts}"


def parse_filters(allow: str = "", forbid: str = "") -> Filters:
    """Filters of what a user allows and forbids beside the default.

    Parameters
    ----------
    allow, forbid : str
        Separated by ``,``: names of `paratope.molecules.liabilities.LIABILITIES`, or ``all`` of
        them; single residues; ``parental`` for the liabilities that the parent has, which are
        allowed unless
        forbidden.

    Returns
    -------
    Filters

    Raises
    ------
    InputError
        If a name is none, or is both allowed and forbidden.

    Examples
    --------
    >>> filters = parse_filters("deamidation,C", "W,weak-deamidation")
    >>> filters.residues, "deamidation" in filters.liabilities
    ('W', False)
    """
    allowed, forbidden = _names(allow), _names(forbid)
    if both := sorted(allowed & forbidden):
        raise InputError(f"{', '.join(both)}: both allowed and forbidden; give it once")
    liabilities = set(select_liabilities()) | (forbidden & LIABILITIES.keys())
    if "all" in forbidden:
        liabilities = set(LIABILITIES)
    liabilities -= set(LIABILITIES) if "all" in allowed else allowed
    liabilities |= forbidden & LIABILITIES.keys()
    residues = (set(DEFAULT_RESIDUES) | (forbidden & set(AMINO_ACIDS))) - allowed
    return Filters(
        tuple(name for name in LIABILITIES if name in liabilities),
        "".join(sorted(residues)),
        PARENTAL in forbidden,
    )


def leave_out(
    candidates: Sequence[Candidate], knowledge: Knowledge, filters: Filters
) -> tuple[list[Candidate], LeftOut]:
    """The candidates that pass, in order, and what became of the others.

    Parameters
    ----------
    candidates : sequence of Candidate
    knowledge : Knowledge
    filters : Filters

    Returns
    -------
    list of Candidate
    LeftOut
        By number of the candidate in the sequence given.
    """
    kept, reasons = [], {}
    for number, candidate in enumerate(candidates):
        found = dict.fromkeys(_residues(candidate.mutations, filters.residues))
        if filters.liabilities:
            liabilities = _liabilities(candidate, knowledge, filters)
            found |= dict.fromkeys(
                one.kind for one in liabilities if one.kind in filters.liabilities
            )
        if found:
            reasons[number] = tuple(found)
        else:
            kept.append(candidate)
    return kept, LeftOut(reasons)


def _liabilities(
    candidate: Candidate, knowledge: Knowledge, filters: Filters
) -> tuple[Liability, ...]:
    antibody = candidate.pair.antibody
    if filters.parental:
        return find_liabilities(antibody)
    return new_liabilities(knowledge.parents[candidate.parent].antibody, antibody)


def _residues(mutations: Iterable[Mutation], excluded: str) -> list[str]:
    brought = {letter for mutation in mutations for letter in mutation.after}
    return [f"residue {letter}" for letter in sorted(brought & set(excluded))]


def _names(text: str) -> set[str]:
    names = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name = part.upper() if len(part) == 1 else part.lower()
        if name not in {*LIABILITIES, *AMINO_ACIDS, "all", PARENTAL}:
            raise InputError(
                unknown_name("liability or residue", part, [*LIABILITIES, "all", PARENTAL])
                + ", or one of the 20 residues"
            )
        names.add(name)
    return names
