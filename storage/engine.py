"""Opening a database. The only lines that know which one it is are here, in `sqlite` and in `postgres`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from storage import schema
from storage.advice import advice
from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.postgres import Postgres
from storage.records import Commit, Postponement
from storage.sqlite import Sqlite

KNOWN = "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"


class Database(Protocol):
    """An open database, and what differs between one and another.

    `driver` is the driver's own connection, which the hot statements go to: through SQLAlchemy they cost twice as much.
    """

    errors: tuple[type[Exception], ...]  # What a failed call raises.
    embedded: bool  # It is ours alone, so its schema may be brought up to date whenever it is opened.

    def connect(self) -> Connection:
        """A connection in autocommit mode. It may be used by any thread, but by one at a time."""
        ...

    def usable(self, driver: Any) -> bool:
        """Whether a connection can still be used; if not, another one has to be made."""
        ...

    def transaction(self, driver: Any, several: bool, lasting: bool = True) -> AbstractContextManager[None]:
        """Everything inside happens together or not at all; `several` when it is more than one hot statement.

        Not `lasting`: it may be undone by a crash of the machine with the database, if that ends all hosts, too.
        """
        ...

    def claim(self, driver: Any, names: Sequence[str], version: int) -> list[tuple[Any, ...]]:
        """Raise the epochs of `names`, each once. Returns what was claimed, in the order of CounterRecord."""
        ...

    def write(self, driver: Any, commit: Commit) -> frozenset[int]:
        """Write counters and deadlines whose epoch is current, and operations and members of those.

        Returns the others' ids.
        """
        ...

    def seen(self, driver: Any, operation_ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """Those of `operation_ids` that there are, once for each counter that has such an operation."""
        ...

    def operations_after(self, driver: Any, places: Sequence[tuple[int, int]]) -> list[tuple[Any, ...]]:
        """Operations of counters that come after a seq (counter id, seq), in order."""
        ...

    def memberships(self, driver: Any, keys: Sequence[tuple[int, str]]) -> list[tuple[Any, ...]]:
        """Those of `keys` (counter id, member) that are members."""
        ...

    def postpone(self, driver: Any, postponements: Sequence[Postponement]) -> None:
        """Move deadlines that are what they were."""
        ...

    def any_due(self, driver: Any, steady: int, wall: int) -> bool:
        """Whether a counter or an alarm is due: asked twice a second, and hardly ever true."""
        ...

    def among(self, column: Any, values: Sequence[Any]) -> Any:
        """The condition that `column` is one of `values`."""
        ...

    def snapshot(self, driver: Any) -> AbstractContextManager[None]:
        """Whatever is read inside is as of one moment."""
        ...

    def insert(self, driver: Any, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert many rows, the fastest way there is."""
        ...

    def alone(self) -> AbstractContextManager[Connection]:
        """A connection for changes of the schema, in one transaction, while nobody else makes any."""
        ...

    def free(self) -> int | None:
        """End a stopped process that keeps others from writing; its pid. None: there is no such process."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def open_database(url: str) -> Database:
    """Open the database at `url`, creating file and tables when they are missing.

    Raises StorageMisconfigured when the URL is not one that we know, its folder cannot be used, or the schema is not
    the one that this code needs. A file is brought up to date, because nobody else would; a server's operator decides.
    """
    database = _open(_parse(url))
    try:
        with database.alone() as connection:  # Two hosts that start together would otherwise both create the tables.
            schema.ensure(connection, migrating=database.embedded)
    except BaseException:
        database.close()
        raise
    return database


def migrate(url: str) -> tuple[str | None, str]:
    """Bring the schema of the database at `url` up to date. Returns the revision it had (None: empty), and has."""
    database = _open(_parse(url))
    try:
        with database.alone() as connection:
            return schema.migrate(connection)
    except database.errors as error:
        raise StorageUnavailable(f"cannot migrate {shown(url)}: {said(error)}") from error
    finally:
        database.close()


def shown(url: str) -> str:
    """The URL without its password."""
    return _parse(url).render_as_string(hide_password=True)


def said(error: Exception) -> str:
    """What the driver said and what to do about it, on one line. SQLAlchemy's wrapping, left out, quotes parameters."""
    cause = error.__cause__ or error
    text, what = " ".join(str(cause).split()), advice(cause)
    return f"{text} ({what})" if what else text


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise StorageMisconfigured(f"not a database URL: {url!r}; use {KNOWN}") from error
    except ValueError as error:  # It may hold a password.
        raise StorageMisconfigured(f"not a database URL, its port is no number; use {KNOWN}") from error


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
