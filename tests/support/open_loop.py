"""An open loop: operations leave when their time has come, whether or not the ones before were answered.

A flood is as cheap as Python allows, because it has to offer several times what a service can take, from one core: what
is sent is made of finished bytes, and of an answer only its kind and its id are read.
"""

from __future__ import annotations

import asyncio
import base64
import os
from array import array
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

TICK_S = 0.002
TEXT = 0x81


class Book:
    """What was sent, when, and what became of it. Times are in seconds."""

    def __init__(self) -> None:
        self.sent_at = array("d")
        self.accepted: list[float] = []  # How long each answer took.
        self.refused: list[float] = []
        self.strange: list[str] = []
        self.unsent = 0  # There was no connection to send it on.

    @property
    def sent(self) -> int:
        return len(self.sent_at)

    @property
    def answered(self) -> int:
        return len(self.accepted) + len(self.refused) + len(self.strange)

    def answer(self, number: int, good: bool) -> None:
        (self.accepted if good else self.refused).append(perf_counter() - self.sent_at[number])


class Channel(Protocol):
    """Something operations can be sent on."""

    book: Book

    def send(self, operations: int) -> int:
        """Send so many, or as many as can be sent now; how many that were."""
        ...


class SocketChannel(asyncio.Protocol):
    """A WebSocket on `/ws`; each operation goes to the next of its counters."""

    def __init__(self, counters: Sequence[str]) -> None:
        self.book = Book()
        self.answered = None  # Called after each answer, for a closed loop.
        self._bodies = [b'{"type":"increment","name":"%b","id":"' % name.encode() for name in counters]
        self._turn = 0
        self._received = b""
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send(self, operations: int) -> int:
        book, bodies, now = self.book, self._bodies, perf_counter()
        frames = []
        for _ in range(operations):
            body = b'%b%09d"}' % (bodies[self._turn % len(bodies)], len(book.sent_at))
            self._turn += 1
            book.sent_at.append(now)
            frames.append(b"\x81%c\0\0\0\0%b" % (0x80 | len(body), body))
        self._transport.write(b"".join(frames))
        return operations

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        if not self.open.done():
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._received = data
                return
            assert data.startswith(b"HTTP/1.1 101"), data
            self.open.set_result(None)
            data = data[end + 4 :]
        start, end = 0, len(data)
        book, done = self.book, 0
        while end - start >= 4:
            length, head = data[start + 1], 2
            if length == 126:
                length, head = data[start + 2] << 8 | data[start + 3], 4
            body = start + head
            if body + length > end:
                break
            start = body + length
            # {"type":"incrementResult","id":"… or {"type":"error",…,"id":"…"}
            good = data[body + 9] == 0x69
            at = body + 32 if good else start - 11
            try:
                book.answer(int(data[at : at + 9]), good)
            except ValueError:
                book.strange.append(data[body:start].decode(errors="replace"))
            done += 1
        self._received = data[start:]
        if done and self.answered is not None:
            self.answered(self, done)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._transport.is_closing() or exc is not None:
            self.book.strange.append(f"closed: {exc}")

    def close(self) -> None:
        self._transport.close()


class HttpChannel(asyncio.Protocol):
    """A keep-alive connection with one request at a time."""

    def __init__(self, counter: str, book: Book, idle: list[HttpChannel]) -> None:
        self.book = book
        self.answered = None
        body = b'{"name":"%b"}' % counter.encode()
        head = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._request = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        self._idle = idle
        self._number = -1
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._idle.append(self)

    def ask(self) -> None:
        self._number = len(self.book.sent_at)
        self.book.sent_at.append(perf_counter())
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._received = data
            return
        at = data.find(b"content-length: ", 0, end) + 16
        length = int(data[at : data.find(b"\r", at)])
        if len(data) < end + 4 + length:
            self._received = data
            return
        self._received = b""
        status = data[9:12]
        if status == b"200" or status == b"503":
            self.book.answer(self._number, status == b"200")
        else:
            self.book.strange.append(data.decode(errors="replace"))
        self._number = -1
        if self.answered is not None:
            self.answered(self, 1)
        else:
            self._idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._number >= 0:
            self.book.strange.append(f"closed: {exc}")

    def close(self) -> None:
        self._transport.close()
