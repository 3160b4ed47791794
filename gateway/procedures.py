"""The procedures: what each takes, gives, may answer, and which operation or question it becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from actors.messages import Operation, Query
from gateway import protocol as wire

Decoder = Callable[[bytes], Any]


class Procedure(NamedTuple):
    """One procedure of the wire."""

    name: str
    summary: str
    input: type
    output: Any
    build: Callable[[Any, str], Operation | Query]  # From the input and an operation id.
    decode: Decoder
    errors: tuple[str, ...]
    changes: bool  # Whether it becomes an operation; the others are questions.



_NONE: tuple[str, ...] = ()
_CHANGES = ("OUT_OF_RANGE", "LIMIT_REACHED")


def _change(type: str, i: Any, id: str, amount: int, **more: Any) -> Operation:
    return Operation(0, i.name, type, amount, id, **more)


def _procedures() -> list[Procedure]:
    rows: list[tuple[Any, ...]] = [
        ("create", "Make a counter; one that exists is left as it is", wire.Create, wire.Success,
         lambda i, id: _change("create", i, id, 0, policy=wire.policy_changes(i.policy)), _NONE),
        ("increment", "Add to a counter", wire.ChangeBy, wire.Enriched,
         lambda i, id: Operation(0, i.name, "increment", i.amount, id), _CHANGES),
        ("decrement", "Take from a counter", wire.ChangeBy, wire.Enriched,
         lambda i, id: Operation(0, i.name, "decrement", i.amount, id), _CHANGES),
        ("setValue", "Set a counter", wire.SetValue, wire.Enriched,
         lambda i, id: _change("setValue", i, id, i.value), _CHANGES),
        ("reset", "Set a counter to its initial value", wire.Named, wire.Enriched,
         lambda i, id: _change("reset", i, id, 0, reason="manual"), _CHANGES),
        ("getValue", "The value; 0 for a counter never written", wire.Named, wire.NameValue,
         lambda i, id: Query(0, "value", [i.name]), _NONE),
        ("getValues", "Many values at once", wire.GetValues, wire.Values,
         lambda i, id: Query(0, "values", i.names), _NONE),
        ("getMetadata", "What is known about a counter", wire.Named, wire.Metadata,
         lambda i, id: Query(0, "metadata", [i.name]), ("COUNTER_NOT_FOUND",)),
        ("getHistory", "The newest operations, newest first", wire.GetHistory, list[wire.HistoryItem],
         lambda i, id: Query(0, "history", [i.name], i.limit, i.before), ("COUNTER_NOT_FOUND",)),
        ("listAll", "Counters by name", wire.ListAll, wire.Page,
         lambda i, id: Query(0, "page", [i.prefix], i.limit, text=i.cursor or ""), _NONE),
        ("configure", "Change the policy of a counter", wire.Configure, wire.Configured,
         lambda i, id: _change("configure", i, id, 0, policy=wire.policy_changes(i.policy)), _NONE),
        ("sync", "Set a counter to what was counted elsewhere", wire.Sync, wire.Synced,
         lambda i, id: _change("sync", i, id, i.actual), _CHANGES),
        ("delete", "Remove a counter and its history", wire.Named, wire.Success,
         lambda i, id: _change("delete", i, id, 0), ("COUNTER_NOT_FOUND",)),
    ]  # fmt: skip
    return [
        Procedure(*row[:5], msgspec.json.Decoder(row[2]).decode, row[5], changes=not row[0].startswith(("get", "list")))
        for row in rows
    ]


PROCEDURES = {procedure.name: procedure for procedure in _procedures()}
