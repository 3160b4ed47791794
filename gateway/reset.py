"""POST /api/reset-counter: for workers of other programs that find out by themselves when a counter was left alone.

They show a secret. The counter is reset when its period is really over; its owner decides, as it does for the timer.
"""

from __future__ import annotations

import asyncio
import hmac
from hashlib import sha256
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from actors.messages import Operation, Query, Status
from gateway.errors import Problem, invalid, refused
from gateway.protocol import Input, Name, complaint
from gateway.session import Ids

PATH = "/api/reset-counter"
BODY_MAX = 4_096


class Wish(Input):
    """What a worker may say; nothing at all means the default counter."""

    name: Name | None = None
    force: bool = False


class Routes(Protocol):
    """What this needs of the router."""

    def submit(self, operation: Operation, deliver: Any) -> None: ...

    def ask(self, query: Query, deliver: Any) -> None: ...


class Reset:
    """The endpoint. Where no secret is configured, nobody may route to it."""

    def __init__(self, router: Routes, ids: Ids, secret: str, default: str) -> None:
        assert secret
        self._router = router
        self._ids = ids
        self._secret = secret.encode()
        self._default = default

    async def answer(self, request: Request) -> Response:
        """One request, as a Starlette endpoint."""
        try:
            body = await self._reset(request)
        except Problem as problem:
            headers = {"retry-after": "1"} if problem.row.retryable else None
            return Response(problem.plain(), problem.row.status, headers, media_type="application/json")
        return Response(body, 200, media_type="application/json")

    async def _reset(self, request: Request) -> bytes:
        if not self._admits(request.headers.get("x-secret", "")):
            raise Problem("UNAUTHORIZED", "the header x-secret is missing or wrong")
        wish = await _read(request)
        name = wish.name or self._default
        if not name:
            raise invalid("name", "missing, and no default counter is configured")
        if (await self._answer(self._router.ask, Query(0, "metadata", [name])))[0] == Status.REFUSED:
            return _said(False, 0)  # There is no such counter, and asking its owner would make a place for one.
        if not wish.force:
            _, body = await self._answer(self._router.submit, Operation(0, name, "expire", 0, self._ids.next()))
            return body
        operation = Operation(0, name, "reset", 0, self._ids.next(), reason="manual")
        status, body = await self._answer(self._router.submit, operation)
        if status == Status.REFUSED:
            raise refused(body)
        return _said(True, msgspec.json.decode(body)["value"])

    def _admits(self, shown: str) -> bool:
        """Compared by digests of one length: how long it takes says nothing about the secret, not even its length."""
        return hmac.compare_digest(sha256(shown.encode("latin-1")).digest(), sha256(self._secret).digest())

    async def _answer(self, ask: Any, message: Operation | Query) -> tuple[int, bytes]:
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        def deliver(status: int, body: bytes) -> None:
            if not answer.done():  # Else the worker has gone.
                answer.set_result((status, body))

        ask(message, deliver)
        status, body = await answer
        if status not in (Status.OK, Status.REFUSED):
            raise Problem("UNAVAILABLE")
        return status, body


async def _read(request: Request) -> Wish:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX:
            raise Problem("PAYLOAD_TOO_LARGE", f"a request has at most {BODY_MAX} bytes")
    if not body.strip():
        return Wish()
    try:
        return _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise complaint(error) from error


def _said(reset: bool, value: int) -> bytes:
    return msgspec.json.encode({"success": True, "reset": reset, "value": value})


_decode = msgspec.json.Decoder(Wish).decode
