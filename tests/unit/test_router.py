"""The gateway's way to the hosts, with hosts that say what the test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest

from actors import pressure as pressure_module
from actors import router as router_module
from actors.messages import (
    Attend,
    Attending,
    Burst,
    Events,
    Heartbeat,
    Operation,
    Position,
    Query,
    Status,
    Unwatch,
    Watch,
)
from actors.placement import HostEntry, Table
from actors.router import ASK_AGAIN_S, DEADLINE_S, SILENCE_S, TICK_S, UNSETTLED_S, Router
from tests.support.hosts import HandDirectory, RecordingListener, ScriptedHost
from tests.support.loop import jumping, settle
from tests.support.network import Network
from tests.support.stage import entry, operation

UNAVAILABLE = (Status.UNAVAILABLE, b"")


def entries(*ids: str | HostEntry) -> tuple[HostEntry, ...]:
    return tuple(entry(id) if isinstance(id, str) else id for id in ids)


class World:
    """A router, and any number of hosts."""

    def __init__(self, *ids: str) -> None:
        self.network = Network.install()
        self.directory = HandDirectory()
        self.listener = RecordingListener()
        self.hosts = {id: ScriptedHost(self.network, entry(id)) for id in ids}
        self.router = Router("g", "node", "secret", self.directory, self.listener)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.place(*ids)

    def place(self, *ids: str | HostEntry) -> None:
        version = self.directory.placement.version
        self.directory.take(Table(version + 1, entries(*ids), previous=version))

    def host_of(self, name: str) -> ScriptedHost:
        owner = self.directory.placement.owner(name)
        assert owner is not None
        return self.hosts[owner]

    def name_on(self, id: str) -> str:
        """Some name that lives on this host."""
        names = (f"n{number}" for number in range(1_000))
        return next(name for name in names if self.directory.placement.owner(name) == id)

    def submit(self, *operations: Operation) -> list[str]:
        for one in operations:
            self.router.submit(one, lambda status, body, id=one.id: self.take(id, status, body))
        return [one.id for one in operations]

    def ask(self, key: str, kind: str, *names: str) -> None:
        self.router.ask(Query(0, kind, list(names)), lambda status, body: self.take(key, status, body))

    def take(self, id: str, status: int, body: bytes) -> None:
        assert id not in self.answers, f"{id} is answered twice"
        self.answers[id] = status, body


@asynccontextmanager
async def world(*ids: str) -> AsyncIterator[World]:
    built = World(*ids)
    await settle()
    yield built
    await built.router.close()
    await settle()


class TestOperations:
    @jumping
    async def test_one_goes_to_the_owner_of_its_name_and_comes_back_once(self) -> None:
        async with world("a", "b") as w:
            [id] = w.submit(operation(name=w.name_on("b")))
            await settle()
            assert w.hosts["a"].operations == []
            [arrived] = w.hosts["b"].operations
            assert (arrived.id, arrived.repeated) == (id, False)
            for _ in range(2):
                w.hosts["b"].answer(arrived, Status.OK, b"body")
            await settle()
            assert w.answers == {id: (Status.OK, b"body")}

    @jumping
    async def test_what_was_not_sent_is_not_under_way(self) -> None:
        async with world("a") as w:
            with patch.object(w.router._lanes["a"].end, "send", side_effect=OverflowError):  # A bug of ours.
                w.router.submit(operation(id="x"), lambda status, body: w.take("x", status, body))
                with pytest.raises(OverflowError):
                    w.router._flush()
            assert w.router._lanes["a"].under_way == 0

    @jumping
    async def test_a_refusal_is_an_answer(self) -> None:
        async with world("a") as w:
            [id] = w.submit(operation())
            await settle()
            w.hosts["a"].answer(w.hosts["a"].operations[0], Status.REFUSED, b"why")
            await settle()
            assert w.answers == {id: (Status.REFUSED, b"why")}

    @jumping
    async def test_what_one_turn_collected_leaves_in_one_frame_in_its_order(self) -> None:
        async with world("a") as w:
            ids = w.submit(*(operation() for _ in range(20)))
            await settle()
            [frame] = w.hosts["a"].operates
            assert frame.version == 1
            assert [one.id for one in frame.operations] == ids
            ids += w.submit(operation())
            await settle()
            assert len(w.hosts["a"].operates) == 2
            assert w.hosts["a"].ids == ids

    @jumping
    async def test_every_call_has_a_tag_of_its_own(self) -> None:
        async with world("a") as w:
            same = [operation(id="x"), operation(id="x")]
            heard: list[bytes] = []
            for one in same:
                w.router.submit(one, lambda status, body: heard.append(body))
            await settle()
            first, second = w.hosts["a"].operations
            w.hosts["a"].answer(second, Status.OK, b"2")
            w.hosts["a"].answer(first, Status.OK, b"1")
            await settle()
            assert heard == [b"2", b"1"]

    @jumping
    async def test_without_a_host_it_waits_for_one(self) -> None:
        async with world() as w:
            ids = w.submit(operation(), operation())
            await settle()
            w.hosts["a"] = ScriptedHost(w.network, entry("a"))
            w.place("a")
            await settle()
            assert w.hosts["a"].ids == ids
            assert not any(one.repeated for one in w.hosts["a"].operations)
            assert w.directory.dedicated[:1] == ["votes"]

    @jumping
    async def test_a_host_that_does_not_listen_yet_is_tried_until_it_does(self) -> None:
        async with world() as w:
            w.place("a")
            ids = w.submit(operation())
            await asyncio.sleep(1)
            assert w.directory.reported[0] == entry("a")
            w.hosts["a"] = ScriptedHost(w.network, entry("a"))
            await asyncio.sleep(0.1)
            assert w.hosts["a"].ids == ids

    @jumping
    async def test_too_many_without_an_answer_are_refused_at_once(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(router_module, "PENDING_MAX", 3)
            async with world("a") as w:
                ids = w.submit(*(operation() for _ in range(4)))
                w.ask("q", "value", "votes")
                assert w.answers == {}  # Never from within the call.
                await settle()
                assert w.answers == {ids[3]: UNAVAILABLE, "q": UNAVAILABLE}
                w.hosts["a"].answer(w.hosts["a"].operations[0])
                await settle()
                w.submit(operation())
                await settle()
                assert len(w.hosts["a"].operations) == 4


class TestTryingAgain:
    @jumping
    async def test_what_has_moved_goes_to_its_new_owner(self) -> None:
        async with world("a", "b") as w:
            name = w.name_on("a")
            [id] = w.submit(operation(name=name))
            await settle()
            w.hosts["a"].answer(w.hosts["a"].operations[0], Status.MOVED, b"")
            await settle()
            w.place("b")
            await asyncio.sleep(TICK_S * 2)
            [again] = w.hosts["b"].operations
            assert (again.id, again.repeated) == (id, False)  # Who says moved has applied nothing.
            assert w.hosts["b"].operates[0].version == 2

    @jumping
    async def test_what_has_moved_by_a_table_that_we_know_by_now_does_not_wait(self) -> None:
        async with world("a", "b") as w:
            name = w.name_on("a")
            [id] = w.submit(operation(name=name))
            await settle()
            own = entry("counter", dedicated=name)
            new = ScriptedHost(w.network, own)
            w.place("a", "b", own)
            await settle()
            w.hosts["a"].answer(w.hosts["a"].operations[0], Status.MOVED, b"")
            await settle()
            assert new.ids == [id]

    @jumping
    async def test_what_has_moved_by_a_table_that_we_do_not_know_is_asked_again_until_we_do(self) -> None:
        async with world("a", "b") as w:
            name = w.name_on("a")
            [id] = w.submit(operation(name=name))
            for _ in range(3):
                await settle()
                w.hosts["a"].answer(w.hosts["a"].operations[-1], Status.MOVED, b"")
                await asyncio.sleep(TICK_S * 2)
            assert w.hosts["a"].ids == [id] * 4
            w.hosts["a"].answer(w.hosts["a"].operations[-1])
            await settle()
            assert w.answers[id][0] == Status.OK

    @jumping
    async def test_what_a_failed_commit_left_in_doubt_is_asked_again_as_a_repeat(self) -> None:
        async with world("a") as w:
            [id] = w.submit(operation())
            await settle()
            w.hosts["a"].answer(w.hosts["a"].operations[0], Status.UNAVAILABLE, b"")
            await asyncio.sleep(TICK_S * 2)
            again = w.hosts["a"].operations[1]
            assert (again.id, again.repeated) == (id, True)
            assert w.answers == {}

    @jumping
    async def test_what_a_lost_link_carried_is_sent_again_in_its_order(self) -> None:
        async with world("a") as w:
            ids = w.submit(*(operation() for _ in range(3)))
            await settle()
            w.hosts["a"].answer(w.hosts["a"].operations[1])
            await settle()
            w.hosts["a"].heard.clear()
            w.hosts["a"].cut()
            ids += w.submit(operation())
            await asyncio.sleep(0.2)
            assert w.hosts["a"].ids == [ids[0], ids[2], ids[3]]
            assert [one.repeated for one in w.hosts["a"].operations] == [True, True, False]
            assert w.directory.reported == [entry("a")]

    @jumping
    async def test_a_host_that_dies_is_replaced_by_whoever_owns_its_names_then(self) -> None:
        async with world("a", "b") as w:
            name = w.name_on("a")
            ids = w.submit(*(operation(name=name) for _ in range(3)))
            await settle()
            w.hosts["a"].die()
            await asyncio.sleep(0.5)
            ids += w.submit(operation(name=name))
            w.place("b")
            await settle()
            assert w.hosts["b"].ids == ids
            assert [one.repeated for one in w.hosts["b"].operations] == [True] * 3 + [False]

    @jumping
    async def test_a_host_that_was_started_again_is_another_one(self) -> None:
        async with world("a") as w:
            [id] = w.submit(operation())
            await settle()
            new = ScriptedHost(w.network, entry("a", "2"))
            w.place(entry("a", "2"))
            await settle()
            [again] = new.operations
            assert (again.id, again.repeated) == (id, True)
            assert w.hosts["a"].links == []

    @jumping
    async def test_a_table_moves_only_what_was_not_sent(self) -> None:
        async with world("a", "b") as w:
            name = w.name_on("b")
            sent = w.submit(operation(name=name))
            await settle()
            w.place("a", "b", "c")
            await settle()
            assert (w.hosts["b"].ids, len(w.hosts["b"].links)) == (sent, 1)

    @jumping
    async def test_an_answer_of_a_link_that_was_given_up_is_not_heard(self) -> None:
        async with world("a", "b") as w:
            name = w.name_on("a")
            [id] = w.submit(operation(name=name))
            await settle()
            w.hosts["a"].answer(w.hosts["a"].operations[0], Status.OK, b"late")
            w.place("b")
            await settle()
            assert w.answers == {}
            w.hosts["b"].answer(w.hosts["b"].operations[0], Status.OK, b"first result")
            await settle()
            assert w.answers == {id: (Status.OK, b"first result")}

    @jumping
    async def test_an_endless_stream_of_broken_links_ends_at_the_deadline(self) -> None:
        async with world("a") as w:
            [id] = w.submit(operation())
            for _ in range(int(DEADLINE_S / 0.1) + 2):
                w.hosts["a"].cut()
                await asyncio.sleep(0.1)
            assert w.answers == {id: UNAVAILABLE}


class TestDeadlines:
    @jumping
    async def test_a_call_that_nobody_answers_is_answered_in_time(self) -> None:
        async with world("a") as w:
            loop = asyncio.get_running_loop()
            [id] = w.submit(operation())
            w.ask("q", "value", "votes")
            started = loop.time()
            await asyncio.sleep(DEADLINE_S - TICK_S)
            [later] = w.submit(operation())
            assert w.answers == {}
            while id not in w.answers:
                w.hosts["a"].say(Heartbeat(1))
                await asyncio.sleep(TICK_S / 5)
            assert loop.time() - started < DEADLINE_S + 2 * TICK_S
            assert w.answers == {id: UNAVAILABLE, "q": UNAVAILABLE}
            for one in w.hosts["a"].operations:
                w.hosts["a"].answer(one)
            await settle()
            assert w.answers[id] == UNAVAILABLE
            assert w.answers[later][0] == Status.OK

    @jumping
    async def test_closing_answers_everybody(self) -> None:
        async with world("a") as w:
            [id] = w.submit(operation())
            w.ask("q", "value", "votes")
            await settle()
            await w.router.close()
            assert w.answers == {id: UNAVAILABLE, "q": UNAVAILABLE}
            await settle()
            assert w.hosts["a"].links == []


class TestFlowControl:
    @jumping
    async def test_a_host_that_stops_reading_holds_back_what_comes_after(self) -> None:
        async with world("a") as w:
            host = w.hosts["a"]
            host.links[0].transport.pause_reading()
            ids = w.submit(operation(actor="x" * 2**21))
            await settle()
            ids += w.submit(operation(), operation())
            await settle()
            assert host.heard == []
            host.links[0].transport.resume_reading()
            await settle()
            assert host.ids == ids
            assert [len(frame.operations) for frame in host.operates] == [1, 2]

    @jumping
    async def test_what_was_held_back_was_never_sent(self) -> None:
        async with world("a", "b") as w:
            name = w.name_on("a")
            w.hosts["a"].links[0].transport.pause_reading()
            ids = w.submit(operation(name=name, actor="x" * 2**21))
            await settle()
            ids += w.submit(operation(name=name))
            await settle()
            w.place("b")
            await settle()
            assert [(one.id, one.repeated) for one in w.hosts["b"].operations] == [(ids[0], True), (ids[1], False)]

    @jumping
    async def test_a_slow_host_does_not_hold_back_the_others(self) -> None:
        async with world("a", "b") as w:
            w.hosts["a"].links[0].transport.pause_reading()
            w.submit(operation(name=w.name_on("a"), actor="x" * 2**21))
            await settle()
            ids = w.submit(operation(name=w.name_on("b")))
            await settle()
            assert w.hosts["b"].ids == ids


class TestPressure:
    """Who would only wait is turned away; who waits for another host is not."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pressure_module, "MOST", 3)

    @staticmethod
    async def known(w: World, host: str) -> str:
        """A counter that is awake, and nothing under way; the table is not new any more."""
        await asyncio.sleep(router_module.MOVING_S + 0.1)
        name = w.name_on(host)
        w.submit(operation(name=name))
        await settle()
        w.hosts[host].answer(w.hosts[host].operations[-1])
        await settle()
        return name

    @jumping
    async def test_beyond_the_limit_of_its_host_a_counter_is_not_admitted(self) -> None:
        async with world("a", "b") as w:
            name, other = await self.known(w, "a"), await self.known(w, "b")
            assert not w.router.pressed
            w.submit(operation(name=name), operation(name=name))
            await settle()
            assert not w.router.pressed
            w.submit(operation(name=name))  # In the same turn, too.
            assert w.router.pressed
            assert (w.router.admits(name), w.router.admits(other)) == (False, True)
            await settle()
            assert not w.router.admits(name)
            w.hosts["a"].answer(w.hosts["a"].operations[-1])
            await settle()
            assert not w.router.pressed

    @jumping
    async def test_who_has_to_be_woken_is_admitted(self) -> None:
        async with world("a") as w:
            name = await self.known(w, "a")
            w.submit(*(operation(name=name) for _ in range(3)))
            await settle()
            assert w.router.pressed
            assert (w.router.admits(name), w.router.admits("asleep")) == (False, True)
            assert not w.router.admits("asleep", wakes=False)  # A question wakes nobody.

    @jumping
    async def test_a_host_that_answers_nothing_is_waited_for(self) -> None:
        async with world("a") as w:
            name = await self.known(w, "a")
            w.submit(*(operation(name=name) for _ in range(3)))
            await asyncio.sleep(pressure_module.STALLED_S + router_module.IDLE_TICK_S)
            assert (w.router.pressed, w.router.admits(name)) == (False, True)

    @jumping
    async def test_without_a_link_or_a_host_calls_wait(self) -> None:
        async with world("a") as w:
            name = await self.known(w, "a")
            w.submit(*(operation(name=name) for _ in range(3)))
            await settle()
            assert w.router.pressed
            w.hosts["a"].die()
            w.hosts["a"].cut()
            await settle()
            assert (w.router.pressed, w.router.admits(name)) == (False, True)
            w.submit(*(operation(name=name) for _ in range(9)))
            w.place()
            assert (w.router.pressed, w.router.admits(name)) == (False, True)

    @jumping
    async def test_right_after_a_move_nobody_is_turned_away(self) -> None:
        async with world("a") as w:
            name = await self.known(w, "a")
            w.submit(*(operation(name=name) for _ in range(9)))
            await settle()
            assert not w.router.admits(name)
            w.place("a", "b")
            await asyncio.sleep(0.01)
            w.submit(operation(name=name))
            assert w.router.admits(name)

    @jumping
    async def test_what_is_asked_counts_as_well(self) -> None:
        async with world("a") as w:
            name = await self.known(w, "a")
            for number in range(3):
                w.ask(str(number), "value", name)
            await settle()
            w.submit(operation(name=name))
            assert not w.router.admits(name)

    @jumping
    async def test_one_counter_cannot_take_the_place_of_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(router_module, "CROWD_MAX", 5)
        async with world() as w:
            w.submit(*(operation(name="hot") for _ in range(6)), *(operation(name="warm") for _ in range(5)))
            await asyncio.sleep(2 * TICK_S)
            assert w.router.pressed
            assert (w.router.admits("hot"), w.router.admits("warm")) == (False, True)
            await asyncio.sleep(DEADLINE_S + 1)
            assert (w.router.pressed, w.router.admits("hot")) == (False, True)


