"""Many counters with a socket each fall asleep, give their memory back, and are all woken within a second.

    python -m tests.faults.hibernation

Empty means: hosts that have run as many other counters before, all of which sleep. So what Python keeps for itself,
once it has had it, is not counted; what a sleeping counter leaves behind is.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field

import psutil

from loadtests.verdict import MIB, Verdict
from tests.faults.command import Command, complain, quantile
from tests.support.hammer import Ledger, Subscriber, subscribe
from tests.support.hammer_audit import audit_books, audit_streams
from tests.support.service_process import Service
from tests.support.steady import Steady

ASLEEP_BAR_S = 15.0
MEMORY_BAR_MIB = 10.0
P99_BAR_S = 1.0
ASLEEP_MAX_S = 60.0
LOOK_S = 0.25


@dataclass(frozen=True)
class Sizes:
    counters: int = field(default=10_000, metadata={"help": "counters, with a socket each"})
    rounds: int = field(default=3, metadata={"help": "times that they sleep and are woken"})
    hosts: int = field(default=1, metadata={"help": "shared hosts"})
    hibernate_after: float = field(default=10.0, metadata={"help": "seconds without an operation"})


QUICK = Sizes(counters=300, rounds=1, hibernate_after=0.5)


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    fresh = memory(service)
    await hit(service, [f"before-{number}" for number in range(sizes.counters)], "before", Ledger())
    await asleep(service, sizes.hibernate_after)
    empty = memory(service)
    verdict.figure("memory of the hosts, new", fresh / MIB, "MiB")
    verdict.figure("memory of the hosts, empty", empty / MIB, "MiB")

    names = [f"sleepy-{number}" for number in range(sizes.counters)]
    subscribers = await subscribe(service.port, names, 1)
    ledger = Ledger()
    await hit(service, names, "first", ledger)
    verdict.count("awake after the first operations", len(service.awake()))
    verdict.figure("memory of the hosts, all awake", memory(service) / MIB, "MiB")
    for round in range(1, sizes.rounds + 1):
        verdict.at_most("all asleep after", await asleep(service, sizes.hibernate_after), ASLEEP_BAR_S, "s", timed=True)
        more = (memory(service) - empty) / MIB
        verdict.at_most("memory of the hosts above empty", more, MEMORY_BAR_MIB, "MiB", timed=True)
        first = len(ledger.acknowledged)
        await hit(service, names, f"wake{round}", ledger)
        woken = [each.answered_at - each.sent_at for each in ledger.acknowledged[first:]]
        verdict.exactly("woken by an operation each, and answered", len(woken), len(names))
        verdict.figure("answered after, p50", 1000 * quantile(woken, 0.5), "ms")
        verdict.at_most("answered after, p99", 1000 * quantile(woken, 0.99), 1000 * P99_BAR_S, "ms", timed=True)
    await judge(service, ledger, names, subscribers, verdict)


async def hit(service: Service, names: list[str], key: str, ledger: Ledger) -> None:
    """An operation for each of them within a second, and wait for all answers."""
    steady = Steady(service.port, ledger, names, key, len(names))
    await steady.once()
    await steady.stop()


async def asleep(service: Service, after: float) -> float:
    """Wait until nothing is awake any more. Returns how long that took, in seconds.

    Nobody asks before it may be so: to list ten thousand is work, too.
    """
    began = time.monotonic()
    await asyncio.sleep(after)
    while await asyncio.to_thread(service.awake):
        assert time.monotonic() - began < ASLEEP_MAX_S, f"awake: {service.awake()[:5]}"
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


def memory(service: Service) -> int:
    """Of all hosts, in bytes (PSS)."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in service.pids("host"))


async def judge(
    service: Service, ledger: Ledger, names: list[str], subscribers: list[Subscriber], verdict: Verdict
) -> None:
    """Whether anything was lost, and whether each socket heard of everything."""
    wrong = await audit_books(service, ledger, names)
    wrong += [f"no answer: {each}" for each in ledger.open]
    verdict.exactly("operations lost, doubled or failed", len(wrong), 0)
    complain(verdict, wrong)
    wrong = await audit_streams(service, subscribers)
    verdict.exactly("sockets closed, or without one of their events", len(wrong), 0)
    complain(verdict, wrong)
    for one in subscribers:
        one.close()


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {
        "hosts": sizes.hosts,
        "gateways": 1,
        "dedicated": 0,
        "hibernate_after": f"{sizes.hibernate_after:g}s",
    },
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
