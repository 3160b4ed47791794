"""A counter that is hit as fast as it goes, beside many that are hit now and then: what those notice.

    python -m tests.faults.neighbour
    python -m tests.faults.neighbour --apart 3
    python -m tests.faults.neighbour --dedicated 0

The latency of the others without it, and then with it, in turns; the figures are medians. Its clients are another
process, so that what is measured is not this one's work. With `--dedicated 0` it shares a host with the others.

With `--apart` the same is done to a counter of another service on this machine: what a busy neighbour costs that shares
nothing but cores and a disk. No way of placing counters makes that any less.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from loadtests.verdict import Verdict
from tests.faults.command import Command, quantile
from tests.faults.crowd import Crowd
from tests.support.flood import Flood, Tally
from tests.support.hammer_audit import read_database
from tests.support.service_process import Service, wait_for

RATIO_BAR = 1.3
DEDICATED_S = 30.0
SETTLED_S = 2.0  # A process has just been started; what that costs is for `tests.faults.move` to say.
HOT = "hot"


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=5, metadata={"help": "of each, without and with"})
    seconds: float = field(default=5.0, metadata={"help": "that each of them lasts"})
    counters: int = field(default=1_000, metadata={"help": "lukewarm ones"})
    rate: int = field(default=500, metadata={"help": "operations a second on those, in all"})
    clients: int = field(default=16, metadata={"help": "sockets that hit the hot one, each as fast as it is answered"})
    dedicated: int = field(default=2, metadata={"help": "counters that may have a host of their own"})
    hosts: int = field(default=1, metadata={"help": "shared hosts"})
    gateways: int = field(default=1, metadata={"help": "gateways"})
    apart: int = field(default=0, metadata={"help": "rounds beside a busy counter of another service"})


QUICK = Sizes(rounds=1, seconds=0.5, counters=50, rate=100, clients=4, dedicated=0)


class Latency(NamedTuple):
    """Of the lukewarm ones, in seconds."""

    p50: float
    p99: float


@dataclass
class Heat:
    """One time with the hot counter."""

    others: Latency
    tally: Tally
    seconds: float


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd = Crowd(service, "lukewarm", sizes.counters, sizes.rate)
    await crowd.start(sizes.counters)
    without: list[Latency] = []
    heats: list[Heat] = []
    for round in range(sizes.rounds):
        without.append(await _latency(crowd, sizes.seconds))
        heats.append(await _beside(service, crowd, sizes, f"hot{round}"))
    apart = await _apart(crowd, sizes) if sizes.apart else []
    await crowd.judge(verdict)
    told = sum(heat.tally.acknowledged for heat in heats)
    failed = sum(heat.tally.failed for heat in heats)  # Perhaps applied, for all that its clients know.
    value = read_database(service.database)[HOT].value
    verdict.exactly("operations on the hot one that failed", failed, 0, timed=True)
    verdict.require("its value", told <= value <= told + failed, f"{value:,} of {told:,}")
    speed = statistics.median(heat.tally.acknowledged / heat.seconds for heat in heats)
    verdict.figure("operations a second on it", speed)
    alone, beside = _median(without), _median([heat.others for heat in heats])
    verdict.figure("p50 of the others without it", 1000 * alone.p50, "ms")
    verdict.figure("p50 of the others beside it", 1000 * beside.p50, "ms")
    verdict.figure("p99 of the others without it", 1000 * alone.p99, "ms")
    verdict.figure("p99 of the others beside it", 1000 * beside.p99, "ms")
    if apart:
        verdict.figure("p99 of the others beside one of another service", 1000 * _median(apart).p99, "ms")
        verdict.figure("times as long beside that", _median(apart).p99 / alone.p99)
    verdict.at_most("times as long", beside.p99 / alone.p99, RATIO_BAR, timed=True)


async def _beside(service: Service, crowd: Crowd, sizes: Sizes, key: str) -> Heat:
    """That of the others while this service's hot counter is hit."""
    flood = await Flood.start(service.port, HOT, key, sizes.clients)
    began = time.monotonic()
    try:
        if sizes.dedicated:
            await asyncio.to_thread(wait_for, f"{HOT} has a host of its own", lambda: _alone(service), DEDICATED_S)
            await asyncio.sleep(SETTLED_S)
        others = await _latency(crowd, sizes.seconds)
    finally:
        tally = await flood.stop()
    return Heat(others, tally, time.monotonic() - began)


async def _apart(crowd: Crowd, sizes: Sizes) -> list[Latency]:
    """That of the others while the same is done to another service, which is like this one."""
    with Service(**_flags(sizes)) as other:
        await asyncio.to_thread(other.start)
        return [(await _beside(other, crowd, sizes, f"apart{round}")).others for round in range(sizes.apart)]


def _alone(service: Service) -> bool:
    return any(each["name"] == HOT and each["dedicated"] for each in service.awake())


async def _latency(crowd: Crowd, seconds: float) -> Latency:
    first = len(crowd.ledger.acknowledged)
    await asyncio.sleep(seconds)
    latencies = crowd.latencies(first)
    return Latency(quantile(latencies, 0.5), quantile(latencies, 0.99))


def _median(measured: Sequence[Latency]) -> Latency:
    return Latency(*(statistics.median(column) for column in zip(*measured, strict=True)))


def _flags(sizes: Sizes) -> dict[str, object]:
    return {"hosts": sizes.hosts, "gateways": sizes.gateways, "dedicated": sizes.dedicated}


COMMAND = Command(about=__doc__, sizes=Sizes(), quick=QUICK, flags=_flags, run=run)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
