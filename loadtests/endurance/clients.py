"""Clients that behave: a source of events at a steady rate, and listeners that keep count."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Self

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from loadtests.bench.load.websocket import HANDSHAKE_TIMEOUT_S, Fail, UnexpectedMessage, Writer
from loadtests.bench.stage import Stage

IN_FLIGHT_MAX = 900  # A session may have 1,000 operations without an answer; a source stays below.
TICK_S = 0.005  # Events leave in groups of what falls due in so many seconds.


class _Operator(Writer):
    """A writer that survives errors: it counts them."""

    errors = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        message = frame.get_payload_as_bytes()
        if message.startswith(b'{"type":"error"'):
            self.errors += 1
            sent_at = self._sent_at.pop(msgspec.json.decode(message)["id"].encode(), None)
            if sent_at is not None:
                self._latencies.append(perf_counter() - sent_at)
        elif not message.startswith(b'{"type":"snapshot"'):  # Said to who came while the owner was away.
            super().on_ws_frame(transport, frame)


class Source:
    """Increments one counter at a rate, whatever the answers do. It alone writes: the n-th operation has seq n."""

    def __init__(self, stage: Stage, counter: str) -> None:
        self._stage = stage
        self.counter = counter
        self.latencies: list[float] = []  # Of the answers, in seconds.
        self._writer = _Operator(0, self.latencies, stage.fail)
        self.sent_at: list[float] = []  # By seq, the first at index 0; `perf_counter` seconds.
        self.held_back = 0  # Operations that were due and not sent, because too many had no answer.

    async def connect(self) -> Self:
        # It asks for resets only, and there are none: an own event for each operation is not its business.
        await self._writer.connect(self._stage.peer.port, f"{self.counter}?events=reset")
        return self

    @property
    def acknowledged(self) -> int:
        return self._writer.acknowledged

    @property
    def errors(self) -> int:
        """Operations that were answered with an error."""
        return self._writer.errors

    def send(self) -> None:
        """Send one operation, unless too many have no answer."""
        if len(self.sent_at) - self.acknowledged - self.errors >= IN_FLIGHT_MAX:
            self.held_back += 1
        else:
            self.sent_at.append(self._writer.send())

    async def run(self, events_per_s: float, seconds: float) -> None:
        """Send at a rate for a time."""
        await pace(self._stage, [self], events_per_s, seconds)

    async def settle(self) -> None:
        """Wait until every operation has its answer."""
        self._writer.stop()
        await self._stage.until(self._writer.idle)


async def pace(stage: Stage, sources: Sequence[Source], events_per_s: float, seconds: float) -> None:
    """Have the sources, in turn, send so many events a second in all."""
    start = perf_counter()
    due = sent = 0
    total = round(events_per_s * seconds)
    while sent < total:
        due = min(total, int((perf_counter() - start) * events_per_s) + 1)
        for number in range(sent, due):
            sources[number % len(sources)].send()
        sent = due
        ahead = start + sent / events_per_s - perf_counter()
        await stage.pause(max(TICK_S, ahead))


class _Metadata(msgspec.Struct):
    operationCount: int


class _Event(msgspec.Struct):
    type: str
    metadata: _Metadata | None = None
    operations: int = 1


_decode = msgspec.json.Decoder(_Event).decode


class _Listener(WSListener):
    """A connection of which every message is an event. What else happens to it is told to `fail`."""

    transport: WSTransport | None = None

    def __init__(self, counter: str, fail: Fail) -> None:
        self.counter = counter
        self._fail = fail
        self.events = 0

    async def connect(self, port: int, wishes: str = "") -> Self:
        url = f"ws://127.0.0.1:{port}/ws/counter/{self.counter}{wishes}"
        self.transport, _ = await ws_connect(lambda: self, url, websocket_handshake_timeout=HANDSHAKE_TIMEOUT_S)
        return self

    def drop(self) -> None:
        """End the connection without a word."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.disconnect(graceful=False)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self.transport is transport:
            self._fail(ConnectionError(f"the service closed a WebSocket: {transport.close_handshake}"))


class Reader(_Listener):
    """Counts events, and of every `sample`-th notes in `latencies` the seconds since it was sent."""

    def __init__(self, counter: str, sent_at: Sequence[float], latencies: list[float], sample: int, fail: Fail) -> None:
        super().__init__(counter, fail)
        self._sent_at = sent_at
        self.latencies = latencies
        self._sample = sample

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        self.events += 1
        if self.events % self._sample:
            return
        now = perf_counter()
        event = _decode(frame.get_payload_as_memoryview())
        if event.metadata is None:
            self._fail(UnexpectedMessage(frame.get_payload_as_utf8_text()))
        elif event.type != "snapshot":
            self.latencies.append(now - self._sent_at[event.metadata.operationCount - 1])


class Follower(_Listener):
    """Comes back with `since=` after each drop, and proves that it hears every event once and in order.

    It begins with a counter that was never written.
    """

    def __init__(self, counter: str, fail: Fail) -> None:
        super().__init__(counter, fail)
        self.last = 0  # operationCount of the last event.
        self.gaps = 0  # Events that others did not precede.
        self.repeats = 0
        self.stand_ins = 0  # Snapshots, and events that stand for several.
        self.returned_at = 0.0
        self.first_waits: list[float] = []  # Seconds from each return to the first event.

    async def come_back(self, port: int) -> None:
        """Connect, asking for everything after the last event."""
        self.returned_at = perf_counter()
        await self.connect(port, f"?since={self.last}")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # What was on its way when the connection was dropped is not heard: the next one has to bring it.
        if frame.msg_type != WSMsgType.TEXT or (self.transport is not None and transport is not self.transport):
            return
        event = _decode(frame.get_payload_as_memoryview())
        if event.metadata is None:
            self._fail(UnexpectedMessage(frame.get_payload_as_utf8_text()))
            return
        self.events += 1
        seq = event.metadata.operationCount
        if event.type == "snapshot" or event.operations > 1:
            self.stand_ins += 1
        elif seq <= self.last:
            self.repeats += 1
        elif seq > self.last + 1:
            self.gaps += 1
        self.last = max(self.last, seq)
        if self.returned_at:
            self.first_waits.append(perf_counter() - self.returned_at)
            self.returned_at = 0.0
