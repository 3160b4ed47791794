"""The sockets: uvicorn's WebSocket protocol, with a session as owner instead of a waiting coroutine.

The handshake is uvicorn's and runs as an ASGI call. When the application has adopted the socket the call ends, and so
do the queue, the events and the parser that it needed: an idle socket costs its transport and little else. From then on
a message is a plain function call into the session. Whole text messages and pings, nearly all there is, are read here;
for the rest (fragments, close, errors) a state machine of the websockets library is made when one of them comes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import http11
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

try:
    from websockets.speedups import apply_mask
except ImportError:  # The wheel for this platform has no compiled part.
    from websockets.utils import apply_mask

from gateway.frames import close_frame
from gateway.keepalive import Keepalive
from gateway.session import Session

WRITE_HIGH = 32 * 2**10  # Bytes a socket may owe. Beyond it the session lags and gets the newest state later.
SOCKET = "counters.socket"  # Where the application finds the socket in the scope's state.
RECONNECT_S = 5  # Clients of a gateway that stops come back spread over so many seconds.
# What one socket may have done in a turn of the loop: a flood on it is not to hold up the others. Bytes are about what
# messages cost, a list of a thousand names is worth fifty operations; MESSAGE_MIN is what the shortest counts for.
TURN_MAX = 16 * 2**10
MESSAGE_MIN = 256
REST_S = 0.002  # Until its next turn. Without it one socket could keep a core busy, and hosts may share that core.
GOODBYE_S = 1.0  # How long a peer may take to answer our close frame.

# The library's limit for a line of the handshake is 8 KB. Ours holds an attachment in the URL, every byte escaped.
http11.MAX_LINE_LENGTH = 64 * 2**10

_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A  # First bytes of whole frames.
_PING_FRAME = b"\x89\x00"
_RESTART_FRAME = close_frame(1012, b'{"reconnect":[0,%d]}' % RECONNECT_S)


class CounterSocket(WebSocketsSansIOProtocol):
    """A WebSocket that can be adopted by a session."""

    session: Session | None = None
    heard = False
    pinged = False
    _keepalive: Keepalive | None = None
    _part = 0
    _machine: Protocol | None = None
    _tail: bytes = b""  # The beginning of a frame whose end has not come.
    _text: list[bytes] | None = None  # The parts of a fragmented message.
    _more = False  # There is more in the tail than its turn allowed.
    _leaving = False  # The gateway stops.
    _closing = False

    def adopt(self, session: Session, keepalive: Keepalive) -> None:
        """From now on messages go to `session`."""
        self.session = session
        self._keepalive = keepalive
        self._part = keepalive.add(self)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)
        # What the handshake needed; five kilobytes.
        nothing: Any = None
        self.conn = self.queue = self.writable = self.request = self.response = self.scope = self.frames = nothing

    def write(self, data: bytes) -> None:
        """Send frames."""
        if not self.transport.is_closing():
            self.transport.write(data)

    @property
    def blocked(self) -> bool:
        return self.session is not None and self.session.blocked

    def ping(self) -> None:
        self.write(_PING_FRAME)

    def give_up(self) -> None:
        """The peer does not answer. Nothing that we could still send would reach it."""
        self.transport.abort()

    # uvicorn's hooks

    async def run_asgi(self) -> None:
        self.scope["state"][SOCKET] = self
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            self.transport.close()
        except BaseException:
            self.logger.exception("Exception in ASGI application")
            self.send_500_response()
            self.transport.close()
        else:
            if self._keepalive is None and self.close_timer is None:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        session, self.session = self.session, None
        if self._keepalive is None:
            super().connection_lost(exc)
            return
        self._keepalive.discard(self._part, self)
        self.connections.discard(self)
        self.disconnected = True
        if session is not None:
            session.end()

    def pause_writing(self) -> None:
        if self.session is None:
            if self._keepalive is None:
                super().pause_writing()
            return
        # Who does not read is not read from either: its answers would have nowhere to go.
        self.transport.pause_reading()
        self.session.block()

    def resume_writing(self) -> None:
        session = self.session
        if session is None:
            if self._keepalive is None:
                super().resume_writing()
            return
        session.unblock()
        if self._more or session.blocked:  # What it was behind with was too much again: this comes once more.
            return
        if not self._leaving:
            self.transport.resume_reading()
        if self._tail:
            self.data_received(b"")

    def shutdown(self) -> None:
        """The gateway stops: read nothing more, answer what is under way, then say when to come back."""
        if self._keepalive is None:
            super().shutdown()
        elif self.session is not None and not self._leaving:
            self._leaving = True
            self.transport.pause_reading()
            if not self._more:
                self.session.when_idle(self._say_goodbye)

    def _say_goodbye(self) -> None:
        self._end()
        if not self.transport.is_closing():
            self.transport.write(_RESTART_FRAME)
            # What the peer sent meanwhile has to be taken from the kernel: closing over it would reset the connection,
            # and a reset can overtake the last answers.
            self.transport.resume_reading()
            asyncio.get_running_loop().call_later(GOODBYE_S, self.transport.close)

    def _await_goodbye(self, data: bytes) -> None:
        machine = self._state()
        machine.receive_data(self._tail + data)
        self._tail = b""
        machine.events_received()
        if machine.state is not State.OPEN:
            self.transport.close()

    # Frames

    def data_received(self, data: bytes) -> None:
        session = self.session
        if session is None:
            if self._keepalive is None:
                super().data_received(data)
            elif self._leaving:
                self._await_goodbye(data)
            return
        self.heard = True
        if self._more:
            self._tail += data
            return
        if self._tail:
            data = self._tail + data
            self._tail = b""
        start, end, turn = 0, len(data), TURN_MAX
        while end - start >= 2 and not session.blocked:  # What a full socket asked for would have to be kept.
            length = data[start + 1] & 0x7F
            head = 6  # Two bytes of header and four of mask.
            if length == 126:
                length = int.from_bytes(data[start + 2 : start + 4], "big")
                head = 8
            elif length == 127:
                length = int.from_bytes(data[start + 2 : start + 10], "big")
                head = 14
            if not data[start + 1] & 0x80 or (length > self.config.ws_max_size and end - start >= head):
                # Not masked, or too large: let the state machine find the words for it, and close.
                self._slow(data[start:])
                return
            stop = start + head + length
            if end - start < head or stop > end:
                break
            if turn <= 0:
                self._later()
                break
            turn -= max(length, MESSAGE_MIN)
            first = data[start]
            if first == _TEXT and self._text is None:
                session.receive(apply_mask(data[start + head : stop], data[start + head - 4 : start + head]))
            elif first == _PONG and length < 126:
                self.pinged = False
            elif first == _PING and length < 126:
                payload = apply_mask(data[start + head : stop], data[start + head - 4 : start + head])
                self.write(b"\x8a%c%b" % (length, payload))
            else:
                self._slow(data[start:stop])
                if self._closing:
                    return
            start = stop
        self._tail = data[start:]

    def _later(self) -> None:
        """Let the others have their turn, and read nothing more until what is here is done."""
        self._more = True
        self.transport.pause_reading()
        asyncio.get_running_loop().call_later(REST_S, self._go_on)

    def _go_on(self) -> None:
        self._more = False
        session = self.session
        if session is None or session.blocked:
            return  # When it reads again, `resume_writing` goes on.
        self.data_received(b"")
        if self._more or session.blocked or self.session is None:
            return
        if self._leaving:
            session.when_idle(self._say_goodbye)
        else:
            self.transport.resume_reading()

    def _state(self) -> Protocol:
        if self._machine is None:
            self._machine = Protocol(Side.SERVER, state=State.OPEN, max_size=self.config.ws_max_size)
        return self._machine

    def _slow(self, data: bytes) -> None:
        machine = self._state()
        machine.receive_data(data)
        for event in machine.events_received():
            if isinstance(event, Frame):
                self._handle(event)
        if machine.state is not State.OPEN:
            self._finish(machine)
        elif self._text is None:
            self._machine = None

    def _finish(self, machine: Protocol) -> None:
        """Send the close frame, ours or the answer to theirs, and end."""
        self._closing = True
        self._end()
        for data in machine.data_to_send():
            if data:
                self.transport.write(data)
        if machine.close_rcvd is not None:
            self.transport.close()
        elif not self.transport.is_closing():
            # What it is still sending has to be taken from the kernel: closing over it would reset the connection, and
            # the peer would not read why.
            self.transport.write_eof()
            self.transport.resume_reading()
            asyncio.get_running_loop().call_later(GOODBYE_S, self.transport.close)

    def _end(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.write_out()
            session.end()

    def _handle(self, frame: Frame) -> None:
        session = self.session
        if session is None or frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            return  # The state machine has answered.
        if frame.opcode is Opcode.TEXT:
            self._text = [bytes(frame.data)]
        elif frame.opcode is Opcode.BINARY:
            self._text = []  # Refused when its last fragment is here.
        elif self._text:
            self._text.append(bytes(frame.data))
        if frame.fin:
            parts, self._text = self._text, None
            if parts:
                session.receive(b"".join(parts))
            else:
                session.refuse_binary()
