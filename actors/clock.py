"""The only reader of time in these rooms. Everything else is told what time it is.

There are three of it. Wall time is what a clock on the wall shows: it is for what people read and for schedules, and it
jumps when somebody sets the clock. Monotonic time is for waiting, within one process. Steady time is for how long ago
something was: wall time as it was when the first process of this machine looked, moved on by the machine's uptime. It
never jumps, and all processes of a machine agree on it, also those that are started later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UPTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # The former counts while the machine is suspended.


class Clock(Protocol):
    """What hosts and timers go by."""

    def now_ms(self) -> int:
        """Wall time: milliseconds since 1970-01-01 UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never jumps."""
        ...

    def steady_ms(self) -> int:
        """Milliseconds since about 1970-01-01 UTC, the same for all processes of a machine. Never jumps."""
        ...


class SystemClock:
    """The machine's clocks."""

    def __init__(self, agree: Callable[[str, str], str] | None = None) -> None:
        """`agree` is given a name and a value, and returns the value that was given first under this name."""
        begin = self.now_ms() - _uptime_ms()
        self._begin = begin if agree is None else int(agree(f"begin of {_boot()}", str(begin)))

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def steady_ms(self) -> int:
        return self._begin + _uptime_ms()

    def sleep(self, seconds: float) -> None:
        """Block this thread; never call it on an event loop."""
        time.sleep(seconds)


def _uptime_ms() -> int:
    return time.clock_gettime_ns(_UPTIME) // 1_000_000


def _boot() -> str:
    """Which run of which machine this is: uptimes of two of them have nothing to do with each other."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "an unknown machine"


def iso(at_ms: int) -> str:
    """`at_ms` as ISO 8601 in UTC with milliseconds and `Z`."""
    # Not strftime, for which the year 1 has one digit.
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat()[:19] + f".{at_ms % 1000:03d}Z"
