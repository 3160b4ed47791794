"""HTTP to procedures: plain JSON at `/rpc/counter.<procedure>`, oRPC at `/rpc/counter/<procedure>`; likewise `admin`.

`Rpc.handle` is a plain call with a callback: a request in, one answer out, no task and no future in between. The ASGI
application around it serves whoever speaks ASGI; `gateway.http` calls it straight from the HTTP parser.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol
from uuid import uuid4

import msgspec
from starlette.types import Receive, Scope, Send

from actors.messages import Operation, Query, Status
from gateway import orpc
from gateway.admin import Admin
from gateway.errors import RETRY_AFTER_S, Problem, invalid, overloaded, refused
from gateway.origin import Origins, is_local
from gateway.procedures import PROCEDURES, Command, Procedure
from gateway.protocol import KEY_MAX, complaint
from gateway.session import Ids

PATH = "/rpc/"
BODY_MAX = 256 * 2**10  # getValues with a thousand of the longest names is 103 KB.

Headers = tuple[tuple[bytes, bytes], ...]
Respond = Callable[[int, bytes, Headers], None]

log = logging.getLogger("counters.rpc")


class Routes(Protocol):
    """What this needs of the router."""

    pressed: bool

    def admits(self, name: str, wakes: bool = True) -> bool: ...

    def submit(self, operation: Operation, deliver: Callable[[int, bytes], None]) -> None: ...

    def ask(self, query: Query, deliver: Callable[[int, bytes], None]) -> None: ...


class Request(NamedTuple):
    """One HTTP request, however it was read."""

    method: str
    path: str
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]  # Names in lower case.
    body: bytes
    peer: str | None  # Address of whoever is at the other end of the connection.


class Rpc:
    """Everything under `/rpc/`."""

    def __init__(self, router: Routes, admin: Admin, origins: Origins, ids: Ids) -> None:
        self._router = router
        self._admin = admin
        self._origins = origins
        self._ids = ids

    def handle(self, request: Request, respond: Respond) -> None:
        """Answer `request`: `respond(status, body, headers)` is called exactly once, now or later."""
        procedure, envelope = _ROUTES.get(request.path) or (None, "/" in request.path[len(PATH) :])
        headers = JSON
        try:
            origin = host = key = content_type = None
            for name, value in request.headers:
                if name == b"content-type":
                    content_type = value
                elif name == b"idempotency-key":
                    key = value
                elif name == b"origin":
                    origin = value.decode("latin-1")
                elif name == b"host":
                    host = value.decode("latin-1")
            if request.method == "GET" and not self._origins.knows(host):
                # A page that points its own name here (DNS rebinding) sends no Origin with a GET.
                raise Problem("FORBIDDEN", f"this service is not called {host}")
            if origin is not None:
                headers = self._cors(origin, host)
                if request.method == "OPTIONS":
                    respond(204, b"", headers + _PREFLIGHT)
                    return
            if procedure is None:
                raise Problem("NOT_FOUND", f"there is no procedure {request.path}")
            if procedure.local and not is_local(request.peer, request.headers):
                raise Problem("FORBIDDEN", f"{procedure.name} is only for programs on the gateway's own machine")
            message = self._message(procedure, _input(request, procedure, envelope, content_type), key, request.peer)
        except Problem as problem:
            _fail(problem, envelope, headers, respond)
            return
        except Exception:
            _break(request.path, envelope, headers, respond)
            return
        if self._router.pressed and not self._admits(message):
            respond(503, _OVERLOADED[envelope], _OVERLOADED_HEADERS if headers is JSON else (*headers, _RETRY_AFTER))
            return
        answer = _Answer(envelope, headers, respond)
        if isinstance(message, Query):
            self._router.ask(message, answer)
        elif isinstance(message, Operation):
            self._router.submit(message, answer)
        else:
            self._admin.run(message, answer)

    def _admits(self, message: Operation | Query | Command) -> bool:
        if isinstance(message, Operation):
            return self._router.admits(message.name)
        return isinstance(message, Command) or not message.names or self._router.admits(message.names[0], False)

    def _cors(self, origin: str, host: str | None) -> Headers:
        if not self._origins.admits(origin, host):
            raise Problem("FORBIDDEN", f"pages of {origin} may not use this service")
        if self._origins.foreign(origin, host):
            return (*JSON, (b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin"))
        return JSON

    def _message(
        self, procedure: Procedure, body: bytes, key: bytes | None, peer: str | None
    ) -> Operation | Query | Command:
        try:
            input = procedure.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise complaint(error) from error
        message = procedure.build(input, self._ids.next() if key is None else _checked(key))
        if isinstance(message, Command):
            return message._replace(source=f"http {peer}" if peer else "http")
        if isinstance(message, Operation):
            message.source = f"http {peer}" if peer else "http"
            message.repeated |= key is not None  # Only its sender can tell whether a key was used before.
        return message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        answer: asyncio.Future[tuple[int, bytes, Headers]] = asyncio.get_running_loop().create_future()

        def respond(status: int, body: bytes, headers: Headers) -> None:
            if not answer.done():  # Else the client has gone.
                answer.set_result((status, body, headers))

        body = b""
        more = True
        while more and len(body) <= BODY_MAX:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # What it has said of its request may be read as another one.
            body += message.get("body", b"")
            more = message.get("more_body", False)
        peer = scope["client"][0] if scope.get("client") else None
        request = Request(scope["method"], scope["path"], scope["query_string"], scope["headers"], body, peer)
        self.handle(request, respond)
        status, body, headers = await answer
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})


def _input(request: Request, procedure: Procedure, envelope: bool, content_type: bytes | None) -> bytes:
    """The JSON of the procedure's input. Raises Problem when the request cannot hold one."""
    if request.method != "POST":
        if envelope and request.method == "GET" and not procedure.changes:
            return orpc.from_query(request.query)
        raise Problem("METHOD_NOT_SUPPORTED", f"{procedure.name} takes POST, not {request.method}")
    if content_type is not None and not content_type.lower().startswith(b"application/json"):
        raise Problem("UNSUPPORTED_MEDIA_TYPE")
    if len(request.body) > BODY_MAX:
        raise Problem("PAYLOAD_TOO_LARGE", f"a request has at most {BODY_MAX} bytes")
    return orpc.unwrap(request.body) if envelope else request.body


