"""Pages of what takes longer than a request: tables, scans, campaigns, screens, evaluations; cards.

Each is a form that starts a job of `paratope.web.job_api`, and the page of that job.
"""

import asyncio
import functools
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib import resources
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.datastructures import UploadFile
from starlette.responses import RedirectResponse, Response

from paratope.core.errors import InputError, ParatopeError
from paratope.core.units import kd_text
from paratope.molecules.mutations import parse_regions
from paratope.web import job_api
from paratope.web.api import model_choices, served_model
from paratope.web.jobs import Job
from paratope.web.pages import (
    example_values,
    field_of,
    form_of,
    form_page,
    missing_chains,
    page,
    plain_error,
    residues_of,
)
from paratope.web.protection import SECURITY_HEADERS, Refusal
from paratope.web.settings import MAX_ANTIGEN
from paratope.web.work import antigens_of

ROWS_SHOWN = 50
_CHAINS = {"H": "Heavy chain", "L": "Light chain"}
_TITLES = {
    "predict": "Predictions of {}",
    "scan": "Scan",
    "adapt": "Campaign: {}",
    "suggest": "The next plate",
    "screen": "Screen of {}",
    "evaluate": "Evaluation of {}",
}
_AGAIN = {"predict": "/table", "scan": "/scan", "screen": "/screen", "evaluate": "/evaluate"}
MAPPED = {
    "id": "Id",
    "heavy": "Heavy chain",
    "light": "Light chain",
    "antigen": "Antigen",
    "mutations": "Mutations",
    "parent": "Parent's id",
}

router = APIRouter(include_in_schema=False)


@router.get("/static/plotly.min.js")
async def plotly() -> Response:
    """Plotly's own script, of the installed library."""
    path = resources.files("plotly").joinpath("package_data", "plotly.min.js")
    headers = {"cache-control": "private, max-age=86400"}
    return FileResponse(str(path), media_type="text/javascript", headers=headers)


# -- tables


@router.get("/table")
async def table_form(request: Request) -> Response:
    """Ask for a table."""
    return _table_page(request)


@router.post("/table")
async def upload_table(request: Request) -> Response:
    """Keep a table, and go on to its columns."""
    try:
        table, *_ = await _uploads(request, {})
    except Refusal as error:
        return _table_page(request, {"table": str(error.detail)}, status=error.status_code)
    return RedirectResponse(f"/table/{table.id}", 303)


@router.get("/table/{table_id}")
async def columns_form(request: Request, table_id: str) -> Response:
    """Show what its columns are taken for."""
    store = request.app.state.store
    table = await job_api.table_output(request, store.table(table_id))
    return _table_page(request, table=table, chosen=table.recognised)


@router.post("/table/{table_id}")
async def predict_table(request: Request, table_id: str) -> Response:
    """Start to predict it."""
    store = request.app.state.store
    table = await job_api.table_output(request, store.table(table_id))
    names = " ".join(f"column-{name}" for name in MAPPED)
    values = await form_of(request, f"{names} antigen parent model")
    chosen = {name: values[f"column-{name}"] for name in MAPPED}
    problems = {}
    if not chosen["heavy"] and not chosen["mutations"]:
        problems["heavy"] = "Say which column holds the heavy chain, a VHH or an scFv."
    if not chosen["antigen"] and not values["antigen"] and not chosen["mutations"]:
        problems["antigen"] = "Choose the antigen's column, or paste one antigen for all rows."
    if not problems:
        try:
            wanted = job_api.PredictTableInput(
                table=table_id,
                model=values["model"] or "default",
                columns={name: column for name, column in chosen.items() if column},
                antigen=residues_of(values["antigen"], "|") or None,
                parent=values["parent"] or None,
            )
            return _job_of(await job_api.predict_table(request, wanted))
        except (ParatopeError, Refusal, ValueError) as error:
            problems["form"] = _words(error)
    return _table_page(request, problems, values, table=table, chosen=chosen)


def _table_page(
    request: Request,
    problems: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    status: int | None = None,
    **about: Any,
) -> Response:
    most = f"{request.app.state.settings.limits.table_bytes / 1e6:g}"
    about = {"table": None, "mapped": MAPPED.items(), "most_mb": most, **about}
    about["chosen"] = defaultdict(str, about.get("chosen", {}))
    return form_page(request, "table.html", values, problems, status, **about)


