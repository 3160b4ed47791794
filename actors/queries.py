"""Questions that change nothing: answered from what is resident, else from storage, and nobody wakes up for them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from actors import encoding, upcoming
from actors.activation import Shown, idle_since, item, policy_of, read_policy, show
from actors.clock import iso
from actors.core.deadline import Moment, resets_at
from actors.core.policy import DEFAULT, Policies, Policy
from actors.core.retention import Kept, kept
from actors.messages import Burst, Position, Query, Status
from actors.round import not_found
from storage.records import CounterRecord, OperationRecord
from storage.store import Store

MISSED_MAX = 1_000  # Events replayed to a subscriber that was away. Beyond it the newest state says more, sooner.

LIKES = frozenset({"count", "counts", "status", "statuses", "members"})

Answer = tuple[int, bytes]


class State(NamedTuple):
    """The committed state of one counter, wherever it was read."""

    id: int
    created_at: bytes
    shown: Shown
    # For whoever asks for metadata:
    policy: Policy = DEFAULT
    resets_at: int | None = None  # Wall time.


def from_row(row: CounterRecord) -> State:
    """The state that a row of storage holds."""
    created_at = iso(row.created_at or 0).encode()
    return State(row.id, created_at, show(row, created_at))


def answer(
    store: Store, query: Query, resident: Mapping[str, State], policies: Policies, now: Moment
) -> Answer:
    """Answer `query`; runs in the storage thread. `resident` is what memory knows of the names asked for."""
    if query.kind == "page":
        return Status.OK, _page(store, query)
    if query.kind == "due":
        return Status.OK, _json(upcoming.due(store, policies, now, query.limit))
    if query.kind in LIKES:
        return Status.OK, _json(likes(store, query))
    if query.kind in ("history", "valueAt"):
        row = store.read(query.names).get(query.names[0])
        if row is None:
            return Status.REFUSED, not_found(query.names[0])
        keeps = kept(policy_of(row, policies), row.seq, now.wall)
        return _history(store, query, row, keeps) if query.kind == "history" else value_at(store, query, row, keeps)
    unknown = [name for name in query.names if name not in resident]
    states = dict(resident)
    if unknown:
        rows = store.read(unknown)
        states |= {name: from_row(row) for name, row in rows.items()}
        if query.kind == "metadata":
            for name, row in rows.items():
                policy = policy_of(row, policies)
                at = resets_at(policy, row.value, idle_since(row), row.tick_at, now)
                states[name] = states[name]._replace(policy=policy, resets_at=at)
    if query.kind == "values":
        return Status.OK, _json({"values": {name: _value(states, name) for name in query.names}})
    if query.kind == "stats":
        return Status.OK, _json({"stats": {name: _total(states.get(name)) for name in query.names}})
    name = query.names[0]
    if query.kind == "value":
        return Status.OK, _json({"name": name, "value": _value(states, name)})
    if query.kind == "alarms":
        asked = states.get(name)
        alarms = {"alarms": [], "runs": []} if asked is None else upcoming.alarms(store, asked.id, now)
        return Status.OK, _json({"name": name, **alarms})
    if query.kind == "snapshot":
        return Status.OK, msgspec.msgpack.encode(snapshot(name, states.get(name)))
    state = states.get(name)
    if query.kind == "missed":
        id = -1 if state is None else state.id
        return Status.OK, msgspec.msgpack.encode(missed(store, name, state, id, query.before or 0))
    if state is None:
        return Status.REFUSED, not_found(name)
    assert query.kind == "metadata", query.kind
    return Status.OK, encoding.described(state.shown.metadata, _json(state.policy), state.resets_at)


def likes(store: Store, query: Query) -> dict[str, Any]:
    """What is known of likes. From storage, always: what somebody was told they see everywhere, at once."""
    rows = store.read(query.names)
    if query.kind in ("count", "counts"):
        counts = {name: rows[name].value if name in rows else 0 for name in query.names}
        return {"counts": counts} if query.kind == "counts" else _only("count", counts)
    if query.kind in ("status", "statuses"):
        there = store.memberships([(row.id, query.text) for row in rows.values()])
        liked = {name: name in rows and (rows[name].id, query.text) in there for name in query.names}
        return {"statuses": liked} if query.kind == "statuses" else _only("isLiked", liked)
    name = query.names[0]
    members = store.members(rows[name].id, query.text, query.limit) if name in rows else []
    page: dict[str, Any] = {"name": name, "members": [{"member": m, "since": iso(at)} for _, m, at in members]}
    if len(members) == query.limit:
        page["cursor"] = members[-1].member
    return page


def _only(field: str, found: Mapping[str, Any]) -> dict[str, Any]:
    [(name, value)] = found.items()
    return {"name": name, field: value}


def _history(store: Store, query: Query, row: CounterRecord, keeps: Kept) -> Answer:
    rows = [each for each in store.history(row.id, query.before, query.limit) if keeps.holds(each.seq, each.at)]
    items = (
        encoding.told(item(each), each.operation_id, each.actor, each.source, each.reason) for each in rows
    )
    return Status.OK, b"[" + b",".join(items) + b"]"


def value_at(store: Store, query: Query, row: CounterRecord, keeps: Kept) -> Answer:
    """The value at a wall time, `query.before`. What is kept has no gaps in seq, so it is found by halving."""
    at = query.before or 0

    def operation(seq: int) -> OperationRecord | None:
        found = store.history(row.id, seq + 1, 1)
        return found[0] if found and found[0].seq == seq and keeps.holds(seq, found[0].at) else None

    def found(value: int, seq: int) -> Answer:
        return Status.OK, _json({"name": row.name, "at": iso(at), "value": value, "operationCount": seq})

    if at < (row.created_at or 0):
        return found(0, 0)
    if at >= (row.updated_at or 0):
        return found(row.value, row.seq)
    seqs = range(keeps.first, row.seq + 1)
    oldest = bisect_left(seqs, True, key=lambda seq: operation(seq) is not None)
    if oldest == len(seqs):
        return found(row.value, 0) if not row.seq else _not_kept(row.name, None)
    seqs = seqs[oldest:]
    later = bisect_right(seqs, at, key=lambda seq: 0 if (each := operation(seq)) is None else each.at)
    last = operation(seqs[later - 1] if later else seqs[0])
    if last is None:  # Trimmed at this moment.
        return _not_kept(row.name, None)
    if later:
        return found(last.value, last.seq)
    return found(last.previous_value, 0) if last.seq == 1 else _not_kept(row.name, last.at)


def _not_kept(name: str, since: int | None) -> Answer:
    message = f"the history of {name} does not go back so far"
    data = None if since is None else {"since": iso(since)}
    return Status.REFUSED, _json({"code": "HISTORY_NOT_KEPT", "message": message, "data": data})


def _value(states: Mapping[str, State], name: str) -> int:
    state = states.get(name)
    return 0 if state is None else state.shown.value


def _total(state: State | None) -> dict[str, Any]:
    return {
        "value": 0 if state is None else state.shown.value,
        "lastIncrementAt": None if state is None else state.shown.at.decode(),
    }


def _page(store: Store, query: Query) -> bytes:
    rows = store.page(query.names[0] if query.names else "", query.text, query.limit)
    counters = [
        {
            "name": row.name,
            "value": row.value,
            "createdAt": iso(row.created_at or 0),
            "updatedAt": iso(row.updated_at or 0),
            "createdBy": row.created_by,
            "likes": row.policy is not None and bool(read_policy(row.policy).get("likes")),
        }
        for row in rows
    ]
    page: dict[str, Any] = {"counters": counters, "count": len(counters)}
    if len(rows) == query.limit:
        page["cursor"] = rows[-1].name
    return _json(page)


def snapshot(name: str, state: State | None, asked: int = -1) -> Position:
    """Where a counter stands, with its state as a client would be shown it; for somebody who asked for a counter id."""
    if state is None:
        return Position(name, 0, 0, encoding.snapshot(0, encoding.never(name.encode()), _NO_TIME), asked)
    shown = state.shown
    return Position(
        name, state.id, shown.seq, encoding.snapshot(shown.value, shown.metadata, shown.at), asked
    )


_NO_TIME = iso(0).encode()


def missed(store: Store, name: str, state: State | None, counter_id: int, seq: int) -> Burst | Position:
    """What a subscriber that stands at (`counter_id`, `seq`) has missed; runs in the storage thread.

    The events themselves when there are not too many, else the newest state.
    """
    position = snapshot(name, state)
    if state is None or counter_id != state.id or not 0 <= seq < state.shown.seq:
        return position
    rows = store.since(counter_id, seq, MISSED_MAX + 1)
    if not rows or len(rows) > MISSED_MAX or rows[0].seq != seq + 1 or rows[-1].seq != seq + len(rows):
        return position  # Too many, or some were trimmed.
    return Burst(name, counter_id, rows[0].seq, [row.type for row in rows], list(_events(name, state, rows)))


def _events(name: str, state: State, rows: Iterable[OperationRecord]) -> Iterable[bytes]:
    encoded = name.encode()
    for row in rows:
        at = iso(row.at).encode()
        metadata = encoding.metadata(row.counter_id, encoded, row.value, state.created_at, at, row.seq)
        reason = row.reason or ("manual" if row.type == "reset" else None)
        yield encoding.event(row.type, row.value, row.previous_value, metadata, at, reason, row.actor)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
