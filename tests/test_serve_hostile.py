"""A real server under what hostile and unlucky clients send: each is refused in words, it goes on.

Slow and half-closed connections, wrong headers, bombs, injections, whatever the schema allows; and
many clients at once, the end of the process in the midst of jobs, and SIGTERM.
"""

import gzip
import io
import json
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import polars as pl
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import paratope
from conftest import Trap
from small_server import EXAMPLES, PAIRS, Server, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JSON = {"content-type": "application/json"}
PAIR = PAIRS[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("hostile") / "kept") as server:
        yield server


@pytest.fixture
def healthy(server: Server) -> Iterator[Server]:
    """The server, which still answers afterwards as it did."""
    yield server
    answer = httpx2.post(f"{server.address}/v1/predict", json={"pairs": [PAIR]}, timeout=30)
    assert answer.json()["predictions"][0]["pkd"] == pytest.approx(8.6297, abs=1e-3)
    assert server.is_healthy()


def raw(server: Server, data: bytes, seconds: float = 20.0, half_close: bool = False) -> bytes:
    """What the server answers to bytes, until it closes the connection."""
    parts = urlsplit(server.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=seconds) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
                if b"connection: close" not in answer.lower() and b"\r\n\r\n" in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def request(line: str, *headers: str, body: bytes = b"", host: bool = True) -> bytes:
    first = ["Host: 127.0.0.1"] if host else []
    return "\r\n".join([line, *first, *headers, "", ""]).encode("latin-1") + body