async def _from_upload(
    request: Request,
    names: str,
    start: Callable[[list[Any], dict[str, str]], Awaitable[job_api.JobOutput]],
    again: Callable[..., Response],
) -> Response:
    """The job that `start` makes of a form's tables and fields, or the form `again`."""
    values, tables = dict.fromkeys(names.split(), ""), []
    try:
        tables = await _uploads(request, values)
        return _job_of(await start(tables, values))
    except (ParatopeError, Refusal) as error:
        told, status = {"form" if tables else "table": _words(error)}, 422
        if isinstance(error, Refusal):
            status = error.status_code
            told = error.details if tables and error.details else told
        return again(values=values, problems=told, status=status)


def _job_of(made: job_api.JobOutput) -> Response:
    return RedirectResponse(f"/jobs/{made.id}", 303)


async def _uploads(request: Request, values: dict[str, str]) -> list[Any]:
    """Tables that a form holds, kept; fills `values` by their names; refuses a form without any."""
    tables = []
    async with request.form(max_files=20, max_fields=100, max_part_size=1_000_000) as form:
        values |= {name: str(form.get(name, "")).strip() for name in values}
        files = [
            one for one in form.getlist("table") if isinstance(one, UploadFile) and one.filename
        ]
        if not files:
            raise Refusal(422, "no_table", "Choose a file.")
        for file in files:
            table = await request.app.state.store.add_table(file.filename or "", _chunks(file))
            tables.append(await job_api.table_output(request, table))  # or it cannot be read
    return tables


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(1 << 20):
        yield chunk


def _words(error: Exception) -> str:
    return str(error.detail) if isinstance(error, Refusal) else str(error)


# -- scans


@router.get("/scan")
async def scan_form(request: Request, example: int = 0) -> Response:
    """Ask for an antibody."""
    return form_page(request, "scan.html", {"regions": "CDR", **example_values(example)})


@router.post("/scan")
async def scan(request: Request) -> Response:
    """Start to scan it."""
    values = await form_of(request, "heavy light antigen regions model")
    values["model"] = values["model"] or model_choices(request)[0][0]
    model = await served_model(request, values["model"])
    problems = missing_chains(values, model)
    if values["regions"]:
        try:
            parse_regions(values["regions"])
        except InputError as error:
            problems["regions"] = str(error)
    if not problems:
        chains = {name: residues_of(values[name], "") for name in ("heavy", "light")}
        wanted = job_api.ScanInput(
            **chains,  # type: ignore[arg-type]
            antigen=residues_of(values["antigen"], "|") or None,
            regions=values["regions"] or None,
            model=values["model"],
        )
        # what cannot be read is said beside its field, not by a job that fails
        antigen = wanted.antigen or ""
        row = {"id": "1", "heavy": wanted.heavy, "light": wanted.light or "", "antigen": antigen}
        (read,) = await request.app.state.predicting.run(lambda: model.read([row]).rows)
        if read.error is None:
            return _job_of(await job_api.scan(request, wanted))
        problems[field_of(read.error)] = plain_error(read.error)
    return form_page(request, "scan.html", values, problems)


# -- campaigns


@router.get("/campaign")
async def campaign_form(request: Request) -> Response:
    """Ask for measurements."""
    return _campaign_page(request)


@router.post("/campaign")
async def adapt(request: Request) -> Response:
    """Start to learn, from a new plate and those that a campaign has learned from before."""
    state = request.app.state

    async def start(tables: Any, values: Mapping[str, str]) -> job_api.JobOutput:
        parameters = {"antigen": residues_of(values["antigen"], "|"), "assay": values["assay"]}
        paths = [state.store.table_path(state.store.table(table.id)) for table in tables]
        names = [table.name for table in tables]
        if values["previous"]:
            before = state.store.job(values["previous"])
            folder = state.store.job_folder(before)
            if before.kind != "adapt":
                raise Refusal(422, "no_campaign", "this is no campaign")
            paths = [*(folder / name for name in before.parameters["inputs"]), *paths]
            names = [*before.parameters["names"], *names]
            kept = ("antigen", "assay", "columns")
            parameters |= {name: before.parameters.get(name) for name in kept}
        made = state.store.add_job("adapt", {**parameters, "names": names}, paths)
        state.runner.wake()
        return job_api.output(request, made)

    again = functools.partial(_campaign_page, request)
    return await _from_upload(request, "antigen assay previous", start, again)


def _campaign_page(request: Request, **form: Any) -> Response:
    jobs = [job for job in request.app.state.store.jobs() if job.kind == "adapt"]
    return form_page(request, "campaign.html", campaigns=[_summary(job) for job in jobs], **form)


