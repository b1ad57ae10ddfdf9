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

from paratope.molecules.mutations.mutation import Mutation, chain_domain, check_mutation
from paratope.molecules.mutations.notation import (
    WILD_TYPE,
    format_mutations,
    parse_mutation,
    parse_mutations,
)
from paratope.molecules.mutations.regions import REGION_NAMES, parse_regions, positions_in
from paratope.molecules.mutations.variants import apply_mutations, mutations_between

__all__ = [
    "REGION_NAMES",
    "WILD_TYPE",
    "Mutation",
    "apply_mutations",
    "chain_domain",
    "check_mutation",
    "format_mutations",
    "mutations_between",
    "parse_mutation",
    "parse_mutations",
    "parse_regions",
    "positions_in",
]
