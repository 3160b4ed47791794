"""Operations that are applied later: once at a time, or again and again.

An alarm may be tried several times; each of its runs is applied once, because its owner makes it and the fact that it
was made durable together.
"""

from __future__ import annotations

from typing import NamedTuple

ALARMS_MAX = 100  # Of one counter.
EVERY_MIN_MS = 1_000
EVERY_MAX_MS = 366 * 24 * 3_600_000
AT_MAX = 253_402_300_799_999  # The end of the year 9999, the last that ISO 8601 has four digits for.


class When(NamedTuple):
    """One of the two: a wall time, or milliseconds between runs."""

    at: int | None
    every: int | None


def complaint(when: When, wall: int) -> tuple[str, str] | None:
    """The field that is impossible and why, or None."""
    if (when.at is None) == (when.every is None):
        return "at", "either at or every"
    if when.at is not None and not wall < when.at <= AT_MAX:
        return "at", "lies in the past" if when.at <= wall else "lies too far in the future"
    if when.every is not None and not EVERY_MIN_MS <= when.every <= EVERY_MAX_MS:
        return "every", "must lie between 1 and 31622400 seconds"
    return None


def following(due_at: int, every: int, now: int) -> int:
    """When the next run is due after the one that was due at `due_at`. Those that were missed are not made up for."""
    return due_at + every * max(1, (now - due_at) // every + 1)


def operation_id(key: str, run: int) -> str:
    """The id of the operation that a run applies."""
    return f"alarm:{key}:{run}"
