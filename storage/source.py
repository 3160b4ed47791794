"""A number from somebody else's database: one SELECT, with nothing kept open afterwards.

Whatever SQLAlchemy has a driver for. Nothing is written: SQLite and Postgres are told to allow none of it, and no
transaction is ever committed. How long it may take is told to those that can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import URL, Connection, NullPool, create_engine, make_url

from storage.engine import said
from storage.errors import StorageError

Reason = Literal["unreachable", "query", "timeout", "rows", "value"]

VALUE_MAX = 2**53 - 1
CONNECT_S = 5
STEPS = 10_000  # Of SQLite between two looks at the clock: a fraction of a millisecond.
CANCELLED = "57014"  # What Postgres says when its time is over.


class SourceFailed(StorageError):
    """There is no number. `reason` is for the caller; the text, which may tell of the database, for the log."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        super().__init__(message)


def count(database: str, query: str, timeout_s: float, overdue: Callable[[], bool]) -> int:
    """The number that `query` returns. Blocks; raises SourceFailed.

    `overdue` says whether `timeout_s` is over. A database that cannot be told to stop may take longer.
    """
    with _connected(database, timeout_s) as connection:
        driver: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":
            driver.set_progress_handler(overdue, STEPS)
        # Without parameters, so that a % in it is a % and not the place of one.
        options = {"no_parameters": True}
        try:
            rows = connection.exec_driver_sql(query, execution_options=options).fetchmany(2)
        except Exception as error:  # Whatever drivers raise: a sync that ends otherwise is not tried again.
            late = overdue() or getattr(error.__cause__, "sqlstate", None) == CANCELLED
            raise SourceFailed("timeout" if late else "query", said(error)) from error
    return number(rows)


def _connected(database: str, timeout_s: float) -> Connection:
    try:
        url, options = _reading(make_url(database), timeout_s)
        return create_engine(url, poolclass=NullPool, connect_args=options).connect()
    except Exception as error:
        raise SourceFailed("unreachable", said(error)) from error


def _reading(url: URL, timeout_s: float) -> tuple[URL, dict[str, Any]]:
    """How to connect so that nothing can be written and nothing takes too long."""
    match url.get_backend_name():
        case "sqlite":
            file = url.database or ""
            name = file if file.startswith("file:") else f"file:{quote(file)}"
            return url.set(database=name).update_query_dict({"mode": "ro", "uri": "true"}), {"timeout": timeout_s}
        case "postgresql":
            settings = {"default_transaction_read_only": "on", "statement_timeout": str(round(timeout_s * 1000))}
            options = " ".join(f"-c {name}={value}" for name, value in settings.items())
            driver = "postgresql+psycopg" if url.drivername == "postgresql" else url.drivername
            return url.set(drivername=driver), {"connect_timeout": CONNECT_S, "options": options}
    return url, {}


def number(rows: Sequence[Sequence[Any]]) -> int:
    """The one number in `rows`. Raises SourceFailed."""
    if len(rows) != 1:
        raise SourceFailed("rows", "the query returned " + ("more than one row" if rows else "no row"))
    if len(rows[0]) != 1:
        raise SourceFailed("rows", f"the query returned {len(rows[0])} columns")
    value: Any = rows[0][0]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise SourceFailed("value", f"the query returned {'NULL' if value is None else type(value).__name__}")
    if isinstance(value, int) or (isfinite(value) and value == int(value)):
        whole = int(value)
        if abs(whole) <= VALUE_MAX:
            return whole
    raise SourceFailed("value", f"the query returned {value}, which is no integer within ±{VALUE_MAX}")
