"""Rows that give a parent and mutations in place of sequences."""

import io

import pytest

from paratope.core.errors import InputError
from paratope.data.tables import InputTable, iter_tables
from paratope.molecules.sequences import Antigen
from test_numbering import LYSOZYME, VH, VHH, VK
from test_tables import csv_text, read_text

HEADER = ("id", "heavy", "light", "antigen", "parent", "mutations", "pkd")


def read(*rows: tuple, header: tuple = HEADER, **options) -> InputTable:
    return read_text(csv_text(*rows, header=header), **options)


PARENT = ("wt", VH, VK, LYSOZYME, "", "WT", "9")


def variant(name: str, mutations: str, parent: str = "wt", pkd: str = "8") -> tuple:
    return (name, "", "", "", parent, mutations, pkd)


def test_variants_are_built_from_their_parent():
    table = read(
        variant("before", "H:E1Q"),  # its parent stands behind it
        PARENT,
        variant("by IMGT", "L:1D→E"),
        variant("several", "H:E1Q; L:D1E + H:V2del"),
        variant("no change", "WT"),
        variant("of a variant", "H:V2L", parent="before"),
    )
    assert [row.error for row in table.rows] == [None] * 6
    pairs = {row.id: row.pair for row in table.rows if row.pair}
    assert pairs["before"].antibody.heavy == pairs["several"].antibody.heavy[:1] + VH[1:]
    assert pairs["several"].antibody.heavy == "Q" + VH[2:]
    assert pairs["several"].antibody.light == pairs["by IMGT"].antibody.light == "E" + VK[1:]
    assert pairs["no change"].antibody.chains == (VH, VK)
    assert pairs["of a variant"].antibody.heavy == "QL" + VH[2:]
    assert {pair.antigen.chains for pair in pairs.values()} == {(LYSOZYME,)}
    assert [name for name, pair in pairs.items() if pair.antibody.name != name] == []
    assert table.frame["heavy"].to_list()[0] is None  # the user's columns stay as they are


def test_a_measured_variant_knows_its_parent():
    table = read(PARENT, variant("v", "H:E1Q"), require="measured")
    first, second = table.measurements
    assert second.delta_pkd == -1.0
    assert second.parent == first.pair
    assert second.origin.mutations == ("H:E1Q",)


def test_one_parent_for_all_rows_that_name_none():
    rows = (PARENT, variant("v", "H:E1Q", parent=""))
    assert read(*rows, parent="wt").rows[1].error is None
    error = read(*rows).rows[1].error or ""
    assert "mutations without a heavy chain need their parent" in error


def test_a_parent_by_its_sequences():
    header = ("parent_heavy", "parent_light", "parent_antigen", "mutation")
    table = read((VH, VK, LYSOZYME, "H:E1Q"), (VHH, "", LYSOZYME, "H:D1E"), header=header)
    assert [row.error for row in table.rows] == [None, None]
    first, second = (row.pair for row in table.rows)
    assert first.antibody.chains == ("Q" + VH[1:], VK)
    assert second.antibody.chains == ("E" + VHH[1:],)
    assert first.antigen.chains == (LYSOZYME,)


def test_antigens_are_mutated_and_replaced():
    other = "MKTAYIAKQRQISFVK"
    table = read(
        PARENT,
        variant("mutated", "A:K1R,H:E1Q"),
        ("other", "", "", other, "wt", "A:K2E", ""),
        ("again", "", "", "", "mutated", "A:V2L", ""),
    )
    assert [row.error for row in table.rows] == [None] * 4
    antigens = [row.pair.antigen.chains[0] for row in table.rows if row.pair]
    assert antigens == [LYSOZYME, "R" + LYSOZYME[1:], "ME" + other[2:], "RL" + LYSOZYME[2:]]
    table = read(PARENT, variant("v", "A:K1R"), antigens=[Antigen((LYSOZYME,)), Antigen((other,))])
    (*_, first, second) = table.rows
    assert first.pair.antigen.chains[0][:2] == "R" + LYSOZYME[1]
    assert "has M at position 1 of its antigen, not K" in (second.error or "")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (variant("v", "H:S31A"), "row 'v', line 3, column 'mutations': mutation 'H:S31A': the par"),
        (variant("v", "S31A"), "cannot be read; expected such as H:S31A"),
        (variant("v", "H:E1Q", parent="nobody"), "column 'parent': no row 'nobody'"),
        (variant("v", "H:E1Q", parent="v"), "'v' is its own parent"),
        (variant("v", "H:E1Q", parent="bad"), "parent 'bad': column 'heavy': .*too short"),
        (variant("v", "L:E1Q", parent="vhh"), "no light chain"),
        (variant("v", ""), "column 'heavy': heavy chain: empty"),
    ],
)
def test_what_cannot_be_built_is_the_error_of_its_row(row: tuple, says: str):
    others = [("bad", "EVQL", "", LYSOZYME, "", "", ""), ("vhh", VHH, "", LYSOZYME, "", "", "")]
    table = read(PARENT, row, *others)
    assert table.rows[1].pair is None
    with pytest.raises(InputError, match=says):
        raise InputError(table.rows[1].error or "")
    assert [row.error is None for row in table.rows] == [True, False, False, True]


def test_parents_of_earlier_blocks_are_known():
    text = csv_text(PARENT, variant("a", "H:E1Q"), variant("b", "L:D1E"), header=HEADER)
    source = io.BytesIO(text.encode())
    rows = [row for table in iter_tables(source, block_rows=1) for row in table.rows]
    assert [row.error for row in rows] == [None] * 3


def test_rows_with_sequences_only_carry_their_mutations():
    # a source's own numbering, and no parent: nothing is checked or built
    table = read(("a", VH, VK, LYSOZYME, "", "HA31D", "8"), require="measured")
    assert table.measurements[0].origin.mutations == ("HA31D",)
    assert table.measurements[0].pair.antibody.heavy == VH
