"""What tests of a running service say to it and hear from it, in few words."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.support.service_process import Service

PATIENCE_S = 5.0
TRIES_MAX = 64  # The kernel spreads connections by chance; so many on one side of two happen once in 2**63 runs.


def socket_url(service: Service, counter: str, **wishes: object) -> str:
    query = f"?{urlencode({name: str(value) for name, value in wishes.items()})}" if wishes else ""
    return f"ws://127.0.0.1:{service.port}/ws/counter/{counter}{query}"


@contextmanager
def listening(service: Service, counter: str, **wishes: object) -> Iterator[Listener]:
    """A WebSocket on one counter."""
    with connect(socket_url(service, counter, **wishes), compression=None, close_timeout=2) as connection:
        yield Listener(connection)


class Listener:
    """A WebSocket, in JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    @property
    def local_port(self) -> int:
        port: int = self.connection.local_address[1]
        return port

    def say(self, **message: object) -> None:
        self.connection.send(json.dumps(message))

    def hear(self, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(self.connection.recv(seconds))
        return message

    def ask(self, **message: object) -> dict[str, Any]:
        """Say something and hear what comes next."""
        self.say(**message)
        return self.hear()

    def answer(self, id: str) -> dict[str, Any]:
        """Hear until the answer to the message with this id has come."""
        while True:
            message = self.hear()
            if message.get("id") == id:
                return message

    def heard_nothing_before(self, **message: object) -> bool:
        """Whether nothing is on its way: what is said now is answered first. Messages keep their order."""
        return self.ask(**message).get("type") == "pong"

    def silent(self) -> bool:
        return self.heard_nothing_before(type="ping")


@contextmanager
def listening_on_every_gateway(service: Service, counter: str, **wishes: object) -> Iterator[list[Listener]]:
    """One WebSocket on each gateway process, in the order of their names."""
    with ExitStack() as stack:

        def open() -> tuple[Listener, int]:
            listener = stack.enter_context(listening(service, counter, **wishes))
            return listener, listener.local_port

        yield _one_on_each(service, open)


@contextmanager
def clients_on_every_gateway(service: Service) -> Iterator[list[httpx.Client]]:
    """One keep-alive HTTP connection to each gateway process, in the order of their names."""
    with ExitStack() as stack:

        def open() -> tuple[httpx.Client, int]:
            client = stack.enter_context(httpx.Client(base_url=service.url, timeout=10))
            stream = client.get("/healthz").extensions["network_stream"]
            return client, stream.get_extra_info("client_addr")[1]

        yield _one_on_each(service, open)


def _one_on_each(service: Service, open: Callable[[], tuple[Any, int]]) -> list[Any]:
    gateways = service.pids("gateway")
    found: dict[int, Any] = {}
    for _ in range(TRIES_MAX):
        one, port = open()
        found.setdefault(service.gateways_of([port])[port], one)
        if len(found) == len(gateways):
            return [found[pid] for pid in gateways]
    raise AssertionError(f"{TRIES_MAX} connections, and all on {sorted(found)} of {gateways}")


class Answer(NamedTuple):
    """An HTTP answer, read from a bare socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of a typed error."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert error.keys() == {"code", "message", "data", "retryable"}, error
        code: str = error["code"]
        return code


class Bare:
    """A TCP connection, for what no client library would send."""

    def __init__(self, service: Service, seconds: float = PATIENCE_S) -> None:
        self.port = service.port
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=seconds)
        self._received = b""

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError(f"closed by the service, after {self._received[:200]!r}")
        self._received += data

    def _take(self, length: int) -> bytes:
        while len(self._received) < length:
            self._more()
        taken, self._received = self._received[:length], self._received[length:]
        return taken

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        """POST with these headers; `_` in a name stands for `-`. Without content_type it is JSON."""
        given = {"content_type": "application/json", **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        self.send(head.encode("latin-1") + body)
        return self.answer()

    def answer(self) -> Answer:
        """Read one answer."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(first.split()[1]), headers, self._take(int(headers.get("content-length", 0))))

    def upgrade(self, counter: str, **wishes: object) -> Bare:
        """Become a WebSocket."""
        path = socket_url_path(counter, **wishes)
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = self.answer()
        assert answer.status == 101, answer
        return self

    def send_frame(self, first: int, payload: bytes = b"", mask: bytes = b"\0\0\0\0") -> None:
        self.send(frame(first, payload, mask))

    def read_frame(self) -> tuple[int, bytes]:
        """The first byte and the payload of the next frame."""
        first, length = self._take(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return first, self._take(length)

    def read_message(self) -> dict[str, Any]:
        """The next frame, which is a text message."""
        first, payload = self.read_frame()
        assert first == 0x81, (first, payload)
        message: dict[str, Any] = json.loads(payload)
        return message

    def read_close(self) -> int:
        """The code that the service closes with; whatever it says before is skipped."""
        while True:
            first, payload = self.read_frame()
            if first == 0x88:
                return int.from_bytes(payload[:2], "big")


def socket_url_path(counter: str, **wishes: object) -> str:
    query = f"?{urlencode({name: str(value) for name, value in wishes.items()})}" if wishes else ""
    return f"/ws/counter/{counter}{query}"


def frame(first: int, payload: bytes = b"", mask: bytes = b"\0\0\0\0") -> bytes:
    """A frame as a client sends it; without a mask, as it must not."""
    bit, length = 0x80 if mask else 0, len(payload)
    if mask and any(mask):
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    if length < 126:
        head = bytes((first, bit | length))
    elif length < 65_536:
        head = bytes((first, bit | 126)) + struct.pack("!H", length)
    else:
        head = bytes((first, bit | 127)) + struct.pack("!Q", length)
    return head + mask + payload
