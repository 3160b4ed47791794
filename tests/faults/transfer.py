"""Counters by the million from one database to another, and from an application's: how long it takes, and whether all
of them arrive.

    python -m tests.faults.transfer

A SQLite file is copied to a Postgres server of the test's own with one command, which looks at every counter once more
at its end. Then an application's database of counts and members is imported, verified, and imported again.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.verdict import Verdict
from storage.bulk import Whole, open_bulk
from storage.records import CounterRecord, OperationRecord
from tests.faults.command import chosen, options
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import run_command

BATCH = 10_000
AT = 1_800_000_000_000
PATIENCE_S = 3_600.0
BAR_S = 120.0


@dataclass(frozen=True)
class Sizes:
    counters: int = field(default=1_000_000, metadata={"help": "counters to copy, each with one operation"})
    counts: int = field(default=200_000, metadata={"help": "counters that an application has counts of"})
    members: int = field(default=1_000_000, metadata={"help": "members of these, all of them together"})


QUICK = Sizes(counters=2_000, counts=500, members=5_000)


def fill(url: str, counters: int) -> None:
    """A database with so many counters."""
    with closing(open_bulk(url)) as target:
        for first in range(0, counters, BATCH):
            target.make([_counter(number) for number in range(first, min(first + BATCH, counters))])


def _counter(number: int) -> Whole:
    row = CounterRecord(0, f"c{number}", number, 1, 0, AT, AT, "ann", '{"maximum":9999999}', idle_since=AT)
    operation = OperationRecord(0, 1, "setValue", number, number, 0, AT, f"o{number}", "ann", None, "http")
    return Whole(row, operations=[operation])


def fill_application(path: Path, sizes: Sizes) -> None:
    """An application's database: its posts, and who likes them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE post (id INTEGER PRIMARY KEY, likes INTEGER)")
        connection.execute("CREATE TABLE liked (post INTEGER, account TEXT)")
        liked = ((number * 7 % sizes.counts, f"account-{number}") for number in range(sizes.members))
        connection.executemany("INSERT INTO liked VALUES (?, ?)", liked)
        connection.executemany("INSERT INTO post VALUES (?, 0)", ((number,) for number in range(sizes.counts)))
        connection.execute(
            "UPDATE post SET likes = n FROM (SELECT post, count(*) n FROM liked GROUP BY 1) WHERE post = id"
        )
        connection.commit()


def run(folder: Path, url: str, sizes: Sizes, verdict: Verdict) -> None:
    """See the module. `url` is that of an empty database on a server."""
    source = f"sqlite:///{folder / 'source.db'}"
    fill(source, sizes.counters)
    copy = ("--source", source, "--history")
    said = f"verified: {sizes.counters:,} the same, 0 missing, 0 different"
    _timed(verdict, f"{sizes.counters:,} counters copied to Postgres", (*copy, "--database", url), said)
    application = folder / "application.db"
    fill_application(application, sizes)
    queries = (
        "--source", f"sqlite:///{application}",
        "--counts", "SELECT 'post:' || id, likes FROM post",
        "--members", "SELECT 'post:' || post, account FROM liked",
    )  # fmt: skip
    made = f"{sizes.counts:,} imported with {sizes.members:,} members, 0 there already, 0 different, 0 refused"
    same = f"0 imported, {sizes.counts:,} there already, 0 different, 0 refused"
    for name, database in (("SQLite", f"sqlite:///{folder / 'counters.db'}"), ("Postgres", url)):
        what = f"{sizes.counts:,} counts, {sizes.members:,} members to {name}"
        seconds = _timed(verdict, what, (*queries, "--database", database), made)
        verdict.at_most("that takes", seconds, BAR_S, "s", timed=True)
        _timed(verdict, "again, it changes nothing", (*queries, "--database", database), same)


def _timed(verdict: Verdict, what: str, arguments: tuple[str, ...], wanted: str) -> float:
    began = time.monotonic()
    done = run_command("import", *arguments, timeout=PATIENCE_S)
    seconds = time.monotonic() - began
    verdict.require(what, done.returncode == 0 and wanted in done.stdout, f"{seconds:.1f} s")
    if wanted not in done.stdout:
        verdict.remark(f"WRONG {done.stdout}{done.stderr}"[:2_000])
    return seconds


def main() -> int:
    """The command."""
    sizes = chosen(options(__doc__, Sizes()).parse_args(), Sizes(), QUICK)
    verdict = Verdict()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(PostgresServer(flushed=True)).start().new_database()
        run(folder, url, sizes, verdict)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
