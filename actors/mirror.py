"""A host's end of the mirror: what it has committed is set in Redis, and its events are published there.

Off the path of operations: after a commit the host says what has changed, which costs it an entry in a dict, and a task
of its own brings it to Redis. While one call is under way the next one gathers, each name once with its newest value.
Redis may be slow, away or stopped for as long as it likes; names gather to a bound, and beyond that it is written down
since when something is missing. So is, all the time, up to when nothing is, for the case that this host does not live
to see its names written. The rest is done by `actors.keeper`, from storage.

Events are told to whoever is subscribed at the moment, after the value was set: at most `EVENTS_MAX` wait, then the
oldest are dropped. Some may come twice after a pause; each says its `operationCount`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from actors.clock import Clock
from actors.expiry import plain
from actors.messages import Burst
from actors.mirrored import EVENTS, LOST, MARKS, SCRIPT, Standing, keys, writes
from actors.queries import State
from storage.errors import StorageError

NAMES_MAX = 100_000  # About 25 MB. Beyond it everything since then is read from storage again.
EVENTS_MAX = 10_000  # About 5 MB.
CHUNK = 100  # Names, and events, in one call: half a millisecond of the host's loop, and as much of Redis.
REPLY_S = 2.0  # A Redis that takes longer is not there.
AGAIN_S = 0.5
MARK_S = 1.0

States = Callable[[Sequence[str]], Awaitable[Mapping[str, State]]]

log = logging.getLogger("counters.mirror")


class Batch:
    """What Redis has not been told yet."""

    __slots__ = ("doubts", "events", "noted_at", "standings", "steady")

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}
        self.doubts: dict[str, Standing | None] = {}  # Storage has to be asked; where they stood before, if they did.
        self.events: deque[tuple[str, bytes]] = deque()
        self.steady: int | None = None  # Nothing of it was committed before that.
        self.noted_at: float | None = None  # The same, monotonic.

    def __bool__(self) -> bool:
        return bool(self.standings or self.doubts or self.events)

    @property
    def names(self) -> int:
        return len(self.standings) + len(self.doubts)


class Mirror:
    """Says what its host tells it. All methods but `run` and `finish` return at once."""

    def __init__(self, url: str, incarnation: str, clock: Clock) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=REPLY_S,
            socket_connect_timeout=REPLY_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),  # Trying again is done here, with newer values.
        )
        self._write = self._redis.register_script(SCRIPT)
        self._incarnation = incarnation
        self._clock = clock
        self._batch = Batch()
        self._sending = Batch()
        self._wake = asyncio.Event()
        self._open: int | None = None  # Steady time of the round whose commit may be under way.
        self._lost: int | None = None  # Steady time since when names have been left out.
        self._marked_at = float("-inf")
        self._finishing = False
        self._away = False
        self._lag_s = 0.0
        self._counts = dict.fromkeys(("set", "refused", "published", "names_lost", "events_dropped"), 0)

    # What the host says

    def load(self, standings: Iterable[tuple[str, Standing]]) -> None:
        """They were committed by somebody else, who has them on his mind."""
        now = self._clock.steady_ms()
        self._add(now, standings)
        self._noted(now)

    def begin(self, steady: int) -> None:
        """A round begins; what it commits has this time."""
        self._open = steady

    def take(self, steady: int, standings: Iterable[tuple[str, Standing]], bursts: Iterable[Burst] = ()) -> None:
        """It is durable, and this is where its counters stand."""
        self._open = None
        self._add(steady, standings)
        for burst in bursts:
            channel = EVENTS + burst.name
            self._batch.events.extend([(channel, body) for body in burst.bodies])
        self._noted(steady)

    def doubt(self, steady: int, names: Mapping[str, Standing | None]) -> None:
        """It may be durable or not: storage knows. `names` are the counters, and where they stood before."""
        self._open = None
        self._add_doubts(steady, names)
        self._noted(steady)

    def _add(self, steady: int, standings: Iterable[tuple[str, Standing]]) -> None:
        for name, standing in standings:
            if self._room(name, steady):
                self._batch.doubts.pop(name, None)
                self._batch.standings[name] = standing

    def _add_doubts(self, steady: int, names: Mapping[str, Standing | None]) -> None:
        for name, before in names.items():
            if self._room(name, steady):
                # Of a life that may not have begun nothing is known; the one before it, which Redis may show, is over.
                known = self._batch.standings.pop(name, None) or self._batch.doubts.get(name)
                self._batch.doubts[name] = before or known

    def _room(self, name: str, steady: int) -> bool:
        batch = self._batch
        if batch.names < NAMES_MAX or name in batch.standings or name in batch.doubts:
            return True
        if self._lost is None:
            log.warning("action=mirror_overflowed names=%d", NAMES_MAX)
        self._lost = steady if self._lost is None else min(self._lost, steady)
        self._counts["names_lost"] += 1
        return False

    def _noted(self, steady: int) -> None:
        batch = self._batch
        for _ in range(len(batch.events) - EVENTS_MAX):
            batch.events.popleft()
            self._counts["events_dropped"] += 1
        if batch:
            if batch.steady is None:
                batch.steady, batch.noted_at = steady, self._clock.monotonic()
            self._wake.set()

    # What Redis is told

    async def run(self, states: States) -> None:
        """Work until cancelled. `states` reads what is committed."""
        # The client of Redis uses wait_for, which swallows a cancellation now and then (before Python 3.12).
        task = asyncio.current_task()
        assert task is not None
        try:
            while not task.cancelling():
                try:
                    if self._away:
                        # Who answered may be a replica since a failover: another connection finds the one that writes.
                        await self._redis.connection_pool.disconnect(inuse_connections=False)
                    await self._work(states, task)
                except (RedisError, OSError, TimeoutError, StorageError) as error:
                    if not self._away:
                        self._away = True
                        log.warning("action=mirror_away error=%s", plain(error))
                    await asyncio.sleep(AGAIN_S)
                except Exception:  # A mistake of ours. The counters go on, and the next batch may be free of it.
                    log.exception("action=mirror_failed")
                    await asyncio.sleep(AGAIN_S)
        finally:
            await self._redis.aclose()

    async def _work(self, states: States, task: asyncio.Task[Any]) -> None:
        while not task.cancelling():
            if not self._batch:
                with suppress(TimeoutError):
                    async with asyncio.timeout(MARK_S):
                        await self._wake.wait()
            self._wake.clear()
            await self._flush(states)
            if self._clock.monotonic() >= self._marked_at + MARK_S:
                await self._mark()

    async def _flush(self, states: States) -> None:
        """Bring to Redis what has gathered: values first, then events."""
        batch = self._sending = self._batch
        self._batch = Batch()
        try:
            if batch.doubts:
                found = await states(list(batch.doubts))
                batch.standings |= settled(batch.doubts, found)
                batch.doubts.clear()
            while batch.standings or batch.events:
                some = list(islice(batch.standings.items(), CHUNK))
                told = list(islice(batch.events, CHUNK)) if len(batch.standings) <= CHUNK else []
                arguments = writes([standing for _, standing in some])
                for event in told:
                    arguments += event  # type: ignore[arg-type]
                refused = await self._write(keys([name for name, _ in some]), arguments)
                self._count(len(some), len(refused) // 2, len(told))
                for name, _ in some:
                    del batch.standings[name]
                for _ in told:
                    batch.events.popleft()
            if batch.noted_at is not None:
                self._lag_s = self._clock.monotonic() - batch.noted_at
        finally:
            self._sending = Batch()
            if batch:
                self._again(batch)

    def _count(self, set: int, refused: int, published: int) -> None:
        if self._away:
            self._away = False
            log.info("action=mirror_back names=%d events=%d", self._sending.names, len(self._sending.events))
        self._counts["set"] += set - refused
        self._counts["refused"] += refused
        self._counts["published"] += published

    def _again(self, older: Batch) -> None:
        """Put back what could not be brought. What has come meanwhile is newer."""
        newer, self._batch = self._batch, older
        assert older.steady is not None
        self._add_doubts(older.steady, newer.doubts)
        self._add(older.steady, newer.standings.items())
        older.events.extend(newer.events)
        self._noted(older.steady)

    async def _mark(self) -> None:
        """Write down up to when nothing is missing."""
        if self._finishing:
            return
        if self._lost is not None:
            lost = self._lost
            await self._redis.hset(LOST, f"{self._incarnation} {lost}", str(lost))
            if self._lost == lost:
                self._lost = None
        now = self._clock.steady_ms()
        marks = (now, self._open, self._sending.steady, self._batch.steady, self._lost)
        await self._redis.hset(MARKS, self._incarnation, str(min(mark for mark in marks if mark is not None)))
        self._count(0, 0, 0)
        self._marked_at = self._clock.monotonic()

    async def finish(self, within_s: float) -> None:
        """The host is about to end: bring what is left. What cannot be brought is found by the mark that stays."""
        self._finishing = True
        try:
            async with asyncio.timeout(within_s):
                while self._batch or self._sending:
                    await asyncio.sleep(0.01)
                if self._lost is None:
                    await self._redis.hdel(MARKS, self._incarnation)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("action=mirror_unfinished names=%d error=%s", self._batch.names, plain(error))

    def figures(self) -> dict[str, float]:
        """How it stands, for whoever watches over the service."""
        oldest = self._sending.noted_at if self._sending.noted_at is not None else self._batch.noted_at
        lag_s = self._lag_s if oldest is None else self._clock.monotonic() - oldest
        return {
            "connected": float(not self._away),
            "lag_seconds": lag_s,
            "names_waiting": self._batch.names + self._sending.names,
            "events_waiting": len(self._batch.events) + len(self._sending.events),
            **{f"{name}_total": count for name, count in self._counts.items()},
        }


def settled(doubts: Mapping[str, Standing | None], found: Mapping[str, State]) -> dict[str, Standing]:
    """Where counters stand of which this was not known, by what storage says."""
    standings = {name: Standing(each.id, each.shown.seq, each.shown.value) for name, each in found.items()}
    for name, before in doubts.items():
        if name not in found and before is not None:  # It is gone. One that was never there is nobody's business.
            standings[name] = Standing(before.id, before.seq + 1, None)
    return standings
