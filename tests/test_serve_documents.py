"""The client of a server, and the lines of the documents that ask one."""

import json
import shlex
import subprocess
from collections.abc import Iterator

import polars as pl
import pytest

import paratope
from conftest import ROOT
from paratope.client import Client, ServerError
from small_server import EXAMPLES, PAIRS, Server

pytestmark = pytest.mark.slow
PAGE = ROOT / "docs" / "serving.md"
TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("documents") / "kept", PARATOPE_TOKEN=TOKEN) as server:
        yield server


def test_the_client_gets_what_the_library_says(server, tmp_path):
    client = Client(server.address, TOKEN)
    right = paratope.Predictor.load("default").predict(EXAMPLES)
    answers = client.predict(PAIRS * 100)
    assert len(answers) == 1500
    for answer, pkd in zip(answers, right["pkd"].to_list() * 100, strict=True):
        assert answer["pkd"] == pytest.approx(pkd, abs=1e-5)
    assert [one["name"] for one in client.models()] == ["default"]
    job = client.wait(client.start("predict-table", [ROOT / "examples" / "pairs.csv"]), 0.1)
    client.download(job, "predictions.parquet", tmp_path / "p.parquet")
    assert pl.read_parquet(tmp_path / "p.parquet")["pkd"].equals(right["pkd"])
    failed = client.start("scan", heavy="AAAA", antigen="MKV")
    with pytest.raises(ServerError, match="too short"):
        client.wait(failed, 0.1)
    (tmp_path / "mine.csv").write_text("id,true\na,5\n")
    failed = client.start("evaluate", [tmp_path / "mine.csv"])
    with pytest.raises(ServerError, match=r"mine\.csv"):
        client.wait(failed, 0.1)
    with pytest.raises(ServerError, match="kind of candidates 'nothing'"):
        client.start("suggest", campaign=job["id"], candidates="nothing")
    client.delete(job)
    with pytest.raises(ServerError, match="no such job") as caught:
        client.job(job["id"])
    assert (caught.value.status, caught.value.code) == (404, "no_such_job")


def test_the_client_says_what_is_refused(server):
    with pytest.raises(ServerError, match="Authorization") as caught:
        Client(server.address, "wrong").models()
    assert caught.value.request_id
    with pytest.raises(ServerError, match="is 'paratope serve' running"):
        Client("http://127.0.0.1:9", retries=0).health()
    with pytest.raises(ServerError, match=r"pairs.0.heavy"):
        Client(server.address, TOKEN).predict([{"antigen": "MKV"}])


def measured_of(note: str) -> float:
    """The measured pKd that a note of a pair learned from names."""
    return float(note.rpartition("measured pKd ")[2])


def test_lines_of_curl_in_the_page_work(server):
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("curl ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line.replace("http://127.0.0.1:8000", server.address))
        command = [*words, "--fail", "-H", f"Authorization: Bearer {TOKEN}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)
        if "metrics" not in line:
            told = json.loads(done.stdout)
            assert "error" not in told
        if "predict" in line:
            row = told["predictions"][0]
            assert row["pkd"] == pytest.approx(measured_of(row["note"]), abs=0.1)
