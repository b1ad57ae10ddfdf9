"""The scan command as a user types it."""

from pathlib import Path

import polars as pl
import pytest

from paratope.models.predictor import Predictor
from test_numbering import LYSOZYME, VH, VHH, VK
from test_tables import csv_text

HEADER = ("id", "heavy", "light", "antigen")


def table_of(path: Path, *rows: tuple, header: tuple = HEADER) -> Path:
    path.write_text(csv_text(*rows, header=header))
    return path


def test_a_row_of_a_table_and_the_same_antibody_by_its_chains(tiny_run, tmp_path, run_paratope):
    source = table_of(tmp_path / "t.csv", ("x", VH, VK, LYSOZYME), ("wt", VHH, "", LYSOZYME))
    options = ("--model", tiny_run.folder, "--variants", "alanine", "--regions", "H1")
    row = ("scan", "--table", source, "--id", "wt", *options)
    done = run_paratope(*row, "-o", tmp_path / "a", code=0)
    assert "Predicted strongest" in done.out
    assert "Note: the predicted ΔpKd are nearly flat" not in done.out
    first = pl.read_csv(tmp_path / "a" / "scan.csv")
    assert set(first["region"]) == {"H1"}
    assert set(first["mutant"]) <= {"A", "G"}
    assert (tmp_path / "a" / "alanine_H.png").is_file()
    with pytest.MonkeyPatch.context() as patch:  # kept: no model is loaded
        patch.setattr(Predictor, "load", None)
        run_paratope(*row, "-o", tmp_path / "b", code=0)
    assert pl.read_csv(tmp_path / "b" / "scan.csv").equals(first)
    chains = ("--heavy", VHH, "--antigen", LYSOZYME)
    run_paratope("scan", *chains, *options, "-o", tmp_path / "c", code=0)
    assert pl.read_csv(tmp_path / "c" / "scan.csv").equals(first)


def test_combinations_against_a_panel(tiny_run, tmp_path, run_paratope):
    panel = tmp_path / "panel.fasta"
    panel.write_text(f">hen\n{LYSOZYME}\n>part\n{LYSOZYME[:60]}\n")
    run_paratope(
        *("scan", "--heavy", VHH, "--antigen", panel, "--model", tiny_run.folder),
        *("--variants", "H:D1A,H:D1E+H:V2L", "--max-mutations", "2", "-o", tmp_path / "scan"),
        code=0,
    )
    table = pl.read_csv(tmp_path / "scan" / "scan.csv")
    mutations = "H:D1A H:D1E H:V2L H:D1A,H:V2L H:D1E,H:V2L".split()
    assert table["mutations"].to_list() == mutations
    specificity = pl.read_csv(tmp_path / "scan" / "specificity.csv")
    assert {"pkd hen", "pkd part", "selectivity part", "selectivity_gain"} <= {*specificity.columns}
    assert (tmp_path / "scan" / "combinations.svg").is_file()
    assert (tmp_path / "scan" / "specificity.png").is_file()
    assert "against hen" in (tmp_path / "scan" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give --heavy (--light) and --antigen, or --table and --id"),
        (("--heavy", VHH), "--heavy needs --antigen"),
        (("--heavy", VHH, "--table", "t.csv"), "give --heavy (--light) and --antigen, or --table"),
        (("--heavy", VHH, "--antigen", LYSOZYME, "--id", "x"), "--id is of a row of --table"),
        (("--table", "t.csv"), "has 2 rows; choose one by --id"),
        (("--table", "t.csv", "--id", "no"), "no row has the id 'no'; ids begin x, wt"),
        (("--heavy", VHH, "--antigen", "no.fasta"), "neither a FASTA file that exists nor an ant"),
        (("--heavy", LYSOZYME, "--antigen", LYSOZYME), "no antibody variable domain"),
        (("--heavy", VHH, "--antigen", LYSOZYME, "--regions", "H9"), "unknown region 'H9'"),
        (("--heavy", VHH, "--antigen", LYSOZYME, "--model", "nobody"), "unknown model 'nobody'"),
    ],
)
def test_wrong_arguments_are_said_and_nothing_is_written(
    arguments, says, tiny_run, tmp_path, run_paratope, monkeypatch
):
    table_of(tmp_path / "t.csv", ("x", VH, VK, LYSOZYME), ("wt", VHH, "", LYSOZYME))
    monkeypatch.chdir(tmp_path)
    model = () if "--model" in arguments else ("--model", tiny_run.folder)
    done = run_paratope("scan", *arguments, *model, "-o", "scan", code=2)
    assert says in " ".join(done.err.split())
    assert not (tmp_path / "scan").exists()


@pytest.mark.slow
def test_a_campaign_on_scores(tmp_path, run_paratope):
    places = [(place, residue) for place in range(97, 105) for residue in "AWE"]
    rows = [("wt", VH, VK, LYSOZYME, 5.0)]
    for place, residue in places:  # W helps, E hurts, more so in the middle
        heavy = VH[: place - 1] + residue + VH[place:]
        effect = {"A": -0.5, "W": 1.0, "E": -1.5}[residue] * (1.2 - abs(place - 100) / 5)
        rows.append((f"v{place}{residue}", heavy, VK, LYSOZYME, round(5 + effect, 2)))
    table = table_of(tmp_path / "plate.csv", *rows, header=(*HEADER, "score"))
    model = tmp_path / "campaign"
    run_paratope("adapt", table, "-o", model, "--prior", "none", "--no-report", code=0)
    chains = ("--heavy", VH, "--light", VK, "--model", model)
    combined = ("--variants", "H:W99A,H:G100W", "-o", tmp_path / "scan")
    run_paratope("scan", *chains, *combined, code=0)
    found = pl.read_csv(tmp_path / "scan" / "scan.csv")
    assert "delta_pkd" not in found.columns
    assert set(found["domain"]) <= {"in", "near"}
    change = dict(zip(found["mutations"], found["delta_score"], strict=True))
    assert change["H:G100W"] > 0.3 > -0.1 > change["H:W99A"]
    assert (found["delta_score_low"] < found["delta_score_high"]).all()


def test_a_file_is_no_folder(tiny_run, tmp_path, run_paratope):
    (tmp_path / "scan").write_text("mine")
    chains = ("--heavy", VHH, "--antigen", LYSOZYME, "--model", tiny_run.folder)
    done = run_paratope("scan", *chains, "-o", tmp_path / "scan", code=2)
    assert "this is a file; expected a folder" in done.err
    assert (tmp_path / "scan").read_text() == "mine"