@router.post("/jobs/{job_id}/suggest")
async def suggest(request: Request, job_id: str) -> Response:
    """Start to design the next plate of a campaign."""
    values = await form_of(request, "batch candidates regions")
    if not values["batch"].isdecimal() or not 1 <= int(values["batch"][:9]) <= 2_000:
        raise Refusal(422, "invalid", "the number of antibodies is from 1 to 2,000")
    wanted = job_api.SuggestInput(
        campaign=job_id,
        batch=int(values["batch"]),
        candidates=values["candidates"] or "all",
        regions=values["regions"] or None,
    )
    return _job_of(await job_api.suggest(request, wanted))


# -- libraries


@router.get("/screen")
async def screen_form(request: Request) -> Response:
    """Ask for a library."""
    return form_page(request, "screen.html", {"top": "1000"})


@router.post("/screen")
async def screen(request: Request) -> Response:
    """Start to screen it."""

    async def start(tables: Any, values: Mapping[str, str]) -> job_api.JobOutput:
        (library, *_), top = tables, values["top"] or "1000"
        name = values["model"] or model_choices(request)[0][0]
        model = await served_model(request, name)
        problems = {}
        if not {"heavy", "mutations"} & set(library.recognised):
            problems["table"] = (
                f"{library.name} has no column of heavy chains; name the column heavy, "
                "or upload a FASTA file."
            )
        if not values["antigen"] and model.predictor.default_antigen is None:
            problems["antigen"] = "Paste the antigen's residues, or a FASTA of several antigens."
        if not top.isdecimal() or not 1 <= int(top[:9]) <= job_api.MOST_HITS:
            problems["top"] = f"The number of hits is from 1 to {job_api.MOST_HITS:,}."
        if len(values["antigen"]) > MAX_ANTIGEN:
            problems["antigen"] = f"At most {MAX_ANTIGEN:,} characters are read."
        if not problems:
            try:
                antigens_of(values["antigen"])
            except InputError as error:
                problems["antigen"] = str(error)
        if problems:
            raise Refusal(422, "invalid", "; ".join(problems.values()), problems)
        wanted = job_api.ScreenInput(
            table=library.id, model=name, antigen=values["antigen"] or None, top=int(top)
        )
        return await job_api.screen(request, wanted)

    again = functools.partial(form_page, request, "screen.html")
    return await _from_upload(request, "antigen top model", start, again)


# -- evaluations


@router.get("/evaluate")
async def evaluate_form(request: Request) -> Response:
    """Ask for predictions."""
    return form_page(request, "evaluate.html")


@router.post("/evaluate")
async def evaluate(request: Request) -> Response:
    """Start to judge or compare them."""

    async def start(tables: Any, values: Mapping[str, str]) -> job_api.JobOutput:
        wanted = job_api.EvaluateInput(
            tables=[table.id for table in tables],
            **{name: text[:500] or None for name, text in values.items()},  # type: ignore[arg-type]
        )
        return await job_api.evaluate(request, wanted)

    again = functools.partial(form_page, request, "evaluate.html")
    return await _from_upload(request, "true pred group", start, again)


# -- models


@router.get("/models")
async def models(request: Request) -> Response:
    """The models that can be asked."""
    return page(request, "models.html", models=model_choices(request), card=None)


@router.get("/models/{name}")
async def card(request: Request, name: str) -> Response:
    """A model's card. Its Markdown holds no HTML that would be shown as such."""
    model = await served_model(request, name)
    text = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link"])
    html = text.render(model.predictor.bundle.card or "This model has no card.")
    scrolling = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
    html = html.replace("<table>", scrolling).replace("</table>", "</table></div>")
    shown = Markup(html)
    return page(request, "models.html", models=[], card=shown)


# -- jobs


@router.get("/jobs")
async def jobs(request: Request) -> Response:
    """The newest jobs."""
    state = request.app.state
    listed = [_summary(job) for job in state.store.jobs()]
    return page(request, "jobs.html", jobs=listed, days=f"{state.settings.limits.job_days:g}")


