"""The door of the WebSockets: who is let in, what they may wish for, and when."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from actors.messages import Query
from gateway import hub as hub_module
from gateway.hub import Hub
from gateway.listen import PATIENCE_S, Listen
from gateway.origin import Origins
from gateway.protocol import ATTACHMENT_MAX
from gateway.session import Ids, Services, Session
from gateway.sockets import SOCKET
from tests.support.clock import HandClock
from tests.support.loop import jumping, settle
from tests.support.owner import Owner
from tests.support.stream import Stream


class Socket:
    """What is left of a socket when nothing is sent through it."""

    def __init__(self, owner: Owner) -> None:
        self.stream = Stream(owner.truth)
        self.session: Session | None = None
        self.closing = False
        self.transport = SimpleNamespace(is_closing=lambda: self.closing)

    def write(self, data: bytes) -> None:
        self.stream.take(data)

    def adopt(self, session: Session, keepalive: Any) -> None:
        self.session = session


class Door:
    """`Listen`, and the owner of one counter behind it."""

    def __init__(
        self, bound_to: str = "127.0.0.1", allowed: tuple[str, ...] = (), sessions_max: int = 1_000
    ) -> None:
        self.owner = Owner()
        self.hub = Hub()
        self.hub.connect(self)
        self.watched: list[str] = []
        self.away = False
        services = Services(self, self.hub, HandClock(), Ids())  # type: ignore[arg-type]
        self.listen = Listen(self.hub, services, Origins(bound_to, allowed), sessions_max)
        self.socket = Socket(self.owner)
        self.sent: list[Any] = []

    def watch(self, name: str) -> None:
        self.watched.append(name)
        if not self.away:
            asyncio.get_running_loop().call_soon(self.hub.place, self.owner.position())

    rewatch = watch

    def unwatch(self, name: str) -> None:
        self.watched.remove(name)

    def ask(self, query: Query, deliver: Any) -> None:
        deliver(0, self.owner.answer(query))

    async def knock(self, path: str = "/ws/counter/votes", query: str = "", **headers: str) -> None:
        fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": query.encode(),
            "headers": fields,
            "state": {SOCKET: self.socket},
        }

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            self.sent.append(message)

        await self.listen(scope, receive, send)
        await settle()

    @property
    def accepted(self) -> bool:
        return self.sent == [{"type": "websocket.accept"}]

    @property
    def refusal(self) -> tuple[int, Any]:
        start, body = self.sent
        assert start["type"] == "websocket.http.response.start"
        return start["status"], json.loads(body["body"])["error"]


class TestLettingIn:
    @jumping
    async def test_a_session_for_one_counter(self) -> None:
        door = Door()
        await door.knock()
        assert door.accepted
        assert door.socket.session is not None
        assert door.socket.session.name == "votes"
        door.hub.publish(door.owner.commit())
        await settle()
        assert [message["value"] for message in door.socket.stream.heard] == [1]

    @jumping
    async def test_a_session_for_many(self) -> None:
        door = Door()
        await door.knock("/ws")
        assert door.accepted
        assert door.socket.session is not None
        assert (door.socket.session.name, door.watched) == (None, [])

    @jumping
    async def test_wishes_are_heard(self) -> None:
        door = Door()
        door.owner.commit()
        await door.knock(query="events=reset,increment&snapshot=1&rate=2.5&key=tab-1")
        session = door.socket.session
        assert session is not None
        assert (session.filters, session.rate, session.key) == (frozenset({"reset", "increment"}), 2.5, "tab-1")
        assert [message["type"] for message in door.socket.stream.heard] == ["snapshot"]

    @jumping
    async def test_since(self) -> None:
        door = Door()
        for _ in range(3):
            door.owner.commit()
        await door.knock(query="since=1")
        assert [message["value"] for message in door.socket.stream.heard] == [2, 3]

    @jumping
    async def test_whoever_has_gone_meanwhile_leaves_nothing_behind(self) -> None:
        door = Door()
        door.socket.closing = True
        await door.knock()
        assert (door.socket.session, door.watched) == (None, [])

    @jumping
    async def test_while_the_owner_is_away_everybody_is_welcome_after_a_while(self) -> None:
        door = Door()
        door.away = True
        started = asyncio.get_running_loop().time()
        await door.knock()
        assert door.accepted
        assert PATIENCE_S <= asyncio.get_running_loop().time() - started < PATIENCE_S + 1

    @jumping
    async def test_and_learns_what_happened_before_the_owner_knew_of_it(self) -> None:
        door = Door()
        door.away = True
        await door.knock()
        door.owner.commit()
        door.hub.place(door.owner.position())
        await settle()
        assert [message["value"] for message in door.socket.stream.heard] == [1]


class TestTurningAway:
    @pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a b", "n" * 101, "é", "a\n", "a\x00"])
    def test_a_bad_name(self, name: str) -> None:
        @jumping
        async def play() -> None:
            door = Door()
            await door.knock(f"/ws/counter/{name}")
            status, error = door.refusal
            assert (status, error["code"], error["data"]["field"]) == (400, "COUNTER_VALIDATION_ERROR", "name")
            assert (door.watched, door.socket.session) == ([], None)

        play()

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("evnets=increment", "evnets"),
            ("events=", "events"),
            ("events=explode", "events"),
            ("events=increment,,reset", "events"),
            ("events=snapshot", "events"),
            ("snapshot=2", "snapshot"),
            ("snapshot=", "snapshot"),
            ("snapshot=true", "snapshot"),
            *((f"attachment={bad}", "attachment") for bad in ("", "{", "Ada", "%22%FF", "NaN", "1+1")),
            (f"attachment=%22{'x' * ATTACHMENT_MAX}%22", "attachment"),
            *((f"since={since}", "since") for since in ("", "-1", "1.5", "x", "9007199254740992", "1e3", "%D9%A3")),
            *((f"rate={rate}", "rate") for rate in ("", "0", "-1", "nan", "inf", "x", "1001", "0.001", "1e9")),
            ("key=", "key"),
            (f"key={'k' * 201}", "key"),
            ("key=a%00", "key"),
            ("key=%0a", "key"),
        ],
    )
    def test_a_bad_wish(self, query: str, field: str) -> None:
        @jumping
        async def play() -> None:
            door = Door()
            await door.knock(query=query)
            status, error = door.refusal
            assert (status, error["code"], error["data"]["field"]) == (400, "COUNTER_VALIDATION_ERROR", field)
            assert door.watched == []

        play()

    @jumping
    async def test_a_gateway_that_is_full(self) -> None:
        door = Door(sessions_max=0)
        for path in ("/ws/counter/votes", "/ws"):
            door.sent.clear()
            await door.knock(path)
            status, error = door.refusal
            assert (status, error["code"], error["retryable"]) == (503, "UNAVAILABLE", True)
            assert (b"retry-after", b"1") in door.sent[0]["headers"]
            assert (door.watched, door.socket.session) == ([], None)

    @jumping
    async def test_a_counter_that_too_many_listen_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub_module, "SUBSCRIBERS_MAX", 2)
        door = Door()
        for _ in range(2):
            door.sent.clear()
            await door.knock()
            assert door.accepted
        door.sent.clear()
        await door.knock()
        assert (door.refusal[0], door.refusal[1]["data"]) == (503, {"reason": "crowded"})
        door.sent.clear()
        await door.knock("/ws")
        assert door.accepted

    @jumping
    async def test_it_may_bring_an_attachment(self) -> None:
        for path in ("/ws/counter/votes", "/ws"):
            door = Door()
            await door.knock(path, "attachment=%7B%22nick%22%3A%22Zo%C3%AB%22%7D")
            assert door.socket.session is not None
            assert door.socket.session.attachment == '{"nick":"Zoë"}'.encode()

    @pytest.mark.parametrize("query", ["snapshot=1", "since=5"])
    def test_for_many_counters_such_wishes_come_later(self, query: str) -> None:
        @jumping
        async def play() -> None:
            door = Door()
            await door.knock("/ws", query)
            assert door.refusal[0] == 400

        play()

    @jumping
    async def test_a_foreign_page(self) -> None:
        door = Door()
        await door.knock(origin="https://evil.test", host="127.0.0.1:8094")
        status, error = door.refusal
        assert (status, error["code"]) == (403, "FORBIDDEN")

    @jumping
    async def test_our_own_page(self) -> None:
        door = Door()
        await door.knock(origin="http://127.0.0.1:8094", host="127.0.0.1:8094")
        assert door.accepted


class TestOrigins:
    """Which browsers may talk to us."""

    @pytest.mark.parametrize(
        ("origin", "host", "admitted"),
        [
            (None, "127.0.0.1:8094", True),
            (None, None, True),
            ("http://127.0.0.1:8094", "127.0.0.1:8094", True),
            ("http://localhost:8094", "localhost:8094", True),
            ("http://[::1]:8094", "[::1]:8094", True),
            ("HTTP://LOCALHOST:8094", "localhost:8094", True),
            ("http://localhost:3000", "localhost:8094", False),
            ("https://evil.test", "127.0.0.1:8094", False),
            ("http://evil.test:8094", "evil.test:8094", False),  # A name of theirs that points here.
            ("null", "127.0.0.1:8094", False),
            ("", "127.0.0.1:8094", False),
            ("http://127.0.0.1:8094", None, False),
            ("http://[", "127.0.0.1:8094", False),
            ("http://127.0.0.1:8094", "[", False),
        ],
    )
    def test_on_this_machine_only(self, origin: str | None, host: str | None, admitted: bool) -> None:
        assert Origins("127.0.0.1", ()).admits(origin, host) == admitted

    @pytest.mark.parametrize(
        ("origin", "host", "admitted"),
        [
            ("https://counters.test", "counters.test", True),
            ("https://evil.test", "counters.test", False),
            ("https://app.test", "counters.test", True),
            ("https://APP.test", "counters.test", True),
            ("https://app.test:444", "counters.test", False),
        ],
    )
    def test_on_a_network(self, origin: str, host: str, admitted: bool) -> None:
        assert Origins("0.0.0.0", ("https://app.test/",)).admits(origin, host) == admitted

    def test_everybody(self) -> None:
        assert Origins("127.0.0.1", ("*",)).admits("https://evil.test", "evil.test")
