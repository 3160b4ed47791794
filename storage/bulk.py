"""Whole counters, many at a time: what export, import and copy need of a database, beside the contract for hosts.

Reading goes page by page, each page as of one moment, so a counter and what belongs to it fit together whatever is
written meanwhile, and no transaction stays open for longer than a page takes.

Writing makes counters that are not there, with everything that belongs to them, and never touches one that is. A
counter too large for one piece is made under a name that nobody can ask for; only its last part gives it its own. So
an import can be cut off anywhere and run again, and whoever begins a counter of that name meanwhile keeps it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import func, select, tuple_

from storage.alarms import ALARM, RUN
from storage.errors import StorageError, StorageUnavailable
from storage.records import AlarmRecord, AlarmRunRecord, CounterRecord, MemberRecord, OperationRecord
from storage.store import COUNTER, DELETION, MEMBER, OPERATION, SqlStore, opened

PAGE = 1_000  # Counters read as of one moment.
ROWS = 5_000  # Rows of what belongs to them, fetched at a time.
PART = 1_000  # Operations, and members, in one piece.
UNFINISHED = "~"  # Before the name of a counter of which there are parts to come. No name of a counter has it.

# What belongs to a counter, with the columns that order the rows of one counter.
_BELONGINGS = ((ALARM, ("id",)), (RUN, ("key", "run")), (OPERATION, ("seq",)), (MEMBER, ("member",)))
_HISTORY = (RUN, OPERATION)
_MADE = "name, value, operation_count, epoch, created_at, updated_at, created_by, policy, idle_since, due_at, tick_at"


class Whole(NamedTuple):
    """A counter with what belongs to it, or the next part of that. Ids of counters in it mean nothing."""

    counter: CounterRecord
    alarms: Sequence[AlarmRecord] = ()
    runs: Sequence[AlarmRunRecord] = ()
    operations: Sequence[OperationRecord] = ()  # By seq.
    members: Sequence[MemberRecord] = ()
    part: int = 1
    more: bool = False  # The next one goes on with the same counter.

    @property
    def rows(self) -> int:
        """How much is in it."""
        return 1 + len(self.alarms) + len(self.runs) + len(self.operations) + len(self.members)


class Conflict(StorageError):
    """Something is there already: the same counter, or twice the same of what belongs to it. Nothing was written."""


class NotWritten(StorageError):
    """What was read back is not what was written: the database cannot be trusted."""


class Bulk(SqlStore):
    """A database as a source or a target of whole counters. Raises StorageUnavailable like every store."""

    def count(self) -> int:
        """How many counters there are to be read."""
        count: int = self._fetch(select(func.count()).where(COUNTER.c.created_at.is_not(None)))[0][0]
        return count

    # Reading

    def wholes(self, history: bool) -> Iterator[Whole]:
        """All counters by id, with their history if it is wanted, in parts of PART operations and members."""
        id = 0
        while True:
            with self._snapshot():
                rows = self.after(id, PAGE)
                yield from self._wholes([row for row in rows if row.created_at is not None], history)
            if not rows:
                return
            id = rows[-1].id

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        with self._reached(), self._database.snapshot(self._driver):
            yield

    def _wholes(self, rows: Sequence[CounterRecord], history: bool) -> Iterator[Whole]:
        if not rows:
            return
        first, last = rows[0].id, rows[-1].id
        alarms, runs, operations, members = (
            _Rows(self._belongings(table, order, first, last) if history or table not in _HISTORY else iter(()))
            for table, order in _BELONGINGS
        )
        for row in rows:
            part = 1
            while part == 1 or operations.has(row.id) or members.has(row.id):
                yield Whole(
                    row,
                    [AlarmRecord(*each) for each in alarms.take(row.id)],
                    [AlarmRunRecord(*each) for each in runs.take(row.id)],
                    [OperationRecord(*each) for each in operations.take(row.id, PART)],
                    [MemberRecord(*each) for each in members.take(row.id, PART)],
                    part,
                    operations.has(row.id) or members.has(row.id),
                )
                part += 1

    def _belongings(self, table: Any, order: Sequence[str], first: int, last: int) -> Iterator[Any]:
        """What belongs to the counters from `first` to `last`, by their ids."""
        place: tuple[Any, ...] | None = None
        columns = [table.c[name] for name in ("counter_id", *order)]
        everything = select(table).where(table.c.counter_id.between(first, last)).order_by(*columns).limit(ROWS)
        while True:
            statement = everything if place is None else everything.where(tuple_(*columns) > place)
            rows = self._fetch(statement)
            yield from rows
            if len(rows) < ROWS:
                return
            place = tuple(getattr(rows[-1], column.name) for column in columns)

    # Writing

    def standing(self, names: Sequence[str]) -> dict[str, CounterRecord]:
        """The rows of these names, also of those that nobody is shown."""
        rows = self._fetch_in(select(COUNTER), COUNTER.c.name, names)
        return {row.name: CounterRecord(*row) for row in rows}

    def members_of(self, ids: Sequence[int]) -> dict[int, int]:
        """How many members these counters have, of those that have any."""
        statement = select(MEMBER.c.counter_id, func.count()).group_by(MEMBER.c.counter_id)
        return dict(map(tuple, self._fetch_in(statement, MEMBER.c.counter_id, ids)))

    def make(self, wholes: Sequence[Whole], instead_of: Sequence[int] = ()) -> dict[str, int]:
        """Make these counters, in place of those with the ids `instead_of`, and read back what was written.

        Of one that goes on only the first part is there then, under a name that nobody can ask for. Returns the ids by
        name. Raises Conflict when one of them, or something that belongs to it, is there already.
        """
        names = [_kept_as(whole) for whole in wholes]
        with self._conflicting(), self._transaction(several=True) as driver:
            self._remove(instead_of)
            self._remove([row.id for row in self._named([UNFINISHED + whole.counter.name for whole in wholes])])
            self._make_room([whole.counter.name for whole in wholes])
            made = [_made(whole.counter, whole.more) for whole in wholes]
            self._database.insert(driver, "counter", _MADE, made)
            rows = {row.name: row.id for row in self._named(names)}
            placed = [(rows[_kept_as(whole)], whole) for whole in wholes]
            self._belong(driver, placed)
            # Read back before others see it: an owner that has waited for us may change it the moment we are done.
            back = {name: row for name, row in self.standing(names).items() if row.id == rows[name]}
            if [_state(back[name]) if name in back else () for name in names] != made:
                raise NotWritten("counters that were just written are not there, or are different")
            self._check(placed)
        return {whole.counter.name: id for id, whole in placed}

    def go_on(self, id: int, whole: Whole, instead_of: Sequence[int] = ()) -> None:
        """Add the next part of a counter that was made; the last one shows it, in place of those with these ids.

        Raises Conflict when something in it is there already, or somebody else has begun a counter of that name.
        """
        with self._conflicting(), self._transaction(several=True) as driver:
            if not whole.more:
                self._remove(instead_of)
            self._belong(driver, [(id, whole)])
            if not whole.more:
                self._make_room([whole.counter.name])
                values = dict(zip(_MADE.split(", "), _made(whole.counter, False), strict=True))
                if not self._connection.execute(COUNTER.update().where(COUNTER.c.id == id).values(values)).rowcount:
                    raise Conflict("what came of it before is not there any more")
            self._check([(id, whole)])

    def remove(self, ids: Sequence[int]) -> None:
        """Forget counters and all that belongs to them."""
        with self._transaction(several=True):
            self._remove(ids)

    @contextmanager
    def _conflicting(self) -> Iterator[None]:
        try:
            yield
        except StorageUnavailable as error:
            cause = error.__cause__
            if isinstance(getattr(cause, "orig", cause), sqlite3.IntegrityError | psycopg.IntegrityError):
                raise Conflict(f"something of it is there already: {error}") from error
            raise

    def _make_room(self, names: Sequence[str]) -> None:
        """Forget what an owner has claimed and never begun. One that was begun this moment is not touched."""
        unused = self._database.among(COUNTER.c.name, names), COUNTER.c.created_at.is_(None)
        self._connection.execute(COUNTER.delete().where(*unused))

    def _named(self, names: Sequence[str]) -> list[Any]:
        return self._fetch_in(select(COUNTER.c.id, COUNTER.c.name), COUNTER.c.name, names)

    def _remove(self, ids: Sequence[int]) -> None:
        if not ids:
            return
        for table, _ in _BELONGINGS:
            rest = [self._database.among(table.c.counter_id, ids)]
            if table is OPERATION:
                rest.append(OPERATION.c.type != DELETION)
            self._connection.execute(table.delete().where(*rest))
        self._connection.execute(COUNTER.delete().where(self._database.among(COUNTER.c.id, ids)))

    def _belong(self, driver: Any, placed: Sequence[tuple[int, Whole]]) -> None:
        keys = [each.key for _, whole in placed for each in whole.alarms]
        if len(set(keys)) < len(keys) or self._fetch_in(select(ALARM.c.key), ALARM.c.key, keys):
            # A run of the one would be taken for a run of the other, and fail with its whole round.
            raise Conflict("one of its alarms has the key of another alarm")
        for table, rows in _tables(placed):
            if rows:
                columns = ", ".join(f'"{column.name}"' for column in table.columns)
                self._database.insert(driver, table.name, columns, rows)

    def _check(self, placed: Sequence[tuple[int, Whole]]) -> None:
        """Read back what was written beside the counters themselves."""
        ids = [id for id, _ in placed]
        for table, rows in _tables(placed):
            if not rows:
                continue
            statement = select(table)
            if table in (OPERATION, MEMBER) and len(placed) == 1:  # Not its other parts again.
                keys = [row[1] for row in rows]
                statement = statement.where(table.columns[1] >= min(keys), table.columns[1] <= max(keys))
            there = {tuple(row) for row in self._fetch_in(statement, table.c.counter_id, ids)}
            if not there >= {tuple(row) for row in rows}:
                raise NotWritten(f"rows of {table.name} that were just written are not there, or are different")


def _kept_as(whole: Whole) -> str:
    """What its row is called while only a part of it is there."""
    return UNFINISHED + whole.counter.name if whole.more else whole.counter.name


def _made(row: CounterRecord, unfinished: bool) -> tuple[Any, ...]:
    """A new row of the counter table, whose first owner is yet to come."""
    if unfinished:
        return (UNFINISHED + row.name, 0, 0, 0, None, None, None, None, None, None, None)
    return _state(row)


def _state(row: CounterRecord) -> tuple[Any, ...]:
    state = row.created_at, row.updated_at, row.created_by, row.policy, row.idle_since, row.due_at, row.tick_at
    return (row.name, row.value, row.seq, 0, *state)


def _tables(placed: Sequence[tuple[int, Whole]]) -> list[tuple[Any, list[Any]]]:
    """What belongs to counters, as rows of its tables."""
    return [
        (ALARM, [each._replace(counter_id=id) for id, whole in placed for each in whole.alarms]),
        (RUN, [each._replace(counter_id=id) for id, whole in placed for each in whole.runs]),
        (OPERATION, [each._replace(counter_id=id) for id, whole in placed for each in whole.operations]),
        (MEMBER, [each._replace(counter_id=id) for id, whole in placed for each in whole.members]),
    ]


class _Rows:
    """Rows of many counters, by the counters' ids, handed out counter by counter."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def has(self, id: int) -> bool:
        """Whether there is another one of this counter. Those of earlier ones are left out."""
        while self._next is not None and self._next.counter_id < id:
            self._next = next(self._rows, None)
        return self._next is not None and self._next.counter_id == id

    def take(self, id: int, most: int | None = None) -> list[Any]:
        """The next rows of this counter, at most so many."""
        taken: list[Any] = []
        while (most is None or len(taken) < most) and self.has(id):
            taken.append(self._next)
            self._next = next(self._rows, None)
        return taken


def open_bulk(url: str) -> Bulk:
    """Open a database for whole counters. Raises StorageMisconfigured or StorageUnavailable."""
    return opened(Bulk, url)
