"""The other side of a router: hosts that say what a test tells them to, a table, and somebody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from actors.link import FrameReader, frame
from actors.messages import Burst, Down, Hello, Operate, Operation, Position, Query, Results, Status
from actors.placement import HostEntry, Placement, Table
from tests.support.network import Network, Transport

_decode = msgspec.msgpack.Decoder(Down).decode


class ScriptedHost:
    """Listens at an entry's path, writes down what it hears, says what it is told to say."""

    def __init__(self, network: Network, entry: HostEntry) -> None:
        assert entry.unix is not None
        self.entry = entry
        self.heard: list[Any] = []
        self.links: list[ScriptedEnd] = []
        self._network = network
        network.listen(entry.unix, lambda: ScriptedEnd(self))

    @property
    def operates(self) -> list[Operate]:
        return [message for message in self.heard if isinstance(message, Operate)]

    @property
    def operations(self) -> list[Operation]:
        return [operation for message in self.operates for operation in message.operations]

    @property
    def queries(self) -> list[Query]:
        return [message for message in self.heard if isinstance(message, Query)]

    @property
    def ids(self) -> list[str]:
        return [operation.id for operation in self.operations]

    def say(self, message: Any) -> None:
        self.links[-1].transport.write(frame(message))

    def answer(self, call: Operation | Query, status: Status = Status.OK, body: bytes = b"done") -> None:
        self.say(Results([(call.tag, status, body)]))

    def cut(self) -> None:
        """Every link ends."""
        assert self.entry.unix is not None
        for connection in self._network.at(self.entry.unix):
            connection.cut()

    def die(self) -> None:
        assert self.entry.unix is not None
        self._network.deafen(self.entry.unix)


class ScriptedEnd(asyncio.Protocol):
    """One link of a scripted host."""

    def __init__(self, host: ScriptedHost) -> None:
        self._host = host
        self._reader = FrameReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Transport, transport)
        self._host.links.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.links.remove(self)

    def data_received(self, data: bytes) -> None:
        for payload in self._reader.feed(data):
            message = _decode(payload)
            if not isinstance(message, Hello):
                self._host.heard.append(message)


class HandDirectory:
    """A table that changes when the test says so; complaints and wishes are written down."""

    def __init__(self) -> None:
        self.placement = Placement.empty()
        self.reported: list[HostEntry] = []
        self.dedicated: list[str] = []
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def take(self, table: Table) -> None:
        if table.version > self.placement.version:
            self.placement = self.placement.followed_by(table)
            for changed in self._listeners:
                changed()

    def report(self, host: HostEntry) -> None:
        self.reported.append(host)

    def dedicate(self, name: str) -> None:
        self.dedicated.append(name)


class RecordingListener:
    """Goes where the hub goes."""

    def __init__(self) -> None:
        self.bursts: list[Burst] = []
        self.placed: list[Position] = []
        self.positions: dict[str, tuple[int, int]] = {}

    def publish(self, burst: Burst) -> None:
        self.bursts.append(burst)

    def place(self, position: Position) -> None:
        self.placed.append(position)

    def position(self, name: str) -> tuple[int, int]:
        return self.positions.get(name, (-1, 0))

    def sessions(self, names: Sequence[str], whole: bool) -> list[tuple[str, int, list[bytes]]]:
        return [(name, 2, [b'"x"', b'"y"'] if whole else []) for name in names]
