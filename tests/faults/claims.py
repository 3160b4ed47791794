"""Hundreds claim one counter at the same time: each epoch has one owner, and only the newest of them may write.

    python -m tests.faults.claims
    python -m tests.faults.claims --postgres

Several processes, each with many connections to one database, a SQLite file or a Postgres server of the test's own. In
every round all claim, and then all write.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context

from loadtests.service import raise_open_files
from loadtests.verdict import Verdict
from storage.store import open_store
from tests.faults.command import chosen, options
from tests.support.claimants import Attempt, race
from tests.support.postgres_server import PostgresServer

NAME = "claimed"
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Sizes:
    rounds: int = field(default=11, metadata={"help": "rounds"})
    claimants: int = field(default=500, metadata={"help": "that claim at once, in all processes together"})
    processes: int = field(default=4, metadata={"help": "that they are spread over"})


QUICK = Sizes(rounds=3, claimants=40, processes=2)


def run(url: str, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    each = sizes.claimants // sizes.processes
    all = each * sizes.processes
    context = get_context("spawn")
    began = time.monotonic()
    with context.Manager() as manager, context.Pool(sizes.processes) as pool:
        gate = manager.Barrier(all)
        jobs = [
            pool.apply_async(race, (url, NAME, f"p{number}", each, sizes.rounds, gate))
            for number in range(sizes.processes)
        ]
        attempts = [attempt for job in jobs for attempt in job.get(PATIENCE_S)]
    verdict.exactly("claims", len(attempts), all * sizes.rounds)
    owners = Counter(attempt.epoch for attempt in attempts)
    verdict.exactly("epochs with exactly one owner", sum(count == 1 for count in owners.values()), len(attempts))
    verdict.exactly("highest epoch", max(owners), len(attempts))
    fair = sum(
        _only_the_newest_wrote([each for each in attempts if each.round == round]) for round in range(sizes.rounds)
    )
    verdict.exactly("rounds in which only the newest owner could write", fair, sizes.rounds)
    store = open_store(url)
    row = store.read([NAME])[NAME]
    history = store.since(row.id, 0, len(attempts))
    store.close()
    verdict.exactly("stored value", row.value, sizes.rounds)
    verdict.exactly("operations stored", len(history), sizes.rounds)
    verdict.figure("time taken", time.monotonic() - began, "s")


def _only_the_newest_wrote(attempts: Sequence[Attempt]) -> bool:
    return [each.epoch for each in attempts if each.committed] == [max(each.epoch for each in attempts)]


def main() -> int:
    """The command."""
    parser = options(__doc__, Sizes())
    parser.add_argument("--postgres", action="store_true", help="on a Postgres of its own instead of SQLite")
    given = parser.parse_args()
    sizes = chosen(given, Sizes(), QUICK)
    raise_open_files()
    verdict = Verdict()
    with ExitStack() as stack:
        if given.postgres:
            url = stack.enter_context(PostgresServer()).start(max_connections=sizes.claimants + 20).new_database()
        else:
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/counters.db"
        run(url, sizes, verdict)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
