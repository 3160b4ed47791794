"""The timer as a Ray actor."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from random import random
from typing import Any

import ray
from ray.exceptions import RayError

from actors import logs
from actors.clock import SystemClock
from actors.directory import NAMESPACE, TIMER, RayDirectory
from actors.errors import Unavailable
from actors.host_actor import die_with, opened
from actors.messages import Operation, Status
from actors.placement import HostEntry
from actors.settings import ActorSettings
from actors.statistics import Answer, Statistics, no_source
from actors.timer import Timer
from actors.trimmer import Trimmer

log = logging.getLogger("counters.timer")


class RayOwners(RayDirectory):
    """The hosts, over Ray: a batch of operations in a call."""

    def __init__(self) -> None:
        super().__init__()
        self._handles: dict[HostEntry, Any] = {}

    async def operate(
        self, host: HostEntry, version: int, operations: Sequence[Operation]
    ) -> list[tuple[int, int, bytes]]:
        try:
            if host not in self._handles:
                self._handles[host] = ray.get_actor(host.id, namespace=NAMESPACE)
            answers: list[tuple[int, int, bytes]] = await self._handles[host].operate.remote(version, operations)
            return answers
        except (RayError, ValueError) as error:  # ValueError: no actor of that name at this moment.
            self._handles.pop(host, None)
            raise Unavailable(f"{host.id} is away: {type(error).__name__}") from error


class TimerActor:
    """A `Timer` in a process of its own."""

    @logs.failing(log)
    async def __init__(self, settings: ActorSettings) -> None:  # type: ignore[misc]
        logs.to_file(settings.log_file)
        loop = asyncio.get_running_loop()
        store = await opened(settings.database)
        owners = RayOwners()
        timer = Timer(store, owners, SystemClock(store.agree), random, settings.policies)
        trimmer = Trimmer(await opened(settings.database), SystemClock(), settings.policies)
        work = [loop.create_task(timer.run()), loop.create_task(trimmer.run())]
        self._statistics: Statistics | None = None
        if settings.sources:
            store = await opened(settings.database)
            clock = SystemClock(store.agree)
            self._statistics = Statistics(store, owners, clock, random, dict(settings.sources))
            work.append(loop.create_task(self._statistics.run()))
        for task in work:
            task.add_done_callback(die_with)
        self._tasks = [loop.create_task(owners.follow()), *work]
        if settings.redis_url:
            from actors.keeper import Keeper  # The client of Redis weighs 10 MB; most services do without.

            store = await opened(settings.database)
            keeper = Keeper(store, settings.redis_url, SystemClock(store.agree))
            self._tasks.append(loop.create_task(keeper.run(lambda: owners.placement.table)))
        log.info("action=timer_started name=%s pid=%d", TIMER, os.getpid())

    async def pid(self) -> int:
        """The process this runs in. Answers when the timer works."""
        return os.getpid()

    async def sync(self, name: str, id: str, door: str | None) -> Answer:
        """Set a counter to what its source says."""
        return no_source(name) if self._statistics is None else await self._statistics.sync(name, id, door)

    async def drift(self, name: str) -> Answer:
        """How far a counter is from its source."""
        return no_source(name) if self._statistics is None else await self._statistics.drift(name)

    async def sources(self) -> Answer:
        """The counters that have a source."""
        return (Status.OK, b'{"sources":[]}') if self._statistics is None else self._statistics.listed()

    async def figures(self) -> list[tuple[str, str, float]]:
        """What whoever watches over the service wants to know: name, counter and number."""
        return [] if self._statistics is None else self._statistics.figures()
