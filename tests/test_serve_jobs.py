"""Tables and jobs: what they give is what the command line gives, and it outlasts the server."""

import os
import time

import polars as pl
import pytest

from conftest import ROOT
from paratope.web.jobs import Store
from paratope.web.settings import Limits
from paratope.web.work import without_formulas
from small_server import EXAMPLES, PAIRS, asked, until
from test_serve import problem

TABLE = ROOT / "examples" / "pairs.csv"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with asked(tmp_path_factory.mktemp("serve")) as client:
        yield client


def upload(client, content, name="table.csv"):
    answer = client.post("/v1/tables", params={"name": name}, content=content)
    assert answer.status_code == 201, answer.text
    return answer.json()


def finished(client, answer, seconds=240):
    """A job once it has ended."""
    assert answer.status_code == 202, answer.text
    url = f"/v1/jobs/{answer.json()['id']}"

    def ended():
        job = client.get(url).json()
        return job if job["state"] not in ("queued", "running") else None

    return until(ended, seconds)


def content(client, job, name):
    (url,) = (one["url"] for one in job["files"] if one["name"] == name)
    return client.get(url).content


@pytest.fixture(scope="module")
def predicted(client):
    """The example's table, uploaded and predicted once."""
    table = upload(client, TABLE.read_bytes(), "my pairs.csv")
    assert table["recognised"]["heavy"] == "heavy"
    assert table["name"] == "my pairs.csv"
    job = finished(client, client.post("/v1/predict-table", json={"table": table["id"]}))
    assert job["state"] == "finished", job
    return job


def test_a_tables_predictions_are_those_of_the_command(client, predicted, tmp_path, run_paratope):
    assert predicted["result"]["rows"] == 15
    run_paratope("predict", TABLE, "-o", tmp_path / "p.csv", code=0)
    assert content(client, predicted, "predictions.csv") == (tmp_path / "p.csv").read_bytes()
    run_paratope("predict", TABLE, "-o", tmp_path / "p.parquet", code=0)
    (tmp_path / "job.parquet").write_bytes(content(client, predicted, "predictions.parquet"))
    same = pl.read_parquet(tmp_path / "job.parquet")
    assert same.equals(pl.read_parquet(tmp_path / "p.parquet"))


def test_columns_and_a_parent_are_named_and_formulas_escaped_in_downloads(client):
    """And nothing else is."""
    ids = ["parent", "=1+1", "@SUM(A1)", "+A1", "-2+3", "\t=1", "-0.5", "plain"]
    rows = [{**PAIRS[0], "id": one, "=note": one} for one in ids]
    frame = pl.DataFrame(rows).rename({"heavy": "first", "antigen": "second"})
    table = upload(client, frame.write_csv().encode())
    wanted = {"table": table["id"], "columns": {"heavy": "first", "antigen": "second"}}
    job = finished(client, client.post("/v1/predict-table", json=wanted | {"parent": "parent"}))
    assert job["state"] == "finished", job
    read = pl.read_csv(content(client, job, "predictions.csv"), infer_schema_length=0)
    assert read["'=note"].to_list()[1:5] == ["'=1+1", "'@SUM(A1)", "'+A1", "'-2+3"]
    assert read["'=note"].to_list()[6:] == ["-0.5", "plain"]
    assert read["pkd"][0] == "8.630"
    assert float(read["delta_pkd"][0]) == 0
    parquet = pl.read_parquet(content(client, job, "predictions.parquet"))
    assert parquet["=note"][1] == "=1+1"
    answer = client.post("/v1/predict-table", json=wanted | {"columns": {"colour": "first"}})
    problem(answer, 422, "unreadable")


def test_what_is_wrong_with_a_job_is_said_of_the_users_file(client):
    table = upload(client, b"id,heavy\na,EVQL\n")
    lacking = finished(client, client.post("/v1/predict-table", json={"table": table["id"]}))
    assert lacking["state"] == "failed"
    assert "table.csv" in lacking["error"]
    assert "input-1" not in lacking["error"]


def test_a_forms_problems_stand_beside_its_fields_and_what_was_typed_stays(client):
    def screen(content, name="mine.csv", **fields):
        files = {"table": (name, content)}
        return client.post("/screen", data=fields, files=files, follow_redirects=False)

    good = EXAMPLES.write_csv().encode()
    for content, fields, field, words in (
        (b"", {"top": "7"}, "table", "the table is empty"),
        (b"colour,antigen\nred,MKV\n", {"antigen": "MKV"}, "table", "no column of heavy chains"),
        (good, {}, "antigen", "Paste the antigen"),
        (good, {"antigen": ">a\n>b\nMKV"}, "antigen", "has no sequence"),
        (good, {"antigen": "lysozyme of hens", "top": "7"}, "antigen", "antigen"),
        (good, {"antigen": PAIRS[0]["antigen"], "top": "0"}, "top", "from 1 to 100,000"),
    ):
        answer = screen(content, **fields)
        assert answer.status_code == 422
        assert f'id="{field}-problem" role="alert">' in answer.text, (fields, answer.text)
        assert words in answer.text.replace("&#39;", "'").replace("&gt;", ">")
        assert f'value="{fields.get("top", "")}"' in answer.text
    assert not [job for job in client.app.state.store.jobs() if job.kind == "screen"]
    unread = {"table": upload(client, good)["id"], "antigen": "7"}
    problem(client.post("/v1/screen", json=unread), 422, "unreadable")


