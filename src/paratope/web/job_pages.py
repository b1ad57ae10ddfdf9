"""Pages of what takes longer than a request: tables, scans, campaigns, evaluations; models' cards.

Each is a form that starts a job of `paratope.web.job_api`, and the page of that job.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from importlib import resources
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, RedirectResponse, Response

from paratope.campaigns.scanning.columns import value_columns
from paratope.core.errors import InputError, ParatopeError
from paratope.core.files import plain
from paratope.core.units import kd_text
from paratope.evaluation.figures.scans import RESIDUE_ORDER, colour_scale
from paratope.molecules.mutations import chain_domain, parse_regions
from paratope.molecules.sequences import Antibody
from paratope.web import job_api
from paratope.web.api import model_choices, served_model
from paratope.web.jobs import Job
from paratope.web.pages import EXAMPLES, form_of, missing_chains, page, residues_of
from paratope.web.protection import SECURITY_HEADERS, Refusal

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
_AGAIN = {"predict": "/table", "scan": "/scan", "evaluate": "/evaluate"}
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
        (table, *_), _ = await _uploads(request)
    except Refusal as error:
        return _table_page(request, {"table": str(error.detail)}, error.status_code)
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
            made = await job_api.predict_table(
                request,
                job_api.PredictTableInput(
                    table=table_id,
                    model=values["model"] or "default",
                    columns={name: column for name, column in chosen.items() if column},
                    antigen=residues_of(values["antigen"], "|") or None,
                    parent=values["parent"] or None,
                ),
            )
            return RedirectResponse(f"/jobs/{made.id}", 303)
        except (ParatopeError, Refusal, ValueError) as error:
            problems["form"] = _words(error)
    return _table_page(request, problems, 422, table, chosen, values)


def _table_page(
    request: Request,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
    table: Any = None,
    chosen: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
) -> Response:
    return page(
        request,
        "table.html",
        status,
        table=table,
        mapped=MAPPED.items(),
        chosen=defaultdict(str, chosen or {}),
        problems=defaultdict(str, problems or {}),
        values=defaultdict(str, values or {}),
        models=model_choices(request),
        most_mb=f"{request.app.state.settings.limits.table_bytes / 1e6:g}",
    )


async def _uploads(request: Request, names: str = "") -> tuple[list[Any], dict[str, str]]:
    """Tables that a form holds, kept, and its other fields; refuses a form without any."""
    tables = []
    async with request.form(max_files=20, max_fields=100, max_part_size=1_000_000) as form:
        files = [one for one in form.getlist("table") if isinstance(one, UploadFile) and one.filename]  # fmt: skip  # noqa: E501
        if not files:
            raise Refusal(422, "no_table", "Choose a file.", {"table": "Choose a file."})
        values = {name: str(form.get(name, "")).strip() for name in names.split()}
        for file in files:
            table = await request.app.state.store.add_table(file.filename or "", _chunks(file))
            await job_api.table_output(request, table)  # refuses what cannot be read
            tables.append(table)
    return tables, values


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(1 << 20):
        yield chunk


def _words(error: Exception) -> str:
    return str(error.detail) if isinstance(error, Refusal) else str(error)


# -- scans


@router.get("/scan")
async def scan_form(request: Request, example: int = 0) -> Response:
    """Ask for an antibody."""
    values: dict[str, str] = defaultdict(str, regions="CDR")
    if 0 < example <= len(EXAMPLES):
        values |= {name: EXAMPLES[example - 1][name] for name in ("heavy", "light", "antigen")}
    return _scan_page(request, values)


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
            made = await job_api.scan(request, wanted)
            return RedirectResponse(f"/jobs/{made.id}", 303)
        from paratope.web.pages import field_of, plain_error

        problems[field_of(read.error)] = plain_error(read.error)
    return _scan_page(request, values, problems, 422)


def _scan_page(
    request: Request,
    values: Mapping[str, str],
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    about = {"examples": EXAMPLES, "models": model_choices(request)}
    problems = defaultdict(str, problems or {})
    return page(request, "scan.html", status, values=values, problems=problems, **about)


@router.get("/jobs/{job_id}/heat-map")
async def heat_map(request: Request, job_id: str, chain: str = "H") -> Response:
    """A scan's heat map as Plotly takes it."""
    store = request.app.state.store
    job = store.job(job_id)
    result = store.result(job)
    if job.kind != "scan" or chain not in _CHAINS or not result:
        raise Refusal(404, "no_such_figure", "there is no such figure")
    path = store.result_file(job, "scan.parquet")
    return JSONResponse(await asyncio.to_thread(figure_of, pl.read_parquet(path), result, chain))


