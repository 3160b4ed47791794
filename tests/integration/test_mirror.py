"""The mirror in a real Redis: what is committed is there, whoever came late, died, was stopped or emptied meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from actors import mirror as module
from actors.clock import SystemClock
from actors.keeper import Keeper
from actors.messages import Burst
from actors.mirror import Mirror
from actors.mirrored import COMPLETE, LOST, MARKS, SCRIPT, Standing, keys, writes
from actors.queries import State, from_row
from actors.rebuild import Difference, Rebuild
from storage.memory import MemoryStore
from storage.records import Commit, CounterRecord, CounterWrite, OperationRecord
from storage.store import DELETION, open_store
from tests.support.redis_server import MISSING, RedisServer
from tests.support.service_process import run_command
from tests.support.stage import entry, table
from tests.support.tcp_proxy import Proxy

pytestmark = pytest.mark.skipif(MISSING, reason="redis-server is not installed")

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def one_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(one_server: RedisServer) -> RedisServer:
    one_server.client.flushall()
    return one_server


def value(server: RedisServer, name: str) -> int | None:
    text: Any = server.client.get(f"counters:value:{name}")
    return None if text is None else int(text)


async def until(look: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(look):
            await asyncio.sleep(0.01)


def burst(name: str, *values: int) -> Burst:
    return Burst(name, 1, values[0], ["increment"] * len(values), [b'{"value":%d}' % each for each in values])


class Truth:
    """What a mirror asks its host for."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}

    def put(self, name: str, id: int, seq: int, value: int) -> None:
        self.states[name] = from_row(CounterRecord(id, name, value, seq, 1, 1, 1, None, None))

    async def read(self, names: Sequence[str]) -> Mapping[str, State]:
        return {name: self.states[name] for name in names if name in self.states}


@asynccontextmanager
async def mirror(server: RedisServer, truth: Truth | None = None) -> AsyncIterator[Mirror]:
    built = Mirror(server.url, "host-1", SystemClock())
    task = asyncio.create_task(built.run((truth or Truth()).read))
    try:
        yield built
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class TestPlaces:
    """The script: the higher place wins, in whatever order they arrive."""

    @staticmethod
    def write(server: RedisServer, *standings: tuple[int, int, int | None], seen: str = "") -> list[Any]:
        script = server.client.register_script(SCRIPT)
        each = [Standing(*standing) for standing in standings]
        said: list[Any] = script(keys(["votes"] * len(each)), writes(each, [seen] * len(each)))
        return said

    def test_a_late_value_changes_nothing(self, redis: RedisServer) -> None:
        assert self.write(redis, (1, 7, 70)) == []
        assert self.write(redis, (1, 6, 60)) == [0, b"1:7"]
        assert value(redis, "votes") == 70

    def test_nor_does_one_from_an_earlier_life(self, redis: RedisServer) -> None:
        assert self.write(redis, (9, 1, 1), (8, 1_000, 5)) == [1, b"9:1"]
        assert value(redis, "votes") == 1

    def test_what_was_deleted_stays_away(self, redis: RedisServer) -> None:
        self.write(redis, (1, 7, 70), (1, 8, None))
        assert self.write(redis, (1, 7, 70)) == [0, b"1:8"]
        assert value(redis, "votes") is None
        assert 0 < redis.client.ttl("counters:place:votes") <= 3_600

    def test_and_a_new_life_begins_and_stays(self, redis: RedisServer) -> None:
        self.write(redis, (1, 8, None), (2, 1, 3))
        assert (value(redis, "votes"), redis.client.ttl("counters:place:votes")) == (3, -1)

    def test_the_same_again_is_set(self, redis: RedisServer) -> None:
        self.write(redis, (1, 7, 70))
        redis.client.delete("counters:value:votes")
        assert self.write(redis, (1, 7, 70)) == []
        assert value(redis, "votes") == 70

    @pytest.mark.parametrize("numbers", [(2**53 - 2, 2**53 - 1), (-(2**53) + 1, 0)])
    def test_the_largest_and_the_smallest(self, redis: RedisServer, numbers: tuple[int, int]) -> None:
        for number in numbers:
            assert self.write(redis, (2**53 - 1, 2**53 - 1, number)) == []
            assert value(redis, "votes") == number

    def test_a_place_that_was_seen_gives_way(self, redis: RedisServer) -> None:
        self.write(redis, (5, 500, 1))
        assert self.write(redis, (1, 1, 2), seen="5:499") == [0, b"5:500"]
        assert self.write(redis, (1, 1, 2), seen="5:500") == []
        assert value(redis, "votes") == 2

    @pytest.mark.parametrize("junk", ["", "x", "1:", ":1", "1:2:3", "-1:2"])
    def test_a_place_that_is_none(self, redis: RedisServer, junk: str) -> None:
        redis.client.set("counters:place:votes", junk)
        assert self.write(redis, (1, 1, 2)) == []

    def test_keys_of_another_kind(self, redis: RedisServer) -> None:
        redis.client.lpush("counters:place:votes", 1)
        redis.client.hset("counters:value:votes", "a", "b")
        assert self.write(redis, (1, 1, 2)) == []
        assert value(redis, "votes") == 2


