"""How close a pair is to the training set: in, near, out."""

import pytest

from paratope.cli.doctor import D13_HEAVY, D13_LIGHT, LYSOZYME
from paratope.models import applicability_domain
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.molecules.sequences import Antibody, Antigen, Pair
from small_campaigns import PARENT as TRASTUZUMAB
from test_numbering import NO_ANTIBODIES

D13 = Antibody(D13_HEAVY, D13_LIGHT)
HEL = Antigen((LYSOZYME,))
UBIQUITIN = Antigen((NO_ANTIBODIES["ubiquitin"],))
# human lysozyme C: a homologue of the hen's, about 60 % identical
HUMAN_LYSOZYME = (
    "KVFERCELARTLKRLGMDGYRGISLANWMCLAKWESGYNTRATNYNAGDRSTDYGIFQINSRYWCNDGKTPGAVNACHLSCSALLQDNIADAVACA"
    "KRVVRDPQGIRAWVAWRNRCQNRDVRQYVQGCGV"
)
HUMAN = Antigen((HUMAN_LYSOZYME,))


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


MUTANT = Antibody(mutated(D13.heavy, 30, 52), D13.light)


@pytest.mark.parametrize(
    ("antibody", "antigen", "domain", "of_antigen", "of_antibody"),
    [
        (D13, HEL, "in", (1, 1), (1, 1)),  # a training pair
        (MUTANT, Antigen((mutated(LYSOZYME, 20),)), "in", (0.98, 0.9999), (0.9, 0.9999)),
        (TRASTUZUMAB, HEL, "near", (1, 1), (1, 1)),  # the antibody of another antigen
        (D13, HUMAN, "near", (0.5, 0.7), (1, 1)),
        (D13, Antigen((TRASTUZUMAB.heavy[:90],)), "out", (0, 0.5), (0, 1)),
    ],
)
def test_how_close_a_pair_is(familiarity, antibody, antigen, domain, of_antigen, of_antibody):
    close = familiarity.judge([Pair(antibody, antigen)])[0]
    assert close.domain == domain
    assert of_antigen[0] <= close.antigen_identity <= of_antigen[1]
    assert of_antibody[0] <= close.antibody_identity <= of_antibody[1]


def test_what_is_remembered_of_antigens_is_bounded(familiarity, monkeypatch):
    monkeypatch.setattr(applicability_domain, "MAX_KEPT_ANTIGENS", 3)
    asked = [HEL, HUMAN, *(Antigen((mutated(LYSOZYME, n, n + 1),)) for n in range(6))]
    pairs = [Pair(D13, antigen) for antigen in asked]
    together = familiarity.judge(pairs)  # more than are remembered
    assert len(familiarity._kept_antigens) == 3
    for _ in range(2):
        assert [familiarity.judge([pair])[0] for pair in pairs] == together
        assert len(familiarity._kept_antigens) == 3
    aligned = []
    closest = familiarity._closest_antigens
    monkeypatch.setattr(
        familiarity, "_closest_antigens", lambda new: aligned.extend(new) or closest(new)
    )
    familiarity.judge(pairs[-3:])
    assert aligned == []  # the newest are remembered


@pytest.mark.parametrize("start", [0, 40, 79])
@pytest.mark.parametrize(
    ("size", "domain", "lowest", "highest"),
    [(1, "out", 0, 0.1), (4, "out", 0, 0.1), (20, "out", 0.3, 0.4), (50, "near", 0.7, 0.8)],
)
def test_identity_counts_coverage_of_both(familiarity, start, size, domain, lowest, highest):
    close = familiarity.judge([Pair(D13, Antigen((LYSOZYME[start : start + size],)))])[0]
    assert close.domain == domain
    assert lowest <= close.antigen_identity <= highest


def test_one_domain_of_a_large_antigen_is_the_same_antigen():
    large = Antigen((LYSOZYME + UBIQUITIN.chains[0] * 6,))
    close = ApplicabilityDomain.of_pairs([Pair(D13, large)]).judge([Pair(D13, HEL)])[0]
    assert (close.domain, close.antigen_identity) == ("in", 1.0)


def test_answers_do_not_depend_on_company(familiarity):
    pairs = [Pair(D13, HUMAN), Pair(TRASTUZUMAB, HEL), Pair(D13, UBIQUITIN)]
    again = ApplicabilityDomain.from_json(familiarity.to_json())
    assert familiarity.judge(pairs) == [again.judge([pair])[0] for pair in pairs]


def test_joined_knows_both_and_of_no_pairs_nothing_is_known():
    first = ApplicabilityDomain.of_pairs([Pair(D13, HEL)])
    second = ApplicabilityDomain.of_pairs([Pair(TRASTUZUMAB, UBIQUITIN)])
    joined = ApplicabilityDomain.joined([first, second, first])
    assert len(joined.antigens) == len(joined.antibodies) == len(joined.partners) == 2
    assert domain_of(joined, TRASTUZUMAB, UBIQUITIN) == "in"
    assert domain_of(first, TRASTUZUMAB, UBIQUITIN) == "out"
    assert ApplicabilityDomain([], [], []).judge([]) == []
    assert domain_of(ApplicabilityDomain([], [], []), D13, HEL) == "out"
