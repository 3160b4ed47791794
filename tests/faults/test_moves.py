"""A counter that moves between two living hosts, in the worst order: hosts and gateways of this process, real links.

The table reaches one gateway and the new owner first; the old owner and the other gateway go on with the old one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from actors.clock import SystemClock
from actors.host import Host
from actors.link import HostEnd
from actors.messages import Operation, Status
from actors.placement import HostEntry, Placement, Table
from actors.router import Router
from gateway.hub import Hub
from gateway.session import Ids, Services, Session
from storage.memory import MemoryStore
from tests.support.hammer import until

SECRET, NODE = "secret", "here"
HEARD_S = 4.0


class Tables:
    """A directory whose tables come from the test."""

    def __init__(self, table: Table) -> None:
        self.placement = Placement(table)
        self._changed: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        self._changed.append(changed)

    def take(self, table: Table) -> None:
        self.placement = Placement(table)
        for changed in self._changed:
            changed()

    def report(self, host: HostEntry) -> None:
        """Nobody is gone here."""

    def dedicate(self, name: str) -> None:
        """Nor alone."""


class Gateway:
    """Router, hub, and one listener on one counter."""

    def __init__(self, id: str, table: Table) -> None:
        self.tables = Tables(table)
        self.hub = Hub()
        self.router = Router(id, NODE, SECRET, self.tables, self.hub)
        self.hub.connect(self.router)
        self.heard: list[int] = []
        self._ids = Ids()

    async def listen(self, name: str) -> None:
        await self.hub.open(name, 5)
        services = Services(self.router, self.hub, SystemClock(), self._ids)
        Session(services, name, self._hear).subscribe(name)
        self.hub.opened(name)

    def _hear(self, frames: bytes) -> None:
        start = 0
        while (start := frames.find(b"{", start)) >= 0:
            event, length = json.JSONDecoder().raw_decode(frames[start:].decode("latin-1"))
            self.heard.append(event["value"])
            start += length

    async def increment(self, name: str) -> int:
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.router.submit(
            Operation(0, name, "increment", 1, self._ids.next()), lambda status, body: answer.set_result((status, body))
        )
        status, body = await answer
        assert status == Status.OK
        value: int = json.loads(body)["value"]
        return value


def test_what_is_sent_to_the_old_owner_is_applied_by_the_new_one_and_heard(tmp_path: Path) -> None:
    async def run() -> None:
        store = MemoryStore()
        old, new = Host("host:1", store), Host("host:0", store)
        entries = {each.id: HostEntry(each.id, "1", NODE, str(tmp_path / each.id)) for each in (old, new)}
        servers = []
        for host in (old, new):
            path = entries[host.id].unix
            servers.append(
                await asyncio.get_running_loop().create_unix_server(
                    lambda host=host: HostEnd(host, host.id, SECRET),  # type: ignore[misc]
                    path,
                )
            )
        running = [asyncio.create_task(host.run()) for host in (old, new)]
        first = Table(1, (entries["host:1"],))
        second = Table(2, tuple(entries.values()), previous=1)
        name = next(n for n in map("n{}".format, range(99)) if Placement(second).owner(n) == "host:0")

        old.place(Placement(first))
        listener, sender = Gateway("listener", first), Gateway("sender", first)
        await until("both gateways are ready", lambda: listener.router.ready and sender.router.ready)
        await listener.listen(name)
        assert await sender.increment(name) == 1
        await until("the first is heard", lambda: listener.heard == [1])

        new.place(Placement(second))
        listener.tables.take(second)
        await until("the listener has moved on", lambda: name in new._watchers)
        await until("and knows where the counter stands", lambda: listener.router.ready)
        second_one = asyncio.create_task(sender.increment(name))  # To the old owner, which does not know better.
        await until("storage has sent it on", lambda: name in old._lost)
        old.place(Placement(second))
        sender.tables.take(second)
        assert await second_one == 2
        await until("the second is heard, too", lambda: listener.heard == [1, 2], HEARD_S)

        assert await sender.increment(name) == 3
        await until("and the third, from the new owner", lambda: listener.heard == [1, 2, 3], HEARD_S)
        for gateway in (listener, sender):
            await gateway.router.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for server in servers:
            server.close()

    asyncio.run(run())