@router.get("/jobs/{job_id}")
async def job_page(
    request: Request, job_id: str, sort: str = "", order: str = "desc", page_number: int = 1
) -> Response:
    """A job: how far it is, or what has come out."""
    state = request.app.state
    job = state.store.job(job_id)
    text, share = "waits for its turn", None
    if (progress := state.runner.progress.get(job.id)) is not None:
        text = progress.stage
        if progress.total > 1:
            share = round(100 * progress.done / progress.total)
            text += f": {progress.done:,} of {progress.total:,}"
        if progress.eta_seconds is not None:
            text += f", about {_duration(progress.eta_seconds)} left"
    told = _summary(job) | {
        "progress_text": text,
        "share": share,
        "is_going": job.state in ("queued", "running"),
        "took": _duration((job.finished or 0) - (job.started or 0)),
    }
    result: dict[str, Any] = {"notes": [], **state.store.result(job)}
    about: dict[str, Any] = {"result": defaultdict(str, result)}
    if job.state == "finished":
        number = request.query_params.get("page", "1")
        number = int(number[:9]) if number.isdecimal() else 1
        about |= await asyncio.to_thread(_shown, request, job, result, (sort, order, number))
    files = [
        {**one, "size": _size(one["bytes"])}
        for one in result.get("files", ())
        if not re.search(r"\.svg$|heat_map_.\.json$", one["name"])
    ]
    names = {one["name"] for one in result.get("files", ())}
    about |= {"files": files, "names": names, "problems": defaultdict(str)}
    answer = page(request, "job.html", job=told, values=defaultdict(str), **about)
    if job.kind == "scan":  # Plotly writes attributes of style; scripts stay as strict as elsewhere
        policy = SECURITY_HEADERS["content-security-policy"]
        answer.headers["content-security-policy"] = policy + "; style-src-attr 'unsafe-inline'"
    return answer


@router.post("/jobs/{job_id}/end")
async def end_job(request: Request, job_id: str) -> Response:
    """End a job, or delete what it has left."""
    state = request.app.state
    state.runner.cancel(state.store.job(job_id))
    return RedirectResponse("/jobs", 303)


@router.get("/jobs/{job_id}/files/{name:path}")
async def result_file(request: Request, job_id: str, name: str) -> Response:
    """A file to keep."""
    return job_api.send_file(request, job_id, name)


@router.get("/jobs/{job_id}/show/{name:path}")
async def shown_file(request: Request, job_id: str, name: str) -> Response:
    """A picture or a report to look at."""
    return job_api.send_file(request, job_id, name, is_shown=name.endswith((".png", ".html")))


def _summary(job: Job) -> dict[str, Any]:
    names = job.parameters.get("names", [])
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    title = _TITLES[job.kind].format(", ".join(names) or "a table")
    told = {"id": job.id, "kind": job.kind, "state": job.state, "error": job.error}
    again = _AGAIN.get(job.kind, "/campaign")
    return {**told, "names": names, "title": title, "when": when, "again": again}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"


def _shown(
    request: Request, job: Job, result: Mapping[str, Any], looks: tuple[str, str, int]
) -> dict[str, Any]:
    """What the page of a finished job shows besides its result."""
    store = request.app.state.store
    if job.kind == "predict":
        path = store.result_file(job, "predictions.parquet")
        return {"shown": _prediction_rows(path, result, *looks)}
    if job.kind == "scan":
        variants = pl.read_parquet(store.result_file(job, "scan.parquet"))
        return {"scan": _scan_summary(variants, result, job)}
    if job.kind == "suggest":
        frame = pl.read_parquet(store.result_file(job, "next.parquet"))
        return {"plate": _plate(frame, result, job)}
    if job.kind == "screen":
        hits = pl.scan_csv(store.result_file(job, "hits/hits.csv"), infer_schema_length=None)
        return {"hits": _hits(hits.filter(pl.col("rank") <= ROWS_SHOWN).collect())}
    return {}


def _prediction_rows(
    path: Any, result: Mapping[str, Any], sort: str, order: str, number: int
) -> dict[str, Any]:
    """One page of predictions, sorted."""
    label = result["label"]
    lazy = pl.scan_parquet(path)
    there = lazy.collect_schema().names()
    titles = {
        "id": "id",
        label: "pKd" if label == "pkd" else "score",
        f"{label}_low": "low",
        f"{label}_high": "high",
        "kd_nM": "Kd",
        "p_strong": "P(strong)",
        f"delta_{label}": "Δ",
        "p_stronger": "P(stronger)",
        "domain": "domain",
        "note": "note",
        "error": "error",
    }
    if label != "pkd":
        titles.pop("kd_nM")
        titles.pop("p_strong")
    columns = [name for name in titles if name in there]
    descending = order != "asc"
    chosen = lazy.select(columns)
    if sort in columns:
        chosen = chosen.sort(sort, descending=descending, nulls_last=True, maintain_order=True)
    start = ROWS_SHOWN * (max(1, number) - 1)
    frame = chosen.slice(start, ROWS_SHOWN).collect()
    empty = {name for name in ("error", "note") if frame[name].null_count() == frame.height}
    columns = [name for name in columns if name not in empty]
    rows = [[_cell(name, row[name]) for name in columns] for row in frame.iter_rows(named=True)]
    numbers = {name for name in columns if frame.schema[name].is_float()}
    return {
        "columns": [
            {"name": name, "title": titles[name], "look": "number" if name in numbers else ""}
            for name in columns
        ],
        "rows": rows,
        "sort": sort,
        "descending": descending,
        "page": max(1, number),
        "first": start + 1 if frame.height else 0,
        "last": start + frame.height,
        "before": start > 0,
        "after": start + frame.height < result["rows"],
    }