class _Answer:
    """What the router calls with the outcome."""

    __slots__ = ("_envelope", "_headers", "_respond")

    def __init__(self, envelope: bool, headers: Headers, respond: Respond) -> None:
        self._envelope = envelope
        self._headers = headers
        self._respond = respond

    def __call__(self, status: int, body: bytes) -> None:
        if status == Status.OK:
            self._respond(200, b'{"json":%b}' % body if self._envelope else body, self._headers)
        else:
            problem = refused(body) if status == Status.REFUSED else Problem("UNAVAILABLE")
            _fail(problem, self._envelope, self._headers, self._respond)


def _checked(key: bytes) -> str:
    """An Idempotency-Key as an operation id; a space of its own, so that it cannot meet the gateways' ids."""
    text = key.decode("latin-1")
    if not 1 <= len(text) <= KEY_MAX or not text.isascii() or not text.isprintable():
        raise invalid("idempotency-key", f"1 to {KEY_MAX} printable ASCII characters")
    return f"key:{text}"


def _fail(problem: Problem, envelope: bool, headers: Headers, respond: Respond) -> None:
    if problem.row.retryable:
        headers = (*headers, _RETRY_AFTER)
    if problem.code == "METHOD_NOT_SUPPORTED":
        headers = (*headers, (b"allow", b"POST"))
    respond(problem.row.status, problem.orpc() if envelope else problem.plain(), headers)


def _break(path: str, envelope: bool, headers: Headers, respond: Respond) -> None:
    """A mistake of ours: it is logged with a number, and the client gets the number and nothing else."""
    incident = uuid4().hex[:12]
    log.exception("action=failed incident=%s path=%s", incident, path)
    _fail(Problem("COUNTER_OPERATION_FAILED", None, {"incident": incident}), envelope, headers, respond)


# By path: plain with a dot, oRPC with a slash, where the envelope is.
_ROUTES: dict[str, tuple[Procedure, bool]] = {
    **{f"{PATH}{name}": (procedure, False) for name, procedure in PROCEDURES.items()},
    **{f"{PATH}{name.replace('.', '/')}": (procedure, True) for name, procedure in PROCEDURES.items()},
}
JSON: Headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_RETRY_AFTER = (b"retry-after", b"%d" % RETRY_AFTER_S)
_OVERLOADED_HEADERS: Headers = (*JSON, _RETRY_AFTER)
_OVERLOADED = {False: overloaded().plain(), True: overloaded().orpc()}
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"content-type, idempotency-key"),
    (b"access-control-max-age", b"600"),
)
