"""The predict and models commands as a user types them: streams, parents, blocks, bad rows."""

import io
import sys
from collections.abc import Callable

import polars as pl
import pytest

from paratope.cli.doctor import D13_HEAVY, D13_LIGHT, LYSOZYME
from paratope.data.tables import iter_tables
from paratope.models.bundle import read_bundle
from paratope.models.prediction import OUTPUT_COLUMNS, PARENT_COLUMNS

HEADER = "id,heavy,light,antigen,format,temperature,method,well\n"


def line(name: str, heavy: str = D13_HEAVY, antigen: str = LYSOZYME) -> str:
    return f"{name},{heavy},{D13_LIGHT},{antigen},Fab,25 °C,SPR,0{name}\n"


TABLE = HEADER + line("wild") + line("mutant", D13_HEAVY.replace("DYR", "AYA"))


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a text where standard input is read."""

    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return give


def frame_of(text: str) -> pl.DataFrame:
    return pl.read_csv(text.encode(), infer_schema=False)


def test_stdin_to_stdout_is_the_file_to_the_file(tiny_run, tmp_path, run_paratope, type_in):
    type_in(TABLE)
    piped = run_paratope("predict", "-", "--model", tiny_run.folder, "-o", "-", code=0)
    assert "2 of 2 rows predicted" in piped.err  # and nothing of that on stdout
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(TABLE, encoding="utf-8")
    run_paratope("predict", source, "--model", tiny_run.folder, "-o", target, code=0)
    assert piped.out.splitlines() == target.read_text(encoding="utf-8").splitlines()
    out, own = frame_of(piped.out), frame_of(TABLE)
    assert out.columns == [*OUTPUT_COLUMNS, *HEADER.strip().split(",")]
    assert out.select(own.columns).equals(own)  # assay metadata as they were written


def test_a_parent_of_a_table_from_stdin(tiny_run, run_paratope, type_in):
    type_in(TABLE)
    done = run_paratope("predict", "-", "--model", tiny_run.folder, "--parent", "wild", code=0)
    out = pl.read_csv(done.out.encode())
    assert set(PARENT_COLUMNS) <= set(out.columns)
    assert out["delta_pkd"][0] == 0
    assert out["p_stronger"][0] == 0.5
    assert abs(out["delta_pkd"][1] - (out["pkd"][1] - out["pkd"][0])) < 2e-3
    assert out["delta_pkd_low"][0] == out["delta_pkd_high"][0] == 0
    assert out["delta_pkd_low"][1] < out["delta_pkd"][1] < out["delta_pkd_high"][1]
    assert out["p_stronger"].is_between(0, 1, closed="none").all()


def test_mutations_of_the_antibody_given(tiny_run, run_paratope):
    chains = ("--heavy", D13_HEAVY, "--light", D13_LIGHT, "--antigen", LYSOZYME)
    model = ("--model", tiny_run.folder)
    variants = ("--mutations", "H:Q1E", "--mutations", "H:Q1E+L:D1E")
    done = run_paratope("predict", *chains, *model, *variants, "-o", "-", code=0)
    out = pl.read_csv(done.out.encode())
    assert out["id"].to_list() == ["parent", "H:Q1E", "H:Q1E+L:D1E"]
    assert out["delta_pkd"][0] == 0
    assert (out["delta_pkd_low"] < out["delta_pkd_high"]).to_list() == [False, True, True]
    mutated = ("--heavy", "E" + D13_HEAVY[1:], "--light", "E" + D13_LIGHT[1:])
    same = run_paratope("predict", *mutated, "--antigen", LYSOZYME, *model, "-o", "-")
    assert pl.read_csv(same.out.encode())["pkd"][0] == out["pkd"][2]
    wrong = run_paratope("predict", *chains, *model, "--mutations", "H:W1E", "-o", "-", code=3)
    assert "the parent has Q at position 1 of its heavy chain, not W" in wrong.out


def test_mutations_of_a_table_are_in_its_column(tiny_run, run_paratope, type_in):
    done = run_paratope("predict", "-", "--model", tiny_run.folder, "--mutations", "H:Q1E", code=2)
    assert "in a table, give them in a column 'mutations'" in done.err
    type_in(f"id,heavy,light,antigen,mutations\n"
            f"wild,{D13_HEAVY},{D13_LIGHT},{LYSOZYME},\nv,,,,H:Q1E\n")  # fmt: skip
    done = run_paratope("predict", "-", "--model", tiny_run.folder, "--parent", "wild", code=0)
    assert pl.read_csv(done.out.encode())["error"].null_count() == 2


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ("nobody", "stdin: no row has the id 'nobody' named as parent; ids begin wild, mutant"),
        ("bad", "the parent 'bad' cannot be predicted: row 'bad', line 4, column 'antigen'"),
    ],
)
def test_a_parent_that_cannot_be(tiny_run, run_paratope, type_in, parent, message):
    type_in(TABLE + line("bad", antigen=""))
    done = run_paratope("predict", "-", "--model", tiny_run.folder, "--parent", parent, code=2)
    assert message in done.err
    assert not done.out


def test_nothing_but_bad_rows_is_a_table_all_the_same(tiny_run, tmp_path, run_paratope):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    text = HEADER + line("a", antigen="") + line("b", heavy="EVQ1L") + line("c", heavy="E")
    source.write_text(text, encoding="utf-8")
    done = run_paratope("predict", source, "--model", tiny_run.folder, "-o", target, code=3)
    assert "0 of 3 rows predicted" in done.err
    out = pl.read_csv(target, infer_schema=False)
    assert out["id"].to_list() == ["a", "b", "c"]
    assert out["error"].null_count() == 0
    assert all(out[name].null_count() == 3 for name in OUTPUT_COLUMNS[:8])


def test_tables_are_predicted_block_by_block(tiny_run, tmp_path, run_paratope, monkeypatch):
    source, whole, blocks = tmp_path / "in.csv", tmp_path / "whole.csv", tmp_path / "blocks.csv"
    rows = pl.read_csv(tiny_run.table).head(11)
    rows.write_csv(source)
    run_paratope("predict", source, "--model", tiny_run.folder, "-o", whole, code=0)
    sizes = []

    def small(table, **options):
        for block in iter_tables(table, 4, **options):
            sizes.append(len(block.rows))
            yield block

    monkeypatch.setattr("paratope.data.tables.iter_tables", small)
    done = run_paratope("predict", source, "--model", tiny_run.folder, "-o", blocks)
    assert sizes == [4, 4, 3]
    assert "11 of 11 rows predicted" in done.err
    assert blocks.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("parent", [(), ("--parent", "wild")])
def test_what_is_odd_about_the_whole_table_is_said_once(parent, tiny_run, tmp_path, run_paratope):
    source, antigens = tmp_path / "in.csv", tmp_path / "antigens.fasta"
    source.write_text(TABLE.replace(",", ";"), encoding="utf-8")
    antigens.write_text(f">lysozyme\n{LYSOZYME}\n", encoding="utf-8")
    options = ("--antigen", antigens, "--model", tiny_run.folder, *parent)
    done = run_paratope("predict", source, *options, code=0)
    assert done.err.count("Note: ") == 2, done.err
    assert "column 'antigen' is not read" in done.err


def test_a_bad_option_is_said_before_anything_is_written(tiny_run, tmp_path, run_paratope, type_in):
    type_in(TABLE)
    target = tmp_path / "out.csv"
    command = ("predict", "-", "--model", tiny_run.folder, "-o", target)
    assert "95" in run_paratope(*command, "--coverage", "95", code=2).err
    assert not target.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("show", "nobody"),
            "unknown model 'nobody'; valid names: default, network; or a model folder",
        ),
        (("ensemble", "{run}", "-o", "{new}"), "an ensemble joins at least two models, got 1"),
        (("ensemble", "{run}", "nobody", "-o", "{new}"), "unknown model 'nobody'"),
        (("ensemble", "{run}", "{run}", "-o", "{taken}"), "exists and is no model folder"),
        (("ensemble", "-o", "{new}"), "Missing argument"),
    ],
)
def test_models_says_what_is_wrong(arguments, message, tiny_run, tmp_path, run_paratope):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work", encoding="utf-8")
    names = {"run": tiny_run.folder, "new": tmp_path / "new", "taken": tmp_path / "taken"}
    done = run_paratope("models", *(argument.format(**names) for argument in arguments), code=2)
    assert message in " ".join(done.err.split())
    assert not (tmp_path / "new").exists()
    assert [file.name for file in (tmp_path / "taken").iterdir()] == ["thesis.txt"]
    shown = run_paratope("models", "show", tiny_run.folder, code=0)
    assert shown.out.strip() == read_bundle(tiny_run.folder / "bundle").card.strip()
