"""The API: ``/health``, ``/metrics`` and ``/v1``; its shapes are those of the command line."""

from typing import Annotated, Any, Literal

import pydantic
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from pydantic import Field

from paratope import __version__
from paratope.core.errors import unknown_name
from paratope.core.files import plain
from paratope.core.units import PKD_MAX_MEASURABLE, PKD_MIN_MEASURABLE, STRONG_PKD
from paratope.models.model import DEFAULT_COVERAGE
from paratope.models.prediction import Prediction
from paratope.models.predictor import Predictor
from paratope.web.predicting import FIRST_PAIR, Asked, ServedModel
from paratope.web.protection import Refusal
from paratope.web.settings import MAX_ANTIGEN, MAX_CHAIN, MAX_ID, Limits

ModelName = Annotated[
    str, Field(max_length=100, description="One of those that GET /v1/models lists.")
]
Coverage = Annotated[
    float, Field(ge=0.01, le=0.99, allow_inf_nan=False, description="Of the intervals.")
]
_OPEN_CAMPAIGNS = 3  # models of campaigns that stay open
_MAX_PAIRS = Limits().pairs
_EXAMPLE: dict[str, Any] = {"examples": [{"pairs": [FIRST_PAIR]}]}


class Shape(pydantic.BaseModel):
    """What is asked or answered; unknown fields are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", protected_namespaces=())


class PairInput(Shape):
    """One antibody and one antigen."""

    id: Annotated[str, Field(max_length=MAX_ID, description="Yours; default: the number.")] = ""
    heavy: Annotated[str, Field(max_length=MAX_CHAIN, description="Heavy chain, VHH or scFv.")]
    light: Annotated[
        str | None, Field(max_length=MAX_CHAIN, description="Its light chain; none for a VHH.")
    ] = None
    antigen: Annotated[
        str | None,
        Field(max_length=MAX_ANTIGEN, description="Its residues; several chains joined by |."),
    ] = None
    parent: Annotated[
        str | None,
        Field(max_length=MAX_ID, description="Id of the pair that this is a variant of."),
    ] = None
    mutations: Annotated[
        str | None,
        Field(max_length=2_000, description="H:S31A,L:T93Y of that parent; then heavy is empty."),
    ] = None
    parent_pkd: Annotated[
        float | None,
        Field(
            ge=PKD_MIN_MEASURABLE,
            le=PKD_MAX_MEASURABLE,
            allow_inf_nan=False,
            description="Measured pKd of that parent.",
        ),
    ] = None
    parent_is: Annotated[
        Literal["germline", "mature", "lead"] | None, Field(description="What the parent is.")
    ] = None
    epitope: Annotated[
        str | None,
        Field(max_length=2_000, description="Residues of the antigen: K93,D101 or 90-110."),
    ] = None

    def cells(self) -> dict[str, str]:
        """As the cells of a table's row."""
        given = self.model_dump(exclude_none=True)
        given["id"] = given["id"].strip()
        return {name: str(value) for name, value in given.items()}


class PredictInput(Shape):
    """Pairs to predict."""

    pairs: Annotated[list[PairInput], Field(min_length=1, max_length=_MAX_PAIRS)]
    model: ModelName = "default"
    parent: Annotated[
        str | None,
        Field(max_length=MAX_ID, description="Id of the pair to compare the others with."),
    ] = None
    coverage: Coverage = DEFAULT_COVERAGE
    strong_threshold_pkd: Annotated[
        float,
        Field(ge=0, le=20, allow_inf_nan=False, description="pKd from which a binder is strong."),
    ] = STRONG_PKD

    model_config = pydantic.ConfigDict(extra="forbid", json_schema_extra=_EXAMPLE)


class PredictionOutput(Shape):
    """One row: numbers, or an error."""

    id: str
    pkd: float | None = Field(None, description="-log10(Kd / M).")
    pkd_low: float | None = None
    pkd_high: float | None = None
    kd_nM: float | None = None
    p_strong: float | None = Field(None, description="Probability of a strong binder.")
    domain: Literal["in", "near", "out"] | None = Field(None, description="Applicability domain.")
    antigen_identity: float | None = Field(None, description="To the nearest known, 0 to 1.")
    antibody_identity: float | None = None
    note: str | None = None
    error: str | None = Field(None, description="Why this row has no numbers.")
    delta_pkd: float | None = Field(None, description="Against the parent.")
    delta_pkd_low: float | None = None
    delta_pkd_high: float | None = None
    p_stronger: float | None = None
    score: float | None = Field(None, description="Of a model adapted on scores.")
    score_low: float | None = None
    score_high: float | None = None
    delta_score: float | None = None
    delta_score_low: float | None = None
    delta_score_high: float | None = None


class PredictOutput(Shape):
    """Predictions in the order of the pairs."""

    model: str
    model_version: str
    coverage: float
    predictions: list[PredictionOutput]


