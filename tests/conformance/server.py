"""A service that follows a script: real HTTP and WebSocket on a real port, but it does what the test says and when.

WebSocket frames and the handshake are those of the websockets library without its input and output, so that frames can
also be broken in half, connections cut, and pings left unanswered.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

CALM_S = 10.0  # Nothing takes so long unless it does not happen at all.


@dataclass
class Request:
    """An HTTP request that waits for its answer."""

    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    at: float

    def answer(self, status: int, headers: dict[str, str], body: Any) -> None:
        """Answer; `body` is text, or else what JSON is made of."""
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/html" if isinstance(body, str) else "application/json"
        given = {"content-type": kind, "content-length": str(len(data)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.writer.write(f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + data)


@dataclass
class Line:
    """A WebSocket, from its handshake on."""

    head: bytes
    path: str
    query: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    at: float
    protocol: ServerProtocol = field(default_factory=ServerProtocol)
    messages: deque[dict[str, Any]] = field(default_factory=deque)
    silent: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False

    def accept(self) -> None:
        self.protocol.receive_data(self.head)
        [request] = self.protocol.events_received()
        self.protocol.send_response(self.protocol.accept(request))  # type: ignore[arg-type]
        self._write()

    def refuse(self, status: int, headers: dict[str, str], body: Any) -> None:
        Request(self.path, {}, b"", self.writer, self.at).answer(status, {"connection": "close", **headers}, body)
        self.writer.close()

    def say(self, message: dict[str, Any] | str) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self.protocol.send_text(text.encode())
        self._write()

    def raw(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self, code: int, reason: str) -> None:
        self.protocol.send_close(code, reason)
        self._write()

    def drop(self) -> None:
        """End it the way a dying process does: a reset, and no close frame."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def be_silent(self) -> None:
        """Read no more and say no more, and keep the connection: a frozen process."""
        self.silent = True
        transport = self.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()

    async def read(self) -> None:
        """Collect what the client says, and answer its pings, until the connection ends."""
        while data := await self._more():
            self.protocol.receive_data(data)
            for frame in self.protocol.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                    self._hear(json.loads(frame.data))
            self._write()
            if self.protocol.state is not State.OPEN:
                break
        self.over = True
        self.news.set()
        with suppress(OSError):
            self.writer.close()

    async def _more(self) -> bytes:
        try:
            return await self.reader.read(65_536)
        except OSError:
            return b""

    def _hear(self, message: dict[str, Any]) -> None:
        if message == {"type": "ping"}:
            if not self.silent and self.protocol.state is State.OPEN:  # After goodbye there is no answer.
                self.say({"type": "pong", "timestamp": "2026-11-22T02:18:45.634Z"})
            return
        self.messages.append(message)
        self.news.set()

    def _write(self) -> None:
        for data in self.protocol.data_to_send():
            if data and not self.silent:
                self.writer.write(data)


class Server:
    """See the module. Handshakes and requests wait until the script asks for them."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[Line] = asyncio.Queue()
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._readers: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()  # Also those that are silent: the client shall not wait for their goodbye.

    async def line(self) -> Line:
        """The next handshake."""
        line = await asyncio.wait_for(self._lines.get(), CALM_S)
        return line

    def talk(self, line: Line) -> None:
        """Begin to read what the client says."""
        self._spawn(line.read())

    async def request(self) -> Request:
        """The next HTTP request."""
        return await asyncio.wait_for(self._requests.get(), CALM_S)

    @property
    def unread(self) -> list[str]:
        """What has come and was not asked for."""
        return ["a handshake"] * self._lines.qsize() + ["a request"] * self._requests.qsize()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._spawn(self._serve(reader, writer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError):
                writer.close()
                return
            first, *rest = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest if each)}
            target = urlsplit(first.split()[1])
            now = asyncio.get_running_loop().time()
            if headers.get("upgrade", "").lower() == "websocket":
                query = {name: values[0] for name, values in parse_qs(target.query).items()}
                self._lines.put_nowait(Line(head, target.path, query, reader, writer, now))
                return
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Request(target.path, headers, body, writer, now)
            if first.startswith("POST"):
                self._requests.put_nowait(request)
            else:
                request.answer(200, {}, {"status": "alive"})  # A client that looks whether HTTP works.
