"""The pages: plain forms, answered as a whole; htmx swaps what has changed.

What they show is what the command line says of the same input: `Predictor.predict_rows` and
`Predictor.explain_rows` of rows that were read alike.
"""

import csv
import functools
import hmac
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse, RedirectResponse, Response

from paratope import __version__
from paratope.core.errors import ParatopeError
from paratope.core.templates import render
from paratope.core.units import STRONG_PKD, kd_text, pkd_to_kd_nM
from paratope.models.bundle import GENERAL
from paratope.models.explanation import ExplainedRow
from paratope.models.prediction import Prediction
from paratope.web.api import model_choices, served_model
from paratope.web.predicting import Asked, ServedModel
from paratope.web.protection import COOKIE, Refusal, session_cookie
from paratope.web.settings import MAX_ANTIGEN, MAX_CHAIN

PAGES = (
    ("/", "Predict"),
    ("/table", "Table"),
    ("/scan", "Scan"),
    ("/campaign", "Campaign"),
    ("/screen", "Screen"),
    ("/evaluate", "Evaluate"),
    ("/models", "Models"),
    ("/jobs", "Jobs"),
)
TAKE_TABLES = frozenset({"/table", "/campaign", "/screen", "/evaluate"})  # forms with files
PARENT_ID = "parent"
_EXAMPLES = Path(__file__).with_name("templates") / "examples.csv"
EXAMPLES = tuple(csv.DictReader(_EXAMPLES.read_text("utf-8").splitlines()))
_DOMAINS = {
    "in": (
        "in domain",
        "The model has learned from this antigen, and from antibodies like this one.",
    ),
    "near": (
        "near the domain",
        "The model knows this antigen or a relative of it, but no such antibody against it: "
        "expect larger errors.",
    ),
    "out": (
        "out of domain",
        "The antigen resembles none that the model has learned from: this is little more than an "
        "average. Measure a few variants of your own.",
    ),
}
# Notes of tables, in the words of a page that shows one antibody; empty: the page says it already
_NOTES = {
    "Δ is 0 (this is the parent itself)": "",
    "Δ is 0 (no parent named: variants of one antibody cannot be ranked)": "This is the level of "
    "the antibody as a whole. To compare a variant of it, name its mutations under More.",
}
# pKd at the ends of the scale, and its pixels
_WEAKEST, _STRONGEST, _LEFT, _WIDTH = 4.0, 13.0, 24, 592
_LONGEST = {"heavy": MAX_CHAIN, "light": MAX_CHAIN, "antigen": MAX_ANTIGEN}
_COLUMN = re.compile(r"column '(\w+)'")

router = APIRouter(include_in_schema=False)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of the templates."""
    here = f"/{request.url.path.split('/')[1]}"
    about = {"pages": PAGES, "here": here, "version": __version__}
    return HTMLResponse(render("web", template, **about, **values), status)


def form_page(
    request: Request,
    template: str,
    values: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    status: int | None = None,
    **about: Any,
) -> HTMLResponse:
    """A page with a form: what its fields hold, and what is wrong with them (by default 422)."""
    about = {"models": model_choices(request), "examples": EXAMPLES, **about}
    fields = {
        name: defaultdict(str, given or {})
        for name, given in (("values", values), ("problems", problems))
    }
    return page(request, template, status or (422 if problems else 200), **fields, **about)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks, and not a program."""
    is_browser = "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers
    return is_browser and not request.url.path.startswith("/v1/")


def error_page(request: Request, error: Refusal, request_id: str) -> Response:
    """An error as a page, for what no field of a form is to blame."""
    titles = {404: "There is no such page", 413: "That is too large", 429: "Busy", 503: "Not yet"}
    answer = page(
        request,
        "error.html",
        error.status_code,
        title=titles.get(error.status_code, "That is not possible"),
        message=error.detail,
        details=error.details.items(),
        request_id=request_id,
    )
    answer.headers.update(error.headers or {})
    return answer


async def form_of(request: Request, names: str) -> dict[str, str]:
    """Fields of a form by name, without what is around them; empty where they were not sent."""
    async with request.form(max_files=10, max_fields=100, max_part_size=1_000_000) as form:
        given = {name: form.get(name, "") for name in names.split()}
    return {name: "" if isinstance(v, UploadFile) else v.strip() for name, v in given.items()}


