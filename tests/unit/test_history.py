"""What is kept of the past, shown of it, asked about it, and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from actors.clock import iso
from actors.core.policy import DEFAULT, Policies, Policy, complaint
from actors.core.retention import CHOSEN_MS, OWN_MS, forgettable, kept
from actors.messages import Operation, Status
from actors.trimmer import STEP, Trimmer
from storage.memory import MemoryStore
from storage.records import Commit, CounterWrite, OperationRecord, PolicyWrite
from storage.store import DELETION
from tests.support.clock import NEW_YEAR_2025, HandClock
from tests.support.loop import jumping
from tests.support.stage import Stage, operation, stage

NOW = NEW_YEAR_2025
HOUR = 3_600_000
DAY = 24 * HOUR


class TestRetention:
    @pytest.mark.parametrize(
        ("policy", "seq", "at", "holds"),
        [
            (Policy(history_limit=10), 91, 0, True),
            (Policy(history_limit=10), 90, NOW, False),
            (Policy(history_limit=None), 1, 0, True),
            (Policy(history_max_age=60), 1, NOW - 60_000, True),
            (Policy(history_max_age=60), 100, NOW - 60_001, False),
            (Policy(history_limit=10, history_max_age=60), 90, NOW, False),
            (Policy(history_limit=1_000), 1, 0, True),
        ],
    )
    def test_what_a_policy_keeps(self, policy: Policy, seq: int, at: int, holds: bool) -> None:
        assert kept(policy, 100, NOW).holds(seq, at) == holds

    @pytest.mark.parametrize("id", ["key:a", "ws:3:abc/1", "undo:7", "alarm:k:1"])
    def test_ids_that_somebody_chose_are_remembered_for_a_day(self, id: str) -> None:
        assert not forgettable(id, NOW - DAY, NOW)
        assert forgettable(id, NOW - DAY - 1, NOW)
        assert CHOSEN_MS >= DAY

    @pytest.mark.parametrize("id", ["0f3a-0000000001", "ray:0f3a", "inactivity:1:2"])
    def test_our_own_only_while_somebody_may_repeat_them(self, id: str) -> None:
        assert not forgettable(id, NOW - OWN_MS, NOW)
        assert forgettable(id, NOW - OWN_MS - 1, NOW)

    @pytest.mark.parametrize("field", ["history_limit", "history_max_age"])
    def test_what_a_policy_may_say(self, field: str) -> None:
        assert complaint(Policy(**{field: None})) is None
        assert complaint(Policy(**{field: 1})) is None
        for impossible in (0, -1, 2**60):
            wrong = complaint(Policy(**{field: impossible}))
            assert wrong is not None
            assert wrong[0] == field


def fill(store: MemoryStore, name: str, ages: list[int], ids: str = "own", policy: str | None = None) -> int:
    """A counter with an operation of each age (milliseconds), the oldest first. Returns its id."""
    [row] = store.claim([name], 0)
    history = [
        OperationRecord(row.id, seq, "increment", 1, seq, seq - 1, NOW - age, f"{ids}:{seq}", None, None)
        for seq, age in enumerate(ages, 1)
    ]
    policies = [] if policy is None else [PolicyWrite(row.id, policy, None)]
    store.commit(Commit([CounterWrite(row.id, row.epoch, len(ages), len(ages), NOW)], history, policies))
    return row.id


@contextmanager
def trimming(store: MemoryStore, clock: HandClock, every: Policy = DEFAULT) -> Iterator[Trimmer]:
    said = {} if every == DEFAULT else {"history_limit": every.history_limit, "history_max_age": every.history_max_age}
    trimmer = Trimmer(store, clock, Policies(said))
    try:
        yield trimmer
    finally:
        trimmer._thread.close()


class TestTheTrimmer:
    def trim(self, store: MemoryStore, clock: HandClock, every: Policy = DEFAULT, walks: int = 1) -> list[int]:
        async def play() -> list[int]:
            with trimming(store, clock, every) as trimmer:
                return [await trimmer.walk() for _ in range(walks)]

        return asyncio.run(play())

    def left(self, store: MemoryStore, id: int) -> list[int]:
        return [row.seq for row in store.since(id, 0, 100_000)]

    def test_the_newest_stay_and_the_rest_goes(self) -> None:
        store = MemoryStore()
        id = fill(store, "votes", [HOUR] * 3_000)
        few = fill(store, "few", [HOUR] * 5)
        assert self.trim(store, HandClock(), Policy(history_limit=10), 2) == [2_990, 0]
        assert self.left(store, id) == list(range(2_991, 3_001))
        assert self.left(store, few) == [1, 2, 3, 4, 5]

    def test_by_age(self) -> None:
        store = MemoryStore()
        id = fill(store, "votes", [3 * HOUR, 2 * HOUR, HOUR, 0])
        assert self.trim(store, HandClock(), Policy(history_max_age=5_400)) == [2]
        assert self.left(store, id) == [3, 4]

    def test_a_counter_s_own_policy_counts(self) -> None:
        store = MemoryStore()
        short = fill(store, "short", [HOUR] * 9, policy='{"history_limit":3}')
        long = fill(store, "long", [HOUR] * 9, policy='{"history_limit":null}')
        self.trim(store, HandClock(), Policy(history_limit=5))
        assert (self.left(store, short), self.left(store, long)) == ([7, 8, 9], list(range(1, 10)))

    def test_nothing_is_trimmed_whose_id_may_still_be_repeated(self) -> None:
        store = MemoryStore()
        young = fill(store, "young", [OWN_MS] * 9)
        chosen = fill(store, "chosen", [DAY + 1] * 4 + [DAY] * 3 + [HOUR] * 2, "key")
        self.trim(store, HandClock(), Policy(history_limit=1))
        assert self.left(store, young) == list(range(1, 10))
        assert self.left(store, chosen) == [5, 6, 7, 8, 9]

    def test_what_deleted_counters_have_left_goes_after_a_day(self) -> None:
        store = MemoryStore()
        for name, age in (("old", DAY + 1), ("young", DAY)):
            id = fill(store, name, [HOUR] * (STEP + 5))
            row = store.read([name])[name]
            gone = OperationRecord(id, row.seq + 1, DELETION, 0, 0, row.value, NOW - age, "d", None, name)
            store.commit(Commit([CounterWrite(id, row.epoch, 0, gone.seq, NOW)], [gone], deletions=[id]))
        assert self.trim(store, HandClock(), walks=2) == [STEP + 6, 0]
        assert (len(self.left(store, 1)), len(self.left(store, 2))) == (0, STEP + 6)

    def test_the_spared_go_when_their_day_is_over(self) -> None:
        """However they are mixed, a trimmer that remembers where it was leaves what one that begins anew would."""
        for seed in range(30):
            chance = Random(seed)
            ages = sorted((chance.randrange(2 * DAY) for _ in range(2 * STEP)), reverse=True)
            mixed, again = MemoryStore(), MemoryStore()
            for store in (mixed, again):
                chance = Random(seed)
                [row] = store.claim(["votes"], 0)
                history = [
                    OperationRecord(
                        row.id, seq, "increment", 1, seq, seq - 1, NOW - age,
                        f"{chance.choice(['key', 'own'])}:{seq}", None, None,
                    )
                    for seq, age in enumerate(ages, 1)
                ]  # fmt: skip
                store.commit(Commit([CounterWrite(row.id, row.epoch, len(ages), len(ages), NOW)], history))
            clock = HandClock()

            async def play(
                mixed: MemoryStore = mixed, again: MemoryStore = again, clock: HandClock = clock, id: int = row.id
            ) -> None:
                every = Policy(history_limit=7)
                with trimming(mixed, clock, every) as lasting:
                    for _ in range(6):
                        await lasting.walk()
                        with trimming(again, clock, every) as fresh:
                            await fresh.walk()
                        assert self.left(mixed, id) == self.left(again, id)
                        clock.ms += 7 * HOUR

            asyncio.run(play())
            assert len(self.left(mixed, row.id)) < 2 * STEP

    def test_what_was_spared_is_not_looked_at_again(self) -> None:
        store, clock = MemoryStore(), HandClock()
        fill(store, "votes", [HOUR] * 20 * STEP, "key")
        asked: list[int] = []
        since = store.since
        store.since = lambda id, seq, limit: (asked.append(seq), since(id, seq, limit))[1]  # type: ignore[method-assign]

        async def play() -> None:
            with trimming(store, clock, Policy(history_limit=10)) as trimmer:
                assert await trimmer.walk() == 0
                assert len(asked) >= 20
                asked.clear()
                assert await trimmer.walk() == 0
                assert len(asked) <= 3

        asyncio.run(play())


class TestGetHistory:
    @jumping
    async def test_an_item_says_who_where_and_why(self) -> None:
        async with stage() as s:
            await s.call(operation(id='key:"a"\n', actor="ann é", source="http ::1", reason=None))
            status, [item] = await s.asked("history", "votes", limit=5)
            assert status == Status.OK
            assert item == {
                "id": 1, "operation": "increment(1)", "previousValue": 0, "newValue": 1, "timestamp": iso(NOW),
                "operationId": 'key:"a"\n', "subject": "ann é", "source": "http ::1", "reason": None,
            }  # fmt: skip

    @jumping
    async def test_it_ends_where_the_policy_does_trimmed_or_not(self) -> None:
        async with stage() as s:
            await s.call(operation("configure", 0, policy={"history_limit": 3}))
            await s.call(*(operation() for _ in range(9)))
            assert [item["id"] for item in (await s.asked("history", "votes", limit=9))[1]] == [9, 8, 7]
            assert [item["id"] for item in (await s.asked("history", "votes", limit=9, before=8))[1]] == [7]
            assert (await s.asked("history", "votes", limit=9, before=7))[1] == []
            await s.call(operation("configure", 0, policy={"history_limit": None, "history_max_age": 60}))
            s.clock.ms += 60_000
            await s.call(operation())
            assert len((await s.asked("history", "votes", limit=99))[1]) == 10
            s.clock.ms += 1
            assert [item["id"] for item in (await s.asked("history", "votes", limit=99))[1]] == [10]

    @jumping
    async def test_a_subscriber_gets_no_events_with_gaps(self) -> None:
        async with stage() as s:
            await s.call(*(operation() for _ in range(9)))
            s.store.forget(1, [4])
            s.watch("votes", 1, 2)
            await s.work()
            assert s.link.events == []
            assert [(place.seq, bool(place.snapshot)) for place in s.link.positions] == [(9, True)]


class TestGetValueAt:
    async def at(self, s: Stage, ms: int) -> tuple[int, int] | str:
        status, body = await s.asked("valueAt", "votes", before=ms)
        return (body["value"], body["operationCount"]) if status == Status.OK else str(body["code"])

    @jumping
    async def test_every_moment(self) -> None:
        async with stage() as s:
            assert await self.at(s, NOW) == "COUNTER_NOT_FOUND"
            await s.call(operation("create", 0, policy={"initial": 100}))
            for _ in range(40):
                s.clock.ms += 10
                await s.call(operation(amount=2), operation())
            assert await self.at(s, NOW - 1) == (0, 0)
            assert await self.at(s, NOW) == await self.at(s, NOW + 9) == (100, 0)
            for step in range(1, 41):
                for late in (0, 9):
                    assert await self.at(s, NOW + 10 * step + late) == (100 + 3 * step, 2 * step)
            assert await self.at(s, NOW + DAY) == (220, 80)

    @jumping
    async def test_not_before_what_is_kept(self) -> None:
        async with stage() as s:
            for _ in range(9):
                s.clock.ms += 1_000
                await s.call(operation())
            await s.call(operation("configure", 0, policy={"history_limit": 3}))
            assert [await self.at(s, NOW + 1_000 * step) for step in (6, 7, 8, 9)] == [
                "HISTORY_NOT_KEPT", (7, 7), (8, 8), (9, 9),
            ]  # fmt: skip
            status, body = await s.asked("valueAt", "votes", before=NOW + 6_999)
            assert (status, body["data"]) == (Status.REFUSED, {"since": iso(NOW + 7_000)})
            await s.call(operation("configure", 0, policy={"history_limit": None, "history_max_age": 5}))
            s.clock.ms += 3_500
            assert [await self.at(s, NOW + 1_000 * step) for step in (7, 8, 9)] == ["HISTORY_NOT_KEPT", (8, 8), (9, 9)]

    @jumping
    async def test_of_a_counter_that_was_only_configured(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0, policy={"initial": 7}))
            s.clock.ms += 50
            await s.call(operation("configure", 0, policy={"maximum": 9}))
            assert (await self.at(s, NOW - 1), await self.at(s, NOW + 10)) == ((0, 0), (7, 0))


class TestUndo:
    def undo(self, seq: int) -> Operation:
        return operation("undo", seq, id=f"undo:{seq}", repeated=True)

    @jumping
    async def test_each_kind(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=50), operation("decrement", 8), operation("setValue", 7), operation("reset"))
            values = []
            for seq in (4, 3, 2, 1):
                [(status, body)] = await s.call(self.undo(seq))
                assert status == Status.OK
                values.append((body["value"], body["latestHistory"][0]["operation"]))
            assert values == [
                (7, "increment(7)"), (42, "increment(35)"), (50, "increment(8)"), (0, "decrement(50)"),
            ]  # fmt: skip

    @jumping
    async def test_once_whoever_asks_and_for_ever(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5), operation(amount=2))
            first, second = await s.call(self.undo(1), self.undo(1))
            assert first == second
            await s.call(operation())
            s.place(2, "other")
            s.place(3, "h")
            tags = s.send(self.undo(1), version=3)
            await s.work()
            assert s.link.answers[tags[0]] == first
            assert s.store.read(["votes"])["votes"].value == 3
            s.store.forget(1, [1])
            tags = s.send(self.undo(1), version=3)
            await s.work()
            assert s.link.value(tags[0]) == first[1]["value"]

    @jumping
    async def test_an_undoing_can_be_undone(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=5))
            await s.call(self.undo(1))
            [(_, body)] = await s.call(self.undo(2))
            assert body["value"] == 5

    @jumping
    async def test_subscribers_hear_why(self) -> None:
        async with stage() as s:
            s.watch("votes")
            await s.call(operation(amount=5))
            await s.call(self.undo(1))
            assert [(event["type"], event.get("reason")) for event in s.link.events] == [
                ("increment", None), ("decrement", "undo 1"),
            ]  # fmt: skip

    @jumping
    async def test_what_cannot_be_undone(self) -> None:
        async with stage() as s:
            assert (await s.call(self.undo(1)))[0][1]["code"] == "COUNTER_NOT_FOUND"
            await s.call(operation(), operation("decrement", 1), operation("decrement", 1), operation(amount=3))
            [(_, changed_nothing), (_, never)] = await s.call(self.undo(3), self.undo(9))
            assert changed_nothing["data"] == {"field": "seq", "reason": "seq: operation 3 changed nothing"}
            assert never["code"] == "COUNTER_VALIDATION_ERROR"
            s.store.forget(1, [1])
            [(_, body)] = await s.call(self.undo(1))
            assert body["code"] == "HISTORY_NOT_KEPT"
            await s.call(operation("configure", 0, policy={"minimum": 3, "initial": 3, "on_limit": "reject"}))
            [(_, body)] = await s.call(self.undo(4))
            assert body["code"] == "LIMIT_REACHED"
