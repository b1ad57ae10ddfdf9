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
    """Every substitution at every position, chain by chain.

    `regions` are keys of `paratope.molecules.mutations.REGION_NAMES`, all by default; raises
    `InputError` if the antibody has no residue in them.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> variants = single_mutants(Antibody(vhh), ["H1"])
    >>> len(variants), str(variants[0][0])
    (152, 'H:G26A')
    """
    return [
        (Mutation(chain, before, position, after),)
        for chain, position, before in _positions(antibody, regions)
        for after in AMINO_ACIDS
        if after != before
    ]


def alanine_mutants(antibody: Antibody, regions: Sequence[str] | None = None) -> list[Mutations]:
    """Every residue to alanine, alanine to glycine; parameters as `single_mutants`."""
    return [
        (Mutation(chain, before, position, _ALANINE[before]),)
        for chain, position, before in _positions(antibody, regions)
    ]


def combinations(
    antibody: Antibody, mutations: Sequence[Mutation], max_mutations: int
) -> list[Mutations]:
    """Combinations of at most `max_mutations`, one at each position, fewest mutations first.

    Raises `InputError` if a mutation does not fit the antibody, or there would be too many.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> from paratope.molecules.mutations import parse_mutation
    >>> chosen = [parse_mutation(text) for text in ("H:S31A", "H:S31G", "H:Y32W")]
    >>> [" ".join(map(str, one)) for one in combinations(Antibody(vhh), chosen, 2)]
    ['H:S31A', 'H:S31G', 'H:Y32W', 'H:S31A H:Y32W', 'H:S31G H:Y32W']
    """
    check_max_mutations(max_mutations)
    for mutation in mutations:
        check_mutation(antibody, mutation)
    by_position: dict[tuple[str, int, bool], list[Mutation]] = {}
    for mutation in dict.fromkeys(mutations):
        position = (mutation.chain, mutation.position, not mutation.before)
        by_position.setdefault(position, []).append(mutation)
    if not by_position:
        raise InputError("no mutations to combine; expected such as H:S31A,L:T93Y")
    max_mutations = min(max_mutations, len(by_position))
    of_size = [1] + [0] * max_mutations  # how many combinations there are of each size
    for options in by_position.values():
        for size in range(max_mutations, 0, -1):
            of_size[size] += of_size[size - 1] * len(options)
    count = sum(of_size) - 1
    if count > MAX_COMBINATIONS:
        many = f"{count:,}" if count < 10**12 else "over 10^12"
        raise InputError(
            f"{many} combinations of {len(mutations)} mutations, more than "
            f"{MAX_COMBINATIONS:,}; choose fewer mutations, or at most {max_mutations - 1} in one "
            "variant"
        )
    return [
        chosen
        for size in range(1, max_mutations + 1)
        for positions in itertools.combinations(by_position.values(), size)
        for chosen in itertools.product(*positions)
    ]


def check_max_mutations(most: int) -> None:
    """Raise `InputError` if no variant has so few mutations at most."""
    if most < 1:
        raise InputError(f"at least 1 mutation makes a variant, got {most} as the most")


def _positions(antibody: Antibody, regions: Sequence[str] | None) -> list[tuple[str, int, str]]:
    chains = "H" if antibody.light is None else "HL"
    positions = [
        (chain, position, chain_domain(antibody, chain).residues[position - 1])
        for chain in chains
        for position in positions_in(antibody, chain, regions)
    ]
    if not positions:
        raise InputError(
            f"the antibody has no residue in {', '.join(regions or ())}"
            + ("; it is a single domain, without a light chain" if chains == "H" else "")
        )
    return positions
