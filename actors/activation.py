"""One counter, resident in one host: the core, its place in storage, and the bytes that are shown of it.

The order is always the same: `counter.apply` for each operation of a round, `write` for the commit, `encode` for what
will be said of it, and after the commit `settle`. Only `settle` moves what readers are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from actors import encoding
from actors.clock import iso
from actors.core.counter import Change
from actors.core.deadline import NEVER, Deadlines, Moment, armed, deadlines, resets_at
from actors.core.lifecycle import Event, State, after
from actors.core.likes import counter_of
from actors.core.policy import Policies, Policy
from storage.records import CounterRecord, CounterWrite, DeadlineWrite, OperationRecord

RATE_S = 1.0  # Operations per second are counted over at least so long.

NO_POLICIES = Policies()

_decode_policy = msgspec.json.Decoder(dict[str, Any]).decode


class Shown(NamedTuple):
    """The last committed state, as anybody may see it."""

    value: int
    seq: int
    metadata: bytes
    at: bytes


class Activation:
    """A counter from load to hibernation. Belongs to its host; nobody else touches it."""

    __slots__ = (
        "_items", "_mark_at", "_mark_seq", "_rate", "awake_since", "counter", "created_at", "deadlines", "epoch", "id",
        "idle_since", "name", "own", "shown", "state", "touched_at",
    )  # fmt: skip

    def __init__(
        self,
        row: CounterRecord,
        latest: Sequence[OperationRecord],
        at: int = 0,
        now: float = 0.0,
        policies: Policies = NO_POLICIES,
    ) -> None:
        """Loaded at wall time `at` (milliseconds), which is `now` on the host's monotonic clock."""
        self.own = row.policy  # What the counter says itself, as it is stored.
        policy = policy_of(row, policies)
        born = row.created_at is None
        self.id = row.id
        self.name = row.name
        self.epoch = row.epoch
        self.created_at = b"" if row.created_at is None else iso(row.created_at).encode()
        self.counter = counter_of(policy.initial if born else row.value, row.seq, policy)
        self.state = after(State.LOADING, Event.LOADED)
        self.awake_since = at
        self.touched_at = now  # The host's monotonic time of the last operation, or of being loaded.
        self.idle_since = idle_since(row)  # Steady time of the last operation.
        self.deadlines = Deadlines(row.due_at, row.tick_at) if row.due_at or row.tick_at else NEVER  # As stored.
        self._mark_at, self._mark_seq, self._rate = now, row.seq, 0.0
        # A tuple: an empty deque would cost 600 bytes, a third of what a resident counter weighs.
        self._items = tuple(item(row) for row in reversed(latest))
        self.shown = None if born else show(row, self.created_at)

    def on(self, event: Event) -> None:
        """Go on to the state that follows `event`."""
        self.state = after(self.state, event)

    def touch(self, now: float) -> float:
        """Operations were applied at `now` (monotonic). Returns how many there are a second."""
        self.touched_at = now
        if now - self._mark_at >= RATE_S:
            self._rate = self.ops_per_s(now)
            self._mark_at, self._mark_seq = now, self.counter.seq
        return self._rate

    def ops_per_s(self, now: float) -> float:
        """Operations a second, lately."""
        passed = now - self._mark_at
        return self._rate if passed < RATE_S else (self.counter.seq - self._mark_seq) / passed

    def write(self, at: int) -> CounterWrite:
        """The state to be made durable, last changed at `at`."""
        return CounterWrite(self.id, self.epoch, self.counter.value, self.counter.seq, at, self.idle_since)

    @property
    def rearmed(self) -> bool:
        """Whether it is armed and storage does not know, or the other way round."""
        policy, stored = self.counter.policy, self.deadlines
        if not armed(policy, self.counter.value):
            return stored is not NEVER
        needed = policy.reset_after is not None, policy.reset_schedule is not None
        return needed != (stored.due_at is not None, stored.tick_at is not None)

    def write_deadlines(self, at: int | None, now: Moment) -> DeadlineWrite:
        """The state with the deadlines that follow from it. `at` is None when nothing else has changed."""
        counter = self.counter
        self.deadlines = deadlines(counter.policy, counter.value, self.idle_since, self.deadlines.tick_at, now)
        return DeadlineWrite(self.id, self.epoch, counter.value, counter.seq, at, self.idle_since, *self.deadlines)

    @property
    def due_at(self) -> int | None:
        """The steady time at which it has been idle for its period."""
        policy = self.counter.policy
        if policy.reset_after is None or not armed(policy, self.counter.value):
            return None
        return self.idle_since + policy.reset_after * 1000

    def resets_at(self, now: Moment) -> int | None:
        """The wall time at which it resets itself, if nothing happens before."""
        counter = self.counter
        return resets_at(counter.policy, counter.value, self.idle_since, self.deadlines.tick_at, now)

    def encode(self, change: Change, at: bytes) -> tuple[bytes, bytes]:
        """The metadata and the result of a change; call it once for each, in order. `at` is the change's time."""
        if not self.created_at:
            self.created_at = at
        name = self.name.encode()
        newest = encoding.item(change.seq, change.type, change.amount, change.previous_value, change.value, at)
        items = self._items = (newest, *self._items[: encoding.HISTORY_SHOWN - 1])
        metadata = encoding.metadata(self.id, name, change.value, self.created_at, at, change.seq)
        return metadata, encoding.result(name, change.value, change.previous_value, metadata, items, at)

    def settle(self, metadata: bytes | None, at: bytes) -> None:
        """The round is durable: readers may see it, and storage remembers its operation ids from now on.

        `metadata` is that of the last change; None when only the policy changed.
        """
        counter = self.counter
        counter.forget()
        if metadata is None:
            metadata = encoding.metadata(
                self.id, self.name.encode(), counter.value, self.created_at, at, counter.seq
            )
        self.shown = Shown(counter.value, counter.seq, metadata, at)


def policy_of(row: CounterRecord, policies: Policies) -> Policy:
    """The policy that counts for a counter."""
    return policies.of(row.name, None if row.policy is None else read_policy(row.policy))


def read_policy(text: str) -> dict[str, Any]:
    """What a counter says of its policy itself, as it was stored."""
    own: dict[str, Any] = _decode_policy(text)
    return own


def idle_since(row: CounterRecord) -> int:
    """The steady time of the last operation; wall time for one from before that was written down."""
    return row.updated_at or 0 if row.idle_since is None else row.idle_since


def show(row: CounterRecord, created_at: bytes) -> Shown:
    """What may be seen of a counter straight from storage."""
    at = iso(row.updated_at or 0).encode()
    metadata = encoding.metadata(row.id, row.name.encode(), row.value, created_at, at, row.seq)
    return Shown(row.value, row.seq, metadata, at)


def item(row: OperationRecord) -> bytes:
    """A row of history as JSON."""
    return encoding.item(row.seq, row.type, row.amount, row.previous_value, row.value, iso(row.at).encode())
