"""The supervisor: owns the placement table, sees to it that there are as many hosts as there should be, and ranks.

It is off the data path. While it is away, gateways and hosts go on with the table they have; when it is back, it asks
the living hosts who they are and which table they know, and goes on from there. It does nothing by the clock but wait
for somebody who is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from actors.clock import Clock, SystemClock
from actors.core.ranking import COOL_S, Standing, rank
from actors.errors import Refused, Unavailable
from actors.placement import HostEntry, Table
from actors.settings import ActorSettings

WAIT_S = 30.0  # How long a request for a newer table is held open.
START_S = 30.0  # A host that has not registered so long after its start will not come. It takes 0.3 to 1 s.
# So long a lost host is waited for: Ray brings a killed one back in 2 to 4 s, and a frozen one never. With 2 s to
# suspect it and 1 s to start another, whoever called when it froze (10 s) is still there.
RETURN_S = 5.0
ROUND_S = 0.9  # Between two rounds of the ranking. Hosts tell their rates once a second.
STALE_S = 3.0  # A rate that was not told again for so long is none.
TABLES_MAX = 64  # Kept for those who are a step behind.
HOSTS_MAX = 64

log = logging.getLogger("counters.supervisor")


class Processes(Protocol):
    """Where hosts run."""

    def start(self, id: str, dedicated: str | None) -> None:
        """Have a host started; it registers when it is ready. Raises CannotStart."""
        ...

    async def introduce(self) -> dict[str, tuple[HostEntry, Table] | None]:
        """All hosts that there are, by id: who they are and the table they know; None: no answer."""
        ...

    async def answers(self, host: HostEntry) -> bool:
        """Does this host, and no later life of it, accept a connection and say something?"""
        ...

    async def end(self, id: str, table: Table | None) -> None:
        """Let a host finish what it has begun, now that `table` leaves it out, and end its process. None: at once."""
        ...


class CannotStart(Exception):
    """No process could be started by that name."""


class Supervisor:
    """An ordinary class; `actors.runtime` makes it an actor."""

    def __init__(self, settings: ActorSettings, processes: Processes, clock: Clock | None = None) -> None:
        self._settings = settings
        self._processes = processes
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        # Versions continue above those of a supervisor that nobody remembers, because wall time did.
        self._table = Table(self._clock.now_ms(), dedicate_all=settings.dedicate_all, shared=settings.hosts)
        self._tables: deque[Table] = deque(maxlen=TABLES_MAX)
        self._changed = asyncio.Event()
        self._expected: dict[str, float] = {}  # Hosts that should register, and until when they are waited for.
        self._heirs: dict[str, str] = {}  # New host → the one whose place it takes.
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._last_index = -1  # Of a shared host. An id is used once: a name that is being ended would not be free.
        self._standing = Standing({}, {})
        self._rates: dict[str, tuple[float, dict[str, float]]] = {}  # Host → when it told them, and by name.
        self._ranked_at = 0.0
        self._tending: asyncio.TimerHandle | None = None
        self._ranking: asyncio.TimerHandle | None = None
        self._commands = asyncio.Lock()  # One at a time.

    async def rebuild(self) -> None:
        """Go on from what there is: nothing at the first start, all living hosts after a supervisor that died."""
        found = await self._processes.introduce()
        known = [said for said in found.values() if said is not None]
        newest = max((table for _, table in known), key=lambda table: table.version, default=Table())
        if newest.version:
            self._table = newest
        self._last_index = max((_index(id) for id in [*found, *self._ids()] if _shared(id)), default=-1)
        self._standing = Standing({host.dedicated: None for host in newest.hosts if host.dedicated is not None}, {})
        for id in [id for id in found if _shared(id) and id not in self._ids()]:
            self._expected[id] = self._loop.time() + RETURN_S  # Here already, or Ray is starting it again.
        for entry, _ in known:
            await self.register(entry)
        for id, said in found.items():
            if said is None and not _shared(id) and id not in self._ids():
                self._end(id, None)
        await asyncio.gather(*(self.report(host) for host in self._table.hosts if found.get(host.id) is None))
        log.info("action=rebuilt version=%d hosts=%s", self._table.version, ",".join(self._ids()))
        self._tend()
        self._rank_within(STALE_S)

    # The table

    async def newer_table(self, version: int) -> Table:
        """The table, as soon as it is newer than `version`; the same one after a while, if it is not.

        Whoever is a few steps behind is led step by step: who misses a table has to let go of everything.
        """
        if self._table.version <= version:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), WAIT_S)
        return next((table for table in self._tables if table.previous == version), self._table)

    def seen(self, version: int) -> None:
        """Storage has seen `version`. A table that is older would be refused there, so it gets a version above that."""
        if version > self._table.version:
            log.warning("action=version_behind version=%d seen=%d", self._table.version, version)
            self._publish(self._table.hosts, above=version)

    def _publish(self, hosts: Sequence[HostEntry], shared: int | None = None, above: int = 0) -> None:
        # Sorted, so that everybody who computes an owner sees the same order.
        ordered = tuple(sorted(hosts, key=lambda host: host.id))
        before = self._table
        version = max(before.version + 1, above + 1, self._clock.now_ms())
        wanted = before.shared if shared is None else shared
        self._table = Table(version, ordered, self._settings.dedicate_all, before.version, wanted)
        self._tables.append(self._table)
        self._tell()

    def _tell(self) -> None:
        """Something has changed that somebody may be waiting for."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            await self._changed.wait()

    # Hosts come and go

    async def register(self, entry: HostEntry) -> Table:
        """A host has started, or started again, or found itself left out.

        There may be no place for it: it was taken for dead and replaced. Then it is the one that has to go, because it
        owns nothing; to send away the other would move counters for nothing.
        """
        if entry.id in self._ending or entry in self._table.hosts:
            return self._table
        self._expected.pop(entry.id, None)
        old = self._heirs.pop(entry.id, None)
        others = [host for host in self._table.hosts if host.id not in (entry.id, old)]
        if self._wanted(entry, others):
            self._publish([*others, entry])
            log.info("action=host_up host=%s version=%d", entry.id, self._table.version)
            if old is not None:
                self._expected.pop(old, None)
                self._end(old, self._table)
        else:
            log.info("action=host_surplus host=%s", entry.id)
            self._end(entry.id, self._table)
        self._tend()
        return self._table

    def _wanted(self, entry: HostEntry, others: Sequence[HostEntry]) -> bool:
        if entry.dedicated is not None:
            return entry.dedicated in self._standing.seated
        return sum(host.dedicated is None for host in others) < self._table.shared

    async def report(self, suspect: HostEntry) -> None:
        """Somebody lost the link to `suspect`. See for ourselves, and take it out of the table if it is gone."""
        if suspect not in self._table.hosts or await self._processes.answers(suspect):
            return
        if suspect in self._table.hosts:
            self._publish([host for host in self._table.hosts if host != suspect])
            log.warning("action=host_down host=%s version=%d", suspect.id, self._table.version)
            self._rates.pop(suspect.id, None)
            self._expected[suspect.id] = self._loop.time() + RETURN_S
            self._tend()

    def _tend(self) -> None:
        """Start what is missing, give up what has not come, and look again when the next one is due."""
        now = self._loop.time()
        for id in [id for id, until in self._expected.items() if until <= now]:
            # Ended, not forgotten: Ray would go on starting it again, and a frozen one might thaw.
            log.warning("action=given_up host=%s", id)
            del self._expected[id]
            self._heirs.pop(id, None)
            self._unseat(id)
            self._end(id, None)
        coming = [id for id in self._expected if _shared(id) and id not in self._heirs]
        for _ in range(self._table.shared - len(self._shared_ids()) - len(coming)):
            self._start(self._new_id())
        if self._tending is not None:
            self._tending.cancel()
            self._tending = None
        if self._expected:
            self._tending = self._loop.call_at(min(self._expected.values()), self._tend)

    def _start(self, id: str, dedicated: str | None = None) -> None:
        self._expected[id] = self._loop.time() + START_S
        try:
            self._processes.start(id, dedicated)
        except CannotStart as error:
            log.error("action=start_failed host=%s error=%s", id, error)
            self._expected[id] = self._loop.time() + RETURN_S  # Not at once again.

    def _end(self, id: str, table: Table | None) -> None:
        """Have the process of a host that is in no table ended."""

        def ended(task: asyncio.Task[None]) -> None:
            del self._ending[id]
            if not task.cancelled() and task.exception() is not None:
                log.error("action=end_failed host=%s error=%r", id, task.exception())
            self._tell()

        if id not in self._ending:
            task = self._ending[id] = self._loop.create_task(self._processes.end(id, table))
            task.add_done_callback(ended)

    def _new_id(self) -> str:
        self._last_index += 1
        return f"host:{self._last_index}"

    def _ids(self) -> list[str]:
        return [host.id for host in self._table.hosts]

    def _shared_ids(self) -> list[str]:
        return sorted((host.id for host in self._table.hosts if host.dedicated is None), key=_index)

    # Hosts of their own

    def dedicate(self, name: str) -> None:
        """Where every awake counter has a host of its own: start the one of `name`, if it has none."""
        if self._settings.dedicate_all and name not in self._standing.seated and _own(name) not in self._ending:
            self._seat([name])
            self._tend()

    def quiet(self, name: str) -> None:
        """`name` has fallen asleep in the host of its own. Where all have one, that is the end of its process."""
        if self._settings.dedicate_all and name in self._standing.seated:
            self._dismiss([name])

    def activity(self, host: str, rates: Sequence[tuple[str, float]]) -> None:
        """The busiest counters of a host and their operations per second; none when it has gone quiet."""
        now = self._loop.time()
        if host in self._ids():
            self._rates[host] = (now, dict(rates))
        if now - self._ranked_at >= ROUND_S:
            self._rank()

    def _rank(self) -> None:
        now = self._ranked_at = self._loop.time()
        if self._settings.dedicate_all:
            return  # There is nothing to choose.
        rates: dict[str, float] = {}
        for at, told in self._rates.values():
            for name, rate in told.items() if now - at < STALE_S else ():
                rates[name] = rates.get(name, 0.0) + rate
        free = {name: rate for name, rate in rates.items() if _own(name) not in self._ending}
        verdict = rank(self._standing, free, self._settings.dedicated, now, self._settings.dedicated_from)
        self._dismiss(verdict.loses)
        self._standing = verdict.standing
        self._seat(verdict.gets)
        if verdict.gets or verdict.loses:
            log.info("action=ranked gets=%s loses=%s", ",".join(verdict.gets), ",".join(verdict.loses))
            self._tend()
        # A quiet service says nothing more, and hosts of their own have to end all the same.
        seated = self._standing.seated.values()
        cool = [since + COOL_S - now for since in seated if since is not None]
        if seated:
            self._rank_within(min([*cool, *([STALE_S] if len(cool) < len(seated) else [])]))

    def _rank_within(self, seconds: float) -> None:
        if self._ranking is not None:
            self._ranking.cancel()
            self._ranking = None
        if self._standing.seated and not self._settings.dedicate_all:
            self._ranking = self._loop.call_later(max(seconds, ROUND_S), self._rank)

    def _seat(self, names: Sequence[str]) -> None:
        self._standing = Standing({**self._standing.seated, **dict.fromkeys(names)}, self._standing.rising)
        for name in names:
            self._start(_own(name), name)

    def _dismiss(self, names: Sequence[str]) -> None:
        """Take the hosts of their own from `names`: out of the table first, then their processes end."""
        ids = [_own(name) for name in names]
        for id in ids:
            self._expected.pop(id, None)
            self._rates.pop(id, None)
            self._unseat(id)
        if any(id in ids for id in self._ids()):
            self._publish([host for host in self._table.hosts if host.id not in ids])
        for id in ids:
            self._end(id, self._table)

    def _unseat(self, id: str) -> None:
        seated = {name: since for name, since in self._standing.seated.items() if _own(name) != id}
        self._standing = Standing(seated, self._standing.rising)

    # Commands

    async def scale(self, hosts: int) -> list[str]:
        """Have so many shared hosts, and return their ids when it is so. Raises Refused and Unavailable."""
        if isinstance(hosts, bool) or not isinstance(hosts, int) or not 1 <= hosts <= HOSTS_MAX:
            reason = f"an integer from 1 to {HOSTS_MAX}"
            raise Refused("COUNTER_VALIDATION_ERROR", f"hosts: {reason}", {"field": "hosts", "reason": reason})
        async with self._commands:
            leaving = self._shared_ids()[hosts:]  # The youngest: the oldest ids are those that people know.
            self._publish([host for host in self._table.hosts if host.id not in leaving], shared=hosts)
            log.info("action=scale hosts=%d version=%d", hosts, self._table.version)
            for id in leaving:
                self._end(id, self._table)
            self._tend()
            try:
                async with asyncio.timeout(2 * START_S):
                    await self._until(lambda: len(self._shared_ids()) >= hosts)
                    await self._until(lambda: self._ending.keys().isdisjoint(leaving))
            except TimeoutError:
                raise Unavailable(f"after {2 * START_S:g} s there are {len(self._shared_ids())} hosts") from None
            return self._shared_ids()

    async def restart_hosts(self) -> list[str]:
        """Replace all hosts one after the other by new ones, and return their ids. Raises Unavailable.

        A new one takes the place of an old one in one table, and then the old one ends. Counters with a host of their
        own go back to the shared ones; the ranking, or the next operation, brings them back.
        """
        async with self._commands:
            for old in self._shared_ids():
                if old not in self._ids():
                    continue  # Gone by itself meanwhile; whatever comes instead is new.
                new = self._new_id()
                self._heirs[new] = old
                self._start(new)
                self._tend()
                await self._until(lambda new=new: new not in self._expected)  # type: ignore[misc]
                if new not in self._ids():
                    raise Unavailable(f"{new}, which was to replace {old}, did not start")
                await self._until(lambda old=old: old not in self._ending)  # type: ignore[misc]
            for name in list(self._standing.seated):
                self._dismiss([name])
                await self._until(lambda name=name: _own(name) not in self._ending)  # type: ignore[misc]
            return self._shared_ids()


def _shared(id: str) -> bool:
    return id.startswith("host:")


def _index(id: str) -> int:
    return int(id.removeprefix("host:"))


def _own(name: str) -> str:
    return f"counter:{name}"
