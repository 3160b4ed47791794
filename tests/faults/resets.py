"""Counters that reset themselves while half of them are touched, and hosts and the timer are killed.

    python -m tests.faults.resets
    python -m tests.faults.resets --counters 1000 --seconds 20 --kills 2

Every counter has the same period. The touched half is incremented again and again; each of the others once, at some
moment, and left alone. Hosts and the timer are killed in turn. Then the touched ones are left alone, too, and the
history of every counter is read from the database: whoever had no operation for a period has one reset after it, and
nobody has any other.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
from dataclasses import dataclass, field

from loadtests.verdict import Verdict
from tests.faults.command import Command, quantile
from tests.support.hammer import Ledger
from tests.support.kill import wait_until_back
from tests.support.service_process import Service, wait_for
from tests.support.steady import Steady

LATE_P99_BAR_MS = 500.0
FORGOTTEN_MS = 1_500  # A touch may come just before the reset that is due, while a host is being replaced.


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
    rate = half * 2 / sizes.period  # Twice in a period: a touch that waits for a new host is still in time.
    steady = await Steady(service.port, ledger, touched, f"touch{sizes.seed}", rate, sizes.seed).start()
    once = Steady(service.port, ledger, alone, f"once{sizes.seed}", half / sizes.seconds, sizes.seed)
    killing = asyncio.create_task(kill(service, sizes, chance))
    await once.once()
    await killing
    await asyncio.sleep(sizes.period)
    await steady.stop()
    await once.stop()

    await asyncio.to_thread(
        wait_for, "the touched ones are reset, too", lambda: not armed(service, "touched"), sizes.period + 15.0
    )
    stories = await asyncio.to_thread(read, service)
    left = [stories.get(name, Story()) for name in alone]
    judge(verdict, "left alone", left, sizes.period)
    verdict.exactly("of them not reset exactly once", sum(len(story.resets) != 1 for story in left), 0)
    late = [reset.late_ms(sizes.period) for story in left for reset in story.resets]
    verdict.figure("lateness, p50", quantile(late, 0.5), "ms")
    verdict.at_most("lateness, p99", quantile(late, 0.99), LATE_P99_BAR_MS, "ms", timed=True)
    verdict.figure("lateness, longest", max(late), "ms")
    busy = [stories.get(name, Story()) for name in touched]
    judge(verdict, "touched all the while, then left alone", busy, sizes.period)
    verdict.exactly("of them not reset in the end", sum(not story.at_rest for story in busy), 0)
    pauses = sum(len(story.resets) for story in busy) - len(busy)
    verdict.figure("pauses of the touches that were longer than a period, each a reset", pauses)
    together = [story.resets[-1].late_ms(sizes.period) for story in busy if story.resets]
    verdict.figure("lateness of those that came in the same period, p99", quantile(together, 0.99), "ms")


def judge(verdict: Verdict, who: str, stories: list[Story], period: int) -> None:
    """Whatever was idle for a period was reset, once, and nothing else was."""
    verdict.count(f"counters {who}", len(stories))
    early = [reset for story in stories for reset in story.resets if reset.late_ms(period) < 0]
    verdict.exactly("of them reset before their period was over", len(early), 0)
    verdict.exactly("reset twice without a touch between", sum(story.twice for story in stories), 0)
    forgotten = [gap for story in stories for gap in story.gaps if gap > 1000 * period + FORGOTTEN_MS]
    verdict.exactly("touched again after their period, without a reset between", len(forgotten), 0)


async def kill(service: Service, sizes: Sizes, chance: random.Random) -> None:
    """Kill a host, the timer, a host, …, spread over the run."""
    for number in range(sizes.kills):
        await asyncio.sleep(sizes.seconds / (sizes.kills + 1) * chance.uniform(0.5, 1.0))
        kind = ("timer", "host")[number % 2]
        name, pid = chance.choice(sorted((await asyncio.to_thread(service.actors, kind)).items()))
        after = service.log_size()
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until_back, service, kind, name, after)


@dataclass(frozen=True)
class Reset:
    """One reset for inactivity, and the touch before it; wall time in milliseconds, all of one machine."""

    at: int
    touched_at: int

    def late_ms(self, period: int) -> float:
        return self.at - self.touched_at - 1000 * period


@dataclass
class Story:
    """What happened to one counter, as its history tells it."""

    resets: list[Reset] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)  # Between two touches without a reset.
    twice: int = 0
    touched_at: int | None = None
    at_rest: bool = False

    def take(self, at: int, reason: str | None) -> None:
        if reason is None:
            if not self.at_rest and self.touched_at is not None:
                self.gaps.append(at - self.touched_at)
            self.touched_at, self.at_rest = at, False
        elif self.at_rest or self.touched_at is None:
            self.twice += 1
        else:
            self.resets.append(Reset(at, self.touched_at))
            self.at_rest = True


def read(service: Service) -> dict[str, Story]:
    """The story of every counter, from the database."""
    stories: dict[str, Story] = {}
    with sqlite3.connect(f"file:{service.data_dir / 'counters.db'}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT name, at, reason FROM operation JOIN counter ON counter.id = counter_id ORDER BY counter_id, seq"
        )
        for name, at, reason in rows:
            stories.setdefault(name, Story()).take(at, reason)
    return stories


def armed(service: Service, prefix: str) -> int:
    """How many counters of this prefix still have a reset before them."""
    with sqlite3.connect(f"file:{service.data_dir / 'counters.db'}?mode=ro", uri=True) as database:
        [[count]] = database.execute(
            "SELECT count(*) FROM counter WHERE due_at IS NOT NULL AND name LIKE ?", (f"{prefix}%",)
        )
    return int(count)


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": sizes.hosts, "gateways": 1, "dedicated": 0, "reset_after": f"{sizes.period}s"},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
