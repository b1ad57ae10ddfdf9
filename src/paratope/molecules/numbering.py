"""Variable domains of antibody chains: IMGT, Kabat and Chothia numbering, CDRs, scFv splitting.

The numbering itself is immunum's; this file decides what counts as an antibody domain and what a
user's chains amount to: a pair, a single domain, an scFv, chains in the wrong columns.
"""

import dataclasses
import functools
import itertools
import re
import string

import immunum

from paratope.core.errors import InputError, unknown_name
from paratope.molecules.sequences import Antibody

SCHEMES = ("imgt", "kabat", "chothia")
REGIONS = ("FR1", "CDR1", "FR2", "CDR2", "FR3", "CDR3", "FR4")
# immunum's confidence is at most 0.31 on T-cell receptors, PD-1, CD4 and other immunoglobulin
# folds, and at least 0.48 on the antibodies of SKEMPI and SAbDab, hypermutated ones included.
MIN_CONFIDENCE = 0.4
# A short chain that ends as heavy ones do is aligned to heavy chains alone, in half the time,
# unless that leaves doubts: no light chain, T-cell receptor or other protein of SAbDab and SKEMPI
# reaches a confidence of 0.34 so, and of 27,050 heavy domains none is numbered otherwise.
_ONE_DOMAIN = 160
_HEAVY_END = re.compile("WG.G")
_SURELY_HEAVY = 0.5
# immunum's own limits on the length of a chain it aligns
MIN_RESIDUES = 30
MAX_RESIDUES = 10_000

# A region of fewer residues is missing (or cut): half of a framework, nearly all of a loop.
_FEWEST = {"FR1": 12, "CDR1": 1, "FR2": 8, "CDR2": 1, "FR3": 28, "CDR3": 2, "FR4": 5}
# FR4 of a heavy chain; immunum ends a domain within a CDR-H3 of more than some 60 residues, such as
# the ultralong ones of cattle, which have up to 70.
_HEAVY_FR4 = re.compile("WG.G..V.V(SS?)?")
_MAX_CDR3 = 100
# Where a VH meets its light chain (Kabat 37, 44, 45, 47): a VHH has other residues there.
_VH_INTERFACE = {"42": "VI", "49": "G", "50": "L", "52": "W"}

_CHAIN_NAMES = {"H": "heavy chain", "K": "kappa light chain", "L": "lambda light chain"}


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """One variable domain within a chain."""

    chain: str  # ``"H"``, ``"K"`` (kappa) or ``"L"`` (lambda)
    # start, end: ``sequence[start:end]`` is the domain
    start: int
    end: int
    residues: str
    # Number of each residue in the scheme asked for, such as ``"111A"``; as long as `residues`
    positions: tuple[str, ...]
    # Region of each residue in that scheme, one of `REGIONS`; as long as `residues`
    regions: tuple[str, ...]
    # Regions that are missing, masked by X, or cut to less than half
    missing: tuple[str, ...]

    @property
    def is_heavy(self) -> bool:
        """Whether this is a heavy chain's domain (VH or VHH)."""
        return self.chain == "H"

    @property
    def is_conventional_vh(self) -> bool:
        """Whether an IMGT-numbered heavy domain has the residues that meet a light chain."""
        at = dict(zip(self.positions, self.residues, strict=True))
        return self.is_heavy and all(at.get(n, "-") in few for n, few in _VH_INTERFACE.items())

    def region(self, name: str) -> str:
        """Residues of one region, such as ``"CDR3"``; empty where the domain lacks it."""
        if name not in REGIONS:
            raise InputError(unknown_name("region", name, REGIONS))
        count = self.regions.count(name)
        first = self.regions.index(name) if count else 0
        return self.residues[first : first + count]


def find_domains(sequence: str, scheme: str = "imgt") -> tuple[Domain, ...]:
    """Antibody variable domains of a chain, in order; none if it is no antibody.

    Leaders, linkers, tags and constant domains may surround them. `sequence` is clean residues (see
    `paratope.molecules.sequences.clean_sequence`), `scheme` one of `SCHEMES`; raises `InputError`
    for another. Recent answers are cached.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> domain, = find_domains(vhh + "HHHHHH")
    >>> domain.chain, domain.region("CDR3"), domain.end == len(vhh)
    ('H', 'AKDRLSITIRPRYYGLDV', True)
    >>> find_domains("MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQ")
    ()
    """
    if scheme not in SCHEMES:
        raise InputError(unknown_name("numbering scheme", scheme, SCHEMES))
    return _find_domains(sequence, scheme)


@functools.lru_cache(maxsize=16384)
def _find_domains(sequence: str, scheme: str) -> tuple[Domain, ...]:
    numbered_domains = []
    if len(sequence) <= _ONE_DOMAIN and _HEAVY_END.search(sequence, max(0, len(sequence) - 30)):
        numbered_domains = _annotator(scheme, "H", _SURELY_HEAVY).number_domains(sequence)
    if len(numbered_domains) != 1 or numbered_domains[0].error is not None:
        numbered_domains = _annotator(scheme, "ig", MIN_CONFIDENCE).number_domains(sequence)
    domains = []
    for numbered in numbered_domains:
        if numbered.error is not None:
            continue
        chain, start, end = numbered.chain, numbered.query_start, numbered.query_end
        assert chain is not None
        assert numbered.numbering is not None
        assert start is not None
        assert end is not None
        domain = _domain(scheme, chain, sequence, start, tuple(numbered.numbering))
        domains.append(_with_long_cdr3(domain, sequence, scheme))
    return tuple(domains)


