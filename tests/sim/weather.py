"""Chance, all of it from one seed: how long things take, where they break, what a disk does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

from actors.round import Repetition
from storage.errors import StorageUnavailable
from tests.support.loop import current

T = TypeVar("T")


class Storm:
    """Bytes travel at any speed, arrive in any pieces, and a cut may fall between any two of them."""

    def __init__(self, seed: str, delay_s: float, chopping: bool) -> None:
        self._seed = seed
        self._delay_s = delay_s
        self._chopping = chopping
        self._branches = 0
        self._chance = Random(seed)

    def branch(self) -> Storm:
        self._branches += 1
        return Storm(f"{self._seed}/{self._branches}", self._delay_s, self._chopping)

    def delay_s(self) -> float:
        # Mostly short, now and then much longer: so that things overtake each other that never would otherwise.
        return self._delay_s * self._chance.random() ** 3

    def pieces(self, data: bytes) -> list[bytes]:
        if not self._chopping or self._chance.random() < 0.7:
            return [data]
        place = self._chance.randrange(len(data))
        return [piece for piece in (data[:place], data[place:]) if piece]

    def kept(self, length: int) -> int:
        return self._chance.choice((0, length, self._chance.randint(0, length)))


class Disk:
    """Stands in for the storage thread of one host: what it is told to do happens some time later, if at all.

    A commit may fail before it has happened, or after. A process that is killed takes its thread along; what was under
    way may have happened or not. One that is frozen goes on where it stood.
    """

    def __init__(self, seed: str, delay_s: float, failures: float) -> None:
        self._chance = Random(seed)
        self._delay_s = delay_s
        self.failures = failures
        self._loop = current()
        self._jobs: deque[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._busy = False
        self.under_way = 0  # Nobody looks for stopped processes here.
        self._frozen: list[Callable[[], None]] | None = None  # What goes on when it thaws.
        self._dead = False
        self._waiting: set[asyncio.Future[Any]] = set()

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        if self._dead:
            future.cancel()
            return future
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        self._jobs.append((future, function, arguments))
        if not self._busy:
            self._next()
        return future

    def close(self) -> None:
        """Its host is gone."""

    def freeze(self) -> None:
        if self._frozen is None:
            self._frozen = []

    def thaw(self) -> None:
        held, self._frozen = self._frozen, None
        for go_on in held or ():
            self._loop.call_soon(go_on)

    def die(self) -> None:
        """What was under way happens, or does not; nobody is told."""
        self._dead = True
        if self._jobs and self._chance.random() < 0.5:
            _, function, arguments = self._jobs[0]
            with suppress(StorageUnavailable, Repetition):  # A repeated id may be refused.
                function(*arguments)
        self._jobs.clear()
        for future in list(self._waiting):
            future.cancel()

    def _later(self, go_on: Callable[[], None]) -> None:
        def unless_frozen() -> None:
            if self._dead:
                return
            if self._frozen is not None:
                self._frozen.append(go_on)
            else:
                go_on()

        self._loop.call_later(self._delay_s * self._chance.random() ** 2, unless_frozen)

    def _next(self) -> None:
        self._busy = bool(self._jobs)
        if self._busy:
            self._later(self._work)

    def _work(self) -> None:
        future, function, arguments = self._jobs.popleft()
        fails = self._chance.random() < self.failures
        result: Any = None
        error: Exception | None = None
        if not fails or self._chance.random() < 0.5:
            try:
                result = function(*arguments)
            except Exception as raised:
                error = raised
        if fails:
            error = StorageUnavailable("the disk said no, which may be a lie")
        self._later(lambda: self._tell(future, result, error))

    def _tell(self, future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._next()
