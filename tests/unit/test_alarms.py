"""Operations that are applied later: how they are set, run once each, cancelled, and listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.core.alarm import ALARMS_MAX, AT_MAX, When, complaint, following, operation_id
from actors.messages import Operation, Status
from storage.memory import MemoryStore
from storage.records import AlarmRecord
from storage.store import open_store
from tests.support.clock import NEW_YEAR_2025
from tests.support.loop import jumping, settle
from tests.support.stage import Stage, operation, stage


def setting(id: str | None = "a", key: str | None = None, name: str = "votes", **wish: Any) -> Operation:
    alarm = {"id": id, "type": "increment", "amount": 2, "at": None, "every": None} | wish
    return operation("setAlarm", 0, name, id=key, alarm=alarm)


def cancelling(id: str = "a") -> Operation:
    return operation("cancelAlarm", 0, alarm={"id": id})


def running(one: AlarmRecord, attempt: int = 1, name: str = "votes") -> Operation:
    alarm: dict[str, int | str | None] = {"id": one.id, "key": one.key, "run": one.run, "attempt": attempt}
    return operation("alarm", 0, name, id=operation_id(one.key, one.run), alarm=alarm)


def due(s: Stage) -> AlarmRecord:
    [(name, alarm)] = s.store.alarms_due(1 << 60, 1 << 60, 9)
    assert name == "votes"
    return alarm


class TestRules:
    @pytest.mark.parametrize(
        ("when", "field"),
        [
            (When(None, None), "at"),
            (When(5, 1_000), "at"),
            (When(1_000, None), "at"),
            (When(-1, None), "at"),
            (When(AT_MAX + 1, None), "at"),
            (When(None, 999), "every"),
            (When(None, 366 * 86_400_000 + 1), "every"),
        ],
    )
    def test_the_impossible_names_its_field(self, when: When, field: str) -> None:
        found = complaint(when, 1_000)
        assert found is not None and found[0] == field

    def test_the_possible_is_left_alone(self) -> None:
        assert complaint(When(1_001, None), 1_000) is complaint(When(None, 1_000), 1_000) is None

    def test_runs_that_were_missed_are_not_made_up_for(self) -> None:
        assert following(100, 10, 100) == 110
        assert following(100, 10, 104) == 110
        assert following(100, 10, 139) == 140
        assert following(100, 10, 140) == 150
        assert following(100, 10, 99) == 110


class TestSetting:
    @jumping
    async def test_it_makes_the_counter_and_changes_nothing_else(self) -> None:
        async with stage() as s:
            [answer] = await s.call(setting(every=5_000))
            assert answer == (
                Status.OK, {"success": True, "name": "votes", "id": "a", "next": "2025-01-01T00:00:05.000Z"},
            )  # fmt: skip
            row = s.store.read(["votes"])["votes"]
            assert (row.value, row.seq) == (0, 0)
            assert due(s)[3:] == ("increment", 2, None, 5_000, NEW_YEAR_2025 + 5_000, 1, 0, None)

    @jumping
    async def test_repeated_it_is_the_same_alarm_even_when_its_time_has_come(self) -> None:
        async with stage() as s:
            wish = {"id": None, "at": NEW_YEAR_2025 + 1_000}
            [first] = await s.call(setting(key="k", **wish))
            s.clock.ms += 2_000
            assert await s.call(setting(key="k", **wish)) == [first]
            assert len(s.store.alarms(1)) == 1

    @jumping
    async def test_the_same_id_again_replaces_it(self) -> None:
        async with stage() as s:
            await s.call(setting(every=5_000))
            before = due(s)
            await s.call(setting(every=7_000, type="setValue", amount=9))
            after = due(s)
            assert (after.every, after.type, after.amount) == (7_000, "setValue", 9)
            await s.call(running(before))
            assert s.store.read(["votes"])["votes"].seq == 0

    @jumping
    async def test_what_cannot_be_is_refused_and_sets_nothing(self) -> None:
        async with stage() as s:
            for wish in ({}, {"at": NEW_YEAR_2025}, {"every": 10}, {"at": NEW_YEAR_2025 + 1, "every": 5_000}):
                [(status, said)] = await s.call(setting(**wish))
                assert (status, said["code"]) == (Status.REFUSED, "COUNTER_VALIDATION_ERROR")
            assert s.store.read(["votes"]) == {}

    @jumping
    async def test_there_is_an_end_to_them(self) -> None:
        async with stage() as s:
            answers = await s.call(*(setting(f"a{number}", every=5_000) for number in range(ALARMS_MAX + 2)))
            assert [said["code"] for status, said in answers if status == Status.REFUSED] == ["LIMIT_REACHED"] * 2
            assert [status for status, _ in await s.call(setting("a0", every=6_000))] == [Status.OK]


class TestRunning:
    @jumping
    async def test_once_it_is_applied_and_gone(self) -> None:
        async with stage() as s:
            await s.call(setting(at=NEW_YEAR_2025 + 1_000))
            one = due(s)
            s.clock.ms += 1_000
            await s.call(running(one, attempt=3), running(one))
            await s.call(running(one))
            [row] = s.store.since(1, 0, 9)
            assert (row.type, row.amount, row.value, row.actor, row.reason) == ("increment", 2, 2, "alarm:a", "alarm")
            assert s.store.alarms(1) == []
            [run] = s.store.alarm_runs(1, 9)
            assert (run.id, run.run, run.at, run.attempts, run.error) == ("a", 1, NEW_YEAR_2025 + 1_000, 3, None)

    @jumping
    async def test_an_interval_goes_on(self) -> None:
        async with stage() as s:
            await s.call(setting(every=5_000))
            for run in (1, 2, 3):
                s.clock.ms += 5_000
                assert due(s).run == run
                await s.call(running(due(s)))
            assert s.store.read(["votes"])["votes"].value == 6
            assert due(s).due_at == NEW_YEAR_2025 + 20_000
            assert [run.run for run in s.store.alarm_runs(1, 2)] == [3, 2]

    @jumping
    async def test_a_refusal_is_a_run_and_the_next_one_is_tried(self) -> None:
        async with stage() as s:
            await s.call(
                operation("create", 0, policy={"maximum": 3, "on_limit": "reject"}), setting(every=5_000, amount=2)
            )
            for _ in range(2):
                s.clock.ms += 5_000
                await s.call(running(due(s)))
            assert s.store.read(["votes"])["votes"].value == 2
            assert [run.error for run in s.store.alarm_runs(1, 9)] == ["LIMIT_REACHED", None]
            assert due(s).run == 3

    @jumping
    async def test_a_commit_that_fails_is_no_run(self) -> None:
        async with stage() as s:
            await s.call(setting(every=5_000))
            one = due(s)
            [tag] = s.send(running(one))
            await settle()
            await s.thread.finish("prepare")
            await s.thread.take_round().fail()
            assert s.link.answers[tag][0] == Status.UNAVAILABLE
            assert due(s) == one
            await s.call(running(one))
            assert s.store.read(["votes"])["votes"].value == 2

    @jumping
    async def test_cancelled_it_does_not_run(self) -> None:
        async with stage() as s:
            await s.call(setting(every=5_000))
            one = due(s)
            assert (await s.call(cancelling()))[0][1]["cancelled"] is True
            assert (await s.call(cancelling()))[0][1]["cancelled"] is False
            await s.call(running(one))
            assert s.store.read(["votes"])["votes"].seq == 0

    @jumping
    async def test_set_and_cancelled_in_one_round(self) -> None:
        async with stage() as s:
            await s.call(setting(every=5_000), cancelling(), setting("b", every=5_000))
            assert [each.id for each in s.store.alarms(1)] == ["b"]

    @jumping
    async def test_cancelled_and_set_anew_in_one_round(self) -> None:
        async with stage() as s:
            await s.call(setting(every=5_000))
            await s.call(cancelling(), setting(every=7_000))
            assert [each.every for each in s.store.alarms(1)] == [7_000]

    @jumping
    async def test_a_deleted_counter_has_none(self) -> None:
        async with stage() as s:
            await s.call(setting(every=5_000))
            one = due(s)
            await s.call(running(one))
            await s.call(operation("delete", 0))
            assert s.store.alarms(1) == s.store.alarm_runs(1, 9) == []
            await s.call(running(one))
            assert s.store.read(["votes"]) == {}

    @jumping
    async def test_it_moves_the_moment_of_inactivity(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0, policy={"reset_after": 10}), setting(every=8_000))
            for _ in range(3):
                s.clock.ms += 8_000
                await s.call(running(due(s)))
                assert (await s.call(operation("expire", 0)))[0][1]["reset"] is False


class TestKeysThatAreUsedAgain:
    @pytest.mark.parametrize("database", ["memory", "sqlite"])
    def test_the_alarms_run_each(self, database: str, tmp_path: Path) -> None:
        store = MemoryStore() if database == "memory" else open_store(f"sqlite:///{tmp_path / 'c.db'}")

        @jumping
        async def play() -> None:
            async with stage(store) as s:
                for day in (1, 2):
                    wish = {"key": "key:daily", "at": NEW_YEAR_2025 + day * 60_000}
                    set_up = await s.call(setting(**wish), setting(**wish, name="page"))
                    assert [answer[0] for answer in set_up] == [Status.OK] * 2
                    both = s.store.alarms_due(1 << 60, 1 << 60, 9)
                    s.clock.ms = NEW_YEAR_2025 + day * 60_000
                    ran = await s.call(*(running(one, name=name) for name, one in both))
                    assert [(answer[0], answer[1]["value"]) for answer in ran] == [(Status.OK, 2 * day)] * 2
                    assert s.store.alarms_due(1 << 60, 1 << 60, 9) == []

        play()


class TestListing:
    @jumping
    async def test_of_one_counter(self) -> None:
        async with stage() as s:
            await s.call(setting("b", at=NEW_YEAR_2025 + 60_000, type="reset", amount=0), setting("a", every=5_000))
            s.clock.ms += 5_000
            await s.call(running(next(each for each in s.store.alarms(1) if each.id == "a")))
            _, said = await s.asked("alarms", "votes")
            assert [(each["id"], each["next"][14:19], each["every"], each["run"]) for each in said["alarms"]] == [
                ("a", "00:10", 5, 2), ("b", "01:00", None, 1),
            ]  # fmt: skip
            assert [each["operation"] for each in said["alarms"]] == [
                {"type": "increment", "amount": 2}, {"type": "reset"},
            ]  # fmt: skip
            assert [(run["id"], run["run"], run["attempts"]) for run in said["runs"]] == [("a", 1, 1)]
            assert await s.asked("alarms", "nobody") == (Status.OK, {"name": "nobody", "alarms": [], "runs": []})

    @jumping
    async def test_of_all_that_is_due(self) -> None:
        async with stage() as s:
            await s.call(
                setting(every=5_000),
                operation("create", 0, "page", policy={"reset_after": 3, "reset_schedule": "*/5 * * * *"}),
                operation(name="page"),
            )
            _, said = await s.asked("due", limit=9)
            assert [(each["name"], each["reason"], each["at"][14:19]) for each in said["due"]] == [
                ("page", "inactivity", "00:03"), ("votes", "alarm", "00:05"), ("page", "schedule", "05:00"),
            ]  # fmt: skip
            assert len((await s.asked("due", limit=1))[1]["due"]) == 1
