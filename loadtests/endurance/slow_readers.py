"""Many sockets that never read, some that do, and a stream of events for all of them.

The ones that read must not notice the others; what is kept for those must stay small; and when they read at last, the
newest value has to be waiting for them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import statistics
from contextlib import suppress
from dataclasses import dataclass

from loadtests.bench.figures import percentile
from loadtests.bench.stage import Stage, new_name
from loadtests.endurance.clients import Reader, Source
from loadtests.endurance.raw import PONG, client_frame, unsent, upgraded
from loadtests.service import pss_of
from loadtests.verdict import MIB, Verdict

MEMORY_BAR_MIB = 64.0
LATENCY_BAR = 1.2  # p99 with the slow ones, in terms of that without.
PART_S = 1.5  # Of each part of a run a p99 is taken; the median of the parts is the figure. A busy machine is forgiven.
WEIGH_S = 2.0  # Between two looks at the gateway's memory: a look costs it some milliseconds.
WARM_S = 2.0
FILL_MAX_S = 60
FILLED = 1.01  # Buffers are full when what waits in them grows by no more than this factor in a second.
CATCH_UP_S = 60.0
CATCH_UP_EVENTS_PER_S = 20
ALIVE_S = 5.0  # Who reads again says so as often as this, as a client does that answers pings.
TAIL = 4096  # Bytes at the end of a stream that hold its last message.
SAMPLES_MAX = 1_000_000
_SEQ = re.compile(rb'"operationCount":(\d+)')


@dataclass(frozen=True)
class Size:
    slow: int = 1_000
    readers: int = 100
    events_per_s: int = 2_000
    seconds: float = 60.0  # With the slow ones; half of it before, and half after.


QUICK = Size(slow=100, readers=50, events_per_s=1_000, seconds=12.0)


async def run(stage: Stage, quick: bool, verdict: Verdict) -> None:
    """See the module."""
    size = QUICK if quick else Size()
    counter = new_name("slow")
    source = await Source(stage, counter).connect()
    sample = max(1, round(size.readers * size.events_per_s * size.seconds * 2 / SAMPLES_MAX))
    readers = [Reader(counter, source.sent_at, [], sample, stage.fail) for _ in range(size.readers)]
    await stage.all_of([reader.connect(stage.peer.port) for reader in readers])
    verdict.remark(
        f"{size.slow:,} sockets that never read, {size.readers} that do, "
        f"{size.events_per_s:,} events/s for {size.seconds:g} s"
    )

    play = _Play(stage, source, readers, size.events_per_s)
    await source.run(size.events_per_s, WARM_S)
    weigher = asyncio.create_task(_peak(stage))  # From the beginning: its looks must not speak for one side.
    before = await play.p99s(size.seconds / 2)
    at_first = pss_of(stage.peer, "gateway")

    path = f"/ws/counter/{counter}"
    slow = [one for one, _ in await stage.all_of([upgraded(stage.peer.port, path) for _ in range(size.slow)])]
    filling = await _fill(play)
    held = unsent(stage.peer.port)
    crowded = await play.p99s(size.seconds)
    peak = pss_of(stage.peer, "gateway")

    drainers = await _read_again(play, slow, source)
    afterwards = pss_of(stage.peer, "gateway")
    for drainer in drainers:
        drainer.close()
    await stage.pause(1.0)
    after = await play.p99s(size.seconds / 2)
    weigher.cancel()
    peak = max(peak, await weigher)
    await source.settle()
    await play.heard_all()

    alone_ms, crowded_ms = (1e3 * statistics.median(parts) for parts in (before + after, crowded))
    verdict.figure("readers' delivery p99 without slow ones", alone_ms, "ms")
    verdict.figure("the same while buffers fill", 1e3 * max(filling), "ms")
    verdict.figure("time until they were full", len(filling), "s")
    verdict.figure("the same with slow ones", crowded_ms, "ms")
    verdict.at_most("with, in terms of without", crowded_ms / alone_ms, LATENCY_BAR, timed=True)
    verdict.at_most("growth of the gateway with its slow sockets", (peak - at_first) / MIB, MEMORY_BAR_MIB, "MiB")
    verdict.figure("what is left of it when they have read", (afterwards - at_first) / MIB, "MiB")
    verdict.figure("held by the kernel for those that do not read", held / MIB, "MiB")
    complete = sum(reader.events == len(source.sent_at) for reader in readers)
    verdict.exactly("readers that heard every event by itself", complete, size.readers)
    verdict.exactly("slow ones that were closed", sum(drainer.closed for drainer in drainers), 0)
    newest = sum(drainer.seq == drainer.wanted for drainer in drainers)
    verdict.exactly("slow ones whose last message is the newest value", newest, size.slow)
    verdict.figure("operations held back by the source", source.held_back)
    for reader in readers:
        reader.drop()


class _Play:
    """A source and its readers."""

    def __init__(self, stage: Stage, source: Source, readers: list[Reader], events_per_s: int) -> None:
        self.stage = stage
        self.source = source
        self._readers = readers
        self._events_per_s = events_per_s

    async def p99s(self, seconds: float) -> list[float]:
        """Send for a time; the p99, in seconds, of what the readers heard in each part of it."""
        return [await self.p99(PART_S) for _ in range(max(1, round(seconds / PART_S)))]

    async def p99(self, seconds: float) -> float:
        for reader in self._readers:
            reader.latencies.clear()
        await self.source.run(self._events_per_s, seconds)
        return percentile(sorted(latency for reader in self._readers for latency in reader.latencies), 0.99)

    async def heard_all(self) -> None:
        """Give the last events time to arrive."""
        for _ in range(1_000):
            if all(reader.events >= len(self.source.sent_at) for reader in self._readers):
                return
            await self.stage.pause(0.01)


async def _fill(play: _Play) -> list[float]:
    """Send until the kernel takes nothing more for the slow ones: from here on they lag. The p99 of each second."""
    parts: list[float] = []
    before = 0
    while len(parts) < FILL_MAX_S:
        parts.append(await play.p99(1.0))
        waiting = unsent(play.stage.peer.port)
        if waiting <= before * FILLED:
            break
        before = waiting
    return parts


async def _peak(stage: Stage) -> int:
    """The most memory that the gateways took, in bytes, until it is cancelled."""
    peak = 0
    with suppress(asyncio.CancelledError):
        while True:
            peak = max(peak, pss_of(stage.peer, "gateway"))
            await asyncio.sleep(WEIGH_S)
    return peak


class _Drainer(asyncio.Protocol):
    """Reads a socket to the end, as fast as it goes, and remembers the last message."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.wanted = -1
        self.closed = False  # By the service.
        self._closing = False  # By us.
        self._tail = b""

    @property
    def seq(self) -> int:
        """operationCount of the last message; 0 when there was none."""
        found = _SEQ.findall(self._tail)
        return int(found[-1]) if found else 0

    @property
    def done(self) -> bool:
        return self.closed or self.seq == self.wanted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = not self._closing

    def say_alive(self) -> None:
        if not self.closed:
            self._transport.write(client_frame(b"", PONG))

    def close(self) -> None:
        self._closing = True
        self._transport.close()


async def _read_again(play: _Play, slow: list[socket.socket], source: Source) -> list[_Drainer]:
    """Let the slow ones read, while a few more events come; then wait until they have what they should."""
    loop = asyncio.get_running_loop()
    drainers = [(await loop.create_connection(_Drainer, sock=one))[1] for one in slow]
    await source.run(CATCH_UP_EVENTS_PER_S, 2.0)
    for drainer in drainers:
        drainer.wanted = len(source.sent_at)
    for _ in range(round(CATCH_UP_S / ALIVE_S)):
        for drainer in drainers:
            drainer.say_alive()
        for _ in range(round(ALIVE_S / 0.1)):
            if all(drainer.done for drainer in drainers):
                return drainers
            await play.stage.pause(0.1)
    return drainers
