"""Counts and members from the database of an application: each is verified, and again nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from actors.clock import iso
from gateway.transfer import application, lines
from gateway.transfer.application import Queries, check, counters
from gateway.transfer.lines import Read
from gateway.transfer.loading import Loader, Tally
from storage import application as database
from storage.application import Application
from storage.bulk import Bulk, open_bulk
from storage.errors import StorageMisconfigured
from tests.contract.test_store import Sql, postgres, sql, sqlite
from tests.support.service_process import run_command

__all__ = ["postgres", "sql", "sqlite"]

NOW = 1_800_000_000_123
COUNTS = "SELECT 'post:' || id, likes FROM post WHERE title NOT LIKE 'draft%';"
MEMBERS = "SELECT 'post:' || post_id, account, liked_at FROM likes -- everybody"


@pytest.fixture
def app(sql: Sql) -> str:
    """An application with three posts: one liked by three, one by nobody, and one that it has counted wrongly."""
    statements = """
    CREATE TABLE post (id INTEGER, title TEXT, likes NUMERIC);
    CREATE TABLE likes (post_id INTEGER, account TEXT, liked_at TEXT);
    INSERT INTO post VALUES (1, 'one', 3), (2, 'two', 0), (3, 'three', 7), (4, 'draft 4', 9);
    INSERT INTO likes VALUES (1, 'ann', '2026-01-01T00:00:00Z'), (1, 'Bob', NULL), (1, 'Zoë', '2026-01-02 00:00:00'),
        (3, 'ann', NULL)
    """
    execute(sql.url, *statements.split(";"))
    return sql.url


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Bulk]:
    with closing(open_bulk(f"sqlite:///{tmp_path / 'target.db'}")) as store:
        yield store


def execute(url: str, *statements: str) -> None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def run(url: str, target: Bulk, queries: Queries, replacing: bool = False) -> tuple[Tally, list[str]]:
    said: list[str] = []
    loader = Loader(target, said.append, replacing=replacing)
    with closing(Application(url)) as source:
        check(source, queries)
        for read in counters(source, queries, NOW, loader.refuse, loader.mismatch):
            loader.take("", read)
    loader.finish()
    return loader.tally, said


def members(target: Bulk, name: str) -> list[tuple[str, int]]:
    return [(each.member, each.since) for each in target.members(target.read([name])[name].id, "", 1_000)]


def test_counts_and_members(app: str, target: Bulk) -> None:
    tally, said = run(app, target, Queries(COUNTS, MEMBERS))
    assert (tally, said) == (Tally(made=3, members=4, mismatches=1), ["post:3: counted 7, has 1 members"])
    rows = target.read(["post:1", "post:2", "post:3", "post:4"])
    assert {name: (row.value, row.policy) for name, row in rows.items()} == {
        "post:1": (3, '{"likes":true}'), "post:2": (0, '{"likes":true}'), "post:3": (1, '{"likes":true}')
    }  # fmt: skip
    assert members(target, "post:1") == [("Bob", NOW), ("Zoë", 1_767_312_000_000), ("ann", 1_767_225_600_000)]
    [first] = target.history(rows["post:1"].id, None, 9)
    assert (first.type, first.value, first.reason) == ("setValue", 3, "import")


def test_again_nothing_changes_and_what_has_changed_is_told(app: str, target: Bulk) -> None:
    run(app, target, Queries(COUNTS, MEMBERS))
    before = list(target.wholes(history=True))
    tally, _ = run(app, target, Queries(COUNTS, MEMBERS))
    assert tally == Tally(same=3, mismatches=1)
    assert list(target.wholes(history=True)) == before
    execute(app, "INSERT INTO likes VALUES (2, 'ann', NULL)", "UPDATE post SET likes = 1 WHERE id IN (2, 3)")
    assert run(app, target, Queries(COUNTS, MEMBERS)) == (
        Tally(same=2, different=1), ["post:2: has 0 members here, and the value 0"]
    )  # fmt: skip
    assert run(app, target, Queries(COUNTS, MEMBERS), replacing=True) == (Tally(same=2, replaced=1, members=1), [])
    assert members(target, "post:2") == [("ann", NOW)]


def test_only_counts_are_plain_counters(app: str, target: Bulk) -> None:
    assert run(app, target, Queries(COUNTS, None)) == (Tally(made=3), [])
    row = target.read(["post:3"])["post:3"]
    assert (row.value, row.policy) == (7, None)
    assert run(app, target, Queries(COUNTS, None)) == (Tally(same=3), [])


def test_only_members(app: str, target: Bulk) -> None:
    assert run(app, target, Queries(None, MEMBERS)) == (Tally(made=2, members=4), [])


def test_more_members_than_a_piece(sql: Sql, target: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((application, "PART"), (database, "FETCHED")):
        monkeypatch.setattr(module, name, 3)
    execute(sql.url, "CREATE TABLE likes (name TEXT, who TEXT)")
    for name, many in (("a", 9), ("B", 1), ("ab", 10), ("a:b", 3)):
        execute(sql.url, *(f"INSERT INTO likes VALUES ('{name}', 'm{number}')" for number in range(many)))
    queries = Queries("SELECT name, count(*) FROM likes GROUP BY name", "SELECT name, who FROM likes")
    assert run(sql.url, target, queries) == (Tally(made=4, members=23), [])
    assert {name: row.value for name, row in target.read(["a", "B", "ab", "a:b"]).items()} == {
        "a": 9, "B": 1, "ab": 10, "a:b": 3
    }  # fmt: skip
    assert run(sql.url, target, queries) == (Tally(same=4), [])


def test_times_at_the_ends_of_the_calendar(sql: Sql, target: Bulk) -> None:
    """Applications write them for "never"; whoever asks for the members, and an export, have to be able to say them."""
    times = ("0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z")
    execute(sql.url, "CREATE TABLE likes (who TEXT, since TEXT)")
    execute(sql.url, f"INSERT INTO likes VALUES ('a', '0001-01-01 00:00:00'), ('b', '{times[1][:-1]}999')")
    assert run(sql.url, target, Queries(None, "SELECT 'post', who, since FROM likes"))[1] == []
    [whole] = target.wholes(history=True)
    assert lines.encode(whole).count(b'"0001-01-01T00:00:00.000Z"') == 1
    decoded = lines.decode(lines.encode(whole), NOW)
    assert isinstance(decoded, Read)
    assert [iso(each.since) for each in decoded.whole.members] == list(times)


def test_numbers_that_no_counter_can_have(postgres: Sql, target: Bulk) -> None:
    execute(postgres.url, "CREATE TABLE counts (name TEXT, n NUMERIC)")
    for number in ("'NaN'", "'Infinity'", "1e5000", "0.5", "5"):
        execute(postgres.url, f"INSERT INTO counts VALUES ('n:{number.strip(chr(39))}', {number})")
    tally, said = run(postgres.url, target, Queries("SELECT name, n FROM counts", None))
    assert (tally, len(said)) == (Tally(made=1, refused=4), 4), said


def test_rows_that_are_none_are_told_and_the_rest_is_imported(sql: Sql, target: Bulk) -> None:
    execute(
        sql.url,
        "CREATE TABLE counts (name TEXT, n TEXT)",
        "CREATE TABLE likes (name TEXT, who TEXT, since TEXT)",
        "INSERT INTO counts VALUES (NULL, 1), ('not a name', 1), ('null', NULL), ('twice', 1), ('twice', 1), ('ok', 1)",
        "INSERT INTO likes VALUES (NULL, 'x', NULL), ('not a name', 'x', NULL), ('not a name', 'y', NULL), "
        "('ok', '', NULL), ('ok', NULL, NULL), ('ok', 'ann', NULL), ('ok', 'ann', NULL), ('twice', 'ann', NULL), "
        "('ok', 'bob', 'yesterday'), ('ok', 'eve', '9999-12-31T23:59:59-01:00')",
    )
    execute(sql.url, f"INSERT INTO likes VALUES ('ok', '{'m' * 10_000}', NULL), ('ok', 'a\nb', NULL)")
    queries = Queries("SELECT name, CAST(n AS INTEGER) FROM counts", "SELECT name, who, since FROM likes")
    tally, said = run(sql.url, target, queries)
    assert tally == Tally(made=2, members=2, refused=len(said)), said
    wrong = sorted(line.partition(": ")[2].partition(", ")[0][:40] for line in said)
    assert len(said) == 13, wrong
    for where in ("counts: None", "counts: 'not a name'", "counts: 'null'", "counts: 'twice'", "members: None",
                  "members: 'not a name'", "members: ok: ''", "members: ok: None", "members: ok: 'ann'",
                  "members: ok: 'bob'", "members: ok: 'eve'", "members: ok: 'mmmm",
                  "members: ok: 'a\\nb'"):  # fmt: skip
        assert len([line for line in said if line.startswith(where)]) == 1, (where, said)
    assert members(target, "ok") == [("ann", NOW)]


@pytest.mark.parametrize(
    ("counts", "members", "named"),
    [
        ("SELECT 1", None, "--counts: the query has 1 columns"),
        ("SELECT 1, 2, 3", None, "--counts: the query has 3 columns"),
        (None, "SELECT 1", "--members: the query has 1 columns"),
        ("SELECT name, n FROM nowhere", None, "nowhere"),
        ("DROP TABLE post", None, "--counts: "),
        ("SELECT 'a', 1); DROP TABLE post; --", None, "--counts: "),
        ("", None, "--counts: "),
    ],
)
def test_queries_that_are_none(app: str, target: Bulk, counts: str | None, members: str | None, named: str) -> None:
    with pytest.raises(StorageMisconfigured, match=named):
        run(app, target, Queries(counts, members))
    run(app, target, Queries(COUNTS, None))


def test_the_command(app: str, tmp_path: Path) -> None:
    arguments = ("--counts", COUNTS, "--members", MEMBERS, "--data-dir", tmp_path / "data")
    first = run_command("import", "--source", app, *arguments)
    assert (first.returncode, first.stderr) == (1, "post:3: counted 7, has 1 members\n")
    assert "3 imported with 4 members, 0 there already, 0 different, 0 refused, 1 counted otherwise" in first.stdout
    execute(app, "UPDATE post SET likes = 1 WHERE id = 3")
    again = run_command("import", "--source", app, *arguments)
    assert (again.returncode, again.stderr) == (0, "")
    assert "0 imported, 3 there already" in again.stdout
    none = f"{COUNTS[:-1]} AND id > 9"
    nothing = run_command("import", "--source", app, "--counts", none, "--data-dir", tmp_path / "data")
    assert (nothing.returncode, nothing.stderr) == (1, "counters: the queries return nothing\n")
    for url, named in (
        ("postgresql://x:port/y", "port is no number"),
        ("mysql://x/y", "has to be SQLite or Postgres"),
        ("sqlite:///none.db", "no database"),
    ):
        wrong = run_command("import", "--source", url, *arguments)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1), wrong.stderr
        assert named in wrong.stderr
