"""Counters that have a source: a count in somebody's own database, which is the truth.

A sync sets the counter to it. What was added to the counter since the count began is not in question, and is kept:

    new value = what the query returned + what increments and decrements have added since before it began.

"Before it began" is a seq, read from storage; the owner adds up what comes after it, in its order of operations
(`Round._sync`). So no acknowledged increment is lost. One whose row the query has seen as well counts twice until the
next sync.

All of it happens in the process of the timer: the queries in threads of their own, few at a time. Ordinary Python
without Ray.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import msgspec

from actors.clock import Clock, iso
from actors.core import schedule
from actors.core.agenda import Agenda
from actors.errors import Unavailable
from actors.messages import Operation, Status
from actors.round import refusal
from actors.source import Source
from actors.timer import Owners
from storage.errors import StorageError
from storage.source import SourceFailed, count
from storage.store import Store
from storage.thread import StorageThread

LATE_S = 2.0  # A database that does not stop when it is told to is left behind after so long.
QUERIES = 2  # At a time. The rest waits: a database has other things to do than to count.
LOOK_S = 1.0
PATIENCE_S = 10.0  # For the owner to answer.
AGAIN_S = 0.1
NOTE = "synced "  # In storage: when a counter was synced last, and what was found.

Answer = tuple[int, bytes]

log = logging.getLogger("counters.statistics")


class Found(msgspec.Struct):
    """What the last sync, or look at the drift, has found."""

    at: int = 0  # Wall time of the last sync; 0: never.
    difference: int | None = None  # From the counter to its source.
    error: str | None = None  # Why there is nothing newer.


class Place(NamedTuple):
    """Where a counter stood; all 0: it was not there."""

    id: int = 0
    seq: int = 0
    value: int = 0


@dataclass(frozen=True)
class Failure:
    """There is no count; what to answer."""

    answer: Answer


Count = Callable[[str, str, float, Callable[[], bool]], int]


class Statistics:
    """Keeps counters at what their sources say."""

    def __init__(
        self,
        store: Store,
        owners: Owners,
        clock: Clock,
        chance: Callable[[], float],
        sources: Mapping[str, Source],
        count: Count = count,
    ) -> None:
        self._store = store
        self._owners = owners
        self._clock = clock
        self._chance = chance  # A number from 0 to 1, each time another.
        self._sources = sources
        self._count = count
        self._storage = StorageThread()
        self._threads = ThreadPoolExecutor(QUERIES, "source")
        self._agenda: Agenda[str] = Agenda()
        self._found: dict[str, Found] = {}
        self._counting: dict[str, asyncio.Task[tuple[Place, int]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = dict.fromkeys(sources, 0)

    # The schedule

    async def run(self) -> None:
        """Sync what its schedule says, until cancelled."""
        try:
            await self._recall()
            while True:
                self._serve()
                await asyncio.sleep(LOOK_S)
        finally:
            for task in (*self._tasks, *self._counting.values()):
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._storage.close()
            self._store.close()

    async def _recall(self) -> None:
        """When each was synced last."""
        while len(self._found) < len(self._sources):
            try:
                for name in self._sources:
                    noted = await self._storage.call(self._store.agree, NOTE + name, "{}")
                    self._found[name] = msgspec.json.decode(noted, type=Found)
            except StorageError as error:
                log.warning("action=recall_failed error=%s", error)
                await asyncio.sleep(LOOK_S)

    def _serve(self) -> None:
        steady, wall = self._clock.steady_ms(), self._clock.now_ms()
        for name, source in self._sources.items():
            if source.schedule and name not in self._agenda:
                at = self._found[name].at
                due = schedule.next_tick(source.schedule, at) if at else wall  # What was never synced is due.
                if due <= wall + LOOK_S * 1000:
                    self._agenda.put(name, steady + due - wall)
        for name, _ in self._agenda.take(steady):
            task = asyncio.get_running_loop().create_task(self._heal(name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _heal(self, name: str) -> None:
        status, _ = await self.sync(name, f"sync:{uuid4().hex}", None)
        if status == Status.OK:
            self._agenda.done([name])
        else:
            self._agenda.failed(name, self._clock.steady_ms(), self._chance())

    # What is asked

    async def sync(self, name: str, id: str, door: str | None) -> Answer:
        """Set a counter to what its source says: `{oldCount, newCount, difference}`. `door`: who has asked."""
        counted = await self._counted(name)
        if isinstance(counted, Failure):
            return counted.answer
        before, actual = counted
        # Its id may have been used before: that of an attempt whose answer was lost, with another number.
        operation = Operation(
            0, name, "sync", actual, id, repeated=True, reason="sync", source=door, since=(before.id, before.seq)
        )
        status, body = await self._operate(operation)
        if status == Status.OK:
            said = msgspec.json.decode(body)
            await self._note(name, Found(self._clock.now_ms(), said["difference"]))
            log.info("action=synced name=%s difference=%d", name, said["difference"])
        return status, body

    async def drift(self, name: str) -> Answer:
        """How far a counter is from its source: `{name, value, actual, difference}`. Changes nothing."""
        counted = await self._counted(name)
        if isinstance(counted, Failure):
            return counted.answer
        before, actual = counted
        difference = actual - before.value
        self._found[name] = Found(self._found.get(name, Found()).at, difference)
        return Status.OK, msgspec.json.encode(
            {"name": name, "value": before.value, "actual": actual, "difference": difference}
        )

    def listed(self) -> Answer:
        """The counters that have a source, and what was found last."""
        rows = []
        for name, source in sorted(self._sources.items()):
            found = self._found.get(name, Found())
            rows.append({
                "name": name,
                "schedule": source.schedule or None,
                "syncedAt": iso(found.at) if found.at else None,
                "difference": found.difference,
                "error": found.error,
            })  # fmt: skip
        return Status.OK, msgspec.json.encode({"sources": rows})

    def figures(self) -> list[tuple[str, str, float]]:
        """Name of a figure, counter, number."""
        figures = [("source_failures_total", name, float(count)) for name, count in self._failures.items()]
        for name, found in self._found.items():
            if found.difference is not None:
                figures.append(("drift", name, float(found.difference)))
            if found.at:
                figures.append(("synced_timestamp_seconds", name, found.at / 1000))
        return figures

    # The query

    async def _counted(self, name: str) -> tuple[Place, int] | Failure:
        """Where the counter stood before its source was asked, and what that said. Who comes meanwhile shares it."""
        if name not in self._sources:
            return Failure(no_source(name))
        task = self._counting.get(name)
        if task is None:
            task = self._counting[name] = asyncio.get_running_loop().create_task(self._ask(name))
            task.add_done_callback(lambda _: self._counting.pop(name, None))
        try:
            return await asyncio.shield(task)
        except SourceFailed as error:
            return Failure(_failed(name, error))
        except StorageError as error:
            log.warning("action=count_failed name=%s error=%s", name, error)
            return Failure((Status.UNAVAILABLE, b""))

    async def _ask(self, name: str) -> tuple[Place, int]:
        source, loop = self._sources[name], asyncio.get_running_loop()
        row = (await self._storage.call(self._store.read, [name])).get(name)
        before = Place() if row is None else Place(row.id, row.seq, row.value)
        begun = self._clock.monotonic()
        try:
            async with asyncio.timeout(source.timeout_s + LATE_S):
                actual = await loop.run_in_executor(self._threads, self._count_within, source)
        except TimeoutError:
            failure = SourceFailed("timeout", "the database did not stop when it was told to, or others were first")
            raise self._failing(name, failure) from None
        except SourceFailed as error:
            raise self._failing(name, error) from error
        log.info("action=counted name=%s took_ms=%d", name, (self._clock.monotonic() - begun) * 1000)
        return before, actual

    def _count_within(self, source: Source) -> int:
        end = self._clock.monotonic() + source.timeout_s
        return self._count(source.database, source.query, source.timeout_s, lambda: self._clock.monotonic() > end)

    def _failing(self, name: str, error: SourceFailed) -> SourceFailed:
        log.warning("action=source_failed name=%s reason=%s error=%s", name, error.reason, error)
        self._failures[name] += 1
        self._found[name] = msgspec.structs.replace(self._found.get(name, Found()), error=error.reason)
        return error

    async def _note(self, name: str, found: Found) -> None:
        self._found[name] = found
        try:
            await self._storage.call(self._store.note, NOTE + name, msgspec.json.encode(found).decode())
        except StorageError as error:  # After a restart it is done once more; that is all.
            log.warning("action=note_failed name=%s error=%s", name, error)

    async def _operate(self, operation: Operation) -> Answer:
        """Have the owner apply it, whoever that is by then."""
        end = self._clock.monotonic() + PATIENCE_S
        while self._clock.monotonic() < end:
            placement = self._owners.placement
            owner = placement.owner(operation.name)
            if owner is None:
                self._owners.dedicate(operation.name)
            else:
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        [(_, status, body)] = await self._owners.operate(
                            placement.hosts[owner], placement.version, [operation]
                        )
                    if status in (Status.OK, Status.REFUSED):
                        return status, body
                except (Unavailable, TimeoutError) as error:
                    log.warning("action=sync_unanswered name=%s error=%s", operation.name, error)
            await asyncio.sleep(AGAIN_S)
        return Status.UNAVAILABLE, b""


def no_source(name: str) -> Answer:
    """The answer to whoever takes it for granted that a counter has a source."""
    message = f"{name} has no source; sync takes an actual value instead"
    return Status.REFUSED, refusal("COUNTER_VALIDATION_ERROR", message, "actual")


def _failed(name: str, error: SourceFailed) -> Answer:
    message = f"{name} was left as it is: {_SAID[error.reason]}"
    body = {"code": "SOURCE_FAILED", "message": message, "data": {"reason": error.reason}}
    return Status.REFUSED, msgspec.json.encode(body)


_SAID = {
    "unreachable": "the database of its source cannot be reached",
    "query": "the database of its source refused the query",
    "timeout": "the query of its source took too long",
    "rows": "the query of its source did not return one row with one column",
    "value": "the query of its source did not return an integer within the range of exact ones",
}
