"""Mutations beside sequences or in place of them, and numbers that are no positions."""

import io
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paratope.data.audit import audit
from paratope.data.tables import InputTable, iter_tables, read_table
from paratope.molecules.mutations import apply_mutations, format_mutations, parse_mutations
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import Antibody, Antigen
from test_mutations import edits
from test_numbering import LYSOZYME, VH, VHH, VK
from test_tables import csv_text, read_text


def variant(mutations: str, heavy: str = VH) -> str:
    return apply_mutations(Antibody(heavy), parse_mutations(mutations)).heavy


def table(rows: list[tuple], *header: str) -> bytes:
    return csv_text(*rows, header=header).encode()


def outcomes(content: bytes) -> list[str]:
    """Each row's heavy chain as read, or its error."""
    rows = read_text(content).rows
    return [row.pair.antibody.heavy if row.pair else row.error or "" for row in rows]


# Heavy chain, mutations, and what is read: the heavy chain, or words of the error.
KABAT = "5 of this parent's 5 variants fit Kabat numbers, 1 positions in its sequence"
BESIDE = {
    "the parent's sequence in all rows": [
        (VH, "", VH),
        (VH, "H:D31A", variant("H:D31A")),
        (VH, "H:36D→A,H:Y33del", variant("H:D31A,H:Y33del")),
        (VH, "H:33insGY", variant("H:33insGY")),
        (VH, "H:S31A", "'H:S31A': the parent has D at position 31 of its heavy chain"),
        (VH, "H:D31V+H:?", "'H:[?]': cannot be read"),
    ],
    "one variant of each of several parents": [
        (VH, "H:D31A", variant("H:D31A")),
        (VHH, "H:M34L", variant("H:M34L", VHH)),
    ],
    "sequences that hold their mutations": [
        (VH, "WT", VH),
        *(
            (variant(text), text, variant(text))
            for text in ("H:D31A", "H:Y33del", "H:33insGS,H:D31E,H:Y60F", "H:E1Q,H:W99del,H:G100A")
        ),
        (variant("H:D31A"), "H:36D→A", variant("H:D31A")),
        (variant("H:D31A"), "", variant("H:D31A")),  # a replicate
    ],
    "sequences that hold them by Kabat numbers": [
        (variant(f"H:{at}"), f"H:{kabat}", variant(f"H:{at}"))
        for at, kabat in (("T54A", "T53A"), ("P53A", "P52aA"), ("R98A", "R94A"), ("W99A", "W95A"))
    ],
    "one sequence forgotten": [
        *((variant(text), text, variant(text)) for text in ("H:D31A", "H:Y33A", "H:W99A")),
        (variant("H:E1Q"), "H:R50A", "'H:R50A' is not in its sequence, which has the residue befo"),
    ],
    "a sequence of another row": [
        (variant("H:D31A"), "H:D31A", variant("H:D31A")),
        (variant("H:D31A"), "H:Y33A", "not in its sequence, which is that of H:D31A in another"),
    ],
    "chains not named": [
        (VH, "", VH),
        (VH, "D31A", "'D31A' is not in its sequence.*: write H:D31A"),
        (VH, "VH-Y33A/W99A", "write H:Y33A,H:W99A"),
        (VH, "E484K", "'E484K' is not in its sequence.* such as H:S31A"),
    ],
    "other words": [
        (VH, "Asp31Ala", "'Asp31Ala' is not in its sequence.*: write H:D31A"),
        (VH, "heavy chain: D31A (CDR1)", "write H:D31A"),
        (VH, "H:D31A/H:Y33del", "write H:D31A,H:Y33del"),
        (VH, "S52aK in CDR2", "such as H:S31A"),
    ],
    "forms that are not read": [
        (VH, "WT", VH),
        *((VH, text, "is not in its sequence") for text in ("del31", "H:del31", "ins52aG", "D31-")),
        *((VH, text, "is not in its sequence") for text in ("D31>del", "D(31)A", "H:31A", "d31a")),
        *((VH, text, "write H:D31A") for text in ("D31→A", "H:D31→A", "DH31A", "HD31A")),
    ],
    "two forms that are not read": [
        (VH, "del31", "is not in its sequence"),
        (VH, "del33", "is not in its sequence"),
    ],
    "chain not named, one row": [(VH, "D31A", "which has the residue before it.*: write H:D31A")],
    "chains not named, of several parents": [
        (VH, "VH:D31A", "write H:D31A"),
        (VHH, "M34L", "write H:M34L"),
    ],
    "chains not named, held in another's numbers": [
        (variant(f"H:{text}"), bare, variant(f"H:{text}"))
        for text, bare in (("D31A", "D50A"), ("Y33A", "Y52A"), ("W99A", "W118A"))
    ],
    "mutations of the Fc": [(VH, text, VH) for text in ("IgG1", "IgG1-N297A", "IgG4 S228P")]
    + [(VH, "IgG1 Y105A", "write H:Y105A"), (VH, "IgG1 D31A", "write H:D31A")],
    "names of clones that repeat": [(VH, text, VH) for text in ("M1-3", "B.1.351", "P1-like")],
    "chains not named, and held": [
        (variant(f"H:{text}"), text, variant(f"H:{text}")) for text in ("D31A", "Y33A", "W99A")
    ],
    "the parent's sequence, by Kabat numbers": [
        (VH, "WT", VH),
        (VH, "H:P52aA", f"{KABAT}: write H:P53A"),
        (VH, "H:T53A", f"{KABAT}: write H:T54A"),
        (VH, "H:R94A,H:W95A", f"{KABAT}: write H:R98A,H:W99A"),
        (VH, "H:Y56A", f"{KABAT}: write H:Y57A"),
        (VH, "H:D31A", variant("H:D31A")),  # the same in both
    ],
    "words and names of clones": [(VH, text, VH) for text in ("clone A", "7", "parent", "n.d.")],
}


