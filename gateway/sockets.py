"""The sockets: uvicorn's WebSocket protocol, with the hub as owner instead of a waiting coroutine.

The handshake is uvicorn's and runs as an ASGI call. When the application has adopted the socket the call ends; from
then on a message is a plain function call into the session. Whole small text messages, nearly all there are, are read
here; everything else (control frames, fragments, errors) goes through the websockets library's state machine, which
therefore always stands at the beginning of a frame.
"""

from __future__ import annotations

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

try:
    from websockets.speedups import apply_mask
except ImportError:  # The wheel for this platform has no compiled part.
    from websockets.utils import apply_mask

from gateway.session import Session

WRITE_HIGH = 32 * 2**10  # Bytes a socket may owe. Beyond it the session lags and gets the newest state later.
SOCKET = "counters.socket"  # Where the application finds the socket in the scope's state.


class CounterSocket(WebSocketsSansIOProtocol):
    """A WebSocket that can be adopted by a session."""

    session: Session | None = None
    _tail: bytes = b""  # The beginning of a frame whose end has not come.
    _text: list[bytes] | None = None  # The parts of a fragmented message.

    def adopt(self, session: Session) -> None:
        """From now on messages go to `session`."""
        self.session = session
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)

    def write(self, data: bytes) -> None:
        """Send frames."""
        if not self.transport.is_closing():
            self.transport.write(data)

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
            if self.session is None and self.close_timer is None:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.session is not None:
            # Who does not read is not read from either: its answers would have nowhere to go.
            self.transport.pause_reading()
            self.session.block()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.session is not None:
            self.transport.resume_reading()
            self.session.unblock()

    # Frames

    def data_received(self, data: bytes) -> None:
        session = self.session
        if session is None:
            super().data_received(data)
            return
        if self._tail:
            data = self._tail + data
            self._tail = b""
        start, end = 0, len(data)
        while end - start >= 2 and self.session is not None:
            length = data[start + 1] & 0x7F
            head = 6  # Two bytes of header and four of mask.
            if length == 126:
                length = int.from_bytes(data[start + 2 : start + 4], "big")
                head = 8
            elif length == 127:
                length = int.from_bytes(data[start + 2 : start + 10], "big")
                head = 14
            stop = start + head + length
            if length > self.config.ws_max_size or not data[start + 1] & 0x80:
                # Too large, or not masked: let the state machine find the words for it, and close.
                self._slow(data[start:])
                return
            if stop > end:
                break
            if data[start] == 0x81 and self._text is None:
                masked = data[start + head : stop]
                session.receive(apply_mask(masked, data[start + head - 4 : start + head]))
            else:
                self._slow(data[start:stop])
            start = stop
        self._tail = data[start:] if self.session is not None else b""

    def _slow(self, data: bytes) -> None:
        conn = self.conn
        conn.receive_data(data)
        if conn.parser_exc is not None:
            self.handle_parser_exception()
            return
        for event in conn.events_received():
            if isinstance(event, Frame):
                self._handle(event)

    def _handle(self, frame: Frame) -> None:
        session = self.session
        if session is None:
            return
        if frame.opcode is Opcode.PING:
            self.handle_ping()
        elif frame.opcode is Opcode.PONG:
            self.handle_pong(frame)
        elif frame.opcode is Opcode.CLOSE:
            self.handle_close(frame)
        elif frame.opcode is Opcode.BINARY:
            if frame.fin:
                session.refuse_binary()
            else:
                self._text = []  # Refused when its last fragment is here.
        else:
            self._gather(session, frame)

    def _gather(self, session: Session, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT:
            self._text = [bytes(frame.data)]
        elif self._text:
            self._text.append(bytes(frame.data))
        if frame.fin:
            parts, self._text = self._text, None
            if parts:
                session.receive(b"".join(parts))
            else:
                session.refuse_binary()
