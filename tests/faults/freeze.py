"""One host after the other is stopped for a while and goes on where it was: others serve, and it does no harm.

    python -m tests.faults.freeze

SIGSTOP in the middle of some work, and SIGCONT after some seconds. What the frozen host had taken on it writes when it
thaws: storage has to refuse all of it, and nobody may hear of it. A host that is stopped in the middle of a transaction
holds the write lock of SQLite; whoever waits for that ends it, and it is replaced instead of thawed.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from dataclasses import dataclass, field

import psutil

from loadtests.verdict import Verdict
from tests.faults.command import Command, quantile
from tests.faults.crowd import Crowd, owned_by
from tests.support.kill import freeze, thaw
from tests.support.service_process import Service

FROZEN_MAX_S = 5.0
SERVED_BAR_S = 2.5  # 1.5 s of silence, half a second for the supervisor's look, and to take over.


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=20, metadata={"help": "hosts that are stopped, one after the other"})
    seconds: float = field(default=5.0, metadata={"help": "that each of them is stopped for"})
    counters: int = field(default=500, metadata={"help": "counters that are written"})
    sockets: int = field(default=2_000, metadata={"help": "open sockets, spread over the counters"})
    rate: int = field(default=1_000, metadata={"help": "operations a second in all"})
    hosts: int = field(default=3, metadata={"help": "shared hosts"})
    seed: int = field(default=1, metadata={"help": "of the order of victims and operations"})


QUICK = Sizes(rounds=1, seconds=0.0, counters=60, sockets=120, rate=300)


@dataclass
class Frost:
    """What one round showed."""

    outages: list[float]  # Of each counter of the frozen host, in seconds.
    served: bool  # By others, before it thawed.
    ended: bool  # It held the write lock.
    refused: int  # Counters that it tried to write after it thawed.


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    chance = random.Random(sizes.seed)
    crowd = Crowd(service, f"frost{sizes.seed}", sizes.counters, sizes.rate, sizes.seed)
    await crowd.start(sizes.sockets)
    rounds = [await stop_for_a_while(service, crowd, chance, sizes.seconds) for _ in range(sizes.rounds)]
    verdict.count("rounds of SIGSTOP and SIGCONT", len(rounds))
    verdict.count("of those, ended because they held the write lock", sum(each.ended for each in rounds))
    verdict.exactly("rounds in which others served meanwhile", sum(each.served for each in rounds), len(rounds))
    await crowd.judge(verdict)
    thawed = [each for each in rounds if not each.ended]
    verdict.count("late writes of a counter that storage refused", sum(each.refused for each in thawed))
    outages = [outage for each in rounds for outage in each.outages]
    verdict.figure("others serve after, p50", quantile(outages, 0.5), "s")
    verdict.at_most("others serve after, longest", max(outages), SERVED_BAR_S, "s", timed=True)


async def stop_for_a_while(service: Service, crowd: Crowd, chance: random.Random, seconds: float) -> Frost:
    """Freeze a host, and thaw it when others serve its counters and so many seconds are over."""
    hosts = await asyncio.to_thread(service.actors, "host")
    victim = chance.choice(sorted(hosts))
    affected = owned_by(victim, list(hosts), crowd.names)
    after = service.log_size()
    await crowd.at_work(affected, chance)
    freeze(hosts[victim])
    at = time.monotonic()
    away = asyncio.create_task(crowd.away(affected, at))
    try:
        await asyncio.wait({away}, timeout=FROZEN_MAX_S)
        served = away.done()
        await asyncio.sleep(at + seconds - time.monotonic())
    finally:
        ended = not _thaw(hosts[victim])
    outages = await away
    if ended:
        await asyncio.to_thread(service.wait_for_line, rf"action=host_started .*\b{victim}\b", after)
    await asyncio.to_thread(service.wait_for_line, rf"action=host_up host={victim} ", after)
    await crowd.acknowledged(len(crowd.names))
    with service.log.open("rb") as log:
        log.seek(after)
        lines = re.findall(rf"action=fenced host={victim} counters=(\d+)", log.read().decode(errors="replace"))
    return Frost(outages, served, ended, sum(map(int, lines)))


def _thaw(pid: int) -> bool:
    """Let it go on. False when it is gone."""
    try:
        thaw(pid)
    except psutil.NoSuchProcess:
        return False
    return True


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 0},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
