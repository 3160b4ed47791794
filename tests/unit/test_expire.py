"""A host is asked whether a counter is to be reset: it knows, and writes down when to ask again."""

from __future__ import annotations

from asyncio import sleep
from typing import Any

from actors.core.policy import Policies
from actors.inbox import TIMED_MAX, TIMED_REST_MAX_S
from actors.messages import Operation, Status
from storage.memory import MemoryStore
from tests.support.loop import jumping, settle
from tests.support.stage import Stage, operation, stage

PERIOD = {"reset_after": 60}
MINUTE = 60_000
HOUR = 60 * MINUTE


def expire(name: str = "votes") -> Operation:
    return operation("expire", 0, name, id="expire")


async def armed(s: Stage, **policy: Any) -> None:
    await s.call(operation("create", 0, policy=policy or PERIOD), operation(amount=5))


def due(s: Stage, name: str = "votes") -> tuple[int | None, int | None]:
    """The deadlines in storage, from the start of the clock."""
    row = s.store.read([name])[name]
    begin = 1_735_689_600_000
    return (row.due_at and row.due_at - begin, row.tick_at and row.tick_at - begin)


def reset(value: int) -> Any:
    return (Status.OK, {"success": True, "reset": True, "value": value})


def kept(value: int) -> Any:
    return (Status.OK, {"success": True, "reset": False, "value": value})


