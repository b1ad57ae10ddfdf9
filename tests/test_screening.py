"""Screens: the same hits however the library is packed, whenever the screen was interrupted."""

import errno
import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from paratope.core.errors import InputError, OutputError
from paratope.models.predictor import Predictor
from paratope.screening import funnel, run_folder, scoring, screen
from small_campaigns import HEAVY, LIGHT, small_campaign, write_campaign
from small_screens import (
    LONGER,
    NO_ANTIBODIES,
    blocks_of,
    check_same_screen,
    parts,
    variants,
    write_fasta,
)

ROWS, TOP = 160, 8


@pytest.fixture(scope="module")
def chains() -> list[str]:
    made = variants(ROWS - 4)
    return [*made[:100], LONGER, *NO_ANTIBODIES, HEAVY, *made[100:]]


@pytest.fixture(scope="module")
def library(tmp_path_factory, chains) -> Path:
    return write_fasta(tmp_path_factory.mktemp("library") / "library.fasta", chains)


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with blocks_of(fast=64, rescored=16, sample=20):
        yield


@pytest.fixture(scope="module")
def screened(two_form_folder, library, tmp_path_factory):
    """The screen of the library, uninterrupted."""
    folder = tmp_path_factory.mktemp("screen") / "hits"
    return screen(library, folder, model=two_form_folder, top=TOP)


@pytest.fixture(scope="module")
def plain(campaign_folder, library, tmp_path_factory):
    """The same by a model that encodes nothing: for what does not depend on the model."""
    return screen(
        library, tmp_path_factory.mktemp("plain") / "hits", model=campaign_folder, top=TOP
    )


def test_every_row_is_scored_once_and_hits_are_the_best_by_the_full_form(
    screened, chains, two_form_folder
):
    rows = parts(screened.folder)
    assert rows["row"].to_list() == list(range(ROWS))
    assert rows["heavy"].to_list() == chains
    rejected = rows.filter(pl.col("stage") == "rejected")
    assert rejected["row"].to_list() == [101, 102]
    assert rows["fast"].null_count() == 2
    full = rows.drop_nulls("full")
    assert (full["stage"] == "full").all()
    assert TOP < full.height < ROWS
    assert screened.summary["full"] == full.height
    # the numbers are those of `predict`, but for rounding of the table
    best = full.sort("full", descending=True).head(TOP)
    hits = screened.hits
    assert hits["id"].to_list() == best["id"].to_list()
    assert hits["rank"].to_list() == list(range(1, TOP + 1))
    table = hits.select("id", "heavy", "light").with_columns(antigen=pl.lit("MKTAYIAK"))
    with Predictor.load(two_form_folder, "cpu") as predictor:
        table = table.with_columns(antigen=pl.lit("|".join(predictor.default_antigen.chains)))
        predicted = predictor.predict(table)
    for name in ("pkd", "pkd_low", "pkd_high", "p_strong"):
        np.testing.assert_allclose(hits[name], predicted[name], atol=2e-3)
    assert set(hits["light"]) == {LIGHT}
    assert hits["percentile"].is_between(50, 100).all()
    assert hits["cluster"][0] == 1
    page = (screened.folder / "report.html").read_text()
    assert all(name in page for name in hits["id"])
    assert "expected recall of the full model" in page
    assert 'src="' not in page
    assert 'href="http' not in page
    assert (screened.folder / "rejected.csv").read_text().count("\n") == 3
    histogram = pl.read_csv(screened.folder / "histogram.csv")
    assert histogram["fast"].sum() == ROWS - 2
    assert histogram["full"].sum() == full.height


@pytest.mark.slow
def test_the_funnel_holds_the_full_models_top(screened, library, two_form_folder, tmp_path):
    every = screen(library, tmp_path / "all", model=two_form_folder, top=TOP, exhaustive=True)
    assert parts(every.folder)["full"].null_count() == 2
    held = set(every.hits["id"]) & set(screened.hits["id"])
    recall = next(iter(screened.summary["recall"].values()))
    assert recall["estimate"] >= 0.95
    assert len(held) >= 0.9 * TOP
    assert not every.summary["recall"]


@pytest.mark.parametrize("kind", ["csv", "tsv.gz", "fasta.zst", "parquet", "folder"])
def test_the_same_hits_however_the_library_is_packed(
    kind, plain, chains, campaign_folder, tmp_path
):
    frame = pl.DataFrame({"id": [f"v{n}" for n in range(ROWS)], "VH": chains, "well": "A1"})
    path = tmp_path / f"library.{kind}"
    if kind == "folder":
        path.mkdir()
        write_fasta(path / "a.fasta", chains[:130])
        frame[130:].write_csv(path / "b.csv")
        (path / "notes.md").write_text("not a library")
    elif kind == "parquet":
        frame.write_parquet(path)
    elif kind == "fasta.zst":
        text = "".join(f">v{n}\n{chain}\n" for n, chain in enumerate(chains))
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(text.encode())
    else:
        text = frame.write_csv(separator="\t" if kind.startswith("tsv") else ",")
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    again = screen(path, tmp_path / "hits", model=campaign_folder, top=TOP)
    assert again.hits["id"].to_list() == plain.hits["id"].to_list()
    np.testing.assert_allclose(again.hits["pkd"], plain.hits["pkd"], atol=2e-3)
    assert again.summary["rejected"] == 2


