"""A connection that says what it likes, as fast as it likes, and keeps a tally of what it hears."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Self

from loadtests.endurance.raw import CLOSE, PING, PONG, TEXT, Frames, client_frame, close_code, upgraded

TICK_S = 0.01
_HEAD = 120  # Bytes of a message that show what it is.


class Attacker(asyncio.Protocol):
    """It answers protocol pings unless it is `deaf`."""

    _transport: asyncio.Transport

    def __init__(self, deaf: bool = False) -> None:
        self._deaf = deaf
        self._frames = Frames()
        self._writable = asyncio.Event()
        self._writable.set()
        self.heard: Counter[str] = Counter()  # By `kind`.
        self.last = b""
        self.sent = 0
        self.closed: int | None = None  # The code; 1006 without one.
        self.closed_at = 0.0
        self._closing = False

    async def connect(self, port: int, path: str) -> Self:
        one, begun = await upgraded(port, path)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=one)
        if begun:
            self.data_received(begun)
        return self

    def send(self, frames: bytes, count: int) -> None:
        """Send bytes, which hold `count` messages that want an answer."""
        if self.closed is None:
            self._transport.write(frames)
            self.sent += count

    async def flood(self, messages: Iterator[bytes], per_s: float, seconds: float) -> None:
        """Send messages at a rate for a time, and no faster than the service takes them."""
        start = perf_counter()
        sent = 0
        while (now := perf_counter() - start) < seconds and self.closed is None:
            due = int(now * per_s) - sent
            self.send(b"".join([next(messages) for _ in range(due)]), due)
            sent += due
            await asyncio.sleep(TICK_S)
            try:
                await asyncio.wait_for(self._writable.wait(), max(0.0, seconds - now))
            except TimeoutError:
                return
            sent = max(sent, int((perf_counter() - start - 2 * TICK_S) * per_s))  # What was held up is not made up for.

    async def answered(self, seconds: float) -> bool:
        """Wait until as much was heard as was sent."""
        end = perf_counter() + seconds
        while sum(self.heard.values()) < self.sent and self.closed is None and perf_counter() < end:
            await asyncio.sleep(0.01)
        return sum(self.heard.values()) >= self.sent

    def close(self) -> None:
        self._closing = True
        self._transport.close()

    # asyncio's hooks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        for opcode, payload in self._frames.feed(data):
            if opcode == TEXT:
                self.last = payload
                self.heard[kind(payload)] += 1
            elif opcode == PING:
                if not self._deaf:
                    self._transport.write(client_frame(payload, PONG))
            elif opcode == PONG:
                self.heard["pong"] += 1
            elif opcode == CLOSE:
                self.closed = close_code(payload)

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if not self._closing:
            self.closed = self.closed or 1006
            self.closed_at = perf_counter()


def kind(message: bytes) -> str:
    """What a message is, in a word: its type; of an error, its code."""
    if message == b"pong":
        return "pong"
    head = message[:_HEAD]
    for field in (b'"code":"', b'"type":"'):
        start = head.find(field)
        if start >= 0:
            start += len(field)
            return head[start : head.index(b'"', start)].decode()
    return "?"
