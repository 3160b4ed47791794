"""Owners that fight over counters on one database: what a process of `tests.contract` runs."""

from __future__ import annotations

from storage.records import Commit, CounterRecord, CounterWrite, OperationRecord
from storage.store import Store, open_store


def increment(store: Store, row: CounterRecord, operation_id: str, at: int = 1) -> CounterRecord | None:
    """Add one as the owner of `row`; None when somebody else owns it by now."""
    value, seq = row.value + 1, row.seq + 1
    fenced = store.commit(
        Commit(
            [CounterWrite(row.id, row.epoch, value, seq, at)],
            [OperationRecord(row.id, seq, "increment", 1, value, row.value, at, operation_id, None, None)],
        )
    )
    return None if fenced else row._replace(value=value, seq=seq)


def count(url: str, name: str, who: str, operations: int, a_turn: int) -> list[int]:
    """Add `operations` to a counter that others own, too: claim it, add a few, claim it again.

    Returns the epochs that were ours.
    """
    store = open_store(url)
    epochs = []
    done = 0
    while done < operations:
        [row] = store.claim([name], 1)
        epochs.append(row.epoch)
        for _ in range(min(a_turn, operations - done)):
            after = increment(store, row, f"{who}-{done}")
            if after is None:
                break
            row = after
            done += 1
    store.close()
    return epochs