def _domain(
    scheme: str, chain: str, sequence: str, start: int, positions: tuple[str, ...]
) -> Domain:
    positions, regions, missing = _regions(scheme, chain, positions)
    end = start + len(positions)
    residues = sequence[start:end]
    if "X" in residues:
        read = itertools.compress(regions, map("X".__ne__, residues))
        missing = _too_short(tuple(read))
    return Domain(chain, start, end, residues, positions, regions, missing)


@functools.lru_cache(maxsize=4096)  # variants of one antibody share theirs, in memory too
def _regions(
    scheme: str, chain: str, positions: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The positions, the region of each, and those with too few."""
    bounds = immunum.regions_for(scheme, chain)
    numbers = [int(position.rstrip(string.ascii_letters)) for position in positions]
    last = [(name, bounds[name.lower()][1]) for name in REGIONS]
    regions = tuple(
        next((name for name, end in last if number <= end), REGIONS[-1]) for number in numbers
    )
    return positions, regions, _too_short(regions)


def _too_short(regions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in REGIONS if regions.count(name) < _FEWEST[name])


def _with_long_cdr3(domain: Domain, sequence: str, scheme: str) -> Domain:
    """A heavy domain that ends within its CDR3, with the rest of it and its FR4, if they follow.

    It is numbered without the middle of the CDR3, whose residues are then counted up (and in IMGT
    down again) by insertion letters.
    """
    if not (domain.is_heavy and "FR4" in domain.missing and "FR3" not in domain.missing):
        return domain
    cdr3 = domain.start + sum(region not in ("CDR3", "FR4") for region in domain.regions)
    match = _HEAVY_FR4.search(sequence, cdr3, cdr3 + _MAX_CDR3 + 11)
    if match is None or match.start() - cdr3 < 20:
        return domain
    cut = slice(cdr3 + 10, match.start() - 8)
    without = sequence[domain.start : cut.start] + sequence[cut.stop : match.end()]
    shorter = find_domains(without, scheme)
    if len(shorter) != 1 or shorter[0].missing or shorter[0].start:
        return domain
    positions = shorter[0].positions
    last = {"imgt": "111", "kabat": "100", "chothia": "100"}[scheme]
    at = 1 + max(n for n, position in enumerate(positions) if position.startswith(last))
    left, right = (positions[at - 1], positions[at])
    inserted = cut.stop - cut.start
    down = inserted - inserted // 2 if scheme == "imgt" else 0
    up = _insertions(left, inserted - down)
    more = (*positions[:at], *up, *reversed(_insertions(right, down)), *positions[at:])
    return _domain(scheme, domain.chain, sequence, domain.start, more)


def _insertions(position: str, count: int) -> list[str]:
    """The insertions that follow a position: 111C, 111D, … 111Z, 111AA, … after ``"111B"``."""
    number = position.rstrip(string.ascii_letters)
    pairs = map("".join, itertools.product(string.ascii_uppercase, repeat=2))
    letters = [*string.ascii_uppercase, *pairs]
    first = letters.index(position[len(number) :]) + 1 if position != number else 0
    return [number + letter for letter in letters[first : first + count]]


def number_chain(sequence: str, scheme: str = "imgt") -> Domain:
    """First variable domain of a chain, numbered as `find_domains`; `InputError` if it has none.

    >>> vk = ("DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSL"
    ...       "QPEDFATYYCQQHYTTPPTFGQGTKVEIK")
    >>> number_chain(vk, "kabat").region("CDR1")
    'RASQDVNTAVA'
    """
    domains = find_domains(sequence, scheme)
    if not domains:
        raise InputError(_no_domain("chain", sequence))
    return domains[0]


def prepare_antibody(antibody: Antibody) -> tuple[Antibody, tuple[str, ...]]:
    """The variable domains of an antibody, VH and VL or a single VH or VHH, and notes.

    Constant domains, leaders, linkers and tags are cut without a note: they have no effect on the
    prediction. What changes the reading of the row is noted: an scFv split, swapped chains put
    right, a heavy chain repeated as light, further domains left out, regions missing. Raises
    `InputError` if the heavy chain holds no heavy domain, the light chain no light domain, or two
    different light domains are given.

    >>> vh = ("EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNT"
    ...       "AYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS")
    >>> vl = ("DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSL"
    ...       "QPEDFATYYCQQHYTTPPTFGQGTKVEIK")
    >>> prepared, notes = prepare_antibody(Antibody(vl + "GGGGSGGGGSGGGGS" + vh))
    >>> prepared == Antibody(vh, vl), notes
    (True, ('scFv split into heavy and light domains',))
    """
    heavy, light, notes = _prepare(antibody.heavy, antibody.light)
    return Antibody(heavy, light, antibody.name), notes


def cdrs(antibody: Antibody) -> dict[str, str]:
    """IMGT CDRs of an antibody: H1, H2, H3 and, with a light chain, L1, L2, L3.

    Raises `InputError` as `prepare_antibody`.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> cdrs(Antibody(vhh))
    {'H1': 'GFTFSSYA', 'H2': 'ISGSGGST', 'H3': 'AKDRLSITIRPRYYGLDV'}
    """
    prepared, _ = prepare_antibody(antibody)
    return {
        letter + index: number_chain(chain).region("CDR" + index)
        for letter, chain in zip("HL", prepared.chains, strict=False)
        for index in "123"
    }


@functools.lru_cache(maxsize=16384)
def _prepare(heavy: str, light: str | None) -> tuple[str, str | None, tuple[str, ...]]:
    notes: tuple[str, ...]
    in_heavy = find_domains(heavy)
    if not in_heavy:
        raise InputError(_no_domain("heavy chain", heavy))
    if light is None or light == heavy:  # one chain alone: a VH or VHH, or an scFv in either order
        once = "the same chain is given as heavy and light: read once"
        notes = () if light is None else (once,)
        vh = _first_heavy(in_heavy)
        _, of_scfv = _split(in_heavy)
        if not of_scfv:
            notes += (*_left_out(len(in_heavy) - 1, "heavy chain"), *_cut_short(vh))
            return vh.residues, None, notes
        notes += ("scFv split into heavy and light domains", *_cut_short(vh, of_scfv[0]))
        return vh.residues, of_scfv[0].residues, notes + _left_out(len(in_heavy) - 2, "scFv")
    in_light = find_domains(light)
    if not in_light:
        raise InputError(
            _no_domain("light chain", light) + "; leave it empty for a single-domain antibody"
        )
    notes = ()
    if not _split(in_heavy)[0] and _split(in_light)[0]:
        in_heavy, in_light = in_light, in_heavy
        notes = ("heavy and light chains were swapped: put right",)
    vh = _first_heavy(in_heavy)
    all_heavy, beside_heavy = _split(in_heavy)
    _, all_light = _split(in_light)
    if not all_light:
        if any(domain.residues != vh.residues for domain in in_light):
            raise InputError(
                "light chain: this is another heavy-chain domain; expected a kappa or lambda "
                "light chain, or nothing for a single-domain antibody"
            )
        vl = beside_heavy[0].residues if beside_heavy else None
        repeated = "the heavy domain is repeated as light chain: read once"
        return vh.residues, vl, (*notes, repeated, *_cut_short(vh, *beside_heavy[:1]))
    if beside_heavy and beside_heavy[0].residues != all_light[0].residues:
        raise InputError(
            "heavy chain: it holds a light-chain domain of its own (an scFv), and the light chain "
            "is another one; give the scFv alone, or one heavy and one light chain"
        )
    notes += _left_out(len(all_heavy) - 1, "heavy chain")
    notes += _left_out(len(all_light) - 1, "light chain") + _cut_short(vh, all_light[0])
    return vh.residues, all_light[0].residues, notes


def _split(domains: tuple[Domain, ...]) -> tuple[list[Domain], list[Domain]]:
    """The heavy domains, and the light ones."""
    heavy = [domain for domain in domains if domain.is_heavy]
    return heavy, [domain for domain in domains if not domain.is_heavy]


def _first_heavy(domains: tuple[Domain, ...]) -> Domain:
    heavy, _ = _split(domains)
    if not heavy:
        raise InputError(
            f"heavy chain: this is a {_CHAIN_NAMES[domains[0].chain]}; expected a heavy chain "
            "(VH or VHH)"
        )
    return heavy[0]


def _left_out(count: int, what: str) -> tuple[str, ...]:
    if count <= 0:
        return ()
    return (f"{what}: {count} further variable domain{'s' * (count > 1)} left out",)


def _cut_short(*domains: Domain) -> tuple[str, ...]:
    return tuple(
        f"{'heavy' if domain.is_heavy else 'light'} chain: {', '.join(domain.missing)} missing or "
        "cut short" + "; the domain ends within CDR3" * (domain.missing == ("FR4",))
        for domain in domains
        if domain.missing
    )


def _no_domain(what: str, sequence: str) -> str:
    size = f"{len(sequence)} residue{'s' * (len(sequence) != 1)}"
    if len(sequence) < MIN_RESIDUES:
        return f"{what}: {size}, too short for an antibody variable domain (about 110)"
    if len(sequence) > MAX_RESIDUES:
        return f"{what}: {size}, too long for an antibody chain (at most {MAX_RESIDUES})"
    return f"{what}: no antibody variable domain in its {size}"


@functools.cache
def _annotator(scheme: str, chains: str, min_confidence: float) -> immunum.Annotator:
    return immunum.Annotator(chains=[chains], scheme=scheme, min_confidence=min_confidence)
