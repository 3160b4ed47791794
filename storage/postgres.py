"""Postgres: any number of hosts write at the same time, and rows are locked, not the database.

**One round trip.** A claim is one statement and so is a commit, each a transaction of its own. So no transaction stays
open while we do something else, and a host that is frozen holds no lock: the server either has the whole statement and
finishes it, or has nothing. Only policies and deletions, which are rare, take a transaction of several statements.

**No deadlock.** Whatever takes several counters takes them in the order of their names.

**One plan.** Statements take columns as arrays, so one text serves every number of rows, is parsed once and, by
`force_generic_plan`, planned once. That is worth 0.3 ms of 0.5; `python -m loadtests.postgres_shapes` measures it
beside other shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, any_, bindparam, create_engine, event
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from storage.records import Commit, Postponement
from storage.statements import OPERATION_COLUMNS

# How the driver connects, unless the URL says otherwise. A server whose machine is gone is noticed after ten seconds;
# a connection to a server that may not write (a standby, after a failover) is not taken.
CONNECT: dict[str, Any] = {
    "application_name": "counters",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "target_session_attrs": "read-write",
}

# What every connection tells the server.
SESSION = {
    "default_transaction_isolation": "read committed",  # Epochs are compared again after waiting for a row.
    "plan_cache_mode": "force_generic_plan",
    # A plan is made once, when the tables may be empty, and kept until they are analyzed for the first time. Nothing
    # here is ever done best by reading a whole table, which is what looks cheapest while there is nothing in it.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Nobody holds a row for longer than one statement takes. Whoever has waited so long answers "unavailable", and the
    # operations come again: better than a host that stands still for all its counters because of one.
    "lock_timeout": "2s",
    # A host that is frozen between the statements of a rare transaction is cut off. Its rows are free again before
    # its successor, which takes over after some two seconds, wants them. Nothing is lost: it was not committed.
    "idle_in_transaction_session_timeout": "1s",
    # The same for one whose machine is gone, whatever it was in.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
# Away, about to stop, read-only since a failover: whatever it is, the next connection may be better.
_SPENT = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)

SCHEMA_LOCK = 0x636F756E74657273  # "counters": the advisory lock of whoever changes the schema.

CLAIM = """
INSERT INTO counter (name, value, operation_count, epoch, placed)
SELECT name, 0, 0, 1, %s FROM unnest(%s::text[]) AS name ORDER BY name COLLATE "C"
ON CONFLICT (name) DO UPDATE SET epoch = counter.epoch + 1, placed = excluded.placed
WHERE counter.placed <= excluded.placed
RETURNING id, name, value, operation_count, epoch, created_at, updated_at, created_by, policy, placed,
    idle_since, due_at, tick_at
