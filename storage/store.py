"""The store: what a host may ask of the database.

Every method is one transaction and blocks; a host calls them from its storage thread, one after the other.
`Store` is the contract, `SqlStore` keeps it on a database, `storage.memory.MemoryStore` in a dict; one test suite
runs on all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import func, literal_column, select, text
from sqlalchemy.exc import SQLAlchemyError

from storage import alarms
from storage.engine import open_database, said, shown
from storage.errors import StorageUnavailable
from storage.records import (
    AlarmRecord,
    AlarmRunRecord,
    AlarmStep,
    Commit,
    CounterRecord,
    MemberRecord,
    OperationRecord,
    Postponement,
)
from storage.tables import Counter, Member, Note, Operation

S = TypeVar("S", bound="SqlStore")

OperationKey = tuple[int, str]  # Counter id and operation id.
Membership = tuple[int, str]  # Counter id and member.
DELETION = "delete"  # Type of the row that outlives its counter; its reason is the counter's name.
ADDING = ("increment", "decrement")  # Types of operations that add to what was there.
IN_MAX = 1_024  # Values in one IN (…), a power of two.

log = logging.getLogger("counters.storage")

COUNTER: Any = Counter.__table__  # type: ignore[attr-defined]
OPERATION: Any = Operation.__table__  # type: ignore[attr-defined]
MEMBER: Any = Member.__table__  # type: ignore[attr-defined]
NOTE: Any = Note.__table__  # type: ignore[attr-defined]

_AGREE = text("INSERT INTO note (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")
_NOTE = text("INSERT INTO note (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = :value")


class Store(Protocol):
    """The contract between hosts and storage. All methods raise StorageUnavailable when the database does."""

    def claim(self, names: Sequence[str], version: int) -> list[CounterRecord]:
        """Take ownership of `names`, which `version` of the placement table gives to the caller.

        Each epoch grows by one, missing rows are made, earlier owners are fenced. A counter that was claimed by a newer
        version is left alone and missing in what is returned: the caller has not heard of its new owner yet.
        """
        ...

    def placed(self, names: Sequence[str]) -> int:
        """The newest version of the placement table by which one of `names` was claimed; 0: none ever was."""
        ...

    def commit(self, commit: Commit) -> frozenset[int]:
        """Make everything in `commit` durable, except what belongs to counters whose epoch is stale.

        Returns the ids of those: nothing of theirs was applied.
        """
        ...

    def seen(self, operation_ids: Sequence[str]) -> set[str]:
        """Those ids of which operations are remembered, of whatever counter.

        It is quick: every operation asks whose id was chosen by a client, and nearly all of them ask in vain.
        """
        ...

    def find_operations(self, keys: Sequence[OperationKey]) -> dict[OperationKey, OperationRecord]:
        """Those operations among `keys` that were applied before."""
        ...

    def find_gone(self, operation_ids: Sequence[str]) -> dict[tuple[str, str], OperationRecord]:
        """Those operations that were applied to counters which are deleted by now, and the deletions themselves.

        By the name that the counter had and the operation id.
        """
        ...

    def stale(self, owned: Sequence[tuple[int, int]]) -> frozenset[int]:
        """The ids of those counters among `owned` (id, epoch) that somebody else owns by now, or that are gone."""
        ...

    def read(self, names: Sequence[str]) -> dict[str, CounterRecord]:
        """The committed state of the counters that exist, without taking ownership."""
        ...

    def page(self, prefix: str, after: str, limit: int) -> list[CounterRecord]:
        """Counters whose name begins with `prefix` and sorts after `after`, by name."""
        ...

    def latest(self, ends: Sequence[tuple[int, int]], limit: int) -> dict[int, list[OperationRecord]]:
        """The newest `limit` operations of counters, oldest first. `ends`: their ids, each with its last seq."""
        ...

    def history(self, counter_id: int, before: int | None, limit: int) -> list[OperationRecord]:
        """Operations with seq < `before` (None: from the newest), newest first."""
        ...

    def since(self, counter_id: int, seq: int, limit: int) -> list[OperationRecord]:
        """Operations with a seq greater than `seq`, oldest first."""
        ...

    def added(self, counter_id: int, seq: int) -> int:
        """What increments and decrements have added to a counter after `seq`, as far as they are kept."""
        ...

    def forget(self, counter_id: int, seqs: Sequence[int]) -> None:
        """Delete these operations of a counter, and with them the memory of their ids."""
        ...

    def memberships(self, keys: Sequence[Membership]) -> set[Membership]:
        """Those of `keys` that there are."""
        ...

    def members(self, counter_id: int, after: str, limit: int) -> list[MemberRecord]:
        """Members of a counter that sort after `after`, by the bytes of their names."""
        ...

    def due(self, steady: int, wall: int, limit: int) -> list[CounterRecord]:
        """Counters that are due at `steady` or whose schedule ticks at `wall`, at most `limit` of each kind.

        The longest overdue first; a counter may be there twice.
        """
        ...

    def postpone(self, postponements: Sequence[Postponement]) -> None:
        """Move deadlines that are too early, without taking ownership. Whoever commits meanwhile wins."""
        ...

    def after(self, id: int, limit: int) -> list[CounterRecord]:
        """Counters whose id is greater than `id`, in that order."""
        ...

    def used(self, since: int, id: int, limit: int) -> list[CounterRecord]:
        """Counters that had an operation at or after the steady time `since`, whose id is greater than `id`, by id."""
        ...

    def deleted(self, since: int, id: int, limit: int) -> list[OperationRecord]:
        """Deletions at or after the wall time `since` of counters whose id is greater than `id`, by id."""
        ...

    def dead(self, before: int, limit: int) -> list[int]:
        """The ids of counters that were deleted before this wall time and left operations behind."""
        ...

    def alarms(self, counter_id: int) -> list[AlarmRecord]:
        """The alarms of a counter, by id."""
        ...

    def alarm_runs(self, counter_id: int, limit: int) -> list[AlarmRunRecord]:
        """What became of the newest runs of a counter's alarms, newest first."""
        ...

    def alarms_due(self, steady: int, wall: int, limit: int) -> list[tuple[str, AlarmRecord]]:
        """Alarms that are due, at most `limit` of each kind, with the names of their counters."""
        ...

    def step_alarms(self, steps: Sequence[AlarmStep]) -> None:
        """Write down what became of attempts that nobody answered."""
        ...

    def agree(self, name: str, value: str) -> str:
        """Note `value` under `name`, unless there is a note. Returns what the note says."""
        ...

    def note(self, name: str, value: str) -> None:
        """Note `value` under `name`, whatever the note has said."""
        ...

    def free(self) -> int | None:
        """End the process that keeps others from writing, if it is stopped; the only method for any thread.

        A process that was stopped in the middle of a commit holds the database until it goes on. Returns its pid.
        """
        ...

    def close(self) -> None:
        """Give the database back. Nothing may be called afterwards."""
        ...


