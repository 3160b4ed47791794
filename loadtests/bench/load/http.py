"""HTTP/1.1 clients: one that asks as fast as it is answered, and one for a single question."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, Self

import msgspec

_HEAD_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_INCOMPLETE = -1


class RefusedError(Exception):
    """The server answered something other than 200."""


def post(procedure: str, body: object, key: str | None = None) -> bytes:
    """The bytes of one call, e.g. `post("counter.increment", {"name": "votes"})`. `key`: its Idempotency-Key."""
    content = msgspec.json.encode(body)
    keyed = "" if key is None else f"Idempotency-Key: {key}\r\n"
    return (
        f"POST /rpc/{procedure} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{keyed}"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def response_length(data: bytes) -> int:
    """How many bytes the response at the start of `data` has; -1 while its head is incomplete.

    Raises `RefusedError` unless the status is 200. Only what measured servers send is understood: a
    response without Content-Length is an error, not a guess.
    """
    head = data.find(_HEAD_END)
    if head < 0:
        return _INCOMPLETE
    if data[9:12] != b"200":
        raise RefusedError(data[:1000].decode(errors="replace"))
    length = _CONTENT_LENGTH.search(data, 0, head)
    if length is None:
        raise RefusedError(f"no content-length in {data[:head]!r}")
    return head + len(_HEAD_END) + int(length[1])


class Caller(asyncio.Protocol):
    """One keep-alive connection that sends the next request when the last is answered.

    Latencies, in seconds, are appended to `latencies`, which callers may share. `idle` is done when
    `requests` has ended and the last answer is in.
    """

    _transport: asyncio.Transport

    def __init__(
        self, requests: Iterable[bytes], latencies: list[float], fail: Callable[[Exception], None]
    ) -> None:
        self._requests: Iterator[bytes] = iter(requests)
        self._latencies = latencies
        self._fail = fail
        self._sent_at = 0.0
        self._received = b""
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, port: int) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", port)
        return self

    def start(self) -> None:
        self._ask()

    def stop(self) -> None:
        """Send nothing more; wait for `idle`."""
        self._requests = iter(())

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        try:
            length = response_length(data)
        except RefusedError as refused:
            self._fail(refused)
            return
        if length == _INCOMPLETE or len(data) < length:
            self._received = data
            return
        self._received = b""
        self._latencies.append(perf_counter() - self._sent_at)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.idle.done():
            self._fail(exc or ConnectionError("the server closed a connection under load"))

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.idle.set_result(None)
            return
        self._sent_at = perf_counter()
        self._transport.write(request)


async def ask(port: int, request: bytes) -> Any:
    """The JSON answer to one request, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        data = b""
        while (length := response_length(data)) == _INCOMPLETE or len(data) < length:
            more = await reader.read(65536)
            if not more:
                raise ConnectionError("the server closed before it answered")
            data += more
        return msgspec.json.decode(data[data.find(_HEAD_END) + len(_HEAD_END) : length])
    finally:
        writer.close()