def figure_of(variants: pl.DataFrame, result: Mapping[str, Any], chain: str) -> dict[str, Any]:
    """Data and layout of a heat map: residues by positions, CDRs framed, the parent's dotted."""
    parent = Antibody(result["chains"]["heavy"], result["chains"].get("light"))
    domain = chain_domain(parent, chain)
    delta, low, high = value_columns(result["unit"])[3:6]
    rows = variants.filter(pl.col("chain") == chain)
    sites = sorted(set(rows["position"].to_list()))
    at = {position: index for index, position in enumerate(sites)}
    z: list[list[Any]] = [[None] * len(sites) for _ in RESIDUE_ORDER]
    texts = [[""] * len(sites) for _ in RESIDUE_ORDER]
    mutations = [[""] * len(sites) for _ in RESIDUE_ORDER]
    label = "ΔpKd" if result["unit"] == "pkd" else "Δscore"
    for row in rows.iter_rows(named=True):
        y, x = RESIDUE_ORDER.index(row["mutant"]), at[row["position"]]
        z[y][x], mutations[y][x] = row[delta], row["mutations"]
        if row[delta] is not None:
            lines = [
                f"<b>{row['mutations']}</b> ({row['imgt']}, {row['region']})",
                f"{label} {row[delta]:+.2f} ({row[low]:+.2f} to {row[high]:+.2f})",
                f"stronger with probability {row['p_stronger']:.2f}",
            ]
            if row["liabilities_gained"]:
                lines.append(f"new liability: {row['liabilities_gained']}")
            texts[y][x] = "<br>".join(lines)
    bound = colour_scale(variants[delta].to_numpy())
    names = [f"{domain.residues[p - 1]}{domain.positions[p - 1]}" for p in sites]
    heat = {
        "type": "heatmap",
        "z": z,
        "text": texts,
        "customdata": mutations,
        "hovertemplate": "%{text}<extra></extra>",
        "y": list(RESIDUE_ORDER),
        "x": list(range(len(sites))),
        "zmid": 0,
        "zmin": -bound,
        "zmax": bound,
        "colorscale": [[0, "#b2182b"], [0.25, "#f4a582"], [0.5, "#f7f7f7"], [0.75, "#92c5de"],
                       [1, "#2166ac"]],
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": {"title": {"text": label}, "thickness": 12},
    }  # fmt: skip
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": list(range(len(sites))),
        "y": [domain.residues[p - 1] for p in sites],
        "marker": {"size": 5, "color": "#14202e"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    shapes, notes = _frames([domain.regions[p - 1] for p in sites])
    width = max(360, 18 * len(sites) + 130)
    axis = {"tickmode": "array", "tickvals": heat["x"], "ticktext": names, "tickangle": -90}
    layout = {
        "width": width,
        "height": 480,
        "margin": {"l": 32, "r": 10, "t": 34, "b": 64},
        "xaxis": {**axis, "tickfont": {"size": 10}, "showgrid": False, "zeroline": False,
                  "fixedrange": True, "range": [-0.5, len(sites) - 0.5]},
        "yaxis": {"autorange": "reversed", "showgrid": False, "fixedrange": True,
                  "tickfont": {"family": "monospace", "size": 12}, "dtick": 1, "type": "category",
                  "categoryorder": "array", "categoryarray": list(RESIDUE_ORDER)},
        "shapes": shapes,
        "annotations": notes,
        "plot_bgcolor": "#e5e7eb",
        "hovermode": "closest",
        "dragmode": False,
    }  # fmt: skip
    return plain({"data": [heat, dots], "layout": layout})


def _frames(regions: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Borders of the CDRs, and their names above."""
    from paratope.evaluation.figures.campaigns import region_runs

    shapes, notes = [], []
    for start, stop, region in region_runs(regions):
        if not region.startswith("CDR"):
            continue
        ends = {"x0": start - 0.5, "x1": stop - 0.5, "y0": -0.5, "y1": len(RESIDUE_ORDER) - 0.5}
        line = {"color": "#14202e", "width": 1.5}
        shapes.append({"type": "rect", **ends, "line": line, "fillcolor": "rgba(0,0,0,0)"})
        middle = (start + stop - 1) / 2
        notes.append({"x": middle, "y": 1.0, "yref": "paper", "yanchor": "bottom", "text": region,
                      "showarrow": False})  # fmt: skip
    return shapes, notes


# -- campaigns


@router.get("/campaign")
async def campaign_form(request: Request) -> Response:
    """Ask for measurements."""
    return _campaign_page(request)


@router.post("/campaign")
async def adapt(request: Request) -> Response:
    """Start to learn, from a new plate and those that a campaign has learned from before."""
    try:
        tables, values = await _uploads(request, "antigen assay previous")
    except Refusal as error:
        return _campaign_page(request, {"table": str(error.detail)}, error.status_code)
    state = request.app.state
    parameters = {"antigen": residues_of(values["antigen"], "|"), "assay": values["assay"]}
    paths = [state.store.table_path(table) for table in tables]
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
    return RedirectResponse(f"/jobs/{made.id}", 303)


def _campaign_page(
    request: Request, problems: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    jobs = [job for job in request.app.state.store.jobs() if job.kind == "adapt"]
    problems, values = defaultdict(str, problems or {}), defaultdict(str)
    campaigns = [_summary(job) for job in jobs]
    return page(
        request, "campaign.html", status, problems=problems, values=values, campaigns=campaigns
    )


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
    made = await job_api.suggest(request, wanted)
    return RedirectResponse(f"/jobs/{made.id}", 303)


# -- evaluations


@router.get("/evaluate")
async def evaluate_form(request: Request) -> Response:
    """Ask for predictions."""
    return _evaluate_page(request)


@router.post("/evaluate")
async def evaluate(request: Request) -> Response:
    """Start to judge or compare them."""
    try:
        tables, values = await _uploads(request, "true pred group")
    except Refusal as error:
        return _evaluate_page(request, {"table": str(error.detail)}, error.status_code)
    wanted = job_api.EvaluateInput(
        tables=[table.id for table in tables],
        **{name: text[:500] or None for name, text in values.items()},  # type: ignore[arg-type]
    )
    made = await job_api.evaluate(request, wanted)
    return RedirectResponse(f"/jobs/{made.id}", 303)


def _evaluate_page(
    request: Request, problems: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    about = {"problems": defaultdict(str, problems or {}), "values": defaultdict(str)}
    return page(request, "evaluate.html", status, **about)


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
    told = _summary(job) | _progress(request, job)
    result: dict[str, Any] = {"notes": [], **state.store.result(job)}
    about: dict[str, Any] = {"result": defaultdict(str, result)}
    if job.state == "finished":
        number = request.query_params.get("page", "1")
        number = int(number[:9]) if number.isdecimal() else 1
        about |= await asyncio.to_thread(_shown, request, job, result, (sort, order, number))
    files = [
        {**one, "size": _size(one["bytes"])}
        for one in result.get("files", ())
        if not one["name"].endswith((".svg", "html"))
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


def _progress(request: Request, job: Job) -> dict[str, Any]:
    progress = request.app.state.runner.progress.get(job.id)
    text, share = "waits for its turn", None
    if progress is not None:
        text = progress.stage
        if progress.total > 1:
            share = round(100 * progress.done / progress.total)
            text += f": {progress.done:,} of {progress.total:,}"
        if progress.eta_seconds is not None:
            text += f", about {_duration(progress.eta_seconds)} left"
    took = _duration((job.finished or 0) - (job.started or 0))
    is_going = job.state in ("queued", "running")
    return {"progress_text": text, "share": share, "is_going": is_going, "took": took}


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
    return {}


def _prediction_rows(
    path: Any, result: Mapping[str, Any], sort: str, order: str, number: int
) -> dict[str, Any]:
    """One page of predictions, sorted."""
    label = result["label"]
    lazy = pl.scan_parquet(path)
    there = lazy.collect_schema().names()
    titles = {
        "id": "id", label: "pKd" if label == "pkd" else "score", f"{label}_low": "low",
        f"{label}_high": "high", "kd_nM": "Kd", "p_strong": "P(strong)", f"delta_{label}": "Δ",
        "p_stronger": "P(stronger)", "domain": "domain", "note": "note", "error": "error",
    }  # fmt: skip
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
        "columns": [{"name": name, "title": titles[name],
                     "look": "number" if name in numbers else ""} for name in columns],
        "rows": rows, "sort": sort, "descending": descending, "page": max(1, number),
        "first": start + 1 if frame.height else 0, "last": start + frame.height,
        "before": start > 0, "after": start + frame.height < result["rows"],
    }  # fmt: skip


def _cell(name: str, value: Any) -> dict[str, str]:
    if value is None:
        return {"text": "", "look": "", "badge": ""}
    if name == "kd_nM":
        return {"text": kd_text(value), "look": "number", "badge": ""}
    if isinstance(value, float):
        return {"text": f"{value:.2f}", "look": "number", "badge": ""}
    return {"text": str(value), "look": "", "badge": value if name == "domain" else ""}


def _scan_summary(variants: pl.DataFrame, result: Mapping[str, Any], job: Job) -> dict[str, Any]:
    delta, low, high = value_columns(result["unit"])[3:6]
    parent, title = result["parent"], "pKd" if result["unit"] == "pkd" else "score"
    best = variants.drop_nulls(delta).sort(delta, descending=True).head(20)
    rows = [
        [
            row["mutations"],
            row["mutations_imgt"],
            row["region"] or "",
            f"{row[delta]:+.2f}",
            f"{row[low]:+.2f} to {row[high]:+.2f}",
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


def _plate(frame: pl.DataFrame, result: Mapping[str, Any], job: Job) -> dict[str, Any]:
    label = result["label"]
    title = "pKd" if label == "pkd" else "score"
    rows = [
        [
            row["rank"],
            row["mutations"],
            f"{row[f'predicted_{label}']:.2f}",
            f"{row[f'predicted_{label}_low']:.2f} to {row[f'predicted_{label}_high']:.2f}",
            f"{row['p_beats_best']:.2f}",
            row["reason"],
        ]
        for row in frame.head(200).iter_rows(named=True)
    ]
    return {
        "header": ["rank", "mutations", title, "interval", "P(best)", "why"],
        "rows": rows,
        "beating": f"{result['beating']:.1f}",
        "best": f"{result['best']['value']:.3g}",
        "campaign": job.parameters["campaign"],
    }
