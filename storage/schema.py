"""Which shape a database has, which one this code wants, and the way from one to the other.

A new database is made from `tables` and marked with the newest revision; an older one goes through `migrations`, one
after the other. A test holds both ways to the same result.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select
from sqlmodel import SQLModel

from storage import tables
from storage.errors import StorageMisconfigured

# The oldest first; each is a file in `migrations/versions`.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
NEWEST = REVISIONS[-1]
TABLES = (tables.Counter, tables.Operation, tables.Alarm, tables.AlarmRun, tables.Note, tables.Member)

# Alembic's own, as it makes it.
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False, primary_key=True))
_VERSION.primary_key.name = "alembic_version_pkc"

log = logging.getLogger("counters.storage")


def revision(connection: Connection) -> str | None:
    """The revision of the database; None: it is empty.

    What was made before revisions were noted is told by its columns.
    """
    there = inspect(connection)
    if there.has_table("alembic_version"):
        noted: str | None = connection.execute(select(_VERSION.c.version_num)).scalar()
        return noted
    if not there.has_table("counter"):
        return None
    columns = {column["name"] for column in there.get_columns("counter")}
    return "0003" if "due_at" in columns else "0002" if "placed" in columns else "0001"


def ensure(connection: Connection, migrating: bool) -> None:
    """Make the tables if there are none; bring older ones up to date when `migrating`.

    Raises StorageMisconfigured when they are older and we may not, or newer than this code.
    """
    found = revision(connection)
    if found == NEWEST:
        _note(connection)
    elif found is None:
        SQLModel.metadata.create_all(connection, tables=[_table(each) for each in TABLES])
        _note(connection)
    elif migrating:
        migrate(connection)
    else:
        _refuse_newer(found)
        raise StorageMisconfigured(
            f"the database has schema {found}, this version of counters needs {NEWEST}: back it up, then run "
            "`counters migrate` with the same --database"
        )


def migrate(connection: Connection) -> tuple[str | None, str]:
    """Bring the database to the newest revision. Returns the one it had (None: empty) and the one it has.

    The caller has a transaction open: all of it happens, or nothing.
    """
    found = revision(connection)
    if found is None:
        ensure(connection, migrating=False)
        return None, NEWEST
    _refuse_newer(found)
    if found != NEWEST:
        from alembic import command  # Only who migrates pays for it.
        from alembic.config import Config

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "storage:migrations")
        config.set_main_option("path_separator", "os")
        if not inspect(connection).has_table("alembic_version"):
            _note(connection, found)
        command.upgrade(config, NEWEST)
        log.info("action=migrated from=%s to=%s", found, NEWEST)
    return found, NEWEST


def _refuse_newer(found: str) -> None:
    if found not in REVISIONS:
        raise StorageMisconfigured(
            f"the database has schema {found}, newer than this version of counters knows ({NEWEST}): install the "
            "version that made it, or a later one"
        )


def _note(connection: Connection, found: str = NEWEST) -> None:
    if not inspect(connection).has_table("alembic_version"):
        _VERSION.create(connection)
        connection.execute(_VERSION.insert().values(version_num=found))


def _table(model: type[SQLModel]) -> Any:
    return model.__table__  # type: ignore[attr-defined]
