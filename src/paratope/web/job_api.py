"""The API of tables and jobs: what takes longer than a request."""

import asyncio
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field

from paratope.core.errors import InputError
from paratope.data.tables import match_columns, read_frame
from paratope.models.calibration import check_options
from paratope.molecules.mutations import parse_regions
from paratope.web.api import Coverage, ModelName, Shape, model_source, problems
from paratope.web.jobs import Job, Table, checked_columns
from paratope.web.protection import Refusal
from paratope.web.settings import MAX_ANTIGEN, MAX_CHAIN, MAX_ID
from paratope.web.work import antigens_of

TableId = Annotated[str, Field(max_length=40, description="Of POST /v1/tables.")]
Columns = Annotated[
    dict[Annotated[str, Field(max_length=50)], Annotated[str, Field(max_length=500)]],
    Field(max_length=50, description='Names of your columns: {"heavy": "VH"}.'),
]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Residues = Annotated[str, Field(max_length=MAX_ANTIGEN)]
Name = Annotated[str, Field(max_length=500)]
MOST_HITS = 100_000  # of a screen, against each antigen


class PredictTableInput(Shape):
    """`paratope predict` of a table."""

    table: TableId
    model: ModelName = "default"
    columns: Columns = {}
    antigen: Residues | None = None
    parent: Annotated[str | None, Field(max_length=MAX_ID)] = None
    coverage: Coverage = 0.9
    strong_threshold_pkd: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False)] = 9.0


class ScanInput(Shape):
    """`paratope scan`."""

    heavy: Annotated[str, Field(max_length=MAX_CHAIN, min_length=1)]
    light: Annotated[str | None, Field(max_length=MAX_CHAIN)] = None
    antigen: Residues | None = None
    model: ModelName = "default"
    regions: Annotated[str | None, Field(max_length=200, description="CDR, H3, FR, …")] = None
    alanine: bool = False
    thorough: bool = False
    combine: Annotated[str | None, Field(max_length=1_000, description="H:S31A,L:T93Y")] = None
    max_mutations: Annotated[int, Field(ge=1, le=5)] = 3
    coverage: Coverage = 0.9


class AdaptInput(Shape):
    """`paratope adapt`."""

    tables: Annotated[list[TableId], Field(min_length=1, max_length=20)]
    columns: Columns = {}
    antigen: Residues | None = None
    assay: Annotated[str | None, Field(max_length=MAX_ID)] = None
    report: bool = True
    seed: Seed = 0


class SuggestInput(Shape):
    """`paratope suggest`."""

    campaign: Annotated[str, Field(max_length=100, description="Id of a finished adapt job.")]
    batch: Annotated[int, Field(ge=1, le=2_000)] = 96
    candidates: Annotated[
        str,
        Field(
            max_length=200,
            pattern="^[a-z0-9:, ]+$",  # never the name of a file
            description="single, double:3000, …, all; or give a table.",
        ),
    ] = "all"
    table: TableId | None = None
    regions: Annotated[str | None, Field(max_length=200)] = None
    max_mutations: Annotated[int | None, Field(ge=1, le=50)] = None
    parent: Annotated[str | None, Field(max_length=MAX_ID)] = None
    explore: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    min_distance: Annotated[int, Field(ge=1, le=50)] = 1
    seed: Seed = 0


class ScreenInput(Shape):
    """`paratope screen` of a library, as a table or FASTA."""

    table: TableId
    model: ModelName = "default"
    columns: Columns = {}
    antigen: Annotated[
        str | None,
        Field(max_length=MAX_ANTIGEN, description="Its residues, or the FASTA of several."),
    ] = None
    top: Annotated[int, Field(ge=1, le=MOST_HITS, description="Hits against each.")] = 1000
    recall: Annotated[float, Field(ge=0.5, le=0.999, allow_inf_nan=False)] = 0.95
    coverage: Coverage = 0.9


class EvaluateInput(Shape):
    """`paratope evaluate` of one table, `paratope compare` of several."""

    tables: Annotated[list[TableId], Field(min_length=1, max_length=10)]
    true: Name | None = None
    pred: Name | None = None
    group: Name | None = None
    seed: Seed = 0


class TableOutput(Shape):
    """An uploaded table."""

    id: str
    name: str
    bytes: int
    columns: list[str]
    recognised: dict[str, str] = Field(description="What a column is taken for: its name here.")


