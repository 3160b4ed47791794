"""Starting and stopping on Ray: the one place where plain classes become actors."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import logs
from actors.directory import NAMESPACE, SUPERVISOR, RayDirectory, supervisor
from actors.errors import AlreadyRunning
from actors.host import Host
from actors.link import HostEnd
from actors.messages import Operation, Query
from actors.placement import HostEntry, Table
from actors.settings import ActorSettings
from actors.stub import operation, value_of
from actors.supervisor import Supervisor
from storage.errors import StorageError
from storage.store import SqlStore, open_store

# Placed by us, not by Ray's resource accounting; restarted for ever; not tied to the process that created them.
_OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "lifetime": "detached",
    "namespace": NAMESPACE,
    "max_concurrency": 1000,
}

OPEN_AGAIN_S = 1.0

log = logging.getLogger("counters.runtime")


class HostActor:
    """A `Host` with a socket, a place in the table, and a door for Ray calls."""

    async def __init__(self, id: str, dedicated: str | None, settings: ActorSettings) -> None:  # type: ignore[misc]
        logs.to_file(settings.log_file)
        incarnation = uuid4().hex
        loop = asyncio.get_running_loop()
        self._host = Host(id, await _opened(settings.database))
        self._task = loop.create_task(self._host.run())
        self._task.add_done_callback(_die_with)

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
        self._directory = RayDirectory()
        self._directory.subscribe(self._follow)
        self._tasks = [loop.create_task(self._register()), loop.create_task(self._directory.follow())]
        log.info("action=host_started host=%s pid=%d", id, os.getpid())

    async def _register(self) -> None:
        while True:
            try:
                self._directory.take(await supervisor().register.remote(self._entry))
                return
            except (ray.exceptions.RayError, ValueError):
                await asyncio.sleep(0.2)  # The supervisor is being started again.

    def _follow(self) -> None:
        placement = self._directory.placement
        self._host.place(placement)
        if placement.hosts.get(self._entry.id) != self._entry:
            # Somebody took us for dead. Our epochs are worth nothing any more; ask to be let in again.
            self._tasks.append(asyncio.get_running_loop().create_task(self._register()))

    async def entry(self) -> HostEntry:
        """Who this is."""
        return self._entry

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


class SupervisorActor:
    """A `Supervisor` that starts its hosts on Ray."""

    async def __init__(self, settings: ActorSettings) -> None:  # type: ignore[misc]
        logs.to_file(settings.log_file)
        self._settings = settings
        self._supervisor = Supervisor(settings, self._start_host)
        await self._supervisor.rebuild()
        log.info("action=supervisor_started pid=%d", os.getpid())

    def _start_host(self, id: str, dedicated: str | None) -> None:
        options = actor_options(id, self._settings)
        ray.remote(HostActor).options(get_if_exists=True, **options).remote(id, dedicated, self._settings)

    async def start_hosts(self, count: int) -> None:
        """Start the shared hosts 0 to `count` - 1."""
        for index in range(count):
            self._start_host(f"host:{index}", None)

    async def newer_table(self, version: int) -> Table:
        return await self._supervisor.newer_table(version)

    async def register(self, entry: HostEntry) -> Table:
        return await self._supervisor.register(entry)

    async def report(self, suspect: HostEntry) -> None:
        await self._supervisor.report(suspect)

    async def dedicate(self, name: str) -> None:
        await self._supervisor.dedicate(name)

    async def settings(self) -> ActorSettings:
        """What the actors of this service were told."""
        return self._settings


async def _opened(database: str) -> SqlStore:
    """The store, however long it takes: an actor whose constructor fails is never started again by Ray."""
    while True:
        try:
            return open_store(database)
        except StorageError as error:
            log.error("action=open_failed database=%s error=%s", database, error)
            await asyncio.sleep(OPEN_AGAIN_S)


def _die_with(task: asyncio.Task[None]) -> None:
    """A host whose loop has ended by a bug of ours must not linger: Ray starts it again, from storage."""
    if not task.cancelled():
        log.critical("action=host_broken error=%r", task.exception(), exc_info=task.exception())
        os._exit(70)


def refuse_another() -> None:
    """Raises AlreadyRunning when the connected Ray cluster runs a service already."""
    if SUPERVISOR in actor_names():
        raise AlreadyRunning("this Ray cluster already runs a counters service; `counters stop` ends it")


def start(settings: ActorSettings, hosts: int) -> None:
    """Start supervisor and hosts in the connected Ray cluster and wait until the hosts are there."""
    handle = ray.remote(SupervisorActor).options(**actor_options(SUPERVISOR, settings)).remote(settings)
    ray.get(handle.start_hosts.remote(hosts))
    version, table = 0, Table()
    while len(table.hosts) < hosts:
        table = ray.get(handle.newer_table.remote(version))
        version = table.version


def stop() -> None:
    """End all actors of the service in the connected Ray cluster and wait until their processes are gone."""
    # The supervisor first: it would start what we end.
    for name in sorted(actor_names(), key=lambda name: name != SUPERVISOR):
        try:
            ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
        except ValueError:
            log.info("action=already_gone actor=%s", name)


def actor_names() -> list[str]:
    """The names of all actors of the service."""
    return [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == NAMESPACE]


def actor_options(name: str, settings: ActorSettings) -> dict[str, Any]:
    """How an actor of the service is started: by name, detached, restarted when it dies, on its node."""
    place = NodeAffinitySchedulingStrategy(settings.node, soft=False) if settings.node else "DEFAULT"
    return {"name": name, "scheduling_strategy": place, **_OPTIONS}
