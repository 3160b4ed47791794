"""What is due and when: the part of it that is near. Pure: time and chance are arguments.

Storage holds all deadlines; this holds those of the next second. Whatever is forgotten here, or never told, is found
when storage is looked at again. So a deadline may come up twice; none is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

RETRY_MS = 100
RETRY_MAX_MS = 30_000

Key = TypeVar("Key")


def pause(attempt: int, chance: float) -> int:
    """How many milliseconds to wait before attempt number `attempt` (from 2) when the one before has failed.

    `chance`, from 0 to 1, spreads them: what failed together, because a host was lost, should not come back together.
    """
    longest = min(RETRY_MAX_MS, RETRY_MS << min(attempt - 1, 16))
    return round(longest * (0.5 + chance / 2))


class Agenda(Generic[Key]):
    """A heap of deadlines, each with a key. What was taken stays known until it is done or has failed."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Key]] = []
        self._known: dict[Key, int] = {}  # How often it was tried; 0: not yet.
        self._count = 0  # Keeps keys out of comparisons.

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    @property
    def next_at(self) -> int | None:
        """When the next one is due."""
        return self._heap[0][0] if self._heap else None

    def put(self, key: Key, when: int) -> None:
        """Expect `key` at `when`, unless it is expected already or being done."""
        if key not in self._known:
            self._known[key] = 0
            self._push(key, when)

    def take(self, now: int) -> list[tuple[Key, int]]:
        """Everything that is due, and since when; the longest overdue first."""
        taken = []
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heappop(self._heap)
            self._known[key] += 1
            taken.append((key, when))
        return taken

    def attempt(self, key: Key) -> int:
        """How often it was taken."""
        return self._known[key]

    def done(self, keys: Iterable[Key]) -> None:
        """These are settled."""
        for key in keys:
            del self._known[key]

    def failed(self, key: Key, now: int, chance: float) -> int:
        """Try again later. Returns when."""
        when = now + pause(self._known[key] + 1, chance)
        self._push(key, when)
        return when

    def again(self, key: Key, when: int) -> None:
        """Take it again, due as it was; this attempt does not count."""
        self._known[key] -= 1
        self._push(key, when)

    def hurry(self, now: int) -> None:
        """Try now what waits because it has failed: whoever did not answer may be somebody else by now."""
        self._heap = [
            (min(when, now) if self._known[key] else when, number, key) for when, number, key in self._heap
        ]
        heapify(self._heap)

    def _push(self, key: Key, when: int) -> None:
        self._count += 1
        heappush(self._heap, (when, self._count, key))
