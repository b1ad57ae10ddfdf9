"""Mutations: their notation goes round, they are applied, checked, and found again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.errors import InputError
from paratope.molecules.mutations import (
    REGION_NAMES,
    Mutation,
    apply_mutations,
    chain_domain,
    format_mutations,
    mutations_between,
    parse_mutation,
    parse_mutations,
    parse_regions,
    positions_in,
)
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from test_numbering import CH1, LEADER, LINKER, LYSOZYME, VH, VHH, VK

PARENT = Antibody(VH, VK, "parent")
PAIR = Pair(PARENT, Antigen((LYSOZYME, VHH), "two chains"))
RESIDUES = {"H": VH, "L": VK, "A": LYSOZYME, "A2": VHH}


@st.composite
def edits(draw: st.DrawFn, chains: str = "HL", most: int = 6) -> tuple[Mutation, ...]:
    """A few mutations of `PARENT`, of different places, away from the ends of the domains."""
    found: dict[tuple, Mutation] = {}
    for _ in range(draw(st.integers(0, most))):
        chain = draw(st.sampled_from(chains))
        place = draw(st.integers(8, len(RESIDUES[chain]) - 8))
        before = RESIDUES[chain][place - 1]
        letters = st.text(AMINO_ACIDS, min_size=1, max_size=3)
        kind = draw(st.sampled_from(["substitution", "substitution", "insertion", "deletion"]))
        if kind == "insertion":
            found[chain, place, True] = Mutation(chain, "", place, draw(letters))
        else:
            other = draw(st.sampled_from(AMINO_ACIDS.replace(before, "")))
            after = other if kind == "substitution" else ""
            found[chain, place, False] = Mutation(chain, before, place, after)
    return tuple(sorted(found.values(), key=lambda one: (one.chain, one.position, not one.before)))


@given(edits())
def test_notation_goes_round(mutations: tuple[Mutation, ...]):
    assert parse_mutations(format_mutations(mutations)) == mutations
    assert parse_mutations(format_mutations(mutations), PARENT) == mutations
    assert parse_mutations(format_mutations(mutations, imgt_of=PARENT), PARENT) == mutations


def test_every_position_has_its_imgt_form():
    for parent in (PARENT, Antibody(VHH)):
        for chain, residues in zip("HL", parent.chains, strict=False):
            for place, before in enumerate(residues, start=1):
                for after in ("", "W" if before != "W" else "Y"):
                    mutation = Mutation(chain, before, place, after)
                    assert parse_mutation(mutation.imgt(parent), parent) == mutation
                insertion = Mutation(chain, "", place, "GS")
                assert parse_mutation(insertion.imgt(parent), parent) == insertion


@given(edits(chains="HL"))
def test_applied_mutations_are_found_again(mutations: tuple[Mutation, ...]):
    variant = apply_mutations(PARENT, mutations)
    assert variant.name == "parent"
    expected = dict(zip("HL", PARENT.chains, strict=True))
    for one in reversed(mutations):  # by hand, from the back
        chain = expected[one.chain]
        start = one.position - len(one.before)
        expected[one.chain] = chain[:start] + one.after + chain[one.position :]
    assert (variant.heavy, variant.light) == (expected["H"], expected["L"])
    if prepare_antibody(variant)[0] == variant:  # still a whole domain by its numbering
        found = mutations_between(PARENT, variant)
        assert apply_mutations(PARENT, found) == variant
        changed = sum(max(len(one.before), len(one.after)) for one in mutations)
        assert sum(max(len(one.before), len(one.after)) for one in found) <= changed


def test_pairs_carry_mutations_of_the_antigen():
    mutations = parse_mutations("A2:D1E,A:K1R,L:Q3A,H:V2L")
    assert [one.chain for one in mutations] == ["H", "L", "A", "A2"]
    variant = apply_mutations(PAIR, mutations)
    assert variant.antigen.chains == ("R" + LYSOZYME[1:], "E" + VHH[1:])
    assert variant.antibody.heavy[:3] == "ELQ"
    assert mutations_between(PAIR, variant) == mutations
    assert Mutation("A", "K", 1, "R").imgt(PAIR) == "A:K1R"
    assert parse_mutation("A1:K1R") == Mutation("A", "K", 1, "R")


def test_chains_of_other_length_are_aligned_by_number():
    loop = PARENT.heavy.replace("CSRWGGDGFYAMDYW", "CSRWGGDFYAMDYW")
    (mutation,) = mutations_between(PARENT, Antibody(loop, VK))
    assert (mutation.kind, mutation.before) == ("deletion", "G")
    longer = PARENT.heavy.replace("CSRWGGDGFYAMDYW", "CSRWGGDGPWFYAMDYW")
    assert format_mutations(mutations_between(PARENT, Antibody(longer, VK))) == "H:103insPW"


def test_whole_chains_count_from_their_domain():
    whole = Antibody(LEADER + VH + CH1, VK)
    assert apply_mutations(whole, parse_mutations("H:E1Q")) == Antibody("Q" + VH[1:], VK)
    single_chain = Antibody(VH + LINKER + VK)
    assert apply_mutations(single_chain, parse_mutations("L:D1E")).light == "E" + VK[1:]
    assert mutations_between(whole, Antibody("Q" + VH[1:], VK)) == (Mutation("H", "E", 1, "Q"),)


def test_an_antigen_of_equal_length_is_aligned_by_substitutions_if_they_are_no_more():
    old, new = "MKTAWCLPGSDE", "MKTAMWLPGSDE"  # as few as M inserted and C deleted
    both = (Pair(PARENT, Antigen(chain)) for chain in (old, new))
    assert format_mutations(mutations_between(*both)) == "A:W5M,A:C6W"


def test_written_in_other_ways():
    one = Mutation("H", "D", 31, "A")
    for text in ("H:D31A", " h:d31a ", "H : D31A", "H:36D->A", "H:36D→A"):
        assert parse_mutation(text, PARENT) == one
    assert parse_mutation("H:ins103GY") == parse_mutation("H:103insGY")
    for text in ("", "WT", "wild type", " parent ", "None"):
        assert parse_mutations(text) == ()
    assert format_mutations(()) == "WT"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("D31A", "'D31A': cannot be read; expected such as H:S31A"),
        ("H:D31", "cannot be read"),
        ("H:D31*", "cannot be read"),
        ("H:D31J", "expected such as"),
        ("K:D31A", "cannot be read"),
        ("H:D0A", "counted from 1"),
        ("H:D31D", "changes nothing"),
        ("A0:D31A", "expected such as"),
        ("H:36D→A", "IMGT numbers, which need the parent"),
        ("H:D31A,H:D31E", "H:D31A and H:D31E change the same position"),
        ("H:31insG,H:31insA", "change the same position"),
        ("H:D31A,H:D31del", "change the same position"),
    ],
)
def test_text_that_is_no_mutation(text: str, says: str):
    with pytest.raises(InputError, match=says):
        parse_mutations(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # what is there, what is around it, and where such a residue is
        ("H:S31A", r"has D at position 31 of its heavy chain, not S \(residues 29 to 33 are "),
        ("H:W31A", "residues 29 to 33 are IKDTY"),
        ("H:F31A", "the nearest F is at position 27"),
        ("H:B31A", "there is no B|expected such as"),
        # counted by another scheme: what was probably meant
        ("H:D36A", "IMGT number 36 is D: write H:D31A"),
        ("H:R94A", "Kabat number 94 is R: write H:R98A"),
        ("H:D500A", "heavy chain has 120 residues"),
        ("H:500insA", "heavy chain has 120 residues"),
        ("L:D2A", "light chain, not D"),
        ("A:K1E", "'A:K1E': this is of the antigen"),
        ("H:31D→A", "has no IMGT position 31; near it are"),
        ("H:37D→A", "has T at IMGT position 37 .position 32 of its heavy chain., not D"),
        ("H:36D→AG", "an insertion begins with the residue it goes behind"),
        ("H:36D→D", "changes nothing"),
    ],
)
def test_mutations_that_the_parent_does_not_have(text: str, says: str):
    with pytest.raises(InputError, match=says):
        apply_mutations(PARENT, parse_mutations(text, PARENT))
    if "→" not in text:  # the same when they are read first
        with pytest.raises(InputError, match=says):
            apply_mutations(PARENT, parse_mutations(text))


def test_an_inserted_position_is_named_with_its_residue():
    parent = Antibody(VHH)
    domain = chain_domain(parent, "H")
    place = domain.positions.index("111A") + 1
    residue = domain.residues[place - 1]
    mutation = Mutation("H", residue, place, "W")
    assert mutation.imgt(parent) == f"H:111A{residue}→W"
    says = f"put its residue {residue} behind the number: H:111A{residue}→W"
    with pytest.raises(InputError, match=says):
        parse_mutation("H:111A→W", parent)


def test_chains_and_residues_that_are_not_there_are_refused():
    nanobody = Antibody(VHH)
    for text in ("L:S31A", "L:36S→A"):
        with pytest.raises(InputError, match="no light chain .a single-domain antibody."):
            apply_mutations(nanobody, parse_mutations(text, nanobody))
    for which, both in (("variant", (nanobody, PARENT)), ("parent", (PARENT, nanobody))):
        with pytest.raises(InputError, match=f"{which} has a light chain and the other has none"):
            mutations_between(*both)
    one_chain = Pair(PARENT, Antigen((LYSOZYME,)))
    with pytest.raises(InputError, match="antigen has 2 chains, the variant's 1"):
        mutations_between(PAIR, one_chain)
    with pytest.raises(InputError, match="antigen has 1 chain, no A2"):
        apply_mutations(one_chain, [Mutation("A2", "D", 1, "E")])
    pair = Pair(PARENT, Antigen(("MK",)))
    with pytest.raises(InputError, match="nothing is left of the antigen"):
        apply_mutations(pair, parse_mutations("A:M1del,A:K2del"))


def test_regions_by_name():
    assert parse_regions("CDR") == ("H1", "H2", "H3", "L1", "L2", "L3")
    assert parse_regions("all") == tuple(REGION_NAMES)
    assert parse_regions("cdrh3, FR1") == ("HFR1", "H3", "LFR1")
    assert parse_regions("L") == tuple(name for name in REGION_NAMES if name[0] == "L")
    for text, says in (("H4", "unknown region 'H4'; valid names: ALL, CDR"), (" , ", "no region")):
        with pytest.raises(InputError, match=says):
            parse_regions(text)
    with pytest.raises(InputError, match="unknown region 'HCDR3'; valid names: "):
        positions_in(PARENT, "H", ["HCDR3"])
    assert "".join(VH[place - 1] for place in positions_in(PARENT, "H", ["H1"])) == "GFNIKDTY"
    assert positions_in(PARENT, "L") == tuple(range(1, len(VK) + 1))
