"""A busy counter moves to a host of its own and back, and its hosts are replaced: how long it pauses.

    python -m tests.faults.move

With one dedicated host to be had, the counter gets it because it is busy, loses it while another one is busier, and
gets it back when that one is quiet. A pause lies between two answers that follow each other.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise

from loadtests.verdict import Verdict
from tests.faults.command import Command, quantile
from tests.faults.crowd import Crowd
from tests.faults.upgrade import replace_hosts
from tests.support.hammer import Ledger
from tests.support.service_process import Service
from tests.support.steady import Steady

PAUSE_BAR_S = 0.05
QUIET_S = 1.0  # Of load without a move, to compare with.
MOVED_S = 60.0
LOOK_S = 0.1
OUT, BACK, REPLACED = "to a host of its own", "back to a shared one", "while hosts are replaced"
DEDICATED_FROM = 200  # Operations a second.


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=5, metadata={"help": "times that another counter takes its host away"})
    replacements: int = field(default=2, metadata={"help": "times that all hosts are replaced"})
    sockets: int = field(default=3, metadata={"help": "open sockets on the counter"})
    rate: int = field(default=1_000, metadata={"help": "operations a second on the counter"})
    busier: int = field(default=3, metadata={"help": "times as many for the one that takes its host away"})
    hosts: int = field(default=2, metadata={"help": "shared hosts"})


QUICK = Sizes(rounds=0, replacements=0, rate=400)  # More than it takes to be dedicated.


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd = Crowd(service, "moved", 1, sizes.rate)
    [name] = crowd.names
    epochs = {0}  # Every owner has one.
    moving: dict[str, list[float]] = {OUT: [], BACK: [], REPLACED: []}

    async def until_dedicated(wanted: bool) -> None:
        first, deadline = len(crowd.ledger.acknowledged), time.monotonic() + MOVED_S
        while True:
            seen = await asyncio.to_thread(_look, service, name)
            epochs.add(seen.get("epoch", 0))
            if seen.get("dedicated") is wanted:
                break
            assert time.monotonic() < deadline, f"{name}: not dedicated={wanted} within {MOVED_S:g} s: {seen}"
            await asyncio.sleep(LOOK_S)
        moving[OUT if wanted else BACK] += pauses(crowd.ledger, first)

    await crowd.start(sizes.sockets)
    await until_dedicated(True)
    first = len(crowd.ledger.acknowledged)
    await asyncio.sleep(QUIET_S)
    still = pauses(crowd.ledger, first)
    for _ in range(sizes.rounds):
        rival = Steady(service.port, Ledger(), ["rival"], "rival", sizes.rate * sizes.busier)
        await rival.start()
        await until_dedicated(False)
        await rival.stop()
        await until_dedicated(True)
    for _ in range(sizes.replacements):
        first = len(crowd.ledger.acknowledged)
        await replace_hosts(service)
        moving[REPLACED] += pauses(crowd.ledger, first)
        await until_dedicated(True)
    verdict.count("owners, one after the other", len(epochs) - 1)
    await crowd.judge(verdict)
    verdict.figure("longest pause without a move", 1000 * max(still), "ms")
    for kind, found in moving.items():
        if found:
            verdict.figure(f"longest pause {kind}", 1000 * max(found), "ms")
    every = [pause for found in moving.values() for pause in found]
    verdict.figure("pause p99.9 around moves", 1000 * quantile(every, 0.999), "ms")
    verdict.at_most("longest pause around moves", 1000 * max(every), 1000 * PAUSE_BAR_S, "ms", timed=True)


def pauses(ledger: Ledger, first: int) -> list[float]:
    """Between the answers since the `first`, in seconds."""
    answered = sorted(each.answered_at for each in ledger.acknowledged[max(0, first - 1) :])
    return [after - before for before, after in pairwise(answered)]


def _look(service: Service, name: str) -> dict[str, object]:
    """What `counters ps` says of it; nothing while it is not awake."""
    return next((each for each in service.awake() if each["name"] == name), {})


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 1, "dedicated_from": DEDICATED_FROM},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
