"""Opening a database. The only lines that know which database it is are here.

SQLite: write-ahead log, every commit flushed to disk, and writers of several processes take turns on a lock file.
SQLite's own waiting polls and sleeps up to 100 ms a step (sqlite3 `busy_timeout`); `flock` wakes the next in line
at once. SQLite's lock stays underneath, so a process that ignores the file still cannot break anything.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import StaticPool
from sqlmodel import SQLModel

from storage import tables
from storage.errors import StorageMisconfigured
from storage.holder import end_stopped_holder

BUSY_TIMEOUT_MS = 5_000  # Only a foreign program can make us wait here: our own writers queue on the lock file.
STATEMENTS_CACHED = 256  # The hot statements exist once per power of two of rows, about forty in all.
CHECKPOINT_PAGES = 4_000  # 16 MB of log before it is folded into the database: fewer, longer pauses cost more p99.

TABLES = (tables.Counter, tables.Operation, tables.Note)
ADDED = {"placed": "BIGINT NOT NULL DEFAULT 0", "idle_since": "BIGINT", "due_at": "BIGINT", "tick_at": "BIGINT"}

Turn = Callable[[], AbstractContextManager[None]]


class Database(NamedTuple):
    """An open database, and what differs between one and another."""

    engine: Engine
    turn: Turn  # A writer holds it for the length of one transaction.
    free: Callable[[], int | None]  # Ends a stopped process that holds the turn; its pid.
    begin: str  # Begins a transaction that writes.
    errors: tuple[type[Exception], ...]  # What a failed transaction raises.
    close: Callable[[], None]


def open_database(url: str) -> Database:
    """Open the database at `url`, creating file and tables when they are missing.

    Raises StorageMisconfigured when the URL is not one that we know or its folder cannot be used.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StorageMisconfigured(f"not a database URL: {url!r}") from error
    if parsed.get_backend_name() != "sqlite":
        raise StorageMisconfigured(f"database {parsed.get_backend_name()!r} is not supported: use sqlite:///FILE")
    if not parsed.database or parsed.database == ":memory:":
        raise StorageMisconfigured("an in-memory SQLite database cannot be shared by processes: use sqlite:///FILE")
    database = _open_sqlite(Path(parsed.database))
    with database.turn():  # Two hosts that start together would otherwise both try to create the tables.
        _add_columns(database.engine)
        SQLModel.metadata.create_all(database.engine, tables=[_table(each) for each in TABLES])
    return database


def _open_sqlite(path: Path) -> Database:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path_of_turn = Path(f"{path}.turn")
        lock = os.open(path_of_turn, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageMisconfigured(f"cannot use {path.parent} for the database: {error.strerror}") from error
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,  # One thread, one connection, for as long as the store is open.
        connect_args={
            "check_same_thread": False,
            "isolation_level": None,
            "cached_statements": STATEMENTS_CACHED,
            "timeout": BUSY_TIMEOUT_MS / 1000,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    @contextmanager
    def turn() -> Iterator[None]:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)

    def close() -> None:
        engine.dispose()
        os.close(lock)

    def free() -> int | None:
        return end_stopped_holder(path_of_turn)

    # A transaction here always writes: taking the write lock first means it cannot fail half way for want of it.
    return Database(engine, turn, free, "BEGIN IMMEDIATE", (sqlite3.Error, SQLAlchemyError), close)


def _add_columns(engine: Engine) -> None:
    """Bring a file from before counters had all their columns up to date."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("counter"):
            return
        there = {column["name"] for column in inspect(connection).get_columns("counter")}
        for name, type in ADDED.items():
            if name not in there:
                connection.exec_driver_sql(f"ALTER TABLE counter ADD COLUMN {name} {type}")
        for index in _table(tables.Counter).indexes:
            index.create(connection, checkfirst=True)


def _table(model: type[SQLModel]) -> Any:
    return model.__table__  # type: ignore[attr-defined]


