"""The database of somebody else's application, which is read as of one moment and never written: SQLite or Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from storage.errors import StorageMisconfigured

CONNECT_S = 5
FETCHED = 5_000  # Rows at a time.
BYTEWISE = {"sqlite": "BINARY", "postgresql": '"C"'}


class Application:
    """One connection, in one transaction. Everything raises StorageMisconfigured with what the database says."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise StorageMisconfigured(f"not a database URL: {url!r}") from error
        except ValueError as error:  # It may hold a password.
            raise StorageMisconfigured("not a database URL, its port is no number") from error
        self._kind = parsed.get_backend_name()
        if self._kind not in BYTEWISE:
            raise StorageMisconfigured(f"cannot read {self._kind!r}: the source has to be SQLite or Postgres")
        self._connection = self._connect(parsed)

    def _connect(self, url: URL) -> Connection:
        options: dict[str, Any] = {}
        if self._kind == "sqlite":
            if not Path(url.database or "").is_file():
                raise StorageMisconfigured(f"there is no database at {url.database}")
            url = url.set(database=f"file:{quote(url.database or '')}").update_query_dict({"mode": "ro", "uri": "true"})
        else:
            url = url.set(drivername="postgresql+psycopg")
            options = {"connect_timeout": CONNECT_S, "options": "-c default_transaction_read_only=on"}
        try:
            engine = create_engine(url, poolclass=NullPool, connect_args=options)
            # A percent sign in a query is one.
            connection = engine.connect().execution_options(no_parameters=True, stream_results=True)
            if self._kind == "sqlite":
                connection.exec_driver_sql("BEGIN")  # Python's driver begins nothing for a SELECT.
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            return connection
        except SQLAlchemyError as error:
            raise _wrong("cannot read the source", error) from error

    def columns(self, query: str) -> int:
        """How many columns a query has."""
        try:
            return len(self._connection.exec_driver_sql(f"SELECT * FROM ({_bare(query)}) AS given LIMIT 0").keys())
        except SQLAlchemyError as error:
            raise _wrong("the query cannot be read", error) from error

    def rows(self, query: str, by: int) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, in the bytewise order of its first `by` columns, which have to be text."""
        names = [f"c{number}" for number in range(self.columns(query))]
        order = ", ".join(f"{name} COLLATE {BYTEWISE[self._kind]}" for name in names[:by])
        ordered = f"WITH given ({', '.join(names)}) AS ({_bare(query)}) SELECT * FROM given ORDER BY {order}"
        try:
            for row in self._connection.exec_driver_sql(ordered).yield_per(FETCHED):
                yield tuple(row)
        except SQLAlchemyError as error:
            raise _wrong("the query cannot be read", error) from error

    def close(self) -> None:
        """End the transaction and the connection."""
        self._connection.close()


def _bare(query: str) -> str:
    """To be put into brackets: without the semicolon at its end, and with a line to itself for a comment."""
    return f"\n{query.strip().rstrip(';')}\n"


def _wrong(what: str, error: SQLAlchemyError) -> StorageMisconfigured:
    return StorageMisconfigured(f"{what}: {' '.join(str(error.__cause__ or error).split())}")
