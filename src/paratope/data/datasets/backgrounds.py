"""Germline-like antibodies whose CDR positions, the slots, a simulation varies."""

import dataclasses

import numpy as np

from paratope.molecules.sequences import AMINO_ACIDS, Antibody

# Residues a mutation may bring: no cysteine, which would pair, and no proline.
MUTABLE = np.array([AMINO_ACIDS.index(letter) for letter in "ADEFGHIKLMNQRSTVWY"])
LOOP_FILLER = "GSYDA"


@dataclasses.dataclass(frozen=True, slots=True)
class Background:
    """A germline-like antibody: frameworks and CDRs in turn, CDR-H3 left to the simulation.

    Attributes
    ----------
    name : str
        Germline genes.
    heavy : tuple of str
        FR1, CDR1, FR2, CDR2, FR3 with the first two residues of CDR3, and the end of CDR3 with FR4.
    light : tuple of str
        FR1 to FR3, the five varied residues of CDR3, and the rest.
    """

    name: str
    heavy: tuple[str, str, str, str, str, str]
    light: tuple[str, str, str]


_KAPPA_1_39 = (
    "DIQMTQSPSSLSASVGDRVTITCRASQSISSYLNWYQQKPGKAPKLLIYAASSLQSGVPSRFSGSGSGTDFTLTISSLQPEDFATYYCQQ",
    "SYSTP",
    "LTFGGGTKVEIK",
)
_KAPPA_3_20 = (
    "EIVLTQSPGTLSLSPGERATLSCRASQSVSSSYLAWYQQKPGQAPRLLIYGASSRATGIPDRFSGSGSGTDFTLTISRLEPEDFAVYYCQQ",
    "YGSSP",
    "LTFGGGTKVEIK",
)
_LAMBDA_2_14 = (
    "QSALTQPASVSGSPGQSITISCTGTSSDVGGYNYVSWYQQHPGKAPKLMIYEVSNRPSGVSNRFSGSKSGNTASLTISGLQAEDEADYYCSS",
    "YTSSS",
    "TLVFGGGTKLTVL",
)
BACKGROUNDS: tuple[Background, ...] = (
    Background(
        "IGHV3-23/IGKV1-39",
        (
            "EVQLLESGGGLVQPGGSLRLSCAAS", "GFTFSSYA", "MSWVRQAPGKGLEWVSA", "ISGSGGST",
            "YYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYCAK", "FDYWGQGTLVTVSS",
        ),
        _KAPPA_1_39,
    ),
    Background(
        "IGHV1-69/IGKV3-20",
        (
            "QVQLVQSGAEVKKPGSSVKVSCKAS", "GGTFSSYA", "ISWVRQAPGQGLEWMGG", "IIPIFGTA",
            "NYAQKFQGRVTITADESTSTAYMELSSLRSEDTAVYYCAR", "FDYWGQGTLVTVSS",
        ),
        _KAPPA_3_20,
    ),
    Background(
        "IGHV1-2/IGLV2-14",
        (
            "QVQLVQSGAEVKKPGASVKVSCKAS", "GYTFTGYY", "MHWVRQAPGQGLEWMGW", "INPNSGGT",
            "NYAQKFQGRVTMTRDTSISTAYMELSRLRSDDTAVYYCAR", "FDVWGQGTLVTVSS",
        ),
        _LAMBDA_2_14,
    ),
    Background(
        "IGHV3-30/IGKV1-39",
        (
            "QVQLVESGGGVVQPGRSLRLSCAAS", "GFTFSSYG", "MHWVRQAPGKGLEWVAV", "ISYDGSNK",
            "YYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYCAR", "FDPWGQGTLVTVSS",
        ),
        _KAPPA_1_39,
    ),
)  # fmt: skip

# Six of CDR-H1 (from its third residue), six of CDR-H2 (from its second), eight of CDR-H3 and five
# of CDR-L3.
_H1, _H2, _H3, _L3 = 6, 6, 8, 5
LIGHT_SLOTS = _L3
SLOTS: tuple[str, ...] = tuple(
    f"{loop}:{number}"
    for loop, count in (("H1", _H1), ("H2", _H2), ("H3", _H3), ("L3", _L3))
    for number in range(1, count + 1)
)


def parent_residues(kinds: int, rng: np.random.Generator) -> np.ndarray:
    """Residues (as indices into `AMINO_ACIDS`) of the slots of each background; (kinds, slots).

    Germline in CDR-H1, CDR-H2 and CDR-L3; drawn in CDR-H3, which no germline gene encodes.
    """
    loops = rng.choice(MUTABLE, size=(kinds, _H3))
    return np.stack(
        [
            np.concatenate(
                [_indices(b.heavy[1][2:]), _indices(b.heavy[3][1:-1]), loop, _indices(b.light[1])]
            )
            for b, loop in zip(BACKGROUNDS[:kinds], loops, strict=True)
        ]
    )


def build_antibody(
    kind: Background, residues: np.ndarray, loop: str, light_chain: bool, name: str
) -> Antibody:
    """Antibody of a background with given residues in its slots and an inert loop within CDR-H3."""
    text = "".join(AMINO_ACIDS[index] for index in residues)
    h1, h2 = text[:_H1], text[_H1 : _H1 + _H2]
    h3, l3 = text[_H1 + _H2 : _H1 + _H2 + _H3], text[-_L3:]
    fr1, cdr1, fr2, cdr2, fr3, fr4 = kind.heavy
    heavy = fr1 + cdr1[:2] + h1 + fr2 + cdr2[:1] + h2 + cdr2[-1:] + fr3 + h3 + loop + fr4
    light = kind.light[0] + l3 + kind.light[2] if light_chain else None
    return Antibody(heavy, light, name)


def _indices(text: str) -> np.ndarray:
    return np.array([AMINO_ACIDS.index(letter) for letter in text])