class FileOutput(Shape):
    """A file of results."""

    name: str
    bytes: int
    url: str


class ProgressOutput(Shape):
    """How far a job is."""

    stage: str
    done: int
    total: int
    eta_seconds: float | None


class JobOutput(Shape):
    """A job, and its results once it has finished."""

    id: str
    kind: str
    state: Literal["queued", "running", "finished", "failed", "cancelled"]
    created: float
    started: float | None
    finished: float | None
    progress: ProgressOutput | None
    error: str | None
    files: list[FileOutput]
    result: dict[str, Any]


class JobsOutput(Shape):
    """The newest jobs."""

    jobs: list[JobOutput]


router = APIRouter(prefix="/v1", tags=["jobs"])
JOB = problems(404, 413, 422, 429)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/tables", status_code=201, responses=JOB, openapi_extra=_BODY)
async def upload(
    request: Request,
    name: Annotated[str, Query(max_length=200, description="Its file name, for the kind of file.")],
) -> TableOutput:
    """Upload a table as the body (CSV, TSV, Parquet, XLSX, FASTA), streamed to disk."""
    table = await request.app.state.store.add_table(name, request.stream())
    return await table_output(request, table)


async def table_output(request: Request, table: Table) -> TableOutput:
    """A table as the API tells it; one that cannot be read is removed again."""
    store = request.app.state.store
    try:
        names, recognised = await asyncio.to_thread(head_of, store.table_path(table), table)
    except InputError as error:
        store.remove_table(table)
        words = str(error).replace(str(store.table_path(table)), table.name)
        raise Refusal(422, "unreadable", words, {"table": words}) from None
    return TableOutput(
        id=table.id, name=table.name, bytes=table.bytes, columns=names, recognised=recognised
    )


def head_of(path: Any, table: Table) -> tuple[list[str], dict[str, str]]:
    """Columns of a table, and what they are taken for."""
    if table.suffix in (".fasta", ".fa"):
        return ["heavy", "light"], {"heavy": "heavy", "light": "light"}
    frame = read_frame(path).frame
    return list(frame.columns), match_columns(frame.columns)


@router.delete("/tables/{table_id}", status_code=204, responses=problems(404, 422))
async def delete_table(request: Request, table_id: str) -> Response:
    """Remove a table; jobs that have taken it keep theirs."""
    store = request.app.state.store
    store.remove_table(store.table(table_id))
    return Response(status_code=204)


@router.post("/predict-table", status_code=202, responses=JOB)
async def predict_table(request: Request, wanted: PredictTableInput) -> JobOutput:
    """Predict every row of a table, as a job."""
    check_options(wanted.coverage, wanted.strong_threshold_pkd)
    parameters = wanted.model_dump(exclude={"table"}) | {
        "columns": checked_columns(wanted.columns),
        "source": model_source(request, wanted.model),
    }
    return start(request, "predict", parameters, [wanted.table])


@router.post("/scan", status_code=202, responses=JOB)
async def scan(request: Request, wanted: ScanInput) -> JobOutput:
    """Predict every mutant of an antibody, as a job."""
    if wanted.regions:
        parse_regions(wanted.regions)
    if wanted.combine and (wanted.alanine or wanted.regions):
        raise InputError("combine takes neither alanine nor regions; give one of them")
    parameters = wanted.model_dump() | {"source": model_source(request, wanted.model)}
    return start(request, "scan", parameters)


@router.post("/adapt", status_code=202, responses=JOB)
async def adapt(request: Request, wanted: AdaptInput) -> JobOutput:
    """Learn from a campaign's measurements, as a job; its id is then the name of a model."""
    parameters = wanted.model_dump(exclude={"tables"})
    parameters["columns"] = checked_columns(wanted.columns)
    return start(request, "adapt", parameters, wanted.tables)


@router.post("/suggest", status_code=202, responses=JOB)
async def suggest(request: Request, wanted: SuggestInput) -> JobOutput:
    """Design the next plate of a campaign, as a job."""
    await asyncio.to_thread(_check_generators, wanted.candidates)
    parameters = wanted.model_dump(exclude={"table"})
    parameters["source"] = model_source(request, wanted.campaign)
    return start(request, "suggest", parameters, [wanted.table] if wanted.table else [])


