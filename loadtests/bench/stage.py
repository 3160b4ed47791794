"""Where a case plays: one running peer, a clock, two meters, and an end as soon as anything fails."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from loadtests.bench.figures import latency_figures
from loadtests.bench.load.http import ask, post
from loadtests.bench.peers import Peer

T = TypeVar("T")

DRAIN_TIMEOUT_S = 30
CONNECTING_AT_ONCE = 32  # Below every listen backlog, so that nobody waits for a repeated SYN.


@dataclass(frozen=True)
class Extent:
    """How long and how large. The full size is what the bars speak of."""

    seconds: float = 5.0  # Of measurement, after the warm-up.
    warmup_s: float = 1.5  # Compilers warm up, buffers reach their size.
    share: float = 1.0  # Of the full number of idle sockets, subscribers, counters.

    def scaled(self, count: int) -> int:
        return max(1, round(count * self.share))


@dataclass(frozen=True)
class Reading:
    """The clocks at one moment, in seconds."""

    at_s: float
    server_cpu_s: float
    generator_cpu_s: float

    def __sub__(self, earlier: Reading) -> Reading:
        return Reading(
            self.at_s - earlier.at_s,
            self.server_cpu_s - earlier.server_cpu_s,
            self.generator_cpu_s - earlier.generator_cpu_s,
        )


class Stage:
    """Made inside the event loop, one for each play of a case."""

    def __init__(self, peer: Peer, extent: Extent) -> None:
        self.peer = peer
        self.extent = extent
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, why: Exception) -> None:
        """End the case with this error; for callbacks, which have nobody to raise it to."""
        if not self._failure.done():
            self._failure.set_exception(why)

    async def pause(self, seconds: float) -> None:
        """Let time pass, or raise what failed meanwhile."""
        await asyncio.wait([self._failure], timeout=seconds)
        if self._failure.done():
            self._failure.result()

    async def until(self, *ends: Awaitable[T], timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Wait for all of them, or raise what failed meanwhile."""
        everything = asyncio.gather(*ends)
        waited: list[asyncio.Future[Any]] = [self._failure, everything]
        await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            everything.cancel()
            self._failure.result()
        if not everything.done():
            everything.cancel()
            raise TimeoutError(f"{self.peer.name}: still waiting after {timeout_s} s")
        everything.result()

    async def all_of(self, starts: Iterable[Awaitable[T]]) -> list[T]:
        """Run them, a few at a time; results in order."""
        places = asyncio.Semaphore(CONNECTING_AT_ONCE)

        async def placed(one: Awaitable[T]) -> T:
            async with places:
                return await one

        return await asyncio.gather(*(placed(one) for one in starts))

    def read(self) -> Reading:
        server_cpu_s = self.peer.cpu_seconds()
        return Reading(time.perf_counter(), server_cpu_s, time.process_time())

    async def value_of(self, counter: str) -> int:
        answer: Any = await ask(self.peer.port, post("counter.getValue", {"name": counter}))
        return int(answer["value"])

    async def measured(self, latencies_s: Sequence[float]) -> dict[str, float]:
        """Warm up, then measure: one operation is one more entry in `latencies_s`."""
        await self.pause(self.extent.warmup_s)
        first, before = len(latencies_s), self.read()
        await self.pause(self.extent.seconds)
        spent, last = self.read() - before, len(latencies_s)
        return operation_figures(latencies_s[first:last], spent) | self.memory()

    def memory(self) -> dict[str, float]:
        return {"memory_mib": self.peer.pss_bytes() / 2**20}


def new_name(prefix: str) -> str:
    """A counter nobody has used: cases do not meet, and repeats do not either."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def operation_figures(latencies_s: Sequence[float], spent: Reading) -> dict[str, float]:
    """What operations with these latencies, within this time, say about speed and cost."""
    operations = len(latencies_s)
    if operations == 0:
        raise RuntimeError("not one operation was answered while measuring")
    return {
        "ops_per_s": operations / spent.at_s,
        **_cost(operations, spent),
        **latency_figures(latencies_s),
        **busy_figures(spent),
    }


def delivery_figures(deliveries: int, spent: Reading) -> dict[str, float]:
    if deliveries == 0:
        raise RuntimeError("not one event was delivered while measuring")
    figures = {"deliveries_per_s": deliveries / spent.at_s, **busy_figures(spent)}
    if spent.server_cpu_s > 0:
        figures["deliveries_per_cpu_s"] = deliveries / spent.server_cpu_s
    return figures


def busy_figures(spent: Reading) -> dict[str, float]:
    """How far each core was used; a busy generator would mean that it was the limit."""
    return {
        "server_busy_percent": 100 * spent.server_cpu_s / spent.at_s,
        "generator_busy_percent": 100 * spent.generator_cpu_s / spent.at_s,
    }


def _cost(operations: int, spent: Reading) -> dict[str, float]:
    figures = {"generator_cpu_us_per_op": 1e6 * spent.generator_cpu_s / operations}
    if spent.server_cpu_s > 0:  # A very short run may be below the clock's resolution.
        figures["ops_per_cpu_s"] = operations / spent.server_cpu_s
        figures["server_cpu_us_per_op"] = 1e6 * spent.server_cpu_s / operations
    return figures
