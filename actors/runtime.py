"""Starting and stopping on Ray: the one place where plain classes become actors."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorAlreadyExistsError, ActorUnavailableError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import logs
from actors.directory import NAMESPACE, SUPERVISOR, TIMER, supervisor
from actors.errors import AlreadyRunning
from actors.host_actor import HostActor
from actors.placement import HostEntry, Table
from actors.settings import ActorSettings
from actors.supervisor import CannotStart, Supervisor
from actors.timer_actor import TimerActor

# Placed by us, not by Ray's resource accounting; restarted for ever; not tied to the process that created them.
_OPTIONS: dict[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "lifetime": "detached",
    "namespace": NAMESPACE,
    "max_concurrency": 1000,
}

AGAIN_S = 0.2
INTRODUCE_S = 2.0  # A host that is asked who it is. A busy one answers in a fraction of that.
RETIRE_S = 5.0  # The longest that a host may take to finish. A round takes milliseconds.
PROBE_S = 0.5  # A host that accepts no connection and says nothing for so long is gone.

log = logging.getLogger("counters.runtime")


class RayProcesses:
    """Hosts as Ray actors."""

    def __init__(self, settings: ActorSettings) -> None:
        self._settings = settings

    def start(self, id: str, dedicated: str | None) -> None:
        options = actor_options(id, self._settings)
        try:
            ray.remote(HostActor).options(**options).remote(id, dedicated, self._settings)
        except (RayError, ValueError) as error:  # ValueError: there is one of that name.
            raise CannotStart(str(error)) from error

    async def introduce(self) -> dict[str, tuple[HostEntry, Table] | None]:
        ids = [name for name in actor_names() if name.startswith(("host:", "counter:"))]
        return dict(zip(ids, await asyncio.gather(*map(self._ask, ids)), strict=True))

    async def _ask(self, id: str) -> tuple[HostEntry, Table] | None:
        try:
            actor = ray.get_actor(id, namespace=NAMESPACE)
            said: tuple[HostEntry, Table] = await asyncio.wait_for(_future(actor.introduce.remote()), INTRODUCE_S)
            return said
        except (RayError, ValueError, TimeoutError):
            return None

    async def answers(self, host: HostEntry) -> bool:
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

    async def end(self, id: str, table: Table | None) -> None:
        try:
            actor = ray.get_actor(id, namespace=NAMESPACE)
        except ValueError:
            return  # It has gone by itself.
        if table is not None:
            try:
                await asyncio.wait_for(_future(actor.retire.remote(table)), RETIRE_S)
            except (RayError, TimeoutError) as error:
                # Whatever it had not finished is fenced, or asked for again.
                log.warning("action=retire_failed host=%s error=%s", id, type(error).__name__)
        # From outside: an actor that ends itself takes the calls along that are on their way to it.
        ray.kill(actor, no_restart=True)
        log.info("action=host_ended host=%s", id)


class SupervisorActor:
    """A `Supervisor` whose hosts run on Ray."""

    @logs.failing(log)
    async def __init__(self, settings: ActorSettings) -> None:  # type: ignore[misc]
        logs.to_file(settings.log_file)
        self._settings = settings
        self._supervisor = Supervisor(settings, RayProcesses(settings))
        await self._supervisor.rebuild()
        log.info("action=supervisor_started pid=%d", os.getpid())

    async def newer_table(self, version: int) -> Table:
        return await self._supervisor.newer_table(version)

    async def register(self, entry: HostEntry) -> Table:
        return await self._supervisor.register(entry)

    async def report(self, suspect: HostEntry) -> None:
        await self._supervisor.report(suspect)

    async def dedicate(self, name: str) -> None:
        self._supervisor.dedicate(name)

    async def quiet(self, name: str) -> None:
        self._supervisor.quiet(name)

    async def activity(self, host: str, rates: Sequence[tuple[str, float]]) -> None:
        self._supervisor.activity(host, rates)

    async def seen(self, version: int) -> None:
        self._supervisor.seen(version)

    async def scale(self, hosts: int) -> list[str]:
        return await self._supervisor.scale(hosts)

    async def restart_hosts(self) -> list[str]:
        return await self._supervisor.restart_hosts()

    async def settings(self) -> ActorSettings:
        """What the actors of this service were told."""
        return self._settings


def found(settings: ActorSettings, hosts: int) -> None:
    """Start the supervisor in the connected Ray cluster. Raises AlreadyRunning where there is one.

    Ray gives a name away once, so of two that try at the same moment one succeeds.
    """
    settings = replace(settings, hosts=hosts)
    try:
        ray.remote(SupervisorActor).options(**actor_options(SUPERVISOR, settings)).remote(settings)
    except ActorAlreadyExistsError as error:
        raise AlreadyRunning(
            "this Ray cluster already runs a counters service; `counters stop` ends it"
        ) from error


def start(settings: ActorSettings, hosts: int) -> None:
    """Start the timer, have the supervisor start the hosts, and wait until they are there."""
    ray.remote(TimerActor).options(**actor_options(TIMER, settings)).remote(replace(settings, hosts=hosts))
    version, table = 0, Table()
    while len(table.hosts) < hosts:
        table = insist(lambda version=version: supervisor().newer_table.remote(version))  # type: ignore[misc]
        version = table.version


def insist(call: Callable[[], Any]) -> Any:
    """What an actor answers to `call`, however often it is killed meanwhile: Ray starts it again."""
    while True:
        try:
            return ray.get(call())
        except ActorUnavailableError as error:
            log.info("action=asked_again error=%s", type(error).__name__)
            threading.Event().wait(AGAIN_S)


def stop() -> None:
    """End all actors of the service in the connected Ray cluster and wait until their processes are gone."""
    _kill(SUPERVISOR)  # First: it would start what we end.
    for name in actor_names():
        _kill(name)


def _kill(name: str) -> None:
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


async def _future(reference: Any) -> Any:
    """What `asyncio.wait_for` can wait for."""
    return await reference
