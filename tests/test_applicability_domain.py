"""How close a pair is to the training set: in, near, out."""

import pytest

from paratope.cli.doctor import D13_HEAVY, D13_LIGHT, LYSOZYME
from paratope.core.errors import ModelError
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.molecules.sequences import Antibody, Antigen, Pair

TRASTUZUMAB = Antibody(
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYC"
    "SRWGGDGFYAMDYWGQGTLVTVSS",
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPP"
    "TFGQGTKVEIK",
)
D13 = Antibody(D13_HEAVY, D13_LIGHT)
HEL = Antigen((LYSOZYME,))
UBIQUITIN = Antigen(
    ("MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",)
)
# human lysozyme C: a homologue of the hen's, about 60 % identical
HUMAN_LYSOZYME = Antigen(
    (
        "KVFERCELARTLKRLGMDGYRGISLANWMCLAKWESGYNTRATNYNAGDRSTDYGIFQINSRYWCNDGKTPGAVNACHLSCSALLQDNIADAVACA"
        "KRVVRDPQGIRAWVAWRNRCQNRDVRQYVQGCGV",
    )
)


def mutated(sequence: str, *positions: int) -> str:
    letters = list(sequence)
    for position in positions:
        letters[position] = "A" if letters[position] != "A" else "G"
    return "".join(letters)


@pytest.fixture
def familiarity() -> ApplicabilityDomain:
    return ApplicabilityDomain.of_pairs([Pair(D13, HEL), Pair(TRASTUZUMAB, UBIQUITIN)])


def domain_of(familiarity: ApplicabilityDomain, antibody: Antibody, antigen: Antigen) -> str:
    return familiarity.judge([Pair(antibody, antigen)])[0].domain


def test_training_pair_is_in(familiarity: ApplicabilityDomain):
    close = familiarity.judge([Pair(D13, HEL)])[0]
    assert (close.domain, close.antigen_identity, close.antibody_identity) == ("in", 1.0, 1.0)


def test_mutants_of_a_training_pair_are_in(familiarity: ApplicabilityDomain):
    antibody = Antibody(mutated(D13.heavy, 30, 52), D13.light)
    antigen = Antigen((mutated(LYSOZYME, 20),))
    close = familiarity.judge([Pair(antibody, antigen)])[0]
    assert close.domain == "in"
    assert 0.98 < close.antigen_identity < 1
    assert 0.9 < close.antibody_identity < 1


def test_known_antigen_with_an_unrelated_antibody_is_near(familiarity: ApplicabilityDomain):
    assert domain_of(familiarity, TRASTUZUMAB, HEL) == "near"


def test_homologue_of_a_known_antigen_is_near(familiarity: ApplicabilityDomain):
    close = familiarity.judge([Pair(D13, HUMAN_LYSOZYME)])[0]
    assert close.domain == "near"
    assert 0.5 < close.antigen_identity < 0.7


@pytest.mark.parametrize("start", [0, 40, 79])
@pytest.mark.parametrize(
    ("size", "domain", "lowest", "highest"),
    [(1, "out", 0, 0.1), (4, "out", 0, 0.1), (20, "out", 0.3, 0.4), (50, "near", 0.7, 0.8)],
)
def test_identity_counts_coverage_of_both(
    familiarity: ApplicabilityDomain,
    start: int,
    size: int,
    domain: str,
    lowest: float,
    highest: float,
):
    close = familiarity.judge([Pair(D13, Antigen((LYSOZYME[start : start + size],)))])[0]
    assert close.domain == domain
    assert lowest <= close.antigen_identity <= highest


def test_one_domain_of_a_large_antigen_is_the_same_antigen():
    large = Antigen((LYSOZYME + UBIQUITIN.chains[0] * 6,))
    close = ApplicabilityDomain.of_pairs([Pair(D13, large)]).judge([Pair(D13, HEL)])[0]
    assert (close.domain, close.antigen_identity) == ("in", 1.0)


def test_unrelated_antigen_is_out(familiarity: ApplicabilityDomain):
    unrelated = Antigen((TRASTUZUMAB.heavy[:90],))
    assert domain_of(familiarity, D13, unrelated) == "out"


def test_answers_do_not_depend_on_company(familiarity: ApplicabilityDomain):
    pairs = [Pair(D13, HUMAN_LYSOZYME), Pair(TRASTUZUMAB, HEL), Pair(D13, UBIQUITIN)]
    together = familiarity.judge(pairs)
    alone = [
        ApplicabilityDomain.from_json(familiarity.to_json()).judge([pair])[0] for pair in pairs
    ]
    assert together == alone


def test_joined_knows_both():
    first, second = (
        ApplicabilityDomain.of_pairs([Pair(D13, HEL)]),
        ApplicabilityDomain.of_pairs([Pair(TRASTUZUMAB, UBIQUITIN)]),
    )
    joined = ApplicabilityDomain.joined([first, second, first])
    assert len(joined.antigens) == len(joined.antibodies) == len(joined.partners) == 2
    assert domain_of(joined, TRASTUZUMAB, UBIQUITIN) == "in"
    assert domain_of(first, TRASTUZUMAB, UBIQUITIN) == "out"


def test_no_pairs():
    assert ApplicabilityDomain([], [], []).judge([]) == []
    assert domain_of(ApplicabilityDomain([], [], []), D13, HEL) == "out"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"antigens": [["AC"]], "antibodies": [], "partners": [[0, 0]]},
        {"antigens": 3, "antibodies": [], "partners": []},
    ],
)
def test_damaged_file_is_refused(data: dict[str, object]):
    with pytest.raises(ModelError, match="familiarity"):
        ApplicabilityDomain.from_json(data)
