"""A storm of reconnects: everybody is thrown out at once, and comes back with `since=`.

Nobody may miss an event or hear one twice, while the writers go on. How often storage is asked meanwhile cannot be
seen from outside; that it is once for a counter, however many come back, is a unit test of the hub.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from loadtests.bench.figures import percentile
from loadtests.bench.stage import Stage, new_name
from loadtests.endurance.clients import Follower, Source, pace
from loadtests.verdict import Verdict

RETURN_S = 2.0  # Within which all come back.
CATCH_UP_S = 30.0


@dataclass(frozen=True)
class Size:
    clients: int = 2_000
    counters: int = 40
    events_per_s: int = 400  # Over all counters.
    storms: int = 3
    calm_s: float = 3.0  # Before each storm, and after the last.


QUICK = Size(clients=300, counters=10, events_per_s=100, storms=2, calm_s=1.0)


async def run(stage: Stage, quick: bool, verdict: Verdict) -> None:
    """See the module."""
    size = QUICK if quick else Size()
    names = [new_name("resume") for _ in range(size.counters)]
    sources = await stage.all_of([Source(stage, name).connect() for name in names])
    followers = [Follower(names[number % size.counters], stage.fail) for number in range(size.clients)]
    await stage.all_of([follower.come_back(stage.peer.port) for follower in followers])
    verdict.remark(
        f"{size.clients:,} listeners of {size.counters} counters, {size.events_per_s} events/s, "
        f"{size.storms} storms, all back within {RETURN_S:g} s"
    )

    # A storm, with the time its last comer needs, is shorter than this.
    seconds = size.storms * (size.calm_s + RETURN_S + 2.0) + size.calm_s
    writing = asyncio.create_task(pace(stage, sources, size.events_per_s, seconds))
    waits: list[float] = []
    handshakes: list[float] = []
    for _ in range(size.storms):
        await stage.pause(size.calm_s)
        for follower in followers:
            follower.drop()
            follower.first_waits.clear()
        handshakes += await asyncio.gather(*(_return(stage, follower) for follower in followers))
        await stage.pause(1.0)
        waits += [wait for follower in followers for wait in follower.first_waits]
    await writing
    await asyncio.gather(*(source.settle() for source in sources))
    wanted = {source.counter: len(source.sent_at) for source in sources}
    for _ in range(round(CATCH_UP_S / 0.05)):
        if all(follower.last == wanted[follower.counter] for follower in followers):
            break
        await stage.pause(0.05)

    verdict.figure("events", sum(wanted.values()))
    verdict.figure("deliveries", sum(follower.events for follower in followers))
    verdict.figure("handshake p99 in a storm", percentile(sorted(handshakes), 0.99) * 1e3, "ms")
    verdict.figure("from the return to the first event, p99", percentile(sorted(waits), 0.99) * 1e3, "ms")
    verdict.exactly("events that somebody missed", sum(follower.gaps for follower in followers), 0)
    verdict.exactly("events that somebody heard twice", sum(follower.repeats for follower in followers), 0)
    verdict.exactly("events that stood for several", sum(follower.stand_ins for follower in followers), 0)
    ends = sum(follower.last == wanted[follower.counter] for follower in followers)
    verdict.exactly("listeners that heard the last event", ends, size.clients)
    values = [await stage.value_of(name) for name in names]
    verdict.exactly("acknowledged operations, all counted", sum(values), sum(source.acknowledged for source in sources))
    for follower in followers:
        follower.drop()


async def _return(stage: Stage, follower: Follower) -> float:
    """Come back at some moment of the time there is; the seconds that the handshake took."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(random.uniform(0, RETURN_S))
    began = loop.time()
    await follower.come_back(stage.peer.port)
    return loop.time() - began
