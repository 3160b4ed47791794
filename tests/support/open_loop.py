"""An open loop: operations leave when their time has come, whether or not the ones before them were answered.

It has to offer several times what a service can take, from one core, so it is as cheap as Python allows: what is sent
is made of finished bytes, and of an answer only its kind and its id are read.
"""

from __future__ import annotations

import asyncio
import base64
import os
from array import array
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Self, cast

TICK_S = 0.002
PATIENCE_S = 10.0  # For the answers to what was sent last.
ID_DIGITS = 9
# {"type":"incrementResult","id":"… and {"type":"error",…,"id":"123456789"}
KIND_AT, RESULT_ID_AT, ERROR_ID_FROM_END = 9, 32, ID_DIGITS + 2


class Book:
    """What was sent, when, and what became of it. Times are in seconds."""

    def __init__(self) -> None:
        self.sent_at = array("d")
        self.accepted: list[float] = []  # How long each answer took.
        self.refused: list[float] = []
        self.strange: list[str] = []  # What should not have come.

    @property
    def unanswered(self) -> int:
        return len(self.sent_at) - len(self.accepted) - len(self.refused)

    def answer(self, number: int, good: bool) -> None:
        (self.accepted if good else self.refused).append(perf_counter() - self.sent_at[number])


class Channel(asyncio.Protocol):
    """A connection that operations are sent on, all in one book. `on_answers` is told of so many answers."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.on_answers: Callable[[Self, int], None] | None = None
        self._received = b""
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self.book.strange.append(f"a connection was closed: {exc}")

    def send(self, operations: int) -> int:
        """Send so many, or as many as can be sent now. Returns how many that were."""
        raise NotImplementedError

    def close(self) -> None:
        self._closing = True
        self._transport.close()


class SocketChannel(Channel):
    """A WebSocket for many counters; each operation goes to the next of them."""

    def __init__(self, book: Book, counters: Sequence[str]) -> None:
        super().__init__(book)
        self._bodies = [b'{"type":"increment","name":"%b","id":"' % name.encode() for name in counters]
        self._turn = 0
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        key = base64.b64encode(os.urandom(16))
        self._transport.write(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n" % key
        )

    def send(self, operations: int) -> int:
        sent_at, bodies, now = self.book.sent_at, self._bodies, perf_counter()
        frames = []
        for _ in range(operations):
            body = b'%b%0*d"}' % (bodies[self._turn % len(bodies)], ID_DIGITS, len(sent_at))
            self._turn += 1
            sent_at.append(now)
            frames.append(b"\x81%c\0\0\0\0%b" % (0x80 | len(body), body))  # A mask of zeros changes nothing.
        self._transport.write(b"".join(frames))
        return operations

    def data_received(self, data: bytes) -> None:
        data = self._received + data if self._received else data
        if not self.open.done():
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._received = data
                return
            assert data.startswith(b"HTTP/1.1 101"), data
            self.open.set_result(None)
            data = data[end + 4 :]
        start, end, answers = 0, len(data), 0
        while end - start >= 4:
            length, body = data[start + 1], start + 2
            if length == 126:
                length, body = data[start + 2] << 8 | data[start + 3], start + 4
            stop = body + length
            if stop > end:
                break
            if data[start] == 0x81:
                good = data[body + KIND_AT : body + KIND_AT + 9] == b"increment"
                at = body + RESULT_ID_AT if good else stop - ERROR_ID_FROM_END
                number = data[at : at + ID_DIGITS]
                if number.isdigit():
                    self.book.answer(int(number), good)
                else:
                    self.book.strange.append(data[body:stop].decode(errors="replace"))
                answers += 1
            elif data[start] == 0x88:
                self.book.strange.append(f"closed with {data[body:stop]!r}")
            start = stop  # A ping needs no answer: whatever we say next is one.
        self._received = data[start:]
        if answers and self.on_answers is not None:
            self.on_answers(self, answers)


class HttpChannel(Channel):
    """A keep-alive connection with one request at a time."""

    def __init__(self, book: Book, counter: str) -> None:
        super().__init__(book)
        body = b'{"name":"%b"}' % counter.encode()
        head = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._request = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        self._number = -1

    def send(self, operations: int) -> int:
        if self._number >= 0 or not operations:
            return 0
        self._number = len(self.book.sent_at)
        self.book.sent_at.append(perf_counter())
        self._transport.write(self._request)
        return 1

    def data_received(self, data: bytes) -> None:
        data = self._received + data if self._received else data
        end = data.find(b"\r\n\r\n")
        at = data.find(b"content-length: ", 0, end) + 16
        if end < 0 or len(data) < end + 4 + int(data[at : data.find(b"\r", at)]):
            self._received = data
            return
        self._received = b""
        number, self._number = self._number, -1
        status = data[9:12]
        self.book.answer(number, status == b"200")
        if status not in (b"200", b"503"):
            self.book.strange.append(data.decode(errors="replace"))
        if self.on_answers is not None:
            self.on_answers(self, 1)


async def sockets(port: int, count: int, counters: Sequence[str], book: Book) -> list[Channel]:
    """So many WebSockets, each of which begins with another counter."""
    loop, opened = asyncio.get_running_loop(), []
    for number in range(count):
        turned = [*counters[number % len(counters) :], *counters[: number % len(counters)]]
        _, channel = await loop.create_connection(lambda names=turned: SocketChannel(book, names), "127.0.0.1", port)
        await channel.open
        opened.append(channel)
    return opened


async def connections(port: int, count: int, counters: Sequence[str], book: Book) -> list[Channel]:
    """So many HTTP connections, each for one counter."""
    loop, opened = asyncio.get_running_loop(), []
    for number in range(count):
        name = counters[number % len(counters)]
        _, channel = await loop.create_connection(lambda name=name: HttpChannel(book, name), "127.0.0.1", port)
        opened.append(channel)
    return opened


async def offer(channels: Sequence[Channel], rate: float, seconds: float) -> int:
    """Send so many operations a second, in turn on all channels. Returns how many found no channel to leave on."""
    began = perf_counter()
    due = stuck = turn = 0
    while (passed := perf_counter() - began) < seconds:
        wanted = int(passed * rate) - due
        due += wanted
        share = -(-wanted // len(channels))
        for _ in channels:
            if not wanted:
                break
            turn += 1
            wanted -= channels[turn % len(channels)].send(min(share, wanted))
        stuck += wanted
        await asyncio.sleep(TICK_S)
    return stuck


async def keep_busy(channels: Sequence[Channel], in_flight: int, seconds: float) -> float:
    """A closed loop: so many operations under way on each channel. Returns how many were accepted a second."""
    book = channels[0].book
    for channel in channels:
        channel.on_answers = lambda channel, answers: channel.send(answers) and None
        channel.send(in_flight)
    await asyncio.sleep(seconds / 4)
    before, began = len(book.accepted), perf_counter()
    await asyncio.sleep(seconds)
    rate = (len(book.accepted) - before) / (perf_counter() - began)
    for channel in channels:
        channel.on_answers = None
    return rate


async def answered(book: Book) -> None:
    """Wait until everything is answered, or for PATIENCE_S."""
    end = perf_counter() + PATIENCE_S
    while book.unanswered and perf_counter() < end:
        await asyncio.sleep(TICK_S)