"""


_OPERATIONS = ", ".join(
    f"unnest(%s::{type}[])" for type in ("bigint", "bigint", "text", *["bigint"] * 4, "text", "text", "text", "text")
)


# Who joins and who leaves. When somebody who leaves is not there, the division fails, and the commit with it.
_MEMBERS = """, joined AS (
        INSERT INTO member (counter_id, member, since)
        SELECT row.* FROM (SELECT unnest(%s::bigint[]), unnest(%s::text[]), unnest(%s::bigint[])) AS row (counter_id)
        WHERE (row.counter_id IN (SELECT id FROM owned)) IS TRUE
    ), leaving AS MATERIALIZED (
        SELECT row.* FROM (SELECT unnest(%s::bigint[]), unnest(%s::text[])) AS row (counter_id, who)
        WHERE (row.counter_id IN (SELECT id FROM owned)) IS TRUE
    ), gone AS (
        DELETE FROM member USING leaving
        WHERE member.counter_id = leaving.counter_id AND member.member = leaving.who RETURNING 1
    )"""
_ALL_HAVE_LEFT = ", 1 / ((SELECT count(*) FROM gone) = (SELECT count(*) FROM leaving))::int"


def _write(columns: str, set: str, members: bool = False) -> str:
    """A whole commit. Rows of counters have `columns`, each a name and a type, of which `set` makes the new state."""
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    arrays = ", ".join(f"%s::{column.split()[1]}[]" for column in columns.split(", "))
    # "IS TRUE" keeps the planner from making a join of the IN, which would compare every row with every other: it
    # looks each up in a hash table instead. Arrays that are unnested in a SELECT are walked side by side; those in a
    # FROM would each be written to a table of their own first.
    return f"""
    WITH mine AS MATERIALIZED (
        SELECT new.* FROM unnest({arrays}) AS new ({names})
        JOIN counter ON counter.id = new.id AND counter.epoch = new.epoch ORDER BY counter.name FOR UPDATE OF counter
    ), owned AS (
        UPDATE counter SET value = new.value, operation_count = new.seq, idle_since = new.idle,
            updated_at = coalesce(new.at, counter.updated_at), created_at = coalesce(counter.created_at, new.at){set}
        FROM mine AS new WHERE counter.id = new.id AND counter.epoch = new.epoch RETURNING counter.id
    ), written AS (
        INSERT INTO operation ({OPERATION_COLUMNS}) SELECT row.* FROM (SELECT {_OPERATIONS}) AS row (counter_id)
        WHERE (row.counter_id IN (SELECT id FROM owned)) IS TRUE
    ){_MEMBERS if members else ""}
    SELECT id{_ALL_HAVE_LEFT if members else ""} FROM owned
    """


_COLUMNS = "id bigint, epoch bigint, value bigint, seq bigint, at bigint, idle bigint"
_DEADLINES = (
    f"{_COLUMNS}, due bigint, tick bigint, dated boolean",
    ", due_at = CASE WHEN dated THEN due ELSE due_at END, tick_at = CASE WHEN dated THEN tick ELSE tick_at END",
)
WRITE, WRITE_DEADLINES = _write(_COLUMNS, ""), _write(*_DEADLINES)
WRITE_MEMBERS, WRITE_DEADLINES_MEMBERS = _write(_COLUMNS, "", True), _write(*_DEADLINES, True)

MEMBERSHIPS = """
SELECT member.counter_id, member.member FROM (SELECT unnest(%s::bigint[]), unnest(%s::text[])) AS wanted (id, who)
JOIN member ON member.counter_id = wanted.id AND member.member = wanted.who
"""

SEEN = "SELECT operation_id FROM operation WHERE operation_id = ANY (%s::text[])"

OPERATIONS_AFTER = f"""
SELECT {", ".join(f"operation.{column}" for column in OPERATION_COLUMNS.split(", "))}
FROM (SELECT unnest(%s::bigint[]), unnest(%s::bigint[])) AS place (id, seq)
JOIN operation ON operation.counter_id = place.id AND operation.seq > place.seq
ORDER BY operation.counter_id, operation.seq
"""

POSTPONE = """
WITH old AS MATERIALIZED (
    SELECT old.* FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::bigint[])
        AS old (id, due, tick, policy, new_due, new_tick)
    JOIN counter ON counter.id = old.id AND counter.due_at IS NOT DISTINCT FROM due
        AND counter.tick_at IS NOT DISTINCT FROM tick AND counter.policy IS NOT DISTINCT FROM old.policy
    ORDER BY counter.name FOR UPDATE OF counter
)
UPDATE counter SET due_at = new_due, tick_at = new_tick FROM old WHERE counter.id = old.id
"""

# Parameters: steady, wall. Says whether anything is due, with one look at each index.
ANY_DUE = """
SELECT EXISTS (SELECT FROM counter WHERE due_at <= %(steady)s) OR EXISTS (SELECT FROM counter WHERE tick_at <= %(wall)s)
OR EXISTS (SELECT FROM alarm WHERE due_at <= %(steady)s) OR EXISTS (SELECT FROM alarm WHERE at <= %(wall)s)
"""


class Postgres:
    """A database on a Postgres server. Each store has one connection, and makes another when that breaks."""

    errors: tuple[type[Exception], ...] = (psycopg.Error, SQLAlchemyError)
    embedded = False

    def __init__(self, url: URL) -> None:
        options = {name: value for name, value in CONNECT.items() if name not in url.query}
        self._engine = create_engine(url, poolclass=NullPool, connect_args=options)
        event.listen(self._engine, "connect", _prepare)

    def connect(self) -> Connection:
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def usable(self, driver: psycopg.Connection[Any]) -> bool:
        return not driver.closed

    @contextmanager
    def transaction(
        self, driver: psycopg.Connection[Any], several: bool, lasting: bool = True
    ) -> Iterator[None]:
        # Everything lasts: hosts outlive the server, and would go on with epochs that it has forgotten.
        try:
            if several:
                with driver.transaction():
                    yield
            else:
                yield
        except self.errors as error:
            if isinstance(getattr(error, "orig", error), _SPENT):
                driver.close()
            raise

    def claim(self, driver: psycopg.Connection[Any], names: Sequence[str], version: int) -> list[tuple[Any, ...]]:
        return driver.execute(CLAIM, (version, texts(names)), prepare=True).fetchall()

    def write(self, driver: psycopg.Connection[Any], commit: Commit) -> frozenset[int]:
        members = bool(commit.joined or commit.left)
        if commit.deadlines:
            statement, encoders = (WRITE_DEADLINES_MEMBERS if members else WRITE_DEADLINES), _DATED
            rows = [(*row, None, None, False) for row in commit.counters] + [(*row, True) for row in commit.deadlines]
        else:
            statement, encoders = (WRITE_MEMBERS if members else WRITE), _UNDATED
            rows = commit.counters  # type: ignore[assignment]
        columns = _arrays(rows, encoders) + _arrays(commit.operations, _OPERATION)
        if members:
            columns += _arrays(commit.joined, _MEMBER) + _arrays(commit.left, _MEMBERSHIP)
        owned = driver.execute(statement, columns, prepare=True).fetchall()
        if len(owned) == len(rows):
            return frozenset()
        return frozenset(row[0] for row in rows) - {row[0] for row in owned}

    def seen(self, driver: psycopg.Connection[Any], operation_ids: Sequence[str]) -> list[tuple[Any, ...]]:
        with self.transaction(driver, several=False):
            return driver.execute(SEEN, (texts(operation_ids),), prepare=True).fetchall()

    def operations_after(
        self, driver: psycopg.Connection[Any], places: Sequence[tuple[int, int]]
    ) -> list[tuple[Any, ...]]:
        with self.transaction(driver, several=False):
            return driver.execute(OPERATIONS_AFTER, _arrays(places, (numbers, numbers)), prepare=True).fetchall()

    def memberships(
        self, driver: psycopg.Connection[Any], keys: Sequence[tuple[int, str]]
    ) -> list[tuple[Any, ...]]:
        with self.transaction(driver, several=False):
            return driver.execute(MEMBERSHIPS, _arrays(keys, _MEMBERSHIP), prepare=True).fetchall()

    def postpone(self, driver: psycopg.Connection[Any], postponements: Sequence[Postponement]) -> None:
        driver.execute(POSTPONE, _arrays(postponements, _POSTPONED), prepare=True)

    def any_due(self, driver: psycopg.Connection[Any], steady: int, wall: int) -> bool:
        row = driver.execute(ANY_DUE, {"steady": steady, "wall": wall}, prepare=True).fetchone()
        return bool(row and row[0])

    def among(self, column: Any, values: Sequence[Any]) -> Any:
        return column == any_(bindparam(None, list(values), ARRAY(column.type)))

    @contextmanager
    def snapshot(self, driver: psycopg.Connection[Any]) -> Iterator[None]:
        with driver.transaction():
            driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            driver.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # It holds nothing, and may be slow.
            yield

    def insert(self, driver: psycopg.Connection[Any], table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        with (
            self._engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
            connection.begin(),
        ):
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")  # Others may be busy with the same.
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '60s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")  # Whoever works waits behind us.
            yield connection

    def free(self) -> int | None:
        return None  # The server frees what a frozen host holds: see SESSION.

    def close(self) -> None:
        self._engine.dispose()


def _prepare(connection: psycopg.Connection[Any], _: object) -> None:
    connection.autocommit = True
    settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SESSION.items())
    # What is answered has to be on disk. Stricter settings than "on" are the operator's to make.
    durable = "set_config('synchronous_commit', 'on', false)"
    connection.execute(f"SELECT {settings}")
    connection.execute(f"SELECT {durable} WHERE current_setting('synchronous_commit') = 'off'")


# Arrays as text that Postgres reads: a quarter of the CPU that the driver takes to adapt a list.


def numbers(column: Sequence[int]) -> str:
    """An array of numbers, as Postgres reads it."""
    return "{" + ",".join(map(str, column)) + "}"


def sparse(column: Sequence[int | bool | None]) -> str:
    """An array of numbers or truths of which some are missing."""
    return "{" + ",".join(["NULL" if each is None else str(each) for each in column]) + "}"


def texts(column: Sequence[str | None]) -> str:
    """An array of texts, as Postgres reads it."""
    return "{" + ",".join(["NULL" if text is None else _quoted(text) for text in column]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


Encoder = Callable[[Any], str]

_UNDATED: tuple[Encoder, ...] = (numbers, numbers, numbers, numbers, sparse, sparse)
_DATED: tuple[Encoder, ...] = (*_UNDATED, sparse, sparse, sparse)
_OPERATION: tuple[Encoder, ...] = (
    numbers, numbers, texts, numbers, numbers, numbers, numbers, texts, texts, texts, texts,
)  # fmt: skip
_MEMBER: tuple[Encoder, ...] = (numbers, texts, numbers)
_MEMBERSHIP: tuple[Encoder, ...] = (numbers, texts)
_POSTPONED: tuple[Encoder, ...] = (numbers, sparse, sparse, texts, sparse, sparse)


def _arrays(rows: Sequence[tuple[Any, ...]], encoders: tuple[Encoder, ...]) -> list[str]:
    """The columns of `rows`."""
    if not rows:
        return ["{}"] * len(encoders)
    return [encode(column) for encode, column in zip(encoders, zip(*rows, strict=True), strict=True)]
