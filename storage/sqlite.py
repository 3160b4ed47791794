"""SQLite: write-ahead log, every commit flushed to disk, and writers of several processes take turns on a lock file.

SQLite's own waiting polls and sleeps up to 100 ms a step (sqlite3 `busy_timeout`); `flock` wakes the next in line
at once. SQLite's lock stays underneath, so a process that ignores the file still cannot break anything.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from storage import statements
from storage.errors import NOT_MEMBERS, StorageMisconfigured, StorageUnavailable
from storage.holder import end_stopped_holder
from storage.records import Commit, Postponement

BUSY_TIMEOUT_MS = 5_000  # Only a foreign program can make us wait here: our own writers queue on the lock file.
STATEMENTS_CACHED = 256  # The hot statements exist once per power of two of rows, about forty in all.
CHECKPOINT_PAGES = 4_000  # 16 MB of log before it is folded into the database: fewer, longer pauses cost more p99.


class Sqlite:
    """A SQLite file. One thread, one connection, for as long as it is open."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error, SQLAlchemyError)
    embedded = True

    def __init__(self, path: Path) -> None:
        self._path_of_turn = Path(f"{path}.turn")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._turn = os.open(self._path_of_turn, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageMisconfigured(f"cannot use {path.parent} for the database: {error.strerror}") from error
        self._engine = create_engine(
            f"sqlite:///{path}",
            poolclass=StaticPool,
            connect_args={
                "check_same_thread": False,
                "isolation_level": None,
                "cached_statements": STATEMENTS_CACHED,
                "timeout": BUSY_TIMEOUT_MS / 1000,
            },
        )
        event.listen(self._engine, "connect", _prepare)

    def connect(self) -> Connection:
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def usable(self, driver: sqlite3.Connection) -> bool:
        return True  # A file does not hang up.

    @contextmanager
    def transaction(self, driver: sqlite3.Connection, several: bool, lasting: bool = True) -> Iterator[None]:
        with self._taking_turns(), _flushed(driver, lasting):
            # It always writes: taking the write lock first means it cannot fail half way for want of it.
            driver.execute("BEGIN IMMEDIATE")
            try:
                yield
                driver.execute("COMMIT")
            except BaseException:
                driver.rollback()
                raise

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def claim(self, driver: sqlite3.Connection, names: Sequence[str], version: int) -> list[tuple[Any, ...]]:
        return statements.run(driver, statements.claim, [(name, version) for name in names])

    def write(self, driver: sqlite3.Connection, commit: Commit) -> frozenset[int]:
        owned = {row[0] for row in statements.run(driver, statements.update, commit.counters)}
        if commit.deadlines:
            owned.update(row[0] for row in statements.run(driver, statements.update_deadlines, commit.deadlines))
        fenced: frozenset[int] = frozenset()
        operations, joined, left = commit.operations, commit.joined, commit.left
        if len(owned) < len(commit.counters) + len(commit.deadlines):
            written = {write.id for write in commit.counters} | {write.id for write in commit.deadlines}
            fenced = frozenset(written - owned)
            operations = [row for row in operations if row.counter_id not in fenced]
            joined = [row for row in joined if row.counter_id not in fenced]
            left = [row for row in left if row[0] not in fenced]
        if operations:
            statements.run(driver, statements.insert_operations, operations)
        if joined:
            statements.run(driver, statements.insert_members, joined)
        if left and len(statements.run(driver, statements.delete_members, left)) < len(left):
            raise StorageUnavailable(NOT_MEMBERS)
        return fenced

    def seen(self, driver: sqlite3.Connection, operation_ids: Sequence[str]) -> list[tuple[Any, ...]]:
        return statements.run(driver, statements.seen, [(id,) for id in operation_ids])

    def operations_after(self, driver: sqlite3.Connection, places: Sequence[tuple[int, int]]) -> list[tuple[Any, ...]]:
        return statements.run(driver, statements.operations_after, places)

    def memberships(
        self, driver: sqlite3.Connection, keys: Sequence[tuple[int, str]]
    ) -> list[tuple[Any, ...]]:
        return statements.run(driver, statements.memberships, keys)

    def postpone(self, driver: sqlite3.Connection, postponements: Sequence[Postponement]) -> None:
        statements.run(driver, statements.postpone, postponements)

    def any_due(self, driver: sqlite3.Connection, steady: int, wall: int) -> bool:
        return bool(driver.execute(statements.ANY_DUE, (steady, wall)).fetchone()[0])

    def among(self, column: Any, values: Sequence[Any]) -> Any:
        # The last value is repeated until their number is a power of two: the driver keeps every text that it has seen
        # prepared, and one of a thousand values weighs 170 KB.
        padded = list(values)
        padded += padded[-1:] * ((1 << (len(padded) - 1).bit_length()) - len(padded))
        return column.in_(padded)

    @contextmanager
    def snapshot(self, driver: sqlite3.Connection) -> Iterator[None]:
        driver.execute("BEGIN")
        try:
            yield
        finally:
            driver.rollback()

    def insert(self, driver: sqlite3.Connection, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        values = ", ".join("?" * len(columns.split(",")))
        driver.executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", rows)

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        with self._taking_turns(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()  # Whoever leaves by an exception leaves nothing behind: closing rolls back.

    def free(self) -> int | None:
        return end_stopped_holder(self._path_of_turn)

    def close(self) -> None:
        self._engine.dispose()
        os.close(self._turn)


@contextmanager
def _flushed(driver: sqlite3.Connection, now: bool) -> Iterator[None]:
    """Have the commit inside flushed to disk at once, or with the next one, which is behind it in the log."""
    if now:
        yield
        return
    driver.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        driver.execute("PRAGMA synchronous = FULL")


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
