"""Where an idle service's CPU goes, thread by thread: `python -m loadtests.bench.wakeups`.

A thread that wakes a hundred times a second and does nothing costs what waking costs: a switch, and cold caches.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from loadtests.bench.process_tree import ProcessTree
from loadtests.service import service

SETTLE_S = 10.0
SHOWN = 16


class Used(NamedTuple):
    """What a thread has used since it began."""

    cpu_ns: int
    wakeups: int


def main(argv: Sequence[str]) -> int:
    """Print the busiest threads of a service that nobody uses."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.wakeups", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="to look at it")
    seconds: float = parser.parse_args(argv).seconds
    with service() as peer:
        time.sleep(SETTLE_S)
        before = _used(peer.tree)
        time.sleep(seconds)
        after = _used(peer.tree)
    spent = {
        thread: Used(now.cpu_ns - before[thread].cpu_ns, now.wakeups - before[thread].wakeups)
        for thread, now in after.items()
        if thread in before
    }
    print(f"{'% of a core':>11}  {'wake-ups/s':>10}  process, thread")
    for (process, thread, _), used in sorted(spent.items(), key=lambda item: -item[1].cpu_ns)[:SHOWN]:
        print(f"{_percent(used, seconds):11.2f}  {used.wakeups / seconds:10.1f}  {process}, {thread}")
    print(f"{sum(_percent(used, seconds) for used in spent.values()):11.2f}  {'':10}  all {len(spent)} threads")
    return 0


def _percent(used: Used, seconds: float) -> float:
    return used.cpu_ns / seconds / 1e7


def _used(tree: ProcessTree) -> dict[tuple[str, str, int], Used]:
    found = {}
    for pid in tree.pids():
        process = Path(f"/proc/{pid}/comm").read_text().strip()
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                cpu = int((task / "schedstat").read_text().split()[0])
                switches = (task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]
            except FileNotFoundError:
                continue  # It has ended.
            found[process, name, int(task.name)] = Used(cpu, int(switches))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
