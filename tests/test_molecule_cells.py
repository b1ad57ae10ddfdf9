"""Molecules as people write them: names, gaps, chains in lines, halves of antibodies."""

import io
from pathlib import Path

import pytest

from paratope.cli.doctor import LYSOZYME
from paratope.data.tables import InputTable, read_table

VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYC"
    "SRWGGDGFYAMDYWGQGTLVTVSS"
)
VL = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPP"
    "TFGQGTKVEIK"
)
HER2 = "TQVCTGTDMKLRLPASPETHLDMLRHLYQGCQVVQGNLELTYLPTNASLSFLQDIQEVQGYVLIAHNQVR"


def table_of(antigen: str, heavy: str = VH, light: str = VL, **options) -> InputTable:
    text = f'heavy,light,antigen\n"{heavy}","{light}","{antigen}"\n'
    return read_table(io.BytesIO(text.encode()), **options)


def real(data_root: Path, name: str, **options) -> InputTable:
    return read_table(data_root / "real_files" / name, **options)


@pytest.mark.parametrize(
    "antigen",
    [
        *("EGFR", "TIGIT", "E", "DCC", "A", "A | B", "A|B|C|D|E|F", "H,L"),
        *("Spike", "fluorescein", "Hen egg white lysozyme", "TNF ALPHA", "TNF-ALPHA", "INSULIN"),
        *("HER2", "IL-6", "severe acute respiratory syndrome coronavirus spike glycoprotein"),
        *("AlaGlySerTrpLysHis", "ALA-GLY-SER-TRP", "ala gly ser trp lys", "METLYSVALTRPASP"),
    ],
)
def test_names_letters_and_three_letter_code_are_no_antigens(antigen: str):
    (row,) = table_of(antigen).rows
    assert row.error is not None
    assert "column 'antigen'" in row.error
    assert "expected" in row.error


@pytest.mark.parametrize(
    "antigen",
    [LYSOZYME, LYSOZYME.lower(), "DSFKEELDKYFKNH", "PDVDLGDISGINASVVNIQK", "KVFGRCELAA AMKRHG"],
)
def test_residues_are_antigens_without_a_word(antigen: str):
    (row,) = table_of(antigen).rows
    assert row.pair is not None
    assert not row.notes


def test_a_short_peptide_is_read_with_a_doubt():
    (row,) = table_of("QFRHDS").rows
    assert row.pair is not None
    assert "read as a peptide" in row.notes[0]


@pytest.mark.parametrize(
    "file", ["03-antigen-name-as-residues.csv", "03-sibling-sabdab-antigen_chain-letters.csv"]
)
def test_published_tables_of_names_are_refused(data_root: Path, file: str):
    assert all(row.error and "antigen" in row.error for row in real(data_root, file).rows)


@pytest.mark.parametrize(
    ("antigen", "chains"),
    [
        (f"{LYSOZYME}\n{HER2}", 2),
        (f"{LYSOZYME} {HER2}", 2),
        *((f"{LYSOZYME}{mark}{HER2}", 2) for mark in "|:;/+&"),
        ("\n".join(LYSOZYME[start : start + 60] for start in range(0, 129, 60)), 1),
        (" ".join(LYSOZYME[start : start + 10] for start in range(0, 129, 10)), 1),
    ],
)
def test_chains_of_an_antigen(antigen: str, chains: int):
    (row,) = table_of(antigen).rows
    assert row.pair is not None
    assert "".join(row.pair.antigen.chains) == LYSOZYME + HER2 * (chains - 1)
    assert len(row.pair.antigen.chains) == chains
    assert bool(row.notes) == (chains == 2 and antigen[129] in "\n ")


def test_published_chains_in_lines_are_two(data_root: Path):
    pairs = [row.pair for row in real(data_root, "15-antigen-chains-in-lines.csv").rows]
    assert [pair and len(pair.antigen.chains) for pair in pairs] == [2, 2, 2]


def test_alignment_gaps_are_removed_with_a_note(data_root: Path):
    rows = real(data_root, "21-aligned-sequences.csv").rows
    assert [row.pair and row.pair.antibody.heavy for row in rows] == [VH, VH]
    assert all("heavy chain: 5 gaps removed" in row.notes for row in rows)
    (row,) = table_of(f"--{LYSOZYME[:9]}~~{LYSOZYME[9:]}..").rows
    assert row.notes == ("antigen: 2 gaps removed",)
