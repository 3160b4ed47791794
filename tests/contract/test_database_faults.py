"""A database that cannot be used: every call says so and what to do about it, and the same store works afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import sqlite as sqlite_module
from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.records import Commit, CounterRecord, OperationRecord
from storage.store import SqlStore, open_store
from tests.contract.test_migrations import changing
from tests.contract.test_store import Sql, filled, operation, postgres, sql, sqlite, write
from tests.support.postgres_server import PASSWORD, PostgresServer
from tests.support.service_process import free_port, run_command, wait_for
from tests.support.small_disk import SmallDisk, small_disk

__all__ = ["postgres", "sql", "sqlite"]


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    try:
        with small_disk() as mounted:
            yield mounted
    except PermissionError as error:
        pytest.skip(error.strerror)


def many(row: CounterRecord, operations: int) -> list[OperationRecord]:
    return [operation(row, row.seq + number + 1) for number in range(operations)]


def one_more(store: SqlStore, row: CounterRecord) -> CounterRecord:
    after = row._replace(value=row.value + 1, seq=row.seq + 1)
    assert store.commit(Commit([write(after, after.value, after.seq)], [operation(after, after.seq)])) == frozenset()
    return after


class TestAFile:
    def test_on_a_full_disk(self, disk: SmallDisk) -> None:
        store = open_store(f"sqlite:///{disk.folder / 'counters.db'}")
        row = filled(store)
        disk.fill()
        with pytest.raises(StorageUnavailable, match=r"full \(make room on the disk"):
            for _ in range(100):  # What the file has free inside is used first.
                history = many(row, 1_000)
                store.commit(Commit([write(row, row.seq + 1_000, row.seq + 1_000)], history))
                row = row._replace(value=row.value + 1_000, seq=row.seq + 1_000)
        assert store.read(["votes"])["votes"].seq == row.seq  # What was acknowledged is there, and can be read.
        disk.make_room()
        row = one_more(store, row)
        assert [each.seq for each in store.since(row.id, 0, 100_000)] == list(range(1, row.seq + 1))
        store.close()

    def test_a_disk_that_is_full_from_the_beginning(self, disk: SmallDisk) -> None:
        disk.fill()
        with pytest.raises((StorageUnavailable, StorageMisconfigured), match=r"make room|No space left"):
            open_store(f"sqlite:///{disk.folder / 'counters.db'}")
        disk.make_room()
        store = open_store(f"sqlite:///{disk.folder / 'counters.db'}")
        filled(store)
        store.close()

    def test_that_may_only_be_read(self, disk: SmallDisk) -> None:
        url = f"sqlite:///{disk.folder / 'counters.db'}"
        store = open_store(url)
        row = filled(store)
        store.close()
        disk.only_read(True)
        with pytest.raises((StorageUnavailable, StorageMisconfigured), match=r"Read-only file system|let the user"):
            open_store(url)
        disk.only_read(False)
        store = open_store(url)
        one_more(store, store.claim(["votes"], 0)[0])
        assert store.read(["votes"])["votes"].value == row.value + 1
        store.close()

    def test_that_is_locked_by_another_program(self, sqlite: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_MS", 20)
        store = sqlite.open()
        row = filled(store)
        other = sqlite3.connect(sqlite.url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="another program is in the middle of a transaction"):
            one_more(store, row)
        with pytest.raises(StorageUnavailable, match="another program"):
            open_store(sqlite.url)
        assert store.read(["votes"])["votes"].value == 1
        other.execute("ROLLBACK")
        other.close()
        one_more(store, row)

    @pytest.mark.parametrize("damage", [b"not a database at all", b""], ids=["header", "pages"])
    def test_that_is_corrupt(self, sqlite: Sql, damage: bytes) -> None:
        """A backup is put in its place; that takes a restart."""
        file = Path(sqlite.url.removeprefix("sqlite:///"))
        store = open_store(sqlite.url)
        row = filled(store, operations=2_000)
        store.close()
        backup = file.read_bytes()
        if damage:
            file.write_bytes(damage + backup[len(damage) :])
        else:
            file.write_bytes(backup[:4_096] + b"\xa5" * (len(backup) - 4_096))
        with pytest.raises(StorageUnavailable, match="restore a backup"):
            store = open_store(sqlite.url)
            try:
                store.history(row.id, None, 10)
            finally:
                store.close()
        file.write_bytes(backup)
        store = sqlite.open()
        assert len(store.since(row.id, 0, 9_999)) == 2_000
        one_more(store, store.claim(["votes"], 0)[0])

    def test_whose_folder_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageMisconfigured, match="cannot use"):
            open_store(f"sqlite:///{tmp_path / 'file' / 'counters.db'}")


class TestEither:
    def test_without_a_table(self, sql: Sql) -> None:
        store = sql.open()
        row = filled(store)
        with changing(sql.url) as connection:
            connection.execute(text("ALTER TABLE operation RENAME TO elsewhere"))
        with pytest.raises(StorageUnavailable, match=r"a table is missing: .*backup"):
            one_more(store, row)
        with pytest.raises(StorageUnavailable, match="a table is missing"):
            store.history(row.id, None, 1)
        with changing(sql.url) as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO operation"))
        one_more(store, row)

    def test_newer_than_the_code(self, sql: Sql, tmp_path: Path) -> None:
        sql.open()
        with changing(sql.url) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        flags = ("--port", str(free_port()), "--data-dir", tmp_path / "data", "--database", sql.url)
        run = run_command("serve", *flags)
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1), run.stderr
        assert "install the version that made it" in run.stderr


class TestAServer:
    def test_two_that_wait_for_each_other(self, postgres_server: PostgresServer, postgres: Sql) -> None:
        """Somebody who is no host takes rows in another order. One of the two is told so, and loses nothing."""
        store = postgres.open()
        rows = [filled(store, name) for name in ("a", "b")]
        commit = Commit([write(row, 2, 2) for row in rows], [operation(row, 2) for row in rows])
        with postgres_server.connect(postgres.url.rpartition("/")[2]) as operator:
            operator.execute("SET deadlock_timeout = '10s'")  # The store finds out first.
            operator.execute("BEGIN")
            operator.execute("SELECT FROM counter WHERE name = 'b' FOR UPDATE")
            pid = store._fetch(text("SELECT pg_backend_pid()"))[0][0]
            with ThreadPoolExecutor(1) as threads:
                committed = threads.submit(store.commit, commit)
                waiting = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
                with postgres_server.connect() as other:
                    wait_for("the commit waits", lambda: other.execute(waiting, [pid]).fetchone())
                operator.execute("SELECT FROM counter WHERE name = 'a' FOR UPDATE")
                with pytest.raises(StorageUnavailable, match=r"deadlock detected.*tried again"):
                    committed.result()
            operator.execute("ROLLBACK")
        assert {row.value for row in store.read(["a", "b"]).values()} == {1}
        assert store.commit(commit) == frozenset()

    @pytest.mark.parametrize(
        ("fault", "cure", "advice"),
        [
            ("ALTER ROLE counters PASSWORD 'x'", "ALTER ROLE counters PASSWORD 'PASSWORD'", "user and password"),
            ("ALTER ROLE counters CONNECTION LIMIT 0", "ALTER ROLE counters CONNECTION LIMIT -1", "max_connections"),
            (
                "ALTER DATABASE <db> SET default_transaction_read_only = on",
                "ALTER DATABASE <db> RESET default_transaction_read_only",
                "only read",
            ),
            ("ALTER DATABASE <db> RENAME TO elsewhere", "ALTER DATABASE elsewhere RENAME TO <db>", "CREATE DATABASE"),
        ],
    )
    def test_that_takes_nobody_in(
        self, postgres_server: PostgresServer, postgres: Sql, fault: str, cure: str, advice: str
    ) -> None:
        store = postgres.open()
        row = filled(store)
        name = postgres.url.rpartition("/")[2]
        with postgres_server.connect() as operator:
            try:
                cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                operator.execute(cut, [name])
                operator.execute(fault.replace("<db>", name))
                with pytest.raises(StorageUnavailable):  # The connection that was cut.
                    one_more(store, row)
                with pytest.raises(StorageUnavailable, match=advice):
                    one_more(store, row)
                with pytest.raises(StorageUnavailable, match=advice):
                    open_store(postgres.url)
            finally:
                operator.execute(cure.replace("<db>", name).replace("PASSWORD 'PASSWORD'", f"PASSWORD '{PASSWORD}'"))
        one_more(store, row)
