"""`counters migrate`: commands for a database, whether a service runs on it or not."""

from __future__ import annotations

import sys

from gateway.config import Settings
from storage.engine import migrate as migrate_database
from storage.engine import shown
from storage.errors import StorageError


def migrate(settings: Settings) -> int:
    """Bring the schema of the database up to date. Returns the exit code."""
    try:
        before, after = migrate_database(settings.database_url)
    except StorageError as error:
        print(f"counters: {error}", file=sys.stderr)
        return 1
    where = shown(settings.database_url)
    if before == after:
        print(f"{where}: nothing to do, the schema is {after}")
    else:
        print(f"{where}: made, with schema {after}" if before is None else f"{where}: schema {before} → {after}")
    return 0