def _range(low: float, high: float, digits: str) -> str:
    return f"{low:{digits}}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{high:{digits}}"


def _cell(name: str, value: Any) -> dict[str, str]:
    if value is None:
        return {"text": "", "look": "", "badge": ""}
    if name == "kd_nM":
        text = kd_text(value).replace(" ", "\N{NO-BREAK SPACE}")
        return {"text": text, "look": "number", "badge": ""}
    if isinstance(value, float):
        return {"text": f"{value:.2f}", "look": "number", "badge": ""}
    return {"text": str(value), "look": "", "badge": value if name == "domain" else ""}


def _scan_summary(variants: pl.DataFrame, result: Mapping[str, Any], job: Job) -> dict[str, Any]:
    delta, low, high = (f"delta_{result['unit']}{end}" for end in ("", "_low", "_high"))
    parent, title = result["parent"], "pKd" if result["unit"] == "pkd" else "score"
    best = variants.drop_nulls(delta).sort(delta, descending=True).head(20)
    rows = [
        [
            row["mutations"],
            row["mutations_imgt"],
            row["region"] or "",
            f"{row[delta]:+.2f}",
            _range(row[low], row[high], "+.2f"),
            f"{row['p_stronger']:.2f}",
            row["liabilities_gained"] or "",
        ]
        for row in best.iter_rows(named=True)
    ]
    header = ["mutations", "IMGT", "region", f"Δ{title}", "interval", "P(stronger)", "liabilities"]
    present = set(variants["chain"].drop_nulls().to_list())
    variant = {
        "heavy": result["chains"]["heavy"],
        "light": result["chains"].get("light") or "",
        "antigen": result["antigen"],
        "model": job.parameters["model"],
    }
    return {
        "parent": f"{title} {parent['value']:.2f} ({parent['low']:.2f} to {parent['high']:.2f})",
        "chains": [(chain, name) for chain, name in _CHAINS.items() if chain in present],
        "header": header,
        "best": rows,
        "variant": variant,
    }


def _hits(frame: pl.DataFrame) -> dict[str, Any]:
    """The best of a screen against each antigen, as rows to show."""
    label, title = ("pkd", "pKd") if "pkd" in frame.columns else ("score", "score")
    shown = {
        "rank": "rank",
        "id": "id",
        label: title,
        f"{label}_low": "low",
        f"{label}_high": "high",
        "kd_nM": "Kd",
        "p_strong": "P(strong)",
        "domain": "domain",
        "cdr_h3": "CDR-H3",
        "liabilities": "liabilities",
    }
    there = [name for name in shown if name in frame and frame[name].null_count() < frame.height]
    antigens = [
        (
            name,
            [
                [_cell(column, row[column])["text"] for column in there]
                for row in frame.filter(pl.col("antigen") == name).iter_rows(named=True)
            ],
        )
        for name in frame["antigen"].unique(maintain_order=True)
    ]
    return {"header": [shown[name] for name in there], "antigens": antigens}


def _plate(frame: pl.DataFrame, result: Mapping[str, Any], job: Job) -> dict[str, Any]:
    label = result["label"]
    title = "pKd" if label == "pkd" else "score"
    rows = [
        [
            row["rank"],
            row["mutations"],
            f"{row[f'predicted_{label}']:.2f}",
            _range(row[f"predicted_{label}_low"], row[f"predicted_{label}_high"], ".2f"),
            f"{row['p_beats_best']:.2f}",
            row["reason"],
        ]
        for row in frame.head(200).iter_rows(named=True)
    ]
    return {
        "header": ["rank", "mutations", title, "interval", "P(above best)", "why"],
        "rows": rows,
        "beating": "hardly one of them is"
        if result["beating"] < 0.5
        else f"about {result['beating']:.1f} of them are",
        "best": f"{result['best']['value']:.3g}",
        "campaign": job.parameters["campaign"],
    }
