"""Variants of a parent: mutations applied, and found again."""

from collections.abc import Iterable
from typing import overload

from rapidfuzz.distance import Levenshtein

from paratope.core.errors import InputError
from paratope.molecules.mutations.mutation import (
    Mutation,
    chain_name,
    check_mutation,
    check_places,
    mutation_order,
    variable_domains,
)
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import Antibody, Antigen, Pair


@overload
def apply_mutations(parent: Antibody, mutations: Iterable[Mutation]) -> Antibody: ...
@overload
def apply_mutations(parent: Pair, mutations: Iterable[Mutation]) -> Pair: ...
def apply_mutations(parent: Antibody | Pair, mutations: Iterable[Mutation]) -> Antibody | Pair:
    """The parent with mutations, each checked against it.

    Parameters
    ----------
    parent : Antibody or Pair
        Cut to its variable domains if it is not yet (see `prepare_antibody`);
        mutations of an antigen need a pair.
    mutations : iterable of Mutation
        All counted in the parent.

    Returns
    -------
    Antibody or Pair
        As given, with the parent's names.

    Raises
    ------
    InputError
        As `check_mutation`; if two mutations change the same place, a mutation is of a chain that
        is not there, or nothing of a chain is left.

    Examples
    --------
    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> from paratope.molecules.mutations import parse_mutations
    >>> apply_mutations(Antibody(vhh), parse_mutations("H:S31A,H:Y32del")).heavy[26:36]
    'FTFSAAMSWV'
    """
    ordered = sorted(mutations, key=mutation_order)
    check_places(ordered)
    for mutation in ordered:
        check_mutation(parent, mutation)
    antibody = variable_domains(parent)
    chains = {"H": antibody.heavy, "L": antibody.light}
    changed = {name: _changed(residues, name, ordered) for name, residues in chains.items()}
    heavy = changed["H"]
    assert heavy is not None
    variant = Antibody(heavy, changed["L"], antibody.name)
    if isinstance(parent, Antibody):
        return variant
    antigens = tuple(
        _changed(residues, _antigen_chain(number), ordered) or ""
        for number, residues in enumerate(parent.antigen.chains)
    )
    return Pair(variant, Antigen(antigens, parent.antigen.name))


@overload
def mutations_between(parent: Antibody, variant: Antibody) -> tuple[Mutation, ...]: ...
@overload
def mutations_between(parent: Pair, variant: Pair) -> tuple[Mutation, ...]: ...
def mutations_between(parent: Antibody | Pair, variant: Antibody | Pair) -> tuple[Mutation, ...]:
    """What makes the variant of the parent: ``apply_mutations(parent, …)`` gives the variant.

    Chains of different length are aligned by their IMGT numbers, or, where that takes fewer
    changes, by the fewest edits.

    Parameters
    ----------
    parent, variant : Antibody or Pair
        Both of one kind; cut to variable domains if they are not yet.

    Returns
    -------
    tuple of Mutation
        In order of chain and place.

    Raises
    ------
    InputError
        If one has a chain that the other lacks, or is no antibody.

    Examples
    --------
    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> [str(one) for one in mutations_between(Antibody(vhh), Antibody(vhh.replace("SSY", "SY")))]
    ['H:S30del']
    """
    old, new = variable_domains(parent), variable_domains(variant)
    if (old.light is None) != (new.light is None):
        which = "the variant" if old.light is None else "the parent"
        raise InputError(f"{which} has a light chain and the other has none: no variant of it")
    found = _between_domains("H", old.heavy, new.heavy)
    if old.light is not None and new.light is not None:
        found += _between_domains("L", old.light, new.light)
    if isinstance(parent, Pair) and isinstance(variant, Pair):
        pairs = parent.antigen.chains, variant.antigen.chains
        if len(pairs[0]) != len(pairs[1]):
            raise InputError(
                f"the parent's antigen has {len(pairs[0])} chains, the variant's {len(pairs[1])}"
            )
        for number, (one, other) in enumerate(zip(*pairs, strict=True)):
            found += _fewest_edits(_antigen_chain(number), one, other)
    return tuple(found)


def _changed(residues: str | None, chain: str, mutations: Iterable[Mutation]) -> str | None:
    if residues is None:
        return None
    for mutation in reversed([one for one in mutations if one.chain == chain]):
        start = mutation.position - len(mutation.before)
        residues = residues[:start] + mutation.after + residues[mutation.position :]
    if not residues:
        raise InputError(f"nothing is left of the {chain_name(chain)} after its deletions")
    return residues


def _antigen_chain(number: int) -> str:
    return "A" if number == 0 else f"A{number + 1}"


def _between_domains(chain: str, old: str, new: str) -> list[Mutation]:
    if old == new:
        return []
    if len(old) == len(new):
        places = enumerate(zip(old, new, strict=True), start=1)
        changes = [Mutation(chain, one, at, other) for at, (one, other) in places if one != other]
        if len(changes) <= 2:  # no alignment takes fewer
            return changes
        options = [changes, _fewest_edits(chain, old, new)]
    else:
        options = [_by_numbering(chain, old, new), _fewest_edits(chain, old, new)]
    return min(options, key=_changed_residues)


def _changed_residues(mutations: list[Mutation]) -> int:
    return sum(max(len(one.before), len(one.after)) for one in mutations)


def _fewest_edits(chain: str, old: str, new: str) -> list[Mutation]:
    """Substitutions, deletions and insertions of the Levenshtein distance."""
    steps: list[tuple[str, int, str]] = []
    for edit in Levenshtein.editops(old, new):
        letter = "" if edit.tag == "delete" else new[edit.dest_pos]
        steps.append((edit.tag, edit.src_pos, letter))
    return _merged(chain, old, steps)


def _by_numbering(chain: str, old: str, new: str) -> list[Mutation]:
    """Residues of one IMGT number are one place."""
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
    """Steps at places from 0 as mutations; letters put in at one place as one insertion."""
    inserted: dict[int, str] = {}
    mutations = []
    for tag, place, letter in steps:
        if tag == "insert":
            inserted[place] = inserted.get(place, "") + letter
        else:
            mutations.append(Mutation(chain, old[place], place + 1, letter))
    mutations += [Mutation(chain, "", place, letters) for place, letters in inserted.items()]
    return sorted(mutations, key=mutation_order)
