"""Sleep and wake: what makes a counter leave memory, what brings it back, and who notices (nobody)."""

from __future__ import annotations

from asyncio import sleep
from typing import Any

import msgspec

from actors.messages import Attend, Attending, Status
from tests.support.link import RecordingLink
from tests.support.loop import jumping, settle
from tests.support.stage import Stage, operation, stage

AFTER_S = 10.0  # The host's own default.


async def later(s: Stage, seconds: float) -> None:
    """Let time pass for the host, and let it look around."""
    s.clock.ms += int(seconds * 1000)
    await sleep(0.6)
    await s.work()


async def awake(s: Stage) -> dict[str, dict[str, Any]]:
    tag = s.ask("awake")
    await settle()
    for attend in s.link.asked:
        s.host.receive(s.link, Attending(attend.tag, [(name, 3, []) for name in attend.names]))  # type: ignore[arg-type]
    await s.work()
    status, body = s.link.answers[tag]
    assert status is Status.OK
    return {row["name"]: row for row in body}


class TestSleep:
    @jumping
    async def test_it_leaves_when_nothing_has_come_for_a_while(self) -> None:
        async with stage() as s:
            await s.call(operation())
            await later(s, AFTER_S - 1)
            assert list(await awake(s)) == ["votes"]
            await later(s, 2)
            assert await awake(s) == {}

    @jumping
    async def test_every_operation_keeps_it_awake_even_a_refused_one(self) -> None:
        async with stage() as s:
            await s.call(operation("create", policy={"maximum": 1, "on_limit": "reject"}))
            for _ in range(3):
                await later(s, AFTER_S - 1)
                await s.call(operation(amount=5))
            assert list(await awake(s)) == ["votes"]

    @jumping
    async def test_reading_and_watching_and_asking_do_not(self) -> None:
        async with stage() as s:
            await s.call(operation())
            for _ in range(4):
                await later(s, AFTER_S / 3)
                s.watch("votes")
                await s.asked("value", "votes")
                await s.asked("metadata", "votes")
                await s.asked("history", "votes", limit=5)
            assert await awake(s) == {}

    @jumping
    async def test_two_that_connect_at_once_wake_nobody(self) -> None:
        async with stage() as s:
            await s.call(operation())
            await later(s, AFTER_S + 1)
            other = RecordingLink("other")
            s.host.link_opened(other)  # type: ignore[arg-type]
            s.watch("votes")
            s.watch("votes", link=other)
            await s.work()
            assert await awake(s) == {}
            assert [each.seq for each in (*s.link.positions, *other.positions)] == [1, 1]

    @jumping
    async def test_the_longest_idle_leave_when_there_are_too_many(self) -> None:
        async with stage(max_resident=3) as s:
            for name in "abc":
                await s.call(operation(name=name))
            await s.call(operation(name="a"))
            await s.call(operation(name="d"))
            await s.call(operation(name="e"))
            assert list(await awake(s)) == ["a", "d", "e"]

    @jumping
    async def test_whoever_wants_to_know_is_told(self) -> None:
        async with stage() as s:
            slept: list[str] = []
            s.host._on_asleep = slept.append
            await s.call(operation(name="a"), operation(name="b"))
            await later(s, AFTER_S + 1)
            assert slept == ["a", "b"]


