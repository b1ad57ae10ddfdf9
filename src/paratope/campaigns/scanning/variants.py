"""Which variants a scan looks at: single mutants, alanines, combinations."""

import itertools
from collections.abc import Sequence

from paratope.core.errors import InputError
from paratope.molecules.mutations import Mutation, chain_domain, check_mutation, positions_in
from paratope.molecules.sequences import AMINO_ACIDS, Antibody

# What a residue becomes in an alanine scan; alanine itself becomes glycine.
_ALANINE = dict.fromkeys(AMINO_ACIDS, "A") | {"A": "G", "X": "A"}
# Combinations one scan may hold: about what a night on a laptop allows.
MAX_COMBINATIONS = 100_000

Mutations = tuple[Mutation, ...]


def single_mutants(antibody: Antibody, regions: Sequence[str] | None = None) -> list[Mutations]:
    """Every substitution at every place, chain by chain.

    Parameters
    ----------
    antibody : Antibody
    regions : sequence of str, optional
        Keys of `paratope.molecules.mutations.REGION_NAMES`; all by default.

    Raises
    ------
    InputError
        If the antibody has no residue in these regions.

    Examples
    --------
    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> found = single_mutants(Antibody(vhh), ["H1"])
    >>> len(found), str(found[0][0])
    (152, 'H:G26A')
    """
    return [
        (Mutation(chain, before, place, after),)
        for chain, place, before in _places(antibody, regions)
        for after in AMINO_ACIDS
        if after != before
    ]


def alanine_mutants(antibody: Antibody, regions: Sequence[str] | None = None) -> list[Mutations]:
    """Every residue to alanine, alanine to glycine; parameters as `single_mutants`."""
    return [
        (Mutation(chain, before, place, _ALANINE[before]),)
        for chain, place, before in _places(antibody, regions)
    ]


def combinations(
    antibody: Antibody, mutations: Sequence[Mutation], max_mutations: int
) -> list[Mutations]:
    """Every combination of chosen mutations, with at most one at each place.

    Parameters
    ----------
    antibody : Antibody
    mutations : sequence of Mutation
        Several may be of one place.
    max_mutations : int
        In one variant.

    Returns
    -------
    list of tuple of Mutation
        Fewest mutations first.

    Raises
    ------
    InputError
        If a mutation does not fit the antibody, or there would be too many.

    Examples
    --------
    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> from paratope.molecules.mutations import parse_mutation
    >>> chosen = [parse_mutation(text) for text in ("H:S31A", "H:S31G", "H:Y32W")]
    >>> [" ".join(map(str, one)) for one in combinations(Antibody(vhh), chosen, 2)]
    ['H:S31A', 'H:S31G', 'H:Y32W', 'H:S31A H:Y32W', 'H:S31G H:Y32W']
    """
    if max_mutations < 1:
        raise InputError(f"at least 1 mutation makes a variant, got {max_mutations} as the most")
    for mutation in mutations:
        check_mutation(antibody, mutation)
    by_place: dict[tuple[str, int, bool], list[Mutation]] = {}
    for mutation in dict.fromkeys(mutations):
        place = (mutation.chain, mutation.position, not mutation.before)
        by_place.setdefault(place, []).append(mutation)
    if not by_place:
        raise InputError("no mutations to combine; expected such as H:S31A,L:T93Y")
    count = _count([len(options) for options in by_place.values()], max_mutations)
    if count > MAX_COMBINATIONS:
        raise InputError(
            f"{count:,} combinations of {len(mutations)} mutations, more than "
            f"{MAX_COMBINATIONS:,}; choose fewer mutations, or at most {max_mutations - 1} in one "
            "variant"
        )
    return [
        chosen
        for size in range(1, min(max_mutations, len(by_place)) + 1)
        for places in itertools.combinations(by_place.values(), size)
        for chosen in itertools.product(*places)
    ]


def _count(options: Sequence[int], most: int) -> int:
    """Combinations of at most `most` places with so many options each."""
    of_size = [1] + [0] * most
    for number in options:
        for size in range(most, 0, -1):
            of_size[size] += of_size[size - 1] * number
    return sum(of_size) - 1


def _places(antibody: Antibody, regions: Sequence[str] | None) -> list[tuple[str, int, str]]:
    chains = "H" if antibody.light is None else "HL"
    found = [
        (chain, place, chain_domain(antibody, chain).residues[place - 1])
        for chain in chains
        for place in positions_in(antibody, chain, regions)
    ]
    if not found:
        raise InputError(
            f"the antibody has no residue in {', '.join(regions or ())}"
            + ("; it is a single domain, without a light chain" if chains == "H" else "")
        )
    return found
