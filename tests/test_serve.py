"""The API and the first page, asked in this process: numbers, errors, who may ask."""

import json
import logging
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

import paratope
from paratope.core.errors import InputError
from paratope.web.settings import Limits, ServeSettings
from small_server import EXAMPLES, PAIRS, asked

TOKEN = "correct horse battery staple"
LOWER = {"heavy": "AAA1", "antigen": "MKV"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with asked(tmp_path_factory.mktemp("serve")) as client:
        yield client


@pytest.fixture(scope="module")
def expected():
    return paratope.Predictor.load("default").predict(EXAMPLES).to_dicts()


def predict(client, pairs, **options):
    answer = client.post("/v1/predict", json={"pairs": pairs, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    told = answer.json()["error"]
    assert set(told) == {"code", "message", "details", "request_id"}
    assert told["code"] == code
    assert told["request_id"] == answer.headers["x-request-id"]
    return told


def test_predictions_are_those_of_the_library(client, expected):
    for answer, row in zip(predict(client, PAIRS), expected, strict=True):
        for name in ("pkd", "pkd_low", "pkd_high", "kd_nM", "p_strong", "antigen_identity"):
            assert answer[name] == pytest.approx(row[name], abs=1e-9), name
        assert (answer["id"], answer["domain"]) == (row["id"], row["domain"])
        assert answer["note"] == row["note"]


def test_a_server_starts_without_what_only_jobs_need():
    statement = (
        "import sys, polars; from paratope.models.predictor import Predictor\n"
        "from paratope.web import application, predicting\n"
        "row = Predictor.load('default').predict(polars.DataFrame([predicting.FIRST_PAIR]))\n"
        "assert row['pkd'][0] > 8; print(*sys.modules)"
    )
    command = [sys.executable, "-c", statement]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    heavy = {"torch", "transformers", "sklearn", "matplotlib", "pandas", "pyarrow", "plotly"}
    assert not heavy & loaded
    assert {"uvicorn", "fastapi", "polars"} <= loaded


def test_rows_asked_together_by_many_are_as_alone(client, expected):
    alone = {row["id"]: row for row in expected}
    cut = [{**pair, "heavy": pair["heavy"][:-1]} for pair in PAIRS]  # not remembered yet
    frame = EXAMPLES.with_columns(heavy=EXAMPLES["heavy"].str.head(-1))
    short = {row["id"]: row for row in paratope.Predictor.load("default").predict(frame).to_dicts()}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda pair: predict(client, [pair])[0], [*PAIRS, *cut] * 3))
    for number, answer in enumerate(answers):
        right = (alone if number % 30 < 15 else short)[answer["id"]]
        assert answer["pkd"] == pytest.approx(right["pkd"], abs=1e-5)
        assert answer["note"] == right["note"]


def test_one_bad_row_has_its_error_and_the_others_their_numbers(client, expected):
    first, bad, last = predict(client, [PAIRS[0], {"id": "x", **LOWER}, PAIRS[1]])
    assert first["pkd"] == pytest.approx(expected[0]["pkd"])
    assert last["pkd"] == pytest.approx(expected[1]["pkd"])
    assert "row 'x', column 'heavy': heavy chain: '1' at position 4" in bad["error"]
    assert bad["pkd"] is bad["domain"] is None


def test_variants_against_a_parent_are_as_the_library_says(client):
    told = {"id": "v", "parent": "p", "mutations": "H:Y105W"}
    rows = [{**PAIRS[0], "id": "p"}, {**dict.fromkeys(PAIRS[0], ""), **told}]
    frame = pl.DataFrame([{"parent": "", "mutations": "", **row} for row in rows])
    table = paratope.Predictor.load("default").predict(frame, parent="p", coverage=0.5)
    for _ in range(2):  # what depends on another row is not remembered
        parent, answer = predict(client, rows, parent="p", coverage=0.5)
        assert answer["delta_pkd"] == pytest.approx(table["delta_pkd"][1])
        assert answer["pkd_low"] == pytest.approx(table["pkd_low"][1])
        assert parent["delta_pkd"] == 0


def test_remembered_rows_keep_their_own_ids_and_notes(client):
    before = client.get("/metrics").text
    (first,) = predict(client, [{**PAIRS[2], "id": "a"}])
    (second,) = predict(client, [{**PAIRS[2], "id": "b"}])
    (third,) = predict(client, [{key: PAIRS[2][key] for key in ("heavy", "light", "antigen")}])
    assert [first["id"], second["id"], third["id"]] == ["a", "b", "1"]
    assert first["pkd"] == second["pkd"] == third["pkd"]
    assert number(client.get("/metrics").text, "paratope_cache_hits_total") >= 2 + number(
        before, "paratope_cache_hits_total"
    )
    twice = predict(client, [PAIRS[2], PAIRS[2]])
    assert "was used before" in twice[1]["note"]
    assert "was used before" not in (first["note"] or "")


def number(text, name):
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return next(one.value for one in samples if one.name == name)


def test_metrics_count_requests_by_route_and_batches(client):
    predict(client, PAIRS[:3])
    client.get("/v1/nothing-like-this")
    text = client.get("/metrics").text
    assert 'route="/v1/predict",status="200"' in text
    assert "nothing-like-this" not in text
    assert number(text, "paratope_batch_rows_count") >= 1
    assert 'paratope_model{name="default"' in text


INVALID = {
    "no pairs": ({"pairs": []}, "pairs"),
    "no body": (None, "body"),
    "a list": ([], "body"),
    "no heavy": ({"pairs": [{"antigen": "MKV"}]}, "pairs.0.heavy"),
    "unknown field": ({"pairs": [PAIRS[0]], "colour": 1}, "colour"),
    "typo in a pair": ({"pairs": [{**PAIRS[0], "lihgt": "D"}]}, "pairs.0.lihgt"),
    "a number": ({"pairs": [{**PAIRS[0], "heavy": 5}]}, "pairs.0.heavy"),
    "coverage": ({"pairs": [PAIRS[0]], "coverage": 1.5}, "coverage"),
    "long chain": ({"pairs": [{**PAIRS[0], "heavy": "A" * 20_000}]}, "pairs.0.heavy"),
    "long id": ({"pairs": [{**PAIRS[0], "id": "a" * 300}]}, "pairs.0.id"),
    "too many": ({"pairs": [PAIRS[0]] * 1001}, "pairs"),
    "surrogate": ({"pairs": [{**PAIRS[0], "id": "\ud800"}]}, "pairs.0.id"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_requests_say_which_field(client, name):
    body, field = INVALID[name]
    content = json.dumps(body)
    answer = client.post(
        "/v1/predict", content=content, headers={"content-type": "application/json"}
    )
    told = problem(answer, 422, "invalid")
    assert field in [one["field"] for one in told["details"]]
    assert len(answer.text) < 5_000


def test_other_refusals_have_the_same_shape(client):
    problem(client.get("/nothing"), 404, "not_found")
    assert "POST" in client.get("/v1/predict").headers["allow"]
    problem(client.get("/v1/predict"), 405, "wrong_method")
    problem(client.get("/health", headers={"host": "evil.example"}), 421, "wrong_host")
    told = problem(client.post("/v1/predict", json={"pairs": PAIRS[:1], "model": "../x"}), 422,
                   "unknown_model")  # fmt: skip
    assert "valid names: default" in told["message"]
    problem(client.post("/v1/predict", json={"pairs": PAIRS[:1], "parent": "nobody"}), 422,
            "unreadable")  # fmt: skip
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = client.post("/v1/predict", json={"pairs": PAIRS[:1]}, headers=headers)
        problem(answer, 403, "other_site")
    large = client.post("/v1/predict", content=b" " * 17_000_000)
    problem(large, 413, "too_large")


def test_request_ids_are_kept_if_they_are_plain(client):
    assert client.get("/health", headers={"x-request-id": "a-1"}).headers["x-request-id"] == "a-1"
    hostile = client.get("/health", headers={"x-request-id": "<script>"})
    assert re.fullmatch("[0-9a-f]{16}", hostile.headers["x-request-id"])


def test_security_headers_are_on_every_answer(client):
    for path in ("/", "/health", "/static/style.css", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_logs_have_no_sequences_unless_asked(tmp_path, caplog):
    for wanted in (False, True):
        caplog.clear()
        with asked(tmp_path, log_sequences=wanted) as client, caplog.at_level(logging.INFO):
            logging.getLogger("paratope.web").propagate = True
            predict(client, PAIRS[:1])
            client.get("/" + PAIRS[0]["heavy"])
        texts = [one.message for one in caplog.records if one.name == "paratope.web"]
        lines = [json.loads(text) for text in texts]
        by_route = {line["route"]: line for line in lines if line["event"] == "request"}
        assert by_route["/v1/predict"]["rows"] == 1
        assert (PAIRS[0]["heavy"] in "".join(texts)) is wanted


def test_before_a_model_has_answered_the_server_is_not_healthy(tmp_path):
    with asked(tmp_path, is_ready=False, models=(str(tmp_path / "no-model"),)) as client:
        problem(client.get("/health"), 503, "starting")
        answer = client.post("/v1/predict", json={"pairs": PAIRS[:1]})
        assert answer.headers["retry-after"]
        problem(answer, 503, "starting")


def test_the_token_is_asked_for_and_compared(tmp_path):
    with asked(tmp_path, token=TOKEN) as client:
        assert client.get("/health").status_code == 200
        body = {"pairs": PAIRS[:1]}
        problem(client.post("/v1/predict", json=body), 401, "no_token")
        for wrong in ("Bearer no", "Basic " + TOKEN, "Bearer", TOKEN):
            answer = client.post("/v1/predict", json=body, headers={"authorization": wrong})
            problem(answer, 401, "no_token")
        problem(client.get("/metrics"), 401, "no_token")
        right = {"authorization": f"Bearer {TOKEN}"}
        assert client.post("/v1/predict", json=body, headers=right).status_code == 200
        page = client.get("/", headers={"accept": "text/html"}, follow_redirects=False)
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        refused = client.post("/login", data={"token": "no"})
        assert refused.status_code == 401
        assert "not the token" in refused.text
        client.post("/login", data={"token": TOKEN}, follow_redirects=False)
        assert client.get("/").status_code == 200
        cookie = client.cookies["paratope_session"]
        assert TOKEN not in cookie
        client.cookies.clear()
        forged = {"cookie": f"paratope_session={cookie[:-1]}x"}
        problem(client.get("/metrics", headers=forged), 401, "no_token")


def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites(tmp_path):
    with asked(tmp_path, token=TOKEN) as client:
        answer = client.post("/login", data={"token": TOKEN}, follow_redirects=False)
        attributes = answer.headers["set-cookie"].lower()
        assert "httponly" in attributes
        assert "samesite=strict" in attributes


def test_no_server_that_others_reach_without_a_token(tmp_path, run_paratope, monkeypatch):
    monkeypatch.delenv("PARATOPE_TOKEN", raising=False)
    done = run_paratope("serve", "--host", "0.0.0.0", code=2)
    assert "PARATOPE_TOKEN" in done.err
    monkeypatch.setenv("PARATOPE_TOKEN", "short")
    assert "at least 16" in run_paratope("serve", code=2).err
    with pytest.raises(InputError, match="token"):
        ServeSettings(tmp_path, host="192.168.0.7")
    assert ServeSettings(tmp_path, host="::1").token is None


def test_overload_is_refused_with_a_time_to_come_again(tmp_path):
    with asked(tmp_path, limits=Limits(waiting_rows=10)) as client:
        many = [{**PAIRS[n % 15], "heavy": PAIRS[n % 15]["heavy"][n % 3 :]} for n in range(45)]
        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(lambda _: client.post("/v1/predict", json={"pairs": many}), range(12))
            )
        codes = {answer.status_code for answer in answers}
        assert codes == {200, 429}
        busy = next(answer for answer in answers if answer.status_code == 429)
        assert int(busy.headers["retry-after"]) >= 1
        problem(busy, 429, "busy")
        assert predict(client, PAIRS[:1])[0]["error"] is None


PAGE = {name: PAIRS[0][name] for name in ("heavy", "light", "antigen")}


def test_the_page_shows_what_the_library_says(client, expected):
    text = client.post("/", data=PAGE).text
    row = expected[0]
    assert f"{row['pkd']:.2f}" in text
    assert f"{row['kd_nM']:.3g} nM" in text
    assert f"{row['pkd_low']:.2f} to {row['pkd_high']:.2f}" in text
    assert "in domain" in text
    assert "predicted pKd, their sum" in text
    assert "To compare a variant of it, name its mutations" in text
    assert "Δ is 0" not in text


def test_the_page_says_what_is_wrong_beside_the_field(client):
    for changed, field, words in (
        ({"heavy": ""}, "heavy", "Paste a heavy chain"),
        ({"antigen": ""}, "antigen", "Paste the antigen"),
        ({"light": "DIQM*"}, "light", "light chain"),
        ({"mutations": "H:Q1A"}, "mutations", "H:Q1A"),
        ({"parent_pkd": "8"}, "mutations", "say what the variant is"),
        ({"heavy": "A" * 10_001}, "heavy", "at most 10,000"),
    ):
        answer = client.post("/", data={**PAGE, **changed})
        assert answer.status_code == 422
        match = re.search(rf'id="{field}-problem" role="alert">([^<]*)<', answer.text)
        assert match, (changed, answer.text)
        assert words in match[1].replace("&#39;", "'")


def test_a_variant_is_compared_with_its_parent(client):
    rows = [{"id": "parent", **PAGE}, {**dict.fromkeys(PAGE, ""), "id": "v", "parent": "parent"}]
    frame = pl.DataFrame([{"parent": "", "mutations": m, **row}
                          for m, row in zip(("", "H:Y105W"), rows, strict=True)])  # fmt: skip
    table = paratope.Predictor.load("default").predict(frame, parent="parent")
    text = client.post("/", data={**PAGE, "mutations": "H:Y105W"}).text
    assert "The variant H:Y105W" in text
    assert f"Δ {table['delta_pkd'][1]:+.2f}" in text


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}"]
)
@pytest.mark.parametrize("field", ["heavy", "light", "antigen", "mutations", "epitope", "model"])
def test_what_is_typed_is_never_markup(client, field, hostile):
    answer = client.post("/", data={**PAGE, field: hostile}, headers={"accept": "text/html"})
    is_page = answer.headers["content-type"].startswith("text/html")
    assert is_page
    assert hostile not in answer.text or hostile == "{{7*7}}"


def test_fasta_is_read_in_a_form(client, expected):
    form = {name: f">a name\n{text[:50]}\n{text[50:]}\n" for name, text in PAGE.items()}
    assert f"{expected[0]['pkd']:.2f}" in client.post("/", data=form).text
