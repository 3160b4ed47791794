"""What a store on Postgres promises beside the contract: it outlives its server, its peers and its connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest

from storage.errors import StorageError, StorageUnavailable
from storage.records import (
    AlarmRecord,
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
from storage.store import SqlStore, open_store
from tests.support.claimants import increment
from tests.support.cut import CuttingProxy
from tests.support.postgres import needs_postgres
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import wait_for

pytestmark = needs_postgres


@contextmanager
def opened(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def commit_of(rows: list[CounterRecord], id: str) -> Commit:
    """One more operation for each of these counters."""
    return Commit(
        [CounterWrite(row.id, row.epoch, row.value + 1, row.seq + 1, 1) for row in rows],
        [
            OperationRecord(row.id, row.seq + 1, "increment", 1, row.value + 1, row.value, 1, id, None, None)
            for row in rows
        ],
    )


class TestPlans:
    """A statement is planned once, and a service begins with empty tables."""

    def test_nothing_reads_a_whole_table_though_that_is_cheapest_while_it_is_empty(self, postgres_url: str) -> None:
        open_store(postgres_url).close()
        before = self._scans(postgres_url)
        with opened(postgres_url) as store:
            [row] = store.claim(["votes"], 0)
            store.commit(commit_of([row], "o1"))
            one = AlarmRecord(row.id, "a", "k", "reset", 0, 5, None, None)
            dated = DeadlineWrite(row.id, row.epoch, 1, 1, 1, 1, 5, 5)
            store.commit(Commit([], deadlines=[dated], alarms=[one], joined=[MemberRecord(row.id, "ann", 1)]))
            store.commit(Commit([], deadlines=[dated], left=[(row.id, "ann")]))
            assert store.seen(["o1"]) == {"o1"}
            assert store.find_operations([(row.id, "o1")])
            assert store.find_gone(["o1"]) == {}
            assert store.latest([(row.id, 1)], 5)
            assert store.history(row.id, None, 5)
            assert store.history(row.id, 2, 5)
            assert store.since(row.id, 0, 5)
            assert store.added(row.id, 0) == 1
            assert store.read(["votes"])
            assert store.stale([(row.id, row.epoch)]) == frozenset()
            assert store.placed(["votes"]) == 0
            assert store.page("", "", 5)
            assert store.page("vo", "", 5)
            assert store.after(0, 5)
            assert store.memberships([(row.id, "ann")]) == set()
            assert store.members(row.id, "", 5) == []
            assert store.due(5, 5, 5)
            assert store._any_due(5, 5)
            assert store.alarms(row.id) == [one]
            assert store.alarms_due(5, 5, 5)
            assert store.alarm_runs(row.id, 5) == []
            store.step_alarms([AlarmStep(one, one._replace(attempt=1), None)])
            store.postpone([Postponement(row.id, 5, 5, None, 6, 6)])
            store.forget(row.id, [1])
            assert store.dead(1, 5) == store.deleted(0, 0, 5) == []
        assert self._scans(postgres_url) == before

    @staticmethod
    def _scans(url: str) -> dict[str, int]:
        """How often each table was read from one end to the other."""
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            rows = connection.execute("SELECT relname, seq_scan FROM pg_stat_user_tables").fetchall()
        return {name: scans for name, scans in rows if name != "alembic_version"}


class TestItsServer:
    """Servers of our own, because they are killed."""

    def test_what_was_acknowledged_outlives_a_killed_server_and_the_store_heals_by_itself(self) -> None:
        with PostgresServer(flushed=True) as server:
            url = server.start().new_database()
            with opened(url) as store:
                acknowledged: list[str] = []
                killed = threading.Event()
                go_on = threading.Event()

                def work() -> None:
                    [row] = store.claim(["votes"], 0)
                    for number in count():
                        id = f"o{number}"
                        try:
                            after = increment(store, row, id)
                            assert after is not None
                            row = after
                        except StorageUnavailable:
                            killed.set()
                            row = self._settle(store, row, id)
                        acknowledged.append(id)
                        if go_on.is_set():
                            return

                with ThreadPoolExecutor(1) as threads:
                    done = threads.submit(work)
                    wait_for("the load has begun", lambda: len(acknowledged) > 50)
                    server.kill()
                    assert killed.wait(10)
                    server.start()
                    so_far = len(acknowledged)
                    wait_for("the store works again", lambda: len(acknowledged) > so_far + 50)
                    go_on.set()
                    done.result(10)
                row = store.read(["votes"])["votes"]
                assert row.value == row.seq == len(acknowledged)
                assert [each.operation_id for each in store.since(row.id, 0, 100_000)] == acknowledged

    @staticmethod
    def _settle(store: SqlStore, row: CounterRecord, id: str) -> CounterRecord:
        """What a host does after a commit whose outcome is unknown: load the counter, look the id up, or do it."""

        def again() -> CounterRecord | None:
            try:
                [now] = store.claim([row.name], 0)
                if store.find_operations([(now.id, id)]):
                    return now
                return increment(store, now, id)
            except StorageUnavailable:
                return None

        after = wait_for("the operation is settled", again)
        assert after is not None
        return after

    def test_while_the_server_is_away_everything_is_unavailable(self) -> None:
        with PostgresServer() as server:
            url = server.start().new_database()
            with opened(url) as store:
                [row] = store.claim(["votes"], 0)
                server.stop()
                for _ in range(2):
                    with pytest.raises(StorageUnavailable):
                        store.read(["votes"])
                    with pytest.raises(StorageUnavailable):
                        store.claim(["votes"], 0)
                    with pytest.raises(StorageUnavailable):
                        store.commit(commit_of([row], "o1"))
                with pytest.raises(StorageError):
                    open_store(url)
                server.start()
                assert store.commit(commit_of([row], "o1")) == frozenset()
                assert store.read(["votes"])["votes"].value == 1

    def test_a_server_that_may_not_write_is_unavailable_until_it_may(self, postgres_server: PostgresServer) -> None:
        url = postgres_server.new_database()
        name = url.rpartition("/")[2]
        with opened(url) as store, postgres_server.connect() as operator:
            [row] = store.claim(["votes"], 0)
            operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            for _ in range(3):
                with pytest.raises(StorageUnavailable):
                    store.commit(commit_of([row], "o1"))
            operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            assert store.commit(commit_of([row], "o1")) == frozenset()
        postgres_server.drop_database(url)


class TestItsConnection:
    def test_a_commit_whose_answer_is_lost_has_happened_once(self, postgres_server: PostgresServer) -> None:
        url = postgres_server.new_database()
        with CuttingProxy(postgres_server.port) as proxy:
            through = url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
            with opened(through) as store:
                [row] = store.claim(["votes"], 0)
                store.commit(commit_of([row], "o1"))  # The first one of a connection is prepared before it is executed.
                proxy.cut_next_answer()
                with pytest.raises(StorageUnavailable):
                    store.commit(commit_of([row._replace(value=1, seq=1)], "o2"))
                assert proxy.cut.is_set()
                [now] = store.claim(["votes"], 0)
                assert (now.value, now.seq) == (2, 2)
                assert store.find_operations([(row.id, "o2")]).keys() == {(row.id, "o2")}
        postgres_server.drop_database(url)

    def test_it_is_given_up_when_its_server_has_become_one_that_only_reads(self, postgres_url: str) -> None:
        """The old primary after a failover, for one. Of several servers in the URL, another one may write by now."""
        with opened(postgres_url) as store:
            for work in (lambda: store.claim(["votes"], 0), lambda: store.note("said", "so")):
                store._driver.execute("SET default_transaction_read_only = on")
                with pytest.raises(StorageUnavailable, match="may only read"):
                    work()
                work()

    def test_an_operator_may_end_its_session(self, postgres_server: PostgresServer, postgres_url: str) -> None:
        with opened(postgres_url) as store, postgres_server.connect() as operator:
            [row] = store.claim(["votes"], 0)
            statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            operator.execute(statement, [postgres_url.rpartition("/")[2]])
            with pytest.raises(StorageUnavailable):
                store.commit(commit_of([row], "o1"))
            assert store.commit(commit_of([row], "o1")) == frozenset()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("let%20me%20in", "wrong"), "password authentication failed"),
            (("/test", "/missing"), "does not exist"),
            (("counters:", "nobody:"), "password authentication failed"),
        ],
    )
    def test_what_is_wrong_is_said_and_no_password_is(
        self, postgres_url: str, change: tuple[str, str], said: str
    ) -> None:
        with pytest.raises(StorageError, match=said) as raised:
            open_store(postgres_url.replace(*change))
        assert "let" not in str(raised.value)

    def test_no_connection_is_left(self) -> None:
        with PostgresServer() as server:
            url = server.start(max_connections=5).new_database()  # Three of them are for the operator.
            for _ in range(4):
                open_store(url).close()
            with opened(url), opened(url), pytest.raises(StorageUnavailable):
                open_store(url)
            open_store(url).close()


class TestItsPeers:
    def test_a_host_that_is_frozen_in_a_transaction_holds_nobody_up(self, postgres_url: str) -> None:
        with opened(postgres_url) as frozen, opened(postgres_url) as other:
            [row] = frozen.claim(["votes"], 0)
            with pytest.raises(StorageUnavailable), frozen._transaction(several=True) as driver:
                driver.execute("SELECT FROM counter FOR UPDATE")
                assert [each.epoch for each in other.claim(["votes"], 0)] == [2]  # Waits until the server has enough.
                driver.execute("SELECT 1")  # The frozen host goes on.
            assert frozen.commit(commit_of([row], "o1")) == {row.id}

    def test_who_waits_too_long_for_a_row_is_told_so(self, postgres_server: PostgresServer, postgres_url: str) -> None:
        """Somebody who is no host, and sits on a row."""
        with opened(postgres_url) as store, postgres_server.connect(postgres_url.rpartition("/")[2]) as operator:
            [row] = store.claim(["votes"], 0)
            with operator.transaction():
                operator.execute("SELECT FROM counter FOR UPDATE")
                with pytest.raises(StorageUnavailable, match="lock timeout"):
                    store.commit(commit_of([row], "o1"))
            assert store.commit(commit_of([row], "o1")) == frozenset()

    def test_no_two_of_them_wait_for_each_other(self, postgres_server: PostgresServer, postgres_url: str) -> None:
        """Claims, commits and rare commits of the same counters, in every order."""
        names = [f"c{number}" for number in range(40)]
        with opened(postgres_url) as store:
            store.claim(list(reversed(names)), 0)  # Their ids are in another order than their names.

        def fight(who: int) -> int:
            kept = 0
            with opened(postgres_url) as store:
                for turn in range(25):
                    wanted = names[who * 5 :] + names[: who * 5]
                    rows = store.claim(wanted if who % 2 else list(reversed(wanted)), 0)
                    commit = commit_of(rows[turn % 7 :] + rows[: turn % 7], f"{who}-{turn}")
                    if turn % 3 == 0:
                        commit = commit._replace(policies=[PolicyWrite(rows[-1].id, "{}", None)])
                    kept += len(rows) - len(store.commit(commit))
            return kept

        before = _deadlocks(postgres_server, postgres_url)
        with ThreadPoolExecutor(6) as threads:
            kept = sum(threads.map(fight, range(6)))
        assert _deadlocks(postgres_server, postgres_url) == before
        with opened(postgres_url) as store:
            rows = store.read(names)
            assert sum(row.value for row in rows.values()) == sum(row.seq for row in rows.values()) == kept
            assert {row.epoch for row in rows.values()} <= {151}

    def test_nor_a_timer_and_the_owners(self, postgres_server: PostgresServer, postgres_url: str) -> None:
        """The timer writes down failed attempts without owning the counters; owners set, cancel and run alarms."""
        with opened(postgres_url) as store:
            rows = store.claim([f"c{number}" for number in range(6)], 0)
            alarms = [
                AlarmRecord(row.id, id, f"{row.id}{id}", "increment", 1, None, 1_000, 1) for row in rows for id in "abc"
            ]
            writes = [DeadlineWrite(row.id, row.epoch, 0, 0, 1, 1, None, None) for row in rows]
            store.commit(Commit([], deadlines=writes, alarms=alarms))

        def failed(each: AlarmRecord) -> AlarmStep:
            return AlarmStep(each, each._replace(error="UNAVAILABLE"), None)

        def attempts(store: SqlStore, turn: int) -> None:
            store.step_alarms([failed(each) for each in reversed(alarms)])

        def owns(store: SqlStore, turn: int) -> None:
            put, rest = alarms[turn % 18 :], alarms[: turn % 18]
            cancelled = [(each.counter_id, each.id) for each in reversed(put)]
            steps = [failed(each) for each in reversed(rest)]
            commit = Commit([], deadlines=writes, alarms=put, cancellations=cancelled, steps=steps)
            assert store.commit(commit) == frozenset()

        def fight(what: Callable[[SqlStore, int], None]) -> None:
            with opened(postgres_url) as store:
                for turn in range(60):
                    what(store, turn)

        before = _deadlocks(postgres_server, postgres_url)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(fight, [attempts, owns, attempts, owns]))
        assert _deadlocks(postgres_server, postgres_url) == before


def _deadlocks(server: PostgresServer, url: str) -> int:
    with server.connect(url.rpartition("/")[2]) as operator:
        row = operator.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return int(row[0])
