"""Inactivity keys in a real Redis: set, expired, lost, and none of it missed when Redis is not there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from actors.clock import SystemClock
from actors.expiry import PREFIX, Expiry, Keys
from tests.support.redis_server import MISSING, RedisServer
from tests.support.service_clients import listening
from tests.support.service_process import ROOT, Service, environment

pytestmark = pytest.mark.skipif(MISSING, reason="redis-server is not installed")

SECRET = "open sesame"
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class AskedHost:
    """Writes down who is asked for, and says what was touched."""

    def __init__(self) -> None:
        self.recent: dict[str, int | None] = {}
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    def touched(self) -> dict[str, int | None]:
        taken, self.recent = self.recent, {}
        return taken

    async def expire(self, names: Iterable[str]) -> None:
        for name in names:
            self.asked.put_nowait(name)

    async def next(self) -> str:
        return await asyncio.wait_for(self.asked.get(), PATIENCE_S)


@asynccontextmanager
async def expiry(server: RedisServer, keys: Keys | None = None) -> AsyncIterator[AskedHost]:
    host = AskedHost()
    task = asyncio.create_task(Expiry(server.url, keys or Keys(), host, SystemClock()).run())
    try:
        yield host
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(look: object) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(look):  # type: ignore[arg-type]
            await asyncio.sleep(0.02)


async def listens(server: RedisServer) -> None:
    await until(lambda: server.client.pubsub_numsub("__keyevent@0__:expired")[0][1] > 0)


class TestKeys:
    def test_a_key_is_set_and_its_end_is_heard(self, redis_server: RedisServer) -> None:
        async def run() -> None:
            async with expiry(redis_server) as host:
                await listens(redis_server)
                host.recent["votes"] = SystemClock().steady_ms() + 1_500
                assert await host.next() == "votes"
                assert redis_server.client.get(f"{PREFIX}votes") is None

        asyncio.run(run())
        flags = redis_server.client.config_get("notify-keyspace-events")["notify-keyspace-events"]
        assert {"E", "x"} <= set(flags)

    def test_what_is_at_its_reset_value_has_no_key(self, redis_server: RedisServer) -> None:
        async def run() -> None:
            async with expiry(redis_server) as host:
                host.recent["votes"] = SystemClock().steady_ms() + 60_000
                await until(lambda: redis_server.client.exists(f"{PREFIX}votes"))
                assert 50_000 < redis_server.client.pttl(f"{PREFIX}votes") <= 60_020
                host.recent["votes"] = None
                await until(lambda: not redis_server.client.exists(f"{PREFIX}votes"))

        asyncio.run(run())

    def test_what_is_not_ours_is_left_alone(self, redis_server: RedisServer) -> None:
        async def run() -> None:
            other = type(redis_server.client)(port=redis_server.port, db=3)
            async with expiry(redis_server, Keys("contador_reset", "page")) as host:
                await listens(redis_server)
                for key in ("session:9", PREFIX, f"{PREFIX}no spaces", f"{PREFIX}..", f"{PREFIX}{'x' * 101}", b"\xff"):
                    redis_server.client.set(key, 1, px=1)
                other.set(f"{PREFIX}elsewhere", 1, px=1)
                await until(lambda: not redis_server.client.keys() and not other.keys())
                redis_server.client.set("contador_reset", 1, px=1)
                redis_server.client.set(f"{PREFIX}votes", 1, px=1)
                assert {await host.next(), await host.next()} == {"page", "votes"}
                assert host.asked.empty()
            other.close()

        asyncio.run(run())

    def test_a_chosen_key_is_set_beside_the_counter_s_own(self, redis_server: RedisServer) -> None:
        async def run() -> None:
            async with expiry(redis_server, Keys("contador_reset", "page")) as host:
                host.recent |= dict.fromkeys(("page", "votes"), SystemClock().steady_ms() + 60_000)
                await until(lambda: len(redis_server.client.keys()) == 3)
            assert set(redis_server.client.keys()) == {
                b"contador_reset", f"{PREFIX}page".encode(), f"{PREFIX}votes".encode(),
            }  # fmt: skip
            redis_server.client.flushdb()

        asyncio.run(run())

    def test_it_comes_back_after_redis_was_killed(self) -> None:
        async def run() -> None:
            with RedisServer() as server:
                async with expiry(server) as host:
                    await listens(server)
                    await asyncio.to_thread(server.kill)
                    host.recent["lost"] = SystemClock().steady_ms() + 60_000
                    await until(lambda: not host.recent)
                    await asyncio.to_thread(server.start)
                    await listens(server)
                    server.client.set(f"{PREFIX}votes", 1, px=1)
                    assert await host.next() == "votes"

        asyncio.run(run())

    def test_it_comes_back_after_redis_was_stopped(self) -> None:
        async def run() -> None:
            with RedisServer() as server:
                async with expiry(server) as host:
                    await listens(server)
                    server.signal(signal.SIGSTOP)
                    host.recent["votes"] = SystemClock().steady_ms() + 60_000
                    await until(lambda: not host.recent)
                    server.signal(signal.SIGCONT)
                    heard = asyncio.ensure_future(host.next())
                    while not heard.done():  # Redis may take the listener that is gone for one that listens.
                        server.client.set(f"{PREFIX}votes", 1, px=1)
                        await asyncio.wait([heard], timeout=0.2)
                    assert heard.result() == "votes"

        asyncio.run(run())

    def test_redis_that_forbids_its_configuration(self, caplog: pytest.LogCaptureFixture) -> None:
        async def run() -> None:
            with RedisServer(rename_command='CONFIG ""', notify_keyspace_events='"Ex"') as server:
                async with expiry(server) as host:
                    await listens(server)
                    server.client.set(f"{PREFIX}votes", 1, px=1)
                    assert await host.next() == "votes"

        asyncio.run(run())
        assert "action=redis_config_refused" in caplog.text

    def test_redis_that_is_not_there(self, caplog: pytest.LogCaptureFixture) -> None:
        server = RedisServer()

        async def run() -> None:
            async with expiry(server) as host:
                host.recent["votes"] = SystemClock().steady_ms() + 60_000
                await until(lambda: not host.recent and "what=set" in caplog.text)

        asyncio.run(run())
        assert caplog.text.count("action=redis_away") == 2  # Once for setting, once for listening.


@pytest.fixture(scope="module")
def service(redis_server: RedisServer) -> Iterator[Service]:
    with Service(reset_after="2s", default_counter="page", counter_key="contador_reset") as one:
        one.start(REDIS_URL=redis_server.url, RESET_SECRET=SECRET)
        yield one
        assert one.stop() == 0


def ask(service: Service, secret: str | None = SECRET, content: bytes = b"") -> httpx.Response:
    headers = {} if secret is None else {"x-secret": secret}
    return httpx.post(f"{service.url}/api/reset-counter", content=content, headers=headers)


class TestAService:
    def test_everybody_hears_of_a_reset_and_why(self, service: Service) -> None:
        with listening(service, "seen") as one, listening(service, "seen") as other:
            service.call("increment", {"name": "seen", "amount": 7})
            for each in (one, other):
                assert each.hear()["type"] == "increment"
                event = each.hear(PATIENCE_S)
                assert (event["type"], event["reason"], event["value"]) == ("reset", "inactivity", 0)

    def test_the_worker_of_another_program(self, service: Service, redis_server: RedisServer) -> None:
        """It hears the key that it knows expire, and is told what the owner has decided."""
        worker = subprocess.Popen(
            [sys.executable, ROOT / "examples" / "reset_worker.py"],
            env=environment(
                REDIS_URL=redis_server.url, COUNTERS_URL=service.url, RESET_SECRET=SECRET, PATH=os.environ["PATH"]
            ),
            stdout=subprocess.PIPE,
        )
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"listening for contador_reset\n"
            with listening(service, "page") as page:
                service.call("increment", {"name": "page"})
                assert page.hear()["type"] == "increment"
                assert page.hear(PATIENCE_S)["reason"] == "inactivity"
            redis_server.client.set("contador_reset", 1, px=1)  # Its own, should the service have been quicker.
            said = worker.stdout.readline()
            assert b'"success": true' in said and b'"value": 0' in said
        finally:
            worker.kill()
            worker.wait()

    def test_redis_is_killed_and_nothing_is_late(self) -> None:
        with RedisServer() as server, Service(reset_after="2s") as service:
            service.start(REDIS_URL=server.url)
            with listening(service, "votes") as one:
                service.call("increment", {"name": "votes"})
                assert one.hear()["type"] == "increment"
                server.kill()
                assert one.hear(PATIENCE_S)["reason"] == "inactivity"
            service.wait_for_line("action=redis_away")
            [reset, increment] = service.call("getHistory", {"name": "votes"})
            assert reset["operation"] == "reset" and increment["operation"] == "increment(1)"


class TestTheEndpoint:
    def test_only_with_the_secret(self, service: Service) -> None:
        for wrong in (None, "", "open", f"{SECRET}!", SECRET.upper(), "x" * 50_000):
            answer = ask(service, wrong)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED"), wrong

    def test_it_resets_what_was_left_alone_and_nothing_else(self, service: Service) -> None:
        service.call("configure", {"name": "slow", "policy": {"reset_after": "1h"}})
        service.call("increment", {"name": "slow", "amount": 3})
        answer = ask(service, content=b'{"name": "slow"}')
        assert (answer.status_code, answer.json()) == (200, {"success": True, "reset": False, "value": 3})
        answer = ask(service, content=b'{"name": "slow", "force": true}')
        assert answer.json() == {"success": True, "reset": True, "value": 0}
        assert service.call("getHistory", {"name": "slow"})[0]["operation"] == "reset"

    def test_a_counter_that_is_not_there_stays_away(self, service: Service) -> None:
        for force in (b"false", b"true"):
            answer = ask(service, content=b'{"name": "nobody", "force": %b}' % force)
            assert answer.json() == {"success": True, "reset": False, "value": 0}
        assert all(each["name"] != "nobody" for each in service.call("listAll", {})["counters"])

    @pytest.mark.parametrize(
        ("content", "status"),
        [(b"[]", 400), (b"{", 400), (b'{"name": "no spaces"}', 400), (b'{"who": 1}', 400), (b'{"force": 1}', 400),
         (b" " * 5_000, 413)],
    )  # fmt: skip
    def test_what_makes_no_sense(self, service: Service, content: bytes, status: int) -> None:
        assert ask(service, content=content).status_code == status

    def test_without_a_secret_there_is_none(self, tmp_path: Path) -> None:
        with Service() as service:
            service.start()
            assert ask(service).status_code == 404
