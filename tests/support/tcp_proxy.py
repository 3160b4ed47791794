"""A network between clients and a service, of which cables can be cut and which can stand still."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress

CHUNK = 65_536


class Proxy:
    """Passes on what it reads, in both directions. Use it in `async with`."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._cables: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._moving = asyncio.Event()
        self._moving.set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._moving.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self, share: float, chance: random.Random) -> None:
        """Cut some of the cables: both ends are told by a reset, and what was on its way is lost."""
        for task, ends in list(self._cables.items()):
            if chance.random() < share:
                for end in ends:
                    _reset(end)
                task.cancel()

    def lead_to(self, port: int) -> None:
        """New connections lead there; the others stay where they are."""
        self._to = port

    def freeze(self) -> None:
        """Nothing moves, and nobody is told."""
        self._moving.clear()

    def thaw(self) -> None:
        """Everything moves on."""
        self._moving.set()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            _reset(writer)  # Nobody listens.
            return
        self._cables[task] = (writer, far_writer)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._way(reader, far_writer))
                ways.create_task(self._way(far_reader, writer))
        except* OSError:
            for end in (writer, far_writer):
                _reset(end)
        finally:
            del self._cables[task]

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._moving.wait()
            writer.write(data)
            await writer.drain()
        await self._moving.wait()
        with suppress(OSError):  # The other end has gone, too.
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