class TestAHost:
    def test_what_it_commits_is_set_and_then_told(self, redis: RedisServer) -> None:
        async def run() -> None:
            with redis.client.pubsub() as channel:
                channel.psubscribe("counters:events:*")
                channel.get_message(timeout=PATIENCE_S)
                async with mirror(redis) as m:
                    m.take(1, [("votes", Standing(1, 2, 2)), ("seats", Standing(2, 1, 9))], [burst("votes", 1, 2)])
                    heard = [await asyncio.to_thread(channel.get_message, True, PATIENCE_S) for _ in range(2)]
                    assert value(redis, "votes") == 2  # Before the first event.
                    assert [json.loads(each["data"])["value"] for each in heard if each] == [1, 2]
                    assert heard[0] is not None and heard[0]["channel"] == b"counters:events:votes"
                    assert redis.client.mget("counters:value:votes", "counters:value:seats") == [b"2", b"9"]

        asyncio.run(run())

    def test_many_at_once(self, redis: RedisServer) -> None:
        async def run() -> None:
            async with mirror(redis) as m:
                m.take(1, [(f"n{i}", Standing(i, 1, i)) for i in range(1_234)], [burst(f"n{i}", i) for i in range(999)])
                await until(lambda: m.figures()["published_total"] == 999)
            assert redis.client.mget([f"counters:value:n{i}" for i in range(1_234)]) == [
                str(i).encode() for i in range(1_234)
            ]

        asyncio.run(run())

    def test_redis_that_is_stopped_gets_the_newest_when_it_goes_on(self, redis: RedisServer) -> None:
        async def run() -> None:
            async with mirror(redis) as m:
                m.take(1, [("votes", Standing(1, 1, 1))])
                await until(lambda: value(redis, "votes") == 1)
                redis.signal(signal.SIGSTOP)
                try:
                    for seq in range(2, 50):
                        m.take(seq, [("votes", Standing(1, seq, seq))])
                        await asyncio.sleep(0)
                    assert m.figures()["names_waiting"] <= 2
                finally:
                    redis.signal(signal.SIGCONT)
                await until(lambda: value(redis, "votes") == 49)

        asyncio.run(run())

    def test_redis_that_is_killed_is_told_again(self, caplog: pytest.LogCaptureFixture) -> None:
        async def run() -> None:
            with RedisServer() as server:
                async with mirror(server) as m:
                    m.take(1, [("votes", Standing(1, 1, 1))])
                    await until(lambda: value(server, "votes") == 1)
                    await asyncio.to_thread(server.kill)
                    m.take(2, [("votes", Standing(1, 2, 2))], [burst("votes", 2)])
                    await until(lambda: not m.figures()["connected"])
                    m.take(3, [("votes", Standing(1, 3, 3))], [burst("votes", 3)])
                    await asyncio.to_thread(server.start)
                    await until(lambda: value(server, "votes") == 3)
                    await until(lambda: m.figures()["published_total"] == 2)

        asyncio.run(run())
        assert caplog.text.count("action=mirror_away") == 1

    def test_redis_that_has_become_a_replica_is_left_for_the_one_that_writes(
        self, redis: RedisServer, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A failover behind one address: connections to the old one stay, and it refuses what is written."""
        monkeypatch.setattr("actors.keeper.LOOK_S", 0.1)
        shelf.commit("seats", 5)  # The keeper's to set; the votes are the host's.

        async def run() -> None:
            with RedisServer() as old:
                async with Proxy(old.port) as proxy:
                    url = proxy.url.replace("http:", "redis:")
                    built = Mirror(url, "1", SystemClock())
                    keeper = Keeper(shelf.store, url, shelf.clock)
                    tasks = [
                        asyncio.create_task(work)
                        for work in (built.run(Truth().read), keeper.run(lambda: table(1, "h")))
                    ]
                    await until(lambda: value(old, "seats") == 5)
                    row = shelf.commit("votes", 1)
                    built.take(1, [("votes", Standing(row.id, 1, 1))])
                    await until(lambda: value(old, "votes") == 1)
                    proxy.lead_to(redis.port)
                    await asyncio.to_thread(old.client.replicaof, "127.0.0.1", redis.port)
                    shelf.commit("votes", 2)
                    built.take(2, [("votes", Standing(row.id, 2, 2))])
                    await until(lambda: (value(redis, "votes"), value(redis, "seats")) == (2, 5))
                    await until(lambda: built.figures()["connected"])
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(run())

    def test_what_may_have_been_committed_is_looked_up(self, redis: RedisServer) -> None:
        async def run() -> None:
            truth = Truth()
            truth.put("there", 1, 5, 50)
            async with mirror(redis, truth) as m:
                m.take(1, [("there", Standing(1, 4, 40)), ("gone", Standing(2, 4, 4))])
                m.doubt(2, {"there": Standing(1, 4, None), "gone": Standing(2, 4, None), "never": None})
                await until(lambda: value(redis, "there") == 50)
                assert (value(redis, "gone"), value(redis, "never")) == (None, None)
                assert redis.client.get("counters:place:never") is None  # Its first operation may still come.

        asyncio.run(run())

    def test_what_was_deleted_and_perhaps_begun_anew_meanwhile_does_not_stay(self, redis: RedisServer) -> None:
        async def run() -> None:
            async with mirror(redis) as m:
                m.take(1, [(name, Standing(1, 4, 40)) for name in ("votes", "seats")])
                await until(lambda: value(redis, "votes") == value(redis, "seats") == 40)
                redis.signal(signal.SIGSTOP)
                try:
                    m.take(2, [("other", Standing(2, 1, 1))])
                    while not m._sending:
                        await asyncio.sleep(0)
                    m.take(3, [("votes", Standing(1, 5, None))])
                    m.doubt(4, {"votes": None})  # It was begun anew, perhaps; storage says that it was not.
                    m.doubt(5, {"seats": Standing(1, 4, None)})
                    m.doubt(6, {"seats": None})
                finally:
                    redis.signal(signal.SIGCONT)
                await until(lambda: not m.figures()["names_waiting"])
                assert (value(redis, "votes"), value(redis, "seats")) == (None, None)

        asyncio.run(run())

    def test_events_beyond_the_bound_are_dropped_and_counted(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "EVENTS_MAX", 3)

        async def run() -> None:
            built = Mirror(redis.url, "host-1", SystemClock())
            for seq in range(1, 11):
                built.take(seq, [("votes", Standing(1, seq, seq))], [burst("votes", seq)])
            figures = built.figures()
            assert (figures["events_waiting"], figures["events_dropped_total"], figures["names_waiting"]) == (3, 7, 1)

        asyncio.run(run())

    def test_names_beyond_the_bound_are_left_to_the_keeper(
        self, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "NAMES_MAX", 2)

        async def run() -> None:
            async with mirror(redis) as m:
                for at, name in ((7, "a"), (8, "b"), (9, "c"), (10, "a"), (11, "d")):
                    m.take(at, [(name, Standing(1, at, at))])
                assert (m.figures()["names_waiting"], m.figures()["names_lost_total"]) == (2, 2)
                await until(lambda: redis.client.hvals(LOST) == [b"9"])
                await until(lambda: redis.client.hget(MARKS, "host-1") is not None)
                assert (value(redis, "a"), value(redis, "b"), value(redis, "c")) == (10, 8, None)

        asyncio.run(run())

    def test_its_mark_waits_for_a_commit_that_is_under_way(self, redis: RedisServer) -> None:
        def mark() -> int:
            return int(redis.client.hget(MARKS, "host-1") or 0)  # type: ignore[arg-type]

        async def run() -> None:
            async with mirror(redis) as m:
                m.begin(77)
                await until(lambda: mark() == 77)
                m.take(77, [("votes", Standing(1, 1, 1))])
                await until(lambda: mark() > 77)
                await m.finish(PATIENCE_S)
                assert not redis.client.exists(MARKS)

        asyncio.run(run())


class Shelf:
    """Storage, a Redis and a keeper, without a host between them."""

    def __init__(self, server: RedisServer, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.server = server
        self.clock = SystemClock()
        self.rebuild = Rebuild(self.store, server.url, self.clock)

    def commit(self, name: str, value: int, deleted: bool = False) -> CounterRecord:
        """Somebody changes a counter, and does not live to say so."""
        [row] = self.store.claim([name], 0)
        steady, wall, seq = self.clock.steady_ms(), self.clock.now_ms(), row.seq + 1
        kind = DELETION if deleted else "setValue"
        operation = OperationRecord(row.id, seq, kind, value, value, row.value, wall, f"{row.id}:{seq}", None, name)
        write = CounterWrite(row.id, row.epoch, value, row.seq if deleted else seq, wall, steady)
        self.store.commit(Commit([write], [operation], deletions=[row.id] if deleted else []))
        return row._replace(value=value, seq=seq)

    def wrong(self) -> list[Difference]:
        return list(self.rebuild.differences())


@pytest.fixture
def shelf(redis: RedisServer) -> Shelf:
    return Shelf(redis)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference is one at the second look."""
    monkeypatch.setattr("actors.rebuild.LOOKS", 2)
    monkeypatch.setattr("actors.rebuild.LOOK_AGAIN_S", 0.01)


@pytest.mark.usefixtures("quick")
class TestRebuild:
    def test_an_empty_redis_is_filled(self, shelf: Shelf) -> None:
        for i in range(2_500):
            shelf.commit(f"n{i}", i)
        shelf.store.claim(["claimed"], 0)
        assert len(shelf.wrong()) == 2_500
        assert shelf.rebuild.everything() == (2_500, 0)
        assert shelf.wrong() == []
        assert not shelf.server.client.exists("counters:value:claimed")

    def test_what_is_no_counter_is_removed(self, shelf: Shelf) -> None:
        shelf.commit("votes", 3)
        shelf.server.client.mset({"counters:value:old": 1, "counters:place:old": "3:4", "counters:value:new": 7})
        assert sorted(shelf.wrong()) == [
            Difference("new", "7", None), Difference("old", "1", None), Difference("votes", None, 3),
        ]  # fmt: skip
        assert shelf.rebuild.everything() == (1, 2)
        assert shelf.wrong() == []

    def test_a_wrong_value_is_found_and_put_right(self, shelf: Shelf) -> None:
        shelf.commit("votes", 3)
        shelf.rebuild.everything()
        shelf.server.client.incr("counters:value:votes")
        assert shelf.wrong() == [Difference("votes", "4", 3)]
        shelf.rebuild.everything()
        assert shelf.wrong() == []

    def test_a_redis_of_another_database_becomes_ours(self, shelf: Shelf) -> None:
        for _ in range(5):
            shelf.commit("votes", 50)
        shelf.commit("theirs", 1)
        shelf.rebuild.everything()
        other = Shelf(shelf.server)
        other.commit("votes", 3)  # Its place is lower.
        assert other.rebuild.everything() == (1, 1)
        assert (value(shelf.server, "votes"), other.wrong()) == (3, [])

    def test_owners_go_on_meanwhile(self, shelf: Shelf) -> None:
        """A page that is late does not take back what its owner has set."""
        shelf.commit("votes", 3)
        late = shelf.store.after(0, 9)
        row = shelf.commit("votes", 4)
        write = shelf.server.client.register_script(SCRIPT)
        write(keys(["votes"]), writes([Standing(row.id, row.seq, 4)]))
        shelf.rebuild._set(late)
        assert value(shelf.server, "votes") == 4

    def test_keys_that_are_no_names_are_left_alone(self, shelf: Shelf) -> None:
        shelf.server.client.mset({"counters:value:": 1, "counters:value:no spaces": 2, b"counters:value:\xff": 3})
        assert shelf.rebuild.everything() == (0, 0)


@pytest.mark.usefixtures("quick")
class TestTheKeeper:
    @pytest.fixture
    def keeper(self, shelf: Shelf) -> Iterator[Keeper]:
        async def build() -> Keeper:
            return Keeper(shelf.store, shelf.server.url, shelf.clock)

        built = asyncio.run(build())
        yield built
        built._thread.close()
        built._rebuild.close()

    def test_a_redis_that_is_not_complete_is_filled(self, shelf: Shelf, keeper: Keeper) -> None:
        shelf.commit("votes", 3)
        keeper.look(table(1, "h"))
        assert value(shelf.server, "votes") == 3
        for spoil in (shelf.server.client.flushall, lambda: shelf.server.client.set(COMPLETE, "another")):
            spoil()
            shelf.server.client.delete("counters:value:votes")
            keeper.look(table(1, "h"))
            assert value(shelf.server, "votes") == 3

    def test_so_is_one_that_was_started_anew_with_what_it_had(self, tmp_path: Path) -> None:
        with RedisServer(appendonly="yes") as server:
            shelf = Shelf(server)
            shelf.commit("votes", 3)
            shelf.rebuild.everything()
            said = server.client.get(COMPLETE)
            server.client.set("counters:value:votes", 1)
            server.client.shutdown(save=True)  # type: ignore[call-arg]
            server.start()
            assert server.client.get(COMPLETE) == said != shelf.rebuild.complete().encode()

    def test_what_a_host_did_not_live_to_say(self, shelf: Shelf, keeper: Keeper) -> None:
        shelf.commit("before", 1)
        keeper.look(table(1, "h", "i"))
        shelf.server.client.hset(MARKS, "1", str(shelf.clock.steady_ms()))
        shelf.commit("votes", 3)
        shelf.commit("gone", 1)
        shelf.rebuild._set(shelf.store.after(0, 9))
        shelf.commit("votes", 4)
        shelf.commit("gone", 0, deleted=True)
        keeper.look(table(1, "h", "i"))
        assert (value(shelf.server, "votes"), value(shelf.server, "gone")) == (3, 1)  # Its host lives.
        keeper.look(_only("i", 2))
        assert (value(shelf.server, "votes"), value(shelf.server, "gone")) == (4, None)
        assert shelf.wrong() == []

    def test_nor_does_it_matter_that_the_keeper_was_away_itself(self, shelf: Shelf, keeper: Keeper) -> None:
        keeper.look(table(1, "h"))
        shelf.commit("votes", 4)

        async def another() -> Keeper:
            return Keeper(shelf.store, shelf.server.url, shelf.clock)

        successor = asyncio.run(another())
        successor.look(_only("h", 9))
        assert value(shelf.server, "votes") == 4
        successor._thread.close()

    def test_what_a_host_could_not_remember(self, shelf: Shelf, keeper: Keeper) -> None:
        keeper.look(table(1, "h"))
        begin = shelf.clock.steady_ms()
        shelf.commit("votes", 4)
        shelf.server.client.hset(MARKS, mapping={"1": begin + 60_000, "": begin + 60_000})
        shelf.server.client.hset(LOST, "1 now", begin)
        keeper.look(table(1, "h"))
        assert value(shelf.server, "votes") == 4
        assert not shelf.server.client.exists(LOST)

    def test_scribbles_of_somebody_else_count_as_nothing(self, shelf: Shelf, keeper: Keeper) -> None:
        shelf.server.client.hset(MARKS, b"\xff", "5")
        shelf.server.client.set(COMPLETE, b"\xff")
        shelf.commit("votes", 3)
        keeper.look(table(1, "h"))
        assert value(shelf.server, "votes") == 3

    def test_a_mistake_of_ours_does_not_end_it(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("actors.keeper.LOOK_S", 0.01)
        shelf.commit("votes", 3)
        looks = iter([ZeroDivisionError()])

        async def run() -> None:
            keeper = Keeper(shelf.store, shelf.server.url, shelf.clock)
            look = keeper.look

            def broken(table: Any) -> None:
                for error in looks:
                    raise error
                look(table)

            monkeypatch.setattr(keeper, "look", broken)
            task = asyncio.create_task(keeper.run(lambda: table(1, "h")))
            await until(lambda: value(shelf.server, "votes") == 3)
            task.cancel()

        asyncio.run(run())
        assert caplog.text.count("action=keeper_failed") == 1

    def test_the_mark_for_all_waits_for_everybody(self, shelf: Shelf, keeper: Keeper) -> None:
        client = shelf.server.client
        keeper.look(_hosts(1, "a", "b"))
        first = int(client.hget(MARKS, "") or 0)  # type: ignore[arg-type]
        client.hset(MARKS, "a", first + 100)
        keeper.look(_hosts(1, "a", "b"))
        assert client.hget(MARKS, "") == str(first).encode()
        client.hset(MARKS, "b", first + 50)
        keeper.look(_hosts(1, "a", "b"))
        assert client.hget(MARKS, "") == str(first + 50).encode()


def _only(id: str, version: int) -> Any:
    return _hosts(version, f"{id}-again")


def _hosts(version: int, *incarnations: str) -> Any:
    from actors.placement import Table

    return Table(version, tuple(entry(f"host:{each}", each) for each in incarnations), previous=version - 1)


class TestTheCommand:
    def test_it_finds_what_is_wrong_and_rebuilds(self, redis: RedisServer, tmp_path: Path) -> None:
        database = f"sqlite:///{tmp_path / 'counters.db'}"
        store = open_store(database)
        for number, name in enumerate(("votes", "seats"), 1):
            [row] = store.claim([name], 0)
            store.commit(Commit([CounterWrite(row.id, row.epoch, number, 1, 1, 1)]))
        store.close()

        def counters(verb: str, **more: str) -> tuple[int, str]:
            done = run_command("mirror", verb, "--database", database, **more)
            return done.returncode, done.stdout + done.stderr

        assert counters("rebuild", REDIS_URL=redis.url) == (0, "2 counters set, 0 that are none removed\n")
        assert counters("verify", REDIS_URL=redis.url) == (0, "no differences\n")
        redis.client.set("counters:value:votes", 7)
        redis.client.set("counters:value:nobody", 7)
        code, said = counters("verify", REDIS_URL=redis.url)
        assert (code, sorted(said.splitlines())) == (1, [
            "2 differences", "nobody: 7 in Redis, nothing in storage", "votes: 7 in Redis, 1 in storage",
        ])  # fmt: skip
        assert counters("rebuild", REDIS_URL=redis.url) == (0, "2 counters set, 1 that are none removed\n")
        assert counters("verify", REDIS_URL=redis.url)[0] == 0
        assert counters("verify") == (2, "counters: which Redis? Say --redis-url, or set REDIS_URL\n")
        assert counters("verify", REDIS_URL="redis://127.0.0.1:1")[0] == 1