class SqlStore:
    """The contract on a SQL database, through one connection.

    Two ways lead to it. What every operation pays for goes to the driver's own connection as prepared text: through
    SQLAlchemy a commit of one row costs 225 us of CPU instead of 100. Everything else uses SQLAlchemy, in autocommit
    mode, and takes part in the driver's transaction when one is open.
    """

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        self._connect()

    def _connect(self) -> None:
        self._connection = self._database.connect()
        self._driver: Any = self._connection.connection.driver_connection

    def claim(self, names: Sequence[str], version: int) -> list[CounterRecord]:
        if not names:
            return []
        with self._transaction(lasting=False) as driver:
            rows = self._database.claim(driver, list(dict.fromkeys(names)), version)
        return [CounterRecord(*row) for row in rows]

    def placed(self, names: Sequence[str]) -> int:
        rows = self._fetch_in(select(COUNTER.c.placed), COUNTER.c.name, names)
        return max((row[0] for row in rows), default=0)

    def commit(self, commit: Commit) -> frozenset[int]:
        rare = any(
            (commit.policies, commit.deletions, commit.alarms, commit.cancellations, commit.steps, commit.cleared)
        )
        with self._transaction(several=rare) as driver:
            fenced = self._database.write(driver, commit)
            if rare:
                self._commit_rare(commit, fenced)
        return fenced

    def _commit_rare(self, commit: Commit, fenced: frozenset[int]) -> None:
        for write in commit.policies:
            if write.id not in fenced:
                self._connection.execute(
                    COUNTER.update()
                    .where(COUNTER.c.id == write.id)
                    .values(
                        policy=write.policy,
                        created_by=COUNTER.c.created_by if write.created_by is None else write.created_by,
                    )
                )
        alarms.change(
            self._connection,
            [each for each in commit.cancellations if each[0] not in fenced],
            [each for each in commit.alarms if each.counter_id not in fenced],
            [each for each in commit.steps if each.before.counter_id not in fenced],
            [id for id in commit.deletions if id not in fenced],
        )
        for id in (*commit.cleared, *commit.deletions):
            if id not in fenced:
                self._connection.execute(MEMBER.delete().where(MEMBER.c.counter_id == id))
        for id in commit.deletions:
            if id not in fenced:
                # Its operations stay for a day: whoever sends one again does not begin the next life of the name.
                self._connection.execute(COUNTER.delete().where(COUNTER.c.id == id))

    def seen(self, operation_ids: Sequence[str]) -> set[str]:
        with self._reached():
            return {row[0] for row in self._database.seen(self._driver, operation_ids)}

    def find_operations(self, keys: Sequence[OperationKey]) -> dict[OperationKey, OperationRecord]:
        wanted = set(keys)
        rows = self._fetch_in(select(OPERATION), OPERATION.c.operation_id, [id for _, id in keys])
        found = (OperationRecord(*row) for row in rows)
        return {key: row for row in found if (key := (row.counter_id, row.operation_id)) in wanted}

    def find_gone(self, operation_ids: Sequence[str]) -> dict[tuple[str, str], OperationRecord]:
        found = self._fetch_in(select(OPERATION), OPERATION.c.operation_id, operation_ids)
        rows = [OperationRecord(*row) for row in found]
        ids = list({row.counter_id for row in rows})
        alive = {row[0] for row in self._fetch_in(select(COUNTER.c.id), COUNTER.c.id, ids)}
        # A deletion is the last that happens to a counter.
        ends = {id: end for id in ids if id not in alive for end in self.history(id, None, 1)}
        gone = {id: end.reason or "" for id, end in ends.items() if end.type == DELETION}
        return {(gone[row.counter_id], row.operation_id): row for row in rows if row.counter_id in gone}

    def stale(self, owned: Sequence[tuple[int, int]]) -> frozenset[int]:
        wanted = set(owned)
        rows = self._fetch_in(select(COUNTER.c.id, COUNTER.c.epoch), COUNTER.c.id, [id for id, _ in owned])
        return frozenset({id for id, _ in owned} - {row[0] for row in rows if (row[0], row[1]) in wanted})

    def read(self, names: Sequence[str]) -> dict[str, CounterRecord]:
        rows = self._fetch_in(select(COUNTER).where(COUNTER.c.created_at.is_not(None)), COUNTER.c.name, names)
        return {row.name: CounterRecord(*row) for row in rows}

    def page(self, prefix: str, after: str, limit: int) -> list[CounterRecord]:
        statement = select(COUNTER).where(COUNTER.c.name > after, COUNTER.c.created_at.is_not(None))
        if prefix:
            # A range, because LIKE ignores case on SQLite. "~" sorts after every character a name may have.
            statement = statement.where(COUNTER.c.name >= prefix, COUNTER.c.name < prefix + "~")
        return [CounterRecord(*row) for row in self._fetch(statement.order_by(COUNTER.c.name).limit(limit))]

    def latest(self, ends: Sequence[tuple[int, int]], limit: int) -> dict[int, list[OperationRecord]]:
        # seq has no gaps, so the newest rows are those above the last one - limit: no sorting per counter.
        found: dict[int, list[OperationRecord]] = {}
        with self._reached():
            for row in self._database.operations_after(self._driver, [(id, seq - limit) for id, seq in ends]):
                found.setdefault(row[0], []).append(OperationRecord(*row))
        return found

    def history(self, counter_id: int, before: int | None, limit: int) -> list[OperationRecord]:
        statement = select(OPERATION).where(OPERATION.c.counter_id == counter_id)
        if before is not None:
            statement = statement.where(OPERATION.c.seq < before)
        return [OperationRecord(*row) for row in self._fetch(statement.order_by(OPERATION.c.seq.desc()).limit(limit))]

    def since(self, counter_id: int, seq: int, limit: int) -> list[OperationRecord]:
        statement = select(OPERATION).where(OPERATION.c.counter_id == counter_id, OPERATION.c.seq > seq)
        return [OperationRecord(*row) for row in self._fetch(statement.order_by(OPERATION.c.seq).limit(limit))]

    def added(self, counter_id: int, seq: int) -> int:
        total = func.coalesce(func.sum(OPERATION.c.value - OPERATION.c.previous_value), 0)
        some = (OPERATION.c.counter_id == counter_id, OPERATION.c.seq > seq, OPERATION.c.type.in_(ADDING))
        return int(self._fetch(select(total).where(*some))[0][0])

    def forget(self, counter_id: int, seqs: Sequence[int]) -> None:
        if seqs:
            doomed = (OPERATION.c.counter_id == counter_id, self._database.among(OPERATION.c.seq, seqs))
            with self._transaction():
                self._connection.execute(OPERATION.delete().where(*doomed))

    def memberships(self, keys: Sequence[Membership]) -> set[Membership]:
        if not keys:
            return set()
        with self._reached():
            return {(row[0], row[1]) for row in self._database.memberships(self._driver, list(dict.fromkeys(keys)))}

    def members(self, counter_id: int, after: str, limit: int) -> list[MemberRecord]:
        statement = select(MEMBER).where(MEMBER.c.counter_id == counter_id, MEMBER.c.member > after)
        return [MemberRecord(*row) for row in self._fetch(statement.order_by(MEMBER.c.member).limit(limit))]

    def due(self, steady: int, wall: int, limit: int) -> list[CounterRecord]:
        found: list[CounterRecord] = []
        if not self._any_due(steady, wall):
            return found
        for column, now in ((COUNTER.c.due_at, steady), (COUNTER.c.tick_at, wall)):
            statement = select(COUNTER).where(column.is_not(None), column <= now).order_by(column).limit(limit)
            found += [CounterRecord(*row) for row in self._fetch(statement)]
        return found

    def postpone(self, postponements: Sequence[Postponement]) -> None:
        with self._transaction() as driver:
            self._database.postpone(driver, postponements)

    def after(self, id: int, limit: int) -> list[CounterRecord]:
        statement = select(COUNTER).where(COUNTER.c.id > id).order_by(COUNTER.c.id).limit(limit)
        return [CounterRecord(*row) for row in self._fetch(statement)]

    def used(self, since: int, id: int, limit: int) -> list[CounterRecord]:
        lately = (COUNTER.c.id > id, COUNTER.c.idle_since >= since)
        statement = select(COUNTER).where(*lately).order_by(COUNTER.c.id).limit(limit)
        return [CounterRecord(*row) for row in self._fetch(statement)]

    def deleted(self, since: int, id: int, limit: int) -> list[OperationRecord]:
        key = OPERATION.c.counter_id + 0  # Else SQLite would rather take the primary key than the index of deletions.
        lately = (OPERATION.c.type == literal_column(f"'{DELETION}'"), OPERATION.c.at >= since, key > id)
        statement = select(OPERATION).where(*lately).order_by(key).limit(limit)
        return [OperationRecord(*row) for row in self._fetch(statement)]

    def dead(self, before: int, limit: int) -> list[int]:
        gone = OPERATION.c.type == literal_column(f"'{DELETION}'"), OPERATION.c.at < before
        statement = select(OPERATION.c.counter_id).where(*gone).order_by(OPERATION.c.at).limit(limit)
        return [row[0] for row in self._fetch(statement)]

    def alarms(self, counter_id: int) -> list[AlarmRecord]:
        return alarms.read(self._fetch(alarms.of(counter_id)))

    def alarm_runs(self, counter_id: int, limit: int) -> list[AlarmRunRecord]:
        return alarms.read_runs(self._fetch(alarms.runs(counter_id, limit)))

    def alarms_due(self, steady: int, wall: int, limit: int) -> list[tuple[str, AlarmRecord]]:
        if not self._any_due(steady, wall):
            return []
        rows = [row for query in alarms.due(steady, wall, limit) for row in self._fetch(query)]
        return [(row[0], AlarmRecord(*row[1:])) for row in rows]

    def step_alarms(self, steps: Sequence[AlarmStep]) -> None:
        with self._transaction(several=True):
            alarms.change(self._connection, steps=steps)

    def agree(self, name: str, value: str) -> str:
        with self._transaction(several=True):
            self._connection.execute(_AGREE, {"name": name, "value": value})
            said = self._fetch(select(NOTE.c.value).where(NOTE.c.name == name))
        agreed: str = said[0][0]
        return agreed

    def note(self, name: str, value: str) -> None:
        with self._transaction(several=True):
            self._connection.execute(_NOTE, {"name": name, "value": value})

    def free(self) -> int | None:
        return self._database.free()

    def close(self) -> None:
        self._connection.close()
        self._database.close()

    @contextmanager
    def _transaction(self, several: bool = False, lasting: bool = True) -> Iterator[Any]:
        with self._reached(), self._database.transaction(self._driver, several, lasting):
            yield self._driver

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """A usable connection, made anew where the last one broke; what goes wrong is StorageUnavailable."""
        try:
            if not self._database.usable(self._driver):
                if not self._connection.closed:
                    self._connection.invalidate()
                    self._connection.close()
                self._connect()
                log.warning("action=storage_reconnected")
            yield
        except self._database.errors as error:
            raise StorageUnavailable(said(error)) from error

    def _any_due(self, steady: int, wall: int) -> bool:
        with self._reached():
            return self._database.any_due(self._driver, steady, wall)

    def _fetch_in(self, statement: Any, column: Any, values: Sequence[Any]) -> list[Any]:
        """Rows whose `column` is one of `values`, however many those are."""
        parts = (values[start : start + IN_MAX] for start in range(0, len(values), IN_MAX))
        return [row for part in parts for row in self._fetch(statement.where(self._database.among(column, part)))]

    def _fetch(self, statement: Any) -> list[Any]:
        with self._reached():
            try:
                return list(self._connection.execute(statement))
            except SQLAlchemyError:
                if self._database.usable(self._driver):
                    self._connection.rollback()
                raise


def open_store(url: str) -> SqlStore:
    """Open the store at a database URL. Raises StorageMisconfigured or StorageUnavailable."""
    return opened(SqlStore, url)


def opened(kind: type[S], url: str) -> S:
    """Open a database as a store of this kind."""
    try:
        return kind(url)
    except SQLAlchemyError as error:
        raise StorageUnavailable(f"cannot open {shown(url)}: {said(error)}") from error
