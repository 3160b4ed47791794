"""All hosts are replaced under load, one after the other: no operation fails, and no socket is closed.

    python -m tests.faults.upgrade

What `counters restart-hosts` does, as its procedure `admin.restartHosts`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field

from loadtests.verdict import Verdict
from tests.faults.command import Command, quantile
from tests.faults.crowd import Crowd
from tests.support.service_process import Service, wait_for

QUIET_S = 1.0  # Of load before the first round, to compare with.
REPLACED_S = 120.0


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=5, metadata={"help": "times that all hosts are replaced"})
    counters: int = field(default=500, metadata={"help": "counters that are written"})
    sockets: int = field(default=2_000, metadata={"help": "open sockets, spread over the counters"})
    rate: int = field(default=1_000, metadata={"help": "operations a second in all"})
    hosts: int = field(default=3, metadata={"help": "shared hosts"})


QUICK = Sizes(rounds=1, counters=60, sockets=120, rate=300)


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd = Crowd(service, "upgraded", sizes.counters, sizes.rate)
    await crowd.start(sizes.sockets)
    quiet = len(crowd.ledger.acknowledged)
    await asyncio.sleep(QUIET_S)
    begun = len(crowd.ledger.acknowledged)
    taken = [await replace_hosts(service) for _ in range(sizes.rounds)]
    await crowd.acknowledged(len(crowd.names))
    before, during = crowd.latencies(quiet, begun), crowd.latencies(begun)
    verdict.count("rounds", sizes.rounds)
    verdict.count("hosts replaced", sizes.rounds * sizes.hosts)
    await crowd.judge(verdict)
    verdict.figure("a round takes, longest", max(taken), "s")
    verdict.figure("latency p99 before", 1000 * quantile(before, 0.99), "ms")
    verdict.figure("latency p99 meanwhile", 1000 * quantile(during, 0.99), "ms")
    verdict.figure("latency, longest meanwhile", 1000 * max(during), "ms")


async def replace_hosts(service: Service) -> float:
    """Replace all hosts and wait until that is done. Returns how long it took, in seconds."""
    old = await asyncio.to_thread(service.actors, "host")
    began = time.monotonic()
    await asyncio.to_thread(service.call, "admin.restartHosts", {}, None, REPLACED_S)

    def replaced() -> bool:
        new = service.actors("host")
        return len(new) >= len(old) and set(new.values()).isdisjoint(old.values()) and service.ready()

    await asyncio.to_thread(wait_for, "new hosts, and the old ones gone", replaced, REPLACED_S)
    return time.monotonic() - began


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 0},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
