"""Whole counters out of one database and into another: nothing is lost, and whatever is cut off goes on."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.core.policy import Policies
from actors.trimmer import Trimmer
from gateway.transfer import lines
from gateway.transfer.lines import BadLine, Read
from gateway.transfer.loading import Loader, Tally
from storage import bulk
from storage.bulk import Bulk, Conflict, NotWritten, Whole, open_bulk
from storage.records import (
    AlarmRecord,
    AlarmRunRecord,
    AlarmStep,
    Commit,
    CounterRecord,
    DeadlineWrite,
    MemberRecord,
    PolicyWrite,
)
from storage.store import SqlStore, open_store
from tests.contract.test_store import Sql, filled, operation, postgres, sql, sqlite, write
from tests.support.clock import HandClock
from tests.support.service_process import command, environment, run_command

__all__ = ["postgres", "sql", "sqlite"]

NOW = 1_800_000_000_123


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Bulk]:
    store = open_bulk(f"sqlite:///{tmp_path / 'source.db'}")
    yield store
    store.close()


@pytest.fixture
def target(sql: Sql) -> Iterator[Bulk]:
    store = open_bulk(sql.url)
    yield store
    store.close()


def furnished(store: SqlStore, name: str = "votes", operations: int = 3) -> CounterRecord:
    """A counter with everything that there is."""
    row = filled(store, name, operations)
    alarm = AlarmRecord(row.id, "a1", f"key-{name}", "increment", 5, None, 60_000, NOW, 2, 1, "UNAVAILABLE")
    other = AlarmRecord(row.id, "a2", f"key2-{name}", "reset", 0, NOW + 5, None, None)
    ran = AlarmRunRecord(alarm.key, 1, row.id, "a1", NOW - 9, 1, None)
    deadlines = DeadlineWrite(row.id, row.epoch, row.value, row.seq, NOW, NOW - 1, NOW + 1, NOW + 2)
    policy = PolicyWrite(row.id, '{"maximum":9,"reset_after":60}', "ann")
    store.commit(Commit([], alarms=[alarm, other], policies=[policy], deadlines=[deadlines]))
    store.step_alarms([AlarmStep(alarm, alarm, ran)])
    return store.read([name])[name]


def liked(store: SqlStore, name: str = "post", members: int = 3) -> CounterRecord:
    """A counter of likes."""
    row = filled(store, name, members)
    joined = [MemberRecord(row.id, f"m{number:04}", NOW + number) for number in range(members)]
    policies = [PolicyWrite(row.id, '{"likes":true}', None)]
    store.commit(Commit([write(row, members, members)], policies=policies, joined=joined))
    return store.read([name])[name]


def everything(store: Bulk) -> dict[str, Any]:
    """All there is, without the ids of counters and their owners."""
    return {
        whole.counter.name: (
            whole.counter._replace(id=0, epoch=0, placed=0),
            *([each._replace(counter_id=0) for each in part] for part in whole[1:5]),
        )
        for whole in store.wholes(history=True)
    }


def load(target: Bulk, text: bytes, **how: bool) -> tuple[Tally, list[str]]:
    said: list[str] = []
    loader = Loader(target, said.append, **how)
    take(loader, text)
    loader.finish()
    return loader.tally, said


def take(loader: Loader, text: bytes) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            read = lines.decode(line, NOW)
        except BadLine as bad:
            loader.refuse(f"line {number}", str(bad))
        else:
            assert isinstance(read, Read)
            loader.take(f"line {number}: ", read)


def text_of(source: Bulk, history: bool = True) -> bytes:
    return b"".join(lines.encode(whole) for whole in source.wholes(history))


class TestThereAndBack:
    def test_nothing_is_lost(self, source: Bulk, target: Bulk) -> None:
        for name in ("votes", "seats"):
            furnished(source, name)
        filled(source, "plain")
        liked(source)
        source.claim(["claimed"], 1)  # Nobody is shown it.
        assert load(target, text_of(source)) == (Tally(made=4, members=3), [])
        assert everything(target) == everything(source)
        assert sorted(everything(target)) == ["plain", "post", "seats", "votes"]

    def test_without_history_the_rest_is_there(self, source: Bulk, target: Bulk) -> None:
        row = furnished(source)
        load(target, text_of(source, history=False))
        there = target.read(["votes"])["votes"]
        assert there._replace(id=0, epoch=0) == row._replace(id=0, epoch=0)
        assert len(target.alarms(there.id)) == 2
        assert target.history(there.id, None, 9) == []

    def test_whoever_owns_it_next_goes_on(self, source: Bulk, target: Bulk) -> None:
        furnished(source)
        load(target, text_of(source))
        [row] = target.claim(["votes"], 1)
        assert row.epoch == 1
        assert target.find_operations([(row.id, "o2")]).keys() == {(row.id, "o2")}
        assert target.commit(Commit([write(row, 4, 4)], [operation(row, 4)])) == frozenset()

    def test_deleted_counters_stay_away(self, source: Bulk, target: Bulk) -> None:
        for name in ("a", "b", "c"):
            filled(source, name)
        [row] = source.claim(["b"], 0)
        gone = operation(row, 2)._replace(type="delete", reason="b")
        source.commit(Commit([write(row, 1, 2)], [gone], deletions=[row.id]))
        load(target, text_of(source))
        assert sorted(everything(target)) == ["a", "c"]

    def test_a_counter_with_a_past_full_of_holes(self, source: Bulk, target: Bulk) -> None:
        row = filled(source, operations=9)
        source.forget(row.id, [1, 2, 5])
        assert load(target, text_of(source)) == (Tally(made=1), [])
        assert everything(target) == everything(source)

    def test_pages_of_which_each_is_as_of_one_moment(
        self, sql: Sql, target: Bulk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (("PAGE", 2), ("ROWS", 2), ("PART", 2)):
            monkeypatch.setattr(bulk, name, value)
        writer = sql.open()
        rows = [filled(writer, f"c{number}", 5) for number in range(5)]
        wholes: dict[str, list[Whole]] = {}
        for whole in target.wholes(history=True):
            wholes.setdefault(whole.counter.name, []).append(whole)
            if len(wholes) == 1 and len(wholes["c0"]) == 1:
                for row in rows:
                    writer.commit(Commit([write(row, 6, 6)], [operation(row, 6)]))
        assert [parts[0].counter.value for parts in wholes.values()] == [5, 5, 6, 6, 6]
        for parts in wholes.values():
            assert [each.more for each in parts] == [True, True, False]
            seqs = [each.seq for part in parts for each in part.operations]
            assert seqs == list(range(1, parts[0].counter.value + 1))


class TestAgain:
    def test_nothing_changes(self, source: Bulk, target: Bulk) -> None:
        for name in ("votes", "seats"):
            furnished(source, name)
        text = text_of(source)
        load(target, text)
        before = everything(target), target.standing(["votes", "seats"])
        assert load(target, text) == (Tally(same=2), [])
        assert (everything(target), target.standing(["votes", "seats"])) == before

    def test_what_was_cut_off_goes_on(
        self, source: Bulk, target: Bulk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A counter in many parts, of which the last have not come."""
        monkeypatch.setattr(bulk, "PART", 2)
        furnished(source, operations=9)
        filled(source, "small")
        liked(source, members=9)
        text = text_of(source)
        take(Loader(target, lambda said: None), b"".join(text.splitlines(keepends=True)[:3]))
        assert target.read(["votes"]) == {}  # And here the power goes.
        assert target.page("", "", 9) == []
        assert load(target, text) == (Tally(made=3, members=9), [])
        assert everything(target) == everything(source)
        assert load(target, text) == (Tally(same=3), [])

    def test_members_that_are_missing(self, source: Bulk, target: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk, "PART", 2)
        liked(source, members=5)
        first, second, third = text_of(source, history=False).splitlines(keepends=True)
        last = third.replace(b'["m0004', b'["m0003')  # Twice the same one.
        for text in (first + second, first + second + last, first.replace(b',"more":true', b"")):
            tally, said = load(target, text)
            assert (tally.refused, len(said), target.standing(["post", "~post"])) == (1, 1, {})
        load(target, first + second + third)
        [row] = target.claim(["post"], 1)
        target.commit(Commit([write(row, 5, 6)], [operation(row, 6)], left=[(row.id, "m0001")]))
        tally, said = load(target, first + second + third)
        assert (tally, said) == (Tally(different=1), ["line 1: post: has 4 members here, and the value 5"])

    def test_parts_that_are_missing_are_told_and_leave_nothing_behind(
        self, source: Bulk, target: Bulk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "PART", 2)
        furnished(source, operations=5)
        filled(source, "small")
        first, second, third, small = text_of(source).splitlines(keepends=True)
        for rest, refused in ((b"", 1), (second, 1), (second + small, 1), (third, 2), (small, 1)):
            tally, said = load(target, first + rest)
            assert (tally.refused, len(said)) == (refused, refused), said
            assert target.standing(["votes", "~votes"]) == {}
        assert load(target, second + small)[0] == Tally(same=1, refused=1)
        assert load(target, first + second + third + small)[0] == Tally(made=1, same=1)

    def test_what_is_different_is_left_alone_and_told(self, source: Bulk, target: Bulk) -> None:
        furnished(source)
        filled(source, "other")
        text = text_of(source)
        load(target, text)
        [row] = target.claim(["votes"], 1)
        target.commit(Commit([write(row, 4, 4)], [operation(row, 4)]))
        tally, said = load(target, text)
        assert tally == Tally(same=1, different=1)
        assert said == ["line 1: votes: has 4 after 4 operations here, not 3 after 3"]
        assert target.read(["votes"])["votes"].value == 4

    def test_or_replaced_and_its_owner_is_fenced(self, source: Bulk, target: Bulk) -> None:
        furnished(source)
        text = text_of(source)
        load(target, text)
        [row] = target.claim(["votes"], 1)
        target.commit(Commit([write(row, 4, 4)], [operation(row, 4)]))
        assert load(target, text, replacing=True) == (Tally(replaced=1), [])
        assert target.commit(Commit([write(row, 5, 5)], [operation(row, 5)])) == {row.id}
        assert everything(target) == everything(source)

    def test_a_row_that_nobody_is_shown_is_no_counter(self, source: Bulk, target: Bulk) -> None:
        furnished(source)
        [row] = target.claim(["votes"], 1)
        assert load(target, text_of(source)) == (Tally(made=1), [])
        assert target.commit(Commit([write(row, 1, 1)], [operation(row, 1)])) == {row.id}
        assert everything(target) == everything(source)

    def test_who_only_compares_writes_nothing(self, source: Bulk, target: Bulk) -> None:
        furnished(source)
        assert load(target, text_of(source), writing=False) == (Tally(made=1), [])
        assert everything(target) == {}


