"""Sequence liabilities: motifs and properties of variable domains that spoil a good binder.

They are read from the sequence alone. A motif that is buried, or that never reacts, is listed like
one that does: a liability is a reason to look or to avoid, no prediction.
"""

import dataclasses
import functools
import importlib.resources
import re
import tomllib

from paratope.core.errors import InputError, unknown_name
from paratope.molecules.numbering import number_chain, prepare_antibody
from paratope.molecules.sequences import Antibody

SEVERITIES = ("low", "medium", "high")
# The disulfide that every variable domain has: IMGT 23 and 104.
DISULFIDE = ("23", "104")
# Net charge of all CDRs (K, R: +1; D, E: -1), and mean hydropathy of CDR residues in a row: what 90
# and 95 of 100 antibodies of SAbDab with a measured affinity keep to; a test holds them to that.
MIN_CDR_CHARGE, MAX_CDR_CHARGE = -5, 2
PATCH_RESIDUES = 5
MAX_PATCH_HYDROPATHY = 2.8
# Kyte & Doolittle 1982, J. Mol. Biol. 157:105; X is their mean.
HYDROPATHY = {
    entry[0]: float(entry[1:])
    for entry in (
        "A1.8 C2.5 D-3.5 E-3.5 F2.8 G-0.4 H-3.2 I4.5 K-3.9 L3.8 M1.9 N-3.5 P-1.6 Q-3.5 R-4.5 S-0.8 "
        "T-0.7 V4.2 W-0.9 X-0.5 Y-1.3"
    ).split()
}
_CHARGES = {"K": 1, "R": 1, "D": -1, "E": -1}


@dataclasses.dataclass(frozen=True, slots=True)
class LiabilityKind:
    """One kind of liability."""

    description: str
    source: str  # Where it, or its threshold, comes from
    is_default: bool  # Whether a filter uses it unless told otherwise


_FILE = importlib.resources.files("paratope.molecules") / "liabilities.toml"
LIABILITIES: dict[str, LiabilityKind] = {
    name: LiabilityKind(kind["description"].format_map(globals()), kind["source"], kind["default"])
    for name, kind in tomllib.loads(_FILE.read_text("utf-8")).items()
}

