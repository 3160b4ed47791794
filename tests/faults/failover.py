"""One host after the other is killed under load: what of it the clients notice.

    python -m tests.faults.failover
    python -m tests.faults.failover --rounds 5 --counters 100 --sockets 200 --rate 500

Operations come at a rate, whatever the answers do. Every counter of the victim gets more of them just before the kill,
so that it dies at work, every second time right after a commit of which nobody has heard yet; and one just after, so
that an outage is seen and not the pause until the next operation. An outage lasts from the kill to the first answer to
an operation that was sent after it.
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
from tests.faults.crowd import Crowd, owned_by
from tests.support.kill import wait_until_back
from tests.support.service_process import Service

P50_BAR_S = 0.1
P99_BAR_S = 0.5


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=100, metadata={"help": "kills"})
    counters: int = field(default=500, metadata={"help": "counters that are written"})
    sockets: int = field(default=2_000, metadata={"help": "open sockets, spread over the counters"})
    rate: int = field(default=2_000, metadata={"help": "operations a second in all"})
    burst: int = field(default=1, metadata={"help": "operations on each counter of the victim just before"})
    hosts: int = field(default=3, metadata={"help": "shared hosts"})
    seed: int = field(default=1, metadata={"help": "of the order of kills and operations"})


QUICK = Sizes(rounds=1, counters=100, sockets=200, rate=500)


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    chance = random.Random(sizes.seed)
    crowd = Crowd(service, f"failover{sizes.seed}", sizes.counters, sizes.rate, sizes.seed)
    await crowd.start(sizes.sockets)
    outages: list[float] = []
    for _ in range(sizes.rounds):
        outages += await fail(service, crowd, chance, sizes.burst)
    verdict.count("rounds of kill -9", sizes.rounds)
    await crowd.judge(verdict)
    verdict.count("outages of a counter", len(outages))
    verdict.at_most("outage, p50", 1000 * quantile(outages, 0.5), 1000 * P50_BAR_S, "ms", timed=True)
    verdict.at_most("outage, p99", 1000 * quantile(outages, 0.99), 1000 * P99_BAR_S, "ms", timed=True)
    verdict.figure("outage, longest", 1000 * max(outages), "ms")


async def fail(service: Service, crowd: Crowd, chance: random.Random, burst: int = 1) -> list[float]:
    """Kill a host and wait until it is back: how long each of its counters was away, in seconds."""
    hosts = await asyncio.to_thread(service.actors, "host")
    victim = chance.choice(sorted(hosts))
    affected = owned_by(victim, list(hosts), crowd.names)
    after = service.log_size()
    await crowd.at_work(affected * burst, chance)
    os.kill(hosts[victim], signal.SIGKILL)
    at = time.monotonic()
    outages = await crowd.away(affected, at)
    await asyncio.to_thread(wait_until_back, service, "host", victim, after)
    await crowd.acknowledged(len(crowd.names))
    return outages


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 0},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
