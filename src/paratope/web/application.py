"""The application: models, jobs, API and pages put together; and the server that runs it."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import Response

from paratope import __version__
from paratope.core.errors import ModelError, ParatopeError
from paratope.core.files import as_output_error, sole_writer
from paratope.models.bundle import find_model
from paratope.models.predictor import Predictor
from paratope.web import api, job_api, job_pages, pages
from paratope.web.jobs import Runner, Store
from paratope.web.predicting import FIRST_PAIR, Asked, BusyError, Predicting, ServedModel
from paratope.web.protection import Gate, PatientProtocol, Refusal, Watch, log_to_stderr, refusal
from paratope.web.settings import ServeSettings

STATIC = Path(__file__).with_name("static")
_CODES = {404: "not_found", 405: "wrong_method", 400: "bad_request"}


def create_app(settings: ServeSettings) -> FastAPI:
    """The application. Models are opened as it starts; until then ``/health`` answers 503."""
    app = FastAPI(
        title="Paratope",
        version=__version__,
        description="How tightly an antibody binds an antigen, from sequence alone.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    watch = Watch(lambda path: path == "/v1/tables" or path in pages.TAKE_TABLES)
    state = app.state
    state.settings, state.watch = settings, watch
    state.ready = state.leaving = False
    state.not_ready = ""
    state.sources = {served_name(source): _absolute(source) for source in settings.models}
    state.store = Store(settings.folder, settings.limits)
    state.predicting = Predicting(settings.limits.waiting_rows, settings.limits.answer_seconds)
    state.update_metrics = lambda: _update_metrics(app)
    app.include_router(api.router)
    app.include_router(job_api.router)
    app.include_router(pages.router)
    app.include_router(job_pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Gate, settings=settings, watch=watch)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    with sole_writer(state.settings.folder):
        state.runner = Runner(state.store, state.settings.job_processes)
        opening = asyncio.create_task(_open_models(app))
        try:
            yield
        finally:
            state.leaving = True
            opening.cancel()
            await state.runner.close()
            state.predicting.close()
            state.store.close()


async def _open_models(app: FastAPI) -> None:
    """Open the models and ask each for a real prediction."""
    state = app.state
    for source in state.settings.models:
        try:
            predictor = await state.predicting.run(lambda source=source: Predictor.load(source))
            model = ServedModel(served_name(source), predictor)
            state.predicting.models[model.name] = model
            (answer,) = await state.predicting.predict([FIRST_PAIR], Asked(model.name))
            if answer.error:
                raise ModelError(answer.error)
        except ParatopeError as error:
            state.not_ready = f"model {served_name(source)} does not work: {error}"
            return
        state.watch.model(model.name, model.version)
    state.ready = True


def _absolute(source: str) -> str:
    try:
        return str(find_model(source).resolve())
    except ModelError:  # which opening it says
        return source


def served_name(source: str) -> str:
    """What clients call a model: its folder's name, not its path.

    >>> served_name("runs/plate-1/"), served_name("default")
    ('plate-1', 'default')
    """
    return Path(source).name or source


def _update_metrics(app: FastAPI) -> None:
    watch, counts = app.state.watch, app.state.predicting.counts
    store = app.state.store
    for name, value in {
        "waiting_rows": counts.waiting_rows,
        "waiting_jobs": len(store.jobs("queued")),
        "running_jobs": app.state.runner.running,
        "stored_bytes": store.stored_bytes(),
    }.items():
        watch.gauges[name].set(value)
    batches, counts.batches = counts.batches, []
    for rows in batches:
        watch.batch(rows)
    for name in ("hits", "misses"):
        watch.cache[name].inc(getattr(counts, name))
        setattr(counts, name, 0)


async def _on_error(request: Request, error: Exception) -> Response:
    refused, request_id = as_refusal(error), request.state.request_id
    if pages.wants_page(request):
        return pages.error_page(request, refused, request_id)
    return refusal(refused, request_id)


def as_refusal(error: Exception) -> Refusal:
    """Any error that a request can cause, in the one shape."""
    match error:
        case Refusal():
            return error
        case RequestValidationError():
            details = {}
            for one in error.errors()[:20]:
                field = ".".join(str(part) for part in one["loc"][1:]) or "body"
                details[field[:300]] = str(one["msg"])[:300]
            words = "; ".join(f"{field}: {text}" for field, text in list(details.items())[:3])
            return Refusal(422, "invalid", f"the request does not fit: {words}", details)
        case BusyError():
            return Refusal(429, "busy", str(error), retry_after=error.seconds)
        case HTTPException():
            code = _CODES.get(error.status_code, "refused")
            refused = Refusal(error.status_code, code, str(error.detail))
            refused.headers = error.headers
            return refused
        case _:
            return Refusal(422, "unreadable", str(error))


_HANDLERS: dict[Any, Callable[..., Any]] = dict.fromkeys(
    (HTTPException, RequestValidationError, ParatopeError), _on_error
)


class _Server(uvicorn.Server):
    """uvicorn's, whose application hears at once that it is to leave."""

    announce: Callable[[str], None]

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            host = self.config.host
            host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
            self.announce(f"http://{host}:{port}")

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Answer what is under way; refuse what comes."""
        self.config.app.state.leaving = True  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def run(settings: ServeSettings, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is told the address once it can be asked."""
    log_to_stderr()
    # what uvicorn passes on once all is answered: asked to leave, it has left well
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with as_output_error(settings.folder):
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with sole_writer(settings.folder):  # before anything in it is touched
        limits = settings.limits
        PatientProtocol.limits = limits
        app = create_app(settings)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=PatientProtocol,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=round(limits.drain_seconds),
            h11_max_incomplete_event_size=65_536,
            backlog=2048,
        )
        server = _Server(config)
        server.announce = announce
        server.run()
