"""One counter, resident in one host: the core, its place in storage, and the bytes that are shown of it.

The order is always the same: `counter.apply` for each operation of a round, `write` for the commit, `encode` for what
will be said of it, and after the commit `settle`. Only `settle` moves what readers are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from actors import encoding
from actors.clock import iso
from actors.core.counter import Change, Counter
from actors.core.lifecycle import Event, State, after
from actors.core.policy import DEFAULT, Policy
from storage.records import CounterRecord, CounterWrite, OperationRecord

RATE_S = 1.0  # Operations per second are counted over at least so long.

_decode_policy = msgspec.json.Decoder(Policy).decode


class Shown(NamedTuple):
    """The last committed state, as anybody may see it."""

    value: int
    seq: int
    metadata: bytes
    at: bytes


class Activation:
    """A counter from load to hibernation. Belongs to its host; nobody else touches it."""

    __slots__ = (
        "_items", "_mark_at", "_mark_seq", "_rate", "awake_since", "counter", "created_at", "epoch", "id", "name",
        "shown", "state", "touched_at",
    )  # fmt: skip

    def __init__(self, row: CounterRecord, latest: Sequence[OperationRecord], at: int = 0, now: float = 0.0) -> None:
        """Loaded at wall time `at` (milliseconds), which is `now` on the host's monotonic clock."""
        policy = read_policy(row.policy)
        born = row.created_at is None
        self.id = row.id
        self.name = row.name
        self.epoch = row.epoch
        self.created_at = b"" if row.created_at is None else iso(row.created_at).encode()
        self.counter = Counter(policy.initial if born else row.value, row.seq, policy)
        self.state = after(State.LOADING, Event.LOADED)
        self.awake_since = at
        self.touched_at = now  # The host's monotonic time of the last operation.
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
        return CounterWrite(self.id, self.epoch, self.counter.value, self.counter.seq, at)

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


def read_policy(text: str | None) -> Policy:
    """The policy as it was stored; None is the default."""
    return DEFAULT if text is None else _decode_policy(text)


def show(row: CounterRecord, created_at: bytes) -> Shown:
    """What may be seen of a counter straight from storage."""
    at = iso(row.updated_at or 0).encode()
    metadata = encoding.metadata(row.id, row.name.encode(), row.value, created_at, at, row.seq)
    return Shown(row.value, row.seq, metadata, at)


def item(row: OperationRecord) -> bytes:
    """A row of history as JSON."""
    return encoding.item(row.seq, row.type, row.amount, row.previous_value, row.value, iso(row.at).encode())
