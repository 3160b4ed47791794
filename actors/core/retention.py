"""What is kept of a counter's history, and for how long an operation id is remembered.

History is for reading; the ids in it are what makes a repeated operation count once. So there are two ends. What a
policy lets go of is not shown any more, at once. It is deleted only when its id may be forgotten, too.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.core.policy import Policy

CHOSEN_MS = 24 * 3600 * 1000  # What is promised for ids that clients chose.
OWN_MS = 10 * 60 * 1000  # A gateway repeats its own for ten seconds, a caller over Ray for fifteen.
CHOSEN = ("key:", "ws:", "undo:", "alarm:")  # How ids begin that somebody may send again much later.


class Kept(NamedTuple):
    """Which operations a policy keeps: those with this seq or a later one, and not from before this time."""

    first: int
    since: int

    def holds(self, seq: int, at: int) -> bool:
        return seq >= self.first and at >= self.since


def kept(policy: Policy, newest: int, now: int) -> Kept:
    """What is kept of a counter whose newest operation has seq `newest`, at wall time `now`."""
    first = 1 if policy.history_limit is None else newest - policy.history_limit + 1
    since = 0 if policy.history_max_age is None else now - policy.history_max_age * 1000
    return Kept(max(first, 1), since)


def forgettable(operation_id: str, at: int, now: int) -> bool:
    """Whether the id of an operation from time `at` needs to be remembered no longer."""
    return now - at > (CHOSEN_MS if operation_id.startswith(CHOSEN) else OWN_MS)
