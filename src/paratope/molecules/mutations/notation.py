"""Mutations as text: read by place or by IMGT number, and written."""

import re
import string
from collections.abc import Iterable

from paratope.core.errors import InputError
from paratope.molecules.mutations.mutation import (
    EXPECTED,
    Mutation,
    chain_domain,
    chain_name,
    check_mutation,
    check_places,
    mutation_order,
)
from paratope.molecules.sequences import Antibody, Pair

WILD_TYPE = "WT"
_NO_MUTATION = frozenset({"", "wt", "wild type", "wild-type", "wildtype", "parent", "none", "-"})
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


def parse_mutation(text: str, parent: Antibody | Pair | None = None) -> Mutation:
    """One mutation of its notation.

    Parameters
    ----------
    text : str
    parent : Antibody or Pair, optional
        Needed for IMGT numbers; with it, the mutation is checked against it (one of the antigen
        only if it is a pair).

    Raises
    ------
    InputError
        If it cannot be read, or the parent has another residue there.

    Examples
    --------
    >>> parse_mutation("H:S31A")
    Mutation(chain='H', before='S', position=31, after='A')
    """
    written = "".join(text.split())
    for form in _FORMS:
        if match := form.fullmatch(written):
            chain = match["chain"].upper()
            mutation = Mutation(
                "A" if chain == "A1" else chain,
                match["before"].upper(),
                int(match["position"]),
                match["after"].upper(),
            )
            break
    else:
        if not (match := _IMGT_FORM.fullmatch(written)):
            raise InputError(f"mutation {text.strip()!r}: cannot be read; {EXPECTED}")
        if parent is None:
            raise InputError(
                f"mutation {text.strip()!r} has IMGT numbers, which need the parent's sequence; "
                "give the parent, or the place in the sequence such as H:S31A"
            )
        mutation = _from_imgt(match, parent)
    if isinstance(parent, Pair) or (parent is not None and mutation.chain in ("H", "L")):
        check_mutation(parent, mutation)
    return mutation


def parse_mutations(text: str, parent: Antibody | Pair | None = None) -> tuple[Mutation, ...]:
    """Mutations joined by ``,`` or ``+`` (``;`` is read too), in order of chain and place.

    ``WT`` and nothing are no mutation. Raises `InputError` as `parse_mutation`, and if two change
    the same place.

    >>> [str(one) for one in parse_mutations("L:T93Y + H:S31A")]
    ['H:S31A', 'L:T93Y']
    >>> parse_mutations("WT")
    ()
    """
    if text.strip().lower() in _NO_MUTATION:
        return ()
    parts = [part for part in re.split(r"[,+;]", text) if part.strip()]
    mutations = tuple(sorted((parse_mutation(part, parent) for part in parts), key=mutation_order))
    check_places(mutations)
    return mutations


def format_mutations(mutations: Iterable[Mutation], imgt_of: Antibody | Pair | None = None) -> str:
    """Mutations joined by ``,``; ``WT`` for none; by the IMGT numbers of a parent if one is given.

    >>> format_mutations([Mutation("H", "S", 31, "A"), Mutation("H", "Y", 33, "")])
    'H:S31A,H:Y33del'
    """
    texts = [str(one) if imgt_of is None else one.imgt(imgt_of) for one in mutations]
    return ",".join(texts) or WILD_TYPE


def _from_imgt(match: re.Match[str], parent: Antibody | Pair) -> Mutation:
    chain, label, before, after = match["chain"], match["label"], match["before"], match["after"]
    text = match[0]
    try:
        domain = chain_domain(parent, chain)
    except InputError as error:
        raise InputError(f"mutation {text!r}: {error}") from None
    if label not in domain.positions:
        near = _nearest_labels(label, domain.positions)
        raise InputError(
            f"mutation {text!r}: the parent's {chain_name(chain)} has no IMGT position {label}; "
            f"near it are {near}"
        )
    place = domain.positions.index(label) + 1
    found = domain.residues[place - 1]
    if found != before:
        longer = label + before  # "111A→W", meant as the position 111A
        hint = ""
        if longer in domain.positions:
            residue = domain.residues[domain.positions.index(longer)]
            hint = (
                f"; for IMGT position {longer}, put its residue {residue} behind the number: "
                f"{chain}:{longer}{residue}→{after}"
            )
        raise InputError(
            f"mutation {text!r}: the parent has {found} at IMGT position {label} (place {place} of "
            f"its {chain_name(chain)}), not {before}{hint}"
        )
    if after == "del":
        return Mutation(chain, before, place, "")
    if len(after) == 1:
        return Mutation(chain, before, place, after)
    if after[0] != before:
        raise InputError(
            f"mutation {text!r}: an insertion begins with the residue it goes behind, as in "
            f"{chain}:{label}{before}→{before}{after[1:]}"
        )
    return Mutation(chain, "", place, after[1:])


def _nearest_labels(label: str, positions: tuple[str, ...]) -> str:
    wanted = _number(label)
    ranked = sorted(positions, key=lambda position: abs(_number(position) - wanted))
    return ", ".join(sorted(ranked[:4], key=positions.index))


def _number(label: str) -> int:
    return int(label.rstrip(string.ascii_uppercase))