class ModelOutput(Shape):
    """A model that can be asked."""

    name: str
    version: str
    kind: str
    label: Literal["pkd", "score"]
    antibody_encoder: str
    antigen_encoder: str


class ModelsOutput(Shape):
    """All of them."""

    models: list[ModelOutput]


class HealthOutput(Shape):
    """Whether predictions are answered."""

    status: Literal["ok"]
    version: str
    models: list[str]


class FieldProblem(Shape):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(Shape):
    """Why a request was refused."""

    code: str
    message: str
    details: list[FieldProblem]
    request_id: str


class ErrorOutput(Shape):
    """The one shape of every error."""

    error: Problem


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route may answer with, for the schema."""
    always = (400, 401, 403, 408, 421, 500, 503)
    return {code: {"model": ErrorOutput} for code in sorted({*always, *codes})}


router = APIRouter()


@router.get("/health", tags=["watching"], responses=problems())
async def health(request: Request) -> HealthOutput:
    """Whether a model has answered a real prediction; 503 until it has, and while leaving."""
    state = request.app.state
    if not state.ready or state.leaving:
        word = "leaving" if state.leaving else "starting"
        raise Refusal(503, word, state.not_ready or f"the server is {word}", retry_after=2)
    return HealthOutput(status="ok", version=__version__, models=sorted(state.predicting.models))


@router.get("/metrics", tags=["watching"], response_class=PlainTextResponse, responses=problems())
async def metrics(request: Request) -> PlainTextResponse:
    """Counts and times in the format of Prometheus."""
    state = request.app.state
    state.update_metrics()
    return PlainTextResponse(state.watch.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/models", tags=["models"], responses=problems())
async def models(request: Request) -> ModelsOutput:
    """The models that can be asked."""
    served = []
    for one in request.app.state.predicting.models.values():
        bundle = one.predictor.bundle
        encoders = bundle.config.get("encoders", {})
        served.append(
            ModelOutput(
                name=one.name,
                version=one.version,
                kind="campaign" if bundle.campaign else bundle.config.get("kind", "network"),
                label=one.predictor.label,
                antibody_encoder=encoders.get("antibody", "none"),
                antigen_encoder=encoders.get("antigen", "none"),
            )
        )
    return ModelsOutput(models=served)


@router.post("/v1/predict", tags=["predict"], responses=problems(413, 422, 429))
async def predict(request: Request, wanted: PredictInput) -> PredictOutput:
    """Predict up to 1,000 pairs; a bad row has an `error`, the others their numbers."""
    model = await served_model(request, wanted.model)
    asked = Asked(model.name, wanted.parent, wanted.coverage, wanted.strong_threshold_pkd)
    rows = [pair.cells() for pair in wanted.pairs]
    request.state.noted = {"rows": len(rows), "model": model.name}
    if request.app.state.settings.log_sequences:
        request.state.noted["pairs"] = rows
    answers = await request.app.state.predicting.predict(rows, asked)
    return PredictOutput(
        model=model.name,
        model_version=model.version,
        coverage=wanted.coverage,
        predictions=[_row(one) for one in answers],
    )


async def served_model(request: Request, name: str) -> ServedModel:
    """A model by its name, never by a path; a campaign's is opened as it is asked for."""
    state = request.app.state
    if not state.ready:
        raise Refusal(503, "starting", "the models are being opened", retry_after=2)
    models = state.predicting.models
    source = model_source(request, name)  # refuses names of none, and jobs that were deleted
    if name not in models:
        opened = await state.predicting.run(lambda: Predictor.load(source))
        models[name] = ServedModel(name, opened)
        adapted = [one for one in models if one not in state.sources]
        for old in adapted[:-_OPEN_CAMPAIGNS]:
            models.pop(old)
    return models[name]


def model_source(request: Request, name: str) -> str:
    """The folder or bundled name behind a model's name: one that is served, or an adapt job."""
    state = request.app.state
    if name in state.sources:
        return state.sources[name]
    try:
        job = state.store.job(name)
    except Refusal:
        job = None
    if job is None or job.kind != "adapt" or job.state != "finished":
        words = unknown_name("model", name, state.sources)
        words += "; or the id of a finished job of adapt"
        raise Refusal(422, "unknown_model", words, {"model": words})
    return str((state.store.job_folder(job) / "model").resolve())


def model_choices(request: Request) -> list[tuple[str, str]]:
    """Names of the models that can be asked, and what to show for them."""
    state = request.app.state
    adapted = [
        (job.id, f"campaign: {', '.join(job.parameters['names'])}")
        for job in state.store.jobs("finished")
        if job.kind == "adapt"
    ]
    return [(name, name) for name in state.sources] + adapted[::-1]


def _row(one: Prediction) -> PredictionOutput:
    told = {name: None if value == "" else value for name, value in plain(one).items()}
    told.pop("coverage")
    return PredictionOutput.model_construct(**{**told, "id": one.id})
