"""The timer: finds out what is due and asks the owners, who decide.

It looks into storage twice a second for what is due within the next second. Deadlines there may be too early: those of
counters that were touched meanwhile are moved on without waking anybody. For the others the owner is asked, at the
moment itself, by an ordinary operation, `expire`; it resets the counter or writes down the new deadline. So the timer
keeps nothing that could be lost: whoever takes its place finds everything in storage. Alarms go the same way: the owner
applies the operation and writes down that the alarm has run, in one commit.

No period is shorter than a second, hence whatever becomes armed is found by a look before it is due, and nobody has to
tell the timer about it.

Ordinary Python without Ray: `actors.timer_actor` puts it in a process.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from actors.activation import idle_since, policy_of
from actors.clock import Clock
from actors.core import alarm
from actors.core.agenda import Agenda
from actors.core.deadline import Moment, deadlines
from actors.core.policy import Policies
from actors.errors import Unavailable
from actors.messages import Operation, Status
from actors.placement import HostEntry, Placement
from storage.errors import StorageError
from storage.records import AlarmRecord, AlarmStep, CounterRecord, Postponement
from storage.store import Store
from storage.thread import StorageThread

LOOK_S = 0.5  # Half of the shortest period: a look finds what is due before the next one.
PAGE = 5_000  # Deadlines held at a time. When more are due, they come as these are served.
BATCH = 100  # Counters in one question to a host, which does a few of them at a time: it takes some 20 ms.
GATHER_S = 0.01  # A look is not worth one deadline. And an owner whose clock is behind says so again and again.
ANSWER_S = 5.0  # A host that takes longer is asked again, or its successor is.

Key = tuple[str, str]  # The name of a counter, and the id of its alarm; empty: it may have to reset itself.

log = logging.getLogger("counters.timer")


class Owners(Protocol):
    """How to reach the owners of counters."""

    placement: Placement

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called when there is a newer table."""
        ...

    def dedicate(self, name: str) -> None:
        """See to it that there is a host for `name`."""
        ...

    async def operate(
        self, host: HostEntry, version: int, operations: Sequence[Operation]
    ) -> list[tuple[int, int, bytes]]:
        """Have operations applied: (tag, status, body) for each. Raises Unavailable."""
        ...


@dataclass
class _Asked:
    """A question to one host, and what came of it."""

    host: HostEntry
    keys: list[Key]
    done: list[Key] = field(default_factory=list)
    kept: bool = False  # Some were not due any more, and have a deadline that may come soon.
    error: str = "no answer"


