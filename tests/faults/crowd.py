"""Many counters, everybody who listens to them, and a steady load."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from actors.placement import HostEntry, Placement, Table
from loadtests.verdict import Verdict
from tests.faults.command import complain
from tests.support.hammer import Ledger, Subscriber, subscribe, until
from tests.support.hammer_audit import audit_books, audit_streams
from tests.support.service_process import Service
from tests.support.steady import Steady

AT_WORK_S = 0.03  # So long after a group of operations was sent it is all done, or nearly so.


class Crowd:
    """Counters, everybody who listens to them, and a steady load."""

    def __init__(self, service: Service, label: str, counters: int, rate: float, seed: int = 1) -> None:
        self.names = [f"{label}-{number}" for number in range(counters)]
        self.ledger = Ledger()
        self.subscribers: list[Subscriber] = []
        self.steady = Steady(service.port, self.ledger, self.names, f"{label}{seed}", rate, seed)
        self._service = service

    async def start(self, sockets: int) -> None:
        """Open the sockets, start the load, and wait until every counter was written."""
        every, more = divmod(sockets, len(self.names))
        self.subscribers += await subscribe(self._service.port, self.names, every)
        self.subscribers += await subscribe(self._service.port, self.names[:more], 1)
        await self.steady.start()
        await self.acknowledged(2 * len(self.names))

    async def acknowledged(self, more: int, seconds: float = 60.0) -> None:
        """Return when so many more operations were answered."""
        wanted = len(self.ledger.acknowledged) + more
        await until(
            f"{more} more operations are acknowledged", lambda: len(self.ledger.acknowledged) >= wanted, seconds
        )

    def latencies(self, first: int = 0, end: int | None = None) -> list[float]:
        """Of the operations that were answered first to `end`, in seconds."""
        return [each.answered_at - each.sent_at for each in self.ledger.acknowledged[first:end]]

    async def at_work(self, counters: Sequence[str], chance: random.Random) -> None:
        """Return while their host works on operations for these: at a random moment, or right after it has committed.

        In the moment after a commit nobody has been told of it yet, neither callers nor subscribers.
        """
        for name in counters:
            self.steady.send(name)
        await asyncio.sleep(0.001)  # Now they are on their way, which they are not before the loop has turned.
        if chance.random() < 0.5 or not self._service.database.startswith("sqlite"):
            await asyncio.sleep(chance.uniform(0, AT_WORK_S))
        else:
            _wait_for_commit(self._service.data_dir / "counters.db")

    async def away(self, counters: Sequence[str], at: float) -> list[float]:
        """How long each of these was away after something happened `at` a moment ago, in seconds.

        Each gets one more operation now, so that what is seen is not the pause until its next one. It is back with the
        first answer to an operation that was sent since.
        """
        acknowledged = self.ledger.acknowledged
        first = len(acknowledged)
        for name in counters:
            self.steady.send(name)
        back: dict[str, float] = {}

        def served() -> bool:
            nonlocal first
            for each in acknowledged[first:]:
                if each.sent_at >= at:
                    back.setdefault(each.operation.counter, each.answered_at - at)
            first = len(acknowledged)
            return back.keys() >= set(counters)

        await until("all of them are served", served)
        return [back[name] for name in counters]

    async def judge(self, verdict: Verdict, unavailable: bool = False) -> None:
        """End the load, and add what was lost, doubled, closed or missed to the verdict.

        `unavailable`: callers may have been told to ask again, and subscribers the state instead of every event.
        """
        await self.steady.stop()
        verdict.count("operations acknowledged", len(self.ledger.acknowledged))
        failed = await self.steady.settle()
        if unavailable:
            verdict.count("of these only when they were sent again", failed)
        else:
            # A machine that is too busy makes a gateway turn callers away, who may come again.
            verdict.exactly("operations that failed", failed, 0, timed=True)
        wrong = await audit_books(self._service, self.ledger, self.names)
        wrong += [f"no answer: {each}" for each in self.ledger.open]
        verdict.exactly("acknowledged operations lost or doubled", len(wrong), 0)
        complain(verdict, wrong)
        closed = sum(one.closed for one in self.subscribers) + self.steady.lost
        verdict.exactly("sockets closed", closed, 0)
        wrong = await audit_streams(self._service, self.subscribers)
        verdict.count("events heard", sum(one.events for one in self.subscribers))
        verdict.exactly("streams with a gap, a repetition or a wrong end", len(wrong), 0)
        complain(verdict, wrong)
        if not unavailable:
            verdict.exactly("snapshots in place of events", sum(one.snapshots for one in self.subscribers), 0)
            verdict.exactly("events that stand for several", sum(one.joined for one in self.subscribers), 0)
        for one in self.subscribers:
            one.close()


def _wait_for_commit(database: Path) -> None:
    """Return as soon as somebody commits. Waits without letting anybody else run: a moment later is too late."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    version = connection.execute("PRAGMA data_version").fetchone()
    deadline = time.monotonic() + AT_WORK_S
    while connection.execute("PRAGMA data_version").fetchone() == version and time.monotonic() < deadline:
        pass
    connection.close()


def owned_by(host: str, hosts: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that belong to `host` while those are the shared hosts."""
    placement = Placement(Table(1, tuple(HostEntry(each, "", "", None) for each in hosts)))
    return [name for name in names if placement.owner(name) == host]