COLUMNS = ("heavy", "light", "antigen", "mutations")


def check(rows: list[tuple], read: list[str]) -> None:
    assert len(rows) == len(read)
    for (*_, text, expected), got in zip(rows, read, strict=True):
        assert got == expected or (" " in expected and re.search(expected, got)), text


@pytest.mark.parametrize("rows", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("column", ["mutations", "Variant"])
def test_mutations_beside_sequences(column: str, rows: list[tuple[str, str, str]]):
    cells = [(f"r{k}", heavy, VK, LYSOZYME, text) for k, (heavy, text, _) in enumerate(rows)]
    check(rows, outcomes(table(cells, "id", "VH", "VL", "antigen", column)))


IDS = {
    "mutations": [(VH, "trastuzumab", VH), (VH, "H:D31A", variant("H:D31A"))],
    "held": [(variant("H:D31A"), "H:D31A", variant("H:D31A")), (VH, "WT", VH)],
    "chain not named": [(VH, "WT", VH), (VH, "D31A", "write H:D31A"), (VH, "Y33W", "write H:Y33W")],
    "in a name": [(VH, "wt", VH), (VH, "trast_D31A", "write H:D31A"), (VH, "v2 Y33W", "write H")],
    "replicates": [(VHH, "clone D1A rep1", VHH), (VHH, "clone D1A rep2", VHH)],
    "clones": [(VH, "A3C", VH), (VH, "F10A", VH), (VH, "P1-B7", VH), (VHH, "H7L", VHH)],
}


@pytest.mark.parametrize("rows", IDS.values(), ids=IDS)
@pytest.mark.parametrize("header", [("name",), ("name", "id")])
def test_ids_and_names_that_are_mutations(header: tuple, rows: list[tuple[str, str, str]]):
    cells = [(heavy, VK, LYSOZYME, text, str(k)) for k, (heavy, text, _) in enumerate(rows)]
    cells = [row[: 3 + len(header)] for row in cells]
    check(rows, outcomes(table(cells, *COLUMNS[:3], *header)))


# Mutations of one parent, and what is read of each.
NUMBERS = {
    "a number with a letter": [
        ("H:P52aA", "2 of this parent's 2 variants fit Kabat numbers, 0 pos.*: write H:P53A"),
        ("H:Y56A", "write H:Y57A"),
    ],
    "IMGT without its arrow": [
        ("H:D36A", "fit IMGT numbers, 1 positions in its sequence: write H:D31A"),
        ("H:Y38A", "write H:Y33A"),
        ("H:G66V", "write H:G60V|but it has no G at IMGT number H:66"),
        ("H:36D→A", variant("H:D31A")),
    ],
    "counted with a leader": [
        (f"H:{text}", f"all of this parent's 3 variants fit with 19 taken off.* write H:{meant}")
        for text, meant in (("D50A", "D31A"), ("Y52A", "Y33A"), ("W118A", "W99A"))
    ],
    "one slip": [
        ("H:S31A", "the parent has D at position 31"),
        *((text, variant(text)) for text in ("H:D31A", "H:Y33A", "H:W99A", "H:0insG")),
    ],
    "nobody's numbers": [  # one of them fits
        *((f"H:{text}", "the parent has") for text in ("W2A", "W3A", "W4A")),
        ("H:E1A", "'H:E1A' may fit by chance: 1 of this parent's 4 variants fit positions"),
    ],
}


@pytest.mark.parametrize("rows", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("by_sequences", [False, True])
def test_numbers_are_judged_over_a_parent(by_sequences: bool, rows: list[tuple[str, str]]):
    if by_sequences:
        cells = [("", VH, VK, LYSOZYME, text) for text, _ in rows]
        header = ("heavy", "parent_heavy", "parent_light", "parent_antigen", "mutations")
        check(rows, outcomes(table(cells, *header)))
    else:
        cells = [("wt", VH, VK, LYSOZYME, "", ""), ("vhh", VHH, "", LYSOZYME, "", "")]
        cells += [(f"v{k}", "", "", "", "wt", text) for k, (text, _) in enumerate(rows)]
        cells += [("other", "", "", "", "vhh", "H:E1Q")]  # another parent's
        header = ("id", "heavy", "light", "antigen", "parent", "mutations")
        read = outcomes(table(cells, *header))
        check(rows, read[2:-1])


@pytest.mark.parametrize("column", ["Mutation (Kabat)", "aa_substitutions_kabat"])
def test_the_columns_name_says_whose_numbers(column: str):
    parent = variant("H:T54G,H:N55G")  # both are G: position 54, and Kabat number 54
    rows = [(parent, "", parent), (parent, "H:G54A", "fit Kabat numbers.*: write H:G55A")]
    cells = [(heavy, VK, LYSOZYME, text) for heavy, text, _ in rows]
    check(rows, outcomes(table(cells, *COLUMNS[:3], column)))


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        (("VH mutations", "light_mutations"), ("D31A", "")),
        (("chain", "Position", "wt", "mut"), ("heavy", "31", "D", "A")),
        (("chain", "pos", "wildtype_aa", "mutant"), ("H", "31", "D", "A")),
        (("id", "name"), ("7", "H:D31A")),
        (("mutation_code",), ("H:D31A",)),
    ],
)
def test_mutations_spread_over_columns(header: tuple, cells: tuple):
    rows = [(VH, VK, LYSOZYME, *cells), (VH, VK, LYSOZYME, *[""] * len(cells))]
    content = table(rows, *COLUMNS[:3], *header)
    assert outcomes(content) == [variant("H:D31A"), VH]
    assert audit(pl.read_csv(content)).of("mutation_not_made")[0].rows == (1,)


