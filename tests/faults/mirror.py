"""Redis is stopped and emptied, a host is killed meanwhile: nobody notices, and the mirror is true again.

    python -m tests.faults.mirror
    python -m tests.faults.mirror --rate 500 --seconds 5

Lag is the time from the answer to an operation until its event, which follows its value, was heard from Redis.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec
from redis.asyncio import Redis

from loadtests.service import raise_open_files
from loadtests.verdict import Verdict
from tests.faults.command import Command, chosen, options, quantile
from tests.faults.crowd import Crowd
from tests.support.hammer import Event
from tests.support.kill import kill_actor
from tests.support.redis_server import RedisServer
from tests.support.service_process import Service

WITHIN_S = 5.0
PATIENCE_S = 60.0
LOOK_S = 0.02

_decode = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True)
class Sizes:
    rate: int = field(default=2_000, metadata={"help": "operations a second"})
    counters: int = field(default=500, metadata={"help": "counters that these are for"})
    seconds: int = field(default=10, metadata={"help": "of load before, and while Redis is stopped"})
    rounds: int = field(default=3, metadata={"help": "times that it is stopped"})


QUICK = Sizes(rate=600, counters=300, seconds=1, rounds=1)


class Reader:
    """Another program: it hears the events."""

    def __init__(self) -> None:
        self.heard: dict[tuple[str, int], float] = {}

    @asynccontextmanager
    async def listening(self, url: str) -> AsyncIterator[None]:
        redis: Redis = Redis.from_url(url)
        async with redis.pubsub() as channel:
            await channel.psubscribe("counters:events:*")
            task = asyncio.create_task(self._listen(channel))
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await redis.aclose()

    async def _listen(self, channel: object) -> None:
        async for message in channel.listen():  # type: ignore[attr-defined]
            if message["type"] == "pmessage":
                name = message["channel"].decode().removeprefix("counters:events:")
                count = _decode(message["data"]).metadata.operationCount
                self.heard.setdefault((name, count), time.monotonic())


async def run(redis: RedisServer, service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    crowd, reader = Crowd(service, f"m{time.time_ns()}", sizes.counters, sizes.rate), Reader()
    async with reader.listening(redis.url):
        await crowd.start(0)
        await _lag(crowd, reader, sizes, verdict)
    for number in range(sizes.rounds):
        await _stopped(crowd, redis, sizes, verdict, number + 1)
    await crowd.steady.stop()
    await _true(crowd, service, redis, verdict, "when the load has ended, the mirror is true after")
    await _killed(crowd, service, redis, sizes, verdict)
    await asyncio.to_thread(redis.client.flushall)
    await _true(crowd, service, redis, verdict, "emptied, the mirror is true after", bar=None)
    await crowd.judge(verdict)


async def _lag(crowd: Crowd, reader: Reader, sizes: Sizes, verdict: Verdict) -> None:
    first = len(crowd.ledger.acknowledged)
    await asyncio.sleep(sizes.seconds)
    done = crowd.ledger.acknowledged[first:]
    await asyncio.sleep(1)
    lags = []
    for each in done:
        heard = reader.heard.get((each.operation.counter, each.seq))
        lags.append(float("inf") if heard is None else max(0.0, heard - each.answered_at))
    verdict.count("operations a second", round(len(done) / sizes.seconds))
    verdict.figure("lag p50", quantile(lags, 0.5) * 1000, "ms")
    verdict.at_most("lag p99", quantile(lags, 0.99) * 1000, 50, "ms", timed=True)
    verdict.exactly("events that were not heard", sum(lag == float("inf") for lag in lags), 0)


async def _stopped(crowd: Crowd, redis: RedisServer, sizes: Sizes, verdict: Verdict, number: int) -> None:
    first = len(crowd.ledger.acknowledged)
    await asyncio.sleep(sizes.seconds)
    before = quantile(crowd.latencies(first), 0.99)
    redis.signal(signal.SIGSTOP)
    first = len(crowd.ledger.acknowledged)
    await asyncio.sleep(sizes.seconds)
    during = quantile(crowd.latencies(first), 0.99)
    verdict.figure(f"{number}: p99 with Redis", before * 1000, "ms")
    verdict.figure(f"{number}: p99 while it is stopped", during * 1000, "ms")
    verdict.at_most(f"{number}: the second, of the first", during / before, 1.2, "x", timed=True)
    last = {each.operation.counter: each.seq for each in crowd.ledger.acknowledged}
    redis.signal(signal.SIGCONT)
    begun = time.monotonic()
    while await asyncio.to_thread(_behind, redis, last):
        await asyncio.sleep(LOOK_S)
    verdict.at_most(f"{number}: caught up after", time.monotonic() - begun, WITHIN_S, "s", timed=True)


def _behind(redis: RedisServer, last: dict[str, int]) -> bool:
    """Whether some name is not as far as that."""
    places = redis.client.mget([f"counters:place:{name}" for name in last])
    counts = [0 if place is None else int(place.split(b":")[1]) for place in places]
    return any(count < wanted for count, wanted in zip(counts, last.values(), strict=True))


async def _killed(crowd: Crowd, service: Service, redis: RedisServer, sizes: Sizes, verdict: Verdict) -> None:
    """A host dies with everything on its mind that it could not tell Redis."""
    redis.signal(signal.SIGSTOP)
    await crowd.steady.once()
    host, _ = next(iter(service.actors("host").items()))
    await asyncio.to_thread(kill_actor, service, "host", host)
    await asyncio.sleep(sizes.seconds)
    redis.signal(signal.SIGCONT)
    await _true(crowd, service, redis, verdict, "a host was killed meanwhile, the mirror is true after")


async def _true(
    crowd: Crowd, service: Service, redis: RedisServer, verdict: Verdict, title: str, bar: float | None = WITHIN_S
) -> None:
    begun, wrong = time.monotonic(), len(crowd.names)
    while wrong and time.monotonic() < begun + PATIENCE_S:
        wrong = await asyncio.to_thread(_wrong, service, redis, crowd.names)
        if wrong:
            await asyncio.sleep(LOOK_S)
    took = time.monotonic() - begun
    if bar is None:
        verdict.figure(title, took, "s")
    else:
        verdict.at_most(title, took, bar, "s", timed=True)
    verdict.exactly("names that are not as they should be", wrong, 0)


def _wrong(service: Service, redis: RedisServer, names: list[str]) -> int:
    values = service.call("getValues", {"names": names})["values"]
    mirrored = redis.client.mget([f"counters:value:{name}" for name in names])
    return sum(mirrored[i] != str(values[name]).encode() for i, name in enumerate(names))


def main() -> int:
    """The command line."""
    given = options(__doc__ or "", Sizes()).parse_args()
    sizes, verdict = chosen(given, Sizes(), QUICK), Verdict()
    raise_open_files()
    with RedisServer() as redis:
        command = Command("", sizes, sizes, lambda _: {}, partial(run, redis))
        with Service(hosts=2, redis_url=redis.url).start() as service:
            command.on_loop(service, sizes, verdict)
            verdict.exactly("exit code of the service, which left nothing behind", service.stop(), 0)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    sys.exit(main())
