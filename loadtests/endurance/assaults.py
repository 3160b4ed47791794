"""The ways in which clients do harm, one class for each."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from itertools import count, cycle
from time import perf_counter
from typing import Any, ClassVar

import msgspec

from loadtests.bench.load.http import ask, post
from loadtests.bench.stage import Stage, new_name
from loadtests.endurance.attacker import Attacker, kind
from loadtests.endurance.clients import Source
from loadtests.endurance.raw import BINARY, PING, TEXT, Frames, RefusedError, client_frame, upgraded
from loadtests.verdict import Verdict

PER_S = 10_000  # Messages of one flooding connection.
ANSWER_S = 20.0
TRICKLERS = 20
HALVES = 100


class Assault(ABC):
    """It begins and ends once a round; `judge` comes last."""

    title: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.port = stage.peer.port
        self.attackers: list[Attacker] = []
        self.heard: Counter[str] = Counter()  # Over all rounds.
        self.sent = 0
        self.closed: list[int] = []  # Codes with which the service closed.

    async def begin(self) -> None:  # noqa: B027 - most have nothing to prepare.
        """Connect."""

    def start(self, seconds: float) -> asyncio.Task[None]:
        return asyncio.create_task(self.go(seconds))

    @abstractmethod
    async def go(self, seconds: float) -> None:
        """Do it for so long."""

    async def end(self) -> None:
        """Hear the rest, and close."""
        await asyncio.gather(*(attacker.answered(ANSWER_S) for attacker in self.attackers))
        for attacker in self.attackers:
            self.heard += attacker.heard
            self.sent += attacker.sent
            if attacker.closed is not None:
                self.closed.append(attacker.closed)
            attacker.close()
        self.attackers.clear()

    @abstractmethod
    def judge(self, verdict: Verdict) -> None:
        """Say how it was received."""

    async def attacker(self, path: str, deaf: bool = False) -> Attacker:
        one = await Attacker(deaf).connect(self.port, path)
        self.attackers.append(one)
        return one

    def tell_heard(self, verdict: Verdict) -> None:
        said = ", ".join(f"{word} {number:,}" for word, number in self.heard.most_common())
        verdict.remark(f"  {self.sent:,} sent; heard: {said or 'nothing'}")


class _Messages(Assault):
    """One connection that floods with messages."""

    messages: ClassVar[tuple[bytes, ...]]

    async def begin(self) -> None:
        await self.attacker(f"/ws/counter/{new_name('flood')}?events=reset")

    async def go(self, seconds: float) -> None:
        await self.attackers[0].flood(cycle(self.messages), PER_S, seconds)


class Pings(_Messages):
    title = f"pings, {PER_S:,} a second"
    messages = (client_frame(b"ping"), client_frame(b'{"type":"ping"}'), client_frame(b"are you there", PING))

    def judge(self, verdict: Verdict) -> None:
        self.tell_heard(verdict)
        verdict.exactly("  pings without an answer", self.sent - self.heard["pong"], 0)
        verdict.exactly("  connections closed", len(self.closed), 0)


class Garbage(_Messages):
    title = f"garbage, {PER_S:,} a second"
    messages = (
        client_frame(b""),
        client_frame(b"{"),
        client_frame(b"\xff\xfe\x00"),
        client_frame(b'{"type":"what"}'),
        client_frame(b'{"type":"increment","amount":-1,"id":"x"}'),
        client_frame(b'{"type":"increment","amount":1e400}'),
        client_frame(b'{"type":"increment","amount":99999999999999999999999999}'),
        client_frame(b'{"type":"setValue"}'),
        client_frame(b'{"type":"subscribe","names":["a"]}'),
        client_frame(b"[" * 500),
        client_frame(b'{"type":"increment","more":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
        client_frame(b'"' + b"x" * 8_000 + b'"'),
        client_frame(bytes(range(256)), BINARY),
    )

    def judge(self, verdict: Verdict) -> None:
        self.tell_heard(verdict)
        refused = self.heard["COUNTER_VALIDATION_ERROR"]
        verdict.exactly("  messages without a typed error", self.sent - refused, 0)
        verdict.exactly("  connections closed", len(self.closed), 0)


class Operations(_Messages):
    title = f"operations, {PER_S:,} a second on one connection"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._counter = new_name("flood-operations")
        self._value = 0

    async def begin(self) -> None:
        await self.attacker(f"/ws/counter/{self._counter}?events=reset")

    async def go(self, seconds: float) -> None:
        def messages() -> Iterator[bytes]:
            for number in count():
                yield client_frame(b'{"type":"increment","id":"%d"}' % number)

        await self.attackers[0].flood(messages(), PER_S, seconds)

    async def end(self) -> None:
        await super().end()
        self._value = await self.stage.value_of(self._counter)

    def judge(self, verdict: Verdict) -> None:
        self.tell_heard(verdict)
        applied, limited = self.heard["incrementResult"], self.heard["TOO_MANY_REQUESTS"]
        verdict.exactly("  operations without a result or TOO_MANY_REQUESTS", self.sent - applied - limited, 0)
        verdict.exactly("  applied, in terms of acknowledged", self._value, applied)
        verdict.exactly("  connections closed", len(self.closed), 0)


class HalfFrames(Assault):
    title = f"half a frame and then nothing, on {HALVES} connections"
    _frame = client_frame(b'{"type":"increment","id":"halves"}')

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._counter = new_name("flood-halves")

    async def begin(self) -> None:
        for _ in range(HALVES):
            await self.attacker(f"/ws/counter/{self._counter}?events=reset")

    async def go(self, seconds: float) -> None:
        # One stops in the header, one in the mask, others in the payload.
        for number, attacker in enumerate(self.attackers):
            attacker.send(self._frame[: 1 + number % (len(self._frame) - 1)], 0)
        await asyncio.sleep(seconds)

    async def end(self) -> None:
        for number, attacker in enumerate(self.attackers):
            attacker.send(self._frame[1 + number % (len(self._frame) - 1) :], 1)
        await super().end()

    def judge(self, verdict: Verdict) -> None:
        done = self.heard["incrementResult"] + len(self.closed)
        verdict.exactly("  neither closed, nor answered when the other half came", self.sent - done, 0)


class Returns(Assault):
    title = "since= of the future, of another life, and of -1"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._counter = new_name("flood-since")
        self._wrong: list[str] = []
        self._value = 0

    async def begin(self) -> None:
        first: Any = None
        for procedure, times in (("increment", 5), ("delete", 1), ("increment", 3)):
            for _ in range(times):
                answer = await ask(self.port, post(f"counter.{procedure}", {"name": self._counter}))
                first = first or answer
        self._value = 3
        self._life = first["metadata"]["id"]  # Of the life that was deleted.

    async def go(self, seconds: float) -> None:
        end = perf_counter() + seconds
        while perf_counter() < end:
            await self._return("since=9007199254740991", 1)
            await self._return("since=4", 1)
            await self._return(f"since=1&life={self._life}", 1)
            await self._return("since=1", 2)
            await self._refused("since=-1")
            await asyncio.sleep(0.02)

    async def _return(self, wishes: str, messages: int) -> None:
        """Hear what comes at once, so many events or a snapshot: the last of it must be the true value."""
        one, data = await upgraded(self.port, f"/ws/counter/{self._counter}?{wishes}")
        frames = Frames()
        heard = [payload for opcode, payload in frames.feed(data) if opcode == TEXT]
        while len(heard) < messages and not any(kind(each) == "snapshot" for each in heard):
            more = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 65_536), 5)
            heard += [payload for opcode, payload in frames.feed(more) if opcode == TEXT]
        one.close()
        self.sent += 1
        self.heard.update(kind(each) for each in heard)
        if msgspec.json.decode(heard[-1])["value"] != self._value:
            self._wrong.append(f"{wishes}: {heard[-1]!r}")

    async def _refused(self, wishes: str) -> None:
        self.sent += 1
        try:
            one, _ = await upgraded(self.port, f"/ws/counter/{self._counter}?{wishes}")
        except RefusedError as refused:
            self.heard[kind(refused.body)] += 1
            if refused.status != 400:
                self._wrong.append(f"{wishes}: {refused.status}")
        else:
            one.close()
            self._wrong.append(f"{wishes} was taken")

    def judge(self, verdict: Verdict) -> None:
        self.tell_heard(verdict)
        verdict.require("  each ended on the true value, or was refused", not self._wrong, "; ".join(self._wrong[:3]))


class Names(Assault):
    title = "10,000 names on one connection, over and over"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._prefix = new_name("n")
        self._sizes: list[int] = []

    async def begin(self) -> None:
        await self.attacker("/ws")
        await self.attacker("/ws")

    async def go(self, seconds: float) -> None:
        many, one = self.attackers
        one.send(self._subscribe(0, 10_000), 0)  # A frame of a hundred kilobytes.
        end = perf_counter() + seconds
        while perf_counter() < end:
            for start in range(0, 10_000, 1_000):
                many.send(self._subscribe(start, 1_000), 0 if start == 0 else 1)
            await many.answered(ANSWER_S)
            many.send(client_frame(b'{"type":"ping"}'), 1)
            await many.answered(ANSWER_S)

    def _subscribe(self, start: int, number: int) -> bytes:
        names = [f"{self._prefix}-{each}" for each in range(start, start + number)]
        return client_frame(msgspec.json.encode({"type": "subscribe", "names": names}))

    def judge(self, verdict: Verdict) -> None:
        self.tell_heard(verdict)
        refused = self.heard["COUNTER_VALIDATION_ERROR"]
        verdict.exactly("  beyond 1,000 names, without a typed error", self.sent - self.heard["pong"] - refused, 0)
        wrong = [code for code in self.closed if code != 1009]
        verdict.require("  a frame with all of them was closed with 1009", bool(self.closed) and not wrong)


class Trickle(Assault):
    title = f"{TRICKLERS} readers that take one byte a second of 500 events a second"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._source = Source(stage, new_name("flood-trickle"))

    async def begin(self) -> None:
        self._source = await Source(self.stage, new_name("flood-trickle")).connect()
        paths = [f"/ws/counter/{self._source.counter}"] * TRICKLERS
        self._sockets = [one for one, _ in [await upgraded(self.port, path, 4_096) for path in paths]]

    async def go(self, seconds: float) -> None:
        writing = asyncio.create_task(self._source.run(500, seconds))
        loop = asyncio.get_running_loop()
        while not writing.done():
            await asyncio.wait([writing], timeout=1.0)
            for one in self._sockets:
                await asyncio.wait_for(loop.sock_recv(one, 1), 5)

    async def end(self) -> None:
        await self._source.settle()
        for one in self._sockets:
            one.close()

    def judge(self, verdict: Verdict) -> None:
        verdict.exactly("  operations held back", self._source.held_back, 0)


class Deaf(Assault):
    """Never answers a protocol ping. Goes on beside the others, because it takes a minute to be found."""

    title = "connections that never answer a ping"

    def __init__(self, stage: Stage, sockets: int) -> None:
        super().__init__(stage)
        self._sockets = sockets
        self.began = 0.0

    async def begin(self) -> None:
        self.began = perf_counter()
        for _ in range(self._sockets):
            await self.attacker(f"/ws/counter/{new_name('deaf')}", deaf=True)

    async def go(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @property
    def open(self) -> int:
        return sum(attacker.closed is None for attacker in self.attackers)

    @property
    def longest_s(self) -> float:
        """Until the last of them was closed."""
        return max(attacker.closed_at - self.began for attacker in self.attackers)

    def judge(self, verdict: Verdict) -> None:
        """Judged by `floods`, at the end of everything."""


ASSAULTS: tuple[type[Assault], ...] = (Pings, Garbage, Operations, HalfFrames, Returns, Names, Trickle)
