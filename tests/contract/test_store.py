"""What every store promises its hosts, whichever it is: one suite for all of them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from storage import statements
from storage.errors import StorageError, StorageMisconfigured, StorageUnavailable
from storage.memory import MemoryStore
from storage.records import (
    AlarmRecord,
    AlarmRunRecord,
    AlarmStep,
    Commit,
    CounterRecord,
    CounterWrite,
    DeadlineWrite,
    MemberRecord,
    OperationRecord,
    PolicyWrite,
    Postponement,
)
from storage.store import DELETION, SqlStore, Store, open_store
from tests.support.claimants import count, increment

LARGEST = 2**53 - 1


class Memory:
    """All its stores are one and the same."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def open(self) -> Store:
        return self._store


class Sql:
    """Each store has a connection of its own to one database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open: list[SqlStore] = []

    def open(self) -> SqlStore:
        self._open.append(open_store(self.url))
        return self._open[-1]

    def close(self) -> None:
        for store in self._open:
            store.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Sql]:
    backend = Sql(f"sqlite:///{tmp_path / 'counters.db'}")
    yield backend
    backend.close()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Sql]:
    backend = Sql(postgres_url)
    yield backend
    backend.close()


@pytest.fixture(params=["sqlite", "postgres"])
def sql(request: pytest.FixtureRequest) -> Sql:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> Memory | Sql:
    return Memory() if request.param == "memory" else request.getfixturevalue(request.param)


@pytest.fixture
def store(backend: Memory | Sql) -> Store:
    return backend.open()


def claimed(store: Store, name: str = "votes") -> CounterRecord:
    [row] = store.claim([name], 0)
    return row


def write(row: CounterRecord, value: int, seq: int, at: int = 1) -> CounterWrite:
    return CounterWrite(row.id, row.epoch, value, seq, at)


def operation(row: CounterRecord, seq: int, id: str | None = None, value: int | None = None) -> OperationRecord:
    value = seq if value is None else value
    return OperationRecord(row.id, seq, "increment", 1, value, value - 1, seq * 10, id or f"o{seq}", "ann", None)


def filled(store: Store, name: str = "votes", operations: int = 1) -> CounterRecord:
    """A counter with some history, owned by whoever asked."""
    row = claimed(store, name)
    rows = [operation(row, seq) for seq in range(1, operations + 1)]
    assert store.commit(Commit([write(row, operations, operations)], rows)) == frozenset()
    return row._replace(value=operations, seq=operations)


def open_files(path: str) -> list[str]:
    """What this process holds open of a database and the files beside it."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no /proc here")
    targets = (os.readlink(entry) for entry in folder.iterdir() if entry.is_symlink())
    return [target for target in targets if target.startswith(path)]


def seqs(rows: list[OperationRecord]) -> list[int]:
    return [row.seq for row in rows]


class TestClaim:
    def test_a_new_counter_has_nothing_and_epoch_one(self, store: Store) -> None:
        row = claimed(store)
        assert row == CounterRecord(row.id, "votes", 0, 0, 1, None, None, None, None)

    def test_every_claim_is_a_new_epoch_of_the_same_counter(self, store: Store) -> None:
        rows = [claimed(store) for _ in range(4)]
        assert [row.epoch for row in rows] == [1, 2, 3, 4]
        assert len({row.id for row in rows}) == 1

    def test_a_claim_brings_what_was_committed(self, store: Store) -> None:
        row = claimed(store)
        store.commit(Commit([write(row, 5, 2, at=7)], policies=[PolicyWrite(row.id, '{"minimum":-9}', "ann")]))
        assert claimed(store) == CounterRecord(row.id, "votes", 5, 2, 2, 7, 7, "ann", '{"minimum":-9}')

    def test_who_follows_an_older_table_cannot_take_it_back(self, store: Store) -> None:
        [row] = store.claim(["votes"], 7)
        assert store.claim(["votes", "new"], 6)[0].name == "new"
        assert len(store.claim(["votes"], 6)) == 0
        assert store.stale([(row.id, row.epoch)]) == frozenset()
        assert store.claim(["votes"], 7)[0].epoch == 2  # The same table: its owner has forgotten it and wakes it again.
        assert store.claim(["votes"], 8)[0].epoch == 3
        assert store.placed(["votes", "new", "never"]) == 8
        assert store.placed(["never"]) == 0

    def test_a_name_that_is_said_twice_is_claimed_once(self, store: Store) -> None:
        assert [row.epoch for row in store.claim(["votes", "votes"], 0)] == [1]

    def test_many_at_once_old_and_new(self, store: Store) -> None:
        old = filled(store, "old")
        rows = {row.name: row for row in store.claim(["new", "old", "newer"], 0)}
        assert rows["old"] == CounterRecord(old.id, "old", 1, 1, 2, 1, 1, None, None)
        assert rows["new"].epoch == rows["newer"].epoch == 1
        assert len({row.id for row in rows.values()}) == 3

    def test_the_second_claimer_fences_the_first(self, backend: Memory | Sql) -> None:
        one, other = backend.open(), backend.open()
        first, second = claimed(one), claimed(other)
        assert one.commit(Commit([write(first, 1, 1)], [operation(first, 1)])) == {first.id}
        assert other.read(["votes"]) == {}
        assert other.commit(Commit([write(second, 9, 1)], [operation(second, 1, value=9)])) == frozenset()
        assert one.read(["votes"])["votes"].value == 9

    def test_names_that_differ_in_case_are_two_counters(self, store: Store) -> None:
        assert claimed(store, "Votes").id != claimed(store, "votes").id


class TestFlushing:
    """A claim may wait for the next commit to be flushed; what is acknowledged may not."""

    def test_a_commit_is_flushed_after_a_claim_and_after_one_that_failed(self, sqlite: Sql) -> None:
        store = sqlite.open()
        [row] = store.claim(["votes"], 0)
        assert self._flushes(store)
        with pytest.raises(StorageUnavailable):
            store.claim([None], 0)  # type: ignore[list-item]
        assert self._flushes(store)
        said: list[str] = []
        store._driver.set_trace_callback(said.append)
        store.commit(Commit([write(row, 1, 1)], [operation(row, 1)]))
        store._driver.set_trace_callback(None)
        assert not [each for each in said if "PRAGMA" in each]

    @staticmethod
    def _flushes(store: SqlStore) -> bool:
        full = 2
        return store._driver.execute("PRAGMA synchronous").fetchall() == [(full,)]