class TestQuestions:
    @jumping
    async def test_about_one_counter_its_owner_is_asked(self) -> None:
        async with world("a", "b") as w:
            for id in ("a", "b"):
                w.ask(id, "value", w.name_on(id))
            await settle()
            for id in ("a", "b"):
                [query] = w.hosts[id].queries
                w.hosts[id].answer(query, Status.OK, id.encode())
            await settle()
            assert w.answers == {"a": (Status.OK, b"a"), "b": (Status.OK, b"b")}

    @jumping
    async def test_about_many_counters_any_host_is_asked(self) -> None:
        async with world("a", "b") as w:
            w.ask("q", "values", w.name_on("a"), w.name_on("b"))
            w.ask("p", "values")
            await settle()
            assert len(w.hosts["a"].queries) + len(w.hosts["b"].queries) == 2

    @jumping
    async def test_nobody_needs_to_own_a_counter_to_be_asked_about_it(self) -> None:
        async with world("a") as w:
            w.directory.take(Table(2, (entry("a", dedicated="other"),), dedicate_all=True))
            w.hosts["a"] = ScriptedHost(w.network, entry("a", dedicated="other"))
            w.ask("q", "value", "votes")
            await asyncio.sleep(0.1)
            assert [query.names for query in w.hosts["a"].queries] == [["votes"]]
            assert w.directory.dedicated == []

    @jumping
    async def test_a_question_on_a_lost_link_is_asked_again(self) -> None:
        async with world("a") as w:
            w.ask("q", "value", "votes")
            await settle()
            w.hosts["a"].cut()
            await asyncio.sleep(0.1)
            first, again = w.hosts["a"].queries
            assert first == again
            w.hosts["a"].answer(again)
            await settle()
            assert w.answers == {"q": (Status.OK, b"done")}

    @jumping
    async def test_a_host_that_cannot_answer_is_asked_again(self) -> None:
        async with world("a") as w:
            w.ask("q", "value", "votes")
            await settle()
            w.hosts["a"].answer(w.hosts["a"].queries[0], Status.UNAVAILABLE, b"")
            await asyncio.sleep(TICK_S * 2)
            assert len(w.hosts["a"].queries) == 2


