"""The service as a whole: who may ask about it, and what comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from actors.errors import Unavailable
from actors.messages import Operation, Query, Status
from gateway.admin import Admin
from gateway.origin import Origins, is_local
from gateway.procedures import Command
from gateway.rpc import Request, Rpc
from gateway.session import Ids
from tests.support.loop import jumping, settle

OWN_HOST = (b"host", b"127.0.0.1:8094")


class Service:
    """Router and directory in one; everything under `/rpc/` in front of them."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []
        self.error: Exception | None = None
        self.rpc = Rpc(self, Admin(self, self), Origins("0.0.0.0", ("https://app.test",)), Ids())

    pressed = False

    def admits(self, name: str, wakes: bool = True) -> bool:
        return False

    def submit(self, operation: Operation, deliver: Callable[[int, bytes], None]) -> None:
        raise AssertionError("nothing here is about a counter")

    def ask(self, query: Query, deliver: Callable[[int, bytes], None]) -> None:
        raise AssertionError("nothing here is about a counter")

    def ask_all(self, query: Query, deliver: Callable[[list[tuple[int, bytes]]], None]) -> None:
        self.asked.append((query.kind, query.names))
        deliver(self.answers)

    async def admin(self, method: str, *arguments: Any) -> Any:
        self.asked.append((method, *arguments))
        if self.error is not None:
            raise self.error

    async def timer(self, method: str, *arguments: Any) -> Any:
        await self.admin(method, *arguments)
        return self.answers[0]

    async def post(
        self, path: str, body: bytes = b"{}", peer: str | None = "127.0.0.1", method: str = "POST", **headers: str
    ) -> tuple[int, Any]:
        heard: list[tuple[int, bytes]] = []
        given = [OWN_HOST, *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())]
        self.rpc.handle(
            Request(method, path, b"", given, body, peer), lambda status, body, _: heard.append((status, body))
        )
        await settle()
        [(status, answer)] = heard
        return status, json.loads(answer)


class TestPressure:
    @jumping
    async def test_who_would_only_wait_is_turned_away_at_once_and_told_when_to_come_back(self) -> None:
        service = Service()
        service.pressed = True
        for path, body in (("increment", b'{"name":"a"}'), ("getValue", b'{"name":"a"}')):
            heard: list[tuple[int, bytes, Any]] = []
            request = Request("POST", f"/rpc/counter.{path}", b"", [OWN_HOST], body, "10.0.0.1")
            service.rpc.handle(request, lambda *answer: heard.append(answer))  # noqa: B023
            [(status, answer, headers)] = heard
            error = json.loads(answer)["error"]
            assert (status, error["code"], error["retryable"]) == (503, "UNAVAILABLE", True)
            assert error["data"] == {"reason": "overloaded"}
            assert (b"retry-after", b"1") in headers
        assert (await service.post("/rpc/counter/reset", b'{"json":{"name":"a"}}'))[1]["json"]["status"] == 503
        assert (await service.post("/rpc/counter.increment", b"{}"))[0] == 400
        service.answers = [(Status.OK, b"[]")]
        assert (await service.post("/rpc/admin.ps"))[0] == 200