@pytest.mark.parametrize("column", ["antigen_mutation", "RBD variant", "Ag substitutions"])
def test_columns_of_the_antigens_mutations(column: str):
    for name, texts in (
        (column, ("WT", "K1R", "A:V2L", "E484K")),
        ("mutations", ("", "A:K1R", "H:E1Q,A:V2L", "A:K484E")),
    ):
        cells = [(VH, VK, LYSOZYME, text) for text in texts]
        read = read_text(table(cells, *COLUMNS[:3], name)).rows
        assert [row.pair.antigen.chains[0][:2] for row in read if row.pair] == ["KV", "RV", "KL"]
        assert "the parent's antigen has" in (read[3].error or "")
    held = [(VH, VK, "RV" + LYSOZYME[2:], "K1R"), (VH, VK, LYSOZYME, "")]
    made = read_text(table(held, *COLUMNS[:3], column)).rows[0]
    assert (made.pair.antigen.chains[0][:2], made.notes) == ("RV", ())
    both = [(VH, VK, LYSOZYME, *texts) for texts in (("", ""), ("H:D31A", "K1R"), ("WT", "K1R"))]
    both += [(VH, VK, LYSOZYME, *texts) for texts in (("H:D31A", "WT"), ("H:D31V+H:?", "K1R"))]
    rows = read_text(table(both, *COLUMNS, column)).rows
    read = [(row.pair.antibody.heavy[30], row.pair.antigen.chains[0][0]) for row in rows[:4]]
    assert read == [("D", "K"), ("A", "R"), ("D", "R"), ("A", "K")]
    assert rows[4].error
    named = [(VH, VK, LYSOZYME, *texts) for texts in (("trastuzumab", "K1R"), ("trastuzumab", ""))]
    rows = read_text(table(named, *COLUMNS[:3], "name", column)).rows
    assert [row.pair.antigen.chains[0][0] for row in rows if row.pair] == ["R", "K"]


