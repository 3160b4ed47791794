"""One host after the other is killed under load: what of it the clients notice.

    python -m tests.faults.failover
    python -m tests.faults.failover --rounds 5 --counters 100 --sockets 200 --rate 500

Operations come at a rate, whatever the answers do; at the moment of each kill every counter of the victim gets one
more, so that its outage is seen and not the pause until its next operation. An outage lasts from the kill to the first
answer to an operation that was sent after it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.placement import HostEntry, Placement, Table
from loadtests.verdict import Verdict
from tests.faults.command import Command, complain, quantile
from tests.support.hammer import Ledger, Subscriber, subscribe, until
from tests.support.hammer_audit import audit_books, audit_streams
from tests.support.kill import wait_until_back
from tests.support.service_process import Service
from tests.support.steady import Steady

P50_BAR_S = 0.1
P99_BAR_S = 0.5


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=100, metadata={"help": "kills"})
    counters: int = field(default=500, metadata={"help": "counters that are written"})
    sockets: int = field(default=2_000, metadata={"help": "open sockets, spread over the counters"})
    rate: int = field(default=2_000, metadata={"help": "operations a second in all"})
    hosts: int = field(default=3, metadata={"help": "shared hosts"})
    seed: int = field(default=1, metadata={"help": "of the order of kills and operations"})


QUICK = Sizes(rounds=2, counters=100, sockets=200, rate=500)


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
        await until(f"{more} more operations are acknowledged", lambda: len(self.ledger.acknowledged) >= wanted, seconds)

    async def judge(self, verdict: Verdict) -> None:
        """End the load, and add what was lost, doubled, closed or missed to the verdict."""
        await self.steady.stop()
        verdict.count("operations acknowledged", len(self.ledger.acknowledged))
        resent = await self.steady.settle()
        verdict.count("operations without an answer, sent again", resent)
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
        verdict.exactly("snapshots in place of events", sum(one.snapshots for one in self.subscribers), 0)
        verdict.exactly("events that stand for several", sum(one.joined for one in self.subscribers), 0)
        for one in self.subscribers:
            one.close()


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    chance = random.Random(sizes.seed)
    crowd = Crowd(service, f"failover{sizes.seed}", sizes.counters, sizes.rate, sizes.seed)
    await crowd.start(sizes.sockets)
    outages: list[float] = []
    for _ in range(sizes.rounds):
        outages += await fail(service, crowd, chance)
    verdict.count("rounds of kill -9", sizes.rounds)
    await crowd.judge(verdict)
    verdict.count("outages of a counter", len(outages))
    verdict.at_most("outage, p50", 1000 * quantile(outages, 0.5), 1000 * P50_BAR_S, "ms", timed=True)
    verdict.at_most("outage, p99", 1000 * quantile(outages, 0.99), 1000 * P99_BAR_S, "ms", timed=True)
    verdict.figure("outage, longest", 1000 * max(outages), "ms")


async def fail(service: Service, crowd: Crowd, chance: random.Random) -> list[float]:
    """Kill a host and wait until it is back: how long each of its counters was away, in seconds."""
    hosts = await asyncio.to_thread(service.actors, "host")
    victim = chance.choice(sorted(hosts))
    affected = owned_by(victim, list(hosts), crowd.names)
    after, acknowledged = service.log_size(), crowd.ledger.acknowledged
    first = len(acknowledged)
    os.kill(hosts[victim], signal.SIGKILL)
    at = time.monotonic()
    for name in affected:
        crowd.steady.send(name)
    back: dict[str, float] = {}

    def served() -> bool:
        nonlocal first
        for each in acknowledged[first:]:
            if each.sent_at >= at:
                back.setdefault(each.operation.counter, each.answered_at - at)
        first = len(acknowledged)
        return back.keys() >= set(affected)

    await until(f"others serve the counters of {victim}", served)
    await asyncio.to_thread(wait_until_back, service, "host", victim, after)
    await crowd.acknowledged(len(crowd.names))
    return [back[name] for name in affected]


def owned_by(host: str, hosts: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that belong to `host` while those are the shared hosts."""
    placement = Placement(Table(1, tuple(HostEntry(each, "", "", None) for each in hosts)))
    return [name for name in names if placement.owner(name) == host]


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 0},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