def test_interrupted_anywhere_it_goes_on_to_the_same_rows(
    screened, library, two_form_folder, tmp_path, monkeypatch
):
    write, left = run_folder.write_part, [0]

    def stopping(path, frame):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, frame)

    monkeypatch.setattr("paratope.screening.run_folder.write_part", stopping)
    folder, stops = tmp_path / "hits", 0
    for _ in range(60):
        left[0] = 1 + stops % 3
        try:
            again = screen(library, folder, model=two_form_folder, top=TOP)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops > 4
    assert parts(folder).equals(parts(screened.folder))
    assert again.hits.equals(screened.hits)
    assert not (folder / "full").exists()
    finished = screen(library, folder, model=two_form_folder, top=TOP)  # nothing is left to do
    assert finished.summary == again.summary


def test_another_library_model_or_option_under_an_old_folder_is_refused(
    plain, chains, library, campaign_folder, tmp_path
):
    folder, again = plain.folder, {"model": campaign_folder, "top": TOP}
    with pytest.raises(InputError, match="another top: 8 before, 13 now"):
        screen(library, folder, **{**again, "top": 13})
    other_model = write_campaign(tmp_path / "m", small_campaign(20))
    with pytest.raises(InputError, match="another model"):
        screen(library, folder, **{**again, "model": other_model})
    other = write_fasta(tmp_path / "other.fasta", chains[:-1])
    with pytest.raises(InputError, match="another library"):
        screen(other, folder, **again)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        screen(library, tmp_path / "mine", **again)


def test_a_full_disk_stops_it_in_good_order_and_it_goes_on(
    plain, library, campaign_folder, tmp_path, monkeypatch
):
    folder, fsync, left = tmp_path / "hits", os.fsync, [3]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            screen(library, folder, model=campaign_folder, top=TOP)
    assert not list(folder.rglob("*.tmp"))
    assert screen(library, folder, model=campaign_folder, top=TOP).hits.equals(plain.hits)


def test_the_command_says_what_it_did(library, campaign_folder, tmp_path, run_paratope):
    folder = tmp_path / "hits"
    done = run_paratope("screen", library, "--model", campaign_folder, "--top", 5, "-o", folder)
    assert done.code == 3  # two rows are no antibodies
    assert "160 antibodies" in done.err
    assert "2 rows rejected: see rejected.csv" in done.err
    assert "expected recall of the full model's top 5" in done.err
    assert pl.read_csv(folder / "hits.csv").height == 5
    assert pl.read_csv(folder / "throughput.csv")["rows"].sum() >= 160
    missing = run_paratope("screen", tmp_path / "none.fasta", "-o", tmp_path / "x", code=2)
    assert "antigen" in missing.err or "none.fasta" in missing.err


@pytest.mark.slow
def test_int8_encodes_only_where_the_full_scores_allow_it(two_form_folder, monkeypatch):
    model = Predictor.load(two_form_folder, "cpu").campaign
    asked = scoring.CampaignScreen(model, [model.parents[0].antigen], 0.9)
    monkeypatch.setattr(scoring, "CHECKED", 12)
    few = [(chain, LIGHT) for chain in variants(6)]
    exact = asked.full(few).value
    monkeypatch.setattr(scoring, "LEAST_SPEARMAN", 1.01)
    assert asked.use_int8().startswith("encoded in float32: full scores of 12 random variants")
    np.testing.assert_array_equal(asked.full(few).value, exact)
    monkeypatch.setattr(scoring, "LEAST_SPEARMAN", 0.5)
    monkeypatch.setattr(scoring, "MOST_DIFFERENCE", 0.5)
    assert asked.use_int8().startswith("encoded in int8")
    rounded = asked.full(few).value
    assert 0 < np.abs(rounded - exact).max() < 0.5
    np.testing.assert_array_equal(asked.full(few).value, rounded)
    if asked.label == "pkd":
        asked = scoring.CampaignScreen(model, asked.antigens, 0.9)
        monkeypatch.setattr(scoring, "MOST_DIFFERENCE", 0.0)
        assert asked.use_int8().startswith("encoded in float32")
    assert model.language.encoder.name == "antiberty@0.1.3"  # everything else stays as it was