def test_tables_are_checked_as_they_come(client):
    def add(content, name="t.csv", **more):
        return client.post("/v1/tables", params={"name": name}, content=content, **more)

    problem(add(b"", "t.csv"), 422, "empty")
    problem(add(b"a,b\n", "t.exe"), 422, "unknown_suffix")
    problem(add(b"a,b\n", "../../t"), 422, "unknown_suffix")
    told = problem(add(b"a,b\n", "t.csv"), 422, "unreadable")
    assert told["message"].startswith("t.csv: the table has a header but no rows")
    problem(add(b"PAR1 nonsense", "t.parquet"), 422, "unreadable")
    problem(add(b"\x80\x04K\x01.", "t.csv"), 422, "unreadable")
    table = upload(client, b"heavy,antigen\nEVQL,MKV\n", "../../etc/passwd.csv")
    store = client.app.state.store
    assert store.table_path(store.table(table["id"])).parent == store.folder / "tables"
    assert client.delete(f"/v1/tables/{table['id']}").status_code == 204
    problem(client.delete(f"/v1/tables/{table['id']}"), 404, "no_such_table")


def test_only_files_of_results_are_given(client, predicted):
    for name in ("../jobs.sqlite", "..%2fjobs.sqlite", "job.json", "%2fetc%2fpasswd", "result.json",
                 "parts/000000.parquet", "predictions.csv/.."):  # fmt: skip
        assert client.get(f"/v1/jobs/{predicted['id']}/files/{name}").status_code == 404
    for hostile in ("../../x", "A" * 24, "0" * 24, "'; DROP TABLE jobs; --"):
        assert client.get(f"/v1/jobs/{hostile}").status_code == 404


def test_jobs_name_models_and_candidates_never_paths(client, tmp_path):
    for name in ("/etc", str(tmp_path), "../default", "0" * 24, "network"):
        answer = client.post("/v1/scan", json={"heavy": PAIRS[0]["heavy"], "model": name})
        problem(answer, 422, "unknown_model")
    for name in ("/etc/passwd", "../pool.csv", "pool.csv"):
        answer = client.post("/v1/suggest", json={"campaign": "0" * 24, "candidates": name})
        (told,) = problem(answer, 422, "invalid")["details"]
        assert told["field"] == "candidates"
    problem(client.post("/v1/scan", json={"heavy": "E", "regions": "nowhere"}), 422, "unreadable")


def test_a_waiting_or_running_job_can_be_ended(tmp_path):
    with asked(tmp_path) as client:
        frame = pl.concat([pl.read_csv(TABLE)] * 2000)
        table = upload(client, frame.write_csv().encode())
        first, second = (
            client.post("/v1/predict-table", json={"table": table["id"]}).json() for _ in range(2)
        )
        state = client.app.state
        until(lambda: client.get(f"/v1/jobs/{first['id']}").json()["progress"])
        pid = until(lambda: next((p.pid for p in state.runner._running.values()), None))
        for one in (second, first):
            assert client.delete(f"/v1/jobs/{one['id']}").status_code == 204
            assert client.get(f"/v1/jobs/{one['id']}").json()["state"] == "cancelled"
        until(lambda: not os.path.exists(f"/proc/{pid}") or not state.runner.running)
        assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
        assert client.get(f"/v1/jobs/{first['id']}").status_code == 404


def test_limits_of_tables_jobs_and_room(tmp_path):
    limits = Limits(table_bytes=1_000, waiting_jobs=1, stored_bytes=200_000)
    with asked(tmp_path, limits=limits, job_processes=0) as client:
        large = client.post("/v1/tables", params={"name": "t.csv"}, content=iter([b"a" * 600] * 2))
        problem(large, 413, "too_large")
        body = {"heavy": PAIRS[0]["heavy"], "antigen": "MKV"}
        assert client.post("/v1/scan", json=body).status_code == 202
        answer = client.post("/v1/scan", json=body)
        problem(answer, 429, "busy")
        assert answer.headers["retry-after"]
        (tmp_path / "tables" / "filler").write_bytes(b" " * 200_000)
        full = client.post("/v1/tables", params={"name": "t.csv"}, content=b"heavy\nE\n")
        problem(full, 503, "no_room")
        assert not list((tmp_path / "tables").glob("*.part"))


def test_the_folder_is_private_and_things_expire(tmp_path):
    store = Store(tmp_path / "kept", Limits(table_days=0.0, job_days=0.0))
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    job = store.add_job("scan", {})
    store.expire()
    assert store.job(job.id).state == "queued"  # what waits does not expire
    store.set_state(job, "finished", finished=time.time() - 1)
    store.expire()
    assert not store.jobs()
    assert not store.job_folder(job).exists()
    store.close()


def test_what_ran_when_the_server_ended_is_queued_again_thrice(tmp_path):
    for attempt in range(4):
        store = Store(tmp_path, Limits())
        job = store.jobs()[0] if attempt else store.add_job("scan", {})
        assert (job.state, job.attempts) == ("queued", attempt)
        store.set_state(job, "running", attempts=attempt + 1)
        store.close()
    with asked(tmp_path) as client:
        job = until(lambda: next(iter(client.app.state.store.jobs("failed")), None))
        assert "ended 3 times" in job.error


def test_numbers_are_no_formulas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n-1.5e-3,x\n+2,y\n.5,-\n")
    before = path.read_bytes()
    without_formulas(path)
    assert path.read_bytes() == before
