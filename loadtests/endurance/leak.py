"""Comings and goings, a hundred thousand of them: what they leave behind in memory.

Connections end in every way there is: with a goodbye, with a plain end of the stream, with a reset, in the middle of a
frame, before the handshake is over, and after a while on `/ws` with subscriptions of their own.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count

import msgspec

from loadtests.bench.load.http import ask, post
from loadtests.bench.stage import Stage, new_name
from loadtests.endurance.raw import CLOSE, client_frame, handshake, reset, upgraded
from loadtests.service import open_files_of, pss_of
from loadtests.verdict import MIB, Verdict

BAR_PERCENT = 5.0
WARM_CYCLES = 2_000
COUNTERS = 500
AT_ONCE = 32
SETTLE_S = 3.0  # For what ends a moment later: closing connections, interest that is withdrawn.
GOODBYE = client_frame(b"\x03\xe8", CLOSE)  # 1000.
HALF = client_frame(b'{"type":"ping"}')[:9]


@dataclass(frozen=True)
class Size:
    cycles: int = 100_000


QUICK = Size(cycles=5_000)


async def run(stage: Stage, quick: bool, verdict: Verdict) -> None:
    """See the module."""
    size = QUICK if quick else Size()
    prefix = new_name("leak")
    names = [f"{prefix}-{number}" for number in range(COUNTERS)]
    for name in names:  # Once written, so that there is something to come back for.
        await ask(stage.peer.port, post("counter.increment", {"name": name}))
    verdict.remark(f"{size.cycles:,} connections over {COUNTERS} counters, after {WARM_CYCLES:,} that warm up")

    cycles = _Cycles(stage.peer.port, names)
    await cycles.run(WARM_CYCLES)
    await stage.pause(SETTLE_S)
    before = {kind: pss_of(stage.peer, kind) for kind in ("gateway", "host")}
    files = open_files_of(stage.peer, "gateway")
    began = asyncio.get_running_loop().time()
    await cycles.run(size.cycles)
    seconds = asyncio.get_running_loop().time() - began
    await stage.pause(SETTLE_S)
    after = {kind: pss_of(stage.peer, kind) for kind in before}
    left = open_files_of(stage.peer, "gateway") - files

    verdict.figure("connections a second", size.cycles / seconds)
    for kind in before:
        verdict.figure(f"{kind} before", before[kind] / MIB, "MiB")
        verdict.figure(f"{kind} after", after[kind] / MIB, "MiB")
        percent = 100 * (after[kind] / before[kind] - 1)
        verdict.at_most(f"growth of the {kind}", percent, BAR_PERCENT, "%")
    verdict.exactly("files that the gateway has not closed", max(0, left), 0)
    values = await asyncio.gather(*(stage.value_of(name) for name in names))
    verdict.exactly("counters that still have their value", values.count(1), COUNTERS)


class _Cycles:
    """Connects and ends, over and over, in all ways in turn."""

    def __init__(self, port: int, names: list[str]) -> None:
        self._port = port
        self._names = names
        self._numbers = count()
        self._ways: list[Callable[[str], Awaitable[None]]] = [
            self._goodbye,
            self._end,
            self._reset,
            self._half_a_frame,
            self._half_a_handshake,
            self._catch_up,
            self._many,
        ]

    async def run(self, cycles: int) -> None:
        """So many of them, a few at a time."""
        numbers: Iterator[int] = iter(range(cycles))
        await asyncio.gather(*(self._some(numbers) for _ in range(AT_ONCE)))
        gc.collect()  # Switched off while measuring; our own leftovers would slow us down.

    async def _some(self, numbers: Iterator[int]) -> None:
        for _ in numbers:
            number = next(self._numbers)
            name = self._names[number % len(self._names)]
            await self._ways[number % len(self._ways)](name)

    async def _open(self, path: str) -> tuple[socket.socket, bytes]:
        return await upgraded(self._port, path)

    async def _goodbye(self, name: str) -> None:
        one, _ = await self._open(f"/ws/counter/{name}")
        await _say(one, GOODBYE)
        while await _hear(one):
            pass
        one.close()

    async def _end(self, name: str) -> None:
        one, _ = await self._open(f"/ws/counter/{name}?events=reset")
        one.close()

    async def _reset(self, name: str) -> None:
        one, _ = await self._open(f"/ws/counter/{name}?rate=10")
        reset(one)

    async def _half_a_frame(self, name: str) -> None:
        one, _ = await self._open(f"/ws/counter/{name}")
        await _say(one, HALF)
        one.close()

    async def _half_a_handshake(self, name: str) -> None:
        one = socket.socket()
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", self._port))
        await _say(one, handshake(f"/ws/counter/{name}")[:60])
        one.close()

    async def _catch_up(self, name: str) -> None:
        one, heard = await self._open(f"/ws/counter/{name}?since=0&key={name}")
        if not heard:
            await _hear(one)  # The one event there was.
        one.close()

    async def _many(self, name: str) -> None:
        one, _ = await self._open("/ws")
        names = [name, *self._names[:5]]
        await _say(one, client_frame(msgspec.json.encode({"type": "subscribe", "names": names, "snapshot": True})))
        await _hear(one)
        one.close()


async def _say(one: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(one, data)


async def _hear(one: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 65_536), 10)