POST = "POST /v1/predict HTTP/1.1"
LENGTH = "Content-Length: {}".format
# Bytes on a socket, and the status that they are answered with (0: the connection is closed)
RAW: dict[str, tuple[bytes, set[int]]] = {
    "no host": (request("GET /health HTTP/1.1", host=False), {400}),
    "two hosts": (request("GET /health HTTP/1.1", "Host: evil"), {400, 421}),
    "another host": (request("GET /health HTTP/1.1", "Host: evil.example", host=False), {421}),
    "host with a path": (request("GET /health HTTP/1.1", "Host: a/../b", host=False), {400, 421}),
    "no HTTP": (b"hello\r\n\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, {400}),
    "binary": (bytes(range(256)), {400}),
    "old HTTP": (b"GET /health\r\n\r\n", {400}),
    "version 9": (request("GET /health HTTP/9.9"), {200, 400}),
    "unknown method": (request("BREW /v1/predict HTTP/1.1"), {405}),
    "connect": (request("CONNECT evil:443 HTTP/1.1"), {400, 404, 405, 421}),
    "trace": (request("TRACE / HTTP/1.1"), {405}),
    "an address as path": (request("GET http://evil/ HTTP/1.1"), {404}),
    "long path": (request(f"GET /{'a' * 60_000} HTTP/1.1"), {404}),
    "longer path": (request(f"GET /{'a' * 200_000} HTTP/1.1"), {400}),
    "many headers": (request("GET /health HTTP/1.1", *["X-A: b"] * 20_000), {400}),
    "long header": (request("GET /health HTTP/1.1", f"X-A: {'b' * 200_000}"), {400}),
    "folded header": (request("GET /health HTTP/1.1", "X-A: b\r\n c"), {200, 400}),
    "header without name": (request("GET /health HTTP/1.1", ": b"), {400}),
    "header with a zero": (request("GET /health HTTP/1.1", "X-A: \0"), {400}),
    "two lengths": (request(POST, LENGTH(2), LENGTH(5), body=b"{}"), {400}),
    "length and chunks": (request(POST, LENGTH(2), "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
                          {400, 422}),
    "negative length": (request(POST, LENGTH(-5)), {400}),
    "no number": (request(POST, LENGTH("many")), {400}),
    "huge length": (request(POST, LENGTH(10**18)), {413}),
    "length of 30 digits": (request(POST, LENGTH("9" * 30)), {400, 413}),
    "bad chunk": (request(POST, "Transfer-Encoding: chunked", body=b"ZZ\r\nab\r\n"), {400}),
    "unknown coding": (request(POST, "Transfer-Encoding: smelly", body=b"ab"), {400, 501}),
    "smuggled": (request(POST, LENGTH(4), body=b"{}  GET /metrics HTTP/1.1\r\n"), {422}),
    "upgrade": (request("GET /v1/models HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade",
                        "Sec-WebSocket-Key: aaaa", "Sec-WebSocket-Version: 13"), {200, 400}),
    "path with a zero": (request("GET /\0 HTTP/1.1"), {400}),
    "path in latin-1": (request("GET /\xe9 HTTP/1.1"), {400, 404}),
    "percent zero": (request("GET /static/%00 HTTP/1.1"), {404}),
}  # fmt: skip
PATHS = [
    "/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py",
    "/static/....//settings.py", "/static//etc/passwd", "/static/%252e%252e/settings.py",
    "/static/..\\settings.py", "//evil.example/", "/v1/jobs/../../etc/passwd/files/x",
    "/v1/jobs/%00", "/jobs/%3Cscript%3E", "/models/..%2f..%2fetc", "/models/%2Fetc%2Fpasswd",
    "/table/..%2f..%2fx", "/jobs/" + "0" * 24 + "/show/report.html", "/login/../metrics/x",
]  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_strange_requests_are_answered_with_what_is_wrong(healthy, name):
    data, expected = RAW[name]
    answer = raw(healthy, data)
    status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else 0
    assert status in expected, answer[:300]


def test_no_path_leads_out(healthy):
    for path in PATHS:
        answer = raw(healthy, request(f"GET {path} HTTP/1.1"))
        status = int(answer.split(b" ")[1])
        assert status in (400, 404, 405, 422), (path, answer[:200])
        assert b"root:" not in answer
        assert b"class Limits" not in answer


BODIES: dict[str, tuple[bytes, set[int]]] = {
    "no JSON": (b"{", {422}),
    "UTF-16": ('{"pairs": []}'.encode("utf-16"), {400, 422}),
    "latin-1": (b'{"pairs": [{"heavy": "\xe9", "antigen": "M"}]}', {400, 422}),
    "byte-order mark": (b"\xef\xbb\xbf{}", {400, 422}),
    "deep": (b"[" * 100_000 + b"]" * 100_000, {400, 422}),
    "deep objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, {400, 422}),
    "NaN": (b'{"pairs": [{"heavy": "E", "antigen": "M"}], "coverage": NaN}', {422}),
    "Infinity": (b'{"pairs": [{"heavy": "E", "antigen": "M"}], "coverage": 1e999}', {422}),
    "5000 digits": (b'{"pairs": [], "coverage": ' + b"9" * 5_000 + b"}", {400, 422}),
    "twice": (b'{"pairs": [], "pairs": 1}', {422}),
    "pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", {400, 422}),
    "XML": (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', {422}),
    "gzip": (gzip.compress(b"{}"), {400, 422}),
    "zeros": (b"\0" * 1_000_000, {400, 422}),
}


@pytest.mark.parametrize("name", BODIES)
def test_strange_bodies_are_refused_in_the_one_shape(healthy, name):
    body, expected = BODIES[name]
    answer = httpx2.post(f"{healthy.address}/v1/predict", content=body, headers=JSON, timeout=60)
    assert answer.status_code in expected, answer.text[:300]
    assert answer.json()["error"]["message"]
    assert len(answer.content) < 10_000


HOSTILE_TEXTS = [
    "'; DROP TABLE jobs; --", "{{7*7}}", "${jndi:ldap://x}", "../../etc/passwd", "%s%s%n", "\0",
    "\u202e", "A" * 9_999, "<svg onload=alert(1)>", "EVQL\r\nX-Injected: 1", "=cmd|' /C calc'!A0",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_hostile_texts_are_errors_of_their_row(healthy, text):
    pair = {"id": text[:200], "heavy": text, "light": text, "antigen": text}
    answer = httpx2.post(f"{healthy.address}/v1/predict", json={"pairs": [pair, PAIR]}, timeout=60)
    assert answer.status_code == 200, answer.text[:300]
    first, second = answer.json()["predictions"]
    assert first["error"]
    assert second["pkd"]


def parquet_bomb() -> bytes:
    """Few bytes that are a hundred million times the same text."""
    content = io.BytesIO()
    frame = pl.DataFrame({"heavy": ["E" * 1_000], "antigen": ["M"]})
    pl.concat([frame] * 3_000_000, rechunk=False).write_parquet(content, compression="zstd")
    return content.getvalue()


def zip_bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("xl/worksheets/sheet1.xml", b"0" * 300_000_000)
    return content.getvalue()


def pickled(tmp_path: Path) -> bytes:
    import pickle

    return pickle.dumps(Trap(tmp_path / "sprung"))


TABLES: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "gzip bomb": ("t.csv.gz", lambda _: gzip.compress(b"a,b\n" + b"0" * 400_000_000, 9)),
    "zip bomb": ("t.xlsx", lambda _: zip_bomb()),
    "parquet bomb": ("t.parquet", lambda _: parquet_bomb()),
    "pickle": ("t.csv", pickled),
    "pickle as parquet": ("t.parquet", pickled),
    "cut gzip": ("t.csv.gz", lambda _: gzip.compress(b"heavy,antigen\n" * 1000)[:40]),
    "many columns": ("t.csv", lambda _: ",".join(map(str, range(100_000))).encode() + b"\n1\n"),
    "open quote": ("t.csv", lambda _: b'heavy,antigen\n"' + b"E" * 20_000_000),
    "an image": ("t.csv", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10),
}


@pytest.mark.parametrize("name", TABLES)
def test_strange_tables_are_refused_in_words(healthy, name, tmp_path):
    file, make = TABLES[name]
    url = f"{healthy.address}/v1/tables"
    answer = httpx2.post(url, params={"name": file}, content=make(tmp_path), timeout=120)
    assert answer.status_code == 422, answer.text[:300]
    message = answer.json()["error"]["message"]
    assert message.startswith(file)
    assert str(healthy.folder) not in message
    assert not (tmp_path / "sprung").exists()


def test_slow_clients_are_let_go(healthy):
    parts = urlsplit(healthy.address)
    half = [
        request("GET /health HTTP/1.1")[:-2],  # headers that do not end
        b"",
        request(POST, "Content-Type: application/json", LENGTH(1000), body=b"{"),
    ]
    connections = []
    for data in half * 20:
        connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
        connection.sendall(data)
        connections.append(connection)
    assert healthy.is_healthy()
    for connection in connections:
        answer = connection.recv(65_536)
        assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0]
        connection.close()


def test_half_closed_uploads_leave_nothing(healthy):
    for path in ("/v1/tables?name=t.csv", "/v1/predict"):
        head = request(f"POST {path} HTTP/1.1", LENGTH(100_000), body=b"heavy,antigen\n")
        raw(healthy, head, 3, half_close=True)
    until(lambda: not list((healthy.folder / "tables").glob("*.part")))


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    """200 pairs, and what the command line says of them."""
    rows = [
        {**pair, "id": f"{pair['id']} {cut}", "heavy": pair["heavy"][cut:]}
        for cut in range(14)
        for pair in PAIRS
    ][:200]
    frame = paratope.Predictor.load("default").predict(pl.DataFrame(rows))
    return {"rows": rows, "pkd": dict(frame.select("id", "pkd").iter_rows())}  # type: ignore[return-value]


def test_64_clients_get_the_numbers_of_the_command_line(server, expected):
    rows: Any = expected["rows"]
    right: Any = expected["pkd"]

    def ask(number: int) -> list[tuple[str, float]]:
        got = []
        with httpx2.Client(base_url=server.address, timeout=60) as client:
            for turn in range(32):
                row = rows[(number * 32 + turn) % 200]
                answer = client.post("/v1/predict", json={"pairs": [row]})
                assert answer.status_code == 200, answer.text
                got.append((row["id"], answer.json()["predictions"][0]["pkd"]))
        return got

    with ThreadPoolExecutor(64) as pool:
        answers = [one for got in pool.map(ask, range(64)) for one in got]
    assert len(answers) == 64 * 32
    for name, pkd in answers:
        assert pkd == pytest.approx(right[name], abs=1e-5)


def test_sixty_hostile_inputs_are_tried():
    assert sum(map(len, (RAW, PATHS, BODIES, HOSTILE_TEXTS, TABLES))) >= 60


CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip
CASES = 190  # of each operation that takes anything
FEWER = {"POST /v1/predict": 60}  # making up to a thousand pairs takes longer than asking


def test_whatever_the_schema_allows_is_answered_as_it_says(server):
    """Two thousand cases and more, by real sockets; every second one names what there is."""
    counts: dict[str, Counter[int]] = {}
    there: dict[str, Any] = {}
    with httpx2.Client(base_url=server.address, timeout=60) as client:

        def renew() -> None:
            """A table, and a job that has ended."""
            answer = client.post("/v1/tables?name=t.csv", content=EXAMPLES.write_csv())
            scan = {"heavy": PAIR["heavy"], "antigen": PAIR["antigen"]}
            job = client.post("/v1/scan", json=scan).json()["id"]
            client.delete(f"/v1/jobs/{job}")
            table = answer.json()["id"]
            there.update(table_id=table, job_id=job, table=table, tables=[table])
            there.update(model="default", antigen=PAIR["antigen"], columns={})

        def ask(case: Any) -> None:
            answered = counts.setdefault(case.operation.label, Counter())
            if answered.total() % 2:
                if case.operation.method.upper() == "DELETE":
                    renew()
                for told in (case.path_parameters, case.body):
                    if isinstance(told, dict):
                        told |= {name: there[name] for name in set(told) & set(there)}
            asked = case.as_transport_kwargs(base_url=server.address)
            asked.pop("cookies", None)  # none are in the schema
            if "data" in asked:
                asked["content"] = asked.pop("data")
            answer = client.request(**asked)
            answered[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)
            if answer.status_code == 202:  # is not to be run, too
                for _ in range(2):  # ended, and forgotten
                    client.delete(f"/v1/jobs/{answer.json()['id']}")

        schema = schemathesis.openapi.from_dict(client.get("/v1/openapi.json").json())
        for result in schema.get_all_operations():
            operation = result.ok()
            fuzz = settings(
                max_examples=FEWER.get(operation.label, CASES),
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            renew()
            cases = operation.as_strategy()
            if operation.method.upper() == "POST" and operation.path != "/v1/tables":
                cases |= operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
            fuzz(seed(1)(given(case=cases)(ask)))()
    told = {name: dict(answered) for name, answered in counts.items()}
    assert len(counts) >= 16, told
    assert all(answered.total() for answered in counts.values()), told
    assert sum(answered.total() for answered in counts.values()) >= 2_000, told
    assert not [code for answered in counts.values() for code in answered if code >= 500], told
    for name in ("predict-table", "scan", "adapt", "screen", "evaluate"):
        assert counts[f"POST /v1/{name}"][202], (name, counts[f"POST /v1/{name}"])
    assert counts["DELETE /v1/tables/{table_id}"][204], told
    assert counts["GET /v1/jobs/{job_id}"][200], told
    assert server.is_healthy()


def start_jobs(client: httpx2.Client, count: int) -> list[str]:
    rows = pl.concat([EXAMPLES] * 200).with_row_index("n")
    ids = []
    for number in range(count):
        content = rows.slice(number, 3_000 - 100 * number).write_csv().encode()
        table = client.post("/v1/tables", params={"name": "t.csv"}, content=content).json()["id"]
        ids.append(client.post("/v1/predict-table", json={"table": table}).json()["id"])
    return ids


def test_every_job_ends_though_the_server_is_killed(tmp_path):
    server = Server(tmp_path / "kept")
    with server, httpx2.Client(base_url=server.address, timeout=60) as client:
        ids = start_jobs(client, 10)
        until(lambda: client.get(f"/v1/jobs/{ids[1]}").json()["state"] != "queued", 240)
        job = json.loads((server.folder / "jobs" / ids[1] / "job.json").read_text())
        assert job["kind"] == "predict"
        server.stop(signal.SIGKILL)
    until(lambda: not children_of(ids[1]), 120)  # a job's process ends with the server
    with server, httpx2.Client(base_url=server.address, timeout=60) as client:

        def states() -> set[str]:
            return {client.get(f"/v1/jobs/{one}").json()["state"] for one in ids}

        until(lambda: not states() & {"queued", "running"}, 240)
        assert states() == {"finished"}
        frame = pl.concat([EXAMPLES] * 200).with_row_index("n")
        predicted = paratope.Predictor.load("default").predict(EXAMPLES)["pkd"].to_list()
        for number, one in enumerate(ids):
            content = client.get(f"/v1/jobs/{one}/files/predictions.parquet").content
            got = pl.read_parquet(content)
            assert got.height == min(3_000 - 100 * number, frame.height - number)
            first = [predicted[(number + n) % 15] for n in range(got.height)]
            assert (got["pkd"] - pl.Series(first)).abs().max() < 1e-5
        # what is under way is answered, what waits goes on later
        ids = start_jobs(client, 1)
        assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    assert "bug" not in {line["event"] for line in lines}


def children_of(job: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if job.encode() in command and b"paratope.web.work" in command:
            found.append(path.parent.name)
    return found


def test_sigterm_answers_what_is_under_way(tmp_path):
    with Server(tmp_path / "kept") as server:
        many = [{**pair, "id": f"{n}", "heavy": pair["heavy"][n % 9 :]}
                for n, pair in enumerate(PAIRS * 40)]  # fmt: skip
        with ThreadPoolExecutor(1) as pool:
            url = f"{server.address}/v1/predict"
            asked = pool.submit(httpx2.post, url, json={"pairs": many}, timeout=60)
            time.sleep(0.3)
            code = server.stop()
            assert asked.result().status_code == 200
            assert len(asked.result().json()["predictions"]) == 600
        assert code == 0


def test_two_servers_do_not_share_a_folder(tmp_path):
    with Server(tmp_path / "kept") as server:
        command = [sys.executable, "-m", "paratope", "serve", "--port", "0", "--folder"]
        done = subprocess.run(
            [*command, str(server.folder)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode != 0
        assert "another command is writing it" in done.stderr
        assert "Traceback" not in done.stderr
