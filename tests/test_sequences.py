"""Cleaning of what people paste."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paratope.core.errors import InputError
from paratope.molecules import sequences
from paratope.molecules.sequences import ALPHABET, Antibody, Antigen

# without the five letters of nucleic acids in every position, so that nothing looks like DNA
PROTEIN = st.text(ALPHABET, min_size=1, max_size=60).map(lambda text: "W" + text)


@given(PROTEIN, st.sampled_from(["", "*", " *", "\n"]), st.sampled_from([" ", "\n", "\r\n", "\t"]))
def test_case_white_space_and_stop_do_not_matter(residues, tail, space):
    pasted = space.join(residues.lower()[i : i + 10] for i in range(0, len(residues), 10)) + tail
    assert sequences.clean_sequence(pasted) == (residues, ())


@given(st.text(ALPHABET + "UBZJO", min_size=1, max_size=60).map(lambda text: "W" + text))
def test_cleaning_twice_changes_nothing_more(text):
    once, _ = sequences.clean_sequence(text)
    assert sequences.clean_sequence(once) == (once, ())
    assert len(once) == len(text)


@given(st.text(max_size=80))
def test_any_text_gives_residues_or_an_input_error(text):
    try:
        residues, _ = sequences.clean_sequence(text)
    except InputError:
        return
    assert residues
    assert set(residues) <= set(ALPHABET)


def test_rare_letters_are_replaced_and_noted():
    assert len(sequences.AMINO_ACIDS) == 20
    assert set(ALPHABET) == set(sequences.AMINO_ACIDS) | {"X"}
    assert sequences.clean_sequence("MKUUV") == ("MKCCV", ("2 U read as C",))
    assert sequences.clean_sequence("MBZJOV") == ("MXXXXV", ("4 of B/Z/J/O read as X",))


LOOK_ALIKE = "\u00df\u017f\ufb01\u0410\u200b\u212a"  # letters that only look like residues


@pytest.mark.parametrize(
    ("text", "letter", "position"),
    [
        *(("EVQ1", "1", 4), ("ev ql\n5v", "5", 5), ("--EV?", "?", 5), ("EV*Q", "*", 3)),
        *((f"EV{letter}", letter, 3) for letter in LOOK_ALIKE),
    ],
)
def test_other_characters_are_named_with_their_position(text, letter, position):
    with pytest.raises(InputError) as caught:
        sequences.clean_sequence(text, "light chain")
    assert str(caught.value).startswith(f"light chain: {letter!r} at position {position} is not")
    assert ALPHABET in str(caught.value)


@pytest.mark.parametrize("text", ["", "  ", "\n", "*", "--", "-*"])
def test_empty(text):
    with pytest.raises(InputError, match="antigen: empty"):
        sequences.clean_sequence(text, "antigen")


def test_nucleic_acids_and_chains_too_long_are_called_so():
    with pytest.raises(InputError, match="this is DNA .45 bases.*translate it first"):
        sequences.clean_sequence("ATGGAAGTTCAGCTG" * 3)
    with pytest.raises(InputError, match="this is RNA"):
        sequences.clean_sequence("AUGGAAGUUCAGCUG" * 3)
    # too short to tell: a peptide of glycine and alanine is a protein
    assert sequences.clean_sequence("GAGAG")[0] == "GAGAG"
    with pytest.raises(InputError, match=f"at most {sequences.MAX_RESIDUES}"):
        sequences.clean_sequence("W" * (sequences.MAX_RESIDUES + 1))
    assert len(sequences.clean_sequence("W" * 10_000)[0]) == 10_000


@given(st.lists(PROTEIN, min_size=1, max_size=4), st.sampled_from("|:"))
def test_antigen_chains_round_trip(chains, mark):
    assert sequences.clean_antigen(mark.join(chains), "x") == (Antigen(tuple(chains), "x"), ())


def test_errors_and_notes_name_the_chain():
    for clean, given_texts, message in (
        (sequences.clean_antigen, ("MKV:M1V",), "antigen chain 2: '1' at position 2"),
        (sequences.clean_antigen, (" : ",), "antigen: empty"),
        (sequences.clean_antibody, ("EVQL|DIQM|EVQL",), "3 chains where at most two"),
        (sequences.clean_antibody, ("EVQL|DIQM", "DIQM"), "give the light chain once"),
        (sequences.clean_antibody, ("EVQL", "7"), "light chain: '7' at position 1"),
    ):
        with pytest.raises(InputError, match=message):
            clean(*given_texts)
    assert sequences.clean_antigen("MKV|MBV")[1] == ("antigen chain 2: 1 of B/Z/J/O read as X",)
    notes = ("heavy chain: 1 U read as C", "light chain: 1 of B/Z/J/O read as X")
    assert sequences.clean_antibody("EVQU", "DIQB")[1] == notes


@given(PROTEIN, PROTEIN, st.sampled_from("|:"), st.sampled_from([None, "", "  "]))
def test_heavy_and_light_in_one_text_or_none(heavy, light, mark, none):
    together, _ = sequences.clean_antibody(f"{heavy}{mark}{light}")
    apart, _ = sequences.clean_antibody(heavy, light)
    assert together == apart == Antibody(heavy, light)
    assert together.chains == (heavy, light)
    single, _ = sequences.clean_antibody(heavy, none, "nb")
    assert (single, single.chains) == (Antibody(heavy, None, "nb"), (heavy,))