class TestInactivity:
    @jumping
    async def test_who_was_left_alone_is_reset_and_everybody_hears_why(self) -> None:
        async with stage() as s:
            await armed(s)
            s.watch("votes", 1, 1)
            await s.work()
            s.clock.ms += MINUTE
            assert await s.call(expire()) == [reset(0)]
            [event] = s.link.events
            assert (event["type"], event["reason"], event["value"], event["previousValue"]) == (
                "reset", "inactivity", 0, 5,
            )  # fmt: skip
            row = s.store.read(["votes"])["votes"]
            assert (row.value, row.seq, row.due_at) == (0, 2, None)

    @jumping
    async def test_who_was_touched_is_not_and_the_new_deadline_is_written(self) -> None:
        async with stage() as s:
            await armed(s)
            s.clock.ms += MINUTE - 1
            await s.call(operation())
            assert due(s) == (MINUTE, None)
            s.clock.ms += 1
            updated = s.store.read(["votes"])["votes"].updated_at
            assert await s.call(expire()) == [kept(6)]
            assert due(s) == (2 * MINUTE - 1, None)
            assert s.store.read(["votes"])["votes"].updated_at == updated
            assert s.link.events == []

    @jumping
    async def test_a_touch_that_arrives_with_the_question_comes_first(self) -> None:
        async with stage() as s:
            await armed(s)
            s.clock.ms += MINUTE
            assert (await s.call(operation(), expire()))[1] == kept(6)
            s.clock.ms += MINUTE
            answers = await s.call(expire(), operation(), expire())
            assert (answers[0], answers[1][1]["value"], answers[2]) == (kept(7), 7, kept(7))

    @jumping
    async def test_thousands_that_are_due_hold_up_nobody(self) -> None:
        async with stage() as s:
            names = [f"due{n:03}" for n in range(5 * TIMED_MAX)]
            for name in names:
                await s.call(operation("create", 0, name, policy=PERIOD), operation(name=name))
            s.clock.ms += MINUTE
            asked = s.send(*map(expire, names))
            await settle()

            def looked_at() -> int:
                return sum(tag in s.link.answers for tag in asked)

            for _ in range(8):
                before = looked_at()
                [tag] = s.send(operation(name="votes"))  # While something else is under way.
                await settle()
                while tag not in s.link.answers:
                    await s.thread.jobs.pop(0).finish()
                    s.send(operation(name="votes"))  # So that clients always want something.
                assert looked_at() <= before + TIMED_MAX
            assert looked_at() >= 3 * TIMED_MAX, "nor do they wait until nobody wants anything"
            await s.work()
            assert {s.link.answers[tag][1]["reset"] for tag in asked} == {True}

    @jumping
    async def test_a_disk_that_was_slow_for_once_does_not_make_the_others_late(self) -> None:
        async with stage() as s:
            names = [f"due{n:03}" for n in range(2 * TIMED_MAX)]
            await s.call(*(operation("create", 0, name, policy=PERIOD) for name in names))
            asked = s.send(*map(expire, names))
            await settle()
            s.clock.ms += 5_000
            while asked[0] not in s.link.answers:
                await s.thread.jobs.pop(0).finish()
            assert s.thread.jobs == []
            await sleep(TIMED_REST_MAX_S)
            await s.work()
            assert all(tag in s.link.answers for tag in asked)

    @jumping
    async def test_what_moves_before_its_turn_is_asked_of_the_new_owner(self) -> None:
        async with stage() as s:
            names = [f"due{n:03}" for n in range(2 * TIMED_MAX)]
            await s.call(*(operation("create", 0, name, policy=PERIOD) for name in names))
            asked = s.send(*map(expire, names))
            await settle()
            s.place(2, "another")
            await s.work()
            told = [s.link.answers[tag][0] for tag in asked]
            assert told == [Status.OK] * TIMED_MAX + [Status.MOVED] * TIMED_MAX

    @jumping
    async def test_at_its_reset_value_nothing_happens(self) -> None:
        async with stage() as s:
            await armed(s)
            s.clock.ms += MINUTE
            assert await s.call(expire(), expire()) == [reset(0), kept(0)]
            s.clock.ms += MINUTE
            assert await s.call(expire()) == [kept(0)]
            assert len(s.store.since(1, 0, 9)) == 2

    @jumping
    async def test_a_counter_that_was_never_written_stays_unknown(self) -> None:
        async with stage(policies=Policies(PERIOD)) as s:
            assert await s.call(expire("nobody")) == [kept(0)]
            assert s.store.read(["nobody"]) == {}
            assert s.store.due(1 << 60, 1 << 60, 9) == []

    @jumping
    async def test_asleep_or_awake_makes_no_difference(self) -> None:
        async with stage(hibernate_after=1.0) as s:
            await armed(s)
            s.clock.ms += 30_000
            s.host._sleepy = True
            s.host._arrived.set()
            await settle()
            assert s.host.resident == 0
            assert await s.call(expire()) == [kept(5)]
            s.clock.ms += 30_000
            assert await s.call(expire()) == [reset(0)]

    @jumping
    async def test_the_wall_clock_may_jump(self) -> None:
        async with stage() as s:
            await armed(s)
            s.clock.wrong_ms = HOUR
            assert await s.call(expire()) == [kept(5)]
            s.clock.wrong_ms = -HOUR
            s.clock.ms += MINUTE
            assert await s.call(expire()) == [reset(0)]
            # The same deadline, as far as the wall is concerned, comes twice.
            s.clock.wrong_ms -= MINUTE
            await s.call(operation())
            s.clock.ms += MINUTE
            assert await s.call(expire()) == [reset(0)]

    @jumping
    async def test_a_commit_that_fails_leaves_the_deadline(self) -> None:
        async with stage() as s:
            await armed(s)
            s.clock.ms += MINUTE
            [tag] = s.send(expire())
            await settle()
            await s.thread.take_round().fail()
            assert s.link.answers[tag][0] == Status.UNAVAILABLE
            assert due(s) == (MINUTE, None)
            assert await s.call(expire()) == [reset(0)]

    @jumping
    async def test_who_is_not_the_owner_any_more_resets_nothing(self) -> None:
        async with stage() as s:
            await armed(s)
            s.store.claim(["votes"], 1)
            s.clock.ms += MINUTE
            assert await s.call(expire()) == [(Status.MOVED, None)]
            assert s.store.read(["votes"])["votes"].value == 5

    @jumping
    async def test_another_value_than_nought(self) -> None:
        async with stage() as s:
            await armed(s, reset_after=60, reset_to=3, initial=1)
            s.clock.ms += MINUTE
            assert await s.call(expire()) == [reset(3)]
            assert await s.call(operation("reset", 0)) and s.store.read(["votes"])["votes"].value == 1
            s.clock.ms += MINUTE
            assert await s.call(expire()) == [reset(3)]


