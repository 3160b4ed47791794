"""A host as a Ray actor: a socket for gateways, a place in the table, and a door for Ray calls."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ray

from actors import logs
from actors.clock import SystemClock
from actors.directory import RayDirectory
from actors.errors import Unavailable
from actors.host import Host
from actors.link import HostEnd
from actors.messages import Operation, Query
from actors.placement import HostEntry, Table
from actors.settings import ActorSettings
from actors.stub import operation, value_of
from storage.errors import StorageError
from storage.store import SqlStore, open_store

if TYPE_CHECKING:
    from actors.mirror import Mirror

GIVES_WAY = 10  # Niceness that a dedicated host adds: where cores are scarce, the many go before the hottest.
OPEN_AGAIN_S = 1.0
ACTIVITY_S = 1.0
TELL_AGAIN_S = 0.2
MIRROR_S = 1.0  # A Redis that takes longer is away, and then the keeper of the mirror does it.

log = logging.getLogger("counters.host")


class HostActor:
    """A `Host` in a process of its own."""

    @logs.failing(log)
    async def __init__(self, id: str, dedicated: str | None, settings: ActorSettings) -> None:  # type: ignore[misc]
        logs.to_file(settings.log_file)
        if dedicated is not None and not settings.dedicate_all:
            os.nice(GIVES_WAY)  # This thread's, and that of those which it starts.
        incarnation = uuid4().hex
        loop = asyncio.get_running_loop()
        self._directory = RayDirectory()
        store = await opened(settings.database)
        clock = SystemClock(store.agree)
        self._mirror = _mirror(settings.redis_url, incarnation, clock) if settings.redis_url else None
        self._host = Host(
            id,
            store,
            clock,
            hibernate_after=settings.hibernate_after,
            max_resident=settings.max_resident,
            policies=settings.policies,
            on_asleep=self._end_soon if dedicated is not None and settings.dedicate_all else None,
            on_newer=self._directory.seen,
            tell_touched=bool(settings.redis_url),
            mirror=self._mirror,
        )
        self._task = loop.create_task(self._host.run())
        self._task.add_done_callback(die_with)

        def end() -> HostEnd:
            return HostEnd(self._host, id, settings.secret)

        path = Path(settings.run_dir) / f"{incarnation[:16]}.sock"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        servers = [await loop.create_unix_server(end, str(path))]
        tcp = None
        if settings.clustered:
            address = ray.util.get_node_ip_address()
            servers.append(await loop.create_server(end, address, 0))
            tcp = f"{address}:{servers[1].sockets[0].getsockname()[1]}"
        self._servers = servers
        self._entry = HostEntry(id, incarnation, ray.get_runtime_context().get_node_id(), str(path), tcp, dedicated)
        self._retiring = False
        self._directory.subscribe(self._follow)
        self._tasks: set[asyncio.Task[None]] = set()
        for work in (self._register(), self._directory.follow(), self._tell_activity()):
            self._spawn(work)
        if self._mirror is not None:
            from actors.expiry import Expiry, Keys

            self._spawn(self._mirror.run(self._host.states))
            keys = Keys(settings.counter_key, settings.default_counter)
            self._spawn(Expiry(settings.redis_url, keys, self._host, clock).run())
        if dedicated is not None and settings.dedicate_all:
            # Whoever wanted it may have given up before it was here, and then it would never fall asleep.
            loop.call_later(max(settings.hibernate_after, TELL_AGAIN_S), self._end_unless_used, dedicated)
        # What was made so far stays. Python would look at all of it again and again, 50 ms each time.
        gc.collect()
        gc.freeze()
        log.info("action=host_started host=%s pid=%d", id, os.getpid())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # The loop itself would hold it only weakly.
        task.add_done_callback(self._tasks.discard)

    async def _register(self) -> None:
        self._directory.take(await self._insist("register", self._entry))

    async def _insist(self, method: str, argument: HostEntry | str) -> Any:
        """Call the supervisor until it answers: it is being started again."""
        while True:
            try:
                return await self._directory.call(method, argument)
            except Unavailable:
                await asyncio.sleep(TELL_AGAIN_S)

    def _follow(self) -> None:
        placement = self._directory.placement
        self._host.place(placement)
        if placement.hosts.get(self._entry.id) != self._entry and not self._retiring:
            # Somebody took us for dead. Our epochs are worth nothing any more; ask to be let in again.
            self._spawn(self._register())

    async def _tell_activity(self) -> None:
        told = False
        while True:
            await asyncio.sleep(ACTIVITY_S)
            rates = self._host.activity()
            if rates or told:
                try:
                    await self._directory.call("activity", self._entry.id, rates)
                except Unavailable:
                    continue
                told = bool(rates)

    def _end_soon(self, name: str) -> None:
        self._spawn(self._insist("quiet", name))

    def _end_unless_used(self, name: str) -> None:
        if not self._host.resident:
            self._end_soon(name)

    async def introduce(self) -> tuple[HostEntry, Table]:
        """Who this is, and the newest table it knows."""
        return self._entry, self._directory.placement.table

    async def retire(self, table: Table) -> None:
        """Let go of everything: `table` leaves this host out. Returns when what was begun is finished."""
        self._retiring = True
        self._directory.take(table)
        await self._host.finished()
        if self._mirror is not None:
            await self._mirror.finish(MIRROR_S)
        for server in self._servers:
            server.close()
        Path(self._entry.unix or "").unlink(missing_ok=True)

    async def pid(self) -> int:
        """The process this runs in."""
        return os.getpid()

    async def operate(self, version: int, operations: list[Operation]) -> list[tuple[int, int, bytes]]:
        """The Ray door: apply operations. (tag, status, body) for each."""
        return await self._host.operate(version, operations)

    async def query(self, query: Query) -> tuple[int, bytes]:
        """The Ray door: answer a question."""
        return await self._host.query(query)

    # A dedicated actor is its counter: ray.get_actor("counter:votes", namespace="counters").increment.remote()

    async def increment(self, amount: int = 1, id: str | None = None) -> int:
        """Add to the counter and return its value. The same `id` counts once."""
        return await self._apply("increment", amount, id)

    async def decrement(self, amount: int = 1, id: str | None = None) -> int:
        """Take from the counter and return its value."""
        return await self._apply("decrement", amount, id)

    async def set_value(self, value: int, id: str | None = None) -> int:
        """Set the counter and return its value."""
        return await self._apply("setValue", value, id)

    async def reset(self, id: str | None = None) -> int:
        """Set the counter to its initial value and return that."""
        return await self._apply("reset", 0, id)

    async def value(self) -> int:
        """The committed value."""
        return value_of(*await self._host.query(Query(0, "value", [self._name()])))

    async def _apply(self, type: str, amount: int, id: str | None) -> int:
        version = self._directory.placement.version
        answers = await self._host.operate(version, [operation(self._name(), type, amount, id)])
        return value_of(*answers[0][1:])

    def _name(self) -> str:
        if self._entry.dedicated is None:
            raise TypeError(f"{self._entry.id} runs many counters: use CounterStub")
        return self._entry.dedicated


def _mirror(url: str, incarnation: str, clock: SystemClock) -> Mirror:
    from actors.mirror import Mirror  # The client of Redis weighs 10 MB; most services do without.

    return Mirror(url, incarnation, clock)


async def opened(database: str) -> SqlStore:
    """The store, however long it takes: an actor whose constructor fails is never started again by Ray."""
    while True:
        try:
            return open_store(database)
        except StorageError as error:
            log.error("action=open_failed error=%s", error)
            await asyncio.sleep(OPEN_AGAIN_S)


def die_with(task: asyncio.Task[None]) -> None:
    """A process whose loop has ended by a bug of ours must not linger: Ray starts it again, from storage."""
    if not task.cancelled():
        log.critical("action=broken error=%r", task.exception(), exc_info=task.exception())
        os._exit(70)
