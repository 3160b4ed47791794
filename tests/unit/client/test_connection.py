"""What the client says, when it comes back, and what it hands on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from counters_client.core import connection as core
from counters_client.core.connection import Connection, Limits, State
from counters_client.core.retry import Backoff, closed, refused, unreachable
from counters_client.errors import ClientClosed, Invalid, LimitReached, OutboxFull, Refused, TimedOut
from counters_client.records import Position
from tests.unit.client.messages import event, snapshot, text

LIMITS = Limits(backoff=Backoff(1, 8), quiet_s=20, patience_s=10, answer_s=30, outbox=5, window=3)
BROKE = unreachable("it broke")
PING = {"type": "ping"}


class Talk:
    """A connection, and what it wants done."""

    def __init__(self, jitter: float = 1.0, limits: Limits = LIMITS, every: bool = True) -> None:
        self.core = Connection(lambda: jitter, limits, every)
        self.now = 0.0
        self.kept: list[core.Effect] = []

    def sends(self) -> list[dict[str, Any]]:
        return [json.loads(each.text) for each in self.effects(core.Send)]

    def effects(self, kind: type[Any]) -> list[Any]:
        """Take the effects of one kind; the others are kept."""
        self.kept += self.core.effects()
        found = [each for each in self.kept if isinstance(each, kind)]
        self.kept = [each for each in self.kept if not isinstance(each, kind)]
        return found

    def hears(self) -> list[tuple[str, int]]:
        return [(each.event.type, each.event.value) for each in self.effects(core.Heard)]

    def hear(self, **message: Any) -> None:
        self.core.received(text(message), self.now)

    def open(self) -> None:
        self.core.opened(self.now)

    def until_due(self) -> None:
        assert self.core.due is not None
        self.now = self.core.due
        self.core.tick(self.now)


def open_talk(*names: str, **more: Any) -> Talk:
    talk = Talk(**more)
    for name in names:
        talk.core.follow(name, talk.now)
    talk.open()
    talk.sends()
    talk.hear(type="pong")
    return talk


def increment(talk: Talk, name: str = "votes") -> str:
    return talk.core.submit({"type": "increment", "name": name, "amount": 1}, talk.now)


# The state


def test_it_connects_when_there_is_something_to_connect_for() -> None:
    talk = Talk()
    assert (talk.core.state, talk.core.effects(), talk.core.due) == (State.IDLE, [], None)
    increment(talk)
    assert len(talk.effects(core.Connect)) == 1
    talk.core.follow("votes", talk.now)
    assert talk.effects(core.Connect) == []
    assert talk.core.state is State.CONNECTING
    talk.open()
    assert [each.state for each in talk.effects(core.Became)] == [State.CONNECTING, State.OPEN]


def test_pauses_grow_until_something_is_heard() -> None:
    talk = Talk()
    talk.core.follow("votes", talk.now)
    pauses = []
    for _ in range(6):
        talk.core.ended(BROKE, talk.now)
        assert talk.core.state is State.WAITING
        pauses.append(talk.core.due - talk.now)
        talk.until_due()
        assert talk.core.state is State.CONNECTING
        talk.open()  # That alone is no success.
    assert pauses == [1, 2, 4, 8, 8, 8]
    talk.hear(type="pong")
    talk.core.ended(BROKE, talk.now)
    assert talk.core.due - talk.now == 1


def test_jitter_is_full() -> None:
    talk = open_talk("votes", jitter=0.25)
    talk.core.ended(BROKE, talk.now)
    assert talk.core.due == 0.25


@pytest.mark.parametrize(("jitter", "moment"), [(0.0, 2.0), (0.5, 3.5), (1.0, 5.0)])
def test_it_comes_back_within_the_window_that_it_is_given(jitter, moment) -> None:
    talk = open_talk("votes", jitter=jitter)
    talk.core.ended(closed(1012, '{"reconnect":[2,5]}'), talk.now)
    assert talk.core.due == moment


def test_it_comes_back_not_before_the_service_allows() -> None:
    talk = Talk(jitter=0.0)
    talk.core.follow("votes", talk.now)
    talk.core.ended(refused(503, {"retry-after": "7"}, b""), talk.now)
    assert talk.core.due == 7


def test_nobody_comes_back_for_nothing() -> None:
    talk = open_talk("votes")
    talk.core.unfollow("votes")
    assert talk.sends() == [{"type": "unsubscribe", "names": ["votes"]}]
    talk.core.ended(BROKE, talk.now)
    assert talk.core.state is State.IDLE
    talk.effects(core.Connect)
    increment(talk)
    assert talk.core.state is State.WAITING, "the pause is not skipped by asking again"
    assert talk.effects(core.Connect) == []
    talk.until_due()
    assert len(talk.effects(core.Connect)) == 1


def test_who_is_refused_says_so_to_everybody_and_may_try_again() -> None:
    talk = Talk()
    number = increment(talk)
    talk.core.follow("votes", talk.now)
    talk.core.ended(refused(403, {}, b""), talk.now)
    [failed], [over] = talk.effects(core.Failed), talk.effects(core.Ended)
    assert (failed.id, type(failed.error), failed.error.uncertain) == (number, Refused, False)
    assert isinstance(over.error, Refused)
    assert (talk.core.state, talk.core.due) == (State.IDLE, None)
    increment(talk)
    assert talk.core.state is State.CONNECTING


def test_after_the_end_there_is_nothing_more() -> None:
    talk = open_talk("votes")
    sent = increment(talk)
    talk.core.close()
    talk.core.close()
    [failed] = talk.effects(core.Failed)
    assert (failed.id, type(failed.error), failed.error.uncertain) == (sent, ClientClosed, True)
    talk.core.ended(BROKE, talk.now)
    assert (talk.core.state, talk.core.due) == (State.CLOSED, None)
    for ask in (lambda: increment(talk), lambda: talk.core.follow("votes", 0.0)):
        with pytest.raises(ClientClosed):
            ask()


# Silence


def test_who_is_silent_is_asked_and_then_left() -> None:
    talk = open_talk("votes")
    talk.until_due()
    assert (talk.now, talk.sends()) == (20, [PING])
    talk.until_due()
    assert talk.now == 30
    assert len(talk.effects(core.Drop)) == 1
    assert (talk.core.state, talk.core.metrics.silences) == (State.WAITING, 1)


def test_anything_that_is_heard_is_life() -> None:
    talk = open_talk("votes")
    for _ in range(50):
        talk.until_due()
        assert talk.sends() == [PING]
        talk.now += 9
        talk.hear(**snapshot(1))
        talk.hear(type="pong")
    assert talk.core.state is State.OPEN
    assert talk.core.metrics.latency_s == pytest.approx(9, rel=0.1)


def test_a_connection_that_never_says_anything_is_left() -> None:
    talk = Talk()
    talk.core.follow("votes", talk.now)
    talk.open()
    talk.until_due()
    assert (talk.now, talk.core.state) == (10, State.WAITING)


def test_a_machine_that_slept_asks_before_it_leaves() -> None:
    talk = open_talk("votes")
    talk.now = 100_000
    talk.core.tick(talk.now)
    assert (talk.sends(), talk.core.state) == ([PING], State.OPEN)


@pytest.mark.parametrize("nonsense", ["", "hello", "[]", "17", "{}", '{"type":7}', '{"type":"increment"}', "[" * 9999])
def test_who_speaks_nonsense_is_left(nonsense) -> None:
    talk = open_talk("votes")
    talk.core.received(nonsense, talk.now)
    assert len(talk.effects(core.Drop)) == 1
    assert talk.core.state is State.WAITING


def test_a_newer_service_may_say_more() -> None:
    talk = open_talk("votes")
    talk.hear(**{**snapshot(3), "color": "red"})
    talk.hear(type="weather", wind=[1, 2])
    talk.hear(**event(4, type="increment", shade={"a": 1}))
    assert talk.hears() == [("snapshot", 3), ("increment", 4)]


# Streams


def test_it_asks_for_a_snapshot_first_and_then_goes_on_from_where_it_stands() -> None:
    talk = Talk()
    talk.core.follow("votes", talk.now)
    talk.open()
    assert talk.sends() == [{"type": "subscribe", "names": ["votes"], "snapshot": True}, PING]
    talk.hear(**snapshot(3, life=7))
    talk.hear(**event(4, life=7))
    talk.core.ended(BROKE, talk.now)
    talk.until_due()
    talk.core.follow("seats", talk.now)
    talk.open()
    assert talk.sends() == [
        {"type": "subscribe", "names": ["seats"], "snapshot": True},
        {"type": "subscribe", "names": ["votes"], "since": {"votes": 4}, "lives": {"votes": 7}},
        PING,
    ]
    for seq in (3, 4, 5, 6):
        talk.hear(**event(seq, life=7))
    assert talk.hears() == [("snapshot", 3), ("increment", 4), ("increment", 5), ("increment", 6)]
    assert talk.core.metrics.duplicates == 2


def test_what_never_existed_has_no_life_to_go_on_from() -> None:
    talk = open_talk("votes")
    talk.hear(**snapshot(0, life=0))
    talk.core.ended(BROKE, talk.now)
    talk.until_due()
    talk.open()
    assert talk.sends()[0] == {"type": "subscribe", "names": ["votes"], "since": {"votes": 0}, "lives": {}}


def test_a_gap_is_asked_for_once_and_again_when_it_comes_again() -> None:
    talk = open_talk("votes")
    talk.hear(**snapshot(3))
    for seq in (5, 6, 7):
        talk.hear(**event(seq))
    again = {"type": "subscribe", "names": ["votes"], "since": {"votes": 3}, "lives": {"votes": 1}}
    assert talk.sends() == [again, PING]
    for seq in (4, 5, 6, 7):
        talk.hear(**event(seq))
    talk.hear(type="pong")
    assert talk.hears() == [("snapshot", 3), *(("increment", seq) for seq in (4, 5, 6, 7))]
    talk.hear(**event(9))
    assert talk.sends()[0]["since"] == {"votes": 7}
    talk.hear(type="pong")
    talk.hear(**event(10))
    assert talk.sends()[0]["since"] == {"votes": 7}, "what was asked for did not come"
    assert talk.core.metrics.gaps == 3


def test_a_filter_expects_gaps() -> None:
    talk = open_talk("votes", every=False)
    talk.hear(**snapshot(3))
    talk.hear(**event(9))
    assert talk.sends() == []
    assert talk.hears() == [("snapshot", 3), ("increment", 9)]


def test_a_second_reader_is_told_what_is_known() -> None:
    talk = open_talk("votes")
    assert talk.core.follow("votes", talk.now) is None
    talk.hear(**snapshot(3))
    talk.hear(**event(4))
    known = talk.core.follow("votes", talk.now)
    assert known is not None
    assert core.as_snapshot(known).type == "snapshot"
    assert known.value == 4
    assert talk.sends() == []
    with pytest.raises(Invalid):
        talk.core.follow("votes", talk.now, since=Position(1, 1))


def test_many_counters_are_asked_for_in_messages_that_are_not_too_large() -> None:
    names = [f"{number:04}{'x' * 96}" for number in range(1000)]
    talk = Talk()
    for name in names:
        talk.core.follow(name, talk.now, since=Position(2**53 - 1, 2**53 - 1))
    with pytest.raises(Invalid):
        talk.core.follow("one-more", talk.now)
    talk.open()
    texts = [each.text for each in talk.effects(core.Send)]
    assert max(map(len, texts)) < 64 * 2**10
    asked = [name for each in texts[:-1] for name in json.loads(each)["names"]]
    assert asked == names


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "é", "a/b", "x" * 101, "<b>", "a\n"])
def test_what_is_no_name_is_refused_before_anybody_is_asked(name) -> None:
    talk = Talk()
    with pytest.raises(Invalid):
        talk.core.follow(name, talk.now)
    assert talk.core.state is State.IDLE


# Operations


def test_what_has_no_answer_is_sent_again_with_its_id() -> None:
    talk = open_talk()
    first, second = increment(talk), increment(talk)
    sent = talk.sends()
    assert [each["id"] for each in sent] == [first, second]
    talk.hear(type="incrementResult", id=first, result={"value": 1})
    [answered] = talk.effects(core.Answered)
    assert (answered.id, json.loads(answered.result)) == (first, {"value": 1})
    talk.core.ended(BROKE, talk.now)
    third = increment(talk)
    talk.until_due()
    talk.open()
    again = talk.sends()
    assert again[1:] == [sent[1], {**sent[1], "id": third}]
    assert talk.core.metrics.resent == 1


def test_an_answer_that_comes_twice_counts_once() -> None:
    talk = open_talk()
    number = increment(talk)
    for _ in range(2):
        talk.hear(type="incrementResult", id=number, result={})
    talk.hear(type="incrementResult", result={})
    assert len(talk.effects(core.Answered)) == 1


def test_a_refusal_is_told_and_not_repeated() -> None:
    talk = open_talk()
    number = increment(talk)
    talk.hear(type="error", id=number, code="LIMIT_REACHED", message="full")
    [failed] = talk.effects(core.Failed)
    assert (failed.id, type(failed.error), failed.error.retryable) == (number, LimitReached, False)
    assert talk.core.due == 20, "only silence is waited for"


def test_a_perhaps_is_asked_again_after_a_pause() -> None:
    talk = open_talk()
    number = increment(talk)
    talk.sends()
    talk.hear(type="error", id=number, code="UNAVAILABLE", message="m", retryable=True)
    assert talk.effects(core.Failed) == []
    assert talk.core.due == 1
    talk.until_due()
    assert [each["id"] for each in talk.sends()] == [number]


def test_an_operation_is_given_up_and_says_whether_it_may_have_been_applied() -> None:
    talk = Talk()
    sent = increment(talk)
    talk.open()
    talk.hear(type="pong")
    talk.core.ended(BROKE, talk.now)
    talk.now = 1
    unsent = increment(talk)
    talk.core.ended(BROKE, talk.now)
    talk.now = 31
    talk.core.tick(talk.now)
    failures = talk.effects(core.Failed)
    assert all(isinstance(each.error, TimedOut) for each in failures)
    assert [(each.id, each.error.uncertain) for each in failures] == [(sent, True), (unsent, False)]


def late(talk: Talk) -> str:
    talk.now = 30
    talk.core.tick(talk.now)
    [failed] = talk.effects(core.Failed)
    return failed.error.message


def test_what_was_given_up_says_what_the_trouble_was() -> None:
    talk = Talk()
    increment(talk)
    talk.core.ended(BROKE, talk.now)
    assert late(talk) == "no answer within 30 s: it broke"
    talk = Talk()
    number = increment(talk)
    talk.core.ended(BROKE, talk.now)
    talk.open()
    talk.hear(type="error", id=number, code="UNAVAILABLE", message="it moves", retryable=True)
    assert late(talk) == "no answer within 30 s: it moves"
    talk = Talk()
    increment(talk)
    talk.core.ended(BROKE, talk.now)
    talk.open()
    talk.hear(type="pong")
    assert late(talk) == "no answer within 30 s"


def test_the_outbox_has_a_bound() -> None:
    talk = Talk()
    for _ in range(5):
        increment(talk)
    with pytest.raises(OutboxFull):
        increment(talk)
    talk.open()
    operations = [each for each in talk.sends() if each["type"] == "increment"]
    assert [each["id"] for each in operations] == ["1", "2", "3"]
    talk.hear(type="incrementResult", id="2", result={})
    assert [each["id"] for each in talk.sends()] == ["4"]


def test_a_message_that_would_end_the_connection_is_not_sent() -> None:
    talk = Talk()
    for attachment in ("x" * 70_000, object()):
        with pytest.raises(Invalid):
            talk.core.submit({"type": "setAttachment", "attachment": attachment}, talk.now)
    assert talk.core.state is State.IDLE


def test_an_error_without_an_id_is_only_told() -> None:
    talk = open_talk("votes")
    talk.hear(type="error", code="COUNTER_VALIDATION_ERROR", message="m")
    assert len(talk.effects(core.Complained)) == 1
    assert talk.core.state is State.OPEN
