"""Every earlier schema becomes the present one, with everything that was in it; a newer one is refused."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import make_url, text

from storage import schema
from storage.engine import _open, migrate
from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.records import Commit, CounterRecord
from storage.store import SqlStore, open_store
from tests.contract.test_store import Sql, claimed, filled, operation, postgres, sql, sqlite, write
from tests.support.postgres_server import PASSWORD, binaries
from tests.support.service_process import free_port, run_command

__all__ = ["postgres", "sql", "sqlite"]

# What the first version made, word for word.
FIRST = """
CREATE TABLE counter (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, value BIGINT NOT NULL,
	operation_count BIGINT NOT NULL, epoch BIGINT NOT NULL, created_at BIGINT, updated_at BIGINT, created_by TEXT,
	policy TEXT, UNIQUE (name)
);
CREATE TABLE operation (
	counter_id BIGINT NOT NULL, seq BIGINT NOT NULL, type TEXT NOT NULL, amount BIGINT NOT NULL, value BIGINT NOT NULL,
	previous_value BIGINT NOT NULL, at BIGINT NOT NULL, operation_id TEXT NOT NULL, actor TEXT, reason TEXT,
	PRIMARY KEY (counter_id, seq), UNIQUE (operation_id, counter_id)
) WITHOUT ROWID;
"""
PLACED = "ALTER TABLE counter ADD COLUMN placed BIGINT NOT NULL DEFAULT 0;"
DEADLINES = """
ALTER TABLE counter ADD COLUMN idle_since BIGINT;
ALTER TABLE counter ADD COLUMN due_at BIGINT;
ALTER TABLE counter ADD COLUMN tick_at BIGINT;
CREATE INDEX counter_due ON counter (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX counter_tick ON counter (tick_at) WHERE tick_at IS NOT NULL;
CREATE TABLE note (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
"""
FILLED = """
INSERT INTO counter (name, value, operation_count, epoch, created_at, updated_at, created_by, policy)
VALUES ('votes', 1, 1, 3, 5, 7, 'ann', '{"maximum":9}'), ('claimed', 0, 0, 1, NULL, NULL, NULL, NULL);
INSERT INTO operation (counter_id, seq, type, amount, value, previous_value, at, operation_id, actor, reason)
VALUES (1, 1, 'increment', 1, 1, 0, 7, 'key:a', 'ann', NULL);
"""
EARLIER = {"0001": FIRST + FILLED, "0002": FIRST + PLACED + FILLED, "0003": FIRST + PLACED + DEADLINES + FILLED}


@contextmanager
def changing(url: str) -> Iterator[Any]:
    """A connection in a transaction."""
    database = _open(make_url(url))
    try:
        with database.alone() as connection:
            yield connection
    finally:
        database.close()


def make(url: str, revision: str) -> None:
    """An empty database of an earlier revision, by the migrations."""
    with changing(url) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "storage:migrations")
        config.set_main_option("path_separator", "os")
        command.upgrade(config, revision)


def noted(url: str) -> str | None:
    with changing(url) as connection:
        return schema.revision(connection)


def shape(url: str) -> str:
    """Everything that there is to say about the tables, with their columns in order."""
    return _shape_of_file(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else _dump(url)


def _shape_of_file(path: str) -> str:
    connection = sqlite3.connect(path)
    lines = []
    for name, made in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name"):
        options = [option for option in ("AUTOINCREMENT", "WITHOUT ROWID") if option in made]
        lines.append(f"{name} {options}")
        lines += [str(row) for row in connection.execute(f"PRAGMA table_xinfo({name})")]
        indexes = connection.execute(f"PRAGMA index_list({name})").fetchall()
        for _, index, *flags in sorted(indexes, key=lambda row: row[1]):
            made = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", [index]).fetchone()
            lines.append(f"  {index} {flags} {made}")
            lines += [f"    {row}" for row in connection.execute(f"PRAGMA index_xinfo({index})")]
    connection.close()
    return "\n".join(lines).replace("\"'0'\"", "'0'")  # The default, as SQLAlchemy and as the first version wrote it.


def _dump(url: str) -> str:
    folder = binaries()
    assert folder is not None
    dump = subprocess.run(
        [folder / "pg_dump", "--schema-only", url.replace("+psycopg", "")],
        capture_output=True, text=True, check=True, env={"PGPASSWORD": PASSWORD},
    )  # fmt: skip
    return re.sub(r"^(--.*|\\(un)?restrict .*)?\n", "", dump.stdout, flags=re.MULTILINE)


class TestRevisions:
    def test_the_files_are_the_list(self) -> None:
        config = Config()
        config.set_main_option("script_location", "storage:migrations")
        config.set_main_option("path_separator", "os")
        walked = ScriptDirectory.from_config(config).walk_revisions()
        assert tuple(reversed([script.revision for script in walked])) == schema.REVISIONS

    @pytest.mark.parametrize("revision", schema.REVISIONS)
    def test_a_migrated_schema_is_the_fresh_one(self, sql: Sql, revision: str) -> None:
        url = sql.url
        make(url, revision)
        assert migrate(url) == (revision, schema.NEWEST)
        migrated = shape(url)
        with changing(url) as connection:
            for table in [*(each.__tablename__ for each in schema.TABLES), "alembic_version"]:
                connection.execute(text(f"DROP TABLE {table}"))
        sql.open()
        assert shape(url) == migrated
        assert noted(url) == schema.NEWEST

    def test_again_there_is_nothing_to_do(self, sql: Sql) -> None:
        assert migrate(sql.url) == (None, schema.NEWEST)
        assert migrate(sql.url) == (schema.NEWEST, schema.NEWEST)
        filled(sql.open())


class TestAnEarlierFile:
    @pytest.fixture(params=sorted(EARLIER))
    def old(self, request: pytest.FixtureRequest, sqlite: Sql) -> Sql:
        connection = sqlite3.connect(sqlite.url.removeprefix("sqlite:///"))
        connection.executescript(EARLIER[request.param])
        connection.close()
        return sqlite

    def test_it_is_brought_up_to_date_when_it_is_opened(self, old: Sql, tmp_path: Path) -> None:
        store = old.open()
        assert store.read(["votes", "claimed"]) == {
            "votes": CounterRecord(1, "votes", 1, 1, 3, 5, 7, "ann", '{"maximum":9}')
        }
        assert store.find_operations([(1, "key:a")]).keys() == {(1, "key:a")}
        [row] = store.claim(["votes"], 4)
        assert (row.epoch, row.placed) == (4, 4)
        assert store.commit(Commit([write(row, 2, 2)], [operation(row, 2)])) == frozenset()
        assert claimed(store, "claimed").epoch == 2
        assert noted(old.url) == schema.NEWEST
        fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
        open_store(fresh).close()
        assert shape(old.url) == shape(fresh)

    def test_by_whoever_comes_first(self, old: Sql) -> None:
        with ThreadPoolExecutor(6) as threads:
            for store in threads.map(lambda _: open_store(old.url), range(6)):
                store.close()
        assert noted(old.url) == schema.NEWEST

    def test_or_by_hand(self, old: Sql) -> None:
        found, newest = migrate(old.url)
        assert (found, newest) == (noted(old.url) if found == newest else found, schema.NEWEST)
        assert old.open().read(["votes"])["votes"].value == 1


def test_a_migration_that_fails_changes_nothing(sql: Sql) -> None:
    make(sql.url, "0001")
    with changing(sql.url) as connection:
        connection.execute(text("CREATE TABLE note (something_else INTEGER)"))
    before = shape(sql.url)
    with pytest.raises(Exception, match="note"):
        migrate(sql.url)
    assert (shape(sql.url), noted(sql.url)) == (before, "0001")
    with changing(sql.url) as connection:
        connection.execute(text("DROP TABLE note"))
    assert migrate(sql.url) == ("0001", schema.NEWEST)


def test_a_server_is_migrated_when_its_operator_says_so(postgres: Sql) -> None:
    make(postgres.url, "0002")
    with pytest.raises(StorageMisconfigured, match=r"schema 0002.*counters migrate"):
        open_store(postgres.url)
    assert noted(postgres.url) == "0002"
    migrate(postgres.url)
    filled(postgres.open())


def test_a_database_that_is_newer_is_left_alone(sql: Sql) -> None:
    sql.open()
    with changing(sql.url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for door in (open_store, migrate):
        with pytest.raises(StorageMisconfigured, match="9999, newer than this version"):
            door(sql.url)


def test_hosts_go_on_while_a_later_version_adds_to_the_schema(sql: Sql) -> None:
    """An upgrade of a running service: the database first, the hosts afterwards."""
    old: SqlStore = sql.open()
    row = filled(old)
    with changing(sql.url) as connection:
        connection.execute(text("ALTER TABLE counter ADD COLUMN later BIGINT NOT NULL DEFAULT 5"))
        connection.execute(text("ALTER TABLE operation ADD COLUMN later TEXT"))
        connection.execute(text("CREATE TABLE later (name TEXT)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert old.commit(Commit([write(row, 2, 2)], [operation(row, 2)])) == frozenset()
    [again] = old.claim(["votes"], 0)
    assert again == row._replace(value=2, seq=2, epoch=2, created_at=1, updated_at=1)
    assert old.read(["votes"])["votes"] == again
    assert old.page("", "", 9) == [again]
    assert old.history(row.id, None, 9) == [operation(row, 2), operation(row, 1)]


def test_a_database_without_a_table_is_unavailable(sql: Sql) -> None:
    sql.open()
    with changing(sql.url) as connection:
        connection.execute(text("DROP TABLE operation"))
    store = sql.open()
    [row] = store.claim(["votes"], 0)
    with pytest.raises(StorageUnavailable, match="operation"):
        store.commit(Commit([write(row, 1, 1)], [operation(row, 1)]))


class TestTheCommand:
    def test_it_says_what_it_did(self, sql: Sql, tmp_path: Path) -> None:
        make(sql.url, "0001")
        first, second = (run_command("migrate", "--database", sql.url) for _ in range(2))
        assert (first.returncode, first.stderr, second.returncode) == (0, "", 0)
        assert f"schema 0001 → {schema.NEWEST}" in first.stdout
        assert "nothing to do" in second.stdout
        assert PASSWORD.replace(" ", "%20") not in first.stdout

    def test_what_goes_wrong_is_one_line(self, postgres_url: str) -> None:
        for url in (postgres_url.replace("/test", "/missing"), "mysql://x/y", "nonsense"):
            run = run_command("migrate", "--database", url)
            assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1), run.stderr

    def test_a_server_that_is_older_is_named_with_the_command_that_helps(self, postgres: Sql, tmp_path: Path) -> None:
        make(postgres.url, "0002")
        flags = ("--port", str(free_port()), "--data-dir", tmp_path / "data", "--database", postgres.url)
        run = run_command("serve", *flags)
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1), run.stderr
        assert "counters migrate" in run.stderr