class TestWhoMayAsk:
    @pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
    def test_this_machine(self, peer: str) -> None:
        assert is_local(peer, [])
        assert is_local(peer, [OWN_HOST, (b"origin", b"http://127.0.0.1:8094"), (b"content-type", b"x")])
        assert is_local(peer, [(b"host", b"localhost")])

    @pytest.mark.parametrize("peer", ["10.0.0.1", "192.168.1.5", "8.8.8.8", "fe80::1", "::ffff:10.0.0.1", "", None])
    def test_no_other(self, peer: str | None) -> None:
        assert not is_local(peer, [OWN_HOST])

    @pytest.mark.parametrize(
        "header",
        [
            (b"x-forwarded-for", b"127.0.0.1"),
            (b"forwarded", b"for=127.0.0.1"),
            (b"x-real-ip", b"127.0.0.1"),
            (b"via", b"1.1 proxy"),
            (b"origin", b"https://evil.test"),
            (b"origin", b"null"),
            (b"host", b"evil.test:8094"),
        ],
    )
    def test_nobody_behind_a_proxy_and_no_foreign_page(self, header: tuple[bytes, bytes]) -> None:
        assert not is_local("127.0.0.1", [OWN_HOST, header])

    @jumping
    async def test_others_are_refused_and_nothing_is_done(self) -> None:
        service = Service()
        for path in ("ps", "scale", "restartHosts"):
            for form in (f"/rpc/admin.{path}", f"/rpc/admin/{path}"):
                status, error = await service.post(form, b'{"hosts":2}', peer="10.0.0.1")
                assert (status, (error.get("error") or error["json"])["code"]) == (403, "FORBIDDEN")
                # An origin that the settings allow may use counters, but not this.
                assert (await service.post(form, origin="https://app.test"))[0] == 403
        assert service.asked == []

    @jumping
    async def test_what_changes_something_is_not_done_by_a_get(self) -> None:
        service = Service((Status.OK, b"[]"))
        assert (await service.post("/rpc/admin/restartHosts", method="GET"))[0] == 405
        assert (await service.post("/rpc/admin/scale", method="GET"))[0] == 405
        assert service.asked == []
        assert await service.post("/rpc/admin/ps", method="GET") == (200, {"json": {"counters": []}})


class TestWhatComesOfIt:
    @jumping
    async def test_what_is_awake_is_what_all_hosts_say(self) -> None:
        said = (b'[{"name":"a"},{"name":"b"}]', b"[]", b'[{"name":"c"}]')
        service = Service(*((Status.OK, each) for each in said))
        assert await service.post("/rpc/admin.ps") == (200, {"counters": [{"name": "a"}, {"name": "b"}, {"name": "c"}]})
        assert service.asked == [("awake", [])]
        assert await Service().post("/rpc/admin.ps") == (200, {"counters": []})

    @jumping
    async def test_a_list_that_lacks_a_host_is_none(self) -> None:
        service = Service((Status.OK, b'[{"name":"a"}]'), (Status.UNAVAILABLE, b""))
        status, answer = await service.post("/rpc/admin.ps")
        assert (status, answer["error"]["retryable"]) == (503, True)

    @jumping
    async def test_the_supervisor_is_told(self) -> None:
        service = Service()
        assert await service.post("/rpc/admin.scale", b'{"hosts":3}') == (200, {"success": True, "hosts": 3})
        assert await service.post("/rpc/admin/restartHosts", b"{}") == (200, {"json": {"success": True}})
        assert service.asked == [("scale", 3), ("restart_hosts",)]

    @jumping
    async def test_a_supervisor_that_is_away_or_fails_is_an_answer(self) -> None:
        service = Service()
        for service.error in (Unavailable("away"), RuntimeError("a bug")):
            assert (await service.post("/rpc/admin.scale", b'{"hosts":3}'))[0] == 503

    @pytest.mark.parametrize("body", [b"{}", b'{"hosts":0}', b'{"hosts":65}', b'{"hosts":1.5}', b'{"hosts":2,"x":1}'])
    def test_a_bad_number_of_hosts(self, body: bytes) -> None:
        @jumping
        async def play() -> None:
            status, answer = await Service().post("/rpc/admin.scale", body)
            assert (status, answer["error"]["code"]) == (400, "COUNTER_VALIDATION_ERROR")

        play()


@jumping
async def test_who_asks_a_timer_that_is_frozen_is_told_so_in_the_end() -> None:
    class Frozen(Service):
        async def timer(self, method: str, *arguments: Any) -> Any:
            await asyncio.Event().wait()

    service, begun = Frozen(), asyncio.get_running_loop().time()
    for command, within_s in ((Command("sources"), 10), (Command("drift", name="votes"), 620)):
        heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        Admin(service, service).run(command, lambda status, _, heard=heard: heard.set_result(status))  # type: ignore[misc]
        assert await heard == Status.UNAVAILABLE
        assert asyncio.get_running_loop().time() - begun <= within_s + 10
