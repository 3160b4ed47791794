"""What the service says, as types. Field names are those of docs/wire.md in Python's spelling; times are in UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """Base of what comes in. A field that is not known here is left out, so an older client reads a newer service."""


class Position(NamedTuple):
    """A place in the stream of a counter: its life (`metadata.id`), and how many operations it has seen in it."""

    life: int
    seq: int


class Metadata(Record, frozen=True):
    """A counter. One that was never written has id 0 and no times."""

    id: int
    name: str
    value: int
    created_at: datetime | None
    updated_at: datetime | None
    operation_count: int


class HistoryItem(Record, frozen=True):
    """One operation that was applied; `operation` reads `increment(1)`, `id` is the operation count after it."""

    id: int
    operation: str
    previous_value: int
    new_value: int
    timestamp: datetime


class FullHistoryItem(HistoryItem, frozen=True):
    """With everything that is known of it: `subject` asked for it, `source` is where that came from."""

    operation_id: str
    subject: str | None
    source: str | None
    reason: str | None


class ValueAt(Record, frozen=True):
    """The value that a counter had at a time, and its operation count then."""

    name: str
    at: datetime
    value: int
    operation_count: int


class Enriched(Record, frozen=True):
    """A counter after an operation, with its newest five operations."""

    name: str
    value: int
    previous_value: int
    metadata: Metadata
    latest_history: list[HistoryItem]
    timestamp: datetime


EventType = Literal["increment", "decrement", "setValue", "reset", "snapshot"]
OperationType = Literal["increment", "decrement", "setValue", "reset"]


class Event(Record, frozen=True):
    """What happened to a counter, or (`snapshot`) how it stands.

    `operations` is more than 1 for an event that stands for several: `previous_value` is that before the first.
    `reason` of a reset is `manual`, `inactivity`, `schedule` or `deleted`; a setValue by `sync` has the reason `sync`,
    a like that of its procedure, `like.toggle`, and `member` is whose it is.
    """

    type: EventType
    value: int
    metadata: Metadata
    timestamp: datetime
    previous_value: int | None = None
    reason: str | None = None
    operations: int = 1
    member: str | None = None

    @property
    def name(self) -> str:
        """The counter."""
        return self.metadata.name

    @property
    def position(self) -> Position:
        """Where the stream stands after this event; `watch(…, since=…)` goes on from there."""
        return Position(self.metadata.id, self.metadata.operation_count)


class PolicyChanges(TypedDict, total=False):
    """The parts of a policy that are to be set."""

    minimum: int
    maximum: int | None
    on_limit: Literal["clamp", "reject"]
    initial: int
    reset_after: int | str | None
    reset_schedule: str | None
    reset_to: int | None
    history_limit: int | None
    history_max_age: int | str | None
    missed: Literal["once", "skip"]
    likes: bool


class Policy(msgspec.Struct, frozen=True):
    """The bounds of a counter, when it is reset, and how much of its history is kept. Times are in seconds."""

    minimum: int
    maximum: int | None
    on_limit: Literal["clamp", "reject"]
    initial: int
    reset_after: int | None = None
    reset_schedule: str | None = None
    reset_to: int | None = None
    history_limit: int | None = None
    history_max_age: int | None = None
    missed: Literal["once", "skip"] = "once"
    likes: bool = False


class Described(Metadata, frozen=True, kw_only=True):
    """What is known about a counter; `resets_at` is when it is reset next, if it ever is."""

    policy: Policy
    resets_at: datetime | None = None


class Listed(Record, frozen=True):
    """A counter in a list."""

    name: str
    value: int
    created_at: datetime
    updated_at: datetime
    created_by: str | None = None
    likes: bool = False  # It counts its members: only likes and resets change it.


class Page(Record, frozen=True):
    """Some counters by name. `cursor` leads to the next page; without one this was the last."""

    counters: list[Listed]
    count: int
    cursor: str | None = None


class SessionInfo(Record, frozen=True):
    """Somebody who listens to a counter."""

    id: str
    subscribed_at: datetime
    events: list[OperationType] | None
    attachment: Any


class Sessions(Record, frozen=True):
    """Who listens to a counter: how many, and the first of them."""

    name: str
    count: int
    sessions: list[SessionInfo]


class Synced(Record, frozen=True):
    """What a sync found and set."""

    old_count: int
    new_count: int
    difference: int


class Liked(Record, frozen=True):
    """How likes of something stand after one of them, or after the taking back of one."""

    success: bool
    name: str
    new_count: int
    is_liked: bool
    metadata: Metadata


class Member(Record, frozen=True):
    """Somebody who likes something."""

    member: str
    since: datetime


class MemberPage(Record, frozen=True):
    """Some who like something, by name. `cursor` leads to the next page; without one this was the last."""

    name: str
    members: list[Member]
    cursor: str | None = None


class Drift(Record, frozen=True):
    """How far a counter is from its source: `difference` is what a sync would add."""

    name: str
    value: int
    actual: int
    difference: int


class Total(Record, frozen=True):
    """A value, and when it changed last."""

    value: int
    last_increment_at: datetime | None


class CounterSource(Record, frozen=True):
    """A counter that is counted elsewhere: when it is synced, when it was, and what was found or what was wrong."""

    name: str
    schedule: str | None
    synced_at: datetime | None
    difference: int | None
    error: str | None


Later = dict[str, Any]  # What an alarm does: {"type": "increment", "amount": 1}, as over a WebSocket.


class AlarmSet(Record, frozen=True):
    """An alarm that is set, and when it runs first."""

    id: str
    next: datetime


class Alarm(Record, frozen=True):
    """Something that will be done later. `attempt` counts failed attempts at the next run, `error` says what failed."""

    id: str
    operation: Later
    next: datetime
    every: int | None
    run: int
    attempt: int
    error: str | None


class AlarmRun(Record, frozen=True):
    """What became of a run: applied or, with an error, refused."""

    id: str
    run: int
    at: datetime
    attempts: int
    error: str | None


class Alarms(Record, frozen=True):
    """The alarms of a counter, and their newest runs."""

    name: str
    alarms: list[Alarm]
    runs: list[AlarmRun]


class DueItem(Record, frozen=True):
    """A counter that will be reset (`inactivity`, `schedule`), or an alarm that will run."""

    name: str
    reason: Literal["inactivity", "schedule", "alarm"]
    at: datetime
    id: str | None = None


class AwakeCounter(Record, frozen=True):
    """A counter that is in the memory of a host."""

    name: str
    host: str
    dedicated: bool
    epoch: int
    awake_since: datetime
    ops_per_s: float
    sessions: int
