"""How many operations a second one host's storage makes durable, on one database beside another.

    python -m loadtests.storage_rates sqlite:////tmp/rates.db postgresql+psycopg://user:password@127.0.0.1/scratch

One hot counter, and a thousand of them; commits of 1, 30 and 1,000 operations. The databases take turns, a few commits
at a time, so that a busy machine is as busy for one as for the other. They keep what was written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import cycle, islice
from uuid import uuid4

from storage.records import Commit, CounterRecord, CounterWrite, OperationRecord
from storage.store import SqlStore, open_store

TURN_S = 0.2
SIZES = ((1, 1), (30, 1), (30, 1000), (1000, 1), (1000, 1000))  # Operations in a commit, and counters.


class Load:
    """Commits of one size on one store."""

    def __init__(self, store: SqlStore, counters: int, operations: int) -> None:
        self._store = store
        self._label = uuid4().hex[:8]
        rows = store.claim([f"{self._label}-{number}" for number in range(counters)], 0)
        self._rows = {row.name: row for row in rows}
        self._next = cycle(self._rows)
        self._operations = operations
        self.done = 0
        self.seconds = 0.0

    def turn(self) -> None:
        """Commit for a moment."""
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < TURN_S:
            self._commit()
            self.done += self._operations
        self.seconds += passed

    def _commit(self) -> None:
        at = int(time.time() * 1000)
        history: list[OperationRecord] = []
        touched: dict[str, CounterRecord] = {}
        for name in islice(self._next, self._operations):
            row = self._rows[name]
            row = self._rows[name] = touched[name] = row._replace(value=row.value + 1, seq=row.seq + 1)
            id = f"{self._label}-{row.id:x}-{row.seq:010x}"
            history.append(OperationRecord(row.id, row.seq, "increment", 1, row.value, row.seq, at, id, None, None))
        writes = [CounterWrite(row.id, row.epoch, row.value, row.seq, at, at) for row in touched.values()]
        assert self._store.commit(Commit(writes, history)) == frozenset()


def compare(urls: Sequence[str], seconds: float, sizes: Sequence[tuple[int, int]] = SIZES) -> list[float]:
    """Print the table. Returns for each size what the last database does of what the first does."""
    stores = [open_store(url) for url in urls]
    kinds = " | ".join(url.split(":")[0] for url in urls)
    print(f"| operations in a commit / counters | {kinds} | ratio |")
    print("|---" * (len(stores) + 2) + "|")
    ratios = []
    for operations, counters in sizes:
        loads = [Load(store, counters, operations) for store in stores]
        for _ in range(round(seconds / TURN_S)):
            for load in loads:
                load.turn()
        rates = [load.done / load.seconds for load in loads]
        cells = " | ".join(f"{rate:,.0f}/s" for rate in rates)
        ratios.append(rates[-1] / rates[0])
        print(f"| {operations:,} / {counters:,} | {cells} | {ratios[-1]:.2f} |", flush=True)
    for store in stores:
        store.close()
    return ratios


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("databases", nargs="+", metavar="URL")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (3)")
    given = parser.parse_args()
    compare(given.databases, given.seconds)


if __name__ == "__main__":
    main()
