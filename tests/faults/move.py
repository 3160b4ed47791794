"""A busy counter moves to a host of its own and back, and its hosts are replaced: how long it pauses.

    python -m tests.faults.move

With one dedicated host to be had, the counter gets it because it is busy, loses it while another one is busier, and
gets it back when that one is quiet. A pause lies between two answers that follow each other; those around the moment
at which a new owner takes over are the move's.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from loadtests.verdict import Verdict
from tests.faults.command import Command
from tests.faults.crowd import Crowd
from tests.faults.upgrade import replace_hosts
from tests.support.hammer import Ledger
from tests.support.service_process import Service
from tests.support.steady import Steady

PAUSE_BAR_S = 0.05
QUIET_S = 1.0  # Of load without a move, to compare with.
MOVED_S = 60.0
LOOK_S = 0.05
AROUND_S = 0.25  # A move's pause ends when its owner begins, or a little later.
OUT, BACK = "to a host of its own", "back to a shared one"
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


class Owner(NamedTuple):
    """Who has owned the counter."""

    since: float  # When it began, on this process's clock.
    dedicated: bool


class Owners:
    """All that the counter has had, by epoch. Looks again and again, because one may last for a moment only."""

    def __init__(self, service: Service, name: str) -> None:
        self._service, self._name = service, name
        self._changed = asyncio.Event()
        self.found: dict[int, Owner] = {}
        self._task = asyncio.create_task(self._look())

    async def until(self, dedicated: bool) -> None:
        """Return when the newest is a host of the counter's own, or a shared one."""
        async with asyncio.timeout(MOVED_S):
            while not self.found or self.found[max(self.found)].dedicated is not dedicated:
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _look(self) -> None:
        while True:
            for each in await asyncio.to_thread(self._service.awake):
                if each["name"] == self._name:
                    ago = time.time() - datetime.fromisoformat(each["awakeSince"]).timestamp()
                    self.found.setdefault(each["epoch"], Owner(time.monotonic() - ago, each["dedicated"]))
                    self._changed.set()
            await asyncio.sleep(LOOK_S)


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd = Crowd(service, "moved", 1, sizes.rate)
    await crowd.start(sizes.sockets)
    owners = Owners(service, crowd.names[0])
    await owners.until(dedicated=True)
    first = len(crowd.ledger.acknowledged)
    await asyncio.sleep(QUIET_S)
    still = pauses(crowd.ledger, first)
    for _ in range(sizes.rounds):
        rival = Steady(service.port, Ledger(), ["rival"], "rival", sizes.rate * sizes.busier)
        await rival.start()
        await owners.until(dedicated=False)
        await rival.stop()
        await owners.until(dedicated=True)
    for _ in range(sizes.replacements):
        before = max(owners.found)
        await replace_hosts(service)
        await owners.until(dedicated=True)
        assert max(owners.found) > before, "the counter was not moved"
    await crowd.acknowledged(len(crowd.names))  # What follows the last move has been answered, too.
    await owners.stop()
    verdict.count("owners, one after the other", len(owners.found))
    await crowd.judge(verdict)
    every = pauses(crowd.ledger, 0)
    verdict.figure("longest pause without a move", 1000 * max(each.seconds for each in still), "ms")
    moves = sorted(owners.found.items())[1:]
    around = [max(each.seconds for each in every if each.near(owner.since)) for _, owner in moves]
    for title, dedicated in ((OUT, True), (BACK, False)):
        of_kind = [pause for pause, (_, owner) in zip(around, moves, strict=True) if owner.dedicated is dedicated]
        if of_kind:
            verdict.figure(f"pause {title}, p50", 1000 * statistics.median(of_kind), "ms")
    verdict.at_most("longest pause of a move", 1000 * max(around), 1000 * PAUSE_BAR_S, "ms", timed=True)


class Pause(NamedTuple):
    """Between two answers that follow each other."""

    begun: float
    seconds: float

    def near(self, moment: float) -> bool:
        """Whether a move at `moment` may be its cause."""
        return self.begun - AROUND_S <= moment <= self.begun + self.seconds + AROUND_S


def pauses(ledger: Ledger, first: int) -> list[Pause]:
    """Those after the `first` answer."""
    answered = sorted(each.answered_at for each in ledger.acknowledged[max(0, first - 1) :])
    return [Pause(before, after - before) for before, after in pairwise(answered)]


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 1, "dedicated_from": DEDICATED_FROM},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