class TestWatching:
    @staticmethod
    def watched(host: ScriptedHost) -> list[tuple[str, int, int]]:
        return [position for message in host.heard if isinstance(message, Watch) for position in message.positions]

    @staticmethod
    def unwatched(host: ScriptedHost) -> list[str]:
        return [name for message in host.heard if isinstance(message, Unwatch) for name in message.names]

    @jumping
    async def test_the_owner_is_told_what_was_seen_last(self) -> None:
        async with world("a") as w:
            w.listener.positions["votes"] = (4, 9)
            w.router.watch("votes")
            w.router.watch("new")
            await settle()
            assert self.watched(w.hosts["a"]) == [("votes", 4, 9), ("new", -1, 0)]

    @jumping
    async def test_events_and_positions_go_to_the_listener_in_their_order(self) -> None:
        async with world("a") as w:
            w.router.watch("votes")
            await settle()
            position = Position("votes", 1, 1, b"{}")
            burst = Burst("votes", 1, 2, ["increment"], [b"{}"])
            w.hosts["a"].say(position)
            w.hosts["a"].say(Events([burst]))
            await settle()
            assert (w.listener.placed, w.listener.bursts) == ([position], [burst])

    @jumping
    async def test_a_new_link_is_told_again_from_where_the_listener_stands_by_then(self) -> None:
        async with world("a") as w:
            w.router.watch("votes")
            await settle()
            w.listener.positions["votes"] = (4, 12)
            w.hosts["a"].heard.clear()
            w.hosts["a"].cut()
            await asyncio.sleep(0.1)
            assert self.watched(w.hosts["a"]) == [("votes", 4, 12)]

    @jumping
    async def test_a_counter_that_moves_is_watched_at_its_new_place_and_at_the_old_one_until_that_lets_go(self) -> None:
        async with world("a", "b") as w:
            w.place("a")
            await settle()
            w.listener.positions["votes"] = (4, 12)
            w.router.watch("votes")
            await settle()
            dedicated = entry("counter:votes", dedicated="votes")
            new = ScriptedHost(w.network, dedicated)
            w.place("a", dedicated)
            await settle()
            assert self.watched(new) == [("votes", 4, 12)]
            assert self.unwatched(w.hosts["a"]) == []

    @jumping
    async def test_only_what_has_moved_is_asked_about_then_and_again_when_nobody_works_by_the_old_table(self) -> None:
        async with world("a") as w:
            await asyncio.sleep(UNSETTLED_S)
            for name in ("votes", "likes"):
                w.router.watch(name)
            await settle()
            w.hosts["a"].heard.clear()
            own = entry("counter:votes", dedicated="votes")
            new = ScriptedHost(w.network, own)
            w.place("a", own)
            moved_at = asyncio.get_running_loop().time()
            heard = []
            for after in (0.0, *ASK_AGAIN_S):
                await asyncio.sleep(moved_at + after + 0.1 - asyncio.get_running_loop().time())
                heard.append(list(new.heard))
            assert heard == [[Watch([("votes", -1, 0)], claim=True)] * asked for asked in (1, 2, 3)]
            await asyncio.sleep(UNSETTLED_S)
            assert (len(new.heard), w.hosts["a"].heard) == (3, [])
            w.router.rewatch("votes")
            await settle()
            assert new.heard[-1] == Watch([("votes", -1, 0)], claim=False)

    @jumping
    async def test_who_begins_to_watch_after_a_move_is_asked_about_just_the_same(self) -> None:
        async with world("a") as w:
            await asyncio.sleep(UNSETTLED_S)
            own = entry("counter:votes", dedicated="votes")
            new = ScriptedHost(w.network, own)
            w.place("a", own)
            await asyncio.sleep(0.5)
            for name in ("votes", "likes"):
                w.router.watch(name)
            await settle()
            assert new.heard == [Watch([("votes", -1, 0)], claim=True)]
            assert w.hosts["a"].heard == [Watch([("likes", -1, 0)], claim=False)]
            await asyncio.sleep(max(ASK_AGAIN_S))
            assert len(new.heard) == 1 + len(ASK_AGAIN_S)

    @jumping
    async def test_a_counter_that_comes_back_is_asked_about_there(self) -> None:
        async with world("a") as w:
            await asyncio.sleep(UNSETTLED_S)
            w.router.watch("votes")
            own = entry("counter:votes", dedicated="votes")
            ScriptedHost(w.network, own)
            w.place("a", own)
            await settle()
            w.hosts["a"].heard.clear()
            w.place("a")
            await settle()
            assert w.hosts["a"].heard == [Watch([("votes", -1, 0)], claim=True)]

    @jumping
    async def test_a_missed_table_leaves_everything_in_doubt(self) -> None:
        async with world("a") as w:
            await asyncio.sleep(UNSETTLED_S)
            w.router.watch("votes")
            await settle()
            version = w.directory.placement.version
            w.directory.take(Table(version + 2, entries("a"), previous=version + 1))
            await settle()
            assert w.hosts["a"].heard[1:] == [Watch([("votes", -1, 0)], claim=True)]

    @jumping
    async def test_many_tables_in_a_row_share_a_question(self) -> None:
        async with world("a") as w:
            w.router.watch("votes")
            own = entry("counter:votes", dedicated="votes")
            new = ScriptedHost(w.network, own)
            for _ in range(50):
                w.place("a", own)
                await asyncio.sleep(0.01)
                w.place("a")
                await asyncio.sleep(0.01)
            w.place("a", own)
            await asyncio.sleep(0.01)
            new.heard.clear()
            await asyncio.sleep(2 * max(ASK_AGAIN_S))
            assert 2 <= len(new.heard) <= 4

    @jumping
    async def test_where_all_are_dedicated_a_sleeping_counter_is_watched_at_a_shared_host_until_it_has_its_own(
        self,
    ) -> None:
        async with world("a") as w:

            def place(*ids: str | HostEntry) -> None:
                version = w.directory.placement.version
                w.directory.take(Table(version + 1, entries(*ids), True, version))

            place("a")
            w.router.watch("votes")
            w.ask("q", "value", "votes")
            await settle()
            assert self.watched(w.hosts["a"]) == [("votes", -1, 0)]
            assert (len(w.hosts["a"].queries), w.directory.dedicated) == (1, [])
            w.submit(operation())
            assert w.directory.dedicated == ["votes"]
            own = entry("counter:votes", dedicated="votes")
            new = ScriptedHost(w.network, own)
            place("a", own)
            await settle()
            assert (self.watched(new), len(new.operations)) == ([("votes", -1, 0)], 1)
            place("a")
            await settle()
            assert self.watched(w.hosts["a"]) == [("votes", -1, 0)] * 2
            assert w.hosts["a"].operations == []

    @jumping
    async def test_a_counter_without_an_owner_is_watched_when_it_gets_one(self) -> None:
        async with world() as w:
            w.router.watch("votes")
            w.router.watch("gone")
            w.router.unwatch("gone")
            w.hosts["a"] = ScriptedHost(w.network, entry("a"))
            w.place("a")
            await settle()
            assert self.watched(w.hosts["a"]) == [("votes", -1, 0)]
            assert w.directory.dedicated == []  # Who only listens wakes nobody.

    @jumping
    async def test_after_a_gap_the_owner_is_asked_again(self) -> None:
        async with world("a") as w:
            w.router.watch("votes")
            await settle()
            w.listener.positions["votes"] = (4, 12)
            w.router.rewatch("votes")
            w.router.rewatch("nobody")
            await settle()
            assert self.watched(w.hosts["a"])[1:] == [("votes", 4, 12)]

    @jumping
    async def test_who_leaves_is_left_alone(self) -> None:
        async with world("a") as w:
            w.router.watch("votes")
            await settle()
            w.router.unwatch("votes")
            w.router.unwatch("votes")
            await settle()
            assert self.unwatched(w.hosts["a"]) == ["votes"]
            w.hosts["a"].heard.clear()
            w.hosts["a"].cut()
            await asyncio.sleep(0.1)
            assert w.hosts["a"].heard == []


