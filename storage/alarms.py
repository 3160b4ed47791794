"""Alarms in a SQL database. Rare, so all of it goes through SQLAlchemy; what writes runs inside a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, and_, select

from storage.records import AlarmRecord, AlarmRunRecord, AlarmStep
from storage.tables import Alarm, AlarmRun, Counter

RUNS_KEPT = 100  # Of one counter.
_LAST = chr(0x10FFFF)  # Sorts after every id.

COUNTER: Any = Counter.__table__  # type: ignore[attr-defined]
ALARM: Any = Alarm.__table__  # type: ignore[attr-defined]
RUN: Any = AlarmRun.__table__  # type: ignore[attr-defined]


def change(
    connection: Connection,
    cancellations: Iterable[tuple[int, str]] = (),
    alarms: Iterable[AlarmRecord] = (),
    steps: Iterable[AlarmStep] = (),
    deletions: Iterable[int] = (),
) -> None:
    """Cancel alarms, set others in place of those with the same id, take steps, and forget all of counters that go.

    Everybody takes them in the order of counters and ids. The timer takes its steps without owning the counters, and
    it and an owner that took the same alarms in different orders would wait for each other on Postgres.
    """
    work: list[tuple[tuple[int, str], Callable[[], None]]] = []
    work += [(place, partial(_cancel, connection, *place)) for place in cancellations]
    work += [((each.counter_id, each.id), partial(_put, connection, each)) for each in alarms]
    work += [((each.before.counter_id, each.before.id), partial(_step, connection, each)) for each in steps]
    work += [((id, _LAST), partial(_forget, connection, id)) for id in deletions]
    for _, do in sorted(work, key=itemgetter(0)):
        do()


def _cancel(connection: Connection, counter_id: int, id: str) -> None:
    connection.execute(ALARM.delete().where(ALARM.c.counter_id == counter_id, ALARM.c.id == id))


def _put(connection: Connection, alarm: AlarmRecord) -> None:
    _cancel(connection, alarm.counter_id, alarm.id)
    connection.execute(ALARM.insert().values(alarm._asdict()))


def _forget(connection: Connection, counter_id: int) -> None:
    connection.execute(ALARM.delete().where(ALARM.c.counter_id == counter_id))
    connection.execute(RUN.delete().where(RUN.c.counter_id == counter_id))


def _step(connection: Connection, step: AlarmStep) -> None:
    before, after, run = step
    same = and_(
        ALARM.c.counter_id == before.counter_id, ALARM.c.id == before.id,
        ALARM.c.key == before.key, ALARM.c.run == before.run,
    )  # fmt: skip
    change = ALARM.delete().where(same) if after is None else ALARM.update().where(same).values(after._asdict())
    if connection.execute(change).rowcount and run is not None:
        connection.execute(RUN.insert().values(run._asdict()))
        _trim(connection, run.counter_id)


def _trim(connection: Connection, counter_id: int) -> None:
    """Forget all but the newest runs of a counter."""
    mine = RUN.c.counter_id == counter_id
    oldest = select(RUN.c.at).where(mine).order_by(RUN.c.at.desc()).offset(RUNS_KEPT - 1).limit(1).scalar_subquery()
    connection.execute(RUN.delete().where(mine, RUN.c.at < oldest))


def of(counter_id: int) -> Any:
    """The query for the alarms of a counter."""
    return select(ALARM).where(ALARM.c.counter_id == counter_id).order_by(ALARM.c.id)


def runs(counter_id: int, limit: int) -> Any:
    """The query for the newest runs of a counter's alarms."""
    return select(RUN).where(RUN.c.counter_id == counter_id).order_by(RUN.c.at.desc(), RUN.c.run.desc()).limit(limit)


def due(steady: int, wall: int, limit: int) -> list[Any]:
    """The queries for alarms that are due, with the names of their counters."""
    named = select(COUNTER.c.name, ALARM).join(COUNTER, COUNTER.c.id == ALARM.c.counter_id)
    return [
        named.where(column.is_not(None), column <= now).order_by(column).limit(limit)
        for column, now in ((ALARM.c.due_at, steady), (ALARM.c.at, wall))
    ]


def read(rows: Iterable[Any]) -> list[AlarmRecord]:
    return [AlarmRecord(*row) for row in rows]


def read_runs(rows: Iterable[Any]) -> list[AlarmRunRecord]:
    return [AlarmRunRecord(*row) for row in rows]
