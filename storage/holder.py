"""Who holds a lock file, and what to do about one that never gives it back.

A process that is stopped (SIGSTOP, a debugger, a frozen container) in the middle of a transaction holds the lock, and
every other writer with it. Nothing is lost when it is ended: what it did not commit was never acknowledged.
"""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

_LOCKS = Path("/proc/locks")
_STOPPED = frozenset("Tt")  # Stopped by a signal, by a tracer.

log = logging.getLogger("counters.storage")


def end_stopped_holder(path: Path) -> int | None:
    """Kill the process that holds the lock on `path`, if it is stopped. Returns its pid; None: there is none such.

    Only where /proc tells (Linux); elsewhere others wait until the process goes on.
    """
    try:
        pid = _holder(path)
        if pid is None or pid == os.getpid() or _state(pid) not in _STOPPED:
            return None
        os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError) as error:
        log.info("action=holder_unknown error=%s", error)
        return None
    log.warning("action=ended_stopped_holder pid=%d", pid)
    return pid


def _holder(path: Path) -> int | None:
    """The pid behind the `flock` on `path`."""
    stat = path.stat()
    inode = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    for line in _LOCKS.read_text().splitlines():
        fields = line.split()  # "1: FLOCK  ADVISORY  WRITE 3568 fe:00:2097153 0 EOF"; one that waits has "->" second.
        if fields[1] == "FLOCK" and fields[5] == inode:
            return int(fields[4])
    return None


def _state(pid: int) -> str:
    """The letter that stands for what the process does: R, S, D, T, …"""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2]  # The name in front may hold anything, spaces and brackets too.