class TestQuestionsToAll:
    @jumping
    async def test_every_host_answers(self) -> None:
        async with world("a", "b") as w:
            heard: list[list[tuple[int, bytes]]] = []
            w.router.ask_all(Query(0, "awake", []), heard.append)
            await settle()
            for id in ("a", "b"):
                [query] = w.hosts[id].queries
                assert (query.kind, heard) == ("awake", [])
                w.hosts[id].answer(query, Status.OK, id.encode())
                await settle()
            assert heard == [[(Status.OK, b"a"), (Status.OK, b"b")]]

    @jumping
    async def test_who_is_lost_on_the_way_is_not_replaced_by_another(self) -> None:
        async with world("a", "b") as w:
            heard: list[list[tuple[int, bytes]]] = []
            w.router.ask_all(Query(0, "awake", []), heard.append)
            await settle()
            w.hosts["b"].cut()
            w.hosts["a"].answer(w.hosts["a"].queries[0])
            await asyncio.sleep(TICK_S * 2)
            assert sorted(heard[0]) == [(Status.OK, b"done"), UNAVAILABLE]
            assert len(w.hosts["a"].queries) == 1

    @jumping
    async def test_who_never_answers_is_given_up_in_time(self) -> None:
        async with world("a") as w:
            heard: list[list[tuple[int, bytes]]] = []
            w.router.ask_all(Query(0, "awake", []), heard.append)
            await asyncio.sleep(DEADLINE_S + 1)
            assert heard == [[UNAVAILABLE]]

    @jumping
    async def test_without_hosts_there_is_nothing_to_hear(self) -> None:
        async with world() as w:
            heard: list[list[tuple[int, bytes]]] = []
            w.router.ask_all(Query(0, "awake", []), heard.append)
            await settle()
            assert heard == [[]]


