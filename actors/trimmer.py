"""The trimmer: deletes what no policy keeps, a few rows at a time.

It walks through all counters every few minutes. Nothing waits for it: a step is one short transaction, away from the
threads of the hosts, and after each it rests for longer than the step took. It needs no ownership, because nobody
writes an operation a second time. What it remembers is only where it need not look again.

Ordinary Python without Ray: it runs in the process of the timer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from actors.activation import policy_of
from actors.clock import Clock
from actors.core.policy import Policies
from actors.core.retention import CHOSEN_MS, forgettable, kept
from storage.errors import StorageError
from storage.records import CounterRecord
from storage.store import Store
from storage.thread import StorageThread

EVERY_S = 300.0  # A walk past a million counters with nothing to trim takes some ten seconds of CPU.
PAGE = 500  # Counters in a question.
STEP = 200  # Rows in a transaction: 2 ms, which is what another writer may have to wait for.
REST = 4.0  # After a step, so many times as long as it took: four fifths of the disk are for the others.

log = logging.getLogger("counters.trimmer")


class Spared(NamedTuple):
    """Rows of a counter that no policy keeps and whose ids are to be remembered: all that there are from `first` to
    `last`."""

    first: int
    last: int


class Trimmer:
    """Walks through the counters of a store that it has for itself."""

    def __init__(self, store: Store, clock: Clock, policies: Policies, every_s: float = EVERY_S) -> None:
        self._store = store
        self._thread = StorageThread()
        self._clock = clock
        self._policies = policies
        self._every_s = every_s
        self._spared: dict[int, Spared] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                try:
                    trimmed = await self.walk()
                    if trimmed:
                        log.info("action=trimmed operations=%d", trimmed)
                except StorageError as error:
                    log.warning("action=trim_failed error=%s", error)
                await asyncio.sleep(self._every_s)
        finally:
            self.close()

    def close(self) -> None:
        """Wait for what is under way, and give the store back."""
        self._thread.close()
        self._store.close()

    async def walk(self) -> int:
        """Trim every counter once. Returns how many operations were deleted."""
        trimmed, id = 0, 0
        while rows := await self._thread.call(self._store.after, id, PAGE):
            for row in rows:
                if row.created_at is None:
                    continue  # Of one that is being imported in parts it is not known yet what is kept.
                policy = policy_of(row, self._policies)
                limit = policy.history_limit
                if policy.history_max_age is not None or (limit is not None and row.seq > limit):
                    trimmed += await self._trim(row)
            id = rows[-1].id
        return trimmed + await self._bury()

    async def _bury(self) -> int:
        """Delete what counters have left behind that were deleted so long ago that nobody repeats anything."""
        buried, before = 0, self._clock.now_ms() - CHOSEN_MS
        while ids := await self._thread.call(self._store.dead, before, PAGE):
            for id in ids:
                begun = self._clock.monotonic()
                # The deletion is the last of the rows: until it goes, the counter is found again.
                while rows := await self._thread.call(self._store.since, id, 0, STEP):
                    await self._thread.call(self._store.forget, id, [row.seq for row in rows])
                    buried += len(rows)
                    await asyncio.sleep((self._clock.monotonic() - begun) * REST)
                    begun = self._clock.monotonic()
        return buried

    async def _trim(self, counter: CounterRecord) -> int:
        now = self._clock.now_ms()
        keeps = kept(policy_of(counter, self._policies), counter.seq, now)
        known = self._spared.pop(counter.id, None)
        spared: int | None = None  # The first of those that are spared now.
        position, trimmed = known.first - 1 if known else 0, 0
        done = False
        while not done:
            begun = self._clock.monotonic()
            rows = await self._thread.call(self._store.since, counter.id, position, STEP)
            done = not rows
            doomed = []
            for row in rows:
                if keeps.holds(row.seq, row.at):
                    done = True
                    break
                position = row.seq
                if forgettable(row.operation_id, row.at, now):
                    doomed.append(row.seq)
                elif spared is None:
                    spared = row.seq
                    if known is not None and known.last > row.seq:
                        position = known.last  # Those up to there are younger, and were spared before.
                        break
            if doomed:
                await self._thread.call(self._store.forget, counter.id, doomed)
                trimmed += len(doomed)
            await asyncio.sleep((self._clock.monotonic() - begun) * REST)
        if spared is not None:
            self._spared[counter.id] = Spared(spared, position)
        return trimmed
