"""The vocabulary of the storage room: small frozen records, no behaviour.

Times are integers: milliseconds since 1970-01-01 UTC. `epoch` is the ownership number of a counter, `seq` its
change number; both only grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class CounterRecord(NamedTuple):
    """One row of the counter table."""

    id: int
    name: str
    value: int
    seq: int  # Also the number of operations applied; the wire calls it operationCount.
    epoch: int
    created_at: int | None  # None: claimed by an owner, but nothing was ever applied. Nobody is shown such a row.
    updated_at: int | None
    created_by: str | None
    policy: str | None  # JSON text, as the counter's owner wrote it.
    placed: int = 0  # Version of the placement table by which it was claimed last.
    idle_since: int | None = None  # Steady time of the last operation; None: from before that was written down.
    due_at: int | None = None  # Steady time before which it is not idle for too long; None: it never is.
    tick_at: int | None = None  # Wall time at which it resets by schedule.


class OperationRecord(NamedTuple):
    """One row of a counter's history."""

    counter_id: int
    seq: int
    type: str
    amount: int
    value: int
    previous_value: int
    at: int
    operation_id: str
    actor: str | None  # Who asked for it; None when nobody said.
    reason: str | None
    source: str | None = None  # The door it came in by, and the address behind that: "http 192.0.2.7", "ray".


class CounterWrite(NamedTuple):
    """The new state of one counter; refused when `epoch` is no longer the current one."""

    id: int
    epoch: int
    value: int
    seq: int
    updated_at: int
    idle_since: int | None = None


class DeadlineWrite(NamedTuple):
    """The same, with new deadlines. Apart, because their indexes make it dearer, and they change once in a period."""

    id: int
    epoch: int
    value: int
    seq: int
    updated_at: int | None  # None: as it was; nothing has changed but deadlines.
    idle_since: int
    due_at: int | None
    tick_at: int | None


class Postponement(NamedTuple):
    """Deadlines of a counter that nobody had to be woken for, if they and the policy are still what they were."""

    id: int
    due_at: int | None
    tick_at: int | None
    policy: str | None
    new_due_at: int | None
    new_tick_at: int | None


class AlarmRecord(NamedTuple):
    """One row of the alarm table: an operation to be applied later, once or again and again."""

    counter_id: int
    id: str
    key: str  # Different for every alarm there ever was.
    type: str
    amount: int
    at: int | None  # Wall time of the only run.
    every: int | None  # Milliseconds between two runs.
    due_at: int | None  # Steady time of the next run.
    run: int = 1  # Number of the next run.
    attempt: int = 0  # Failed attempts at it.
    error: str | None = None  # Why the last attempt failed.


class AlarmRunRecord(NamedTuple):
    """What became of one run of an alarm."""

    key: str
    run: int
    counter_id: int
    id: str
    at: int  # Wall time.
    attempts: int
    error: str | None  # None: the operation was applied.


class AlarmStep(NamedTuple):
    """A run of an alarm, or a failed attempt at one; void when the alarm is not what it was any more."""

    before: AlarmRecord
    after: AlarmRecord | None  # None: it was the last run.
    run: AlarmRunRecord | None  # None: it has failed and will be tried again.


class PolicyWrite(NamedTuple):
    """A new policy; `created_by` is kept only if the counter has none yet."""

    id: int
    policy: str | None
    created_by: str | None


class MemberRecord(NamedTuple):
    """One row of the member table: somebody who likes a counter."""

    counter_id: int
    member: str
    since: int  # Wall time.


class Commit(NamedTuple):
    """Everything that one transaction makes durable, for any number of counters.

    Each counter that appears in anything else also appears in `counters` or in `deadlines`: the epoch check of that
    write is what protects the others.
    """

    counters: Sequence[CounterWrite]
    operations: Sequence[OperationRecord] = ()
    policies: Sequence[PolicyWrite] = ()
    deletions: Sequence[int] = ()
    deadlines: Sequence[DeadlineWrite] = ()
    alarms: Sequence[AlarmRecord] = ()  # To be set, in place of those with the same id, and after all cancellations.
    cancellations: Sequence[tuple[int, str]] = ()  # Counter id and id of alarms.
    steps: Sequence[AlarmStep] = ()
    joined: Sequence[MemberRecord] = ()  # Nobody of these was a member, and
    left: Sequence[tuple[int, str]] = ()  # each of these was: counter id and member. Else the commit fails.
    cleared: Sequence[int] = ()  # Counters that all members leave; none of them is in `joined` or `left`.
