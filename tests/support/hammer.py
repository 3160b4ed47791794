"""Clients that hammer a service and keep an account of every operation, for tests that then compare.

An operation ends acknowledged (its value and its place in the order are known) or open (nobody knows). Clients here
are written on bare sockets: what is measured is the service, and one test process has to keep up with it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self, cast
from urllib.parse import urlencode

import msgspec

SETTLED_AT_ONCE = 32
ANSWER_S = 20.0  # Longer than the service lets a caller wait.

_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
)


class Lost(Exception):
    """The connection ended before the answer came."""


class Metadata(msgspec.Struct):
    operationCount: int


class Event(msgspec.Struct):
    """What is looked at of an event."""

    type: str
    value: int
    metadata: Metadata
    operations: int = 1  # More than one: the service joined several events into this one.


class Result(msgspec.Struct):
    """What is looked at of the answer to an operation."""

    value: int
    metadata: Metadata


class Answered(msgspec.Struct):
    type: str
    id: str | None = None
    code: str | None = None
    message: str | None = None
    result: Result | None = None


_decode_event = msgspec.json.Decoder(Event).decode
_decode_result = msgspec.json.Decoder(Result).decode
decode_answered = msgspec.json.Decoder(Answered).decode


# Connections


class HttpConnection:
    """One keep-alive connection; a call at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> HttpConnection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @property
    def local_port(self) -> int:
        return cast(int, self._writer.get_extra_info("sockname")[1])

    async def call(self, procedure: str, body: bytes, key: str | None = None) -> tuple[int, bytes]:
        """Status and body of the answer. Raises Lost."""
        keyed = "" if key is None else f"Idempotency-Key: {key}\r\n"
        head = (
            f"POST /rpc/counter.{procedure} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"{keyed}Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            self._writer.write(head.encode() + body)
            answer = await self._reader.readuntil(b"\r\n\r\n")
            start = answer.lower().index(b"\r\ncontent-length:") + 17
            length = int(answer[start : answer.index(b"\r\n", start)])
            return int(answer[9:12]), await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Lost(repr(error)) from error

    def close(self) -> None:
        self._writer.close()


class Socket(asyncio.Protocol):
    """A WebSocket client that hands every text message to `on_message`.

    `closed` is done when the connection ended, with the close code (1006: none came).
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending = b""
        self._upgraded: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self.on_message: Callable[[bytes], None] = lambda message: None
        self.closed: asyncio.Future[int] = self._loop.create_future()
        self.local_port = 0

    @classmethod
    async def open(
        cls, port: int, counter: str | None, on_message: Callable[[bytes], None] | None = None, **wishes: object
    ) -> Self:
        """Connect and listen to `counter`; None: to none yet. Raises Lost when the service does not upgrade."""
        socket = cls()
        if on_message is not None:
            socket.on_message = on_message
        query = f"?{urlencode({name: str(value) for name, value in wishes.items()})}" if wishes else ""
        path = "/ws" if counter is None else f"/ws/counter/{counter}"
        request = _HANDSHAKE.format(path=f"{path}{query}", port=port, headers="")
        try:
            transport, _ = await socket._loop.create_connection(lambda: socket, "127.0.0.1", port)
        except OSError as error:
            raise Lost(repr(error)) from error
        transport.write(request.encode())
        await asyncio.wait_for(socket._upgraded, ANSWER_S)
        return socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.local_port = transport.get_extra_info("sockname")[1]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(1006)
        if not self._upgraded.done():
            self._upgraded.set_exception(Lost("closed during the handshake"))

    def data_received(self, data: bytes) -> None:
        if self._pending:
            data = self._pending + data
        if not self._upgraded.done():
            head = data.find(b"\r\n\r\n")
            if head < 0:
                self._pending = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self._upgraded.set_exception(Lost(data[:300].decode(errors="replace")))
                return
            self._upgraded.set_result(None)
            data = data[head + 4 :]
        self._pending = self._read_frames(data)

    def _read_frames(self, data: bytes) -> bytes:
        start, end = 0, len(data)
        while end - start >= 2:
            length, head = data[start + 1], 2
            if length == 126:
                length, head = int.from_bytes(data[start + 2 : start + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(data[start + 2 : start + 10], "big"), 10
            if end - start < head + length:
                break
            payload = data[start + head : start + head + length]
            opcode = data[start] & 0x0F
            if opcode == 0x1:
                self.on_message(payload)
            elif opcode == 0x9:
                self.send_frame(0x8A, payload)
            elif opcode == 0x8:
                self._end(int.from_bytes(payload[:2], "big") if payload else 1005)
            start += head + length
        return data[start:]

    def _end(self, code: int) -> None:
        if not self.closed.done():
            self.closed.set_result(code)

    def send(self, text: bytes) -> None:
        """Send a text message."""
        self.send_frame(0x81, text)

    def send_frame(self, first: int, payload: bytes) -> None:
        """Send one frame. The mask is zero, so that nothing has to be masked."""
        assert self._transport is not None
        length = len(payload)
        if length < 126:
            head = bytes((first, 0x80 | length))
        elif length < 65_536:
            head = bytes((first, 0xFE)) + length.to_bytes(2, "big")
        else:
            head = bytes((first, 0xFF)) + length.to_bytes(8, "big")
        self._transport.write(head + b"\0\0\0\0" + payload)

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self._transport is not None
        self._transport.write(data)

    def pause(self) -> None:
        """Stop reading: a slow reader."""
        assert self._transport is not None
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        assert self._transport is not None
        self._transport.resume_reading()

    def close(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()


# Accounts


class Operation(NamedTuple):
    """One increment that somebody was asked to make. `id` is None when the client sent none."""

    counter: str
    id: str | None
    over: str  # http or ws


class Acknowledged(NamedTuple):
    """An operation that was answered: its value, its place in the order, when it was sent and when answered."""

    operation: Operation
    value: int
    seq: int
    sent_at: float
    answered_at: float


class Ledger:
    """What became of every operation."""

    def __init__(self) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.open: list[Operation] = []
        self.refused: list[str] = []  # Answers that nobody should have got.

    def by_counter(self) -> dict[str, list[Acknowledged]]:
        found: dict[str, list[Acknowledged]] = defaultdict(list)
        for each in self.acknowledged:
            found[each.operation.counter].append(each)
        return found

    def open_by_counter(self) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for each in self.open:
            found[each.counter] += 1
        return found

    def take(self, operation: Operation, result: Result, sent_at: float) -> None:
        self.acknowledged.append(
            Acknowledged(operation, result.value, result.metadata.operationCount, sent_at, time.monotonic())
        )


class Client:
    """Sends operations, and writes down what became of them."""

    def __init__(self, port: int, ledger: Ledger, key: str | None) -> None:
        self._port = port
        self._ledger = ledger
        self._key = key
        self.lost = 0  # Connections that ended although nobody stopped.

    async def settle(self, attempts: int = 20) -> int:
        """Send every open operation again with its id, until none is open. Returns how many there were."""
        assert self._key is not None, "without ids nothing can be sent again"
        was_open, self._ledger.open = self._ledger.open, []
        left = was_open
        for _ in range(attempts):
            for first in range(0, len(left), SETTLED_AT_ONCE):
                await asyncio.gather(*map(self._settle_one, left[first : first + SETTLED_AT_ONCE]))
            left, self._ledger.open = self._ledger.open, []
            if not left:
                return len(was_open)
        self._ledger.open = left
        return len(was_open)

    async def _settle_one(self, operation: Operation) -> None:
        sent_at = time.monotonic()
        try:
            if operation.over == "http":
                connection = await HttpConnection.open(self._port)
                await self._call(connection, operation, sent_at)
                connection.close()
            else:
                socket = await Asking.open_for(self._port, operation.counter, self._key)
                await self._ask(socket, operation, sent_at)
                socket.close()
        except (Lost, OSError, TimeoutError):
            self._ledger.open.append(operation)

    async def _call(self, connection: HttpConnection, operation: Operation, sent_at: float) -> None:
        id = None if operation.id is None else f"{self._key}-{operation.id}"
        body = b'{"name":"%b"}' % operation.counter.encode()
        status, answer = await asyncio.wait_for(connection.call("increment", body, id), ANSWER_S)
        if status == 200:
            self._ledger.take(operation, _decode_result(answer), sent_at)
        elif status == 503:
            self._ledger.open.append(operation)
        else:
            self._ledger.refused.append(f"{operation}: {status} {answer!r}")

    async def _ask(self, socket: Asking, operation: Operation, sent_at: float) -> None:
        answer = await socket.ask(operation.id)
        if answer.result is not None:
            self._ledger.take(operation, answer.result, sent_at)
        elif answer.code == "UNAVAILABLE":
            self._ledger.open.append(operation)
        else:
            self._ledger.refused.append(f"{operation}: {answer}")


class Hammer(Client):
    """Clients over HTTP and WebSocket, one operation each at a time, on the same counters.

    `key` is the WebSocket's `key`; with it every operation carries an id of the client's, without it none does.
    """

    def __init__(self, port: int, ledger: Ledger, counters: list[str], key: str | None, seed: int = 1) -> None:
        super().__init__(port, ledger, key)
        self._counters = counters  # The first one is hit by every second operation.
        self._random = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self, http: int, sockets: int) -> None:
        """Start so many clients of each kind."""
        rest = self._counters[1:]
        for number in range(http):
            self._tasks.append(asyncio.create_task(self._over_http(number)))
        for number in range(sockets):
            some = [self._counters[0], *rest[number::sockets]]
            self._tasks.append(asyncio.create_task(self._over_sockets(number, some)))

    async def stop(self) -> None:
        """Wait until every client has its last answer."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def _next(self, prefix: str, count: int, counters: list[str], over: str) -> Operation:
        counter = counters[0] if count % 2 or len(counters) == 1 else self._random.choice(counters[1:])
        return Operation(counter, None if self._key is None else f"{prefix}-{count}", over)

    async def _over_http(self, number: int) -> None:
        connection: HttpConnection | None = None
        count = 0
        while not self._stopping:
            count += 1
            operation = self._next(f"h{number}", count, self._counters, "http")
            sent_at = time.monotonic()
            try:
                if connection is None:
                    connection = await HttpConnection.open(self._port)
                await self._call(connection, operation, sent_at)
            except (Lost, OSError, TimeoutError):
                self._ledger.open.append(operation)
                self.lost += not self._stopping
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(0.05)  # A gateway that is away refuses connections; others take them.
        if connection is not None:
            connection.close()

    async def _over_sockets(self, number: int, counters: list[str]) -> None:
        sockets: dict[str, Asking] = {}
        count = 0
        while not self._stopping:
            count += 1
            operation = self._next(f"w{number}", count, counters, "ws")
            sent_at = time.monotonic()
            try:
                if operation.counter not in sockets:
                    sockets[operation.counter] = await Asking.open_for(self._port, operation.counter, self._key)
                await self._ask(sockets[operation.counter], operation, sent_at)
            except (Lost, OSError, TimeoutError):
                self._ledger.open.append(operation)
                self.lost += not self._stopping
                gone = sockets.pop(operation.counter, None)
                if gone is not None:
                    gone.close()
                await asyncio.sleep(0.05)
        for socket in sockets.values():
            socket.close()


class Asking(Socket):
    """A socket that hears no events and asks for one thing at a time."""

    _answer: asyncio.Future[Answered] | None = None

    @classmethod
    async def open_for(cls, port: int, counter: str, key: str | None) -> Self:
        wishes = {} if key is None else {"key": key}
        # Nobody resets: with this filter no event comes, except a snapshot after a crash.
        socket = await cls.open(port, counter, None, events="reset", **wishes)
        socket.on_message = socket._take
        return socket

    def _take(self, message: bytes) -> None:
        answered = decode_answered(message)
        if answered.type != "snapshot" and self._answer is not None and not self._answer.done():
            self._answer.set_result(answered)

    async def ask(self, id: str | None, type: str = "increment") -> Answered:
        """The answer to one operation. Raises Lost, TimeoutError."""
        if self.closed.done():
            raise Lost(f"closed with {self.closed.result()}")
        self._answer = answer = asyncio.get_running_loop().create_future()
        self.send(msgspec.json.encode({"type": type} if id is None else {"type": type, "id": id}))
        await asyncio.wait({answer, self.closed}, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Lost("closed") if self.closed.done() else TimeoutError("no answer")
        return answer.result()


# Subscribers


class Subscriber:
    """Listens to one counter from its first operation on, and checks that nothing is missing or comes twice."""

    def __init__(self, counter: str) -> None:
        self.counter = counter
        self.seq = 0
        self.value = 0
        self.events = 0
        self.joined = 0  # Events that stand for several operations.
        self.snapshots = 0
        self.complaints: list[str] = []
        self._socket: Socket | None = None

    async def open(self, port: int, **wishes: object) -> Self:
        self._socket = await Socket.open(port, self.counter, self._hear, **wishes)
        return self

    @property
    def socket(self) -> Socket:
        assert self._socket is not None
        return self._socket

    @property
    def closed(self) -> bool:
        return self.socket.closed.done()

    def _hear(self, message: bytes) -> None:
        event = _decode_event(message)
        seq = event.metadata.operationCount
        self.events += 1
        self.joined += event.operations > 1
        if event.type == "snapshot":
            # Too much was missed to be told one by one; it may only lead forward.
            self.snapshots += 1
            if seq < self.seq:
                self._complain(f"a snapshot of {seq} after {self.seq}")
        elif seq != self.seq + event.operations:
            self._complain(f"{event.type} {seq} (for {event.operations}) after {self.seq}")
        self.seq, self.value = seq, event.value

    def _complain(self, what: str) -> None:
        if len(self.complaints) < 10:
            self.complaints.append(f"{self.counter}: {what}")

    def close(self) -> None:
        self.socket.close()


async def subscribe(port: int, counters: Iterable[str], each: int, **wishes: object) -> list[Subscriber]:
    """`each` subscribers for every counter, a hundred handshakes at a time."""
    wanted = [Subscriber(counter) for counter in counters for _ in range(each)]
    for first in range(0, len(wanted), 100):
        await asyncio.gather(*(one.open(port, **wishes) for one in wanted[first : first + 100]))
    return wanted


async def until(what: str, look: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Like `wait_for`, while the event loop goes on."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(0.02)
