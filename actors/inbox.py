"""What waits for the next round of a host: the operations of clients, and those of the timer.

Clients wait for an answer, and the timer does not. When thousands of counters are due in the same second, their
operations go in small portions with a rest after each, so that a client waits for one portion at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from actors.messages import Operation

TIMED = frozenset({"expire", "alarm"})  # Operations that nobody waits for.
ROUND_MAX = 1_000  # Operations in one transaction: past it a commit takes longer than the callers should wait.
TIMED_MAX = 20  # Of those that nobody waits for: two milliseconds,
TIMED_REST = 1.0  # and then as long again for the others,
TIMED_REST_MAX_S = 0.02  # but no longer than this: a disk that was slow for once must not make the next ones late.


class Answerer(Protocol):
    """Where a call came from: a link, or the Ray door."""

    def answer(self, tag: int, status: int, body: bytes) -> None:
        """Take the answer to the call that has this tag."""
        ...


Call = tuple[Answerer, Operation]


class Inbox:
    """Two lines, each in order."""

    def __init__(self) -> None:
        self._clients: deque[Call] = deque()
        self._timed: deque[Call] = deque()
        self.rests = False  # For the moment nothing of the timer's is taken.

    def __len__(self) -> int:
        return len(self._clients) + len(self._timed)

    @property
    def ready(self) -> bool:
        """Whether `take` would take something."""
        return bool(self._clients) or (bool(self._timed) and not self.rests)

    def add(self, call: Call) -> None:
        """Let it wait behind those that are there."""
        (self._timed if call[1].type in TIMED else self._clients).append(call)

    def again(self, calls: Sequence[Call]) -> None:
        """Let these wait before those that are there."""
        self._clients.extendleft(reversed(calls))

    def take(self) -> list[Call]:
        """What the next round is for: what clients have sent and, unless it rests, some of what the timer has.

        Clients come first: who has touched a counter before it is looked at has touched it in time.
        """
        clients, timed = self._clients, self._timed
        calls = [clients.popleft() for _ in range(min(len(clients), ROUND_MAX))]
        if timed and not self.rests:
            calls += [timed.popleft() for _ in range(min(len(timed), TIMED_MAX))]
            self.rests = True
        return calls

    def join(self, taken: int, ready: Callable[[Operation], bool]) -> list[Call]:
        """What clients have sent since `taken` were taken, up to the first that is not ready: their order is kept."""
        clients = self._clients
        calls: list[Call] = []
        while clients and taken + len(calls) < ROUND_MAX and ready(clients[0][1]):
            calls.append(clients.popleft())
        return calls

    def empty(self) -> list[Call]:
        """Take everything."""
        calls = [*self._clients, *self._timed]
        self._clients.clear()
        self._timed.clear()
        return calls
