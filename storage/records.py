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


class CounterWrite(NamedTuple):
    """The new state of one counter; refused when `epoch` is no longer the current one."""

    id: int
    epoch: int
    value: int
    seq: int
    updated_at: int


class PolicyWrite(NamedTuple):
    """A new policy; `created_by` is kept only if the counter has none yet."""

    id: int
    policy: str | None
    created_by: str | None


class Commit(NamedTuple):
    """Everything that one transaction makes durable, for any number of counters.

    Each counter that appears in `operations`, `policies` or `deletions` also appears in `counters`: the epoch check
    of that write is what protects the others.
    """

    counters: Sequence[CounterWrite]
    operations: Sequence[OperationRecord] = ()
    policies: Sequence[PolicyWrite] = ()
    deletions: Sequence[int] = ()