def test_the_parent_tells_whether_mutations_are_made_and_two_ways_to_read_are_refused():
    heavy = variant("H:Y60A")  # by position another than by Kabat number
    got = outcomes(table([(heavy, VK, LYSOZYME, f"H:{heavy[58]}59A")], *COLUMNS))
    check([("", "can be read two ways")], got)
    header = ("parent_heavy", *COLUMNS)
    made = variant("H:D31A")
    rows = [(VH, VH, "H:D31A", made), (VH, made, "H:D31A", made), (VH, made, "H:D94A", made)]
    cells = [(parent, heavy, VK, LYSOZYME, text) for parent, heavy, text, _ in rows]
    check(rows, outcomes(table(cells, *header)))


REAL = {
    "05-mutations-beside-wild-type-sequence.csv": "mutation_not_made",
    "05-sibling-id-is-the-mutation.csv": "mutation_not_made",
    "13-kabat-by-chance.csv": "mutation_numbers",
}


@pytest.mark.parametrize("name", REAL)
def test_files_as_people_have_them(name: str, data_root: Path, tmp_path: Path):
    path = data_root / "real_files" / name
    rows = read_table(path).rows
    if name.startswith("05"):
        texts = ("H:D31A", "H:Y33A", "H:W99A", "H:Y105A", "H:R50A")
        assert [row.pair.antibody.heavy for row in rows if row.pair] == [VH, *map(variant, texts)]
    else:
        assert ["Kabat" in (row.error or "") for row in rows] == [False] + [True] * 6
        assert "write H:G57A" in (rows[4].error or "")
    (finding,) = audit(path).of(REAL[name])
    assert finding.rows == tuple(range(2, len(rows) + 1))
    for block_rows in (1, 4):  # judged over the whole file, block by block
        assert [row for block in iter_tables(path, block_rows) for row in block.rows] == [*rows]


@settings(max_examples=40)
@given(st.lists(edits(most=3), min_size=1, max_size=6), st.booleans())
def test_every_way_to_write_variants_gives_the_same_sequences(variants: list, by_imgt: bool):
    parent = Antibody(VH, VK)
    pairs = [(apply_mutations(parent, each), each) for each in [(), *variants]]
    # whole domains by their numbering
    made = {one.chains: each for one, each in pairs if prepare_antibody(one)[0] == one}
    texts = [format_mutations(each) for each in made.values()]
    written = [format_mutations(each, parent if by_imgt else None) for each in made.values()]
    held = [(*chains, LYSOZYME, text) for chains, text in zip(made, texts, strict=True)]
    beside = [(VH, VK, LYSOZYME, text) for text in written]
    named = [(text, VH, VK, LYSOZYME) for text in written]
    for rows, header in (
        (held, COLUMNS),
        (beside, COLUMNS),
        (named, ("id", *COLUMNS[:3])),
        (beside, ("parent_heavy", "parent_light", "parent_antigen", "mutations")),
    ):
        read = read_text(table(rows, *header)).rows
        assert [row.pair and row.pair.antibody.chains for row in read] == list(made)


@pytest.mark.parametrize("case", BESIDE)
def test_the_audit_finds_what_is_not_read_as_it_stands(case: str, tmp_path: Path):
    rows = [(heavy, VK, LYSOZYME, text) for heavy, text, _ in BESIDE[case]]
    path = tmp_path / "table.csv"
    path.write_bytes(table(rows, *COLUMNS))
    doubted = [k for k, (heavy, _, expected) in enumerate(BESIDE[case], 1) if heavy != expected]
    findings = audit(path).of("mutation_not_made", "mutation_numbers")
    assert sorted(row for finding in findings for row in finding.rows) == doubted


HEADER = ("id", "heavy", "light", "antigen", "parent", "mutations", "pkd")


def read(*rows: tuple, header: tuple = HEADER, **options) -> InputTable:
    return read_text(csv_text(*rows, header=header), **options)