class TestWake:
    @jumping
    async def test_an_operation_wakes_it_where_it_was(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=41))
            await later(s, AFTER_S + 1)
            [(status, body)] = await s.call(operation())
            assert (status, body["value"], body["previousValue"]) == (Status.OK, 42, 41)
            assert [item["operation"] for item in body["latestHistory"]] == ["increment(1)", "increment(41)"]
            assert (await awake(s))["votes"]["epoch"] == 2

    @jumping
    async def test_those_who_watch_hear_it_as_if_it_had_never_slept(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.call(operation())
            await later(s, AFTER_S + 1)
            await s.call(operation())
            assert [event["value"] for event in s.link.events] == [1, 2]

    @jumping
    async def test_the_same_id_is_applied_once_though_it_slept_in_between(self) -> None:
        async with stage() as s:
            first = await s.call(operation(id="mine"))
            await later(s, AFTER_S + 1)
            assert await s.call(operation(id="mine", repeated=True)) == first

    @jumping
    async def test_one_that_arrives_while_it_falls_asleep_is_not_lost(self) -> None:
        async with stage() as s:
            await s.call(operation())
            s.clock.ms += int((AFTER_S + 1) * 1000)
            tags = s.send(operation())  # The host has not looked around yet.
            await sleep(0.6)
            await s.work()
            assert s.link.value(tags[0]) == 2

    @jumping
    async def test_thousands_come_and_go(self) -> None:
        async with stage(max_resident=100) as s:
            for turn in (1, 2):
                for first in range(0, 2_000, 250):
                    answers = await s.call(*(operation(name=f"c{n}") for n in range(first, first + 250)))
                    assert [body["value"] for _, body in answers] == [turn] * 250
            assert len(await awake(s)) == 100


class TestWhoIsThere:
    @jumping
    async def test_what_is_awake_is_told_with_its_pace_and_its_sessions(self) -> None:
        async with stage() as s:
            s.watch("votes")
            for _ in range(5):
                s.clock.ms += 500
                await s.call(operation(), operation())
            row = (await awake(s))["votes"]
            assert (row["host"], row["dedicated"], row["epoch"], row["sessions"]) == ("h", False, 1, 3)
            assert row["opsPerS"] == 4.0
            assert row["awakeSince"] == "2025-01-01T00:00:00.500Z"

    @jumping
    async def test_the_busy_are_named_until_they_are_not(self) -> None:
        async with stage() as s:
            for _ in range(3):
                s.clock.ms += 1000
                await s.call(*(operation(name="hot") for _ in range(100)), operation(name="cold"))
            assert s.host.activity() == [("hot", 100.0)]
            s.clock.ms += 20_000
            assert s.host.activity() == []

    @jumping
    async def test_sessions_are_gathered_from_all_gateways(self) -> None:
        async with stage() as s:
            other, deaf = RecordingLink("other"), RecordingLink("deaf")
            for link in (other, deaf):
                s.host.link_opened(link)  # type: ignore[arg-type]
            for link in (s.link, other, deaf):
                s.watch("votes", link=link)
            await s.work()
            tag = s.ask("sessions", "votes", limit=2)
            await settle()
            for link in (s.link, other):
                [attend] = link.asked
                assert attend == Attend(attend.tag, ["votes"], True)
                told = [("votes", 2, [msgspec.json.encode({"id": f"{link.gateway}{n}"}) for n in range(2)])]
                s.host.receive(link, Attending(attend.tag, told))  # type: ignore[arg-type]
            s.host.link_closed(deaf)  # type: ignore[arg-type]
            await settle()
            status, body = s.link.answers[tag]
            assert (status, body["name"], body["count"], len(body["sessions"])) == (Status.OK, "votes", 4, 2)

    @jumping
    async def test_a_gateway_that_does_not_answer_is_left_out(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.work()
            tag = s.ask("sessions", "votes")
            await sleep(2)
            assert s.link.answers[tag] == (Status.OK, {"name": "votes", "count": 0, "sessions": []})

    @jumping
    async def test_nobody_is_asked_where_nobody_listens(self) -> None:
        async with stage() as s:
            tag = s.ask("sessions", "votes")
            await settle()
            assert s.link.answers[tag] == (Status.OK, {"name": "votes", "count": 0, "sessions": []})


class TestAHolderThatIsStopped:
    @jumping
    async def test_storage_is_freed_when_one_call_takes_long_and_not_before(self) -> None:
        async with stage() as s:
            freed: list[int] = []
            s.store.free = lambda: freed.append(1)  # type: ignore[method-assign, assignment, func-returns-value]
            s.thread.under_way = 1
            await sleep(0.9)
            s.thread.under_way = 2  # Another one: it goes forward.
            await sleep(0.9)
            assert freed == []
            await sleep(1.0)
            assert freed


