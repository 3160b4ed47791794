"""The supervisor is killed under load: nobody notices, and it is back soon.

    python -m tests.faults.supervisor

It is back when it publishes tables again, which is shown by the death of a host right after: others take over.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field

from loadtests.verdict import Verdict
from tests.faults.command import Command, quantile
from tests.faults.crowd import Crowd
from tests.faults.failover import fail
from tests.support.service_process import Service

BACK_BAR_S = 5.0
QUIET_S = 1.0  # Of load before each kill, to compare with.


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=10, metadata={"help": "kills"})
    counters: int = field(default=500, metadata={"help": "counters that are written"})
    sockets: int = field(default=1_000, metadata={"help": "open sockets, spread over the counters"})
    rate: int = field(default=1_000, metadata={"help": "operations a second in all"})
    hosts: int = field(default=3, metadata={"help": "shared hosts"})


QUICK = Sizes(rounds=1, counters=50, sockets=50, rate=200)


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd = Crowd(service, "supervised", sizes.counters, sizes.rate)
    await crowd.start(sizes.sockets)
    before: list[float] = []
    during: list[float] = []
    away: list[float] = []
    for _ in range(sizes.rounds):
        [pid] = await asyncio.to_thread(service.pids, "supervisor")
        first, quiet_from = len(crowd.ledger.acknowledged), time.monotonic()
        await asyncio.sleep(QUIET_S)
        killed_at = time.monotonic()
        away.append(await kill(service, pid))
        for each in crowd.ledger.acknowledged[first:]:
            if each.sent_at >= quiet_from:  # What was sent before has waited for the host of the round before.
                (before if each.sent_at < killed_at else during).append(each.answered_at - each.sent_at)
        await fail(service, crowd, random.Random(sizes.rounds))
    verdict.count("rounds of kill -9", sizes.rounds)
    await crowd.judge(verdict)
    verdict.at_most("the supervisor is back after, longest", max(away), BACK_BAR_S, "s", timed=True)
    verdict.figure("latency p99 with the supervisor", 1000 * quantile(before, 0.99), "ms")
    verdict.figure("latency p99 while it is away", 1000 * quantile(during, 0.99), "ms")
    verdict.figure("latency, longest while it is away", 1000 * max(during), "ms")


async def kill(service: Service, pid: int) -> float:
    """Kill the supervisor and wait until it is back. Returns how long that took, in seconds."""
    after = service.log_size()
    os.kill(pid, signal.SIGKILL)
    at = time.monotonic()
    await asyncio.to_thread(service.wait_for_line, "action=supervisor_started ", after)
    return time.monotonic() - at


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 0},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
