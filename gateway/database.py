"""`counters migrate`, `counters mirror`: commands for a database, whether a service runs on it or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.clock import SystemClock
from gateway.config import Settings
from storage.engine import migrate as migrate_database
from storage.engine import shown
from storage.errors import StorageError
from storage.store import open_store

if TYPE_CHECKING:
    from actors.rebuild import Rebuild


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


def rebuild(settings: Settings) -> int:
    """Set every counter in Redis, and remove what is none. Returns the exit code."""

    def work(mirror: Rebuild) -> int:
        count, removed = mirror.everything()
        print(f"{count:,} counters set, {removed:,} that are none removed")
        return 0

    return _with_mirror(settings, work)


def verify(settings: Settings) -> int:
    """Print what Redis has that is not so. Returns the exit code: 1 when there is something."""

    def work(mirror: Rebuild) -> int:
        count = 0
        for name, mirrored, value in mirror.differences():
            count += 1
            print(f"{name}: {_said(mirrored)} in Redis, {_said(value)} in storage", flush=True)
        print(f"{count:,} differences" if count else "no differences")
        return 1 if count else 0

    return _with_mirror(settings, work)


def _said(value: object) -> str:
    return "nothing" if value is None else str(value)


def _with_mirror(settings: Settings, work: Callable[[Rebuild], int]) -> int:
    from redis.exceptions import RedisError  # Only who asks for it pays for it.

    from actors.rebuild import Rebuild

    if not settings.redis_url:
        print("counters: which Redis? Say --redis-url, or set REDIS_URL", file=sys.stderr)
        return 2
    try:
        store = open_store(settings.database_url)
    except StorageError as error:
        print(f"counters: {error}", file=sys.stderr)
        return 1
    mirror = Rebuild(store, settings.redis_url, SystemClock(store.agree))
    try:
        return work(mirror)
    except (RedisError, StorageError) as error:
        print(f"counters: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    finally:
        mirror.close()
        store.close()
