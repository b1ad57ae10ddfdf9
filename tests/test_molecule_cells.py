"""Molecules as people write them: names, gaps, chains in lines, halves of antibodies."""

import io
from pathlib import Path

import polars as pl
import pytest

from paratope.cli.doctor import LYSOZYME
from paratope.data.audit import audit
from paratope.data.tables import InputTable, iter_tables, read_table, table_from_frame
from paratope.data.tables.molecules import NO_LIGHT_CHAIN
from paratope.models.applicability_domain import ApplicabilityDomain
from paratope.molecules.numbering import SCHEMES, number_chain
from paratope.molecules.sequences import Antigen
from small_campaigns import TARGET
from test_numbering import LINKER, VH, VHH
from test_numbering import VK as VL
from test_tables import read_text

(HER2,) = TARGET.chains


def table_of(antigen: str, heavy: str = VH, light: str = VL, **options) -> InputTable:
    text = f'heavy,light,antigen\n"{heavy}","{light}","{antigen}"\n'
    return read_text(text, **options)


def real(data_root: Path, name: str, **options) -> InputTable:
    return read_table(data_root / "real_files" / name, **options)


@pytest.mark.parametrize(
    "antigen",
    [
        *("EGFR", "TIGIT", "E", "DCC", "A", "A | B", "A|B|C|D|E|F", "H,L"),
        *("Spike", "fluorescein", "Hen egg white lysozyme", "TNF ALPHA", "TNF-ALPHA", "INSULIN"),
        *("HER2", "IL-6", "severe acute respiratory syndrome coronavirus spike glycoprotein"),
        *("AlaGlySerTrpLysHis", "ALA-GLY-SER-TRP", "ala gly ser trp lys", "METLYSVALTRPASP"),
        *("ACGTTGCAGGAT", "TTAGGGTTAGGGTTAGGG", "GGUUGGUGUGG", f"A:{LYSOZYME} B:{HER2}"),
        f"A:{LYSOZYME}",
    ],
)
def test_names_letters_and_three_letter_code_are_no_antigens(antigen: str):
    (row,) = table_of(antigen).rows
    assert "column 'antigen'" in row.error
    assert "expected" in row.error


@pytest.mark.parametrize(
    "antigen",
    [LYSOZYME, LYSOZYME.lower(), "DSFKEELDKYFKNH", "PDVDLGDISGINASVVNIQK", "KVFGRCELAA AMKRHG"],
)
def test_residues_are_antigens_without_a_word_but_short_ones(antigen: str):
    row, short = (table_of(one).rows[0] for one in (antigen, "QFRHDS"))
    assert row.pair is not None
    assert not row.notes
    assert short.pair is not None
    assert "read as a peptide" in short.notes[0]


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
    assert "".join(row.pair.antigen.chains) == LYSOZYME + HER2 * (chains - 1)
    assert len(row.pair.antigen.chains) == chains
    assert bool(row.notes) == (chains == 2 and antigen[129] in "\n ")


def test_published_molecules(data_root: Path):
    for file in ("03-antigen-name-as-residues", "03-sibling-sabdab-antigen_chain-letters"):
        rows = real(data_root, f"{file}.csv").rows
        assert all(row.error and "antigen" in row.error for row in rows)
    pairs = [row.pair for row in real(data_root, "15-antigen-chains-in-lines.csv").rows]
    assert [pair and len(pair.antigen.chains) for pair in pairs] == [2, 2, 2]
    antigen = data_root / "real_files" / "11-antigen.fasta"
    for file in ("11-sibling-all-heavy-then-all-light", "11-sibling-description-behind-mark"):
        rows = real(data_root, f"{file}.fasta", antigens=antigen).rows
        assert [row.pair is not None and len(row.pair.antibody.chains) for row in rows] == [2, 2]
    file, columns = "11-light-chain-not-determined.csv", {"heavy": "VHorVHH"}
    undetermined, nanobody, *_ = real(data_root, file, columns=columns).rows
    assert NO_LIGHT_CHAIN in undetermined.notes
    assert not nanobody.notes


def test_alignment_gaps_are_removed_with_a_note(data_root: Path):
    rows = real(data_root, "21-aligned-sequences.csv").rows
    assert [row.pair and row.pair.antibody.heavy for row in rows] == [VH, VH]
    assert all("heavy chain: 5 gaps removed" in row.notes for row in rows)
    (row,) = table_of(f"--{LYSOZYME[:9]}~~{LYSOZYME[9:]}..").rows
    assert row.notes == ("antigen: 2 gaps removed",)


