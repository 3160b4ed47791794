"""Counters that are counted elsewhere: nothing that was added meanwhile is lost, and nothing wrong gets in."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from actors.errors import Unavailable
from actors.messages import Operation, Status
from actors.placement import HostEntry, Placement
from actors.source import Source
from actors.statistics import Statistics
from storage.source import SourceFailed
from tests.support.loop import jumping
from tests.support.stage import Stage, operation, stage, table

DAY_MS = 86_400_000


class TestTheOwner:
    """A sync names the seq that the counter had when the count began."""

    def sync(self, amount: int, *since: int, **more: Any) -> Operation:
        return operation("sync", amount, since=since or None, reason="sync", **more)

    @jumping
    async def test_what_was_added_since_is_kept(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=10), operation(amount=5), operation("decrement", 2))
            assert await s.call(self.sync(100, 1, 1)) == [(Status.OK, synced(13, 103))]
            assert s.store.read(["votes"])["votes"].value == 103

    @jumping
    async def test_also_what_comes_with_it(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=10))
            answers = await s.call(operation(amount=3), self.sync(100, 1, 1), operation(amount=4))
            assert (answers[1][1], answers[2][1]["value"]) == (synced(13, 103), 107)

    @jumping
    async def test_what_was_set_or_reset_since_is_overruled(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=10), operation("setValue", 500), operation(amount=1), operation("reset"))
            assert await s.call(self.sync(100, 1, 1)) == [(Status.OK, synced(0, 101))]

    @jumping
    async def test_also_after_it_slept_or_moved(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=10), operation(amount=5))
            s.place(2, "other")
            await s.work()
            s.place(3, "h")
            s.send(last := self.sync(100, 1, 1), version=3)
            await s.work()
            assert s.link.answers[last.tag] == (Status.OK, synced(15, 105))

    @jumping
    async def test_a_new_life_has_nothing_of_the_old_one(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=10))
            await s.call(operation("delete"))
            await s.call(operation(amount=2))
            assert await s.call(self.sync(100, 1, 1)) == [(Status.OK, synced(2, 102))]

    @jumping
    async def test_a_counter_that_was_not_there_is_made(self) -> None:
        async with stage() as s:
            assert await s.call(self.sync(0, 0, 0)) == [(Status.OK, synced(0, 0))]
            assert s.store.read(["votes"])["votes"].seq == 1

    @jumping
    async def test_an_event_if_it_changed_and_none_if_not(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=10))
            s.watch("votes", 1, 1)
            await s.work()
            assert await s.call(self.sync(10, 1, 1), self.sync(10)) == [(Status.OK, synced(10, 10))] * 2
            assert s.link.events == []
            assert s.store.read(["votes"])["votes"].seq == 1
            await s.call(self.sync(12, 1, 1))
            [event] = s.link.events
            assert (event["type"], event["value"], event["reason"]) == ("setValue", 12, "sync")

    @jumping
    async def test_the_same_again_is_answered_with_the_first_result(self) -> None:
        async with stage() as s:
            await s.call(operation(amount=10))
            first = self.sync(100, 1, 1, id="key:a", repeated=True)
            again = self.sync(200, 1, 2, id="key:a", repeated=True)  # It was counted anew.
            assert await s.call(first) == await s.call(again) == [(Status.OK, synced(10, 100))]
            assert s.store.read(["votes"])["votes"].value == 100

    @jumping
    async def test_its_policy_has_the_last_word(self) -> None:
        async with stage() as s:
            await s.call(operation("create", 0, policy={"maximum": 50}), operation(amount=10))
            assert await s.call(self.sync(100, 1, 1)) == [(Status.OK, synced(10, 50))]
            assert await s.call(self.sync(100, 1, 1)) == [(Status.OK, synced(50, 50))]


def synced(old: int, new: int) -> dict[str, int]:
    return {"oldCount": old, "newCount": new, "difference": new - old}


def threaded(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on an ordinary loop: queries have threads of their own."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


class Books:
    """A database that counts when the test says so."""

    def __init__(self) -> None:
        self.answer: int | SourceFailed = 0
        self.asked = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def count(self, database: str, query: str, timeout_s: float, overdue: Callable[[], bool]) -> int:
        self.asked += 1
        self.begun.set()
        assert self.may_end.wait(20)
        if isinstance(self.answer, SourceFailed):
            raise self.answer
        return self.answer


class Owners:
    """The owner is the host on the stage."""

    def __init__(self, s: Stage) -> None:
        self._stage = s
        self.away = 0

    placement = Placement(table(1, "h"))

    def subscribe(self, changed: Callable[[], None]) -> None: ...

    def dedicate(self, name: str) -> None: ...

    async def operate(
        self, host: HostEntry, version: int, operations: Sequence[Operation]
    ) -> list[tuple[int, int, bytes]]:
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        answer = asyncio.ensure_future(self._stage.host.operate(version, operations))
        await self._stage.work()
        return await answer


class World:
    """A host, a database that counts, and statistics between them."""

    def __init__(self, s: Stage, **sources: Source) -> None:
        self.s, self.books, self.owners = s, Books(), Owners(s)
        self.statistics = Statistics(
            s.store, self.owners, s.clock, lambda: 0.5, sources, self.books.count
        )

    async def sync(self, name: str = "votes") -> tuple[int, Any]:
        status, body = await self.statistics.sync(name, f"key:{self.books.asked}", "http")
        return status, body and msgspec.json.decode(body)

    async def drift(self, name: str = "votes") -> tuple[int, Any]:
        status, body = await self.statistics.drift(name)
        return status, body and msgspec.json.decode(body)

    def value(self, name: str = "votes") -> int:
        return self.s.store.read([name])[name].value


@asynccontextmanager
async def world(**sources: Source) -> AsyncIterator[World]:
    async with stage() as s:
        built = World(s, **(sources or {"votes": Source("sqlite:///x", "SELECT 1", schedule="")}))
        task = asyncio.create_task(built.statistics.run())
        try:
            yield built
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class TestStatistics:
    @threaded
    async def test_a_counter_becomes_what_was_counted(self) -> None:
        async with world() as w:
            await w.s.call(operation(amount=10))
            w.books.answer = 42
            assert await w.sync() == (Status.OK, synced(10, 42))
            assert await w.sync() == (Status.OK, synced(42, 42))
            [_, changed] = w.s.store.since(1, 0, 9)
            assert (changed.type, changed.reason, changed.source) == ("setValue", "sync", "http")

    @threaded
    async def test_what_is_added_while_it_counts_is_kept(self) -> None:
        async with world() as w:
            await w.s.call(operation(amount=10))
            w.books.answer = 42
            w.books.may_end.clear()
            answer = asyncio.create_task(w.sync())
            await asyncio.to_thread(w.books.begun.wait)
            await w.s.call(operation(amount=3), operation("decrement"))
            w.books.may_end.set()
            assert await answer == (Status.OK, synced(12, 44))

    @threaded
    async def test_drift_changes_nothing(self) -> None:
        async with world() as w:
            await w.s.call(operation(amount=10))
            w.books.answer = 42
            said = {"name": "votes", "value": 10, "actual": 42, "difference": 32}
            assert await w.drift() == (Status.OK, said)
            assert w.value() == 10
            assert ("drift", "votes", 32.0) in w.statistics.figures()

    @threaded
    async def test_who_asks_while_it_counts_shares_the_count(self) -> None:
        async with world() as w:
            w.books.answer = 42
            w.books.may_end.clear()
            answers = [asyncio.create_task(w.sync()), asyncio.create_task(w.drift())]
            await asyncio.to_thread(w.books.begun.wait)
            w.books.may_end.set()
            assert [status for status, _ in await asyncio.gather(*answers)] == [Status.OK, Status.OK]
            assert w.books.asked == 1

    @threaded
    async def test_an_owner_that_is_away_is_asked_again(self) -> None:
        async with world() as w:
            w.books.answer, w.owners.away = 42, 1
            assert await w.sync() == (Status.OK, synced(0, 42))
            assert len(w.s.store.since(1, 0, 9)) == 1

    @pytest.mark.parametrize("reason", ["unreachable", "query", "timeout", "rows", "value"])
    @threaded
    async def test_a_source_that_fails_changes_nothing(self, reason: Any) -> None:
        async with world() as w:
            await w.s.call(operation(amount=10))
            w.books.answer = SourceFailed(reason, "password=secret")
            for answer in (await w.sync(), await w.drift()):
                status, said = answer
                assert (status, said["code"], said["data"]) == (Status.REFUSED, "SOURCE_FAILED", {"reason": reason})
                assert "secret" not in said["message"]
            assert w.value() == 10
            assert ("source_failures_total", "votes", 2.0) in w.statistics.figures()
            w.books.answer = 42
            assert await w.sync() == (Status.OK, synced(10, 42))

    @threaded
    async def test_one_without_a_source(self) -> None:
        async with world() as w:
            for status, said in (await w.sync("other"), await w.drift("other")):
                assert (status, said["code"], said["data"]["field"]) == (
                    Status.REFUSED, "COUNTER_VALIDATION_ERROR", "actual",
                )  # fmt: skip
                assert said["message"] == "other has no source; sync takes an actual value instead"
            assert w.books.asked == 0


async def settled(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.01)


class TestTheSchedule:
    daily = Source("sqlite:///x", "SELECT 1")

    @threaded
    async def test_what_was_never_synced_is_and_then_once_a_day(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("actors.statistics.LOOK_S", 0.01)
        async with world(votes=self.daily) as w:
            w.books.answer = 42
            await settled(lambda: "votes" in w.s.store.read(["votes"]) and w.books.asked == 1)
            await settled(lambda: msgspec.json.decode(w.statistics.listed()[1])["sources"][0]["syncedAt"] is not None)
            w.books.answer = 50
            w.s.clock.ms += DAY_MS
            await settled(lambda: w.value() == 50)
            assert w.books.asked == 2

    @threaded
    async def test_whoever_takes_its_place_knows_when_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("actors.statistics.LOOK_S", 0.01)
        async with world(votes=self.daily) as w:
            await settled(lambda: w.s.store.agree("synced votes", "{}") != "{}")
            after = Statistics(w.s.store, w.owners, w.s.clock, lambda: 0.5, {"votes": self.daily}, w.books.count)
            await after._recall()
            after._serve()
            assert not after._tasks
            after._storage.close()

    @threaded
    async def test_a_failure_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("actors.statistics.LOOK_S", 0.01)
        async with world(votes=self.daily) as w:
            w.books.answer = SourceFailed("unreachable", "away")
            await settled(lambda: w.books.asked == 1)
            w.books.answer = 42
            w.s.clock.ms += 60_000
            await settled(lambda: "votes" in w.s.store.read(["votes"]) and w.value() == 42)


@jumping
async def test_totals_and_their_last_change() -> None:
    async with stage() as s:
        await s.call(operation(amount=10, name="users"))
        status, said = await s.asked("stats", "users", "never")
        assert status == Status.OK
        assert said == {
            "stats": {
                "users": {"value": 10, "lastIncrementAt": "2025-01-01T00:00:00.000Z"},
                "never": {"value": 0, "lastIncrementAt": None},
            }
        }
