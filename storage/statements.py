"""SQLite's hot statements, as text with many rows each.

One statement that carries many rows is one step of the driver. That matters more than it looks: the driver gives up
Python's global lock around every step, and taking it back from a busy event loop can cost milliseconds; a thousand
single-row steps would be a thousand such waits.

A statement is prepared once for each power of two of rows (a batch of 100 is 64 + 32 + 4), so the driver's cache
holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

ROWS_MAX = 128  # More in a statement is no faster, and every size is kept prepared.

OPERATION_COLUMNS = "counter_id, seq, type, amount, value, previous_value, at, operation_id, actor, reason, source"

Shape = Callable[[int], str]


def run(connection: Any, shape: Shape, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Execute `shape` for all rows on a driver's connection and return what the statements returned."""
    returned: list[Any] = []
    start, total = 0, len(rows)
    while start < total:
        count = min(1 << (total - start).bit_length() - 1, ROWS_MAX)
        part = rows[start : start + count]
        returned.extend(connection.execute(shape(count), tuple(chain.from_iterable(part))))
        start += count
    return returned


def _values(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


@cache
def claim(rows: int) -> str:
    """Parameters of a row: name, version of the table. Returns what was claimed, in the order of CounterRecord."""
    placeholders = ", ".join(["(?, 0, 0, 1, ?)"] * rows)
    return (
        f"INSERT INTO counter (name, value, operation_count, epoch, placed) VALUES {placeholders} "
        "ON CONFLICT (name) DO UPDATE SET epoch = counter.epoch + 1, placed = excluded.placed "
        "WHERE counter.placed <= excluded.placed "
        "RETURNING id, name, value, operation_count, epoch, created_at, updated_at, created_by, policy, placed, "
        "idle_since, due_at, tick_at"
    )


@cache
def update(rows: int) -> str:
    """Parameters of a row: those of CounterWrite. Returns the ids whose epoch was current."""
    return (
        f"WITH new (id, epoch, value, seq, at, idle) AS (VALUES {_values(rows, 6)}) "
        "UPDATE counter SET value = new.value, operation_count = new.seq, updated_at = new.at, "
        "created_at = coalesce(counter.created_at, new.at), idle_since = new.idle "
        "FROM new WHERE counter.id = new.id AND counter.epoch = new.epoch RETURNING counter.id"
    )


@cache
def update_deadlines(rows: int) -> str:
    """Parameters of a row: those of DeadlineWrite. Returns the ids whose epoch was current."""
    return (
        f"WITH new (id, epoch, value, seq, at, idle, due, tick) AS (VALUES {_values(rows, 8)}) "
        "UPDATE counter SET value = new.value, operation_count = new.seq, idle_since = new.idle, "
        "updated_at = coalesce(new.at, counter.updated_at), created_at = coalesce(counter.created_at, new.at), "
        "due_at = new.due, tick_at = new.tick "
        "FROM new WHERE counter.id = new.id AND counter.epoch = new.epoch RETURNING counter.id"
    )


@cache
def postpone(rows: int) -> str:
    """Parameters of a row: those of Postponement."""
    return (
        f"WITH old (id, due, tick, policy, new_due, new_tick) AS (VALUES {_values(rows, 6)}) "
        "UPDATE counter SET due_at = old.new_due, tick_at = old.new_tick "
        "FROM old WHERE counter.id = old.id AND coalesce(counter.due_at, -1) = coalesce(old.due, -1) "
        "AND coalesce(counter.tick_at, -1) = coalesce(old.tick, -1) "
        "AND coalesce(counter.policy, '') = coalesce(old.policy, '')"
    )


@cache
def seen(rows: int) -> str:
    """Parameters of a row: an operation id. Returns those that are there."""
    return f"SELECT operation_id FROM operation WHERE operation_id IN ({', '.join('?' * rows)})"


@cache
def operations_after(rows: int) -> str:
    """Parameters of a row: counter id, seq. Returns the operations that come after it."""
    columns = ", ".join(f"operation.{column}" for column in OPERATION_COLUMNS.split(", "))
    return (
        f"WITH place (id, seq) AS (VALUES {_values(rows, 2)}) SELECT {columns} "
        "FROM place CROSS JOIN operation ON operation.counter_id = place.id AND operation.seq > place.seq "
        "ORDER BY operation.counter_id, operation.seq"
    )


@cache
def memberships(rows: int) -> str:
    """Parameters of a row: counter id, member. Returns those that are there."""
    return (
        f"WITH wanted (id, who) AS (VALUES {_values(rows, 2)}) SELECT member.counter_id, member.member "
        "FROM wanted CROSS JOIN member ON member.counter_id = wanted.id AND member.member = wanted.who"
    )


@cache
def insert_members(rows: int) -> str:
    """Parameters of a row: those of MemberRecord."""
    return f"INSERT INTO member (counter_id, member, since) VALUES {_values(rows, 3)}"


@cache
def delete_members(rows: int) -> str:
    """Parameters of a row: counter id, member. Returns those that were there."""
    # Not (counter_id, member) IN (VALUES …): for that SQLite walks through all members of a counter, or of all.
    places = " OR ".join(["counter_id = ? AND member = ?"] * rows)
    return f"DELETE FROM member WHERE {places} RETURNING counter_id"


@cache
def insert_operations(rows: int) -> str:
    """Parameters of a row: those of OperationRecord."""
    return f"INSERT INTO operation ({OPERATION_COLUMNS}) VALUES {_values(rows, 11)}"


# Parameters: what steady time and what wall time it is. Says whether anything is due, with one look at each index.
ANY_DUE = (
    "SELECT EXISTS (SELECT 1 FROM counter WHERE due_at <= ?1) OR EXISTS (SELECT 1 FROM counter WHERE tick_at <= ?2) "
    "OR EXISTS (SELECT 1 FROM alarm WHERE due_at <= ?1) OR EXISTS (SELECT 1 FROM alarm WHERE at <= ?2)"
)