def _check_generators(candidates: str) -> None:
    # takes seconds, which neither a start nor the other requests wait for
    from paratope.campaigns.suggestion.candidates import parse_generators

    parse_generators(candidates)


@router.post("/screen", status_code=202, responses=JOB)
async def screen(request: Request, wanted: ScreenInput) -> JobOutput:
    """Keep the best of a library, as a job."""
    antigens_of(wanted.antigen or "")
    parameters = wanted.model_dump(exclude={"table"}) | {
        "columns": checked_columns(wanted.columns),
        "source": model_source(request, wanted.model),
    }
    return start(request, "screen", parameters, [wanted.table])


@router.post("/evaluate", status_code=202, responses=JOB)
async def evaluate(request: Request, wanted: EvaluateInput) -> JobOutput:
    """Evaluate a table of measured and predicted values, or compare several, as a job."""
    return start(request, "evaluate", wanted.model_dump(exclude={"tables"}), wanted.tables)


@router.get("/jobs", responses=problems())
async def list_jobs(request: Request) -> JobsOutput:
    """The newest hundred jobs."""
    return JobsOutput(jobs=[output(request, job) for job in request.app.state.store.jobs()])


@router.get("/jobs/{job_id}", responses=problems(404, 422))
async def job(request: Request, job_id: str) -> JobOutput:
    """A job's state, progress and results."""
    return output(request, request.app.state.store.job(job_id))


@router.delete("/jobs/{job_id}", status_code=204, responses=problems(404, 422))
async def delete_job(request: Request, job_id: str) -> Response:
    """End a job that waits or runs; remove the results of one that has ended."""
    state = request.app.state
    state.runner.cancel(state.store.job(job_id))
    return Response(status_code=204)


_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The file."}
}


@router.get(
    "/jobs/{job_id}/files/{name:path}",
    response_class=FileResponse,
    responses=problems(404, 422) | _FILE,
)
async def job_file(request: Request, job_id: str, name: str) -> Response:
    """A file of a job's results."""
    return send_file(request, job_id, name)


_MEDIA = {".csv": "text/csv; charset=utf-8", ".png": "image/png", ".html": "text/html"}
# for a report, whose style stands in the page: nothing in it runs, wherever it is opened
_REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)


def send_file(request: Request, job_id: str, name: str, is_shown: bool = False) -> Response:
    """A file of results, to be kept or (pictures, reports) shown."""
    store = request.app.state.store
    path = store.result_file(store.job(job_id), name)
    media = _MEDIA.get(path.suffix, "application/octet-stream")
    if not is_shown:
        return FileResponse(
            path,
            media_type=media.replace("text/html", "application/octet-stream"),
            filename=path.name,
        )
    answer = FileResponse(path, media_type=media)
    if path.suffix == ".html":
        answer.headers["content-security-policy"] = _REPORT_POLICY
        answer.headers["x-frame-options"] = "SAMEORIGIN"
    return answer


def start(request: Request, kind: str, parameters: dict[str, Any], tables: Any = ()) -> JobOutput:
    """Queue a job."""
    state = request.app.state
    given = [state.store.table(table_id) for table_id in tables]
    parameters = {**parameters, "names": [table.name for table in given]}
    paths = [state.store.table_path(table) for table in given]
    made = state.store.add_job(kind, parameters, paths)
    state.runner.wake()
    return output(request, made)


def output(request: Request, job: Job) -> JobOutput:
    """A job as the API tells it."""
    state = request.app.state
    told = dict(state.store.result(job)) if job.state == "finished" else {}
    progress = state.runner.progress.get(job.id)
    files = [
        FileOutput(**one, url=f"/v1/jobs/{job.id}/files/{quote(one['name'])}")
        for one in told.pop("files", ())
    ]
    eta = None if progress is None else progress.eta_seconds
    return JobOutput(
        id=job.id,
        kind=job.kind,
        state=job.state,  # type: ignore[arg-type]
        created=job.created,
        started=job.started,
        finished=job.finished,
        progress=None
        if progress is None
        else ProgressOutput(
            stage=progress.stage, done=progress.done, total=progress.total, eta_seconds=eta
        ),
        error=job.error or None,
        files=files,
        result=told,
    )
