"""A number from another database: one integer, or a reason why there is none."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from actors.source import DAILY, Source, complaint
from storage.source import SourceFailed, count, number

EVER = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def shop(tmp_path: Path) -> str:
    file = tmp_path / "the shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.executemany("INSERT INTO users VALUES (?)", [("ann",), ("bob",), (None,)])
    connection.close()
    return f"sqlite:///{file}"


def ask(database: str, query: str, overdue: bool = False) -> int:
    return count(database, query, 5.0, lambda: overdue)


def reason(database: str, query: str, overdue: bool = False) -> str:
    with pytest.raises(SourceFailed) as caught:
        ask(database, query, overdue)
    return caught.value.reason


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("SELECT count(*) FROM users", 3),
        ("SELECT count(*) FROM users WHERE name LIKE 'a%'", 1),
        ("SELECT ':name'  IS NULL", 0),
        ("SELECT -7", -7),
        ("SELECT 4.0", 4),
        ("WITH u AS (SELECT 1) SELECT count(*) FROM u", 1),
    ],
)
def test_one_number(shop: str, query: str, found: int) -> None:
    assert ask(shop, query) == found


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("SELECT 1 WHERE 0", "rows"),
        ("SELECT 1 UNION SELECT 2", "rows"),
        ("SELECT 1, 2", "rows"),
        ("SELECT name FROM users WHERE name = 'ann'", "value"),
        ("SELECT '12'", "value"),
        ("SELECT NULL", "value"),
        ("SELECT x'00'", "value"),
        ("SELECT 0.5", "value"),
        ("SELECT 9e999", "value"),
        (f"SELECT {2**53}", "value"),
        ("SELECT count(*) FROM nobody", "query"),
        ("SELEC", "query"),
        ("DELETE FROM users", "query"),
        ("INSERT INTO users VALUES ('eve') RETURNING 1", "query"),
        ("SELECT 1; SELECT 2", "query"),
    ],
)
def test_what_is_none(shop: str, query: str, wrong: str) -> None:
    assert reason(shop, query) == wrong
    assert ask(shop, "SELECT count(*) FROM users") == 3


def test_a_query_that_runs_for_ever_is_ended(shop: str) -> None:
    assert reason(shop, EVER, overdue=True) == "timeout"


@pytest.mark.parametrize(
    "database",
    [
        "nonsense", "nosuch://x/y", "mysql+nosuch://x", "sqlite:////nowhere/x.db", "sqlite:////proc",
        "postgresql://127.0.0.1:1/x", "postgresql://127.0.0.1:port/x",
    ],
)
def test_a_database_that_is_not_there(database: str) -> None:
    assert reason(database, "SELECT 1") == "unreachable"


def test_whatever_a_driver_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyMySQL says by a RuntimeError what it has not got installed."""
    monkeypatch.setattr("storage.source.create_engine", Mock(side_effect=RuntimeError("cryptography is missing")))
    assert reason("sqlite:///x", "SELECT 1") == "unreachable"


def test_a_file_is_not_made(tmp_path: Path) -> None:
    assert reason(f"sqlite:///{tmp_path / 'new.db'}", "SELECT 1") == "unreachable"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "found"), [(7, 7), (Decimal("12"), 12), (2**53 - 1, 2**53 - 1), (-3.0, -3)])
def test_numbers_as_drivers_return_them(value: Any, found: int) -> None:
    assert number([(value,)]) == found


@pytest.mark.parametrize(
    "value", [True, "7", None, Decimal("NaN"), Decimal("0.1"), float("nan"), float("inf"), [], b"7"]
)
def test_no_numbers(value: Any) -> None:
    with pytest.raises(SourceFailed) as caught:
        number([(value,)])
    assert caught.value.reason == "value"


class TestPostgres:
    def test_it_is_read_and_nothing_else(self, postgres_url: str) -> None:
        assert ask(postgres_url, "SELECT sum(i) FROM generate_series(1, 4) i") == 10
        assert ask(postgres_url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'pg_cl%' AND 7 % 2 = 1") > 0
        assert reason(postgres_url, "SELECT 1 FROM pg_catalog.set_config('x.y', '1', false), nobody") == "query"
        assert reason(postgres_url, "WITH made AS (CREATE TABLE t ()) SELECT 1") == "query"
        with pytest.raises(SourceFailed, match="read-only"):
            ask(postgres_url, "SELECT 1 FROM pg_class FOR UPDATE")

    def test_it_is_told_how_long_it_may_take(self, postgres_url: str) -> None:
        with pytest.raises(SourceFailed) as caught:
            count(postgres_url, "SELECT 1 FROM pg_sleep(60)", 0.2, lambda: False)
        assert caught.value.reason == "timeout"

    def test_a_wrong_password(self, postgres_url: str) -> None:
        from sqlalchemy import make_url

        wrong = make_url(postgres_url).set(password="guess").render_as_string(hide_password=False)
        assert reason(wrong, "SELECT 1") == "unreachable"


def test_what_a_source_may_say() -> None:
    sound = Source("sqlite:///x", "SELECT 1")
    assert (sound.schedule, complaint(sound)) == (DAILY, None)
    assert "x.db" not in repr(Source("sqlite:///x.db", "SELECT 1"))
    for field, value in {
        "database": "x", "query": "DELETE FROM x", "schedule": "daily", "timeout_s": 0.0,
    }.items():  # fmt: skip
        wrong = complaint(Source(**{"database": "sqlite:///x", "query": "SELECT 1"} | {field: value}))
        assert wrong is not None and wrong[0] == field.removesuffix("_s")
    for query in ("SELECT 1; DROP TABLE x", "", "selection", "EXPLAIN SELECT 1"):
        assert complaint(Source("sqlite:///x", query)) is not None
