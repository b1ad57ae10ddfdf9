"""What stands before every request: who may ask, how much, for how long; and what is noted of it.

An ASGI middleware. Whatever is refused anywhere is refused in one shape, see `refusal`. `Watch`
counts requests for Prometheus.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from paratope import __version__
from paratope.web.settings import Limits, ServeSettings

COOKIE = "paratope_session"
LOG = logging.getLogger("paratope.web")
# what a bearer of no token may see
_OPEN = ("/health", "/login", "/static/")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # none would make the Origin of our own forms "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Watch:
    """A server's metrics. `takes_tables` says which paths take bodies as large as tables."""

    def __init__(self, takes_tables: Callable[[str], bool] = lambda path: False) -> None:
        self._takes_tables = takes_tables
        self.registry = registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self._requests = Counter("paratope_requests", "Requests.", names, registry=registry)
        self._seconds = Histogram(
            "paratope_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "paratope_batch_rows", "Rows predicted together.", buckets=_ROWS, registry=registry
        )
        counts = {
            "hits": "Predictions from memory.",
            "misses": "Predictions that were not in memory.",
        }
        self.cache = {
            name: Counter(f"paratope_cache_{name}", text, registry=registry)
            for name, text in counts.items()
        }
        gauges = {
            "waiting_rows": "Rows that wait for a model.",
            "waiting_jobs": "Jobs that wait.",
            "running_jobs": "Jobs that run.",
            "stored_bytes": "Bytes of tables and results that are kept.",
        }
        self.gauges = {
            name: Gauge(f"paratope_{name}", text, registry=registry)
            for name, text in gauges.items()
        }
        self._models = Gauge(
            "paratope_model", "Models that are open.", ["name", "version"], registry=registry
        )
        Info("paratope", "This software.", registry=registry).info({"version": __version__})

    def most_bytes(self, path: str, limits: Limits) -> int:
        """How long a body may be."""
        return limits.table_bytes + 1_000_000 if self._takes_tables(path) else limits.body_bytes

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, rows: int) -> None:
        """Count rows that were predicted together."""
        self._batch.observe(rows)

    def model(self, name: str, version: str) -> None:
        """A model is open."""
        self._models.labels(name, version).set(1)

    def text(self) -> bytes:
        """Everything in Prometheus' own format."""
        return generate_latest(self.registry)


def log_to_stderr() -> None:
    """One line of JSON a request on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("paratope.web")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class Refusal(HTTPException):
    """A request that is refused: a code for programs, and words for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        headers = None if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, message, headers)
        self.code = code
        self.details = dict(details or {})  # field, and what is wrong with it


def refusal(error: Refusal, request_id: str) -> JSONResponse:
    """The one shape of every error."""
    details = [{"field": field, "message": text} for field, text in error.details.items()]
    told = {"code": error.code, "message": str(error.detail), "details": details}
    content = {"error": {**told, "request_id": request_id}}
    return JSONResponse(content, error.status_code, headers=error.headers)


def session_cookie(token: str) -> str:
    """What a page's cookie holds: proof of the token, and not the token.

    HMAC-SHA256 (RFC 2104) of a fixed text under the token: a new token ends all sessions.
    """
    return hmac.new(token.encode(), b"paratope pages", hashlib.sha256).hexdigest()


def is_known(scope: Scope, settings: ServeSettings) -> bool:
    """Whether a request bears the token or a page's cookie; compared in constant time."""
    if settings.token is None:
        return True
    headers = dict(scope["headers"])
    scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return hmac.compare_digest(bearer.strip(), settings.token.encode())
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return False
    given = cookies[COOKIE].value if COOKIE in cookies else ""
    return hmac.compare_digest(given.encode(), session_cookie(settings.token).encode())