@pytest.mark.slow
def test_the_command_takes_int8_and_says_what_it_did(
    library, two_form_folder, tmp_path, run_paratope
):
    words = ("--model", two_form_folder, "--top", 5, "--int8", "-o", tmp_path / "hits")
    done = run_paratope("screen", library, *words, code=3)
    assert "Note: encoded in " in done.err
    assert pl.read_csv(tmp_path / "hits" / "hits.csv").height == 5
    # it is another screen without
    told = run_paratope("screen", library, *(word for word in words if word != "--int8"), code=2)
    assert "int8" in told.err


def test_a_general_model_screens_against_several_antigens(tmp_path, run_paratope):
    panel = tmp_path / "panel.fasta"
    panel.write_text(
        ">a\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ\n>b\nTQVCTGTDMKLRLPASPETHLDMLRHLYQGCQVVQ\n"
    )
    library = write_fasta(tmp_path / "few.fasta", variants(6))
    folder = tmp_path / "hits"
    run_paratope("screen", library, "--antigen", panel, "--top", 2, "-o", folder, code=0)
    hits = pl.read_csv(folder / "hits.csv")
    assert hits["antigen"].to_list() == ["a", "a", "b", "b"]
    both = parts(folder)
    assert both.height == 12
    assert (both["stage"] == "full").all()
    for row in hits.iter_rows(named=True):
        assert row[f"pkd {row['antigen']}"] == pytest.approx(row["pkd"], abs=2e-3)


def test_the_share_is_as_large_as_the_recall_asks_for():
    """Of scores with known errors, what the funnel says of itself is true."""
    random = np.random.default_rng(0)
    count, top = 40_000, 200
    fast = random.normal(size=count)
    for noise in (0.02, 0.1, 0.3):
        full = 0.9 * fast + noise * random.normal(size=count) + 0.3
        ranking = funnel.FastRanking(20_000, fast.min(), fast.max())
        for start in range(0, count, 7000):
            rows = np.arange(start, min(start + 7000, count))
            ranking.add(rows, fast[rows])
        assert ranking.counts.sum() == count - 20_000
        sample = funnel.sampled(np.arange(count), 500, 0)
        kept = funnel.first_kept(top, count)
        while True:
            rows = np.union1d(ranking.rows[:kept], sample)
            known = funnel.Known(rows, fast[rows], full[rows])
            if (following := funnel.next_kept(ranking, known, kept, top, 0.95)) == kept:
                break
            kept = following
        said = funnel.assess(ranking, known, kept, top, sample)
        best = np.argsort(-full)[:top]
        true = np.isin(best, rows).mean()
        assert true >= 0.93
        assert said.estimate == pytest.approx(true, abs=0.04)
        assert kept < (1000, 2000, 8000)[(0.02, 0.1, 0.3).index(noise)]


def test_a_random_sample_is_the_same_however_rows_come():
    rows = np.arange(10_000)
    at_once = funnel.sampled(rows, 100, 5)
    drawn = np.zeros(0, np.int64)
    for start in range(0, 10_000, 300):
        drawn = funnel.sampled(np.append(drawn, rows[start : start + 300]), 100, 5)
    assert sorted(drawn) == sorted(at_once)
    assert abs(at_once.mean() - 5000) < 1000
    assert set(at_once) != set(funnel.sampled(rows, 100, 6))


# Kills itself, as ``kill -9`` does, at a moment around its n-th write; never for n below 0.
_KILLED = """
import os, signal, sys, threading
import paratope.screening.run as run
from paratope.screening import funnel, run_folder, screen
run.FAST_ROWS, run.RESCORED_ROWS, run.SAMPLE_ROWS, funnel._FIRST_MORE = 8, 4, 20, 10
write, left, delay = run_folder.write_part, int(sys.argv[4]), float(sys.argv[5])
def killing(path, frame):
    global left
    if left == 0:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    left -= 1
    write(path, frame)
run_folder.write_part = killing
screen(sys.argv[1], sys.argv[2], model=sys.argv[3], top=8, device="cpu")
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 22 processes
def test_twenty_kills_lose_no_row_and_double_none(library, campaign_folder, tmp_path):
    """Each start goes on where the one before it was, past every lock and half-written file."""
    random, kills = np.random.default_rng(1), 0

    def start(folder: Path, write: int, delay: float) -> int:
        command = [sys.executable, "-c", _KILLED, library, folder, campaign_folder, write, delay]
        return subprocess.run([str(word) for word in command], check=False).returncode

    while kills < 20:
        code = start(tmp_path / "killed", int(random.integers(0, 2)), random.uniform(0, 0.003))
        if code == 0:  # so quick that it was done before
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= 8
    assert start(tmp_path / "killed", -1, 0) == 0
    assert start(tmp_path / "whole", -1, 0) == 0
    check_same_screen(tmp_path / "killed", tmp_path / "whole", ROWS)
