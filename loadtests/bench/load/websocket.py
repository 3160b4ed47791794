"""WebSocket clients: one that writes operations, and one that receives events and keeps a proof."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Self
from uuid import uuid4
from zlib import crc32

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

# Where the type stands in a message, near enough to its start: `{"type":"incrementResult",…`. Looking
# for it costs a tenth of decoding the whole message.
_HEAD = 40
_ID = b'"id":"'  # The operation's; other ids in a result are numbers.

HANDSHAKE_TIMEOUT_S = 60

Fail = Callable[[Exception], None]


class UnexpectedMessage(Exception):
    """Neither an event nor a result; usually the server's error message."""


class Event(msgspec.Struct):
    """What is looked at of an event, by the one subscriber that decodes them."""

    value: int
    operations: int = 1  # More than one: the server joined several events into this one.


_decode_event = msgspec.json.Decoder(Event).decode


class _Client(WSListener):
    """One connection; a failure of it is told to `fail` instead of being lost in a callback."""

    transport: WSTransport

    def __init__(self, fail: Fail) -> None:
        self._fail = fail
        self._closing = False

    async def connect(self, port: int, counter: str) -> Self:
        self.transport, _ = await ws_connect(
            lambda: self,
            f"ws://127.0.0.1:{port}/ws/counter/{counter}",
            websocket_handshake_timeout=HANDSHAKE_TIMEOUT_S,
        )
        return self

    def close(self) -> None:
        self._closing = True
        self.transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self._closing:
            self._fail(ConnectionError(f"the server closed a WebSocket: {transport.close_handshake}"))


class Idler(_Client):
    """A connection that wants nothing."""


class Writer(_Client):
    """Keeps `in_flight` increments of its counter under way, and counts the events it hears.

    Latencies, in seconds, are appended to `latencies`, which writers may share. `idle` is done when, after
    `stop`, the last result is in.
    """

    def __init__(self, in_flight: int, latencies: list[float], fail: Fail) -> None:
        super().__init__(fail)
        self._prefix = uuid4().hex[:8].encode()
        self._in_flight = in_flight
        self._latencies = latencies
        self._sent_at: dict[bytes, float] = {}  # By operation id: those under way.
        self._running = False
        self._sent = 0
        self.acknowledged = 0
        self.events = 0
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._running = True
        for _ in range(self._in_flight):
            self.send()

    def stop(self) -> None:
        """Send nothing more; wait for `idle`."""
        self._running = False
        if not self._sent_at and not self.idle.done():
            self.idle.set_result(None)

    def send(self) -> float:
        """Send one increment; the time of sending is returned."""
        self._sent += 1
        # Ids never repeat: a server that remembers them would answer a repeated one without counting.
        operation_id = b"%s-%d" % (self._prefix, self._sent)
        operation = b'{"type":"increment","amount":1,"id":"%s"}' % operation_id
        self._sent_at[operation_id] = now = perf_counter()
        self.transport.send(WSMsgType.TEXT, operation)
        return now

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        message = frame.get_payload_as_bytes()
        if message.find(b'"incrementResult"', 0, _HEAD) > 0:
            self._answered(message)
        elif message.find(b'"increment"', 0, _HEAD) > 0:
            self.events += 1
        else:
            self._fail(UnexpectedMessage(message.decode(errors="replace")))

    def _answered(self, result: bytes) -> None:
        start = result.index(_ID) + len(_ID)
        sent_at = self._sent_at.pop(result[start : result.index(b'"', start)])
        self._latencies.append(perf_counter() - sent_at)
        self.acknowledged += 1
        if self._running:
            self.send()
        elif not self._sent_at and not self.idle.done():
            self.idle.set_result(None)


class Subscriber(_Client):
    """Counts events and keeps a checksum over them, without decoding any.

    Two subscribers with the same `events` and `checksum` have received the same messages in the same
    order; so it is enough that one of them, a `Witness`, looks inside.
    """

    def __init__(self, fail: Fail) -> None:
        super().__init__(fail)
        self.events = 0
        self.checksum = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        self.events += 1
        self.checksum = crc32(frame.get_payload_as_memoryview(), self.checksum)


class Witness(Subscriber):
    """A subscriber that decodes: counts gaps in the values and events that stand for several."""

    def __init__(self, fail: Fail) -> None:
        super().__init__(fail)
        self.gaps = 0
        self.joined = 0
        self._value = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if frame.msg_type != WSMsgType.TEXT:
            return
        event = _decode_event(frame.get_payload_as_memoryview())
        self.joined += event.operations > 1
        self.gaps += event.value != self._value + 1
        self._value = event.value


class Timekeeper(_Client):
    """Notes how long after its sending each event arrived; the i-th event belongs to `sent_at[i]`."""

    def __init__(self, sent_at: list[float], latencies: list[float], fail: Fail) -> None:
        super().__init__(fail)
        self._sent_at = sent_at
        self._latencies = latencies
        self.events = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        self._latencies.append(perf_counter() - self._sent_at[self.events])
        self.events += 1