HALVES = [
    (VH[25:], VL, "heavy chain: FR1 missing"),
    (VH[:-11], VL, "heavy chain: FR4 missing or cut short; the domain ends within CDR3"),
    (VH[:96], VL, "heavy chain: CDR3, FR4 missing"),
    (VH[:66] + VH[96:], VL, "heavy chain: CDR3, FR4 missing"),
    (VH, VL[:-10], "light chain: FR4 missing"),
    (VH, VL[23:], "light chain: FR1 missing"),
    (VH, "", NO_LIGHT_CHAIN),
    (VH, "ND", NO_LIGHT_CHAIN),
    (VH[:96] + "X" * 13 + VH[109:], VL, "heavy chain: CDR3 missing"),
    (VH, VL[:26] + "X" * 6 + VL[32:], "light chain: CDR1 missing"),
    (VH[25:] + LINKER + VL, "", "heavy chain: FR1 missing"),
]


@pytest.mark.parametrize(("heavy", "light", "note"), HALVES)
def test_half_of_an_antibody_is_said_and_is_not_in_the_domain(heavy: str, light: str, note: str):
    whole, half = table_of(LYSOZYME).rows[0], table_of(LYSOZYME, heavy, light).rows[0]
    assert not whole.notes
    assert any(text.startswith(note) for text in half.notes), half.notes
    domain = ApplicabilityDomain.of_pairs([whole.pair])
    assert [close.domain for close in domain.judge([whole.pair, half.pair])] == ["in", "near"]


def test_whole_antibodies_and_single_domains_by_their_column_get_no_note():
    for heavy in (VHH, VHH[3:] + "HHHHHH", VH[1:-1]):
        assert not table_of(LYSOZYME, heavy, VL if heavy in VH else "").rows[0].notes
    for header in ("VHH,antigen,x", "heavy,antigen,format"):
        assert not read_text(f"{header}\n{VH},{LYSOZYME},VHH\n").rows[0].notes


@pytest.mark.parametrize(
    "light", ["", "-", "none", "None", "NA", "n/a", "VHH", "Nanobody", "single domain", "--", "."]
)
@pytest.mark.parametrize("heavy", [VHH, VH])
def test_words_in_place_of_a_light_chain(heavy: str, light: str):
    (row,) = table_of(LYSOZYME, heavy, light).rows
    assert row.pair.antibody.light is None
    is_said = heavy == VHH or light in ("VHH", "Nanobody", "single domain")
    assert row.notes == (() if is_said else (NO_LIGHT_CHAIN,))


@pytest.mark.parametrize("order", ["HL", "LH"])
def test_an_scfv_in_the_light_column_is_split(order: str):
    chains = LINKER.join({"H": VH, "L": VL}[letter] for letter in order)
    (row,) = table_of(LYSOZYME, "", chains).rows
    assert row.pair.antibody.chains == (VH, VL)
    assert "column 'light' holds an scFv" in row.notes
    assert "heavy chain: empty" in str(table_of(LYSOZYME, "", VL).rows[0].error)


def test_ultralong_cdr_h3_is_numbered_whole(data_root: Path):
    rows = real(data_root, "06-ultralong-cdr-h3.csv").rows
    loops = [number_chain(row.pair.antibody.heavy) for row in rows if row.pair]
    assert loops[0].region("CDR3").startswith("TSVHQETKKY")
    assert [len(loop.region("CDR3")) for loop in loops[:4]] == [63, 32, 63, 76]
    assert [loop.region("FR4") for loop in loops[:4]] == ["WGQGLLVTVSS"] * 3 + ["WGQGTLVTVSS"]
    assert loops[0].residues != loops[2].residues
    assert [bool(row.notes) for row in rows] == [False] * 4 + [True]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("length", [5, 40, 52, 64, 80])
def test_every_residue_of_a_long_cdr_h3_has_its_own_number(scheme: str, length: int):
    insert = ("CGYSDTRPEWNH" * 8)[:length]
    domain = number_chain("MKTAYIAG" + VH[:103] + insert + VH[103:] + "ASTKGPSV", scheme)
    assert (domain.residues, domain.start) == (VH[:103] + insert + VH[103:], 8)
    assert len(set(domain.positions)) == len(domain.residues) == len(domain.regions)
    assert domain.region("FR4").endswith("WGQGTLVTVSS")
    assert insert in domain.region("CDR3")


