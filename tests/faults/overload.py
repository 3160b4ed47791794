"""Three times more operations than the service can take: those it accepts stay quick, the others are refused at once.

    python -m tests.faults.overload --seconds 30

What it can take is found by a closed loop. Unloaded means half of that, offered by the same open loop as the overload.
Once over WebSockets and once over HTTP, where a request that finds every connection busy cannot leave and is counted.
The service has one core and the generator another, if there are two.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.verdict import MIB, Verdict
from tests.faults.command import Command, complain, quantile
from tests.support.open_loop import Book, Channel, answered, connections, keep_busy, offer, sockets
from tests.support.service_process import Service

TIMES = 3
P99_TIMES_BAR = 3.0
REFUSED_BAR_S = 0.1
AFTER_S = 1.0  # So long after its end the overload has left no trace.
MEMORY_BAR_MIB = 100.0  # More than unloaded: the operations that may be under way, and what sockets have not taken.
CLOSED_S = 3.0
GENERATOR_CORE, SERVICE_CORE = 1, 0

Open = Callable[[int, int, Sequence[str], Book], Awaitable[list[Channel]]]


@dataclass(frozen=True)
class Sizes:
    seconds: float = field(default=30.0, metadata={"help": "of overload, and of unloaded before it"})
    sockets: int = field(default=200, metadata={"help": "WebSockets"})
    connections: int = field(default=256, metadata={"help": "HTTP connections"})
    counters: int = field(default=100, metadata={"help": "counters"})


QUICK = Sizes(seconds=1.0, sockets=50, connections=64)


@dataclass(frozen=True)
class Wire:
    """One of the two ways to a counter."""

    name: str
    open: Open
    channels: int
    in_flight: int  # Of each channel, when the capacity is sought.
    closed: int  # So many channels, then: with fewer it waits for us, with more it begins to refuse.


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    names = [f"busy-{number}" for number in range(sizes.counters)]
    with _cores_of_their_own(service):
        for wire in (
            Wire("WebSocket", sockets, sizes.sockets, 8, 32),
            Wire("HTTP", connections, sizes.connections, 1, 128),
        ):
            await overload(service, wire, names, sizes.seconds, verdict)


async def overload(service: Service, wire: Wire, names: Sequence[str], seconds: float, verdict: Verdict) -> None:
    """Find what it can take over this wire, and offer more."""
    verdict.remark(f"{wire.name}:")
    capacity = await _capacity(service, wire, names, min(CLOSED_S, seconds))
    verdict.figure("it can take", capacity, "op/s")

    async def play(times: float, seconds: float) -> tuple[Book, int]:
        return await _play(service, wire, names, times * capacity, seconds)

    calm, _ = await play(0.5, seconds)
    calm_s = quantile(calm.accepted, 0.99)
    verdict.figure("unloaded, p50", 1000 * quantile(calm.accepted, 0.5), "ms")
    verdict.figure("unloaded, p99", 1000 * calm_s, "ms")
    verdict.at_most("unloaded, refused", len(calm.refused), 0, timed=True)

    memory = Memory(service)
    loaded, stuck = await play(TIMES, seconds)
    verdict.figure("offered", (len(loaded.sent_at) + stuck) / seconds, "op/s")
    verdict.figure("of them without a connection to leave on", stuck / seconds, "op/s")
    verdict.figure("accepted", len(loaded.accepted) / seconds, "op/s")
    verdict.figure("accepted, p50", 1000 * quantile(loaded.accepted, 0.5), "ms")
    p99_s, bar_s = quantile(loaded.accepted, 0.99), P99_TIMES_BAR * calm_s
    verdict.at_most("accepted, p99", 1000 * p99_s, 1000 * bar_s, "ms", timed=True)
    verdict.figure("refused", len(loaded.refused) / seconds, "op/s")
    if loaded.refused:
        verdict.at_most("refused, p99", 1000 * quantile(loaded.refused, 0.99), 1000 * REFUSED_BAR_S, "ms", timed=True)
        verdict.figure("refused, slowest", 1000 * max(loaded.refused), "ms")
    verdict.exactly("operations without an answer", loaded.unanswered, 0)
    verdict.exactly("answers of another kind, and closed connections", len(loaded.strange), 0)
    complain(verdict, loaded.strange)
    verdict.at_most("memory of gateway and host, more than unloaded", memory.grown() / MIB, MEMORY_BAR_MIB, "MiB")

    await asyncio.sleep(AFTER_S)
    after, _ = await play(0.5, max(1.0, seconds / 10))
    verdict.at_most("a second later, p99", 1000 * quantile(after.accepted, 0.99), 1000 * bar_s, "ms", timed=True)
    verdict.at_most("a second later, refused", len(after.refused), 0, timed=True)
    verdict.exactly("a second later, without an answer or with another", after.unanswered + len(after.strange), 0)


async def _capacity(service: Service, wire: Wire, names: Sequence[str], seconds: float) -> float:
    book = Book()
    channels = await wire.open(service.port, wire.closed, names, book)
    rate = await keep_busy(channels, wire.in_flight, seconds)
    await _end(channels, book)
    return rate


async def _play(
    service: Service, wire: Wire, names: Sequence[str], rate: float, seconds: float
) -> tuple[Book, int]:
    """An open loop. What became of it, and how many operations found no connection to leave on."""
    book = Book()
    channels = await wire.open(service.port, wire.channels, names, book)
    stuck = await offer(channels, rate, seconds)
    await _end(channels, book)
    return book, stuck


async def _end(channels: Sequence[Channel], book: Book) -> None:
    await answered(book)
    for channel in channels:
        channel.close()


class Memory:
    """Of the gateways and hosts: the most that they ever had, in bytes."""

    def __init__(self, service: Service) -> None:
        self._pids = [pid for kind in ("gateway", "host") for pid in service.pids(kind)]
        self._before = self._peak()

    def grown(self) -> int:
        """By how much the most has grown."""
        return self._peak() - self._before

    def _peak(self) -> int:
        total = 0
        for pid in self._pids:
            status = Path(f"/proc/{pid}/status").read_text()
            total += 1024 * int(status.partition("VmHWM:")[2].split()[0])
        return total


@contextlib.contextmanager
def _cores_of_their_own(service: Service) -> Iterator[None]:
    """One for the service and one for us, so that neither is measured by the other."""
    all = os.sched_getaffinity(0)
    if not {GENERATOR_CORE, SERVICE_CORE} <= all:
        yield
        return
    os.sched_setaffinity(0, {GENERATOR_CORE})
    _hold(service, {SERVICE_CORE})
    try:
        yield
    finally:
        _hold(service, all)
        os.sched_setaffinity(0, all)


def _hold(service: Service, cores: set[int]) -> None:
    for process in service.processes():
        for thread in process.threads():
            with contextlib.suppress(ProcessLookupError):  # Threads come and go.
                os.sched_setaffinity(thread.id, cores)


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": 1, "gateways": 1, "dedicated": 0},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
