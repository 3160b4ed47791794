"""The vocabulary of the actors room: what crosses a link, as small records.

A link carries frames: a length, then one of these as MessagePack. Operations, queries and interest go down, results
and events go up. Structs are arrays on the wire, led by their tag; a field may be added at the end, with a default.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Operation(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """One thing to do to one counter, exactly once per `id`."""

    tag: int  # Names the answer.
    name: str
    # increment, decrement, setValue, reset, sync, undo, create, configure, delete, expire, setAlarm, cancelAlarm
    # like.toggle, like.add, like.remove
    type: str
    amount: int  # For setValue and sync the new value.
    id: str  # The operation id. The same id is applied once, however often it arrives.
    repeated: bool = False  # It may have been applied before: look it up. False for an id that nobody has seen yet.
    actor: str | None = None
    reason: str | None = None
    policy: dict[str, int | bool | str | None] | None = None
    alarm: dict[str, int | str | None] | None = None  # id, type, amount, at or every; for setAlarm and cancelAlarm.
    source: str | None = None  # Where it came from, for the history: "http 192.0.2.7".
    member: str | None = None  # Whose like it is.
    since: tuple[int, int] | None = None  # For sync: counter id and seq before what was counted elsewhere.


class Status(IntEnum):
    """How an operation or a query ended."""

    OK = 0
    REFUSED = 1  # Nothing changed, and asking again will not help; the body says why.
    MOVED = 2  # Not here (any more). Nothing changed; ask the owner.
    UNAVAILABLE = 3  # Outcome unknown. Ask again with the same id.


class Hello(msgspec.Struct, tag=1, array_like=True):
    """First frame of a gateway. A wrong secret ends the link."""

    secret: str
    gateway: str
    number: int = 0  # Of its links, growing: of two that lead to one host, the one with the lower number was given up.


class Operate(msgspec.Struct, tag=2, array_like=True):
    """What one turn of the gateway's loop collected, and the version of the table that it was addressed by."""

    version: int
    operations: list[Operation]


class Query(msgspec.Struct, tag=3, array_like=True, omit_defaults=True):
    """A question that changes nothing and wakes nobody."""

    tag: int
    # value, values, metadata, history, valueAt, page, snapshot, missed, sessions, awake, alarms, due, figures, stats,
    # count, counts, status, statuses (text: the member), members
    kind: str
    names: list[str]
    limit: int = 0
    before: int | None = None
    text: str = ""


class Watch(msgspec.Struct, tag=4, array_like=True):
    """Send the events of these counters from now on, beginning with those after the given position."""

    positions: list[tuple[str, int, int]]  # Name, counter id and seq of the last event seen; id -1: none yet.
    claim: bool = False  # Their owner may have changed lately: see to it that an earlier one cannot commit any more.


class Unwatch(msgspec.Struct, tag=5, array_like=True):
    """No more events of these counters."""

    names: list[str]


class Attending(msgspec.Struct, tag=13, array_like=True):
    """A gateway's answer to Attend: for each counter how many sessions it has there and, if wanted, these as JSON."""

    tag: int
    sessions: list[tuple[str, int, list[bytes]]]


class Welcome(msgspec.Struct, tag=6, array_like=True):
    """The host's answer to Hello."""

    host: str


class Results(msgspec.Struct, tag=7, array_like=True):
    """Answers, each to the tag it names: JSON for the client, or the reason of a refusal."""

    results: list[tuple[int, int, bytes]]


class Burst(msgspec.Struct, tag=11, array_like=True, gc=False):
    """Consecutive events of one counter, each already JSON. The first has seq `seq`, and seq has no gaps."""

    name: str
    counter_id: int
    seq: int
    types: list[str]
    bodies: list[bytes]


class Events(msgspec.Struct, tag=8, array_like=True):
    """Events of any number of watched counters, in the order of each counter's seq."""

    bursts: list[Burst]


class Position(msgspec.Struct, tag=9, array_like=True):
    """Where a watched counter stands when there is nothing, or too much, to send after the position asked for.

    `snapshot` is the newest state as JSON when events are missing that the host no longer has.
    """

    name: str
    counter_id: int
    seq: int
    snapshot: bytes
    asked: int = -1  # The counter id that was asked for; what was read is newer than that.


class Heartbeat(msgspec.Struct, tag=10, array_like=True):
    """The host's loop is alive, and this is the version of the table it knows."""

    version: int


class Attend(msgspec.Struct, tag=12, array_like=True):
    """Say who is connected to these counters: how many or, when `whole`, each of them."""

    tag: int
    names: list[str]
    whole: bool


Down = Hello | Operate | Query | Watch | Unwatch | Attending
Up = Welcome | Results | Events | Position | Heartbeat | Attend
