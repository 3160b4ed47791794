"""A real host with everything around it in the hands of a test: its storage thread, its clock, its links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest

from actors.host import Host
from actors.messages import Operate, Operation, Query, Status, Watch
from actors.placement import HostEntry, Placement, Table
from storage.memory import MemoryStore
from storage.store import Store
from tests.support.clock import HandClock
from tests.support.link import RecordingLink
from tests.support.loop import settle
from tests.support.storage_thread import HandThread


def entry(id: str, incarnation: str = "1", dedicated: str | None = None) -> HostEntry:
    """A host that listens at a path named after it."""
    return HostEntry(id, incarnation, "node", f"/run/{id}-{incarnation}", None, dedicated)


def table(version: int, *ids: str) -> Table:
    return Table(version, tuple(entry(id) for id in ids))


class Stage:
    """A running host `h`, one link to it, and its storage thread by hand."""

    def __init__(self, store: Store, thread: HandThread, **host: Any) -> None:
        self.store = store
        self.thread = thread
        self.clock = HandClock()
        self.host = Host("h", store, self.clock, **host)
        self.link = RecordingLink()
        self._tags = count(1)
        self.place(1, "h")
        self.host.link_opened(self.link)  # type: ignore[arg-type]

    def place(self, version: int, *ids: str) -> None:
        self.host.place(Placement(table(version, *ids)))

    def send(self, *operations: Operation, version: int = 1, link: RecordingLink | None = None) -> list[int]:
        """Have operations arrive in one frame; returns their tags."""
        for operation in operations:
            operation.tag = next(self._tags)
        self.host.receive(link or self.link, Operate(version, list(operations)))  # type: ignore[arg-type]
        return [operation.tag for operation in operations]

    async def call(self, *operations: Operation) -> list[tuple[Status, Any]]:
        """Send operations, let storage do what it is asked for, and return the answers."""
        tags = self.send(*operations)
        await self.work()
        return [self.link.answers[tag] for tag in tags]

    async def work(self) -> None:
        """Let storage do everything it is asked for."""
        await settle()
        while self.thread.jobs:
            await self.thread.jobs.pop(0).finish()

    def watch(self, name: str, id: int = -1, seq: int = 0, link: RecordingLink | None = None) -> None:
        self.host.receive(link or self.link, Watch([(name, id, seq)]))  # type: ignore[arg-type]

    def ask(self, kind: str, *names: str, **more: Any) -> int:
        tag = next(self._tags)
        self.host.receive(self.link, Query(tag, kind, list(names), **more))  # type: ignore[arg-type]
        return tag

    async def asked(self, kind: str, *names: str, **more: Any) -> tuple[Status, Any]:
        tag = self.ask(kind, *names, **more)
        await self.work()
        return self.link.answers[tag]


@asynccontextmanager
async def stage(store: Store | None = None, **host: Any) -> AsyncIterator[Stage]:
    """Run a host, told `host`, for the length of a test. It must not end by itself."""
    thread = HandThread()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.host.StorageThread", lambda: thread)
        built = Stage(MemoryStore() if store is None else store, thread, **host)
    task = asyncio.get_running_loop().create_task(built.host.run())
    await settle()
    try:
        yield built
        assert not task.done() or task.exception() is None
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


_ids = count(1)


def operation(
    type: str = "increment", amount: int = 1, name: str = "votes", id: str | None = None, **more: Any
) -> Operation:
    """An operation with an id of its own unless it is given one."""
    return Operation(0, name, type, amount, id or f"op-{next(_ids)}", **more)
