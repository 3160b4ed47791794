"""One hot counter in large commits: how much of the SQLite rate Postgres reaches, in the same run on the same disk.

    python -m tests.faults.rates

`loadtests.storage_rates` on a SQLite file and a Postgres server of the test's own, both flushed. Exits with 1 when the
bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

from loadtests.storage_rates import SIZES, compare
from loadtests.verdict import Verdict
from tests.support.postgres_server import PostgresServer

HOT = (1_000, 1)
BAR = 0.6


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure (5)")
    given = parser.parse_args()
    verdict = Verdict()
    with PostgresServer(flushed=True) as server, tempfile.TemporaryDirectory() as folder:
        urls = f"sqlite:///{folder}/counters.db", server.start().new_database()
        ratios = dict(zip(SIZES, compare(urls, given.seconds), strict=True))
    verdict.require("one hot counter: of the SQLite rate at least 0.60", ratios[HOT] >= BAR, f"{ratios[HOT]:.2f}")
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
