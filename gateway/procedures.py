"""The procedures: what each takes, gives, may answer, and which operation or question it becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET

from actors.core import likes
from actors.messages import Operation, Query
from gateway import protocol as wire

Decoder = Callable[[bytes], Any]


class Command(NamedTuple):
    """Something that no host does: it is for the service as a whole, or for the timer."""

    kind: Literal["ps", "scale", "restart_hosts", "sync", "drift", "sources"]
    hosts: int = 0
    name: str = ""
    id: str = ""
    source: str | None = None  # Where it came from, for the history.


class Procedure(NamedTuple):
    """One procedure of the wire."""

    name: str  # `counter.increment`
    summary: str
    input: type
    output: Any
    build: Callable[[Any, str], Operation | Query | Command]  # From the input and an operation id.
    decode: Decoder
    errors: tuple[str, ...]
    changes: bool  # The others are questions, and may be asked by GET, too.
    local: bool  # Only for programs on the gateway's own machine.


def _operation(type: str, i: Any, id: str, amount: int = 0, **more: Any) -> Operation:
    return Operation(0, i.name, type, amount, id, **more)


def _procedure(
    name: str,
    input: type,
    output: Any,
    summary: str,
    build: Callable[[Any, str], Operation | Query | Command],
    errors: tuple[str, ...] = (),
    room: str = "counter",
) -> Procedure:
    changes = not name.startswith(("get", "is", "list", "members", "drift", "ps"))
    decode: Decoder = msgspec.json.Decoder(input).decode
    return Procedure(f"{room}.{name}", summary, input, output, build, decode, errors, changes, room == "admin")


_LIMITS = ("OUT_OF_RANGE", "LIMIT_REACHED")
_MISSING = ("COUNTER_NOT_FOUND",)
_KEPT = (*_MISSING, "HISTORY_NOT_KEPT")


def _like(type: str) -> Callable[[Any, str], Operation]:
    return lambda i, id: _operation(type, i, id, member=i.member)


_ALL = (
    _procedure(
        "create", wire.Create, wire.Success, "Make a counter; one that exists is left as it is",
        lambda i, id: _operation("create", i, id, policy=wire.policy_changes(i.policy)),
    ),
    _procedure(
        "increment", wire.ChangeBy, wire.Enriched, "Add to a counter",
        lambda i, id: Operation(0, i.name, "increment", i.amount, id), _LIMITS,
    ),
    _procedure(
        "decrement", wire.ChangeBy, wire.Enriched, "Take from a counter",
        lambda i, id: Operation(0, i.name, "decrement", i.amount, id), _LIMITS,
    ),
    _procedure(
        "setValue", wire.SetValue, wire.Enriched, "Set a counter",
        lambda i, id: _operation("setValue", i, id, i.value), _LIMITS,
    ),
    _procedure(
        "reset", wire.Named, wire.Enriched, "Set a counter to its initial value",
        lambda i, id: _operation("reset", i, id, reason="manual"), _LIMITS,
    ),
    _procedure(
        "getValue", wire.Named, wire.NameValue, "The value; 0 for a counter never written",
        lambda i, id: Query(0, "value", [i.name]),
    ),
    _procedure(
        "getValues", wire.GetValues, wire.Values, "Many values at once",
        lambda i, id: Query(0, "values", i.names),
    ),
    _procedure(
        "getMetadata", wire.Named, wire.Described, "What is known about a counter",
        lambda i, id: Query(0, "metadata", [i.name]), _MISSING,
    ),
    _procedure(
        "getHistory", wire.GetHistory, list[wire.FullHistoryItem], "The newest operations, newest first",
        lambda i, id: Query(0, "history", [i.name], i.limit, i.before), _MISSING,
    ),
    _procedure(
        "getValueAt", wire.GetValueAt, wire.ValueAt, "The value at a time in the past",
        lambda i, id: Query(0, "valueAt", [i.name], before=wire.moment(i.at)), _KEPT,
    ),
    _procedure(
        "getSessions", wire.GetSessions, wire.Attendance, "Who is connected to a counter",
        lambda i, id: Query(0, "sessions", [i.name], i.limit),
    ),
    _procedure(
        "listAll", wire.ListAll, wire.Page, "Counters by name",
        lambda i, id: Query(0, "page", [i.prefix], i.limit, text=i.cursor or ""),
    ),
    _procedure(
        "configure", wire.Configure, wire.Configured, "Change the policy of a counter",
        lambda i, id: _operation("configure", i, id, policy=wire.policy_changes(i.policy)),
    ),
    _procedure(
        "setAlarm", wire.SetAlarm, wire.AlarmSet, "Have an operation applied later, once or again and again",
        lambda i, id: _operation("setAlarm", i, id, alarm=wire.alarm(i)), ("LIMIT_REACHED",),
    ),
    _procedure(
        "cancelAlarm", wire.CancelAlarm, wire.AlarmCancelled, "Take an alarm back",
        lambda i, id: _operation("cancelAlarm", i, id, alarm={"id": i.id}),
    ),
    _procedure(
        "listAlarms", wire.Named, wire.Alarms, "The alarms of a counter, and what became of them",
        lambda i, id: Query(0, "alarms", [i.name]),
    ),
    _procedure(
        "listDue", wire.ListDue, wire.Due, "The next resets and alarms of all counters",
        lambda i, id: Query(0, "due", [], i.limit),
    ),
    _procedure(
        "sync", wire.Sync, wire.Synced, "Set a counter to what was counted elsewhere: by its source, or by you",
        lambda i, id: (
            Command("sync", name=i.name, id=id) if i.actual is UNSET else _operation("sync", i, id, i.actual)
        ), (*_LIMITS, "SOURCE_FAILED"),
    ),
    _procedure(
        "drift", wire.Named, wire.Drift, "How far a counter is from its source",
        lambda i, id: Command("drift", name=i.name), ("SOURCE_FAILED",),
    ),
    _procedure(
        "undo", wire.Undo, wire.Enriched, "Take an operation of the history back, by one that does the opposite",
        # Its id says which one: whoever undoes it again is answered with the first time.
        lambda i, id: _operation("undo", i, f"undo:{i.seq}", i.seq, repeated=True), (*_LIMITS, *_KEPT),
    ),
    _procedure(
        "delete", wire.Named, wire.Success, "Remove a counter and its history",
        lambda i, id: _operation("delete", i, id), _MISSING,
    ),
    _procedure(
        "toggle", wire.Like, wire.Liked, "Like, or take it back", _like(likes.TOGGLE), ("LIMIT_REACHED",), "like",
    ),
    _procedure(
        "add", wire.Like, wire.Liked, "Like, unless it is liked already", _like(likes.ADD), ("LIMIT_REACHED",), "like",
    ),
    _procedure(
        "remove", wire.Like, wire.Liked, "Take a like back, if there is one", _like(likes.REMOVE), room="like",
    ),
    _procedure(
        "isLiked", wire.Like, wire.IsLiked, "Whether a member likes something",
        lambda i, id: Query(0, "status", [i.name], text=i.member), room="like",
    ),
    _procedure(
        "getCount", wire.Named, wire.NameCount, "How many like something",
        lambda i, id: Query(0, "count", [i.name]), room="like",
    ),
    _procedure(
        "getCounts", wire.GetCounts, wire.Counts, "How many like each of these",
        lambda i, id: Query(0, "counts", i.names), room="like",
    ),
    _procedure(
        "getStatuses", wire.GetStatuses, wire.Statuses, "Which of these a member likes",
        lambda i, id: Query(0, "statuses", i.names, text=i.member), room="like",
    ),
    _procedure(
        "members", wire.ListMembers, wire.Members, "Who likes something, by name",
        lambda i, id: Query(0, "members", [i.name], i.limit, text=i.cursor or ""), room="like",
    ),
    _procedure(
        "get", wire.GetValues, wire.Stats, "Many totals at once, with their last change",
        lambda i, id: Query(0, "stats", i.names), room="stats",
    ),
    _procedure(
        "listSources", wire.Nothing, wire.Sources, "The counters that have a source, and what was found there last",
        lambda i, id: Command("sources"), room="stats",
    ),
    _procedure(
        "ps", wire.Nothing, wire.Awake, "The counters that are awake, and in which hosts",
        lambda i, id: Command("ps"), room="admin",
    ),
    _procedure(
        "scale", wire.Scale, wire.Scaled, "Run so many shared hosts",
        lambda i, id: Command("scale", i.hosts), room="admin",
    ),
    _procedure(
        "restartHosts", wire.Nothing, wire.Done, "Replace all hosts, one by one",
        lambda i, id: Command("restart_hosts"), room="admin",
    ),
)  # fmt: skip

PROCEDURES = {procedure.name: procedure for procedure in _ALL}
