"""Importers of table formats, on tables with the published headers."""

from pathlib import Path

import pytest

from paratope.core.errors import InputError
from paratope.data.datasets import filter_licence, load_dataset
from small_campaigns import HEAVY as VH
from small_campaigns import LIGHT as VL

PEPTIDE = "PDVDLGDISGINASVVNIQK"
ALPHASEQ = (
    "POI,Sequence,Target,Assay,Replicate,Pred_affinity,HC,LC,CDRH1,CDRH2,CDRH3,CDRL1,CDRL2,CDRL3\n"
    f"AAYL1,{VH}{VL},MIT_Target,1,1,0.0,{VH},{VL},,,,,,\n"
    f"AAYL1,{VH}{VL},MIT_Target,1,2,2.5,{VH},{VL},,,,,,\n"
    f"AAYL2,{VH}{VL},MIT_Target,2,1,,{VH},{VL},,,,,,\n"
    f"AAYL1,{VH}{VL},Control_1,1,1,5.5,{VH},{VL},,,,,,\n"
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_alphaseq_affinities_are_log10_of_nM(tmp_path: Path):
    path = write(tmp_path, "library.csv", ALPHASEQ)
    imported = load_dataset("alphaseq", path, antigen=f"MIT_Target={PEPTIDE}")
    assert imported.counts == {"measured": 2, "no affinity": 1, "target without a sequence": 1}
    assert [row.pkd for row in imported.measurements] == [9.0, 6.5]
    assert {row.assay for row in imported.measurements} == {"library:MIT_Target:1"}
    assert {row.pair.antigen.chains for row in imported.measurements} == {(PEPTIDE,)}
    assert [row.origin.row for row in imported.measurements] == [1, 2]


def test_alphaseq_targets_are_only_named(tmp_path: Path):
    path = write(tmp_path, "library.csv", ALPHASEQ)
    imported = load_dataset("alphaseq", path)
    assert imported.counts == {"measured": 3, "no affinity": 1}
    assert "['Control_1', 'MIT_Target']" in imported.notes[0]
    with pytest.raises(InputError, match=r"no row of \['Spike'\]; its targets: \['Control_1'"):
        load_dataset("alphaseq", path, antigen=f"Spike={PEPTIDE}")
    with pytest.raises(InputError, match="has the targets .*TARGET=RESIDUES"):
        load_dataset("alphaseq", path, antigen=PEPTIDE)
    with pytest.raises(InputError, match="TARGET=RESIDUES, got 'Control_1='"):
        load_dataset("alphaseq", path, antigen=f"MIT_Target={PEPTIDE},Control_1=")
    one = write(tmp_path, "one.csv", ALPHASEQ[: ALPHASEQ.rindex("AAYL1")])
    imported = load_dataset("alphaseq", one, antigen=PEPTIDE)
    assert imported.measurements[0].pair.antigen.chains == (PEPTIDE,)


def test_alphaseq_interactions_find_the_antibody(tmp_path: Path):
    names = ("mata_description", "matalpha_description", "alphaseq_affinity", "mata_sequence")
    rows = [
        ",".join((*names, "matalpha_sequence")),
        f"ab,ag,1.0,{VH}GGGGSGGGGSGGGGS{VL},{PEPTIDE}",
        f"ag,vhh,3.0,{PEPTIDE},{VH}",
        f"ag,ag,3.0,{PEPTIDE},{PEPTIDE}",
        f"ab,ag,,{VH},{PEPTIDE}",
    ]
    path = write(tmp_path, "interactions.csv", "\n".join(rows))
    imported = load_dataset("alphaseq", path)
    assert imported.counts == {"measured": 2, "not an antibody": 1, "no affinity": 1}
    with pytest.raises(InputError, match="holds its antigens"):
        load_dataset("alphaseq", path, antigen=PEPTIDE)
    assert [row.pkd for row in imported.measurements] == [8.0, 6.0]
    assert {row.pair.antigen.chains for row in imported.measurements} == {(PEPTIDE,)}


def test_flab_tables_are_one_assay_each(tmp_path: Path):
    write(tmp_path, "one.csv", f"heavy,light,fitness\n{VH},{VL},8.5\n{VH},,<6\n{VH},{VL},\n")
    write(tmp_path, "two.csv", f"heavy,light,fitness\n{VH},{VL},-0.3\n,{VL},1.0\n")
    imported = load_dataset("flab", tmp_path, antigen="MKVLITRNE")
    assert imported.counts == {"score": 3, "no affinity": 1, "no heavy chain": 1}
    assert [row.assay for row in imported.measurements] == ["one", "one", "two"]
    assert [row.score for row in imported.measurements] == [8.5, 6.0, -0.3]
    assert [row.censoring for row in imported.measurements] == [0, -1, 0]
    assert imported.measurements[1].pair.antibody.light is None
    assert imported.measurements[0].pair.antigen.chains == ("MKVLITRNE",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no .csv tables"):
        load_dataset("flab", tmp_path / "empty")


def test_plain_tables_are_the_users_own(tmp_path: Path):
    text = f"id,VH,VL,antigen,Kd\na,{VH},{VL},{PEPTIDE},3.2 nM\nb,{VH},{VL},{PEPTIDE},>10 uM\n"
    path = write(tmp_path, "mine.csv", text + f"c,{VH},{VL},{PEPTIDE},soon\n")
    imported = load_dataset("plain", path)
    assert imported.counts == {"measured": 1, "censored": 1, "in error": 1}
    assert "'c'" in imported.notes[-1]
    assert {row.origin.licence for row in imported.measurements} == {"own"}
    assert len(filter_licence(imported).measurements) == 2
    bad = write(tmp_path, "bad.csv", f"id,VH,VL,antigen,Kd\nc,{VH},{VL},{PEPTIDE},soon\n")
    with pytest.raises(InputError, match="no row can be read"):
        load_dataset("plain", bad)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("alphaseq", ALPHASEQ.replace("Pred_", ""), r"no column \['Pred_affinity'\]"),
        ("alphaseq", ALPHASEQ.replace(",0.0,", ",low,"), "line 2, column 'Pred_affinity': expecte"),
        ("alphaseq", ALPHASEQ[:-40], "truncated"),
        ("flab", f"heavy;light;fitness\n{VH};{VL};1\n", "by semicolons, expected commas"),
        ("flab", f"heavy,light,fitness\n{VH},{VL},high\n", r"line 2, column 'fitness'"),
    ],
)
def test_damaged_formats(name: str, text: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        load_dataset(name, write(tmp_path, "table.csv", text))
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset("alphaseq", tmp_path / "absent.csv")
