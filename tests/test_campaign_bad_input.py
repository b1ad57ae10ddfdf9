"""What a user may hand to a campaign's commands by mistake: said, nothing half-written."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from conftest import Run, Trap
from paratope.campaigns.campaign_model import CampaignModel
from paratope.models.bundle import write_bundle
from paratope.models.predictor import Predictor
from small_campaigns import bundle_of, single_mutants, small_campaign
from test_numbering import LYSOZYME, VH, VK

_COMMAND = "from paratope.cli import main; main()"


def plate(count: int = 24) -> pl.DataFrame:
    """Single mutants of one antibody, with a pKd each and their antigen."""
    return single_mutants(count).with_columns(antigen=pl.lit(LYSOZYME))


def refused(tmp_path: Path, run_paratope: Run, *arguments: object) -> str:
    """What `adapt` says, that fails before anything is written."""
    folder = tmp_path / "c"
    done = run_paratope("adapt", *arguments, "-o", folder, "--no-report", code=2)
    assert done.err.startswith("Error: ")
    assert "Traceback" not in done.err
    assert not folder.exists()
    return done.err


def values(names: str, *rows: object) -> bytes:
    """A table of several antibodies, and what was measured of them."""
    lines = [f"{VH[: len(VH) - number]},{VK},{row}" for number, row in enumerate(rows)]
    return "\n".join([f"heavy,light,{names}", *lines]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"id,heavy,light,pkd\n", "the table has a header but no rows"),
        (pickle.dumps({"heavy": [VH]}), "this is a binary file; expected CSV"),
        (f"id,light,pkd\na,{VK},7\n".encode(), "no column for heavy"),
        (f"id,heavy,light\na,{VH},{VK}\n".encode(), "or give one of pkd, kd_M"),
        (values("pkd", "NaN"), "no measurement can be used, of 1"),
        (values("pkd", 7), "a campaign needs at least two measured variants, got 1; 24 or more"),
        (values("pkd", 7, 7), "all 2 measured values are 7: there is nothing"),
        (values("pkd", "<5", "<5"), "all 2 values are bounds (2 at most 5)"),
        (values("pkd", "<5", "<5"), "at least one variant inside the assay's"),
        (values("pkd,score", "7,", ",9"), "mixed units: 1 rows have a pKd or Kd"),
        (values("pkd,score", "7,", ",9", ",8"), "2 rows have only a score"),
        (values("dg_kcal_mol", 11.5, 12), "ΔG is in kcal/mol and negative for binding"),
    ],
    ids=["empty", "header", "pickle", "no heavy", "no value", "NaN", "one value", "all equal"]
    + ["bounds", "advice on bounds", "pKd of mixed units", "scores of mixed units", "sign of ΔG"],
)
def test_files_that_hold_no_campaign(content, message, tmp_path, run_paratope):
    source = tmp_path / "plate.csv"
    source.write_bytes(content)
    assert message in refused(tmp_path, run_paratope, source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prior", "nosuch"), "unknown model 'nosuch'; valid names: default; or a model folder"),
        (("--device", "tpu"), "unknown device 'tpu'; valid names: auto, cpu, cuda"),
        (("--antigen", "nosuch.fasta"), "neither a FASTA file that exists nor an antigen"),
        (("--antigen", "two.fasta"), "2 antigens given for all rows; expected one, or a column"),
        (("--assay", "nosuch"), "unknown assay 'nosuch'; valid names: plate"),
        (("--columns", "pkd=nosuch"), "there is no column 'nosuch'; columns found: id, heavy"),
        (("--columns", "nosuch=pkd"), "unknown column 'nosuch'; valid names: antigen"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_options_that_are_none(options, message, tmp_path, run_paratope, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "plate.csv"
    plate().write_csv(source)
    Path("two.fasta").write_text(f">a\n{LYSOZYME}\n>b\n{LYSOZYME[:90]}\n")
    assert message in refused(tmp_path, run_paratope, source, *options)


def test_folders_that_cannot_be_written(tmp_path, run_paratope):
    source, taken = tmp_path / "plate.csv", tmp_path / "taken"
    plate().write_csv(source)
    taken.write_text("a file", "utf-8")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine", "utf-8")
    for folder in (taken, other, taken / "below"):
        done = run_paratope("adapt", source, "-o", folder, "--no-report", code=2)
        assert done.err.startswith("Error: "), folder
        assert f"{taken}" in done.err or "is no model folder; choose another name" in done.err
    assert "is a file; expected a folder" in done.err
    assert taken.read_text("utf-8") == "a file"
    assert [one.name for one in other.iterdir()] == ["notes.txt"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_one_may_not_write_in(tmp_path, run_paratope):
    source, locked = tmp_path / "plate.csv", tmp_path / "locked"
    plate().write_csv(source)
    locked.mkdir(mode=0o555)
    done = run_paratope("adapt", source, "-o", locked / "c", "--no-report", code=2)
    assert f"no permission to write in {locked}; choose another folder" in done.err


def test_rows_without_a_number_are_left_out_and_counted(tmp_path, run_paratope):
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    values = list(map(str, plate()["pkd"]))
    values[3:7] = ["NaN", "", "inf", "seven"]
    plate().with_columns(pl.Series("pkd", values), id=pl.lit("same")).write_csv(source)
    done = run_paratope("adapt", source, "-o", folder, "--no-report", code=3)
    assert "4 of 24 rows are left out; first: row 'same', line 5" in done.err
    assert "1 id stands for several antibodies (first 'same')" in done.err
    assert "learned from 20 values of 20 antibodies" in done.err
    assert Predictor.load(folder).predict(plate())["error"].null_count() == 24


def test_a_floor_is_said_on_the_screen_and_on_the_card(tmp_path, run_paratope):
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    plate(60).with_columns(pl.col("pkd").clip(lower_bound=8.0)).write_csv(source)
    done = run_paratope("adapt", source, "-o", folder, "--no-report", code=0)
    assert "Note: column 'pkd': " in done.err
    assert "Write <8 in these rows: bounds (too weak to measure)" in done.err
    assert "Write <8 in these rows" in (folder / "card.md").read_text("utf-8")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign's folder, made without a language model."""
    bundle = bundle_of(CampaignModel.fit(small_campaign()))
    return write_bundle(bundle, tmp_path_factory.mktemp("campaign") / "my-campaign")


@pytest.mark.parametrize("name", ["campaign.json", "model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "pickled"])
def test_damaged_campaigns_are_refused(name, damage, model, tmp_path, run_paratope):
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    if damage == "gone":
        (folder / name).unlink()
    elif damage == "cut":
        (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    else:
        (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    target = tmp_path / "next.csv"
    pool = tmp_path / "pool.csv"
    pool.write_text(f"heavy,light\n{VH},{VK}\n", "utf-8")
    for arguments in (
        ("suggest", folder, "--batch", 2, "-o", target),
        ("predict", pool, "--model", folder, "-o", target),
        ("scan", "--heavy", VH, "--light", VK, "--model", folder, "-o", target),
    ):
        done = run_paratope(*arguments, code=2)
        assert done.err.startswith("Error: ")
        assert not target.exists()
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    source, folder = tmp_path / "plate.csv", tmp_path / "c"
    plate(72).write_csv(source)
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "adapt", source, "-o", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PARATOPE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    waited = time.monotonic()
    while not (tmp_path / "cache").exists() and time.monotonic() - waited < 60:
        time.sleep(0.05)  # it has read the table and opened the store of embeddings
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert b"Traceback" not in err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["cache", "plate.csv"]
