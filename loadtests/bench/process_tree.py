"""The processes of one server: which they are, what they cost, and their end.

A server is rarely one process, and Ray's are not even all children of the command that was started. So
the first ones get a mark in their environment, which children inherit, and a process belongs to the tree
when it carries the mark or when its parent belongs. Both are needed: a process that renames itself
overwrites what the kernel shows of its environment, and an orphan has lost its parent. The first ones
may do the first and have no parent in the tree, so they are adopted by number.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "BENCH_TREE"  # The environment variable; its value is different for each tree.


@dataclass
class _Member:
    process: psutil.Process
    parent_pid: int
    cpu_s: float = 0.0  # As last read, with what it inherited from children it waited for.


class ProcessTree:
    """All processes whose environment says `BENCH_TREE=<mark>`, and everything they started."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._members: dict[int, _Member] = {}
        self._strangers: set[int] = set()
        self._ended_orphans_cpu_s = 0.0

    def adopt(self, pid: int) -> None:
        """Take in a process started by the caller, which must carry the mark."""
        self._members[pid] = _Member(psutil.Process(pid), os.getpid())

    def pids(self) -> list[int]:
        """The process ids of now, ascending. Only ids not seen before are examined, so it is cheap."""
        present = set(psutil.pids())
        self._strangers &= present  # A number that left may come back as somebody else.
        for pid in self._members.keys() - present:
            self._bury(pid)
        for pid in sorted(present - self._members.keys() - self._strangers):
            self._examine(pid)
        return sorted(self._members)

    def cpu_seconds(self) -> float:
        """User and system time spent since the tree began, in seconds; resolution 0.01 s a process."""
        self.pids()
        for pid, member in list(self._members.items()):
            try:
                spent = member.process.cpu_times()
            except psutil.NoSuchProcess:
                self._bury(pid)
                continue
            member.cpu_s = spent.user + spent.system + spent.children_user + spent.children_system
        return self._ended_orphans_cpu_s + sum(member.cpu_s for member in self._members.values())

    def pss_bytes(self) -> int:
        """Memory of the tree in bytes, a shared page divided among those who share it (PSS)."""
        return sum(_pss_bytes(pid) for pid in self.pids())

    def pin(self, core: int) -> None:
        """Hold every process on `core`, also one that chose its cores itself."""
        for pid in self.pids():
            try:
                if self._members[pid].process.cpu_affinity() != [core]:
                    self._members[pid].process.cpu_affinity([core])
            except psutil.NoSuchProcess:
                continue

    def end(self, grace_s: float) -> None:
        """Let the tree end by itself for `grace_s`, then end what is left of it."""
        deadline = time.monotonic() + grace_s
        while self._running() and time.monotonic() < deadline:
            time.sleep(0.02)
        for process in self._running():
            process.kill()

    def _running(self) -> list[psutil.Process]:
        self.pids()
        processes = (member.process for member in self._members.values())
        return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def _examine(self, pid: int) -> None:
        try:
            process = psutil.Process(pid)
            parent_pid = process.ppid()
            belongs = parent_pid in self._members or process.environ().get(MARK) == self._mark
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied:
            belongs = False
        if belongs:
            self._members[pid] = _Member(process, parent_pid)
        else:
            self._strangers.add(pid)

    def _bury(self, pid: int) -> None:
        """Forget an ended process. Its parent has inherited its time, unless the parent is not ours."""
        member = self._members.pop(pid)
        if member.parent_pid not in self._members:
            self._ended_orphans_cpu_s += member.cpu_s


def _pss_bytes(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # It has ended; a zombie has no memory either.
        return 0
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
