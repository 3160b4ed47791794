"""A client that behaves, and measures what everybody would notice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import NamedTuple, Self

from loadtests.bench.figures import percentile
from loadtests.bench.load.http import RefusedError, ask, post
from loadtests.bench.stage import Stage, new_name
from loadtests.endurance.clients import Reader, Source

PROBE_PER_S = 200
QUICK_S = 0.1  # An operation on a new counter takes some milliseconds.
RECOVER_MAX_S = 30.0
ANSWER_S = 15.0  # The service gives up after 10.


class Noticed(NamedTuple):
    """What a stretch of time felt like, in seconds."""

    operation_p99: float  # From sending to the answer.
    delivery_p99: float  # From sending to the event, on another connection.


class Probe:
    """Operations at a steady rate on a counter of its own, and one listener."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.source = Source(stage, new_name("probe"))
        self._reader = Reader(self.source.counter, self.source.sent_at, [], 1, stage.fail)

    async def connect(self) -> Self:
        await self.source.connect()
        await self._reader.connect(self._stage.peer.port)
        return self

    async def measure(self, seconds: float) -> Noticed:
        """Operate for a time, and wait for what is still to come of it: a late answer is a late answer."""
        operations, deliveries = self.source.latencies, self._reader.latencies
        operations.clear()
        deliveries.clear()
        before = len(self.source.sent_at)
        await self.source.run(PROBE_PER_S, seconds)
        sent = len(self.source.sent_at) - before
        end = perf_counter() + ANSWER_S
        while (len(operations) < sent or len(deliveries) < sent) and perf_counter() < end:
            await self._stage.pause(0.01)
        return Noticed(p99(operations, sent), p99(deliveries, sent))

    async def recovered(self) -> float:
        """Wait until a new client is served as quickly as ever; the seconds that took, and hardly less than 0.01."""
        began = perf_counter()
        while perf_counter() - began < RECOVER_MAX_S:
            asked = perf_counter()
            with suppress(RefusedError):
                await ask(self._stage.peer.port, post("counter.increment", {"name": new_name("probe")}))
                if perf_counter() - asked < QUICK_S:
                    break
            await self._stage.pause(0.01)
        return perf_counter() - began

    async def exact(self) -> bool:
        """Whether every operation was counted and heard, each by itself."""
        await self.source.settle()
        sent = len(self.source.sent_at)
        for _ in range(500):
            if self._reader.events >= sent:
                break
            await self._stage.pause(0.01)
        value = await self._stage.value_of(self.source.counter)
        return self.source.acknowledged == self._reader.events == sent == value


def p99(latencies: Sequence[float], sent: int) -> float:
    """In seconds, of `sent` operations; those that were never heard of took for ever."""
    return percentile([*sorted(latencies), *[math.inf] * (sent - len(latencies))], 0.99)
