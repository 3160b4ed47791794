"""Millions of old operations are deleted while a steady load goes on; nobody should notice.

    python -m tests.faults.trim
    python -m tests.faults.trim --rows 200000 --seconds 5

The history of one counter is filled directly, two days old. Then the load runs, first by itself, then while the trimmer
works: it begins anew when its process is killed and started again.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field

from loadtests.verdict import Verdict
from storage.records import Commit, CounterWrite, OperationRecord, PolicyWrite
from storage.store import open_store
from tests.faults.command import Command, quantile
from tests.faults.crowd import Crowd
from tests.support.kill import kill_actor, wait_until_back
from tests.support.service_process import Service

OLD = "old"
KEPT = 1_000
DAYS_OLD = 2
FILL = 1_000


@dataclass(frozen=True)
class Sizes:
    rows: int = field(default=10_000_000, metadata={"help": "operations to delete"})
    rate: int = field(default=1_000, metadata={"help": "operations a second meanwhile"})
    counters: int = field(default=200, metadata={"help": "counters that these are for"})
    seconds: int = field(default=30, metadata={"help": "of load before, and while rows are deleted"})


QUICK = Sizes(rows=20_000, rate=200, counters=20, seconds=3)


def fill(url: str, rows: int) -> None:
    """A counter with a long history, and a policy that wants little of it."""
    store = open_store(url)
    [row] = store.claim([OLD], 0)
    at = round(time.time() * 1000) - DAYS_OLD * 86_400_000
    for first in range(1, rows + 1, FILL):
        last = min(first + FILL - 1, rows)
        history = [
            OperationRecord(row.id, seq, "increment", 1, seq, seq - 1, at, f"{row.id:x}-{seq:010x}", None, None)
            for seq in range(first, last + 1)
        ]
        store.commit(Commit([CounterWrite(row.id, row.epoch, last, last, at)], history))
    policy = PolicyWrite(row.id, f'{{"history_limit":{KEPT}}}', None)
    store.commit(Commit([CounterWrite(row.id, row.epoch, rows, rows, at)], policies=[policy]))
    store.close()


def left(url: str) -> int:
    """How many rows there are still to delete."""
    store = open_store(url)
    row = store.read([OLD])[OLD]
    oldest = store.since(row.id, 0, 1)
    store.close()
    return row.seq - KEPT + 1 - oldest[0].seq


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    await asyncio.to_thread(fill, service.database, sizes.rows)
    crowd = Crowd(service, "t", sizes.counters, sizes.rate)
    await crowd.start(sizes.counters)
    acknowledged = crowd.ledger.acknowledged
    first = len(acknowledged)
    await asyncio.sleep(sizes.seconds)
    before = quantile(crowd.latencies(first), 0.99)
    verdict.figure("p99 before", before * 1000, "ms")

    after = service.log_size()
    await asyncio.to_thread(kill_actor, service, "timer", "timer")
    await asyncio.to_thread(wait_until_back, service, "timer", "timer", after)
    begun, first, to_delete = time.monotonic(), len(acknowledged), await asyncio.to_thread(left, service.database)
    await asyncio.sleep(sizes.seconds)
    during = quantile(crowd.latencies(first), 0.99)
    deleted = to_delete - await asyncio.to_thread(left, service.database)
    verdict.count("rows deleted a second meanwhile", round(deleted / (time.monotonic() - begun)))
    verdict.at_most("p99 while rows are deleted, of that before", during / before, 1.5, "x", timed=True)
    while await asyncio.to_thread(left, service.database):
        await asyncio.sleep(1)
    verdict.figure("all rows were deleted after", time.monotonic() - begun, "s")
    asked = {"name": OLD, "limit": 9, "before": sizes.rows - KEPT + 3}
    history = await asyncio.to_thread(service.call, "getHistory", asked)
    verdict.exactly("the oldest that is kept", history[-1]["id"], sizes.rows - KEPT + 1)
    await crowd.judge(verdict)


COMMAND = Command(__doc__ or "", Sizes(), QUICK, lambda sizes: {"hosts": 2}, run)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
