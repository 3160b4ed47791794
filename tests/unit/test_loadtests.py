"""The load tests without a service: the books, the shapes, the bars, and the frames they make and read.

And one thing that they cannot see from outside: that storage is asked once for a counter, however many come back.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from random import Random
from typing import Any

import pytest

from actors.messages import Query, Status
from gateway.hub import Hub
from gateway.session import Ids, Services, Session
from loadtests.endurance.attacker import kind
from loadtests.endurance.probe import p99
from loadtests.endurance.raw import CLOSE, PING, TEXT, Frames, client_frame, close_code
from loadtests.service import port_of
from loadtests.shapes import RAMP, SHAPES, SPIKE, STEADY, STORM, Names, storms_by, users_at
from loadtests.verdict import Verdict, number
from loadtests.verify import Account, Heard, Ledger, check, values_of
from loadtests.wire import url_of
from tests.support.clock import HandClock
from tests.support.frames import client_frame as reference_frame
from tests.support.loop import jumping, settle
from tests.support.owner import Owner
from tests.support.stream import Place, Stream

# The books


def books(**acknowledged: int) -> Ledger:
    ledger = Ledger()
    for counter, change in acknowledged.items():
        ledger.acknowledge(counter, change)
    return ledger


def test_books_that_agree_with_the_service_are_exact() -> None:
    assert check(books(a=3, b=0), {"a": 3, "b": 0}).exact


@pytest.mark.parametrize("value", [2, 4, None])
def test_a_lost_or_doubled_operation_is_noticed(value: int | None) -> None:
    finding = check(books(a=3), {} if value is None else {"a": value})
    assert finding.wrong == [f"a: acknowledged 3, the service says {value}"]
    assert str(finding).endswith("not exact")


@pytest.mark.parametrize(("value", "exact"), [(0, False), (1, True), (3, True), (5, True), (6, False)])
def test_operations_without_an_answer_widen_the_range(value: int, exact: bool) -> None:
    ledger = books(a=3)
    ledger.lose("a", 2)
    ledger.lose("a", -1)
    ledger.lose("a", -1)
    assert check(ledger, {"a": value}).exact is exact


def test_books_of_several_processes_are_added() -> None:
    one, other = books(a=3), books(a=1, b=2)
    other.lose("b", 1)
    Heard().hear(other, 1, 1, stands_in=False)
    one.add(json.loads(json.dumps(other.packed())))  # They travel as a message.
    assert one.accounts == {"a": Account(4, 2), "b": Account(2, 1, 1, 0, 1)}
    assert one.events == 1


def test_books_that_did_not_come_are_not_taken_for_empty() -> None:
    assert check(books(a=3), {"a": 3}, silent=["worker-2"]).wrong == ["the books of worker-2 are missing"]


def test_what_a_listener_missed_or_heard_twice_is_not_exact() -> None:
    ledger, heard = Ledger(), Heard()
    for seq in (4, 5, 7, 7, 8):
        heard.hear(ledger, 1, seq, stands_in=False)
    assert (ledger.events, ledger.gaps, ledger.repeats) == (5, 1, 1)
    assert len(check(ledger, {}).wrong) == 2


def test_an_event_for_several_leaves_no_gap() -> None:
    ledger, heard = Ledger(), Heard()
    for seq, stands_in in ((1, False), (5, True), (6, False)):
        heard.hear(ledger, 1, seq, stands_in)
    assert (ledger.gaps, ledger.stand_ins) == (0, 1)


def test_a_listener_comes_back_to_where_it_was() -> None:
    heard = Heard()
    assert heard.since == {"snapshot": 1}
    heard.hear(Ledger(), 0, 0, stands_in=True)  # Of a counter never written: it has no life yet.
    assert heard.since == {"since": 0}
    heard.hear(Ledger(), 7, 1, stands_in=False)
    assert heard.since == {"since": 1, "life": 7}


def test_values_are_asked_for_a_thousand_at_a_time() -> None:
    asked: list[int] = []

    def post(url: str, body: bytes) -> bytes:
        names = json.loads(body)["names"]
        asked.append(len(names))
        return json.dumps({"values": dict.fromkeys(names, 1)}).encode()

    assert len(values_of("http://here/", [f"n{number}" for number in range(2_500)], post)) == 2_500
    assert asked == [1_000, 1_000, 500]


# The shapes


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_has_fewer_than_one_or_more_than_all_users(shape: str) -> None:
    counts = [users_at(shape, share / 100, 50) for share in range(101)]
    assert min(counts) >= 1
    assert max(counts) == 50


def test_a_ramp_rises_and_a_spike_comes_and_goes() -> None:
    ramp = [users_at(RAMP, share / 20, 100) for share in range(20)]
    assert ramp == sorted(ramp)
    assert (ramp[0], ramp[-1]) == (10, 100)
    assert [users_at(SPIKE, share, 100) for share in (0.1, 0.5, 0.9)] == [20, 100, 20]
    assert {users_at(shape, 0.1, 100) for shape in (STEADY, STORM)} == {100}


def test_storms_leave_time_to_come_back() -> None:
    assert [storms_by(STORM, seconds, 30) for seconds in (0, 8, 16.5, 24, 29.9)] == [0, 1, 2, 3, 3]
    assert storms_by(STORM, 24, 24) == 2
    assert storms_by(STORM, 80, math.inf) == 10
    assert storms_by(STEADY, 80, 100) == 0


def test_a_skew_prefers_the_first_and_none_prefers_nobody() -> None:
    def chosen(s: float) -> list[int]:
        names = Names("n", 4, s)
        counts = Counter(names.pick() for _ in range(4_000))
        return [counts[name] for name in names.all]

    skewed = chosen(2.0)
    assert skewed == sorted(skewed, reverse=True)
    assert skewed[0] > 10 * skewed[3] / 2
    assert max(chosen(0.0)) < 1.3 * min(chosen(0.0))


# Where and what


def test_urls() -> None:
    assert url_of("http://h:1/", "a:b", {"since": 3}) == "ws://h:1/ws/counter/a%3Ab?since=3"
    assert url_of("https://h", "a", {}) == "wss://h/ws/counter/a"
    assert port_of("http://127.0.0.1:8094") == 8094


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_those_of_the_reference(size: int) -> None:
    payload = b"x" * size
    assert client_frame(payload) == reference_frame(payload, mask=b"\0\0\0\0")
    assert client_frame(payload, PING, fin=False) == reference_frame(payload, PING, False, mask=b"\0\0\0\0")


@pytest.mark.parametrize("step", [1, 2, 7, 1_000_000])
def test_frames_are_read_however_they_are_cut(step: int) -> None:
    sent = [(TEXT, b"a"), (TEXT, b"b" * 126), (TEXT, b"c" * 65_536), (CLOSE, b"\x03\xf1"), (PING, b"")]
    data = b"".join(reference_frame(payload, opcode, mask=None) for opcode, payload in sent)
    frames = Frames()
    heard = [frame for at in range(0, len(data), step) for frame in frames.feed(data[at : at + step])]
    assert heard == sent
    assert [close_code(payload) for payload in (b"\x03\xf1", b"")] == [1009, 1005]


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (b"pong", "pong"),
        (b'{"type":"pong","timestamp":"t"}', "pong"),
        (b'{"type":"incrementResult","id":"x"}', "incrementResult"),
        (b'{"type":"error","code":"TOO_MANY_REQUESTS"}', "TOO_MANY_REQUESTS"),
        (b'{"error":{"code":"FORBIDDEN"}}', "FORBIDDEN"),
        (b"what", "?"),
    ],
)
def test_a_message_in_a_word(message: bytes, word: str) -> None:
    assert kind(message) == word


# The bars


def test_a_bar_is_kept_or_missed_and_figures_are_neither() -> None:
    verdict = Verdict(quiet=True)
    verdict.figure("speed", 1234.5, "1/s")
    verdict.at_most("growth", 5.0, 5.0, "%")
    verdict.exactly("lost", 0, 0)
    assert verdict.kept
    verdict.at_most("ratio", math.nan, 2)
    verdict.exactly("closed", 1, 0)
    verdict.require("true", False, "not at all")
    assert [line.title for line in verdict.missed] == ["ratio", "closed", "true"]
    assert [str(line)[:4] for line in verdict.lines] == ["    ", "ok  ", "ok  ", "MISS", "MISS", "MISS"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 s"), (0.0012345, "0.00123 s"), (12.345, "12.3 s"), (1234567, "1,230,000 s")]
)
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert number(value, "s") == text


def test_an_operation_that_was_never_heard_of_took_for_ever() -> None:
    assert p99([0.3, 0.1, 0.2], 3) == 0.3
    assert p99([0.1] * 98, 100) == math.inf
    assert p99([], 100) == math.inf


# Seen from inside


class Asked:
    """The router as a hub sees it; it knows the owners of all counters, and counts what goes to their storage."""

    def __init__(self, hub: Hub, owners: dict[str, Owner]) -> None:
        self._hub = hub
        self._owners = owners
        self.watched: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.late: list[tuple[Query, Any]] = []

    def watch(self, name: str) -> None:
        self.watched[name] += 1
        self._hub.place(self._owners[name].position())

    def unwatch(self, name: str) -> None:
        """The owner is told, and reads nothing."""

    rewatch = watch

    def ask(self, query: Query, deliver: Any) -> None:
        [name] = query.names
        self.asked[name] += 1
        self.late.append((query, deliver))

    def submit(self, operation: Any, deliver: Any) -> None:
        raise AssertionError("nobody operates here")

    def answer(self) -> None:
        late, self.late = self.late, []
        for query, deliver in late:
            deliver(Status.OK, self._owners[query.names[0]].answer(query))


@jumping
async def test_storage_is_asked_once_for_a_counter_however_many_come_back() -> None:
    """2,000 come back to 20 counters in any order, while events go on and answers take their time."""
    random = Random(1)
    owners = {name: Owner(name) for name in (f"c{number}" for number in range(20))}
    for owner in owners.values():
        for _ in range(60):
            owner.commit()
    hub = Hub()
    router = Asked(hub, owners)
    hub.connect(router)
    services = Services(router, hub, HandClock(), Ids())
    streams: list[Stream] = []

    for turn, name in enumerate(random.sample([*owners] * 100, 2_000)):
        owner, since = owners[name], random.randint(0, 50)
        stream = Stream(owner.truth, Place(1, since))
        streams.append(stream)
        Session(services, name, stream.take).subscribe(name, since=since)
        if turn % 3 == 0:
            hub.publish(random.choice(list(owners.values())).commit())
        if turn % 10 == 0:
            router.answer()
            await settle()
    router.answer()
    await settle()

    assert router.asked == dict.fromkeys(owners, 1)
    assert router.watched == dict.fromkeys(owners, 1)
    for stream in streams:  # Which has seen to it that nothing was missing, doubled or out of order.
        assert all(message["type"] != "snapshot" for message in stream.heard)
        assert stream.seen == stream.truth.now
