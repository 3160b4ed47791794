"""A WebSocket for locust: blocking calls, of which gevent makes a switch to another user.

The protocol is that of the websockets library, without its input and output; the socket is the standard library's,
which locust has gevent patch. Of the clients tried under gevent it took the least: 11 µs of CPU a message, where
`websockets.sync` took 20 and `websocket-client` 53.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

RECEIVE_BYTES = 65_536


class ClosedError(Exception):
    """The connection is over. `code` is the close code; 1006 when there was none."""

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        super().__init__(f"closed with {code} {reason}".rstrip())


def url_of(base: str, counter: str, wishes: Mapping[str, object]) -> str:
    """Where to listen to a counter, e.g. `ws://127.0.0.1:8094/ws/counter/votes?since=3` for an http:// `base`."""
    query = f"?{urlencode(wishes)}" if wishes else ""
    return f"ws{base.removeprefix('http').rstrip('/')}/ws/counter/{quote(counter)}{query}"


class Socket:
    """An open WebSocket. Raises ClosedError, or OSError, when it is not open any more."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._protocol = ClientProtocol(parse_uri(url), max_size=None)
        self._socket = _connected(url, timeout_s)
        try:
            self._protocol.send_request(self._protocol.connect())
            self._write()
            while self._protocol.state is State.CONNECTING:
                self._read()
            self._socket.settimeout(None)
            if self._protocol.handshake_exc is not None:
                raise self._refused()
        except BaseException:
            self._socket.close()
            raise

    def receive(self) -> list[bytes]:
        """Wait for text messages; there is at least one."""
        while True:
            messages = [
                bytes(event.data)
                for event in self._protocol.events_received()
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT
            ]
            if messages:
                return messages
            if self._protocol.state is not State.OPEN:
                raise ClosedError(self._protocol.close_code or 1006, self._protocol.close_reason or "")
            self._read()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message as JSON."""
        self._protocol.send_text(msgspec.json.encode(message))
        self._write()

    def drop(self) -> None:
        """End it without a word, and wake up whoever waits for a message."""
        with suppress(OSError):  # It may be over already.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self) -> None:
        data = self._socket.recv(RECEIVE_BYTES)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._write()  # Answers to pings and to a close.

    def _write(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def _refused(self) -> Exception:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                return InvalidHandshake(f"{event.status_code} {bytes(event.body or b'')[:200]!r}")
        assert self._protocol.handshake_exc is not None
        return self._protocol.handshake_exc


def _connected(url: str, timeout_s: float) -> socket.socket:
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    assert parts.hostname is not None
    connected = socket.create_connection((parts.hostname, parts.port or (443 if secure else 80)), timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if secure:
        return ssl.create_default_context().wrap_socket(connected, server_hostname=parts.hostname)
    return connected