# Motifs: kind, pattern (overlaps are found), severity, whether it must begin in a CDR.
_MOTIFS = tuple(
    (kind, re.compile(f"(?=({pattern}))"), severity, in_cdr)
    for kind, pattern, severity, in_cdr in (
        ("n-glycosylation", "N[^P][ST]", "high", False),
        ("deamidation", "NG", "high", True),
        ("deamidation", "NS", "medium", True),
        ("weak-deamidation", "N[NT]", "low", True),
        ("isomerisation", "DG", "high", True),
        ("isomerisation", "DS", "medium", True),
        ("methionine-oxidation", "M", "medium", True),
        ("tryptophan-oxidation", "W", "medium", True),
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class Liability:
    """One liability of an antibody."""

    kind: str  # Key of `LIABILITIES`
    chain: str  # ``"H"``, ``"L"``, or ``""`` for the antibody as a whole
    position: int  # Of its first residue, from 1 in the variable domain; 0 for the whole
    imgt: str  # IMGT number of that residue, such as ``"111A"``
    region: str  # Such as ``"CDR3"``
    motif: str  # Its residues; for a charge, the number
    severity: str  # One of `SEVERITIES`

    def __str__(self) -> str:
        """Short form for tables: ``deamidation NG H:62``, with its IMGT number."""
        where = f" {self.chain}:{self.imgt}" if self.chain else ""
        return f"{self.kind} {self.motif}{where}"


@functools.lru_cache(maxsize=20_000)  # generated, filtered and listed
def find_liabilities(antibody: Antibody) -> tuple[Liability, ...]:
    """Liabilities of an antibody's variable domains, of all kinds, in order of chain and position.

    Raises `InputError` if it is no antibody.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDNGSITIRPRYYGLDVWGQGTLVTVSS")
    >>> [str(one) for one in find_liabilities(Antibody(vhh))]
    ['deamidation NG H:108', 'n-glycosylation NGS H:108']
    """
    prepared, _ = prepare_antibody(antibody)
    by_chain = [_of_chain(*each) for each in zip("HL", prepared.chains, strict=False)]
    liabilities = [liability for of_chain, _ in by_chain for liability in of_chain]
    charge = sum(charge for _, charge in by_chain)
    if not MIN_CDR_CHARGE <= charge <= MAX_CDR_CHARGE:
        liabilities.append(Liability("cdr-charge", "", 0, "", "CDR", f"{charge:+d}", "medium"))
    return tuple(liabilities)


def new_liabilities(parent: Antibody, variant: Antibody) -> tuple[Liability, ...]:
    """Liabilities of the variant that the parent has not at that IMGT number, or not so severe.

    With the two exchanged: what the variant has got rid of. A charge counts as new if it is
    further beyond the limit, a hydrophobic patch if its region had none.

    >>> vhh = ("QVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKN"
    ...        "TLYLQMNSLRAEDTAVYYCAKDRLSITIRPRYYGLDVWGQGTLVTVSS")
    >>> variant = Antibody(vhh.replace("DRLSI", "DRLMI"))
    >>> [str(one) for one in new_liabilities(Antibody(vhh), variant)]
    ['methionine-oxidation M H:110']
    """
    before = {_key(old): _rank(old) for old in find_liabilities(parent)}
    return tuple(new for new in find_liabilities(variant) if _rank(new) > before.get(_key(new), -1))


def select_liabilities(text: str = "default") -> tuple[str, ...]:
    """Kinds of liability that a filter is to use: keys of `LIABILITIES`, in their order.

    `text` is ``default``, ``all`` or ``none``, or names of kinds, separated by ``,``; a name with
    ``+`` or ``-`` in front adds to the default ones or takes from them. Raises `InputError` if a
    name is none.

    >>> set(select_liabilities()) - set(select_liabilities("-tryptophan-oxidation"))
    {'tryptophan-oxidation'}
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()] or ["default"]
    default = {name for name, kind in LIABILITIES.items() if kind.is_default}
    sets = {"default": default, "all": set(LIABILITIES), "none": set()}
    chosen: set[str] = set(default) if names[0][0] in "+-" else set()
    for name in names:
        plain = name.lstrip("+-")
        if plain not in sets and plain not in LIABILITIES:
            raise InputError(unknown_name("liability", plain, [*LIABILITIES, *sets]))
        members = sets.get(plain, {plain})
        chosen = chosen - members if name.startswith("-") else chosen | members
    return tuple(name for name in LIABILITIES if name in chosen)


@functools.lru_cache(maxsize=16384)
def _of_chain(letter: str, chain: str) -> tuple[tuple[Liability, ...], int]:
    """Liabilities of a chain in order of position, and the charge of its CDRs."""
    domain = number_chain(chain)
    liabilities = []

    def add(kind: str, index: int, motif: str, severity: str) -> None:
        imgt, region = domain.positions[index], domain.regions[index]
        liabilities.append(Liability(kind, letter, index + 1, imgt, region, motif, severity))

    for kind, pattern, severity, in_cdr in _MOTIFS:
        for match in pattern.finditer(domain.residues):
            if not in_cdr or domain.regions[match.start()].startswith("CDR"):
                add(kind, match.start(), match[1], severity)
    conserved = [index for index, label in enumerate(domain.positions) if label in DISULFIDE]
    for index in conserved:
        if domain.residues[index] != "C":
            add("lost-disulfide", index, domain.residues[index], "high")
    cysteines = [index for index, residue in enumerate(domain.residues) if residue == "C"]
    if sum(index in conserved for index in cysteines) == len(DISULFIDE):
        cysteines = [index for index in cysteines if index not in conserved]
    is_odd = len(cysteines) % 2
    kind, severity = ("unpaired-cysteine", "high") if is_odd else ("extra-disulfide", "low")
    for index in cysteines:
        add(kind, index, "C", severity)
    for region in ("CDR1", "CDR2", "CDR3"):  # the most hydrophobic stretch of each
        residues = domain.region(region)
        windows = [
            (sum(HYDROPATHY[residue] for residue in residues[at : at + PATCH_RESIDUES]), -at)
            for at in range(len(residues) - PATCH_RESIDUES + 1)
        ]
        if windows and max(windows)[0] > MAX_PATCH_HYDROPATHY * PATCH_RESIDUES + 1e-9:
            at = -max(windows)[1]
            motif = residues[at : at + PATCH_RESIDUES]
            add("hydrophobic-patch", domain.regions.index(region) + at, motif, "medium")
    in_cdrs = "".join(domain.region(f"CDR{number}") for number in "123")
    charge = sum(_CHARGES.get(residue, 0) for residue in in_cdrs)
    liabilities.sort(key=lambda liability: (liability.position, liability.kind))
    return tuple(liabilities), charge


def _key(liability: Liability) -> tuple[str, str, str]:
    """What makes a liability of a parent and of a variant the same one."""
    if liability.kind == "cdr-charge":
        return liability.kind, "", liability.motif[0]
    where = liability.region if liability.kind == "hydrophobic-patch" else liability.imgt
    return liability.kind, liability.chain, where


def _rank(liability: Liability) -> int:
    """Of two with one identity, the worse has the higher."""
    if liability.kind == "cdr-charge":
        return abs(int(liability.motif))
    return SEVERITIES.index(liability.severity)
