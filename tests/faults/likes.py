"""Likes: a post that a million like, a feed, and a crowd that toggles while hosts are killed.

    python -m tests.faults.likes
    python -m tests.faults.likes --members 1000000 --kills 10

A counter is given its members directly; then one client likes it and takes it back, for members chosen by chance. A
client asks for the counts of a feed, and for what a member likes in it, each in one call. Then a crowd toggles the
likes of the same few members, hosts are killed, and whoever looks at any moment, into storage or at the events, has to
find that the count is the number of members.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import psutil
from sqlalchemy import Engine, create_engine, text

from counters_client import CounterClient, Event
from loadtests.verdict import Verdict
from storage.records import Commit, CounterWrite, MemberRecord, PolicyWrite
from storage.store import open_store
from tests.faults.command import Command, complain, quantile
from tests.support.kill import kill_actor, wait_until_back
from tests.support.service_process import Service

MIB = 2**20
POPULAR, DISPUTED = "likes:popular", "likes:disputed"
FILL = 1_000  # Members in a commit.
FEED = 1_000
TOGGLE_BAR_MS, FEED_BAR_MS, MEMORY_BAR_MIB = 5.0, 25.0, 64.0
LOOK_S = 0.02
CONSISTENT = text(
    "SELECT value, (SELECT count(*) FROM member WHERE counter_id = counter.id) FROM counter WHERE name = :name"
)


@dataclass(frozen=True)
class Sizes:
    members: int = field(default=1_000_000, metadata={"help": "who like the popular one"})
    toggles: int = field(default=20_000, metadata={"help": "of its members, one after the other"})
    asks: int = field(default=300, metadata={"help": "of each question about the feed"})
    clients: int = field(default=16, metadata={"help": "that toggle the same likes"})
    disputed: int = field(default=100, metadata={"help": "members whose likes these are"})
    kills: int = field(default=5, metadata={"help": "of hosts meanwhile"})
    between: int = field(default=1_000, metadata={"help": "toggles between two kills"})


QUICK = Sizes(members=5_000, toggles=200, asks=20, kills=1, between=200)


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    engine = create_engine(service.database)
    await popular(service, sizes, verdict, engine)
    await feed(service, sizes, verdict)
    await disputed(service, sizes, verdict, engine)
    engine.dispose()


async def popular(service: Service, sizes: Sizes, verdict: Verdict, engine: Engine) -> None:
    """Many members, of which the host knows nothing before it is asked about them."""
    began = time.monotonic()
    await asyncio.to_thread(fill, service.database, sizes.members)
    verdict.figure(f"to store {sizes.members:,} members", time.monotonic() - began, "s")
    chance = random.Random(1)
    async with CounterClient(service.url) as counters:
        await counters.like.toggle(POPULAR, member(0))
        before = memory(service)
        took = [
            await timed(lambda: counters.like.toggle(POPULAR, member(chance.randrange(2 * sizes.members))))
            for _ in range(sizes.toggles)
        ]
        verdict.figure("toggle, p99", quantile(took, 0.99) * 1000, "ms")
        verdict.at_most("toggle, p50", quantile(took, 0.5) * 1000, TOGGLE_BAR_MS, "ms", timed=True)
        more = (memory(service) - before) / MIB
        verdict.at_most("memory of the hosts after that, above before", more, MEMORY_BAR_MIB, "MiB", timed=True)
        value, there = await asyncio.to_thread(look, engine, POPULAR)
        verdict.exactly("members beside the count, popular", there, value)
        verdict.exactly("the count that is told, popular", await counters.like.get_count(POPULAR), value)
        began = time.monotonic()
        await counters.reset(POPULAR)
        verdict.figure("to reset it", time.monotonic() - began, "s")
        verdict.exactly("members after a reset", sum(await asyncio.to_thread(look, engine, POPULAR)), 0)


async def feed(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """Counts, and what somebody likes, of many at once."""
    names = [f"likes:feed:{number}" for number in range(FEED)]
    async with CounterClient(service.url) as counters:
        await asyncio.gather(*(counters.like.add(name, "bob") for name in names))
        await asyncio.gather(*(counters.like.add(name, "ann") for name in names[::2]))
        likes = {name: number % 2 == 0 for number, name in enumerate(names)}
        for title, ask, right in (
            ("getCounts", lambda: counters.like.get_counts(names), {name: 1 + yes for name, yes in likes.items()}),
            ("getStatuses", lambda: counters.like.get_statuses(names, "ann"), likes),
        ):
            verdict.require(f"{title} is right about {FEED:,}", await ask() == right)  # type: ignore[no-untyped-call]
            took = [await timed(ask) for _ in range(sizes.asks)]
            verdict.figure(f"{title}, p50", quantile(took, 0.5) * 1000, "ms")
            verdict.at_most(f"{title}, p99", quantile(took, 0.99) * 1000, FEED_BAR_MS, "ms", timed=True)


async def disputed(service: Service, sizes: Sizes, verdict: Verdict, engine: Engine) -> None:
    """A crowd toggles the same likes, and hosts are killed."""
    done, over, wrong = [0], asyncio.Event(), []
    looks, events = [0], Follower()

    async def toggle(seed: int) -> None:
        chance = random.Random(seed)
        async with CounterClient(service.url) as counters:
            while not over.is_set():
                await counters.like.toggle(DISPUTED, member(chance.randrange(sizes.disputed)))
                done[0] += 1

    async def look_on() -> None:
        while not over.is_set():
            value, there = await asyncio.to_thread(look, engine, DISPUTED)
            looks[0] += 1
            if value != there:
                wrong.append(f"in storage: a count of {value} and {there} members")
            await asyncio.sleep(LOOK_S)

    async with CounterClient(service.url) as counters:
        watch = counters.watch(DISPUTED)
        events.take(await anext(watch))

        async def follow() -> None:
            async for event in watch:
                events.take(event)

        tasks = [asyncio.create_task(each) for each in (*map(toggle, range(sizes.clients)), look_on())]
        following = asyncio.create_task(follow())
        await until(done, sizes.between)
        for kill in range(sizes.kills):
            actors = await asyncio.to_thread(service.actors, "host")
            victims = sorted(name for name in actors if name.startswith("host:"))  # The others end with their counter.
            victim, after = victims[kill % len(victims)], service.log_size()
            await asyncio.to_thread(kill_actor, service, "host", victim)
            await asyncio.to_thread(wait_until_back, service, "host", victim, after)
            await until(done, done[0] + sizes.between)
        over.set()
        await asyncio.gather(*tasks)
        described = await counters.get_metadata(DISPUTED)
        while events.seq < described.operation_count:
            await asyncio.sleep(LOOK_S)
        following.cancel()
        page = await counters.like.members(DISPUTED, limit=1_000)
        statuses = [await counters.like.is_liked(DISPUTED, member(number)) for number in range(sizes.disputed)]
    verdict.count("toggles that were acknowledged", done[0])
    verdict.count("looks into storage meanwhile", looks[0])
    verdict.exactly("count beside members, wrong", len(wrong) + len(events.wrong), 0)
    complain(verdict, wrong + events.wrong)
    verdict.exactly("operations, of those acknowledged", described.operation_count, done[0])
    verdict.exactly("members at the end", len(page.members), described.value)
    verdict.exactly("members by the events", len(events.members), described.value)
    verdict.exactly("who likes it, asked one by one", sum(statuses), described.value)
    verdict.require("all of these are the same", events.members == {each.member for each in page.members})


class Follower:
    """Knows the members from the events alone."""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.seq = 0
        self.wrong: list[str] = []

    def take(self, event: Event) -> None:
        """Each is a member that joins or leaves, and says how many there are then."""
        seq = event.metadata.operation_count
        if seq != self.seq + (event.type != "snapshot"):
            self.wrong.append(f"event {seq} ({event.type}) after {self.seq}")
        self.seq = seq
        if event.member is not None:
            (self.members.add if event.type == "increment" else self.members.discard)(event.member)
        if event.value != len(self.members):
            self.wrong.append(f"event {seq} says {event.value}, and there are {len(self.members)}")


def fill(url: str, members: int) -> None:
    """A counter with many members; nobody has it in memory."""
    store = open_store(url)
    [row] = store.claim([POPULAR], 0)
    at = round(time.time() * 1000)
    policies = [PolicyWrite(row.id, '{"likes":true}', None)]
    for first in range(0, members, FILL):
        last = min(first + FILL, members)
        joined = [MemberRecord(row.id, member(number), at) for number in range(first, last)]
        fenced = store.commit(
            Commit([CounterWrite(row.id, row.epoch, last, last, at)], policies=policies, joined=joined)
        )
        assert not fenced
        policies = []
    store.close()


def member(number: int) -> str:
    return f"user-{number:08}"


def look(engine: Engine, name: str) -> tuple[int, int]:
    """The count and the number of members, of the same moment."""
    with engine.connect() as connection:
        row = connection.execute(CONSISTENT, {"name": name}).one_or_none()
    return (0, 0) if row is None else (row[0], row[1])


def memory(service: Service) -> int:
    """Of the hosts, without what they share with others."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in service.pids("host"))


async def until(done: list[int], number: int) -> None:
    while done[0] < number:
        await asyncio.sleep(LOOK_S)


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


COMMAND = Command(__doc__ or "", Sizes(), QUICK, lambda sizes: {"hosts": 2, "gateways": 2}, run)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
