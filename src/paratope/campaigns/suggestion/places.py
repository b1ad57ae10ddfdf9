"""Where new mutations may be put: regions, IMGT ranges, single places."""

import re

from paratope.core.errors import InputError
from paratope.molecules.mutations import REGION_NAMES, chain_domain, parse_regions, positions_in
from paratope.molecules.sequences import Antibody

DEFAULT_REGIONS = "CDR"
_IMGT_RANGE = re.compile(r"([HL]):(\d+)(?:-(\d+))?")
_IMGT_PLACE = re.compile(r"([HL]):(\d+[A-Z]+)")
_PLACE = re.compile(r"([HL]):([A-Z])(\d+)")


def allowed_places(parent: Antibody, text: str = DEFAULT_REGIONS) -> tuple[tuple[str, int], ...]:
    """Places of a parent that a list names.

    Parameters
    ----------
    parent : Antibody
    text : str
        Separated by ``,``: regions as `paratope.molecules.mutations.parse_regions` reads them
        (``CDR``, ``H3``), IMGT numbers and ranges (``H:105-117``, ``H:111A``), or places of the
        sequence with
        the residue there (``H:S31``).

    Returns
    -------
    tuple of (str, int)
        Chain and place (from 1), in order; those of a light chain are left out where the parent has
        none.

    Raises
    ------
    InputError
        If a name is none, a residue differs from the parent's, or no place is left.

    Examples
    --------
    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> allowed_places(Antibody(vhh), "H:27-29,H:S31")
    (('H', 26), ('H', 27), ('H', 28), ('H', 31))
    """
    chains = "HL" if parent.light is not None else "H"
    places: set[tuple[str, int]] = set()
    regions = []
    for part in text.split(","):
        name = part.strip()
        if ":" in name:
            places.update(_of_numbers(parent, chains, name))
        elif name:
            regions.append(name)
    if regions:
        named = parse_regions(",".join(regions))
        for chain in chains:
            some = [name for name in named if REGION_NAMES[name][0] == chain]
            if some:
                places.update((chain, place) for place in positions_in(parent, chain, some))
    if not places:
        hint = "; the parent has no light chain" if chains == "H" else ""
        raise InputError(f"regions {text!r}: no place of the parent is in them{hint}")
    return tuple(sorted(places))


def _of_numbers(parent: Antibody, chains: str, name: str) -> list[tuple[str, int]]:
    text = name.upper()
    if match := _IMGT_RANGE.fullmatch(text):
        chain, first, last = match[1], int(match[2]), int(match[3] or match[2])
        if last < first:
            raise InputError(f"regions: {name!r} ends before it begins")
        if chain not in chains:
            return []
        labels = chain_domain(parent, chain).positions
        return [
            (chain, place)
            for place, label in enumerate(labels, start=1)
            if first <= int(label.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) <= last
        ]
    if match := _IMGT_PLACE.fullmatch(text):
        if match[1] not in chains:
            return []
        labels = chain_domain(parent, match[1]).positions
        return [(match[1], labels.index(match[2]) + 1)] if match[2] in labels else []
    if match := _PLACE.fullmatch(text):
        chain, residue, place = match[1], match[2], int(match[3])
        residues = chain_domain(parent, chain).residues if chain in chains else ""
        found = residues[place - 1 : place] if place else ""
        if found != residue:
            raise InputError(
                f"regions: {name!r}: the parent has {found or 'nothing'} at place {place} of "
                f"chain {chain}, not {residue}"
            )
        return [(chain, place)]
    raise InputError(
        f"regions: {name!r} cannot be read; expected regions such as CDR or H3, IMGT numbers such "
        "as H:105-117 or H:111A, or places such as H:S31"
    )