@router.get("/login")
async def login(request: Request) -> Response:
    """Ask for the token."""
    return form_page(request, "login.html")


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Give a cookie for the token, which other sites' pages cannot use and scripts cannot read."""
    token, given = request.app.state.settings.token, await form_of(request, "token")
    if token is None:
        return RedirectResponse("/", 303)
    if not hmac.compare_digest(given["token"].encode(), token.encode()):
        problems = {"token": "This is not the token of this server."}
        return form_page(request, "login.html", problems=problems, status=401)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    cookie = session_cookie(token)
    answer.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure)
    return answer


@router.get("/")
async def predict_form(request: Request, example: int = 0) -> Response:
    """The form, empty or with an example."""
    return form_page(request, "predict.html", example_values(example), answers=[])


def example_values(number: int) -> dict[str, str]:
    """Fields of an example by its number from 1; of others none."""
    if not 0 < number <= len(EXAMPLES):
        return {}
    return {name: EXAMPLES[number - 1][name] for name in ("heavy", "light", "antigen")}


@router.post("/")
async def predict(request: Request) -> Response:
    """The form with what is predicted, or with what is wrong beside its field."""
    values = await form_of(request, "heavy light antigen mutations parent_pkd epitope model")
    values["model"] = values["model"] or model_choices(request)[0][0]
    model = await served_model(request, values["model"])
    again = functools.partial(form_page, request, "predict.html", values, answers=[])
    if problems := missing_chains(values, model):
        return again(problems)
    rows, asked = _rows(values, model)
    state = request.app.state
    request.state.noted = {"rows": len(rows), "model": model.name}
    try:
        predictions = await state.predicting.predict(rows, asked)
        explained = await state.predicting.run(lambda: _explained(model, rows, asked))
    except ParatopeError as error:
        return again({field_of(str(error)): str(error)})
    wrong = {field_of(one.error): plain_error(one.error) for one in predictions if one.error}
    if wrong:
        return again(wrong)
    answers = [
        shown(one, why, values["mutations"])
        for one, why in zip(predictions, explained, strict=True)
    ]
    return form_page(request, "predict.html", values, answers=answers[::-1])


def missing_chains(values: Mapping[str, str], model: ServedModel) -> dict[str, str]:
    """What is wrong with a form before anything is read."""
    problems = {}
    if not values["heavy"]:
        problems["heavy"] = "Paste a heavy chain, a VHH or an scFv."
    if not values["antigen"] and model.predictor.default_antigen is None:
        problems["antigen"] = "Paste the antigen's residues."
    for name, most in _LONGEST.items():
        if len(values[name]) > most:
            problems[name] = f"{len(values[name]):,} characters; at most {most:,} are read."
    if values.get("parent_pkd") and not values["mutations"]:
        problems["mutations"] = "A parent's pKd needs mutations: say what the variant is."
    return problems


def _rows(values: Mapping[str, str], model: ServedModel) -> tuple[list[dict[str, str]], Asked]:
    """Rows of cells as the command line makes them of ``--heavy --light --antigen --mutations``."""
    chains = ("heavy", "light", "antigen")
    pair = {name: residues_of(values[name], "|" if name == "antigen" else "") for name in chains}
    known = {"epitope": values["epitope"]}
    if not values["mutations"]:
        return [{"id": "1", **pair, **known}], Asked(model.name)
    parent = {"id": PARENT_ID, **pair, **known, "parent": "", "mutations": ""}
    variant = dict.fromkeys(chains, "") | {
        "id": "variant",
        "parent": PARENT_ID,
        "mutations": values["mutations"],
        "parent_pkd": values["parent_pkd"],
    }
    return [parent, known | variant], Asked(model.name, PARENT_ID)


def residues_of(text: str, joined_by: str) -> str:
    r"""Residues as pasted; the records of a FASTA without their names.

    >>> residues_of(">H\nEVQL\nVESG", ""), residues_of(">a\nMK\n>b\nGS", "|")
    ('EVQLVESG', 'MK|GS')
    """
    if ">" not in text:
        return text
    records = [record.partition("\n")[2] for record in text.split(">")[1:]]
    return joined_by.join("".join(record.split()) for record in records)


def _explained(model: ServedModel, rows: list[dict[str, str]], asked: Asked) -> list[Any]:
    """What predictions are made of, of models that say it at once."""
    if model.predictor.bundle.config.get("kind") != GENERAL:
        return [None] * len(rows)
    table = model.read(rows)
    parent = None if asked.parent is None else model.predictor.parent(table, asked.parent)
    return model.predictor.explain_rows(table.rows, parent=parent)


