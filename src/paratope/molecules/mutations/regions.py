"""Regions of an antibody by name: ``H3``, ``CDR``, ``LFR1``."""

import re
from collections.abc import Sequence

from paratope.core.errors import InputError
from paratope.molecules.mutations.mutation import chain_domain
from paratope.molecules.numbering import REGIONS
from paratope.molecules.sequences import Antibody, Pair

# What one region of one chain is called: H1 is the CDR1 of the heavy chain.
REGION_NAMES: dict[str, tuple[str, str]] = {
    chain + region.removeprefix("CDR"): (chain, region) for chain in "HL" for region in REGIONS
}
# Names of several.
_GROUPS = {
    "ALL": tuple(REGION_NAMES),
    "CDR": tuple(name for name, (_, region) in REGION_NAMES.items() if region.startswith("CDR")),
    "FR": tuple(name for name, (_, region) in REGION_NAMES.items() if region.startswith("FR")),
    "H": tuple(name for name, (chain, _) in REGION_NAMES.items() if chain == "H"),
    "L": tuple(name for name, (chain, _) in REGION_NAMES.items() if chain == "L"),
}
_CDR_NUMBER = re.compile(r"CDR-?([HL]?)([123])")


def parse_regions(text: str) -> tuple[str, ...]:
    """Regions named in a list.

    Parameters
    ----------
    text : str
        Separated by ``,``: keys of `REGION_NAMES` such as ``H3`` or ``LFR1``; ``CDR1`` or ``FR1``
        of both chains; ``CDRH3`` for ``H3``; ``CDR``, ``FR``, ``H``, ``L``, ``all``.

    Returns
    -------
    tuple of str
        Keys of `REGION_NAMES`, in their order.

    Raises
    ------
    InputError
        If a name is none, or there is none.

    Examples
    --------
    >>> parse_regions("CDR3,H1"), parse_regions("CDR-H3")
    (('H1', 'H3', 'L3'), ('H3',))
    """
    chosen: set[str] = set()
    for part in text.split(","):
        name = part.strip().upper()
        if match := _CDR_NUMBER.fullmatch(name):
            name = match[1] + match[2]
        if not name:
            continue
        members = _GROUPS.get(name, (name,) if name in REGION_NAMES else ())
        if not members and f"H{name}" in REGION_NAMES:  # a CDR or framework of both chains
            members = (f"H{name}", f"L{name}")
        if not members:
            valid = ", ".join((*_GROUPS, "CDR1", "FR1", *REGION_NAMES))
            raise InputError(f"unknown region {part.strip()!r}; valid names: {valid}")
        chosen.update(members)
    if not chosen:
        raise InputError("no region is named; expected such as CDR, H3 or all")
    return tuple(name for name in REGION_NAMES if name in chosen)


def positions_in(
    antibody: Antibody | Pair, chain: str, regions: Sequence[str] | None = None
) -> tuple[int, ...]:
    """Places (from 1) of a chain's residues that are in regions; all of them by default.

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
        place for place, region in enumerate(domain.regions, start=1) if (chain, region) in wanted
    )
