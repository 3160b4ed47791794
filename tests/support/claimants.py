"""Owners that fight over counters on one database: what a process of `tests.contract` runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import NamedTuple

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


class Attempt(NamedTuple):
    """What one claimant got in one round."""

    round: int
    epoch: int
    committed: bool


def race(url: str, name: str, who: str, claimants: int, rounds: int, gate: Barrier) -> list[Attempt]:
    """In every round all claim the counter at once and, when each has an epoch, all try to write it.

    Each claimant has a thread and a connection of its own; `gate` holds those of all processes.
    """

    def claim_and_write(number: int) -> list[Attempt]:
        store = open_store(url)
        attempts = []
        try:
            for round in range(rounds):
                gate.wait()
                [row] = store.claim([name], 1)
                gate.wait()
                committed = increment(store, row, f"{who}-{number}-{round}") is not None
                attempts.append(Attempt(round, row.epoch, committed))
        except BaseException:
            gate.abort()  # The others would wait for ever.
            raise
        finally:
            store.close()
        return attempts

    with ThreadPoolExecutor(claimants) as threads:
        return [attempt for attempts in threads.map(claim_and_write, range(claimants)) for attempt in attempts]
