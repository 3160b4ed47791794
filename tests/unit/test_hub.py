"""Who listens to which counter: order, gaps, newcomers, those who come back, slow readers."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Burst, Position, Query, Status
from gateway import hub as hub_module
from gateway.hub import Hub
from gateway.protocol import SESSIONS_MAX
from gateway.session import Ids, Services, Session
from tests.support.clock import HandClock
from tests.support.loop import jumping, settle
from tests.support.owner import Owner
from tests.support.stream import Place, Stream

Deliver = Callable[[int, bytes], None]


class Requests:
    """The router as the hub sees it: everything is written down and nothing answered."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.asked: list[tuple[Query, Deliver]] = []

    def watch(self, name: str) -> None:
        self.log.append(("watch", name))

    def unwatch(self, name: str) -> None:
        self.log.append(("unwatch", name))

    def rewatch(self, name: str) -> None:
        self.log.append(("rewatch", name))

    def ask(self, query: Query, deliver: Deliver) -> None:
        self.asked.append((query, deliver))

    pressed = False

    def submit(self, operation: Any, deliver: Deliver) -> None:
        raise AssertionError("a hub changes nothing")


class Subscriber:
    """A session, and what its socket was written."""

    def __init__(self, room: Room, name: str | None, stream: Stream, **wishes: Any) -> None:
        self.stream = stream
        self.writes = 0
        self.deaf = False  # The next write fills its buffer.
        self.session = Session(room.services, name, self.write, **wishes)

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.stream.take(data)
        if self.deaf and not self.session.blocked:
            self.session.block()

    @property
    def heard(self) -> list[dict[str, Any]]:
        return self.stream.heard

    @property
    def values(self) -> list[int]:
        return [message["value"] for message in self.heard]


class Room:
    """A hub with everything around it in the hands of the test."""

    def __init__(self, owner: Owner | None = None, placed: bool = True) -> None:
        self.hub = Hub()
        self.router = Requests()
        self.hub.connect(self.router)
        self.owner = owner or Owner()
        self.services = Services(self.router, self.hub, HandClock(), Ids())
        self.holder: Subscriber | None = None
        if placed:  # Somebody listens already.
            self.holder = self.join()
            self.hub.place(self.owner.position())

    def join(
        self,
        snapshot: bool = False,
        since: int | None = None,
        life: int | None = None,
        seen: Place | None = None,
        **wishes: Any,
    ) -> Subscriber:
        complete = wishes.get("filters") is None
        subscriber = Subscriber(self, self.owner.name, Stream(self.owner.truth, seen, complete=complete), **wishes)
        subscriber.session.subscribe(self.owner.name, snapshot, since, life)
        return subscriber

    def happen(self, operations: int = 1, type: str = "increment") -> Burst:
        """Operations, and their events on their way to the hub."""
        bursts = [self.owner.commit(type) for _ in range(operations)]
        burst = self.owner.burst(bursts[0].seq, bursts[-1].seq)
        self.hub.publish(burst)
        return burst

    def place(self, position: Position) -> None:
        """The owner says where the counter stands; if it is asked again, it says what is true by then."""
        before = len(self.router.log)
        self.hub.place(position)
        if ("rewatch", self.owner.name) in self.router.log[before:]:
            self.hub.place(self.owner.position(self.hub.position(self.owner.name)[0]))

    def answer(self) -> None:
        """Answer everything that was asked."""
        asked, self.router.asked = self.router.asked, []
        for query, deliver in asked:
            deliver(Status.OK, self.owner.answer(query))

    @property
    def channels(self) -> dict[str, Any]:
        return self.hub._channels


