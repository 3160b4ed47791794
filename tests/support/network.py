"""Stream connections in memory, with the weather of a test: how long bytes travel, in which pieces they arrive.

A connection is two streams of bytes. Each keeps its order, whatever the weather. `Connection.cut` ends it the way a
cable does: of what was on its way, each side gets some first part. `Network.freeze` holds a listener the way SIGSTOP
does: connections stay, nothing moves, and all of it arrives when it thaws.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from tests.support.loop import current

Factory = Callable[[], asyncio.Protocol]

WRITE_HIGH = 64 * 2**10


class Weather(Protocol):
    """What happens to bytes on their way."""

    def branch(self) -> Weather:
        """The weather of one connection, of which no other connection knows."""
        ...

    def delay_s(self) -> float:
        """How long the next piece travels."""
        ...

    def pieces(self, data: bytes) -> list[bytes]:
        """What was written at once, as it arrives."""
        ...

    def kept(self, length: int) -> int:
        """How many of the bytes on their way arrive when a connection is cut."""
        ...


class Calm:
    """Everything arrives in the next turn and in one piece; a cut loses all that was on its way."""

    def branch(self) -> Calm:
        return self

    def delay_s(self) -> float:
        return 0.0

    def pieces(self, data: bytes) -> list[bytes]:
        return [data]

    def kept(self, length: int) -> int:
        return 0


class Transport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, connection: Connection, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.connection = connection
        self.protocol = protocol
        self.peer: Transport | None = None
        self.way: deque[bytes] = deque()  # Pieces on their way to this end, in order.
        self.unsent = 0  # Bytes that the peer has not taken.
        self._high = WRITE_HIGH
        self._held_back = False  # The protocol was told to pause writing.
        self._reading = True
        self._closing = False
        self.lost = False
        self._ended = False  # The peer has gone; what is on its way still arrives, then the connection is lost.
        self._due = 0.0

    # What a protocol may ask for

    def write(self, data: Any) -> None:
        assert self.peer is not None
        if self._closing or not data:
            return
        self.unsent += len(data)
        for piece in self.connection.weather.pieces(bytes(data)):
            self.peer._expect(piece)
        if self.unsent > self._high and not self._held_back:
            self._held_back = True
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        if self.peer is not None and not self._closing:
            self.peer.lose_some()
        self._end(None)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.flow()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = WRITE_HIGH if high is None else high

    def get_write_buffer_size(self) -> int:
        return self.unsent

    # What happens to it

    def _end(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.call_soon(self._lose, error)
        if self.peer is not None:
            self.peer._ended = True
            self.peer._later(self.connection.weather.delay_s())

    def lose_some(self) -> None:
        """Of what is on its way to this end, only some first part arrives."""
        data = b"".join(self.way)
        self.way.clear()
        kept = data[: self.connection.weather.kept(len(data))]
        if kept:
            self.way.append(kept)

    def die(self) -> None:
        """The process at this end is gone: nothing is heard here any more, not even that it is over."""
        self.way.clear()
        self.lost = self._closing = True

    def cut(self) -> None:
        """This end is lost when the rest of what is on its way has arrived."""
        self.lose_some()
        self._ended = True
        self._later(0.0)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self.connection.loop

    def _expect(self, piece: bytes) -> None:
        if not self.lost and not self._ended:  # What is written into a cut cable goes nowhere.
            self.way.append(piece)
            self._later(self.connection.weather.delay_s())

    def _later(self, delay_s: float) -> None:
        self._due = max(self._due, self._loop.time() + delay_s)  # Never before what was sent earlier.
        if delay_s == 0.0 and self._due <= self._loop.time():
            self._loop.call_soon(self._take)
        else:
            self._loop.call_at(self._due, self._take)

    def _take(self) -> None:
        if not self._reading or self.lost or self.connection.frozen:
            return
        if self._closing:
            self.way.clear()
        if self.way:
            piece = self.way.popleft()
            if self.peer is not None:
                self.peer._sent(len(piece))
            self.protocol.data_received(piece)
        if self._ended and not self.way:
            self._closing = True
            self._lose(None)

    def flow(self) -> None:
        """Move again after a pause."""
        for _ in range(len(self.way) + 1):
            self._later(0.0)

    def _sent(self, length: int) -> None:
        self.unsent -= length
        if self._held_back and self.unsent <= self._high // 4 and not self._closing:
            self._held_back = False
            self.protocol.resume_writing()

    def _lose(self, error: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self.connection.network.forget(self.connection)
            self.protocol.connection_lost(error)


class Connection:
    """Two ends."""

    def __init__(self, network: Network, path: str, caller: asyncio.Protocol, listener: asyncio.Protocol) -> None:
        self.network = network
        self.path = path
        self.weather = network.weather.branch()
        self.loop = current()
        self.frozen = path in network.frozen
        self.near = Transport(self, caller)
        self.far = Transport(self, listener)
        self.near.peer, self.far.peer = self.far, self.near

    def cut(self) -> None:
        """End it from outside."""
        self.near.cut()
        self.far.cut()


class Network:
    """Who listens where, and all connections."""

    def __init__(self, weather: Weather | None = None) -> None:
        self.weather: Weather = weather or Calm()
        self.connections: list[Connection] = []
        self.frozen: set[str] = set()
        self._listeners: dict[str, Factory] = {}

    @classmethod
    def install(cls, weather: Weather | None = None) -> Network:
        network = cls(weather)
        current().network = network
        return network

    def listen(self, path: str, factory: Factory) -> None:
        self._listeners[path] = factory

    def deafen(self, path: str) -> None:
        """The process that listens there is gone, and whoever was connected finds out."""
        self._listeners.pop(path, None)
        self.frozen.discard(path)
        for connection in self.at(path):
            connection.frozen = False
            connection.far.die()
            connection.near.cut()

    def at(self, path: str) -> list[Connection]:
        return [connection for connection in self.connections if connection.path == path]

    def freeze(self, path: str) -> None:
        self.frozen.add(path)
        for connection in self.at(path):
            connection.frozen = True

    def thaw(self, path: str) -> None:
        self.frozen.discard(path)
        for connection in self.at(path):
            connection.frozen = False
            connection.near.flow()
            connection.far.flow()

    def forget(self, connection: Connection) -> None:
        """Both ends know that it is over."""
        if connection.near.lost and connection.far.lost and connection in self.connections:
            self.connections.remove(connection)

    async def connect(self, factory: Factory, path: str) -> tuple[Transport, asyncio.Protocol]:
        await asyncio.sleep(self.weather.delay_s())
        listener = self._listeners.get(path)
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {path}")
        caller = factory()
        connection = Connection(self, path, caller, listener())
        self.connections.append(connection)
        caller.connection_made(connection.near)
        connection.far.protocol.connection_made(connection.far)
        return connection.near, caller
