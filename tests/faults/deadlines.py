"""A million deadlines that wait, and thousands that come in the same second.

    python -m tests.faults.deadlines
    python -m tests.faults.deadlines --pending 50000 --burst 1000

The waiting ones are written into the database while nothing runs; then the service is started on it. Meanwhile clients
increment other counters at a rate; how long that takes is compared before and during the burst.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from loadtests.verdict import Verdict
from storage.store import open_store
from tests.faults.command import chosen, options, quantile
from tests.support.hammer import Ledger
from tests.support.service_process import Service
from tests.support.steady import Steady

MEMORY_BAR_MB = 200.0
START_BAR_S = 10.0
LATE_P99_BAR_MS = 2_000.0
SLOWER_BAR = 1.5
PERIOD_S = 5
POLICY = f'{{"reset_after":{PERIOD_S}}}'


@dataclass(frozen=True)
class Sizes:
    pending: int = field(default=1_000_000, metadata={"help": "deadlines that are months away"})
    burst: int = field(default=10_000, metadata={"help": "counters that are due in the same second"})
    rate: int = field(default=500, metadata={"help": "operations a second of other clients"})
    hosts: int = field(default=1, metadata={"help": "shared hosts"})


QUICK = Sizes(pending=20_000, burst=500, rate=200)


def cpu_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def fill(data_dir: Path, sizes: Sizes) -> None:
    """A database with counters that were touched just now: a service made it, as far as anybody can tell."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / "counters.db"
    open_store(f"sqlite:///{path}").close()
    now = int(time.time() * 1000)
    later = now + 90 * 86_400_000
    policy = '{"reset_after":7776000}'
    columns = "name, value, operation_count, epoch, placed, created_at, updated_at, policy, idle_since, due_at"
    with sqlite3.connect(path) as database:
        database.executemany(
            f"INSERT INTO counter ({columns}) VALUES (?, 1, 0, 1, 0, ?, ?, ?, ?, ?)",
            ((f"pending:{n}", now, now, policy, now + n, later + n) for n in range(sizes.pending)),
        )


def due_together(service: Service, sizes: Sizes) -> None:
    """Counters that were touched in the same second, and are asleep; as if somebody had touched them over the wire."""
    now = int(time.time() * 1000)
    columns = "name, value, operation_count, epoch, placed, created_at, updated_at, policy, idle_since, due_at"
    with sqlite3.connect(service.data_dir / "counters.db", timeout=60) as database:
        database.executemany(
            f"INSERT INTO counter ({columns}) VALUES (?, 1, 0, 1, 0, ?, ?, ?, ?, ?)",
            (
                (f"burst:{n}", now, now, POLICY, touched := now + n * 1000 // sizes.burst, touched + PERIOD_S * 1000)
                for n in range(sizes.burst)
            ),
        )


def due_soon(service: Service) -> bool:
    """Whether some of the burst are left. One look at the index: whoever counts them takes a core for himself."""
    with sqlite3.connect(f"file:{service.data_dir / 'counters.db'}?mode=ro", uri=True) as database:
        soon = int(time.time() * 1000) + 3_600_000
        [[some]] = database.execute("SELECT EXISTS (SELECT 1 FROM counter WHERE due_at < ?)", (soon,))
    return bool(some)


def resets_of(service: Service) -> dict[str, list[int]]:
    """When each counter was reset for inactivity."""
    found: dict[str, list[int]] = defaultdict(list)
    with sqlite3.connect(f"file:{service.data_dir / 'counters.db'}?mode=ro", uri=True) as database:
        for name, at in database.execute(
            "SELECT name, at FROM operation JOIN counter ON counter.id = counter_id WHERE reason = 'inactivity'"
        ):
            found[name].append(at)
    return found


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    [timer] = await asyncio.to_thread(service.pids, "timer")
    ledger = Ledger()
    names = [f"ordinary:{n}" for n in range(100)]
    steady = await Steady(service.port, ledger, names, "ordinary", sizes.rate).start()
    await asyncio.sleep(3)
    quiet_from = time.monotonic()
    await asyncio.sleep(6)
    quiet_until = time.monotonic()
    await asyncio.to_thread(due_together, service, sizes)
    await asyncio.sleep(PERIOD_S - 0.5)
    hosts = await asyncio.to_thread(service.pids, "host")
    spent = {pid: cpu_s(pid) for pid in (timer, *hosts)}
    burst_from = time.monotonic()
    burst = [f"burst:{n}" for n in range(sizes.burst)]
    while await asyncio.to_thread(due_soon, service):
        assert time.monotonic() < burst_from + 60.0, "not all are reset"
        await asyncio.sleep(0.25)
    burst_until = time.monotonic()
    spent = {pid: cpu_s(pid) - before for pid, before in spent.items()}
    await steady.stop()
    memory = await asyncio.to_thread(lambda: psutil.Process(timer).memory_full_info().pss / 2**20)

    stories = await asyncio.to_thread(resets_of, service)
    with sqlite3.connect(f"file:{service.data_dir / 'counters.db'}?mode=ro", uri=True) as database:
        touched = dict(database.execute("SELECT name, created_at FROM counter WHERE name LIKE 'burst:%'"))
    late = [
        stories[name][0] - touched[name] - n * 1000 // sizes.burst - PERIOD_S * 1000
        for n, name in enumerate(burst)
    ]
    verdict.at_most("memory of the timer (PSS)", memory, MEMORY_BAR_MB, "MB")
    verdict.exactly("counters of the burst not reset exactly once", sum(len(stories[n]) != 1 for n in burst), 0)
    verdict.exactly("of them reset early", sum(each < 0 for each in late), 0)
    verdict.figure("CPU of the timer for the burst", spent[timer], "s")
    verdict.figure("CPU of the hosts meanwhile", sum(spent[pid] for pid in hosts), "s")
    verdict.figure("lateness, p50", quantile(late, 0.5), "ms")
    verdict.at_most("lateness, p99", quantile(late, 0.99), LATE_P99_BAR_MS, "ms", timed=True)

    def p99(start: float, end: float) -> float:
        took = [1000 * (each.answered_at - each.sent_at) for each in ledger.acknowledged if start <= each.sent_at < end]
        return quantile(took, 0.99)

    before, during = p99(quiet_from, quiet_until), p99(burst_from, burst_until)
    verdict.figure("ordinary operations, p99 before", before, "ms")
    verdict.figure("ordinary operations, p99 during", during, "ms")
    verdict.at_most("ordinary operations, during by before", during / before, SLOWER_BAR, timed=True)


def check(sizes: Sizes, verdict: Verdict) -> None:
    """All of it, with a service of its own."""
    with TemporaryDirectory(prefix="deadlines-") as scratch:
        data_dir = Path(scratch) / "data"
        fill(data_dir, sizes)
        verdict.count("deadlines that wait", sizes.pending)
        with Service(data_dir, hosts=sizes.hosts, gateways=1, dedicated=0) as service:
            service.start()
            service.wait_for_line("action=timer_started")  # It starts beside the others.
            looked = service.wait_for_line(r"action=timer_works .*took_ms=(\d+)")
            verdict.at_most("first look of the timer", int(looked[1]) / 1000, START_BAR_S, "s", timed=True)
            asyncio.run(run(service, sizes, verdict))
            verdict.exactly("exit code of the service, which left nothing behind", service.stop(), 0)


def main() -> int:
    """The command line."""
    given = options(__doc__ or "", Sizes()).parse_args()
    verdict = Verdict()
    check(chosen(given, Sizes(), QUICK), verdict)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