@pytest.mark.parametrize(
    ("header", "cells", "columns"),
    [
        ("Antigen,antigen_seq", ["TIGIT", LYSOZYME], {"antigen": 1, "antigen_name": 0}),
        ("antigen_seq,Antigen", [LYSOZYME, "HEL"], {"antigen": 0}),
        ("target,antigen_chains,antigen_chain", ["HEL", LYSOZYME, "A"], {"antigen": 1}),
        ("antigen,target_sequence,antigen_name", ["a | b", HER2, "HER2"], {"antigen": 1}),
        ("VH,vh_seq,antigen", ["IGHV3-66", VH, LYSOZYME], {"heavy": 1}),
        ("antibody,vh_sequence,antigen", ["trastuzumab", VH, LYSOZYME], {"heavy": 1}),
        ("antigen,target", ["DSFKEELDKYFKNH", HER2], {"antigen": 0}),
    ],
)
@pytest.mark.parametrize("as_pandas", [False, True])
def test_a_column_of_residues_wins_over_one_of_names(header, cells, columns, as_pandas):
    names = header.split(",")
    if not {"VH", "antibody"} & set(names):
        names, cells = [*names, "heavy"], [*cells, VH]
    frame = pl.DataFrame(dict(zip(names, [[cell] for cell in cells], strict=True)))
    table = table_from_frame(frame.to_pandas() if as_pandas else frame)
    for canonical, index in columns.items():
        assert table.columns[canonical] == names[index]
    assert not table.failed


def test_a_column_that_the_user_names_is_read_and_its_names_refused(data_root: Path):
    file = "02-flab-antigen-name-and-antigen_seq.csv"
    table = real(data_root, file)
    assert (table.columns["antigen"], table.columns["antigen_name"]) == ("antigen_seq", "Antigen")
    assert "holds no residues" in table.notes[-1]
    assert not table.failed
    assert len(real(data_root, file, columns={"antigen": "Antigen"}).failed) == 6
    (row,) = real(data_root, "02-control-target-name.csv").rows
    assert len(row.pair.antigen.chains[0]) == 125


RCSB = "1N8Z_{}|Chain {}|{}|Mus musculus"


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        (["a_H", "b_H", "a_L", "b_L"], ["a", "b"]),
        (["a_L", "b_L", "b_H", "a_H"], ["a", "b"]),
        (["mAb1_H variable heavy", "mAb1_L variable light"], ["mAb1"]),
        (["mAb2 VH - translation frame 1", "mAb2 VL - translation frame 1"], ["mAb2"]),
        (["anti-X 7 heavy chain, partial", "anti-X 7 kappa light chain, partial"], ["anti-X 7"]),
        ([RCSB.format(1, "A", "Fab - light chain"), RCSB.format(2, "B", "Fab")], ["1N8Z"]),
        (["1N8Z:A|PDBID|CHAIN|SEQUENCE", "1N8Z:B|PDBID|CHAIN|SEQUENCE"], ["1N8Z"]),
    ],
)
def test_chains_of_a_fasta_are_paired_wherever_they_are(headers: list[str], names: list[str]):
    heavy_at = [index for index, header in enumerate(headers) if "_H" in header or "VH" in header]
    heavy_at += [index for index, header in enumerate(headers) if "heavy" in header]
    chains = [VH if n in (heavy_at or [len(headers) - 1]) else VL for n in range(len(headers))]
    text = "".join(f">{header}\n{chain}\n" for header, chain in zip(headers, chains, strict=True))
    rows = read_text(text, antigens=[Antigen((LYSOZYME,), "HEL")]).rows
    assert [row.id for row in rows] == names
    assert all(row.pair and row.pair.antibody.chains == (VH, VL) for row in rows)
    assert not any(row.notes for row in rows)


def test_a_chain_of_a_fasta_without_its_partner_is_said():
    text = f">nb\n{VHH}\n>a_H\n{VH}\n>b_H\n{VH}\n>a_L\n{VL}\n>b_L2\n{VL}\n"
    rows = read_text(text, antigens=[Antigen((LYSOZYME,), "HEL")]).rows
    assert [row.id for row in rows] == ["nb", "a", "b_H", "b_L2"]
    assert [row.notes for row in rows[:2]] == [(), ()]
    assert rows[2].notes == ("'b_H' has no partner: no other chain of 'b'", NO_LIGHT_CHAIN)
    assert "kappa light chain" in str(rows[3].error)


@pytest.mark.parametrize(
    ("antigen", "note"),
    [
        (VH, "antigen: it is a chain of the antibody itself"),
        (VL + "RTVAAPSVFIFPPSDEQLKSGTASVVCLLNNFYPREAKVQ", "antigen: it is a chain of the antib"),
        (f"{LYSOZYME}|{VHH}", "antigen: it holds an antibody domain (heavy chain)"),
        (VHH + LINKER + VL[:-1], "antigen: it holds an antibody domain (heavy and lig"),
    ],
)
def test_an_antigen_that_is_an_antibody_is_said(antigen: str, note: str):
    (row,) = table_of(antigen).rows
    assert row.pair
    assert row.notes[-1].startswith(note)