class TestArming:
    @jumping
    async def test_touches_write_no_deadlines(self) -> None:
        async with stage() as s:
            await armed(s)
            s.clock.ms += 1_000
            s.send(*(operation() for _ in range(100)))
            await settle()
            commit = s.thread.take("commit")
            assert commit.arguments[0].deadlines == []
            await commit.finish()
            assert due(s) == (MINUTE, None)

    @jumping
    async def test_storage_is_asked_for_as_much_with_a_period_as_without(self) -> None:
        written = []
        for policies in (Policies(), Policies(PERIOD)):
            async with stage(policies=policies) as s:
                writes = 0
                for _ in range(50):
                    s.send(operation())
                    await settle()
                    while s.thread.jobs:
                        job = s.thread.jobs.pop(0)
                        if job.name == "commit":
                            commit = job.arguments[0]
                            writes += len(commit.counters) + len(commit.deadlines) + len(commit.operations)
                        await job.finish()
                written.append(writes)
                assert (due(s)[0] is not None) is (policies.digest() != "")
        assert written == [100, 100]

    @jumping
    async def test_back_at_its_reset_value_there_is_no_deadline(self) -> None:
        async with stage() as s:
            await armed(s)
            await s.call(operation("decrement", 5))
            assert due(s) == (None, None)
            s.clock.ms += 7
            await s.call(operation())
            assert due(s) == (MINUTE + 7, None)
            await s.call(operation("reset", 0))
            assert due(s) == (None, None)

    @jumping
    async def test_a_new_period_counts_from_the_last_operation(self) -> None:
        async with stage() as s:
            await armed(s)
            s.clock.ms += 1_000
            await s.call(operation("configure", 0, policy={"reset_after": 10}))
            assert due(s) == (10_000, None)
            await s.call(operation("configure", 0, policy={"reset_after": None}))
            assert due(s) == (None, None)
            s.clock.ms += HOUR
            assert await s.call(expire()) == [kept(5)]

    @jumping
    async def test_what_is_said_for_all_counts_for_those_that_are_touched(self) -> None:
        store = MemoryStore()
        async with stage(store) as s:
            await s.call(operation(), operation(name="left"))
            async with stage(store, policies=Policies(PERIOD)) as s:
                await s.call(operation())
                assert (due(s), due(s, "left")) == ((MINUTE, None), (None, None))

    @jumping
    async def test_a_schedule_waits_for_its_next_time(self) -> None:
        async with stage() as s:
            s.clock.ms += 30_000
            await armed(s, reset_schedule="*/5 * * * *")
            assert due(s) == (None, 5 * MINUTE)
            s.clock.ms += 2 * MINUTE
            await s.call(operation())
            assert due(s) == (None, 5 * MINUTE)
            s.clock.ms += 2 * MINUTE
            assert await s.call(expire()) == [kept(6)]
            s.clock.ms += 40_000  # It was touched after its time had come; that does not matter.
            await s.call(operation())
            assert await s.call(expire()) == [reset(0)]
            assert s.store.since(1, 0, 9)[-1].reason == "schedule"
            assert due(s) == (None, None)

    @jumping
    async def test_a_schedule_that_was_missed_and_is_skipped_waits_for_the_next(self) -> None:
        async with stage() as s:
            await armed(s, reset_schedule="0 * * * *", missed="skip")
            s.clock.ms += 3 * HOUR + 30 * MINUTE
            assert await s.call(expire()) == [kept(5)]
            assert due(s) == (None, 4 * HOUR)

    @jumping
    async def test_the_next_reset_is_part_of_the_metadata(self) -> None:
        async with stage(hibernate_after=1.0) as s:
            await armed(s)
            s.clock.ms += 2_000
            assert (await s.asked("metadata", "votes"))[1]["resetsAt"] == "2025-01-01T00:01:00.000Z"
            s.host._sleepy = True
            s.host._arrived.set()
            await settle()
            assert (await s.asked("metadata", "votes"))[1]["resetsAt"] == "2025-01-01T00:01:00.000Z"
            await s.call(operation("reset", 0))
            assert "resetsAt" not in (await s.asked("metadata", "votes"))[1]
