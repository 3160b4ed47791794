"""The keeper of the mirror: sees to what no host can see to any more.

Each host writes down in Redis up to when nothing of it is missing there. A host that is gone may have committed
something after that, and one that had more to say than it could remember says since when. So everything that was
changed since the oldest of these marks is read from storage, once the host is gone, and again when even one that was
only stopped has been ended for good. A Redis that does not say that it is complete, because it was emptied, started
anew, or belongs to another database, gets everything.

Ordinary Python without Ray: it runs in the process of the timer, which has a thread for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from actors.clock import SystemClock
from actors.expiry import plain
from actors.mirrored import COMPLETE, LOST, MARKS
from actors.placement import Table
from actors.rebuild import ALL, Rebuild
from storage.errors import StorageError
from storage.store import Store
from storage.thread import StorageThread

LOOK_S = 1.0
ENDED_S = 12.0  # A host that is out of the table for so long cannot commit any more: it was ended, or let in again.

log = logging.getLogger("counters.keeper")


class Keeper:
    """Looks after one Redis, with a store of its own."""

    def __init__(self, store: Store, url: str, clock: SystemClock) -> None:
        self._store = store
        self._clock = clock
        self._rebuild = Rebuild(store, url, clock)
        self._thread = StorageThread()
        self._table = Table()
        self._gone: dict[str, float] = {}  # Hosts that are out of the table, and since when.
        self._due = True  # Something happened that makes it necessary to look into storage.

    async def run(self, table: Callable[[], Table]) -> None:
        """Work until cancelled. `table` is the newest one."""
        away = False
        try:
            while True:
                try:
                    if away:  # See the mirror.
                        self._rebuild.redis.connection_pool.disconnect()
                    await self._thread.call(self.look, table())
                    if away:
                        away = False
                        log.info("action=keeper_back")
                except (RedisError, OSError, StorageError) as error:
                    if not away:
                        away = True
                        log.warning("action=keeper_away error=%s", plain(error))
                except Exception:  # A mistake of ours. The next look may be free of it.
                    log.exception("action=keeper_failed")
                await asyncio.sleep(LOOK_S)
        finally:
            self._thread.close()
            self._rebuild.close()
            self._store.close()

    def look(self, table: Table) -> None:
        """See whether something is to be done, and do it."""
        if not table.version:
            return  # Nobody knows yet who is there.
        now = self._clock.monotonic()
        living = {host.incarnation for host in table.hosts}
        if table.version != self._table.version:
            # Who came and went between two tables was in neither.
            missed = self._table.version not in (0, table.previous)
            left = {host.incarnation for host in self._table.hosts} - living
            self._due |= missed or bool(left)
            self._gone |= dict.fromkeys(left - self._gone.keys(), now)
            self._table = table
        complete = self._rebuild.complete()
        pipe = self._rebuild.redis.pipeline(transaction=False)
        pipe.get(COMPLETE)
        pipe.hgetall(MARKS)
        pipe.hgetall(LOST)
        says, marks, lost = _read(*pipe.execute())
        unknown = marks.keys() - living - {ALL} - self._gone.keys()
        self._gone |= dict.fromkeys(unknown, now)
        self._gone = {host: since for host, since in self._gone.items() if host not in living}
        ended = [host for host, since in self._gone.items() if now >= since + ENDED_S]
        if says != complete or ALL not in marks:
            log.info("action=rebuild_begun because=%s", "empty" if says is None else "incomplete")
            count, removed = self._rebuild.everything()
            log.info(
                "action=rebuilt counters=%d removed=%d took_s=%.1f", count, removed, self._clock.monotonic() - now
            )
        elif self._due or unknown or lost or ended:
            since = min([marks[ALL], *lost.values()])
            count = self._rebuild.lately(since)
            log.info("action=mirrored_lately counters=%d hosts_gone=%d", count, len(self._gone))
        else:
            self._move(marks, living)
            return
        self._due = False
        for host in ended:
            del self._gone[host]
        self._settle(lost, ended)

    def _settle(self, lost: Iterable[str], ended: list[str]) -> None:
        """These marks are served."""
        pipe = self._rebuild.redis.pipeline(transaction=False)
        if lost:
            pipe.hdel(LOST, *lost)
        if ended:
            pipe.hdel(MARKS, *ended)
        if lost or ended:
            pipe.execute()

    def _move(self, marks: dict[str, int], living: set[str]) -> None:
        """Nothing is missing from before the oldest mark, if everybody who is there, or was, has one."""
        if living | self._gone.keys() <= marks.keys():
            oldest = min((mark for host, mark in marks.items() if host != ALL), default=marks[ALL])
            if oldest > marks[ALL]:
                self._rebuild.redis.hset(MARKS, ALL, str(oldest))


def _read(
    says: Any, marks: dict[bytes, bytes], lost: dict[bytes, bytes]
) -> tuple[str | None, dict[str, int], dict[str, int]]:
    """What Redis has written down. Somebody else's scribbles count as nothing."""
    times = (
        {host.decode(): int(at) for host, at in each.items() if at.isdigit() and host.isascii()}
        for each in (marks, lost)
    )
    return says.decode(errors="replace") if says else None, next(times), next(times)