@pytest.mark.parametrize("replacing", [False, True])
def test_who_begins_a_counter_while_its_parts_come_in_keeps_it(
    source: Bulk, target: Bulk, sql: Sql, monkeypatch: pytest.MonkeyPatch, replacing: bool
) -> None:
    monkeypatch.setattr(bulk, "PART", 2)
    liked(source)
    first, last = text_of(source).splitlines(keepends=True)
    said: list[str] = []
    loader = Loader(target, said.append, replacing=replacing)
    take(loader, first)
    row = liked(sql.open(), members=1)  # By an owner, and acknowledged.
    take(loader, last)
    loader.finish()
    assert loader.tally == Tally(refused=1)
    assert len(said) == 1 and "there already" in said[0]
    assert target.read(["post"])["post"] == row
    assert target.members_of([row.id]) == {row.id: 1}
    assert list(everything(target)) == ["post"]


def test_what_is_replaced_stays_until_all_of_the_other_is_there(
    source: Bulk, target: Bulk, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PART", 2)
    liked(source)
    before = liked(sql.open(), members=1)
    first, last = text_of(source).splitlines(keepends=True)
    loader = Loader(target, print, replacing=True)
    take(loader, first)
    assert target.read(["post"])["post"] == before
    take(loader, last)
    loader.finish()
    assert loader.tally == Tally(replaced=1, members=3)
    assert everything(target) == everything(source)


def test_its_alarms_come_with_the_last_part(
    source: Bulk, target: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the timer would ask for what nobody can own yet."""
    monkeypatch.setattr(bulk, "PART", 2)
    furnished(source)
    first, last = text_of(source).splitlines(keepends=True)
    loader = Loader(target, print)
    take(loader, first)
    assert target.alarms_due(2 * NOW, 2 * NOW, 9) == []
    take(loader, last)
    loader.finish()
    assert {name for name, _ in target.alarms_due(2 * NOW, 2 * NOW, 9)} == {"votes"}
    assert everything(target) == everything(source)


def test_its_history_is_not_trimmed_while_its_parts_come_in(
    source: Bulk, target: Bulk, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its policy, which may keep more than that of all, comes with the last part."""
    monkeypatch.setattr(bulk, "PART", 2)
    furnished(source)
    first, last = text_of(source).splitlines(keepends=True)
    loader = Loader(target, print)
    take(loader, first)

    async def walk() -> int:
        trimmer = Trimmer(sql.open(), HandClock(2 * NOW), Policies({"history_max_age": 60}))
        try:
            return await trimmer.walk()
        finally:
            trimmer._thread.close()

    assert asyncio.run(walk()) == 0
    take(loader, last)
    loader.finish()
    assert everything(target) == everything(source)


def test_one_of_several_parts_whose_alarms_have_run_is_replaced(
    source: Bulk, target: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PART", 2)
    furnished(source)
    text = text_of(source)
    load(target, text)
    [row] = target.claim(["votes"], 1)
    target.commit(Commit([write(row, 4, 4)], [operation(row, 4)]))
    assert load(target, text, replacing=True) == (Tally(replaced=1), [])
    assert everything(target) == everything(source)


def test_somebody_who_is_quicker_stays(source: Bulk, target: Bulk, sql: Sql) -> None:
    """Between our look and our writing a service makes the same counter: all or nothing of a batch is written."""
    furnished(source)
    [whole] = source.wholes(history=True)
    row = filled(sql.open())
    with pytest.raises(Conflict):
        target.make([whole._replace(counter=whole.counter._replace(name="new")), whole])
    assert target.read(["votes", "new"]).keys() == {"votes"}
    assert target.read(["votes"])["votes"].id == row.id


def test_its_owner_may_change_it_the_moment_it_is_there(
    source: Bulk, target: Bulk, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that uses the name already makes nobody think that the database cannot be trusted."""
    furnished(source)
    owner, standing = sql.open(), target.standing

    def own() -> None:
        [row] = owner.claim(["votes"], 1)
        owner.commit(Commit([write(row, 4, 4)], [operation(row, 4)]))

    thread = threading.Thread(target=own)

    def read_back(names: Sequence[str]) -> dict[str, CounterRecord]:
        thread.start()
        thread.join(0.3)  # It waits for us, if we are not done yet.
        return standing(names)

    monkeypatch.setattr(target, "standing", read_back)
    target.make(list(source.wholes(history=True)))
    thread.join()
    assert target.read(["votes"])["votes"].value == 4


def test_a_database_that_forgets_is_found_out(source: Bulk, sqlite: Sql) -> None:
    furnished(source)
    sqlite.open()
    connection = sqlite3.connect(sqlite.url.removeprefix("sqlite:///"))
    connection.execute("CREATE TRIGGER gone AFTER INSERT ON operation BEGIN DELETE FROM operation WHERE seq = 2; END")
    connection.close()
    target = open_bulk(sqlite.url)
    with pytest.raises(NotWritten, match="operation"):
        load(target, text_of(source))
    target.close()


BAD: dict[bytes, str] = {
    b"nonsense": "JSON",
    b'{"name":"a","value":1': "truncated",
    b'["a",1]': "object",
    b'{"value":1}': "name",
    b'{"name":"a b","value":1}': "'a b' is not",
    b'{"name":"","value":1}': "name",
    b'{"name":"' + b"n" * 101 + b'","value":1}': "name",
    b'{"name":"a","value":9007199254740992}': "9007199254740991",
    b'{"name":"a","value":-9007199254740992}': "9007199254740991",
    b'{"name":"a","value":1e400}': "value",
    b'{"name":"a","value":1.5}': "value",
    b'{"name":"a","value":"1"}': "value",
    b'{"name":"a","value":1,"bogus":2}': "bogus",
    b'{"name":"a","value":1,"operationCount":-1}': "operationCount",
    b'{"name":"a","value":1,"createdBy":"x\\u0000y"}': "NUL",
    b'{"name":"a","value":1,"createdBy":"\xff"}': "utf-8",
    b'{"name":"a","value":1,"policy":{"maximum":"many"}}': "maximum",
    b'{"name":"a","value":1,"policy":{"maximum":1,"minimum":2}}': "maximum",
    b'{"name":"a","value":1,"policy":{"reset_schedule":"never"}}': "reset_schedule",
    b'{"name":"a","value":1,"operationCount":1,"createdAt":"2026-01-01"}': "createdAt",
    b'{"name":"a","value":1,"history":[]}' b"x": "JSON",
    b'{"name":"a","part":2}': "goes on",
    b'{"name":"a"}': "value",
    b'{"name":"a","value":1,"part":2}': "part",
    b'{"name":"a","value":1,"more":true}': "lines that it goes on in",
    b'{"name":"a","value":2,"operationCount":1,"history":[OPERATION]}': "ends with 1",
    b'{"name":"a","value":1,"operationCount":0,"history":[OPERATION]}': "goes to operation 1",
    b'{"name":"a","value":1,"operationCount":1,"history":[OPERATION,OPERATION]}': "order",
    b'{"name":"a","value":1,"operationCount":1,"history":[{"seq":1,"type":"explode"}]}': "explode",
}
BAD |= {
    b'{"name":"a","value":1,"operationCount":1,"alarms":[ALARM]}': "at: either at or every",
    b'{"name":"a","value":1,"operationCount":1,"alarms":[ALARM,"every":0}]}': "every: must lie between",
    b'{"name":"a","value":1,"operationCount":1,"alarms":[ALARM,"every":1000}]}': "dueAt: missing",
    b'{"name":"a","value":1,"operationCount":1,"createdAt":"9999-12-31T23:59:59-01:00"}': "9999",
    b'{"name":"a","value":1,"operationCount":1,"createdAt":"0001-01-01T00:00:00+01:00"}': "9999",
    b'{"name":"a","value":1,"members":[["",1]]}': "members",
    b'{"name":"a","value":1,"members":[["ann"]]}': "members",
    b'{"name":"a","value":1,"members":[["a\\nb","2026-01-01T00:00:00Z"]]}': "members",
    b'{"name":"a","value":1,"members":[["' + b"m" * 10_000 + b'","2026-01-01T00:00:00Z"]]}': "members",
    b'{"name":"a","value":1,"members":[["ann","2026-01-01T00:00:00Z"]]}': "policy",
    b'{"name":"a","value":2,"policy":{"likes":true},"members":[["ann","2026-01-01T00:00:00Z"]]}': "1 members",
    b'{"name":"a","value":2,"policy":{"likes":true}}': "0 members",
}
OPERATION = (
    b'{"seq":1,"type":"increment","amount":1,"value":1,"previousValue":0,"at":"2026-01-01T00:00:00Z","operationId":"x"}'
)
ALARM = b'{"id":"a","key":"k","type":"increment","amount":1}'


class TestBadLines:
    def test_each_is_told_with_its_number_and_the_rest_is_imported(self, target: Bulk) -> None:
        lines = [line.replace(b"OPERATION", OPERATION).replace(b"ALARM,", ALARM[:-1] + b",") for line in BAD]
        text = b"".join(line.replace(b"ALARM", ALARM) + b'\n{"name":"good%d","value":1}\n' % number
                        for number, line in enumerate(lines))  # fmt: skip
        tally, said = load(target, text)
        assert tally == Tally(made=len(BAD), refused=len(BAD)), said
        for number, (line, (bad, named)) in enumerate(zip(said, BAD.items(), strict=True)):
            assert line.startswith(f"line {2 * number + 1}: "), (line, bad)
            assert named in line, (line, bad)
        assert len(target.page("good", "", 100)) == len(BAD)

    def test_something_that_is_twice_in_a_counter(self, target: Bulk) -> None:
        history = OPERATION + b"," + OPERATION.replace(b'"seq":1', b'"seq":2')
        twice = b'{"name":"a","value":1,"operationCount":2,"history":[%b]}\n' % history
        text = b'{"name":"b","value":1}\n' + twice + b'{"name":"c","value":1}\n'
        tally, said = load(target, text)
        assert tally == Tally(made=2, refused=1)
        assert len(said) == 1 and said[0].startswith("line 2: a: something of it is there already: "), said

    def test_alarms_with_one_key(self, target: Bulk) -> None:
        """A run of the one would keep those of the other from ever being written down."""
        due = b'"every":1000,"dueAt":"2026-01-01T00:00:00Z"'
        line = b'{"name":"%b","value":1,"operationCount":1,"alarms":[%b,%b}]}\n'
        first, copy, other = (line % (name, ALARM[:-1], due) for name in (b"votes", b"copy", b"other"))
        tally, said = load(target, first + copy + b'{"name":"b","value":1}\n')
        assert tally == Tally(made=2, refused=1)
        assert load(target, first + other)[0] == Tally(same=1, refused=1)
        assert said == ["line 2: copy: one of its alarms has the key of another alarm"]
        assert [name for name, _ in target.alarms_due(2 * NOW, 2 * NOW, 9)] == ["votes"]

    def test_what_comes_beside_it_is_counted_all_the_same(self, target: Bulk) -> None:
        load(target, b'{"name":"b","value":1}\n{"name":"c","value":1}\n')
        history = OPERATION + b"," + OPERATION.replace(b'"seq":1', b'"seq":2')
        twice = b'{"name":"a","value":1,"operationCount":2,"history":[%b]}\n' % history
        tally, said = load(target, twice + b'{"name":"b","value":1}\n{"name":"c","value":2}\n{"name":"d","value":1}\n')
        assert tally == Tally(made=1, same=1, different=1, refused=1)
        assert len(said) == 2

    def test_duplicates(self, target: Bulk) -> None:
        text = b'{"name":"a","value":1}\n{"name":"a","value":1}\n{"name":"b","value":1}\n{"name":"a","value":2}\n'
        assert load(target, text) == (Tally(made=2, same=1, different=1), ["line 4: a: has the value 1 here, not 2"])

    def test_one_by_hand_begins_with_its_value(self, target: Bulk) -> None:
        text = b'{"name":"a","value":-7,"policy":{"minimum":-9,"reset_after":"20m"}}\n'
        assert load(target, text) == (Tally(made=1), [])
        row = target.read(["a"])["a"]
        assert (row.value, row.seq, row.created_at, row.policy) == (-7, 1, NOW, '{"minimum":-9,"reset_after":1200}')
        [said] = target.history(row.id, None, 9)
        assert (said.type, said.value, said.reason) == ("setValue", -7, "import")
        assert load(target, text) == (Tally(same=1), [])


class TestTheCommands:
    def test_from_a_file_to_a_server_and_from_there_to_a_file(self, postgres: Sql, tmp_path: Path) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        (here).mkdir()
        store = open_store(f"sqlite:///{here / 'counters.db'}")
        furnished(store)
        filled(store, "seats", 2_500)
        store.close()
        export = run_command("export", tmp_path / "all.jsonl", "--history", "--data-dir", here)
        assert (export.returncode, export.stdout) == (0, ""), export.stderr
        assert "2 counters exported" in export.stderr
        first = run_command("import", tmp_path / "all.jsonl", "--database", postgres.url)
        assert (first.returncode, first.stderr) == (0, "")
        assert "2 imported" in first.stdout
        assert "let" not in first.stdout, "the password"
        copy = run_command("import", "--source", postgres.url, "--history", "--data-dir", there)
        assert (copy.returncode, copy.stderr) == (0, "")
        assert "2 imported" in copy.stdout
        assert "verified: 2 the same, 0 missing, 0 different" in copy.stdout
        one, other = (open_bulk(f"sqlite:///{each / 'counters.db'}") for each in (here, there))
        assert everything(one) == everything(other)
        one.close()
        other.close()

    def test_a_pipe_and_a_file_that_ends_early(self, sqlite: Sql, tmp_path: Path) -> None:
        store = sqlite.open()
        for number in range(3):
            filled(store, f"c{number}")
        export = run_command("export", "--database", sqlite.url)
        head, *counters, end = export.stdout.splitlines()
        assert (json.loads(head), len(counters), json.loads(end)) == ({"durableCounters": 1}, 3, {"counters": 3})
        file = tmp_path / "cut.jsonl"
        for text in ([head, *counters], [head, *counters[:2], end]):
            file.write_text("\n".join(text))
            run = run_command("import", file, "--data-dir", tmp_path / "data")
            assert (run.returncode, run.stderr.count("\n")) == (1, 1), run.stderr
            assert "more counters were exported" in run.stderr

    def test_deadlines_are_looked_at_although_the_import_before_was_cut_off(self, sqlite: Sql, tmp_path: Path) -> None:
        target = open_bulk(sqlite.url)
        text = b'{"name":"a","value":1}\n'
        load(target, text)  # And then the power goes.
        target.note("policies", "known")
        (tmp_path / "file.jsonl").write_bytes(text)
        assert "1 there already" in run_command("import", tmp_path / "file.jsonl", "--database", sqlite.url).stdout
        assert target.agree("policies", "") == "imported"
        target.close()

    @pytest.mark.parametrize(
        ("arguments", "code", "named"),
        [
            (("import",), 2, "FILE"),
            (("import", "FOLDER/none.jsonl", "--data-dir", "FOLDER"), 1, "No such file"),
            (("import", "-", "--source", "sqlite:///x"), 2, "either"),
            (("import", "--source", "sqlite:///FOLDER/none.db", "--data-dir", "FOLDER"), 1, "no database"),
            (("import", "-", "--database", "mysql://x/y"), 1, "not supported"),
            (("export", "--data-dir", "FOLDER/none"), 1, "no database"),
            (("export", "--database", "postgresql://counters@127.0.0.1:1/none"), 1, "cannot open"),
        ],
    )
    def test_what_goes_wrong_is_one_line(
        self, tmp_path: Path, arguments: tuple[str, ...], code: int, named: str
    ) -> None:
        run = run_command(*(each.replace("FOLDER", str(tmp_path)) for each in arguments))
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (code, "", 1), run.stderr
        assert named in run.stderr

    def test_a_full_disk_is_told_and_leaves_no_half_file(self, sqlite: Sql, tmp_path: Path) -> None:
        filled(sqlite.open())
        with open("/dev/full", "wb") as full:
            run = subprocess.run(
                command("export", "--database", sqlite.url), stdout=full, stderr=subprocess.PIPE, env=environment()
            )
        assert (run.returncode, run.stderr) == (1, b"counters: cannot write -: No space left on device\n")
        other = run_command("export", tmp_path / "none" / "a.jsonl", "--database", sqlite.url)
        assert (other.returncode, other.stdout, other.stderr.count("\n")) == (1, "", 1)