PARENT = ("wt", VH, VK, LYSOZYME, "", "WT", "9")


def child(name: str, mutations: str, parent: str = "wt", pkd: str = "8") -> tuple:
    return (name, "", "", "", parent, mutations, pkd)


def test_variants_are_built_from_their_parent():
    table = read(
        child("before", "H:E1Q"),  # its parent stands behind it
        PARENT,
        child("by IMGT", "L:1D→E"),
        child("several", "H:E1Q; L:D1E + H:V2del"),
        child("no change", "WT"),
        child("of a child", "H:V2L", parent="before"),
    )
    assert [row.error for row in table.rows] == [None] * 6
    pairs = {row.id: row.pair for row in table.rows if row.pair}
    assert pairs["before"].antibody.heavy == pairs["several"].antibody.heavy[:1] + VH[1:]
    assert pairs["several"].antibody.heavy == "Q" + VH[2:]
    assert pairs["several"].antibody.light == pairs["by IMGT"].antibody.light == "E" + VK[1:]
    assert pairs["no change"].antibody.chains == (VH, VK)
    assert pairs["of a child"].antibody.heavy == "QL" + VH[2:]
    assert {pair.antigen.chains for pair in pairs.values()} == {(LYSOZYME,)}
    assert [name for name, pair in pairs.items() if pair.antibody.name != name] == []
    assert table.frame["heavy"].to_list()[0] is None  # the user's columns stay as they are


def test_a_measured_variant_knows_its_parent_and_one_may_be_that_of_all():
    first, second = read(PARENT, child("v", "H:E1Q"), require="measured").measurements
    assert (second.delta_pkd, second.parent) == (-1.0, first.pair)
    assert second.origin.mutations == ("H:E1Q",)
    rows = (PARENT, child("v", "H:E1Q", parent=""))
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
        child("mutated", "A:K1R,H:E1Q"),
        ("other", "", "", other, "wt", "A:K2E", ""),
        ("again", "", "", "", "mutated", "A:V2L", ""),
    )
    assert [row.error for row in table.rows] == [None] * 4
    antigens = [row.pair.antigen.chains[0] for row in table.rows if row.pair]
    assert antigens == [LYSOZYME, "R" + LYSOZYME[1:], "ME" + other[2:], "RL" + LYSOZYME[2:]]
    table = read(PARENT, child("v", "A:K1R"), antigens=[Antigen((LYSOZYME,)), Antigen((other,))])
    (*_, first, second) = table.rows
    assert first.pair.antigen.chains[0][:2] == "R" + LYSOZYME[1]
    assert "has M at position 1 of its antigen, not K" in (second.error or "")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (child("v", "H:S31A"), "row 'v', line 3, column 'mutations': mutation 'H:S31A': the par"),
        (child("v", "S31A"), "cannot be read; expected such as H:S31A"),
        (child("v", "H:E1Q", parent="nobody"), "column 'parent': no row 'nobody'"),
        (child("v", "H:E1Q", parent="v"), "'v' is its own parent"),
        (child("v", "H:E1Q", parent="bad"), "parent 'bad': column 'heavy': .*too short"),
        (child("v", "L:E1Q", parent="vhh"), "no light chain"),
        (child("v", ""), "column 'heavy': heavy chain: empty"),
    ],
)
def test_what_cannot_be_built_is_the_error_of_its_row(row: tuple, says: str):
    others = [("bad", "EVQL", "", LYSOZYME, "", "", ""), ("vhh", VHH, "", LYSOZYME, "", "", "")]
    table = read(PARENT, row, *others)
    assert table.rows[1].pair is None
    assert re.search(says, table.rows[1].error or "")
    assert [row.error is None for row in table.rows] == [True, False, False, True]


def test_parents_of_earlier_blocks_are_known_and_rows_without_them_carry_their_mutations():
    text = csv_text(PARENT, child("a", "H:E1Q"), child("b", "L:D1E"), header=HEADER)
    source = io.BytesIO(text.encode())
    rows = [row for table in iter_tables(source, block_rows=1) for row in table.rows]
    assert [row.error for row in rows] == [None] * 3
    # a source's own numbering, and no parent: nothing is checked or built
    table = read(("a", VH, VK, LYSOZYME, "", "HA31D", "8"), require="measured")
    assert table.measurements[0].origin.mutations == ("HA31D",)
    assert table.measurements[0].pair.antibody.heavy == VH
