"""The supervisor: owns the placement table, starts hosts, and says at once when one is gone.

It is off the data path. While it is away, gateways and hosts go on with the table they have; when it is back, it asks
the living hosts who they are and goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from actors.clock import SystemClock
from actors.directory import NAMESPACE
from actors.placement import HostEntry, Table
from actors.settings import ActorSettings

WAIT_S = 30.0  # How long a request for a newer table is held open.
PROBE_S = 0.5  # A host that accepts no connection and says nothing for so long is taken out of the table.
REBUILD_S = 2.0

log = logging.getLogger("counters.supervisor")


class Supervisor:
    """An ordinary class; `actors.runtime` makes it an actor."""

    def __init__(self, settings: ActorSettings, start_host: Any) -> None:
        self._settings = settings
        self._start_host = start_host  # (id, dedicated name or None) → starts the actor; injected by the runtime.
        # Versions continue above those of a supervisor that died, because wall time did.
        self._table = Table(SystemClock().now_ms(), dedicate_all=settings.dedicate_all)
        self._changed = asyncio.Event()
        self._starting: set[str] = set()

    async def rebuild(self) -> None:
        """Ask all living hosts who they are. For a supervisor that was started anew."""
        actors = ray.util.list_named_actors(all_namespaces=True)
        ours = (each["name"] for each in actors if each["namespace"] == NAMESPACE)
        hosts = [name for name in ours if name.startswith(("host:", "counter:"))]
        for entry in await asyncio.gather(*(self._ask(name) for name in hosts)):
            if entry is not None:
                self._put(entry)

    async def _ask(self, name: str) -> HostEntry | None:
        try:
            entry: HostEntry = await asyncio.wait_for(
                _as_future(ray.get_actor(name, namespace=NAMESPACE).entry.remote()), REBUILD_S
            )
            return entry
        except (RayError, ValueError, TimeoutError):
            return None  # It registers by itself when it is back.

    async def newer_table(self, version: int) -> Table:
        """The table, as soon as it is newer than `version`; the same one after a while, if it is not."""
        if self._table.version <= version:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), WAIT_S)
        return self._table

    async def register(self, entry: HostEntry) -> Table:
        """A host has started, or started again."""
        self._put(entry)
        return self._table

    async def report(self, suspect: HostEntry) -> None:
        """Somebody lost the link to `suspect`. See for ourselves, and take it out of the table if it is gone."""
        if suspect not in self._table.hosts:
            return
        if not await _answers(suspect):
            self._remove(suspect)

    async def dedicate(self, name: str) -> None:
        """Give `name` a host of its own, if it has none."""
        if name in self._starting or any(host.dedicated == name for host in self._table.hosts):
            return
        self._starting.add(name)
        try:
            self._start_host(f"counter:{name}", name)
        finally:
            self._starting.discard(name)

    async def hosts(self) -> list[HostEntry]:
        """Everybody in the table."""
        return list(self._table.hosts)

    def _put(self, entry: HostEntry) -> None:
        others = tuple(host for host in self._table.hosts if host.id != entry.id)
        self._publish((*others, entry))
        log.info("action=host_up host=%s version=%d", entry.id, self._table.version)

    def _remove(self, entry: HostEntry) -> None:
        if entry in self._table.hosts:
            self._publish(tuple(host for host in self._table.hosts if host != entry))
            log.warning("action=host_down host=%s version=%d", entry.id, self._table.version)

    def _publish(self, hosts: tuple[HostEntry, ...]) -> None:
        # Sorted, so that everybody who computes an owner sees the same order.
        ordered = tuple(sorted(hosts, key=lambda host: host.id))
        version = max(self._table.version + 1, SystemClock().now_ms())
        self._table = Table(version, ordered, self._settings.dedicate_all, self._table.version)
        self._changed.set()
        self._changed = asyncio.Event()


async def _answers(host: HostEntry) -> bool:
    """Does somebody accept a connection there and keep it open?"""
    try:
        async with asyncio.timeout(PROBE_S):
            if host.unix is not None:
                reader, writer = await asyncio.open_unix_connection(host.unix)
            else:
                address, _, port = (host.tcp or "").rpartition(":")
                reader, writer = await asyncio.open_connection(address, int(port))
            try:
                # A host that lives sends the first heartbeat before anybody has said a word. A frozen one's kernel
                # would accept the connection and leave it at that.
                return bool(await reader.read(1))
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def _as_future(reference: Any) -> Any:
    return await reference