class Gate:
    """Lets a request through, or refuses it; says so in the log and the metrics."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, watch: Watch) -> None:
        self.app, self.settings, self.watch = app, settings, watch
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.settings.limits)
        self.under_way += 1
        try:
            if (early := self._refused(scope, exchange)) is not None:
                await early(scope, exchange.receive, exchange.send)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except Refusal as error:
            await exchange.refuse(error)
        except (asyncio.CancelledError, OSError):  # the client has gone
            exchange.status = exchange.status or 499
        except Exception as error:
            calls = traceback.extract_tb(error.__traceback__)
            told = {
                "event": "bug",
                "request_id": exchange.request_id,
                "error": type(error).__name__,
                "where": [f"{call.filename}:{call.lineno}" for call in calls],
            }
            if self.settings.log_sequences:  # messages may quote what was sent
                told["message"] = str(error)
            LOG.error(json.dumps(told))
            words = "something went wrong on our side; the log names it by the request id"
            await exchange.refuse(Refusal(500, "internal", words))
        finally:
            self.under_way -= 1
            self._note(scope, exchange)

    def _refused(self, scope: Scope, exchange: "_Exchange") -> Response | None:
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        path, method = scope["path"], scope["method"]
        host = headers.get("host", b"").decode("latin-1").lower()
        name = re.sub(r":\d*$", "", host)
        if name not in self.settings.hosts:
            raise Refusal(
                421,
                "wrong_host",
                f"this server is not called {name[:100]!r}; allow the name with --allow-host",
            )
        if scope["app"].state.leaving and path != "/health":
            raise Refusal(503, "leaving", "the server is being stopped", retry_after=10)
        if self.under_way > self.settings.limits.requests:
            raise Refusal(503, "overloaded", "too many requests under way", retry_after=2)
        if not path.startswith(_OPEN) and not is_known(scope, self.settings):
            wants_page = b"text/html" in headers.get("accept", b"") and not path.startswith("/v1/")
            if wants_page and method == "GET":
                return RedirectResponse("/login", 303)
            raise Refusal(401, "no_token", "send the header Authorization: Bearer TOKEN")
        if method in _UNSAFE:  # which another site's page may make a browser send
            origin = headers.get("origin", b"").decode("latin-1").lower()
            same = not origin or urlsplit(origin).netloc == host
            if not same or headers.get("sec-fetch-site", b"none") not in (b"none", b"same-origin"):
                raise Refusal(403, "other_site", "this comes from the page of another site")
        length = headers.get("content-length", b"0")
        exchange.most = self.watch.most_bytes(path, self.settings.limits)
        if length.isdigit() and int(length[:20]) > exchange.most:
            raise _too_large(exchange.most)
        return None

    def _note(self, scope: Scope, exchange: "_Exchange") -> None:
        seconds = time.perf_counter() - exchange.start
        # the pattern of the path, not what a client wrote into it
        route = getattr(scope.get("route"), "path", "")
        route = route or ("/static" if scope["path"].startswith("/static/") else "other")
        self.watch.request(scope["method"], route, exchange.status, seconds)
        told = {
            "event": "request",
            "request_id": exchange.request_id,
            "method": scope["method"] if scope["method"].isalpha() else "?",
            "route": route,
            "status": exchange.status,
            "ms": round(1000 * seconds, 1),
            "bytes_in": exchange.received,
            **scope.get("state", {}).get("noted", {}),
        }
        LOG.info(json.dumps(told))


class _Exchange:
    """One request and its answer: its id, its bounds, the headers that every answer has."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        is_plain = _REQUEST_ID.fullmatch(given) is not None
        self.request_id = given if is_plain else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self.request_id
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self.most = limits.body_bytes
        self.received, self.status, self.start = 0, 0, time.perf_counter()
        self._is_read = False

    async def receive(self) -> Message:
        """A part of the body, in time and within its bounds."""
        if self._is_read:
            return await self._receive()
        limits = self._limits
        try:
            message = await asyncio.wait_for(self._receive(), limits.body_seconds)
        except TimeoutError:
            raise _too_slow() from None
        self.received += len(message.get("body", b""))
        self._is_read = not message.get("more_body", False)
        if self.received > self.most:
            raise _too_large(self.most)
        late = time.perf_counter() - self.start - limits.body_seconds
        if not self._is_read and late > self.received / limits.slowest_bytes_per_second:
            raise _too_slow()
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            names = {name.lower() for name, _ in message["headers"]}
            more = {**SECURITY_HEADERS, "x-request-id": self.request_id}
            message["headers"] = [
                *message["headers"],
                *(
                    (name.encode(), value.encode())
                    for name, value in more.items()
                    if name.encode() not in names
                ),
            ]
        await self._send(message)

    async def refuse(self, error: Refusal) -> None:
        """Answer with an error, if no answer has begun."""
        if not self.status:
            answer = refusal(error, self.request_id)
            if not self._is_read:
                answer.headers["connection"] = "close"  # what is still sent is not read
            await answer(self._scope, self._receive, self.send)


def _too_large(most: int) -> Refusal:
    size = f"{most / 1e6:g} MB" if most >= 1e6 else f"{most:,} bytes"
    return Refusal(413, "too_large", f"this is too large; at most {size} are read here")


def _too_slow() -> Refusal:
    return Refusal(408, "too_slow", "the rest of the request did not arrive in time")


class PatientProtocol(H11Protocol):
    """uvicorn's own, which closes a connection whose headers do not end."""

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None
    _open = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to count the time."""
        super().connection_made(transport)
        PatientProtocol._open += 1
        if PatientProtocol._open > self.limits.connections:
            transport.close()
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting."""
        PatientProtocol._open -= 1
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count from the first byte of a request to the end of its headers."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._deadline is None:
            self._start()

    def _start(self) -> None:
        self._deadline = self.loop.call_later(self.limits.header_seconds, self.transport.close)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