class Timer:
    """Everything that happens because time has passed."""

    def __init__(
        self,
        store: Store,
        owners: Owners,
        clock: Clock,
        chance: Callable[[], float],
        policies: Policies,
        look_s: float = LOOK_S,
    ) -> None:
        self._store = store
        self._owners = owners
        self._clock = clock
        self._chance = chance  # A number from 0 to 1, each time another.
        self._policies = policies
        self._look_s = look_s
        self._storage = StorageThread()
        self._agenda: Agenda[Key] = Agenda()
        self._alarms: dict[Key, AlarmRecord] = {}  # Those on the agenda.
        self._queues: dict[str, deque[tuple[Key, int]]] = {}  # What is due and since when, by host.
        self._asking: dict[str, tuple[HostEntry, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._moved_on = asyncio.Event()  # Deadlines have been written that may come before the next look.
        owners.subscribe(self._moved)

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        others = [loop.create_task(self._sweep()), loop.create_task(self._watch())]
        others[1].add_done_callback(lambda _: self._wake.set())
        try:
            while not others[1].done():
                self._wake.clear()
                self._serve()
                await self._until_next()
            others[1].result()
        finally:
            for task in (*others, *(task for _, task in self._asking.values())):
                task.cancel()
            self._storage.close()
            self._store.close()

    async def _watch(self) -> None:
        """Look into storage, again and again. Apart from the loop above, which must not wait for a slow disk."""
        begun, works = self._clock.monotonic(), False
        while True:
            try:
                await self._look()
                if not works:
                    works = True
                    log.info("action=timer_works took_ms=%d", (self._clock.monotonic() - begun) * 1000)
            except StorageError as error:
                log.warning("action=look_failed error=%s", error)
            self._wake.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._moved_on.wait()
                    await asyncio.sleep(GATHER_S)
            self._moved_on.clear()

    async def _until_next(self) -> None:
        """Wait for the next deadline, or until something has happened."""
        handle, next_at = None, self._agenda.next_at
        if next_at is not None:
            wait = max(0.0, (next_at - self._clock.steady_ms()) / 1000)
            handle = asyncio.get_running_loop().call_later(wait, self._wake.set)
        await self._wake.wait()
        if handle is not None:
            handle.cancel()

    def _now(self) -> Moment:
        return Moment(self._clock.steady_ms(), self._clock.now_ms())

    # What is due

    async def _look(self) -> None:
        """Find what is due soon. What is not, because somebody has touched it, is moved on."""
        if sum(map(len, self._queues.values())) > PAGE // 2:
            return  # Whatever could be found is due later than all that.
        now = self._now()
        limit = PAGE + len(self._agenda)
        ahead = round(self._look_s * 2000)
        rows = await self._storage.call(self._store.due, now.steady + ahead, now.wall + ahead, limit)
        early = []
        for row in rows:
            if (row.name, "") in self._agenda:
                continue
            postponed = self._postponement(row, now)
            if postponed is not None:
                early.append(postponed)
            else:
                self._agenda.put((row.name, ""), _when(row.due_at, row.tick_at, now))
        if early:
            await self._storage.call(self._store.postpone, early)
        for name, each in await self._storage.call(
            self._store.alarms_due, now.steady + ahead, now.wall + ahead, limit
        ):
            if (name, each.id) not in self._agenda:
                self._alarms[name, each.id] = each
                self._agenda.put((name, each.id), _when(each.due_at, each.at, now))

    def _postponement(self, row: CounterRecord, now: Moment) -> Postponement | None:
        """The deadlines that `row` should have; None: it has them."""
        policy = policy_of(row, self._policies)
        wanted = deadlines(policy, row.value, idle_since(row), row.tick_at, now)
        if wanted == (row.due_at, row.tick_at):
            return None
        return Postponement(row.id, row.due_at, row.tick_at, row.policy, *wanted)

    async def _sweep(self) -> None:
        """Arm all counters anew when what the service says of them has changed since the last time."""
        said, id, count = self._policies.digest(), 0, 0
        while True:
            try:
                if await self._storage.call(self._store.agree, "policies", "") == said:
                    return
                while rows := await self._storage.call(self._store.after, id, PAGE):
                    found = [self._postponement(row, self._now()) for row in rows if row.created_at is not None]
                    wrong = [each for each in found if each is not None]
                    if wrong:
                        await self._storage.call(self._store.postpone, wrong)
                    id, count = rows[-1].id, count + len(wrong)
                await self._storage.call(self._store.note, "policies", said)
                log.info("action=armed_anew counters=%d", count)
                return
            except StorageError as error:
                log.warning("action=sweep_failed error=%s", error)
                await asyncio.sleep(LOOK_S)

    # Who is asked

    def _moved(self) -> None:
        """There is a newer table: whoever was asked and is not there any more will not answer."""
        for id, (entry, task) in list(self._asking.items()):
            if self._owners.placement.hosts.get(id) != entry:
                task.cancel()
        for key, when in [entry for queue in self._queues.values() for entry in queue]:
            self._agenda.again(key, when)
        self._queues.clear()
        self._agenda.hurry(self._clock.steady_ms())
        self._wake.set()

    def _serve(self) -> None:
        """Have every owner asked for what is due, a batch at a time."""
        placement = self._owners.placement
        now = self._clock.steady_ms()
        for key, when in self._agenda.take(now):
            owner = placement.owner(key[0])
            if owner is None:
                self._owners.dedicate(key[0])
                self._agenda.failed(key, now, self._chance())
            else:
                self._queues.setdefault(owner, deque()).append((key, when))
        for owner, queue in list(self._queues.items()):
            if owner not in self._asking and queue:
                batch = [queue.popleft()[0] for _ in range(min(len(queue), BATCH))]
                entry = placement.hosts[owner]
                asked = _Asked(entry, batch)
                task = asyncio.get_running_loop().create_task(self._ask(asked, placement.version))
                # Not a `finally` in there: a task that is cancelled before its first step never comes to one.
                task.add_done_callback(partial(self._settle, asked))
                self._asking[owner] = entry, task

    async def _ask(self, asked: _Asked, version: int) -> None:
        """Ask one host about some of its counters."""
        host, keys = asked.host, asked.keys
        try:
            async with asyncio.timeout(ANSWER_S):
                operations = [self._operation(tag, key) for tag, key in enumerate(keys)]
                answers = await self._owners.operate(host, version, operations)
            asked.done = [keys[tag] for tag, status, _ in answers if status in (Status.OK, Status.REFUSED)]
            asked.kept = any(b'"reset":false' in body for _, _, body in answers)
        except (Unavailable, TimeoutError) as failure:
            asked.error = str(failure) or asked.error
            log.warning("action=ask_failed host=%s counters=%d error=%s", host.id, len(keys), asked.error)

    def _settle(self, asked: _Asked, task: asyncio.Task[None]) -> None:
        """What was answered is done; what was not is tried again, whoever asked and however that ended."""
        if not task.cancelled() and task.exception() is not None:
            log.error("action=ask_broken host=%s", asked.host.id, exc_info=task.exception())
        now, done = self._clock.steady_ms(), set(asked.done)
        open = [key for key in asked.keys if key not in done]
        failed = [self._failed(key, asked.error) for key in open if key[1]]
        if failed:
            self._storage.call(self._store.step_alarms, failed).add_done_callback(_noted)
        for key in open:
            self._agenda.failed(key, now, self._chance())
        self._agenda.done(asked.done)
        for key in asked.done:
            self._alarms.pop(key, None)
        if asked.kept:
            self._moved_on.set()
        del self._asking[asked.host.id]
        self._wake.set()

    def _operation(self, tag: int, key: Key) -> Operation:
        name, id = key
        if not id:
            return Operation(tag, name, "expire", 0, "expire")
        one = self._alarms[key]
        run: dict[str, int | str | None] = {
            "id": id, "key": one.key, "run": one.run, "attempt": one.attempt + self._agenda.attempt(key)
        }  # fmt: skip
        return Operation(tag, name, "alarm", 0, alarm.operation_id(one.key, one.run), alarm=run)

    def _failed(self, key: Key, error: str) -> AlarmStep:
        """An attempt that nobody answered."""
        one = self._alarms[key]
        return AlarmStep(one, one._replace(attempt=one.attempt + self._agenda.attempt(key), error=error), None)


def _noted(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and future.exception() is not None:
        # It is for people who look: the alarm is tried again all the same.
        log.warning("action=step_failed error=%s", future.exception())


def _when(steady: int | None, wall: int | None, now: Moment) -> int:
    """The steady time at which the first of two times comes."""
    times = [] if steady is None else [steady]
    if wall is not None:
        times.append(now.steady + wall - now.wall)
    return min(times)