def field_of(error: str) -> str:
    """The field of a form that an error is about."""
    match = _COLUMN.search(error)
    names = {"heavy", "light", "antigen", "mutations", "parent_pkd", "epitope"}
    return match[1] if match and match[1] in names else "form"


def plain_error(error: str) -> str:
    """An error of a row without the row, of which a form has one."""
    return re.sub(r"^(row '[^']*', )?(column '\w+': )?", "", error)


def shown(one: Prediction, why: ExplainedRow | None, mutations: str = "") -> dict[str, Any]:
    """A prediction as the template shows it."""
    label = "pkd" if one.score is None else "score"
    value, low, high, delta, delta_low, delta_high = (
        getattr(one, f"{prefix}{label}{end}")
        for prefix in ("", "delta_")
        for end in ("", "_low", "_high")
    )
    digits = ".2f" if label == "pkd" else ".3g"
    word, sentence = _DOMAINS[one.domain]
    is_variant = bool(mutations) and one.id != PARENT_ID
    title = "The antibody"
    if mutations:
        title = f"The variant {mutations}" if is_variant else "Its parent"
    facts = [
        ("identity of the nearest known antigen", f"{100 * (one.antigen_identity or 0):.0f} %"),
        (
            "identity of the nearest known antibody's CDRs",
            f"{100 * (one.antibody_identity or 0):.0f} %",
        ),
    ]
    if one.p_strong is not None:
        strong = f"probability of a strong binder (pKd ≥ {STRONG_PKD:g})"
        facts.insert(0, (strong, f"{one.p_strong:.2f}"))
    explanation = why.explanation if why else None
    notes = dict.fromkeys(filter(None, (why.note if why else one.note).split("; ")))
    told: dict[str, Any] = {
        "title": title,
        "value": f"{value:{digits}}",
        "kd": kd_text(one.kd_nM) if one.kd_nM is not None else "",
        "interval": f"{low:{digits}} to {high:{digits}}",
        "coverage": f"{one.coverage:.0%}",
        "delta": "" if not is_variant or delta is None else f"Δ {delta:+{digits}}",
        "delta_interval": ""
        if delta is None
        else f"{delta_low:+{digits}} to {delta_high:+{digits}}",
        "p_stronger": "" if one.p_stronger is None else f"{one.p_stronger:.2f}",
        "scale": _scale(value, low, high) if label == "pkd" else None,
        "domain": one.domain,
        "domain_word": word,
        "domain_sentence": sentence,
        "facts": facts,
        "notes": [text for note in notes if (text := _NOTES.get(note, note))],
        "contributions": [],
        "sum": "",
    }
    if explanation is not None and explanation.is_sum:
        parts = [(name, part) for name, part in explanation.parts.items() if part]
        parts += [(str(change), part) for change, part in explanation.changes]
        widest = max((abs(part) for name, part in parts if name != "mean of all"), default=1.0)
        told["contributions"] = [_bar(name, part, max(widest, 0.1)) for name, part in parts]
        told["sum"] = f"{explanation.pkd:.2f}"
    return told


def _bar(name: str, value: float, widest: float) -> dict[str, Any]:
    """A part of a sum, and a bar to the right of the middle if it speaks for binding."""
    width = 0 if name == "mean of all" else min(96.0, 96 * abs(value) / widest)
    side = "plus" if value > 0 else "minus"
    x = 100 if value > 0 else 100 - width
    return {
        "name": name,
        "value": f"{value:+.2f}",
        "x": round(x, 1),
        "width": round(width, 1),
        "side": side,
    }


def _scale(value: float, low: float, high: float) -> dict[str, Any]:
    """Places on the scale from weak to strong, in pixels."""

    def x(pkd: float) -> float:
        share = (min(max(pkd, _WEAKEST), _STRONGEST) - _WEAKEST) / (_STRONGEST - _WEAKEST)
        return round(_LEFT + _WIDTH * share, 1)

    def short(pkd: float) -> str:
        number, unit = kd_text(pkd_to_kd_nM(pkd)).split(" ")
        return f"{float(number):g} {unit}"

    label = f"pKd {value:.2f}, interval {low:.2f} to {high:.2f}, on a scale from weak to strong"
    ticks = [{"x": x(pkd), "kd": short(pkd), "pkd": f"pKd {pkd}"} for pkd in (6, 8, 10, 12)]
    return {
        "left": _LEFT,
        "width": _WIDTH,
        "low": x(low),
        "high": x(high),
        "value": x(value),
        "ticks": ticks,
        "label": label,
    }