PAIR = f"{VH},{VL}"


@pytest.mark.parametrize(
    ("code", "rows"),
    [
        ("antigen_is_name", [f"{PAIR},TIGIT", f"{PAIR},Spike"]),
        ("antigen_is_name", [f"{PAIR},A", f"{PAIR},A | B"]),
        ("antigen_is_name", [f"{PAIR},{LYSOZYME}", f"{PAIR},{HER2}", f"{PAIR},EGFR"]),
        ("antigen_is_antibody", [f"{PAIR},{LYSOZYME}", f"{PAIR},{VH}", f"{PAIR},{VHH}"]),
        ("cut_domain", [f"{PAIR},{LYSOZYME}", f"{VH[25:]},{VL},{LYSOZYME}"]),
        ("cut_domain", [f"{PAIR},{LYSOZYME}", f"{VH},{VL[:-11]},{LYSOZYME}"]),
        ("no_light_chain", [f"{PAIR},{LYSOZYME}", f"{VH},,{LYSOZYME}", f"{VHH},,{LYSOZYME}"]),
        ("no_light_chain", [f"{PAIR},{LYSOZYME}", f"{VH},ND,{LYSOZYME}"]),
        ("gaps_or_lines", [f"{PAIR},{LYSOZYME}", f"{VH[:9]}--{VH[9:]},{VL},{LYSOZYME}"]),
        ("", [f"{PAIR},{LYSOZYME}", f"{VHH},,{LYSOZYME}", f"{PAIR},DSFKEELDKYFKNH"]),
    ],
)
def test_the_audit_says_what_molecules_are(tmp_path: Path, code: str, rows: list[str]):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["heavy,light,antigen", *rows]))
    ours = {"antigen_is_name", "antigen_is_antibody", "cut_domain", "no_light_chain"}
    codes = [finding.code for finding in audit(path).findings]
    assert code in {*codes, ""}
    assert (ours | {"gaps_or_lines"}) & set(codes) == {code} - {""}


def test_the_audit_of_published_tables(data_root: Path):
    for file, code in (
        ("02-flab-antigen-name-and-antigen_seq.csv", "antigen_is_name"),
        ("03-antigen-name-as-residues.csv", "antigen_is_name"),
        ("03-sibling-sabdab-antigen_chain-letters.csv", "antigen_is_name"),
        ("06-ultralong-cdr-h3.csv", "cut_domain"),
        ("11-light-chain-not-determined.csv", "no_light_chain"),
        ("14-antigen-is-an-antibody.csv", "antigen_is_antibody"),
        ("15-antigen-chains-in-lines.csv", "gaps_or_lines"),
        ("21-aligned-sequences.csv", "gaps_or_lines"),
    ):
        assert audit(data_root / "real_files" / file).of(code), file


@pytest.mark.parametrize("block_rows", [99, 1])
def test_chains_of_single_cells_are_paired(block_rows: int):
    other = VH.replace("WGGDGF", "WGADGF")
    chains = [
        ("s1", "c1", "IGH", 9, VH),
        ("s2", "c2", "IGK", 4, VL),
        ("s3", "c3", "IGH", 2, VH),
        ("s4", "c1", "IGK", 4, VL),
        ("s5", "c3", "IGH", 8, other),
        ("s6", "c3", "IGL", 2, VL),
        ("s7", "c4", "IGH", 1, VH),
    ]
    header = "sequence_id,cell_id,locus,umi_count,sequence_alignment_aa"
    text = "\n".join([header, *(",".join(map(str, chain)) for chain in chains)]) + "\n"
    options = {"default_antigen": Antigen((HER2,))}
    whole = read_text(text, **options)
    blocks = iter_tables(io.BytesIO(text.encode()), block_rows, **options)
    rows = [row for table in blocks for row in table.rows]
    assert [row.id for row in rows] == ["c1", "c2", "c3", "c4"]
    pairs = [row.pair and (row.pair.antibody.heavy, row.pair.antibody.light) for row in rows]
    assert pairs == [(VH, VL), None, (other, VL), (VH, None)]
    assert "heavy chain: empty" in (rows[1].error or "")
    assert "2 heavy chains: the one with the highest umi_count is taken" in rows[2].notes[0]
    assert NO_LIGHT_CHAIN in rows[3].notes
    assert any("4 cells paired by cell_id and locus" in note for note in whole.notes)
