"""Counters that reset themselves while half of them are touched, and hosts and the timer are killed.

    python -m tests.faults.resets
    python -m tests.faults.resets --counters 1000 --seconds 20 --kills 2

Every counter has the same period. The touched half is incremented again and again; each of the others once, at a random
moment, and left alone. Hosts and the timer are killed in turn, again and again. In the end the history of every counter
is read from the database: who was left alone has exactly one reset for inactivity, a period after its increment, and
nobody else has any. Then the touched ones are left alone, too.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass, field

from loadtests.verdict import Verdict
from tests.faults.command import Command, complain, quantile
from tests.support.hammer import Ledger
from tests.support.kill import wait_until_back
from tests.support.service_process import Service, wait_for
from tests.support.steady import Steady

LATE_P99_BAR_MS = 500.0


@dataclass(frozen=True)
class Sizes:
    counters: int = field(default=10_000, metadata={"help": "counters, half of which are touched all the while"})
    period: int = field(default=5, metadata={"help": "seconds after which they reset themselves"})
    seconds: int = field(default=60, metadata={"help": "over which the others are incremented, once each"})
    kills: int = field(default=6, metadata={"help": "of a host, of the timer, of a host, …"})
    hosts: int = field(default=2, metadata={"help": "shared hosts"})
    seed: int = field(default=1, metadata={"help": "of the moments"})


QUICK = Sizes(counters=400, period=3, seconds=8, kills=2)


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    chance = random.Random(sizes.seed)
    half = sizes.counters // 2
    touched = [f"touched{sizes.seed}:{number}" for number in range(half)]
    alone = [f"alone{sizes.seed}:{number}" for number in range(half)]
    ledger = Ledger()
    # Three times in a period: a touch that waits for a killed host to be replaced is still in time.
    rate = half * 3 / sizes.period
    steady = await Steady(service.port, ledger, touched, f"touch{sizes.seed}", rate, sizes.seed).start()
    once = Steady(service.port, ledger, alone, f"once{sizes.seed}", half / sizes.seconds, sizes.seed)
    killing = asyncio.create_task(kill(service, sizes, chance))
    await once.once()
    await killing
    await asyncio.sleep(sizes.period)
    last_touch = time.time()
    await steady.stop()
    await once.stop()

    early = await asyncio.to_thread(read, service, last_touch)
    judge_alone(verdict, early, alone, sizes.period)
    wrong = [name for name in touched if early.get(name, Story()).resets]
    verdict.exactly("touched counters that were reset", len(wrong), 0)
    complain(verdict, wrong)
    await asyncio.to_thread(
        wait_for, "the touched ones are reset, too", lambda: not armed(service, "touched"), sizes.period + 15.0
    )
    late = await asyncio.to_thread(read, service, None)
    wrong = [name for name in touched if late[name].resets != 1]
    verdict.exactly("touched counters that were not reset once when they were left alone", len(wrong), 0)
    complain(verdict, wrong)
    lateness = [late[name].late_ms(sizes.period) for name in touched]
    verdict.figure("their lateness, all in the same period, p99", quantile(lateness, 0.99), "ms")
    verdict.figure("their lateness, longest", max(lateness), "ms")


async def kill(service: Service, sizes: Sizes, chance: random.Random) -> None:
    """Kill a host, the timer, a host, …, spread over the run."""
    for number in range(sizes.kills):
        await asyncio.sleep(sizes.seconds / (sizes.kills + 1) * chance.uniform(0.5, 1.0))
        kind = ("timer", "host")[number % 2]
        name, pid = chance.choice(sorted((await asyncio.to_thread(service.actors, kind)).items()))
        after = service.log_size()
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until_back, service, kind, name, after)


@dataclass
class Story:
    """What happened to one counter."""

    resets: int = 0
    last_touch: int = 0
    reset_at: int = 0

    def late_ms(self, period: int) -> float:
        return self.reset_at - self.last_touch - 1000 * period


def read(service: Service, before: float | None) -> dict[str, Story]:
    """The story of every counter, from the database; without what happened later than a period after `before`."""
    stories: dict[str, Story] = {}
    until = 1 << 60 if before is None else int(before * 1000)
    with sqlite3.connect(f"file:{service.data_dir / 'counters.db'}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT name, at, reason FROM operation JOIN counter ON counter.id = counter_id ORDER BY counter_id, seq"
        )
        for name, at, reason in rows:
            story = stories.setdefault(name, Story())
            if reason == "inactivity" and at <= until:
                story.resets += 1
                story.reset_at = at
            elif reason is None:
                story.last_touch = at
    return stories


def armed(service: Service, prefix: str) -> int:
    """How many counters of this prefix still have a reset before them."""
    with sqlite3.connect(f"file:{service.data_dir / 'counters.db'}?mode=ro", uri=True) as database:
        [[count]] = database.execute(
            "SELECT count(*) FROM counter WHERE due_at IS NOT NULL AND name LIKE ?", (f"{prefix}%",)
        )
    return int(count)


def judge_alone(verdict: Verdict, stories: dict[str, Story], names: list[str], period: int) -> None:
    wrong = [f"{name}: {stories.get(name)}" for name in names if stories.get(name, Story()).resets != 1]
    verdict.exactly("counters left alone that were not reset exactly once", len(wrong), 0)
    complain(verdict, wrong)
    lateness = [stories[name].late_ms(period) for name in names if name in stories]
    verdict.count("counters left alone", len(lateness))
    verdict.exactly("of them reset before their period was over", sum(late < 0 for late in lateness), 0)
    verdict.figure("lateness, p50", quantile(lateness, 0.5), "ms")
    verdict.at_most("lateness, p99", quantile(lateness, 0.99), LATE_P99_BAR_MS, "ms", timed=True)
    verdict.figure("lateness, longest", max(lateness), "ms")


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 0, "reset_after": f"{sizes.period}s"},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
