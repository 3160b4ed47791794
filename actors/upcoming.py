"""What is going to happen by itself: read from storage for whoever asks."""

from __future__ import annotations

from typing import Any

from actors.activation import idle_since, policy_of
from actors.clock import iso
from actors.core.deadline import Moment, deadlines
from actors.core.policy import Policies
from storage.records import AlarmRecord
from storage.store import Store

RUNS_SHOWN = 20
FOREVER = 1 << 62


def due(store: Store, policies: Policies, now: Moment, limit: int) -> dict[str, Any]:
    """The next resets and alarms of all counters, the first one first."""
    found: list[tuple[int, dict[str, Any]]] = []
    for row in {row.id: row for row in store.due(FOREVER, FOREVER, limit)}.values():
        at = deadlines(policy_of(row, policies), row.value, idle_since(row), row.tick_at, now)
        for reason, wall in (("inactivity", _wall(at.due_at, now)), ("schedule", at.tick_at)):
            if wall is not None:
                found.append((wall, {"name": row.name, "reason": reason}))
    for name, alarm in store.alarms_due(FOREVER, FOREVER, limit):
        found.append((alarm_at(alarm, now), {"name": name, "reason": "alarm", "id": alarm.id}))
    found.sort(key=lambda each: (each[0], each[1]["name"]))
    return {"due": [{**what, "at": iso(wall)} for wall, what in found[:limit]]}


def alarms(store: Store, counter_id: int, now: Moment) -> dict[str, Any]:
    """The alarms of a counter, and what became of their newest runs."""
    listed = [
        {
            "id": each.id,
            "operation": operation(each),
            "next": iso(alarm_at(each, now)),
            "every": None if each.every is None else each.every // 1000,
            "run": each.run,
            "attempt": each.attempt,
            "error": each.error,
        }
        for each in store.alarms(counter_id)
    ]
    runs = [
        {"id": run.id, "run": run.run, "at": iso(run.at), "attempts": run.attempts, "error": run.error}
        for run in store.alarm_runs(counter_id, RUNS_SHOWN)
    ]
    return {"alarms": listed, "runs": runs}


def operation(alarm: AlarmRecord) -> dict[str, Any]:
    """What an alarm does, as it is written on the wire."""
    if alarm.type == "reset":
        return {"type": alarm.type}
    return {"type": alarm.type, "value" if alarm.type == "setValue" else "amount": alarm.amount}


def alarm_at(alarm: AlarmRecord, now: Moment) -> int:
    """The wall time of an alarm's next run."""
    return alarm.at if alarm.at is not None else now.wall + (alarm.due_at or 0) - now.steady


def _wall(steady: int | None, now: Moment) -> int | None:
    return None if steady is None else now.wall + steady - now.steady
