"""Opening a database. The only lines that know which one it is are here, in `sqlite` and in `postgres`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, inspect, make_url
from sqlalchemy.exc import ArgumentError
from sqlmodel import SQLModel

from storage import tables
from storage.errors import StorageMisconfigured
from storage.postgres import Postgres
from storage.records import Commit, Postponement
from storage.sqlite import Sqlite

TABLES = (tables.Counter, tables.Operation, tables.Alarm, tables.AlarmRun, tables.Note)
ADDED = {"placed": "BIGINT NOT NULL DEFAULT 0", "idle_since": "BIGINT", "due_at": "BIGINT", "tick_at": "BIGINT"}
KNOWN = "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"


class Database(Protocol):
    """An open database, and what differs between one and another.

    `driver` is the driver's own connection, which the hot statements go to: through SQLAlchemy they cost twice as much.
    """

    errors: tuple[type[Exception], ...]  # What a failed call raises.

    def connect(self) -> Connection:
        """A connection in autocommit mode. It may be used by any thread, but by one at a time."""
        ...

    def usable(self, driver: Any) -> bool:
        """Whether a connection can still be used; if not, another one has to be made."""
        ...

    def transaction(self, driver: Any, several: bool) -> AbstractContextManager[None]:
        """Everything inside happens together or not at all; `several` when it is more than one hot statement."""
        ...

    def claim(self, driver: Any, names: Sequence[str], version: int) -> list[tuple[Any, ...]]:
        """Raise the epochs of `names`, each once. Returns what was claimed, in the order of CounterRecord."""
        ...

    def write(self, driver: Any, commit: Commit) -> frozenset[int]:
        """Write counters and deadlines whose epoch is current, and the operations of those. Returns the others' ids."""
        ...

    def postpone(self, driver: Any, postponements: Sequence[Postponement]) -> None:
        """Move deadlines that are what they were."""
        ...

    def among(self, column: Any, values: Sequence[Any]) -> Any:
        """The condition that `column` is one of `values`."""
        ...

    def alone(self) -> AbstractContextManager[Connection]:
        """A connection for changes of the schema, while nobody else makes any; one transaction where that works."""
        ...

    def free(self) -> int | None:
        """End a stopped process that keeps others from writing; its pid. None: there is no such process."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def open_database(url: str) -> Database:
    """Open the database at `url`, creating file and tables when they are missing.

    Raises StorageMisconfigured when the URL is not one that we know or its folder cannot be used.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StorageMisconfigured(f"not a database URL: {url!r}; use {KNOWN}") from error
    database = _open(parsed)
    with database.alone() as connection:  # Two hosts that start together would otherwise both create the tables.
        _add_columns(connection)
        SQLModel.metadata.create_all(connection, tables=[_table(each) for each in TABLES])
    return database


def _open(url: URL) -> Database:
    match url.drivername:
        case "sqlite":
            if not url.database or url.database == ":memory:":
                raise StorageMisconfigured(
                    "an in-memory SQLite database cannot be shared by processes: use sqlite:///FILE"
                )
            return Sqlite(Path(url.database))
        case "postgresql" | "postgresql+psycopg":
            return Postgres(url.set(drivername="postgresql+psycopg"))
        case other:
            raise StorageMisconfigured(f"database {other!r} is not supported: use {KNOWN}")


def _add_columns(connection: Connection) -> None:
    """Bring a file from before counters had all their columns up to date."""
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