class TestOneOwnerForEachEpoch:
    """Whoever claims at the same time as others: nobody ever shares an epoch, and none is skipped."""

    CLAIMANTS = 40
    ROUNDS = 3

    def test_claimants_in_one_thread(self, backend: Memory | Sql) -> None:
        claimants = [backend.open() for _ in range(4)]
        epochs = [claimed(claimant).epoch for _ in range(self.ROUNDS) for claimant in claimants * 10]
        assert epochs == list(range(1, self.CLAIMANTS * self.ROUNDS + 1))

    def test_claimants_in_several_threads(self, sql: Sql) -> None:
        names = ["a", "b", "c"]

        def fight(_: int) -> list[CounterRecord]:
            store = open_store(sql.url)
            rows = [row for _ in range(self.ROUNDS * (self.CLAIMANTS // 8)) for row in store.claim(names, 0)]
            store.close()
            return rows

        with ThreadPoolExecutor(8) as threads:
            rows = [row for rows in threads.map(fight, range(8)) for row in rows]
        expected = list(range(1, self.CLAIMANTS * self.ROUNDS + 1))
        for name in names:
            assert sorted(row.epoch for row in rows if row.name == name) == expected
            assert len({row.id for row in rows if row.name == name}) == 1

    def test_two_processes_take_turns_and_every_operation_counts_once(self, sql: Sql) -> None:
        with get_context("spawn").Pool(2) as processes:
            jobs = [processes.apply_async(count, (sql.url, "shared", who, 60, 3)) for who in ("ann", "bob")]
            ann, bob = (job.get(60) for job in jobs)
        store = sql.open()
        row = store.read(["shared"])["shared"]
        assert (row.value, row.seq) == (120, 120)
        history = store.since(row.id, 0, 1_000)
        assert [(row.seq, row.value) for row in history] == [(seq, seq) for seq in range(1, 121)]
        assert {row.operation_id for row in history} == {f"{who}-{n}" for who in ("ann", "bob") for n in range(60)}
        assert sorted(ann + bob) == list(range(1, row.epoch + 1))


class TestCommit:
    def test_everything_in_it_is_there_afterwards(self, store: Store) -> None:
        row = claimed(store)
        done = Commit([write(row, 3, 2, at=50)], [operation(row, 1), operation(row, 2, value=3)])
        assert store.commit(done) == frozenset()
        assert store.read(["votes"]) == {"votes": CounterRecord(row.id, "votes", 3, 2, 1, 50, 50, None, None)}
        assert store.since(row.id, 0, 10) == list(done.operations)

    def test_created_at_stays_and_updated_at_moves(self, store: Store) -> None:
        row = claimed(store)
        for at in (5, 9):
            store.commit(Commit([write(row, 1, 1, at)]))
        read = store.read(["votes"])["votes"]
        assert (read.created_at, read.updated_at) == (5, 9)

    def test_nothing_of_a_fenced_counter_is_applied_and_everything_of_the_others_is(self, store: Store) -> None:
        good, stale, doomed = (filled(store, name) for name in ("good", "stale", "doomed"))
        untouched = filled(store, "untouched")
        claimed(store, "stale")
        claimed(store, "doomed")
        rows = [operation(row, 2, f"{row.name}-2") for row in (stale, good, doomed)]
        commit = Commit(
            [write(row, 2, 2) for row in (stale, good, doomed)],
            rows,
            [PolicyWrite(stale.id, "{}", "eve"), PolicyWrite(good.id, '{"maximum":9}', "ann")],
            [doomed.id],
        )
        assert store.commit(commit) == {stale.id, doomed.id}
        read = store.read(["good", "stale", "doomed", "untouched"])
        assert {name: (row.value, row.seq, row.policy, row.created_by) for name, row in read.items()} == {
            "good": (2, 2, '{"maximum":9}', "ann"),
            "stale": (1, 1, None, None),
            "doomed": (1, 1, None, None),
            "untouched": (1, 1, None, None),
        }
        histories = {row.name: seqs(store.since(row.id, 0, 9)) for row in (good, stale, doomed, untouched)}
        assert histories == {"good": [1, 2], "stale": [1], "doomed": [1], "untouched": [1]}

    def test_a_commit_of_nothing_but_fenced_counters_changes_nothing(self, store: Store) -> None:
        row = filled(store)
        now = claimed(store)
        for epoch in (0, row.epoch, now.epoch + 1):
            stale = row._replace(epoch=epoch)
            assert store.commit(Commit([write(stale, 9, 9)], [operation(stale, 9)])) == {row.id}
        assert store.read(["votes"])["votes"] == now
        assert seqs(store.since(row.id, 0, 9)) == [1]

    def test_a_policy_may_come_alone_and_keeps_its_first_author(self, store: Store) -> None:
        row = claimed(store)
        for policy, author in (('{"minimum":1}', "ann"), (None, None), ('{"minimum":2}', "bob")):
            store.commit(Commit([write(row, 0, 0)], policies=[PolicyWrite(row.id, policy, author)]))
        read = store.read(["votes"])["votes"]
        assert read.policy == '{"minimum":2}'
        store.commit(Commit([write(row, 0, 0)], policies=[PolicyWrite(row.id, None, None)]))
        assert store.read(["votes"])["votes"].policy is None

    @pytest.mark.parametrize("value", [LARGEST, -LARGEST, LARGEST - 1, 0])
    def test_values_are_exact_to_the_end_of_their_range(self, store: Store, value: int) -> None:
        row = claimed(store)
        change = OperationRecord(row.id, 1, "setValue", value, value, -value, LARGEST, "o1", None, None)
        store.commit(Commit([write(row, value, 1, at=LARGEST)], [change]))
        assert store.read(["votes"])["votes"][2:4] == (value, 1)
        assert store.history(row.id, None, 1) == [change]
        assert claimed(store).updated_at == LARGEST

    @pytest.mark.parametrize("rows", [1, 2, 3, 63, 64, 65, 1_000, 1_023, 1_024, 1_025, 2_500])
    def test_batches_of_any_size(self, store: Store, rows: int) -> None:
        names = [f"c{number:04}" for number in range(rows)]
        claims = store.claim(names, 0)
        assert sorted(row.name for row in claims) == names
        writes = [write(row, int(row.name[1:]), 1) for row in claims]
        operations = [operation(row, 1, value=int(row.name[1:])) for row in claims]
        assert store.commit(Commit(writes, operations)) == frozenset()
        assert {name: row.value for name, row in store.read(names).items()} == {n: int(n[1:]) for n in names}
        assert len(store.latest([(row.id, 1) for row in claims], 5)) == rows
        assert len(store.find_operations([(row.id, "o1") for row in claims])) == rows

    def test_a_large_batch_leaves_out_exactly_the_fenced(self, store: Store) -> None:
        rows = store.claim([f"c{number}" for number in range(2_000)], 0)
        stolen = {row.id for row in store.claim([f"c{number}" for number in range(0, 2_000, 7)], 0)}
        assert store.commit(Commit([write(row, 1, 1) for row in rows], [operation(row, 1) for row in rows])) == stolen
        assert len(store.read([row.name for row in rows])) == len(rows) - len(stolen)
        assert store.latest([(row.id, 1) for row in rows], 1).keys() == {row.id for row in rows} - stolen


class TestRepeatedOperationIds:
    """Two operations of one counter cannot have one id: a repeat that slipped through must not be applied."""

    def test_a_repeated_id_is_refused_and_nothing_of_the_batch_is_applied(self, store: Store) -> None:
        row, other = filled(store, "votes"), filled(store, "other")
        before = store.read(["votes", "other"])
        commit = Commit(
            [write(other, 2, 2), write(row, 3, 3)],
            [operation(other, 2, "fresh"), operation(row, 2, "fresh"), operation(row, 3, "o1")],
            [PolicyWrite(other.id, "{}", "eve")],
        )
        with pytest.raises(StorageUnavailable):
            store.commit(commit)
        assert store.read(["votes", "other"]) == before
        assert seqs(store.since(row.id, 0, 9)) == seqs(store.since(other.id, 0, 9)) == [1]

    def test_a_repeated_id_within_a_batch_is_refused(self, store: Store) -> None:
        row = claimed(store)
        with pytest.raises(StorageUnavailable):
            store.commit(Commit([write(row, 2, 2)], [operation(row, 1, "x"), operation(row, 2, "x")]))
        assert store.read(["votes"]) == {}

    def test_the_store_goes_on_after_a_refusal(self, store: Store) -> None:
        row = filled(store)
        with pytest.raises(StorageUnavailable):
            store.commit(Commit([write(row, 2, 2)], [operation(row, 2, "o1")]))
        assert store.commit(Commit([write(row, 2, 2)], [operation(row, 2)])) == frozenset()
        assert store.read(["votes"])["votes"].value == 2

    def test_a_repeated_id_of_a_fenced_counter_hurts_nobody(self, store: Store) -> None:
        stale, good = filled(store, "stale"), filled(store, "good")
        claimed(store, "stale")
        rows = [operation(stale, 2, "o1"), operation(good, 2)]
        assert store.commit(Commit([write(stale, 2, 2), write(good, 2, 2)], rows)) == {stale.id}
        assert store.read(["good"])["good"].value == 2

    def test_an_id_may_be_used_once_for_each_counter(self, store: Store) -> None:
        rows = [filled(store, name) for name in ("a", "b")]
        found = store.find_operations([(row.id, "o1") for row in rows] + [(rows[0].id, "never"), (99, "o1")])
        assert found == {(row.id, "o1"): operation(row, 1) for row in rows}

    def test_an_id_was_seen_whatever_counter_had_it(self, store: Store) -> None:
        rows = [filled(store, name, 2) for name in ("a", "b")]
        deletion = operation(rows[1], 3, "d")._replace(type=DELETION, reason="b")
        store.commit(Commit([write(rows[1], 2, 3)], [deletion], deletions=[rows[1].id]))
        assert store.seen(["o1", "never", "d", "o1", *(f"n{n}" for n in range(1_000)), "o2"]) == {"o1", "o2", "d"}
        assert store.seen(["never"]) == store.seen([]) == set()

    def test_ids_are_looked_up_in_an_index(self, sqlite: Sql) -> None:
        store = sqlite.open()
        [plan] = store._driver.execute(f"EXPLAIN QUERY PLAN {statements.seen(4)}", "abcd").fetchall()
        assert "USING COVERING INDEX" in plan[3]

    def test_ids_of_any_text(self, store: Store) -> None:
        row = claimed(store)
        ids = ["'; DROP TABLE counter; --", "é😀", "%_", "A", "a", " a", "x" * 400]
        store.commit(Commit([write(row, 7, 7)], [operation(row, n, id) for n, id in enumerate(ids, 1)]))
        found = store.find_operations([(row.id, id) for id in ids])
        assert {id: change.seq for (_, id), change in found.items()} == {id: n for n, id in enumerate(ids, 1)}
        assert store.seen(ids) == set(ids)


class TestDeletion:
    def test_a_deleted_counter_leaves_its_operations_for_a_while(self, store: Store) -> None:
        row, other = filled(store, "votes", 3), filled(store, "other")
        deletion = operation(row, 4, "d")._replace(type=DELETION, reason="votes")
        assert store.commit(Commit([write(row, 3, 4)], [deletion], deletions=[row.id])) == frozenset()
        assert store.read(["votes", "other"]).keys() == {"other"}
        assert [row.name for row in store.page("", "", 9)] == ["other"]
        assert seqs(store.since(other.id, 0, 9)) == [1]
        found = store.find_gone(["o2", "o1", "d", "none"])
        assert found == {("votes", f"o{seq}"): operation(row, seq) for seq in (1, 2)} | {("votes", "d"): deletion}
        assert store.dead(deletion.at, 9) == []
        assert store.dead(deletion.at + 1, 9) == [row.id]
        store.forget(row.id, [1, 2])
        assert store.dead(deletion.at + 1, 9) == [row.id]
        store.forget(row.id, [3, 4])
        assert store.dead(deletion.at + 1, 9) == store.since(row.id, 0, 9) == []
        assert store.find_gone(["o1", "d"]) == {}

    def test_what_the_same_batch_did_to_it_goes_too(self, store: Store) -> None:
        row = claimed(store)
        commit = Commit([write(row, 1, 1)], [operation(row, 1)], [PolicyWrite(row.id, "{}", "ann")], [row.id])
        assert store.commit(commit) == frozenset()
        assert store.read(["votes"]) == {}
        assert claimed(store) == CounterRecord(row.id + 1, "votes", 0, 0, 1, None, None, None, None)

    def test_an_id_is_never_used_again(self, backend: Memory | Sql) -> None:
        store = backend.open()
        seen = set()
        for _ in range(5):
            row = filled(store)
            assert row.id not in seen
            seen.add(row.id)
            store.commit(Commit([write(row, 1, 1)], deletions=[row.id]))
            store = backend.open()

    def test_an_owner_from_an_earlier_life_is_fenced(self, store: Store) -> None:
        old = filled(store)
        store.commit(Commit([write(old, 1, 1)], deletions=[old.id]))
        new = claimed(store)
        assert new.epoch == old.epoch  # Only the id tells them apart.
        assert store.commit(Commit([write(old, 9, 9)], [operation(old, 9)], deletions=[old.id])) == {old.id}
        assert store.commit(Commit([write(new, 1, 1)], [operation(new, 1)])) == frozenset()


class TestHistory:
    @pytest.fixture
    def row(self, store: Store) -> CounterRecord:
        filled(store, "neighbour", 3)
        row = filled(store, "votes", 7)
        filled(store, "another", 3)
        return row

    @pytest.mark.parametrize(
        ("before", "limit", "expected"),
        [(None, 3, [7, 6, 5]), (None, 99, [7, 6, 5, 4, 3, 2, 1]), (4, 2, [3, 2]), (1, 5, []), (99, 1, [7])],
    )
    def test_newest_first(
        self, store: Store, row: CounterRecord, before: int | None, limit: int, expected: list[int]
    ) -> None:
        assert seqs(store.history(row.id, before, limit)) == expected

    @pytest.mark.parametrize(
        ("seq", "limit", "expected"), [(0, 3, [1, 2, 3]), (5, 99, [6, 7]), (7, 9, []), (99, 9, [])]
    )
    def test_what_came_after(self, store: Store, row: CounterRecord, seq: int, limit: int, expected: list[int]) -> None:
        assert seqs(store.since(row.id, seq, limit)) == expected

    @pytest.mark.parametrize(("limit", "expected"), [(1, [7]), (5, [3, 4, 5, 6, 7]), (99, [1, 2, 3, 4, 5, 6, 7])])
    def test_the_newest_of_many_counters(
        self, store: Store, row: CounterRecord, limit: int, expected: list[int]
    ) -> None:
        neighbour = store.read(["neighbour"])["neighbour"]
        empty = claimed(store, "empty")
        latest = store.latest([(row.id, 7), (neighbour.id, 3), (empty.id, 0), (999, 4)], limit)
        assert seqs(latest[row.id]) == expected
        assert seqs(latest[neighbour.id]) == [1, 2, 3][-limit:]
        assert latest.keys() == {row.id, neighbour.id}

    def test_rows_come_back_as_they_went_in(self, store: Store) -> None:
        row = claimed(store)
        change = OperationRecord(row.id, 1, "reset", 0, -3, 5, 1_735_689_600_000, "key:é", "ann", "schedule", "ws ::1")
        store.commit(Commit([write(row, -3, 1)], [change]))
        assert store.history(row.id, None, 9) == store.since(row.id, 0, 9) == [change]
        assert store.latest([(row.id, 1)], 9) == {row.id: [change]}
        assert store.find_operations([(row.id, "key:é")]) == {(row.id, "key:é"): change}

    def test_of_nothing(self, store: Store) -> None:
        assert store.latest([], 5) == store.find_operations([]) == store.read([]) == {}
        assert store.claim([], 0) == store.history(1, None, 5) == store.since(1, 0, 5) == []


def due_write(row: CounterRecord, due_at: int | None, tick_at: int | None = None, at: int | None = 1) -> Commit:
    return Commit([], deadlines=[DeadlineWrite(row.id, row.epoch, 1, 1, at, 7, due_at, tick_at)])


class TestForgetting:
    def test_these_operations_and_no_others(self, store: Store) -> None:
        row, other = filled(store, "votes", 7), filled(store, "other", 3)
        store.forget(row.id, [1, 2, 4, 99])
        assert seqs(store.since(row.id, 0, 9)) == [3, 5, 6, 7]
        assert seqs(store.history(row.id, None, 9)) == [7, 6, 5, 3]
        assert seqs(store.since(other.id, 0, 9)) == [1, 2, 3]
        assert store.find_operations([(row.id, "o1"), (row.id, "o3")]).keys() == {(row.id, "o3")}
        assert store.read(["votes"])["votes"].seq == 7

    def test_nothing_of_nobody(self, store: Store) -> None:
        row = filled(store)
        store.forget(row.id, [])
        store.forget(row.id + 99, [1])
        assert seqs(store.since(row.id, 0, 9)) == [1]

    def test_it_takes_no_ownership_and_a_forgotten_id_may_be_used_again(self, store: Store) -> None:
        row = filled(store, operations=3)
        store.forget(row.id, [1])
        assert store.commit(Commit([write(row, 4, 4)], [operation(row, 4, "o1")])) == frozenset()

    def test_many(self, store: Store) -> None:
        row = filled(store, operations=3_000)
        store.forget(row.id, list(range(1, 2_901)))
        assert seqs(store.since(row.id, 0, 999)) == list(range(2_901, 3_001))


class TestLately:
    """What somebody who keeps a copy asks when it is not known what the copy lacks."""

    def test_who_was_used(self, store: Store) -> None:
        rows = [claimed(store, name) for name in ("a", "b", "c")]
        for row, idle_since in zip(rows, (10, 20, 30), strict=True):
            store.commit(Commit([CounterWrite(row.id, row.epoch, 7, 1, 5, idle_since)]))
        claimed(store, "never")
        filled(store, "from before that was written down")
        assert [row.name for row in store.used(20, 0, 9)] == ["b", "c"]
        assert [row.value for row in store.used(0, 0, 2)] == [7, 7]
        assert [row.name for row in store.used(20, rows[1].id, 9)] == ["c"]
        assert store.used(31, 0, 9) == []

    def test_who_was_deleted(self, store: Store) -> None:
        rows = [filled(store, name) for name in ("a", "b", "c")]
        for row, at in zip(rows, (10, 20, 30), strict=True):
            gone = operation(row, 2)._replace(type=DELETION, at=at, reason=row.name)
            store.commit(Commit([write(row, 1, 1)], [gone], deletions=[row.id]))
        assert [(row.counter_id, row.seq, row.reason) for row in store.deleted(20, 0, 9)] == [
            (rows[1].id, 2, "b"), (rows[2].id, 2, "c"),
        ]  # fmt: skip
        assert [row.reason for row in store.deleted(0, rows[0].id, 1)] == ["b"]
        assert store.deleted(31, 0, 9) == []

    def test_no_deletion_is_searched_for_in_all_operations(self, sqlite: Sql) -> None:
        store = sqlite.open()
        seen: list[str] = []
        store._driver.set_trace_callback(seen.append)
        store.deleted(20, 0, 9)
        store._driver.set_trace_callback(None)
        [plan] = store._driver.execute(f"EXPLAIN QUERY PLAN {seen[-1]}").fetchmany(1)
        assert "operation_deletion" in plan[3]


class TestAdded:
    def test_what_increments_and_decrements_have_added(self, store: Store) -> None:
        row = claimed(store)
        types = ("increment", "setValue", "increment", "decrement", "reset", "increment")
        values = (0, 5, 100, 107, 104, 0, 1)  # Before the first of them, and after each.
        rows = [
            operation(row, seq)._replace(type=type, value=values[seq], previous_value=values[seq - 1])
            for seq, type in enumerate(types, 1)
        ]
        store.commit(Commit([write(row, 1, 6)], rows))
        assert [store.added(row.id, seq) for seq in range(7)] == [10, 5, 5, -2, 1, 1, 0]
        assert store.added(row.id + 1, 0) == 0


class TestDeadlines:
    def test_they_are_written_with_the_value(self, store: Store) -> None:
        row = claimed(store)
        assert store.commit(due_write(row, 50, 60, at=9)) == frozenset()
        found = store.read(["votes"])["votes"]
        assert found == CounterRecord(row.id, "votes", 1, 1, 1, 9, 9, None, None, 0, 7, 50, 60)
        store.commit(Commit([write(row, 2, 2)]))
        assert store.read(["votes"])["votes"][-2:] == (50, 60)  # What touches the counter leaves them alone.
        store.commit(due_write(row, None, at=None))
        assert store.read(["votes"])["votes"] == CounterRecord(row.id, "votes", 1, 1, 1, 9, 1, None, None, 0, 7)

    def test_a_stale_owner_writes_none(self, store: Store) -> None:
        row, other = claimed(store), claimed(store, "other")
        store.claim(["votes"], 0)
        commit = Commit([write(other, 1, 1)], deadlines=due_write(row, 50).deadlines)
        assert store.commit(commit) == {row.id}
        assert store.due(99, 99, 9) == []
        assert store.read(["votes", "other"]).keys() == {"other"}

    def test_what_is_due_the_longest_overdue_first(self, store: Store) -> None:
        times = {"a": (30, None), "b": (10, None), "c": (None, 20), "d": (31, 40), "e": (None, None)}
        for name, (due_at, tick_at) in times.items():
            store.commit(due_write(claimed(store, name), due_at, tick_at))
        assert [row.name for row in store.due(30, 20, 9)] == ["b", "a", "c"]
        assert [row.name for row in store.due(31, 40, 9)] == ["b", "a", "d", "c", "d"]
        assert [row.name for row in store.due(31, 40, 1)] == ["b", "c"]
        assert store.due(9, 19, 9) == []

    def test_they_are_moved_on_unless_somebody_has_changed_them(self, store: Store) -> None:
        row = claimed(store)
        store.commit(due_write(row, 50))
        for wrong in ((51, None, None), (50, 1, None), (50, None, "{}"), (None, None, None)):
            store.postpone([Postponement(row.id, *wrong, 90, 91)])
        assert store.read(["votes"])["votes"].due_at == 50
        store.postpone([Postponement(row.id, 50, None, None, 90, 91), Postponement(row.id + 5, 1, 2, None, 3, 4)])
        assert store.read(["votes"])["votes"][-2:] == (90, 91)
        store.postpone([Postponement(row.id, 90, 91, None, None, None)])
        assert store.due(99, 99, 9) == []
        store.postpone([])

    def test_every_counter_page_by_page(self, store: Store) -> None:
        rows = [filled(store, name) for name in "bac"]
        assert [row.name for row in store.after(0, 2)] == ["b", "a"]
        assert [row.name for row in store.after(rows[1].id, 2)] == ["c"]
        assert store.after(rows[2].id, 2) == []


def alarm(row: CounterRecord, id: str = "a", key: str = "k", **more: Any) -> AlarmRecord:
    return AlarmRecord(row.id, id, key, "increment", 2, None, 5_000, 40)._replace(**more)


class TestAlarms:
    def test_they_are_set_replaced_and_cancelled_by_the_owner(self, store: Store) -> None:
        row = claimed(store)
        one, other = alarm(row), alarm(row, "b", "l", at=70, every=None, due_at=None)
        store.commit(due_write(row, None)._replace(alarms=[one, other]))
        assert store.alarms(row.id) == [one, other]
        again = alarm(row, key="m", amount=3)
        store.commit(due_write(row, None)._replace(alarms=[again], cancellations=[(row.id, "b"), (row.id, "c")]))
        assert store.alarms(row.id) == [again]
        store.commit(due_write(row, None)._replace(alarms=[one, again], cancellations=[(row.id, "a")]))
        assert store.alarms(row.id) == [again], "what is cancelled and set in one commit is set"
        store.claim(["votes"], 0)
        late = due_write(row, None)._replace(alarms=[other], cancellations=[(row.id, "a")])
        assert store.commit(late) == {row.id}
        assert store.alarms(row.id) == [again]

    def test_those_that_are_due_with_their_names(self, store: Store) -> None:
        row, other = claimed(store), claimed(store, "other")
        alarms = [alarm(row), alarm(row, "b", due_at=30), alarm(other, "c", at=50, every=None, due_at=None)]
        commit = due_write(row, None)
        store.commit(commit._replace(deadlines=[*commit.deadlines, *due_write(other, None).deadlines], alarms=alarms))
        assert [(name, each.id) for name, each in store.alarms_due(40, 49, 9)] == [("votes", "b"), ("votes", "a")]
        assert store.alarms_due(29, 50, 9) == [("other", alarms[2])]
        assert [each.id for _, each in store.alarms_due(99, 99, 1)] == ["b", "c"]

    def test_a_run_is_written_with_what_it_did(self, store: Store) -> None:
        row = claimed(store)
        one = alarm(row)
        store.commit(due_write(row, None)._replace(alarms=[one]))
        ran = AlarmRunRecord(one.key, 1, row.id, "a", 99, 2, None)
        after = one._replace(run=2, due_at=80)
        store.commit(due_write(row, None)._replace(steps=[AlarmStep(one, after, ran)]))
        assert (store.alarms(row.id), store.alarm_runs(row.id, 9)) == ([after], [ran])
        store.commit(due_write(row, None)._replace(steps=[AlarmStep(one, after, ran)]))  # It is not what it was.
        assert store.alarm_runs(row.id, 9) == [ran]
        last = AlarmStep(after, None, ran._replace(run=2, at=100, error="LIMIT_REACHED"))
        store.commit(due_write(row, None)._replace(steps=[last]))
        assert store.alarms(row.id) == []
        assert [(run.run, run.error) for run in store.alarm_runs(row.id, 9)] == [(2, "LIMIT_REACHED"), (1, None)]
        assert [run.run for run in store.alarm_runs(row.id, 1)] == [2]

    def test_failed_attempts_are_noted_by_anybody(self, store: Store) -> None:
        row = claimed(store)
        one = alarm(row)
        store.commit(due_write(row, None)._replace(alarms=[one]))
        failed = one._replace(attempt=1, error="host:0 is away")
        store.step_alarms([AlarmStep(one, failed, None)])
        store.step_alarms([AlarmStep(one._replace(key="old"), one._replace(attempt=9), None)])
        assert (store.alarms(row.id), store.alarm_runs(row.id, 9)) == ([failed], [])

    def test_they_go_with_their_counter(self, store: Store) -> None:
        row = claimed(store)
        one = alarm(row)
        run = AlarmRunRecord("k", 1, row.id, "a", 99, 1, None)
        store.commit(due_write(row, None)._replace(alarms=[one]))
        store.commit(due_write(row, None)._replace(steps=[AlarmStep(one, one._replace(run=2), run)]))
        store.commit(due_write(row, None)._replace(deletions=[row.id]))
        assert store.alarms(row.id) == store.alarm_runs(row.id, 9) == store.alarms_due(99, 99, 9) == []


class TestMembers:
    def test_they_join_and_leave_with_the_counter_that_counts_them(self, store: Store) -> None:
        row = claimed(store)
        joined = [MemberRecord(row.id, who, 5) for who in ("ann", "Bob", "é", "😀", "a\"b\\c")]
        assert store.commit(Commit([write(row, 5, 5)], joined=joined)) == frozenset()
        asked = [(row.id, who) for who in ("ann", "ann", "bob", "😀", "a\"b\\c")] + [(row.id + 1, "ann")]
        assert store.memberships(asked) == {(row.id, "ann"), (row.id, "😀"), (row.id, "a\"b\\c")}
        left = [(row.id, "ann"), (row.id, "😀")]
        assert store.commit(Commit([write(row, 3, 7)], joined=[MemberRecord(row.id, "bob", 6)], left=left)) == set()
        assert store.memberships(asked) == {(row.id, "bob"), (row.id, 'a"b\\c')}
        assert store.memberships([]) == set()

    def test_all_of_them_go_with_the_counter_also_who_came_and_went_in_the_same_commit(self, store: Store) -> None:
        row = claimed(store)
        store.commit(Commit([write(row, 1, 1)], joined=[MemberRecord(row.id, "ann", 1)]))
        joined, left = [MemberRecord(row.id, "bob", 2)], [(row.id, "ann")]
        last = Commit([write(row, 1, 3)], joined=joined, left=left, deletions=[row.id])
        assert store.commit(last) == frozenset()
        assert store.memberships([(row.id, "ann"), (row.id, "bob")]) == set()
        assert store.members(row.id, "", 9) == []

    def test_they_are_paged_by_the_bytes_of_their_names(self, store: Store) -> None:
        row, other = claimed(store), claimed(store, "other")
        names = ["B", "a", "b", "z", "é", "ﬀ", "😀"]
        rows = [MemberRecord(row.id, who, at) for at, who in enumerate(names)]
        joined = [*rows[::-1], MemberRecord(other.id, "c", 1)]
        store.commit(Commit([write(row, 7, 7), write(other, 1, 1)], joined=joined))
        assert store.members(row.id, "", 3) == rows[:3]
        assert store.members(row.id, "b", 100) == rows[3:]
        assert store.members(row.id, "😀", 100) == []

    def test_nothing_of_a_fenced_counter_is_applied(self, store: Store) -> None:
        row, other = claimed(store), claimed(store, "other")
        store.commit(Commit([write(row, 1, 1)], joined=[MemberRecord(row.id, "ann", 1)]))
        stale = row._replace(epoch=row.epoch - 1)
        commit = Commit(
            [write(stale, 1, 3), write(other, 1, 1)],
            joined=[MemberRecord(row.id, "bob", 2), MemberRecord(other.id, "bob", 2)],
            left=[(row.id, "ann")],
        )
        assert store.commit(commit) == {row.id}
        both = [(id, who) for id in (row.id, other.id) for who in ("ann", "bob")]
        assert store.memberships(both) == {(row.id, "ann"), (other.id, "bob")}
        assert store.commit(Commit([write(stale, 0, 2)], cleared=[row.id])) == {row.id}
        assert store.memberships(both) == {(row.id, "ann"), (other.id, "bob")}

    def test_who_is_there_cannot_join_and_who_is_not_cannot_leave(self, store: Store) -> None:
        row = claimed(store)
        ann = MemberRecord(row.id, "ann", 1)
        store.commit(Commit([write(row, 1, 1)], joined=[ann]))
        for wrong in (Commit([write(row, 2, 2)], joined=[ann]), Commit([write(row, 0, 2)], left=[(row.id, "bob")])):
            with pytest.raises(StorageUnavailable):
                store.commit(wrong)
            assert store.read(["votes"])["votes"].value == 1
            assert store.members(row.id, "", 10) == [ann]

    def test_all_of_them_leave_at_once_and_with_the_counter(self, store: Store) -> None:
        row, other = claimed(store), claimed(store, "other")
        rows = [MemberRecord(each.id, f"m{n:03}", n) for each in (row, other) for n in range(300)]
        store.commit(Commit([write(row, 300, 300), write(other, 300, 300)], joined=rows))
        store.commit(Commit([write(row, 0, 301)], cleared=[row.id]))
        assert store.members(row.id, "", 1_000) == []
        assert store.members(other.id, "", 1_000) == rows[300:]
        gone = [(other.id, f"m{n:03}") for n in range(0, 300, 2)]
        store.commit(Commit([write(other, 150, 450)], left=gone))
        assert store.members(other.id, "", 1_000) == rows[301::2]
        assert store.memberships([row[:2] for row in rows]) == {row[:2] for row in rows[301::2]}
        store.commit(Commit([write(other, 150, 450)], deletions=[other.id]))
        assert store.members(other.id, "", 1_000) == []

    def test_a_commit_with_deadlines_has_members_too(self, store: Store) -> None:
        row = claimed(store)
        ann = MemberRecord(row.id, "ann", 1)
        dated = DeadlineWrite(row.id, row.epoch, 1, 1, 1, 1, 50, None)
        assert store.commit(Commit([], deadlines=[dated], joined=[ann])) == frozenset()
        assert store.commit(Commit([], deadlines=[dated._replace(value=0, seq=2)], left=[(row.id, "ann")])) == set()
        assert store.members(row.id, "", 10) == []


class TestNotes:
    def test_the_first_one_counts_until_it_is_replaced(self, store: Store) -> None:
        assert store.agree("begin", "1") == store.agree("begin", "2") == "1"
        store.note("begin", "3")
        store.note("other", "4")
        assert (store.agree("begin", "5"), store.agree("other", "6")) == ("3", "4")


class TestDueTimes:
    def due(self, store: Store, steady: int = 0, wall: int = 0, limit: int = 9) -> list[str]:
        return [row.name for row in store.due(steady, wall, limit)]

    def dated(
        self, store: Store, name: str, due_at: int | None, tick_at: int | None = None, at: int | None = 5
    ) -> CounterRecord:
        row = claimed(store, name)
        write = DeadlineWrite(row.id, row.epoch, row.value, row.seq, at, 3, due_at, tick_at)
        assert store.commit(Commit([], deadlines=[write])) == frozenset()
        return row

    def test_they_are_kept_and_a_plain_write_leaves_them(self, store: Store) -> None:
        row = self.dated(store, "votes", 10, 20)
        assert store.read(["votes"])["votes"] == CounterRecord(
            row.id, "votes", 0, 0, 1, 5, 5, None, None, idle_since=3, due_at=10, tick_at=20
        )
        store.commit(Commit([CounterWrite(row.id, row.epoch, 1, 1, 7, 8)], [operation(row, 1)]))
        assert store.read(["votes"])["votes"] == CounterRecord(
            row.id, "votes", 1, 1, 1, 5, 7, None, None, idle_since=8, due_at=10, tick_at=20
        )

    def test_a_write_of_nothing_but_deadlines_leaves_the_time_of_the_last_change(self, store: Store) -> None:
        row = self.dated(store, "votes", 10)
        store.commit(Commit([], deadlines=[DeadlineWrite(row.id, row.epoch, 0, 0, None, 9, None, 30)]))
        read = store.read(["votes"])["votes"]
        assert (read.created_at, read.updated_at, read.due_at, read.tick_at) == (5, 5, None, 30)

    def test_both_kinds_of_writes_and_the_fenced_of_both(self, store: Store) -> None:
        rows = {name: claimed(store, name) for name in ("plain", "dated", "stale", "stale-dated")}
        store.claim(["stale", "stale-dated"], 0)
        fenced = store.commit(
            Commit(
                [write(rows[name], 1, 1) for name in ("plain", "stale")],
                [operation(row, 1) for row in rows.values()],
                deadlines=[
                    DeadlineWrite(rows[name].id, 1, 1, 1, 1, 1, 10, None) for name in ("dated", "stale-dated")
                ],
            )
        )
        assert fenced == {rows["stale"].id, rows["stale-dated"].id}
        assert {name: row.due_at for name, row in store.read(list(rows)).items()} == {"plain": None, "dated": 10}
        histories = {name: seqs(store.since(row.id, 0, 9)) for name, row in rows.items()}
        assert histories == {"plain": [1], "dated": [1], "stale": [], "stale-dated": []}

    def test_who_is_due(self, store: Store) -> None:
        for name, due_at, tick_at in (("a", 30, None), ("b", 10, None), ("c", 20, 50), ("d", None, 40)):
            self.dated(store, name, due_at, tick_at)
        assert self.due(store, 9, 39) == []
        assert self.due(store, 20) == ["b", "c"]
        assert self.due(store, 99, 40) == ["b", "c", "a", "d"]
        assert self.due(store, 99, 99, limit=1) == ["b", "d"]

    def test_a_postponement_is_for_who_is_as_it_was(self, store: Store) -> None:
        rows = {name: self.dated(store, name, 10, 20) for name in ("a", "moved", "ticks", "ruled")}
        store.commit(Commit([write(rows["ruled"], 0, 0)], policies=[PolicyWrite(rows["ruled"].id, "{}", None)]))
        self.dated(store, "moved", 11, 20)
        self.dated(store, "ticks", 10, None)
        store.postpone([Postponement(row.id, 10, 20, None, 100, None) for row in rows.values()])
        assert {name: (row.due_at, row.tick_at) for name, row in store.read(list(rows)).items()} == {
            "a": (100, None), "moved": (11, 20), "ticks": (10, None), "ruled": (10, 20),
        }  # fmt: skip
        store.postpone([Postponement(rows["ruled"].id, 10, 20, "{}", None, 7)])
        assert store.read(["ruled"])["ruled"][-2:] == (None, 7)
        assert store.commit(Commit([write(rows["a"], 1, 1)])) == frozenset()

    def test_counters_by_id(self, store: Store) -> None:
        rows = [claimed(store, name) for name in ("z", "a", "m")]
        assert [row.name for row in store.after(0, 2)] == ["z", "a"]
        assert store.after(rows[1].id, 9) == [rows[2]]



class TestRead:
    def test_a_counter_that_was_never_written_is_invisible(self, store: Store) -> None:
        claimed(store)
        assert store.read(["votes"]) == {}
        assert store.page("", "", 10) == []

    def test_a_policy_is_enough_to_be_seen(self, store: Store) -> None:
        row = claimed(store)
        store.commit(Commit([write(row, 4, 0)], policies=[PolicyWrite(row.id, '{"initial":4}', "ann")]))
        assert store.read(["votes"])["votes"].value == 4

    def test_it_takes_no_ownership(self, store: Store) -> None:
        row = filled(store)
        store.read(["votes"])
        store.page("", "", 10)
        assert store.commit(Commit([write(row, 2, 2)])) == frozenset()

    def test_some_of_many(self, store: Store) -> None:
        filled(store, "a")
        filled(store, "b")
        assert store.read(["a", "b", "a", "nobody", "A"]).keys() == {"a", "b"}

    def test_more_names_than_a_statement_has_room_for(self, backend: Memory | Sql) -> None:
        store = backend.open()
        if isinstance(store, SqlStore) and isinstance(store._driver, sqlite3.Connection):
            # What SQLite allows unless a distribution says otherwise.
            store._driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
        filled(store, "votes")
        assert store.read([*(f"n{number}" for number in range(40_000)), "votes"]).keys() == {"votes"}


class TestPage:
    NAMES = ("B", "a", "a-1", "a.b", "a1", "a:b", "aB", "a_", "a_1", "aa", "ab", "az", "b", "z")

    @pytest.fixture
    def store(self, backend: Memory | Sql) -> Store:
        store = backend.open()
        rows = store.claim(self.NAMES, 0)
        store.commit(Commit([write(row, 1, 1) for row in rows]))
        store.claim(["a-never-written", "aaa"], 0)
        return store

    def names(self, store: Store, prefix: str, after: str, limit: int = 99) -> list[str]:
        return [row.name for row in store.page(prefix, after, limit)]

    @pytest.mark.parametrize(
        "prefix", ["", "a", "A", "a_", "a-", "a.", "a:", "aB", "ab", "b", "B", "z", "zz", "%", "a%"]
    )
    def test_a_prefix_is_meant_literally(self, store: Store, prefix: str) -> None:
        assert self.names(store, prefix, "") == sorted(name for name in self.NAMES if name.startswith(prefix))

    @pytest.mark.parametrize("prefix", ["", "a"])
    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_page_by_page_is_the_same_as_all_at_once(self, store: Store, prefix: str, size: int) -> None:
        found: list[str] = []
        while page := self.names(store, prefix, found[-1] if found else "", size):
            assert len(page) <= size
            found += page
        assert found == self.names(store, prefix, "")

    def test_a_cursor_need_not_exist(self, store: Store) -> None:
        assert self.names(store, "a", "a_0") == ["a_1", "aa", "ab", "az"]
        assert self.names(store, "a", "b") == []


class TestADatabase:
    """What only a store that outlives its process can promise."""

    def test_whoever_opens_it_again_sees_everything(self, sql: Sql) -> None:
        store = open_store(sql.url)
        row = claimed(store)
        rows = [operation(row, seq) for seq in (1, 2)]
        store.commit(Commit([write(row, 2, 2, at=5)], rows, [PolicyWrite(row.id, '{"maximum":9}', "ann")]))
        store.close()
        again = sql.open()
        assert again.read(["votes"])["votes"] == CounterRecord(
            row.id, "votes", 2, 2, 1, 5, 5, "ann", '{"maximum":9}'
        )
        assert again.since(row.id, 0, 9) == rows
        assert claimed(again).epoch == 2

    def test_a_commit_is_seen_by_others_at_once(self, sql: Sql) -> None:
        one, other = sql.open(), sql.open()
        row = filled(one)
        assert other.read(["votes"])["votes"].value == 1
        increment(one, row, "more")
        assert other.read(["votes"])["votes"].value == 2

    def test_every_commit_is_flushed_to_the_disk(self, sqlite: Sql) -> None:
        driver = sqlite.open()._driver
        assert driver.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert driver.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_closing_gives_everything_back(self, sqlite: Sql) -> None:
        for _ in range(3):
            open_store(sqlite.url).close()
        assert open_files(sqlite.url.removeprefix("sqlite:///")) == []

    def test_a_database_that_is_gone_is_unavailable(self, sql: Sql) -> None:
        store = sql.open()
        row = filled(store)
        store._driver.execute("DROP TABLE operation")
        with pytest.raises(StorageUnavailable):
            store.commit(Commit([write(row, 2, 2)], [operation(row, 2)]))
        with pytest.raises(StorageUnavailable):
            store.history(row.id, None, 5)
        assert store.read(["votes"])["votes"].value == 1

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "nonsense",
            "sqlite://",
            "sqlite:///:memory:",
            "postgres://x",
            "postgresql://x:port/y",
            "postgresql+asyncpg://x/y",
            "mysql://localhost/x",
            "sqlite:////proc/x/y.db",
        ],
    )
    def test_an_impossible_url_is_the_operator_s_mistake(self, url: str) -> None:
        with pytest.raises(StorageMisconfigured):
            open_store(url)

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "counters.db").write_bytes(b"this is a text file, not a database" * 99)
        with pytest.raises(StorageError):
            open_store(f"sqlite:///{tmp_path / 'counters.db'}")
