"""When a counter resets itself. Time is an argument, and there are two of it.

*Steady* time never jumps: how long a counter has been left alone is measured by it. *Wall* time is what the clock on
the wall shows, and jumps when somebody sets it: schedules go by it.

A counter is *armed* while it may reset itself: it has a period or a schedule, and its value is not the one it would be
reset to. Its deadlines are written down when it becomes armed, and not with each operation. So:

    `due_at` may be earlier than the moment at which the counter will have been idle for its period; never later.
    `tick_at` is the time on the schedule for which it has not been reset yet; later ones are not looked at before it.

Whoever finds that a deadline has come asks the owner, who knows the last operation: `verdict`, then `deadlines`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from actors.core import schedule
from actors.core.policy import Policy

Reason = Literal["inactivity", "schedule"]

MISSED_MS = 60_000  # A schedule that is served later than that was missed; nobody is that slow who is there.


class Deadlines(NamedTuple):
    """When to ask whether a counter resets, for inactivity (steady time) and by schedule (wall time)."""

    due_at: int | None = None
    tick_at: int | None = None


NEVER = Deadlines()


class Moment(NamedTuple):
    """Now, on both clocks."""

    steady: int
    wall: int


def target(policy: Policy) -> int:
    """The value that it resets itself to."""
    return policy.initial if policy.reset_to is None else policy.reset_to


def armed(policy: Policy, value: int) -> bool:
    """Whether a counter of this value may reset itself, some day."""
    return (policy.reset_after is not None or policy.reset_schedule is not None) and value != target(policy)


def verdict(policy: Policy, value: int, idle_since: int, tick_at: int | None, now: Moment) -> Reason | None:
    """Why the counter is to be reset now; None: it is not."""
    if not armed(policy, value):
        return None
    if policy.reset_after is not None and now.steady >= idle_since + policy.reset_after * 1000:
        return "inactivity"
    if policy.reset_schedule is not None and tick_at is not None and now.wall >= tick_at:
        return None if policy.missed == "skip" and now.wall - tick_at > MISSED_MS else "schedule"
    return None


def deadlines(policy: Policy, value: int, idle_since: int, tick_at: int | None, now: Moment) -> Deadlines:
    """The deadlines of the counter. `tick_at` is the one that it waits for, None if that has been served."""
    if not armed(policy, value):
        return NEVER
    due_at = None if policy.reset_after is None else idle_since + policy.reset_after * 1000
    if policy.reset_schedule is None:
        return Deadlines(due_at)
    if tick_at is None:
        tick_at = schedule.next_tick(policy.reset_schedule, now.wall)
    return Deadlines(due_at, tick_at)


def resets_at(policy: Policy, value: int, idle_since: int, tick_at: int | None, now: Moment) -> int | None:
    """The wall time of the next reset, if nothing happens before; None: there will be none."""
    due_at, tick_at = deadlines(policy, value, idle_since, tick_at, now)
    times = [] if tick_at is None else [tick_at]
    if due_at is not None:
        times.append(now.wall + due_at - now.steady)
    return min(times, default=None)
