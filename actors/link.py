"""The link: one stream connection between a gateway and a host, and both ends of it.

A frame is a length (four bytes, big endian) and a MessagePack record of `actors.messages`. `FrameReader` and `frame`
do no I/O; the two protocols are thin pumps around them. A link is also the failure detector: a process that dies ends
its links at once, long before anybody else could tell.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec

from actors.messages import Attend, Burst, Down, Events, Heartbeat, Hello, Position, Results, Up, Welcome

FRAME_MAX = 64 * 2**20  # A frame holds one turn's batch. A larger length is not ours: somebody else is calling.
BACKLOG_MAX = 64 * 2**20  # Bytes a host holds for a gateway that does not read; then it is cut off and catches up.

log = logging.getLogger("counters.link")

_encoder = msgspec.msgpack.Encoder()
_decode_down = msgspec.msgpack.Decoder(Down).decode
_decode_up = msgspec.msgpack.Decoder(Up).decode


class LinkBroken(Exception):
    """What arrived is not a frame of ours. The link has to end."""


def frame(message: Any) -> bytearray:
    """`message` as one frame."""
    buffer = bytearray(4)
    _encoder.encode_into(message, buffer, 4)
    buffer[:4] = (len(buffer) - 4).to_bytes(4, "big")
    return buffer


class FrameReader:
    """Cuts a stream of bytes into the payloads of frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes | memoryview]:
        """Take what arrived and return the payloads that are complete. Raises LinkBroken at an impossible length."""
        pending = self._pending
        if pending:
            pending += data
            data = bytes(pending)
            pending.clear()
        payloads: list[bytes | memoryview] = []
        view = memoryview(data)
        start, end = 0, len(data)
        while end - start >= 4:
            length = int.from_bytes(view[start : start + 4], "big")
            if length > FRAME_MAX:
                raise LinkBroken(f"a frame of {length} bytes")
            if end - start - 4 < length:
                break
            payloads.append(view[start + 4 : start + 4 + length])
            start += 4 + length
        if start < end:
            pending += view[start:]
        return payloads


class Inbound(Protocol):
    """What a host does with what its links bring."""

    def link_opened(self, link: HostEnd) -> None: ...

    def link_closed(self, link: HostEnd) -> None: ...

    def receive(self, link: HostEnd, message: Any) -> None: ...


class HostEnd(asyncio.Protocol):
    """The host's end: what arrives goes to the host, what the host says in one turn of its loop leaves in one write."""

    def __init__(self, host: Inbound, host_id: str, secret: str) -> None:
        self._host = host
        self._host_id = host_id
        self._secret = secret.encode()
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._trusted = False
        self._results: list[tuple[int, int, bytes]] = []
        self._bursts: list[Burst] = []
        self._flushing = False
        self.gateway = "?"
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not derive from asyncio's.
        self.beat(0)  # Whoever knocks learns that this loop is alive; the supervisor wants no more than that.

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._trusted:
            self._host.link_closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._reader.feed(data):
                if self._transport is None or self._transport.is_closing():
                    return
                message = _decode_down(payload)
                if self._trusted:
                    self._host.receive(self, message)
                else:
                    self._welcome(message)
        except (LinkBroken, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("action=cut_link gateway=%s reason=%s", self.gateway, error)
            self.close()

    def _welcome(self, message: Any) -> None:
        if not isinstance(message, Hello) or not hmac.compare_digest(message.secret.encode(), self._secret):
            raise LinkBroken("wrong secret")
        self._trusted = True
        self.gateway, self.number = message.gateway, message.number
        self._host.link_opened(self)
        self._write(frame(Welcome(self._host_id)))

    def answer(self, tag: int, status: int, body: bytes) -> None:
        """Answer one call."""
        self._results.append((tag, status, body))
        self._flush_soon()

    def publish(self, burst: Burst) -> None:
        """Send events."""
        self._bursts.append(burst)
        self._flush_soon()

    def place(self, position: Position) -> None:
        """Say where a watched counter stands."""
        self.flush()  # Whatever was said before is older and has to arrive first.
        self._write(frame(position))

    def ask(self, attend: Attend) -> None:
        """Ask the gateway who is connected."""
        self._write(frame(attend))

    def beat(self, version: int) -> None:
        """Say that this loop is alive."""
        self._write(frame(Heartbeat(version)))

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what was said since the last flush."""
        self._flushing = False
        if self._transport is None:
            self._results, self._bursts = [], []
            return
        # Answers first: one that tells a subscriber where the counter stands must not arrive behind newer events.
        if self._results:
            results, self._results = self._results, []
            self._write(frame(Results(results)))
        if self._bursts:
            bursts, self._bursts = self._bursts, []
            self._write(frame(Events(bursts)))

    def _write(self, data: bytearray) -> None:
        if self._transport is None:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > BACKLOG_MAX:
            log.warning("action=cut_link gateway=%s reason=does_not_read", self.gateway)
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading: the gateway's outbox fills instead of our inbox."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """End the link."""
        if self._transport is not None:
            self._transport.close()


class GatewayEnd(asyncio.Protocol):
    """The gateway's end. `on_message` gets every record, `on_end` is called once when the link is gone."""

    def __init__(
        self, hello: Hello, on_message: Callable[[Any], None], on_end: Callable[[GatewayEnd], None]
    ) -> None:
        self._hello = hello
        self._on_message = on_message
        self._on_end = on_end
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self.writable = True  # False while the host does not keep up: hold back.
        self.on_drained: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not derive from asyncio's.
        # Beyond 1 MB unsent the host has stopped reading; hold back and let the outbox fill to its bound.
        self._transport.set_write_buffer_limits(high=2**20)
        self._transport.write(frame(self._hello))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_end(self)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.on_drained is not None:
            self.on_drained()

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._reader.feed(data):
                self._on_message(_decode_up(payload))
        except (LinkBroken, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("action=cut_link reason=%s", error)
            self.close()

    def send(self, message: Any) -> None:
        """Send one record."""
        if self._transport is not None:
            self._transport.write(frame(message))

    def close(self) -> None:
        """End the link at once; what was not sent is dropped."""
        if self._transport is not None:
            self._transport.abort()