class TestAttendance:
    @jumping
    async def test_a_host_that_asks_who_is_connected_is_told_over_its_own_link(self) -> None:
        async with world("a", "b") as w:
            w.hosts["b"].say(Attend(7, ["votes", "seats"], True))
            w.hosts["b"].say(Attend(8, ["votes"], False))
            await settle()
            whole = [("votes", 2, [b'"x"', b'"y"']), ("seats", 2, [b'"x"', b'"y"'])]
            told = [message for message in w.hosts["b"].heard if isinstance(message, Attending)]
            assert told == [Attending(7, whole), Attending(8, [("votes", 2, [])])]
            assert w.hosts["a"].heard == []


class TestLinks:
    @jumping
    async def test_ready_means_a_link_to_every_host(self) -> None:
        async with world("a") as w:
            assert w.router.ready
            w.place("a", "b")
            await asyncio.sleep(0.1)
            assert not w.router.ready
            ScriptedHost(w.network, entry("b"))
            await asyncio.sleep(0.1)
            assert w.router.ready
            w.place()
            assert not w.router.ready

    @jumping
    async def test_a_silent_host_is_reported_and_kept_until_the_table_says_otherwise(self) -> None:
        async with world("a") as w:
            for _ in range(8):
                await asyncio.sleep(SILENCE_S / 4)
                w.hosts["a"].say(Heartbeat(1))
            assert w.directory.reported == []
            await asyncio.sleep(SILENCE_S + 3 * TICK_S)
            assert w.directory.reported == [entry("a")]
            assert len(w.hosts["a"].links) == 1

    @jumping
    async def test_a_host_that_leaves_the_table_loses_its_link(self) -> None:
        async with world("a", "b") as w:
            w.place("b")
            await settle()
            assert (len(w.hosts["a"].links), len(w.hosts["b"].links)) == (0, 1)
            assert w.directory.reported == []

    @jumping
    async def test_a_table_that_comes_while_connecting_leaves_no_second_link(self) -> None:
        async with world() as w:
            w.hosts["a"] = ScriptedHost(w.network, entry("a"))
            for _ in range(3):
                w.place("a")
                w.place()
            w.place("a")
            await settle()
            assert len(w.hosts["a"].links) == 1

    @jumping
    async def test_garbage_from_a_host_is_a_broken_link(self) -> None:
        async with world("a") as w:
            [id] = w.submit(operation())
            await settle()
            w.hosts["a"].links[0].transport.write(b"\x00\x00\x00\x01\xc1")
            await asyncio.sleep(0.1)
            assert w.hosts["a"].ids == [id, id]
