"""What a host does about deadlines while the timer is away, or stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from actors.clock import Clock
from actors.core.deadline import Moment
from storage.errors import StorageError
from storage.records import CounterRecord

STAND_IN_S = 0.15  # So often it looks whether the timer has overlooked something,
NOTHING_DUE_S = 0.5  # and so often when nothing is due within a second. It costs 0.1 ms.
OVERLOOKED_MS = 150  # The timer is ten times as quick.
OVERLOOKED_MAX = 500
TIMER_SILENT_S = 0.4  # One that has asked something since is there, and has much to do.

Due = Callable[[int, int, int], Awaitable[Sequence[CounterRecord]]]  # See `storage.store.Store.due`.
Expire = Callable[[Sequence[str]], Awaitable[None]]

log = logging.getLogger("counters.host")


class StandIn:
    """Does what the timer should have done about the counters of `host`.

    Asking twice does no harm, and Ray takes seconds to start the timer again. `due` reads what is due from storage, and
    `expire` sees whether counters are to be reset.
    """

    def __init__(self, host: str, clock: Clock, due: Due, expire: Expire) -> None:
        self._host = host
        self._clock = clock
        self._due = due
        self._expire = expire
        self._timer_at = -TIMER_SILENT_S  # When it has asked something, monotonic.

    def timer_asked(self) -> None:
        """It is there."""
        self._timer_at = self._clock.monotonic()

    async def run(self) -> None:
        """Look until cancelled."""
        wait = NOTHING_DUE_S
        while True:
            await asyncio.sleep(wait)
            if self._clock.monotonic() < self._timer_at + TIMER_SILENT_S:
                wait = STAND_IN_S
                continue
            now, ahead = Moment(self._clock.steady_ms(), self._clock.now_ms()), round(NOTHING_DUE_S * 2000)
            try:
                rows = await self._due(now.steady + ahead, now.wall + ahead, OVERLOOKED_MAX)
            except StorageError as error:
                log.warning("action=stand_in_failed host=%s error=%s", self._host, error)
                continue
            overlooked = [row.name for row in rows if _overlooked(row, now)]
            if overlooked:
                await self._expire(list(dict.fromkeys(overlooked)))
            wait = STAND_IN_S if rows else NOTHING_DUE_S


def _overlooked(row: CounterRecord, now: Moment) -> bool:
    """Whether the timer should have asked about this counter already."""
    due_at, tick_at = row.due_at, row.tick_at
    return (due_at is not None and due_at <= now.steady - OVERLOOKED_MS) or (
        tick_at is not None and tick_at <= now.wall - OVERLOOKED_MS
    )
