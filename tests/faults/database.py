"""The database cannot be used for a while: the log says why and what to do, callers may ask again, nothing is lost.

    python -m tests.faults.database
    python -m tests.faults.database --faults full,locked --seconds 60

On SQLite its small disk is full, or another program sits in a transaction on it; on a Postgres of the test's own the
server is stopped or killed, the password is changed, a table is missing, no connection is given, nothing may be
written, or somebody locks every row. One fault after the other, under load; then the service has to go on by itself.
Exits with 1 when a bar was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import msgspec
import psycopg

from loadtests.verdict import Verdict
from tests.faults.crowd import Crowd
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.service_process import Service
from tests.support.small_disk import SmallDisk, small_disk

COUNTERS = 20
RATE = 100
GATEWAY_S = 10.0  # For so long a gateway asks again by itself.
BACK_S = 15.0  # A host or a timer that had to be started again, and its first try.


class Fault(NamedTuple):
    """What makes the database unusable, what undoes it, and what the log says meanwhile."""

    inflict: Callable[[], object]
    cure: Callable[[], object]
    advice: str


def sqlite_faults(disk: SmallDisk) -> dict[str, Fault]:
    """Of a file on a small disk."""
    database = disk.folder / "counters.db"
    held: list[sqlite3.Connection] = []

    def lock() -> None:
        held.append(sqlite3.connect(database, isolation_level=None, check_same_thread=False))
        held[0].execute("BEGIN IMMEDIATE")

    return {
        "full": Fault(disk.fill, disk.make_room, "make room"),
        "locked": Fault(lock, lambda: held.pop().close(), "another program"),
    }


def postgres_faults(server: PostgresServer, url: str) -> dict[str, Fault]:
    """Of a database on a server."""
    name = url.rpartition("/")[2]

    def operator(*statements: str) -> Callable[[], None]:
        def run() -> None:
            with server.connect(name) as connection:
                for statement in statements:
                    connection.execute(statement)

        return run

    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND usename = 'counters'"
    held: list[psycopg.Connection[Any]] = []

    def lock() -> None:
        held.append(server.connect(name))
        held[0].execute("BEGIN")
        held[0].execute("SELECT FROM counter FOR UPDATE")

    return {
        "stopped": Fault(server.stop, server.start, "the server"),
        "killed": Fault(server.kill, server.start, "the server"),
        "password": Fault(
            operator("ALTER ROLE counters PASSWORD 'another'", cut),
            operator(f"ALTER ROLE counters PASSWORD '{PASSWORD}'"),
            "look at user and password",
        ),
        "limit": Fault(
            operator("ALTER ROLE counters CONNECTION LIMIT 0", cut),
            operator("ALTER ROLE counters CONNECTION LIMIT -1"),
            "max_connections",
        ),
        "read-only": Fault(
            operator(f"ALTER DATABASE {name} SET default_transaction_read_only = on", cut),
            operator("SET default_transaction_read_only = off", f"ALTER DATABASE {name} RESET ALL"),
            "only read",
        ),
        "table": Fault(
            operator("ALTER TABLE operation RENAME TO elsewhere"),
            operator("ALTER TABLE elsewhere RENAME TO operation"),
            "a table is missing",
        ),
        "rows": Fault(lock, lambda: held.pop().close(), "another session holds the rows"),
    }


async def run(service: Service, fault: str, what: Fault, seconds: float, verdict: Verdict) -> None:
    """One fault. With `seconds` beyond GATEWAY_S callers hear of it, and what they hear is looked at."""
    verdict.remark(fault)
    crowd = Crowd(service, f"d-{fault}", COUNTERS, RATE)
    await crowd.start(COUNTERS)
    size = service.log_size()
    await asyncio.to_thread(what.inflict)
    try:
        line = await asyncio.to_thread(service.wait_for_line, rf".* action=\w+_failed .*{what.advice}.*", size)
        verdict.remark(f"the log says: {line[0].partition(' error=')[2]}")
        asked = asyncio.create_task(asyncio.to_thread(_told, service, crowd.names[0])) if seconds > GATEWAY_S else None
        await asyncio.sleep(seconds)
        if asked is not None:
            verdict.exactly("callers hear 503 UNAVAILABLE and may ask again", int(await asked), 1)
    finally:
        began = time.monotonic()
        await asyncio.to_thread(what.cure)
    await crowd.acknowledged(2 * COUNTERS)
    verdict.at_most("works again after", time.monotonic() - began, BACK_S, "s", timed=True)
    await crowd.judge(verdict, unavailable=True)


def _told(service: Service, name: str) -> bool:
    """Whether a caller is told to ask again."""
    request = urllib.request.Request(
        f"{service.url}/rpc/counter.increment",
        msgspec.json.encode({"name": f"{name}-asked"}),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=3 * GATEWAY_S):
            return False
    except urllib.error.HTTPError as answer:
        error = msgspec.json.decode(answer.read())["error"]
        return answer.code == 503 and error["code"] == "UNAVAILABLE" and error["retryable"] is True


@contextmanager
def on_sqlite() -> Iterator[tuple[Service, dict[str, Fault]]]:
    """A service on a small disk. Raises PermissionError where there can be none."""
    with (
        small_disk(64) as disk,  # The log alone grows to 16 MB before it is folded into the database.
        Service(database=f"sqlite:///{disk.folder / 'counters.db'}", hosts=2).start() as service,
    ):
        yield service, sqlite_faults(disk)


@contextmanager
def on_postgres() -> Iterator[tuple[Service, dict[str, Fault]]]:
    """A service on a server of its own."""
    with PostgresServer(flushed=True) as server:
        url = server.start().new_database()
        with Service(database=url, hosts=2).start() as service:
            yield service, postgres_faults(server, url)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", help="only these, separated by commas (all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="that each lasts (20)")
    given = parser.parse_args()
    verdict = Verdict()
    for place in (on_sqlite, on_postgres):
        with ExitStack() as stack:
            service, faults = stack.enter_context(place())
            for fault, what in faults.items():
                if given.faults is None or fault in given.faults.split(","):
                    asyncio.run(run(service, fault, what, given.seconds, verdict))
            verdict.exactly("exit code of the service, which left nothing behind", service.stop(), 0)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
