"""What one WebSocket says and hears: recorded dialogues, and what does not fit into one.

A dialogue (`dialogues/*.txt`) is read from top to bottom:

    @ name=votes key=k       a session, with what its URL asked for; without a name it is one for many counters
    > {"type":"ping"}        the client says
    < {"type":"pong",…}      the client hears
    | increment votes 1 #2   what the session asks of the router or the hub; #2 is an operation id of the gateway
    : 1 OK {"value":1}       the answer to the first operation
    # …                      a remark

After each line that goes in (`@`, `>`, `:`), the lines that come out must follow, all of them and in this order. With
REWRITE=1 in the environment they are written anew: commit that only if you know why they have changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from actors.clock import iso
from actors.messages import Operation, Status
from gateway import session as session_module
from gateway.protocol import ATTACHMENT_MAX
from gateway.session import Services, Session, Subscription
from tests.support.clock import HandClock
from tests.support.frames import messages

DIALOGUES = Path(__file__).parent / "dialogues"


class PlainIds:
    """Operation ids that one can read."""

    def __init__(self) -> None:
        self._numbers = count()

    def next(self) -> str:
        return f"#{next(self._numbers)}"


class Scene:
    """A session; the router and the hub that it talks to are this."""

    def __init__(self, wishes: dict[str, Any] | None = None) -> None:
        self.out: list[str] = []
        self.delivers: list[Callable[[int, bytes], None]] = []
        self.operations: list[Operation] = []
        self.clock = HandClock()
        services = Services(self, self, self.clock, PlainIds())  # type: ignore[arg-type]
        given: dict[str, Any] = {"name": "votes", "write": self.write} | (wishes or {})
        self.session = Session(services, **given)

    # The socket

    def write(self, data: bytes) -> None:
        self.out += [f"< {text.decode()}" for text in messages(data)]

    # The router

    pressed = False

    def admits(self, name: str) -> bool:
        return name == "calm"

    def submit(self, operation: Operation, deliver: Callable[[int, bytes], None]) -> None:
        self.operations.append(operation)
        self.delivers.append(deliver)
        words = [operation.type, operation.name, str(operation.amount), operation.id]
        words += ["repeated"] * operation.repeated + [f"reason={operation.reason}"] * (operation.reason is not None)
        self.out.append("| " + " ".join(words))

    # The hub

    def full(self, name: str) -> bool:
        return name == "crowded"

    def touch(self, session: Session) -> None:
        pass

    def join(self, subscriber: Subscription, snapshot: bool = False, since: int | None = None) -> None:
        words = ["join", subscriber.name, *["snapshot"] * snapshot]
        words += [f"since={since}"] * (since is not None) + [f"rate={subscriber.rate:g}"] * bool(subscriber.rate)
        if subscriber.filters is not None:
            words.append(f"events={','.join(sorted(subscriber.filters))}")
        self.out.append("| " + " ".join(words))

    def leave(self, subscriber: Subscription) -> None:
        self.out.append(f"| leave {subscriber.name}")

    def lag(self, subscriber: Subscription) -> None:
        self.out.append(f"| lag {subscriber.name}")

    def catch(self, subscriber: Subscription) -> None:
        self.out.append(f"| catch {subscriber.name}")

    # The test

    def say(self, data: bytes) -> list[str]:
        """The client says something; what comes of it."""
        self.session.receive(data)
        return self.take()

    def answer(self, number: int, status: Status, body: bytes) -> list[str]:
        self.delivers[number - 1](status, body)
        return self.take()

    def take(self) -> list[str]:
        self.session.write_out()
        out, self.out = self.out, []
        return out


def opened(text: str) -> Scene:
    """The session that an `@` line asks for."""
    given = dict(word.split("=", 1) for word in text.split())
    wishes: dict[str, Any] = {"name": given.pop("name", None), "key": given.pop("key", None)}
    if "events" in given:
        wishes["filters"] = frozenset(given.pop("events").split(","))
    if "rate" in given:
        wishes["rate"] = float(given.pop("rate"))
    assert not given, f"no such wish: {given}"
    return Scene(wishes)


def played(lines: list[str]) -> Iterator[str]:
    """The dialogue as it goes today."""
    scene = Scene()
    for line in lines:
        kind, _, text = line.partition(" ")
        if kind in ("<", "|"):
            continue
        yield line
        if kind == "@":
            scene = opened(text)
            if scene.session.name is not None:
                scene.session.subscribe(scene.session.name)
            yield from scene.take()
        elif kind == ">":
            yield from scene.say(text.encode())
        elif kind == ":":
            number, status, *body = text.split(" ", 2)
            yield from scene.answer(int(number), Status[status], "".join(body).encode())
        else:
            assert kind in ("#", ""), line


@pytest.mark.parametrize("path", sorted(DIALOGUES.glob("*.txt")), ids=lambda path: path.stem)
def test_dialogue(path: Path) -> None:
    recorded = path.read_text().splitlines()
    today = list(played(recorded))
    if os.environ.get("REWRITE"):
        path.write_text("\n".join(today) + "\n")
    assert today == recorded


def test_there_are_dialogues() -> None:
    assert len(list(DIALOGUES.glob("*.txt"))) > 5


class TestLimits:
    def test_too_many_operations_without_an_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session_module, "IN_FLIGHT_MAX", 3)
        scene = Scene()
        out = [line for number in range(5) for line in scene.say(b'{"type":"increment","id":"c%d"}' % number)]
        assert [line.split(" ")[0] for line in out] == ["|", "|", "|", "<", "<"]
        error = json.loads(out[3][2:])
        assert (error["code"], error["id"], error["retryable"]) == ("TOO_MANY_REQUESTS", "c3", True)
        scene.answer(2, Status.OK, b"{}")
        assert scene.say(b'{"type":"increment"}')[0].startswith("|")
        assert scene.say(b'{"type":"ping"}')[0].startswith('< {"type":"pong"')

    def test_under_pressure_some_operations_are_turned_away_before_anything_is_done(self) -> None:
        scene = Scene({"name": None})
        assert scene.say(b'{"type":"increment","name":"votes","id":"a"}')[0].startswith("|")
        scene.pressed = True
        for id in ("c", 'a"%b\\'):
            [line] = scene.say(json.dumps({"type": "increment", "name": "votes", "id": id}).encode())
            error = json.loads(line[2:])
            assert (error["type"], error["code"], error["id"]) == ("error", "UNAVAILABLE", id)
            assert (error["retryable"], error["data"]) == (True, {"reason": "overloaded"})
        [line] = scene.say(b'{"type":"reset","name":"votes"}')
        assert "id" not in json.loads(line[2:])
        assert scene.say(b'{"type":"increment","name":"calm"}')[0].startswith("|")
        assert scene.say(b'{"type":"ping"}')[0].startswith('< {"type":"pong"')
        # What was turned away is not under way.
        idle: list[bool] = []
        scene.answer(1, Status.OK, b"{}")
        scene.answer(2, Status.OK, b"{}")
        scene.session.when_idle(lambda: idle.append(True))
        assert idle == [True]

    def test_a_counter_with_too_many_subscribers(self) -> None:
        scene = Scene({"name": None})
        [refused] = scene.say(b'{"type":"subscribe","names":["votes","crowded"]}')
        error = json.loads(refused[2:])
        assert (error["code"], error["retryable"], error["data"]) == ("UNAVAILABLE", True, {"reason": "crowded"})

    @pytest.mark.parametrize("status", [Status.REFUSED, Status.UNAVAILABLE])
    def test_an_operation_that_failed_is_not_counted_any_more(
        self, status: Status, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(session_module, "IN_FLIGHT_MAX", 1)
        scene = Scene()
        for number in range(1, 4):
            assert scene.say(b'{"type":"increment"}')[0].startswith("|")
            scene.answer(number, status, b'{"code":"LIMIT_REACHED","message":"full","data":null}')

    def test_too_many_counters_on_one_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session_module, "SUBSCRIPTIONS_MAX", 3)
        scene = Scene({"name": None})
        assert scene.say(b'{"type":"subscribe","names":["a","b","a"]}')[:2] == ["| join a", "| join b"]
        [refused] = scene.say(b'{"type":"subscribe","names":["c","d"]}')
        assert json.loads(refused[2:])["data"]["field"] == "names"
        assert scene.say(b'{"type":"subscribe","names":["c","a"]}') == ["| join c"]
        # A snapshot is asked for by joining again, and the old interest goes when the new one is there.
        again = scene.say(b'{"type":"subscribe","names":["a"],"snapshot":true}')
        assert [each.split()[:3] for each in again] == [["|", "join", "a"], ["|", "leave", "a"]]
        scene.say(b'{"type":"unsubscribe","names":["a"]}')
        assert scene.say(b'{"type":"subscribe","names":["d"]}') == ["| join d"]


class TestOperationIds:
    """Whatever two clients choose, their ids never meet, and never those of a gateway or an Idempotency-Key."""

    @staticmethod
    def id_of(key: str | None, id: str | None) -> str:
        scene = Scene({"key": key})
        message: dict[str, Any] = {"type": "increment"}
        scene.say(json.dumps(message if id is None else message | {"id": id}).encode())
        return scene.operations[0].id

    @pytest.mark.parametrize(
        ("one", "other"),
        [(("a", "b/c"), ("a/b", "c")), (("a/", "b"), ("a", "/b")), (("/", "/"), ("//", "")), (("é", "x"), ("e", "x"))],
    )
    def test_a_slash_can_be_in_both(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        if all(other):
            assert self.id_of(*one) != self.id_of(*other)

    def test_the_same_key_and_id_are_the_same_operation(self) -> None:
        assert self.id_of("k", "x") == self.id_of("k", "x")

    def test_an_id_without_a_key_means_nothing_to_others(self) -> None:
        assert self.id_of(None, "x") == self.id_of(None, None) == "#1"

    @pytest.mark.parametrize("key", ["key:a", "key:", "a"])
    def test_it_is_no_idempotency_key(self, key: str) -> None:
        """Those are stored as `key:` and the key."""
        assert not self.id_of(key, "x").startswith("key:")


class TestTheSocket:
    def test_what_is_said_in_one_turn_is_one_write(self) -> None:
        writes: list[bytes] = []
        scene = Scene({"write": writes.append})
        for _ in range(3):
            scene.session.receive(b"ping")
        assert writes == []
        scene.session.write_out()
        scene.session.write_out()
        assert [messages(data) for data in writes] == [[b"pong"] * 3]

    def test_a_full_socket_lags_everywhere_and_catches_up_everywhere(self) -> None:
        scene = Scene({"name": None})
        scene.say(b'{"type":"subscribe","names":["a","b"]}')
        scene.session.block()
        assert scene.session.blocked
        assert scene.take() == ["| lag a", "| lag b"]
        scene.session.unblock()
        assert not scene.session.blocked
        assert scene.take() == ["| catch a", "| catch b"]

    def test_the_end_leaves_everything_once(self) -> None:
        scene = Scene({"name": None})
        scene.say(b'{"type":"subscribe","names":["a","b"]}')
        scene.session.end()
        scene.session.end()
        assert scene.take() == ["| leave a", "| leave b"]

    def test_an_answer_after_the_end_hurts_nobody(self) -> None:
        scene = Scene()
        scene.say(b'{"type":"increment"}')
        scene.session.end()
        scene.answer(1, Status.OK, b"{}")

    def test_a_binary_message_is_answered(self) -> None:
        scene = Scene()
        scene.session.refuse_binary()
        [line] = scene.take()
        assert json.loads(line[2:])["code"] == "COUNTER_VALIDATION_ERROR"

    def test_it_is_called_like_nobody_else(self) -> None:
        scene = Scene()
        other = Session(scene.session._services, "votes", scene.write)
        assert other.id != scene.session.id


class TestAttachments:
    def described(self, scene: Scene) -> dict[str, Any]:
        [subscription] = scene.session._subscriptions.values()
        row: dict[str, Any] = json.loads(subscription.described())
        return row

    def test_a_session_describes_itself(self) -> None:
        scene = Scene({"attachment": b'{"nick": "Ada"}', "filters": frozenset({"reset", "increment"})})
        scene.session.subscribe("votes")
        assert self.described(scene) == {
            "id": scene.session.id,
            "subscribedAt": iso(scene.clock.ms),
            "events": ["increment", "reset"],
            "attachment": {"nick": "Ada"},
        }

    def test_the_attachment_can_be_changed_and_taken_away(self) -> None:
        scene = Scene()
        scene.session.subscribe("votes")
        assert (self.described(scene)["events"], self.described(scene)["attachment"]) == (None, None)
        scene.say(b'{"type":"setAttachment","attachment":[1,{"a":"\\u00e9"}]}')
        assert self.described(scene)["attachment"] == [1, {"a": "é"}]
        scene.say(b'{"type":"setAttachment","attachment":null}')
        assert self.described(scene)["attachment"] is None
        assert scene.session.attachment is None

    def test_what_is_too_large_or_no_json_changes_nothing(self) -> None:
        scene = Scene({"attachment": b"1"})
        for bad in (b'"%b"' % (b"x" * ATTACHMENT_MAX), b"[" * 2000 + b"]" * 2000, b'"\xff"', b"1e999"):
            [line] = scene.say(b'{"type":"setAttachment","attachment":%b,"id":"c"}' % bad)
            assert json.loads(line[2:])["code"] == "COUNTER_VALIDATION_ERROR"
        assert scene.session.attachment == b"1"
        largest = b'"%b"' % (b"x" * (ATTACHMENT_MAX - 2))
        [line] = scene.say(b'{"type":"setAttachment","attachment":%b,"id":"c"}' % largest)
        assert json.loads(line[2:])["type"] == "setAttachmentResult"
        assert scene.session.attachment == largest

    def test_who_listens_anew_has_listened_since_the_first_time(self) -> None:
        scene = Scene({"name": None})
        scene.session.subscribe("votes")
        before = self.described(scene)["subscribedAt"]
        scene.clock.ms += 5_000
        scene.session.subscribe("votes", snapshot=True)
        assert self.described(scene)["subscribedAt"] == before
        scene.session.subscribe("seats")
        assert json.loads(scene.session._subscriptions["seats"].described())["subscribedAt"] == iso(scene.clock.ms)