def in_room(test: Callable[[Any, Room], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """A test with a hub and one listener."""

    @jumping
    async def play(self: Any) -> None:
        await test(self, Room())

    play.__doc__ = test.__doc__
    return lambda self: play(self)


class TestPassingOn:
    @in_room
    async def test_every_event_goes_to_everybody_in_order(self, room: Room) -> None:
        others = [room.join() for _ in range(3)]
        for operations in (1, 3, 2):
            room.happen(operations)
            await settle()
        assert all(other.values == [1, 2, 3, 4, 5, 6] for other in others)

    @in_room
    async def test_what_one_turn_brought_is_one_write(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(3)
        room.happen(2)
        assert subscriber.writes == 0
        await settle()
        assert (subscriber.writes, subscriber.values) == (1, [1, 2, 3, 4, 5])

    @in_room
    async def test_an_event_that_was_seen_is_not_seen_again(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(4)
        for first, last in ((1, 1), (1, 4), (3, 4)):
            room.hub.publish(room.owner.burst(first, last))
        room.owner.commit()
        room.hub.publish(room.owner.burst(3, 5))
        await settle()
        assert subscriber.values == [1, 2, 3, 4, 5]

    @in_room
    async def test_events_of_a_counter_that_nobody_listens_to_go_nowhere(self, room: Room) -> None:
        other = Owner("other")
        room.hub.publish(other.commit())
        room.hub.place(other.position())
        assert room.hub.position("other") == (-1, 0)

    @in_room
    async def test_answers_and_events_of_one_turn_are_one_write(self, room: Room) -> None:
        subscriber = room.join()
        subscriber.session.push(b"\x81\x0f" + b'{"type":"pong"}')
        room.happen()
        await settle()
        assert (subscriber.writes, subscriber.values) == (1, [1])

    @in_room
    async def test_one_connection_for_many_counters_is_written_to_once_a_turn(self, room: Room) -> None:
        written: list[bytes] = []
        session = Session(room.services, None, written.append)
        owners = [Owner(f"c{number}") for number in range(5)]
        for owner in owners:
            session.subscribe(owner.name)
            room.hub.place(owner.position())
        for owner in owners:
            room.hub.publish(owner.commit())
        await settle()
        assert len(written) == 1
        assert written[0].count(b'"type":"increment"') == 5


class TestGaps:
    @in_room
    async def test_at_a_gap_nothing_passes_until_what_is_missing_has_come(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(2)
        room.owner.commit()  # Lost on the way.
        room.happen()
        room.happen()
        await settle()
        assert subscriber.values == [1, 2]
        assert room.router.log == [("watch", "votes"), ("rewatch", "votes")]  # Asked once.
        assert room.hub.position("votes") == (1, 2)
        room.hub.publish(room.owner.burst(3, 5))
        await settle()
        assert subscriber.values == [1, 2, 3, 4, 5]

    @in_room
    async def test_a_later_gap_is_asked_for_again(self, room: Room) -> None:
        for _ in range(3):
            room.owner.commit()
            room.happen()
            room.hub.publish(room.owner.burst(room.hub.position("votes")[1] + 1, room.owner.seq))
        await settle()
        assert room.router.log[1:] == [("rewatch", "votes")] * 3

    @in_room
    async def test_when_too_much_is_missing_the_newest_state_stands_for_it(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(2)
        for _ in range(9):
            room.owner.commit()
        room.happen()
        room.hub.place(room.owner.position())
        room.happen()
        await settle()
        assert [(message["type"], message["value"]) for message in subscriber.heard] == [
            ("increment", 1),
            ("increment", 2),
            ("snapshot", 12),
            ("increment", 13),
        ]

    @in_room
    async def test_an_old_position_changes_nothing(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(2)
        old = room.owner.position()
        room.happen(2)
        room.hub.place(old)
        room.hub.place(room.owner.position())
        await settle()
        assert subscriber.values == [1, 2, 3, 4]

    @in_room
    async def test_where_nothing_was_missed_nothing_is_said(self, room: Room) -> None:
        subscriber = room.join()
        room.hub.place(room.owner.position())  # A new link's first word, of a counter that is not there.
        await settle()
        room.happen()
        await settle()
        room.hub.place(room.owner.position())
        await settle()
        assert [message["type"] for message in subscriber.heard] == ["increment"]

    @in_room
    async def test_the_first_event_of_a_counter_can_be_missed_like_any_other(self, room: Room) -> None:
        subscriber = room.join()
        room.owner.commit()  # Nobody knew of the counter, and its first event is lost.
        room.happen()
        await settle()
        assert subscriber.values == []
        assert room.router.log[-1] == ("rewatch", "votes")
        room.hub.place(room.owner.position())
        await settle()
        assert subscriber.values == [2]

    @in_room
    async def test_the_first_event_is_made_up_for_without_another_one(self, room: Room) -> None:
        """A link was lost when the counter was first written; the new link's first word is where it stands now."""
        subscriber = room.join()
        room.owner.commit()
        room.hub.place(room.owner.position())
        await settle()
        assert subscriber.values == [1]


class TestLives:
    @in_room
    async def test_a_deletion_and_a_new_beginning(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(3)
        room.hub.publish(room.owner.delete())
        room.happen(2)
        await settle()
        assert subscriber.values == [1, 2, 3, 0, 1, 2]
        assert room.hub.position("votes") == (2, 2)

    @in_room
    async def test_a_new_life_begins_with_its_first_event(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(3)
        room.owner.delete()
        room.owner.commit()
        room.happen()  # The second of a new life; everything in between was lost.
        await settle()
        assert subscriber.values == [1, 2, 3]
        assert room.router.log[-1] == ("rewatch", "votes")
        room.hub.place(room.owner.position())
        room.happen()
        await settle()
        assert subscriber.values == [1, 2, 3, 2, 3]

    @in_room
    async def test_a_deletion_that_was_missed(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(3)
        room.owner.delete()
        room.place(room.owner.position())
        await settle()
        assert subscriber.values == [1, 2, 3, 0]
        room.happen()
        await settle()
        assert subscriber.values == [1, 2, 3, 0, 1]
        subscriber.stream.end()

    @in_room
    async def test_a_late_word_that_the_counter_is_not_there_is_not_believed(self, room: Room) -> None:
        """The new owner looked before the old one wrote the first event, and its word came after that event."""
        subscriber = room.join()
        before = room.owner.position()
        room.happen()
        room.place(before)
        await settle()
        assert subscriber.values == [1]
        room.happen()
        await settle()
        assert subscriber.values == [1, 2]

    @in_room
    async def test_what_comes_late_from_an_earlier_life_is_not_heard(self, room: Room) -> None:
        subscriber = room.join()
        late = room.happen(3)
        room.hub.publish(room.owner.delete())
        room.happen()
        room.hub.publish(late)
        await settle()
        assert subscriber.values == [1, 2, 3, 0, 1]

    @in_room
    async def test_a_slow_reader_learns_of_a_new_life(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(9)
        await settle()
        subscriber.session.block()
        room.hub.publish(room.owner.delete())
        room.happen(2)
        await settle()
        subscriber.session.unblock()
        await settle()
        assert subscriber.heard[-1]["value"] == 2
        assert place(subscriber) == (2, 2)

    @in_room
    async def test_a_subscriber_with_a_rate_learns_of_a_new_life(self, room: Room) -> None:
        subscriber = room.join(rate=2)
        room.happen(9)
        await asyncio.sleep(1)
        room.hub.publish(room.owner.delete())
        room.happen(2)
        await asyncio.sleep(5)
        assert place(subscriber) == (2, 2)


def place(subscriber: Subscriber) -> tuple[int, int]:
    metadata = subscriber.heard[-1]["metadata"]
    return metadata["id"], metadata["operationCount"]


class TestNewcomers:
    @in_room
    async def test_a_snapshot_needs_no_question(self, room: Room) -> None:
        room.happen(3)
        await settle()
        subscriber = room.join(snapshot=True)
        await settle()
        assert [(message["type"], message["value"]) for message in subscriber.heard] == [("snapshot", 3)]
        assert room.router.asked == []

    @in_room
    async def test_a_snapshot_of_a_counter_that_is_not_there(self, room: Room) -> None:
        subscriber = room.join(snapshot=True)
        await settle()
        [snapshot] = subscriber.heard
        assert (snapshot["value"], snapshot["metadata"]["operationCount"]) == (0, 0)
        assert snapshot["metadata"]["createdAt"] is None

    @in_room
    async def test_a_snapshot_in_the_turn_of_an_event_counts_it_once(self, room: Room) -> None:
        room.happen(2)
        subscriber = room.join(snapshot=True)
        room.happen()
        await settle()
        assert subscriber.values == [2, 3]

    @in_room
    async def test_plain_newcomers_hear_nothing_of_before(self, room: Room) -> None:
        room.happen(2)
        await settle()
        subscriber = room.join()
        room.happen()
        await settle()
        assert subscriber.values == [3]

    @jumping
    async def test_before_the_owner_has_said_where_it_stands_everybody_waits(self) -> None:
        room = Room(placed=False)
        subscribers = [room.join(snapshot=True) for _ in range(3)]
        await settle()
        assert all(subscriber.heard == [] for subscriber in subscribers)
        room.hub.place(room.owner.position())
        await settle()
        assert all(subscriber.values == [0] for subscriber in subscribers)
        assert room.router.log == [("watch", "votes")]


class TestThoseWhoComeBack:
    @pytest.mark.parametrize("since", range(6))
    def test_what_was_missed_is_sent_exactly_once(self, since: int) -> None:
        @jumping
        async def play() -> None:
            room = Room()
            room.happen(5)
            await settle()
            subscriber = room.join(since=since, seen=Place(1, since))
            room.answer()
            room.happen()
            await settle()
            assert subscriber.values == list(range(since + 1, 7))

        play()

    @in_room
    async def test_it_is_fetched_once_for_all(self, room: Room) -> None:
        room.happen(5)
        await settle()
        subscribers = [room.join(since=since, seen=Place(1, since)) for since in (1, 2, 3, 4) * 5]
        assert len(room.router.asked) == 1
        room.answer()
        await settle()
        assert all(subscriber.values[-1] == 5 for subscriber in subscribers)
        room.happen()
        later = room.join(since=2, seen=Place(1, 2))
        await settle()
        assert later.values == [3, 4, 5, 6]
        assert room.router.asked == []

    @in_room
    async def test_an_answer_that_runs_ahead_of_the_events(self, room: Room) -> None:
        room.happen(5)
        subscriber = room.join(since=3, seen=Place(1, 3))
        late = [room.owner.commit() for _ in range(3)]
        room.answer()
        await settle()
        assert subscriber.values == [4, 5, 6, 7, 8]
        for burst in late:
            room.hub.publish(burst)
            await settle()
        room.happen()
        await settle()
        assert subscriber.values == [4, 5, 6, 7, 8, 9]

    @in_room
    async def test_an_answer_that_lags_behind_the_events(self, room: Room) -> None:
        room.happen(5)
        subscriber = room.join(since=3, seen=Place(1, 3))
        [(query, deliver)] = room.router.asked
        old = room.owner.answer(query)
        room.happen(2)
        room.router.asked.clear()
        deliver(Status.OK, old)
        await settle()
        room.answer()
        room.happen()
        await settle()
        assert subscriber.values == [4, 5, 6, 7, 8]

    @in_room
    async def test_a_question_that_nobody_could_answer_is_asked_again(self, room: Room) -> None:
        room.happen(5)
        subscriber = room.join(since=3, seen=Place(1, 3))
        [(_, deliver)] = room.router.asked
        room.router.asked.clear()
        deliver(Status.UNAVAILABLE, b"")
        await settle()
        assert room.router.asked == []  # Not at once: whoever could not answer is busy.
        await asyncio.sleep(hub_module.ASK_AGAIN_S)
        room.answer()
        await settle()
        assert subscriber.values == [4, 5]

    @in_room
    async def test_who_was_away_too_long_gets_the_newest_state(self, room: Room) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(hub_module, "RECENT_MAX", 3)
            room.happen(9)
            await settle()
            long, short = room.join(since=1, seen=Place(1, 1)), room.join(since=7, seen=Place(1, 7))
            room.answer()
            room.happen()
            await settle()
        assert [message["type"] for message in long.heard] == ["snapshot", "increment"]
        assert [message["type"] for message in short.heard] == ["increment"] * 3

    @in_room
    async def test_who_was_away_until_the_counter_was_another_one(self, room: Room) -> None:
        room.happen(5)
        room.hub.publish(room.owner.delete())
        room.happen(1)
        await settle()
        subscriber = room.join(since=5)
        room.answer()
        await settle()
        assert [message["type"] for message in subscriber.heard] == ["snapshot"]

    @in_room
    async def test_the_events_of_another_life_are_no_answer(self, room: Room) -> None:
        """The owner is ahead of what we have heard: the counter was deleted and made anew."""
        room.happen(5)
        await settle()
        subscriber = room.join(since=3, life=1, seen=Place(1, 3))
        late = [room.owner.delete(), *(room.owner.commit() for _ in range(7))]
        room.answer()
        await settle()
        assert subscriber.heard == []
        for burst in late:
            room.hub.publish(burst)
        await asyncio.sleep(hub_module.ASK_AGAIN_S)
        room.happen()
        await settle()
        assert [(message["type"], message["value"]) for message in subscriber.heard] == [
            ("snapshot", 7),
            ("increment", 8),
        ]

    @in_room
    async def test_who_has_seen_more_than_we_have_does_not_go_back(self, room: Room) -> None:
        """It comes from another gateway that was quicker: the events are on their way to us."""
        room.happen(3)
        await settle()
        late = [room.owner.commit() for _ in range(2)]
        subscriber = room.join(since=5, seen=Place(1, 5))
        await settle()
        room.answer()
        for burst in late:
            room.hub.publish(burst)
        room.happen()
        await settle()
        assert subscriber.values[-1] == 6


class TestAttendance:
    @in_room
    async def test_everybody_counts_wherever_they_stand(self, room: Room) -> None:
        slow = room.join(attachment=b'"slow"')
        slow.session.block()
        room.join(rate=1.0, attachment=b'"lagging"')
        room.join(since=5, attachment=b'"waiting"')  # What it missed has to be fetched.
        room.happen()
        room.join(attachment=b'"entering"')
        [(name, count, rows)] = room.hub.sessions([room.owner.name], True)
        assert (name, count) == (room.owner.name, 5)
        attachments = {json.loads(row)["attachment"] for row in rows}
        assert attachments == {None, "slow", "lagging", "waiting", "entering"}
        assert len({json.loads(row)["id"] for row in rows}) == 5
        slow.session.end()
        assert room.hub.sessions([room.owner.name, "nobody"], False) == [(room.owner.name, 4, []), ("nobody", 0, [])]

    @in_room
    async def test_a_list_has_an_end_and_a_count_has_not(self, room: Room) -> None:
        for _ in range(SESSIONS_MAX + 5):
            room.join()
        [(_, count, rows)] = room.hub.sessions([room.owner.name], True)
        assert (count, len(rows)) == (SESSIONS_MAX + 6, SESSIONS_MAX)


class TestFilters:
    @in_room
    async def test_only_what_was_asked_for(self, room: Room) -> None:
        subscriber = room.join(filters=frozenset({"decrement", "reset"}))
        for type in ("increment", "decrement", "setValue", "reset", "decrement"):
            room.happen(1, type)
        await settle()
        assert [message["type"] for message in subscriber.heard] == ["decrement", "reset", "decrement"]
        assert subscriber.writes == 1

    @in_room
    async def test_a_turn_without_anything_wanted_is_no_write(self, room: Room) -> None:
        subscriber = room.join(filters=frozenset({"reset"}))
        room.happen(3)
        await settle()
        assert subscriber.writes == 0

    @in_room
    async def test_a_snapshot_is_for_everybody(self, room: Room) -> None:
        room.happen(2)
        await settle()
        subscriber = room.join(snapshot=True, filters=frozenset({"reset"}))
        room.happen()
        await settle()
        assert [(message["type"], message["value"]) for message in subscriber.heard] == [("snapshot", 2)]

    @in_room
    async def test_they_can_be_changed(self, room: Room) -> None:
        subscriber = room.join(filters=frozenset({"reset"}))
        room.happen()
        await settle()
        subscriber.session.receive(b'{"type":"filter","events":null}')
        room.happen()
        await settle()
        subscriber.session.receive(b'{"type":"filter","events":[]}')
        room.happen()
        await settle()
        assert subscriber.values == [2]

    @in_room
    async def test_what_was_missed_is_filtered_too(self, room: Room) -> None:
        for type in ("increment", "decrement", "increment", "reset"):
            room.happen(1, type)
        await settle()
        subscriber = room.join(since=1, filters=frozenset({"increment"}))
        room.answer()
        await settle()
        assert [(message["type"], place_seq(message)) for message in subscriber.heard] == [("increment", 3)]

    @in_room
    async def test_an_answer_stays_before_the_events_that_came_after_it(self, room: Room) -> None:
        """Whatever was pushed earlier in a turn is written earlier, filters or not."""
        order: list[str] = []
        filtered = Session(room.services, "votes", lambda data: order.extend(kinds(data)), frozenset({"increment"}))
        plain = Session(room.services, "votes", lambda data: order.extend(kinds(data)))
        for session in (filtered, plain):
            session.subscribe("votes")
            session.receive(b'{"type":"ping"}')
        room.happen()
        await settle()
        assert order == ["pong", "increment"] * 2


def kinds(data: bytes) -> list[str]:
    from tests.support.frames import messages

    return [json.loads(text)["type"] for text in messages(data)]


def place_seq(message: dict[str, Any]) -> int:
    seq = message["metadata"]["operationCount"]
    assert isinstance(seq, int)
    return seq


class TestSlowReaders:
    @in_room
    async def test_one_event_stands_for_all_that_were_missed(self, room: Room) -> None:
        subscriber = room.join()
        room.happen(2)
        await settle()
        subscriber.session.block()
        for type in ("increment", "setValue", "increment", "decrement"):
            room.happen(1, type)
            await settle()
        assert subscriber.values == [1, 2]
        subscriber.session.unblock()
        await settle()
        last = subscriber.heard[-1]
        assert (last["type"], last["value"], last["previousValue"], last["operations"]) == ("decrement", 1, 2, 4)
        room.happen()
        await settle()
        assert subscriber.values[-1] == 2

    @in_room
    async def test_one_that_wants_some_types_gets_the_newest_of_those(self, room: Room) -> None:
        resets, decrements = (room.join(filters=frozenset({type})) for type in ("reset", "decrement"))
        room.happen(5)
        await settle()
        room.happen(1)
        room.happen(1, "reset")  # Both in the turn in which they become slow.
        for subscriber in (resets, decrements):
            subscriber.session.block()
        for type in ("increment", "reset", "increment"):
            room.happen(1, type)
            await settle()
        for subscriber in (resets, decrements):
            subscriber.session.unblock()
        await settle()
        last = resets.heard[-1]
        assert (last["type"], last["value"], last["previousValue"], last["operations"]) == ("reset", 0, 5, 4)
        assert decrements.heard == []

    @in_room
    async def test_what_became_slow_in_the_turn_of_an_event_still_gets_it(self, room: Room) -> None:
        subscriber = room.join(filters=frozenset({"reset"}))
        room.happen(3)
        room.happen(1, "reset")
        room.happen(1)
        subscriber.session.block()
        await settle()
        subscriber.session.unblock()
        await settle()
        assert [event["type"] for event in subscriber.heard] == ["reset"]

    @in_room
    async def test_one_missed_event_is_that_event(self, room: Room) -> None:
        subscriber = room.join()
        subscriber.session.block()
        room.happen()
        await settle()
        subscriber.session.unblock()
        assert "operations" not in subscriber.heard[-1]

    @in_room
    async def test_nothing_missed_is_nothing_sent(self, room: Room) -> None:
        subscriber = room.join()
        subscriber.session.block()
        subscriber.session.unblock()
        await settle()
        assert subscriber.heard == []

    @in_room
    async def test_a_slow_reader_does_not_slow_the_others(self, room: Room) -> None:
        slow, quick = room.join(), room.join()
        slow.deaf = True
        for _ in range(5):
            room.happen()
            await settle()
        assert (slow.values, quick.values) == ([1], [1, 2, 3, 4, 5])

    @in_room
    async def test_a_socket_that_is_full_in_the_middle_of_a_turn_misses_nothing(self, room: Room) -> None:
        """Its buffer fills with something else while an event waits for the end of the turn."""
        subscriber = room.join()
        room.happen()
        subscriber.session.block()
        await settle()
        subscriber.session.unblock()
        await settle()
        assert subscriber.values == [1]

    @in_room
    async def test_a_socket_that_drains_in_the_middle_of_a_turn_hears_nothing_twice(self, room: Room) -> None:
        subscriber = room.join()
        subscriber.session.block()
        room.happen(2)
        subscriber.session.unblock()
        room.happen()
        await settle()
        assert subscriber.values[-1] == 3
        subscriber.stream.end()

    @in_room
    async def test_who_joins_with_a_full_socket_is_slow_from_the_beginning(self, room: Room) -> None:
        room.happen(3)
        await settle()
        subscriber = Subscriber(room, "votes", Stream(room.owner.truth))
        subscriber.session.block()
        subscriber.session.subscribe("votes", True)
        await settle()
        for _ in range(4):
            room.happen()
            await settle()
        assert subscriber.values == [3]
        subscriber.session.unblock()
        await settle()
        assert subscriber.values == [3, 7]

    @in_room
    async def test_after_a_jump_the_newest_state_stands_for_all(self, room: Room) -> None:
        subscriber = room.join()
        room.happen()
        await settle()
        subscriber.session.block()
        for _ in range(9):
            room.owner.commit()
        room.hub.place(room.owner.position())
        await settle()
        subscriber.session.unblock()
        await settle()
        assert (subscriber.heard[-1]["value"], place_seq(subscriber.heard[-1])) == (10, 10)

    @in_room
    async def test_slow_readers_cost_no_more_the_longer_they_are_slow(self, room: Room) -> None:
        subscribers = [room.join(rate=10), room.join(rate=7), room.join(rate=3)]
        for _ in range(500):
            room.happen()
            await asyncio.sleep(0.1)
        channel = room.channels["votes"]
        assert len(channel.marks) <= len(subscribers)


class TestRates:
    @in_room
    async def test_no_more_than_was_asked_for_and_the_last_one_always(self, room: Room) -> None:
        subscriber = room.join(rate=2)
        for _ in range(100):
            room.happen()
            await asyncio.sleep(0.1)
        assert 15 <= len(subscriber.heard) <= 21
        await asyncio.sleep(1)
        assert subscriber.values[-1] == 100
        heard = len(subscriber.heard)
        await asyncio.sleep(5)
        assert len(subscriber.heard) == heard

    @in_room
    async def test_an_event_after_silence_comes_within_the_period(self, room: Room) -> None:
        subscriber = room.join(rate=2)
        await asyncio.sleep(60)
        room.happen()
        await asyncio.sleep(0.5)
        assert subscriber.values == [1]

    @in_room
    async def test_a_snapshot_comes_first_and_at_once(self, room: Room) -> None:
        room.happen(3)
        await settle()
        subscriber = room.join(snapshot=True, rate=1)
        await settle()
        assert subscriber.values == [3]
        room.happen(2)
        await asyncio.sleep(1)
        assert subscriber.values == [3, 5]

    @in_room
    async def test_a_socket_that_was_full_keeps_its_rate(self, room: Room) -> None:
        subscriber = room.join(rate=1)
        for _ in range(10):
            subscriber.session.block()
            await asyncio.sleep(0.01)
            subscriber.session.unblock()
            await asyncio.sleep(0.01)
        before = len(subscriber.heard)
        for _ in range(100):
            room.happen()
            await asyncio.sleep(0.1)
        assert len(subscriber.heard) - before <= 11


class TestLeaving:
    @in_room
    async def test_the_last_one_turns_off_the_light(self, room: Room) -> None:
        other = room.join()
        assert room.holder is not None
        room.holder.session.end()
        assert room.router.log == [("watch", "votes")]
        other.session.end()
        assert room.router.log == [("watch", "votes"), ("unwatch", "votes")]
        assert room.channels == {}
        other.session.end()

    @pytest.mark.parametrize("state", ["member", "entering", "waiting", "ahead", "lagging", "rate"])
    def test_from_whatever_state(self, state: str) -> None:
        @jumping
        async def play() -> None:
            room = Room()
            assert room.holder is not None
            room.happen(3)
            if state != "entering":
                await settle()
            since = 1 if state in ("waiting", "ahead") else None
            subscriber = room.join(since=since, seen=Place(1, 1) if since else None, rate=state == "rate" and 1)
            if state == "ahead":
                room.owner.commit()
                room.answer()
            if state == "lagging":
                subscriber.session.block()
            subscriber.session.end()
            room.holder.session.end()
            assert room.channels == {}
            subscriber.session.unblock()
            room.answer()
            room.hub.publish(room.owner.commit())
            await asyncio.sleep(5)
            assert subscriber.values in ([], [2, 3, 4])
            assert (room.channels, room.router.log[-1]) == ({}, ("unwatch", "votes"))

        play()

    @in_room
    async def test_an_answer_to_somebody_of_an_earlier_channel_goes_nowhere(self, room: Room) -> None:
        assert room.holder is not None
        room.happen(3)
        await settle()
        first = room.join(since=1, seen=Place(1, 1))
        first.session.end()
        room.holder.session.end()
        second = room.join(since=2, seen=Place(1, 2))
        room.hub.place(room.owner.position())
        while room.router.asked:
            room.answer()
        await settle()
        assert (first.values, second.values) == ([], [3])

    @in_room
    async def test_who_subscribes_again_hears_everything_once(self, room: Room) -> None:
        subscriber = room.join()
        room.happen()
        await settle()
        subscriber.session.subscribe("votes")
        room.happen()
        await settle()
        assert subscriber.values == [1, 2]


class TestOpening:
    @jumping
    async def test_the_door_opens_when_the_owner_knows(self) -> None:
        room = Room(placed=False)
        opening = asyncio.ensure_future(room.hub.open("votes", 5))
        await settle()
        assert not opening.done()
        room.hub.place(room.owner.position())
        await settle()
        assert opening.done()
        await room.hub.open("votes", 5)  # Known by now.

    @jumping
    async def test_an_event_says_as_well_where_the_counter_stands(self) -> None:
        room = Room(placed=False)
        opening = asyncio.ensure_future(room.hub.open("votes", 5))
        await settle()
        room.happen()
        await opening

    @jumping
    async def test_patience_ends(self) -> None:
        room = Room(placed=False)
        await room.hub.open("votes", 5)
        subscriber = room.join(snapshot=True)
        room.hub.opened("votes")
        room.happen()
        room.hub.place(room.owner.position())
        await settle()
        assert subscriber.values == [1]

    @jumping
    async def test_who_was_let_in_while_the_owner_was_away_learns_what_happened_meanwhile(self) -> None:
        room = Room(placed=False)
        await room.hub.open("votes", 5)
        subscriber = room.join()
        room.hub.opened("votes")
        room.owner.commit()  # The owner is back and works, but does not know of us yet.
        room.hub.place(room.owner.position())
        await settle()
        assert subscriber.values == [1]

    @jumping
    async def test_a_handshake_that_fails_leaves_nothing_behind(self) -> None:
        room = Room(placed=False)
        await room.hub.open("votes", 1)
        room.hub.opened("votes")
        assert room.channels == {}

    @jumping
    async def test_a_handshake_that_is_called_off_leaves_nothing_behind(self) -> None:
        room = Room(placed=False)
        opening = asyncio.ensure_future(room.hub.open("votes", 5))
        await settle()
        opening.cancel()
        await settle()
        assert room.channels == {}

    @jumping
    async def test_two_at_the_door(self) -> None:
        room = Room(placed=False)
        openings = [asyncio.ensure_future(room.hub.open("votes", 5)) for _ in range(2)]
        await settle()
        room.hub.place(room.owner.position())
        await asyncio.gather(*openings)
        room.hub.opened("votes")
        subscriber = room.join()
        room.hub.opened("votes")
        room.happen()
        await settle()
        assert subscriber.values == [1]


class Play:
    """A hub and an owner with a link in between, and subscribers: any order of events that the link allows.

    The link keeps the order of what is on it. When it is cut, all of that is lost, and the router tells the owner
    again what is watched, and asks again what was not answered, as it does with a link that is lost.
    """

    def __init__(self) -> None:
        self.room = Room(Owner(missed_max=4), placed=False)
        self.owner = self.room.owner
        self.down: deque[tuple[Any, ...]] = deque()  # To the owner.
        self.up: deque[Callable[[], None]] = deque()  # From the owner.
        self.watching = False
        self.subscribers: list[Subscriber] = []
        self.room.hub.connect(self)  # It is the router, too.

    # What the hub may ask for

    def watch(self, name: str) -> None:
        self.down.append(("watch", *self.room.hub.position(name)))

    rewatch = watch

    def unwatch(self, name: str) -> None:
        self.down.append(("unwatch",))

    def ask(self, query: Query, deliver: Deliver) -> None:
        self.down.append(("ask", query, deliver))

    # What can happen

    def commit(self, which: int) -> None:
        burst = self.owner.commit(("increment", "decrement", "setValue", "reset")[which % 4])
        self.send(burst)

    def delete(self, _: int) -> None:
        if self.owner.id:
            self.send(self.owner.delete())

    def send(self, burst: Burst) -> None:
        if self.watching:
            self.up.append(lambda: self.room.hub.publish(burst))

    def hear(self, _: int) -> None:
        """The owner takes one request."""
        if not self.down:
            return
        kind, *rest = self.down.popleft()
        if kind == "unwatch":
            self.watching = False
        elif kind == "watch":
            self.watching = True
            missed = self.owner.missed(*rest)
            self.up.append(lambda: self.tell(missed))
        else:
            query, deliver = rest
            body = self.owner.answer(query)
            self.up.append(Answer(query, deliver, body))

    def tell(self, missed: Burst | Position) -> None:
        if isinstance(missed, Position):
            self.room.hub.place(missed)
        else:
            self.room.hub.publish(missed)

    def bring(self, _: int) -> None:
        """The hub gets one message."""
        if self.up:
            self.up.popleft()()

    def cut(self, _: int) -> None:
        asked = [request for request in self.down if request[0] == "ask"]
        asked = [("ask", one.query, one.deliver) for one in self.up if isinstance(one, Answer)] + asked
        self.down.clear()
        self.up.clear()
        self.watching = False
        if self.room.channels:
            self.watch("votes")
        self.down.extend(asked)

    def join(self, which: int) -> None:
        channel: Any = self.room.channels.get("votes")
        placed = channel is not None and channel.placed.is_set()
        wishes: dict[str, Any] = {}
        seen = None
        if which % 4 == 1:
            wishes["snapshot"] = True
        elif which % 4 == 2 and placed and channel.counter_id > 0 and channel.counter_id == self.owner.id:
            wishes["since"] = (which // 4) % (channel.seq + 1)
            seen = Place(channel.counter_id, wishes["since"])
        elif which % 4 == 3:
            wishes["filters"] = frozenset({"increment", "reset"})
        truth = self.owner.truth
        subscriber = Subscriber(
            self.room,
            "votes",
            Stream(truth, seen, len(truth.events) if placed else None, "filters" not in wishes),
            filters=wishes.pop("filters", None),
        )
        subscriber.session.subscribe("votes", **wishes)
        self.subscribers.append(subscriber)

    def leave(self, which: int) -> None:
        if self.subscribers:
            self.subscribers.pop(which % len(self.subscribers)).session.end()

    def block(self, which: int) -> None:
        if self.subscribers:
            self.subscribers[which % len(self.subscribers)].session.block()

    def unblock(self, which: int) -> None:
        if self.subscribers:
            self.subscribers[which % len(self.subscribers)].session.unblock()

    async def rest(self) -> None:
        """Everything that is on its way arrives."""
        for subscriber in self.subscribers:
            subscriber.session.unblock()
        await settle()
        while self.down or self.up:
            self.hear(0)
            self.bring(0)
            await settle()
        for subscriber in self.subscribers:
            subscriber.stream.end()


class Answer:
    """An answer on its way up."""

    def __init__(self, query: Query, deliver: Deliver, body: bytes) -> None:
        self.query = query
        self.deliver = deliver
        self.body = body

    def __call__(self) -> None:
        self.deliver(Status.OK, self.body)


ACTIONS = ["commit", "commit", "commit", "hear", "hear", "bring", "bring", "turn", "turn", "join", "join", "leave"]
RARE = ["cut", "delete", "block", "unblock"]


@given(st.lists(st.tuples(st.sampled_from(ACTIONS + RARE), st.integers(0, 40)), max_size=60))
def test_whatever_the_order_everybody_hears_everything_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    @jumping
    async def play() -> None:
        stage = Play()
        for action, which in steps:
            if action == "turn":
                await asyncio.sleep(0)
            else:
                getattr(stage, action)(which)
        await stage.rest()

    try:
        play()
    except BaseException as error:
        error.add_note(f"steps = {steps}")
        raise


def test_coalescing_keeps_the_shape_of_an_event() -> None:
    owner = Owner()
    events = [owner.commit("setValue", value).bodies[0] for value in (5, 9, 7)]
    event = msgspec.json.decode(hub_module.coalesce(events[2], events[0], 3))
    assert event == json.loads(events[2]) | {"previousValue": 0, "operations": 3}
    assert list(event)[:5] == ["type", "value", "previousValue", "metadata", "timestamp"]
    assert hub_module.coalesce(events[2], events[2], 1) == events[2]
