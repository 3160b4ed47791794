"""Load at a rate, whatever the answers do: a pause of the service is felt by everything that falls due in it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Self

import msgspec

from tests.support.hammer import ANSWER_S, Client, Ledger, Lost, Operation, Socket, decode_answered

TICK_S = 0.002  # Operations leave in groups of what falls due in so many seconds.
SOCKETS = 32  # A connection may have 1,000 operations without an answer: room for several seconds of silence.


class Steady(Client):
    """Increments the counters in turn, over sockets that listen to nothing.

    Every round of the counters has another order, so that no two of them stay neighbours.
    """

    def __init__(
        self,
        port: int,
        ledger: Ledger,
        counters: list[str],
        key: str,
        rate: float,
        seed: int = 1,
        sockets: int = SOCKETS,
    ) -> None:
        super().__init__(port, ledger, key)
        self._counters = list(counters)
        self._rate = rate  # Operations a second in all.
        self._random = random.Random(seed)
        self._width = sockets
        self._sockets: list[_Writer] = []
        self._sent = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        """Begin, and go on until `stop`."""
        await self._connect()
        self._task = asyncio.create_task(self._run())
        return self

    async def once(self) -> None:
        """Send one operation for each counter, at the same rate."""
        await self._connect()
        self._task = asyncio.create_task(self._run(len(self._counters)))
        await self._task

    async def _connect(self) -> None:
        assert self._key is not None
        self._sockets = [await _Writer.connect(self, self._port, self._key) for _ in range(self._width)]
        self._turn = cycle(self._sockets)

    async def stop(self) -> None:
        """Send nothing more and wait for the last answers; what has none by then is open."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()
        waiting = [asyncio.wait_for(socket.idle(), ANSWER_S) for socket in self._sockets]
        await asyncio.gather(*waiting, return_exceptions=True)
        for socket in self._sockets:
            socket.leave()

    def send(self, counter: str) -> None:
        """Send one operation now, besides those that fall due. Raises Lost when every socket was closed."""
        for _ in range(self._width):
            socket = next(self._turn)
            if not socket.closed.done():
                self._sent += 1
                socket.submit(Operation(counter, str(self._sent), "ws"))
                return
        raise Lost("every socket was closed")

    async def _run(self, most: float = math.inf) -> None:
        began, sent = time.monotonic(), 0
        round: Iterator[str] = iter(())
        while sent < most:
            due = min(most, (time.monotonic() - began) * self._rate)
            while sent + 1 <= due:
                counter = next(round, None)
                if counter is None:
                    self._random.shuffle(self._counters)
                    round = iter(tuple(self._counters))
                    continue
                self.send(counter)
                sent += 1
            await asyncio.sleep(TICK_S)

    def take(self, message: bytes, waiting: dict[str, tuple[Operation, float]]) -> None:
        """An answer came to one of the operations that wait."""
        answered = decode_answered(message)
        operation, sent_at = waiting.pop(answered.id or "", (None, 0.0))
        if operation is None:
            self._ledger.refused.append(f"an answer to nothing: {message[:200]!r}")
        elif answered.result is not None:
            self._ledger.take(operation, answered.result, sent_at)
        elif answered.code == "UNAVAILABLE":
            self._ledger.open.append(operation)
        else:
            self._ledger.refused.append(f"{operation}: {answered}")

    def lose(self, waiting: dict[str, tuple[Operation, float]], asked_for: bool) -> None:
        """A socket was closed, and with it what was waiting there."""
        self.lost += not asked_for
        self._ledger.open += [operation for operation, _ in waiting.values()]
        waiting.clear()


class _Writer(Socket):
    """A socket with many operations under way."""

    _steady: Steady

    @classmethod
    async def connect(cls, steady: Steady, port: int, key: str) -> Self:
        socket = await cls.open(port, None, None, key=key)
        socket._steady = steady
        socket.waiting: dict[str, tuple[Operation, float]] = {}
        socket.on_message = lambda message: steady.take(message, socket.waiting)
        socket._left = False
        socket.closed.add_done_callback(lambda _: steady.lose(socket.waiting, socket._left))
        return socket

    def submit(self, operation: Operation) -> None:
        self.waiting[operation.id or ""] = operation, time.monotonic()
        self.send(msgspec.json.encode({"type": "increment", "name": operation.counter, "id": operation.id}))

    async def idle(self) -> None:
        """Return when nothing waits any more."""
        while self.waiting:
            await asyncio.sleep(0.01)

    def leave(self) -> None:
        self._left = True
        self.close()
