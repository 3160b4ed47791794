"""HTTP to procedures: plain JSON at `/rpc/counter.<procedure>`, oRPC at `/rpc/counter/<procedure>`.

A bare ASGI application: this is the path of every operation over HTTP, and a routing table, a request object and a
response object would cost as much as the operation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import uuid4

import msgspec
from starlette.types import Receive, Scope, Send

from actors.messages import Operation, Query, Status
from gateway import orpc
from gateway.errors import RETRY_AFTER_S, Problem, invalid, refused
from gateway.origin import Origins
from gateway.procedures import PROCEDURES, Procedure
from gateway.protocol import KEY_MAX, complaint
from gateway.session import Ids

BODY_MAX = 256 * 2**10  # getValues with a thousand of the longest names is 103 KB.
PLAIN, ORPC = "/rpc/counter.", "/rpc/counter/"

log = logging.getLogger("counters.rpc")


class Routes(Protocol):
    """What this needs of the router."""

    def submit(self, operation: Operation, deliver: Callable[[int, bytes], None]) -> None: ...

    def ask(self, query: Query, deliver: Callable[[int, bytes], None]) -> None: ...


class Rpc:
    """The ASGI application under `/rpc/`."""

    def __init__(self, router: Routes, origins: Origins, ids: Ids) -> None:
        self._router = router
        self._origins = origins
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        envelope = path.startswith(ORPC)
        origin = host = key = content_type = None
        for name, value in scope["headers"]:
            if name == b"content-type":
                content_type = value
            elif name == b"idempotency-key":
                key = value
            elif name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"host":
                host = value.decode("latin-1")
        status, headers = 200, _HEADERS
        try:
            if origin is not None:
                headers = self._cors(origin, host)
                if scope["method"] == "OPTIONS":
                    await _respond(send, 204, b"", headers + _PREFLIGHT)
                    return
            procedure = PROCEDURES.get(path[len(PLAIN) :]) if path.startswith((PLAIN, ORPC)) else None
            if procedure is None:
                raise Problem("NOT_FOUND", f"there is no procedure {path}")
            body = await self._input(scope, receive, content_type, envelope, procedure)
            answer = await self._call(procedure, body, key)
            if envelope:
                answer = b'{"json":%b}' % answer
        except Problem as problem:
            status, answer, headers = _problem(problem, envelope, headers)
        except Exception:
            incident = uuid4().hex[:12]
            log.exception("action=failed incident=%s path=%s", incident, path)
            failed = Problem("COUNTER_OPERATION_FAILED", None, {"incident": incident})
            status, answer, headers = _problem(failed, envelope, headers)
        await _respond(send, status, answer, headers)

    def _cors(self, origin: str, host: str | None) -> list[tuple[bytes, bytes]]:
        if not self._origins.admits(origin, host):
            raise Problem("FORBIDDEN", f"pages of {origin} may not use this service")
        if self._origins.foreign(origin, host):
            return [*_HEADERS, (b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin")]
        return _HEADERS

    async def _input(
        self, scope: Scope, receive: Receive, content_type: bytes | None, envelope: bool, procedure: Procedure
    ) -> bytes:
        if scope["method"] != "POST":
            if envelope and scope["method"] == "GET" and not procedure.changes:
                return orpc.from_query(scope["query_string"])
            raise Problem("METHOD_NOT_ALLOWED", f"{procedure.name} takes POST, not {scope['method']}")
        if content_type is not None and not content_type.lower().startswith(b"application/json"):
            raise Problem("UNSUPPORTED_MEDIA_TYPE")
        message = await receive()
        body: bytes = message.get("body", b"")
        while message.get("more_body", False):
            if len(body) > BODY_MAX:
                break
            message = await receive()
            body += message.get("body", b"")
        if len(body) > BODY_MAX:
            raise Problem("PAYLOAD_TOO_LARGE", f"a request has at most {BODY_MAX} bytes")
        return orpc.unwrap(body) if envelope else body

    def _call(self, procedure: Procedure, body: bytes, key: bytes | None) -> Awaitable[bytes]:
        try:
            input = procedure.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise complaint(error) from error
        answer = _Answer()
        message = procedure.build(input, self._ids.next() if key is None else _checked(key))
        if isinstance(message, Query):
            self._router.ask(message, answer)
        else:
            message.repeated = key is not None  # Only a client can tell whether it has used its key before.
            self._router.submit(message, answer)
        return answer.future


class _Answer:
    """Turns the router's call into something to wait for."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def __call__(self, status: int, body: bytes) -> None:
        if self.future.done():
            return  # The client has gone.
        if status == Status.OK:
            self.future.set_result(body)
        else:
            self.future.set_exception(refused(body) if status == Status.REFUSED else Problem("UNAVAILABLE"))


def _checked(key: bytes) -> str:
    """An Idempotency-Key as an operation id; a space of its own, so that it cannot meet the gateways' ids."""
    text = key.decode("latin-1")
    if not 1 <= len(text) <= KEY_MAX or not text.isascii() or not text.isprintable():
        raise invalid("idempotency-key", f"1 to {KEY_MAX} printable ASCII characters")
    return f"key:{text}"


def _problem(
    problem: Problem, envelope: bool, headers: list[tuple[bytes, bytes]]
) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    if problem.row.retryable:
        headers = [*headers, (b"retry-after", b"%d" % RETRY_AFTER_S)]
    if problem.code == "METHOD_NOT_ALLOWED":
        headers = [*headers, (b"allow", b"POST")]
    return problem.row.status, problem.orpc() if envelope else problem.plain(), headers


async def _respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


_HEADERS: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_PREFLIGHT: list[tuple[bytes, bytes]] = [
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"content-type, idempotency-key"),
    (b"access-control-max-age", b"600"),
]
