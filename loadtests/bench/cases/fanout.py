"""One writer, many listeners: at full speed for the cost of a delivery, paced for its latency."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from loadtests.bench.cases.case import Case, Outcome
from loadtests.bench.figures import latency_figures
from loadtests.bench.load.websocket import Subscriber, Timekeeper, Witness, Writer
from loadtests.bench.stage import Stage, delivery_figures, new_name

FULL_SUBSCRIBERS = 100
FULL_IN_FLIGHT = 64  # Enough that the writer never waits for its own results.
PACED_SUBSCRIBERS = 1000
PACED_EVENTS_PER_S = 10
LAST_EVENTS_TIMEOUT_S = 10


async def full(stage: Stage) -> Outcome:
    counter = new_name("fanout")
    witness = Witness(stage.fail)
    subscribers = [witness, *(Subscriber(stage.fail) for _ in range(FULL_SUBSCRIBERS - 1))]
    await stage.all_of([one.connect(stage.peer.port, counter) for one in subscribers])
    writer = await Writer(FULL_IN_FLIGHT, [], stage.fail).connect(stage.peer.port, counter)

    writer.start()
    await stage.pause(stage.extent.warmup_s)
    first, before = _heard(subscribers), stage.read()
    await stage.pause(stage.extent.seconds)
    spent, last = stage.read() - before, _heard(subscribers)
    figures = delivery_figures(last - first, spent) | stage.memory()
    writer.stop()
    await stage.until(writer.idle)

    remark = await _missing(subscribers, witness, writer.acknowledged)
    return Outcome(figures, not remark, remark)


async def paced(stage: Stage) -> Outcome:
    counter = new_name("paced")
    sent_at: list[float] = []
    latencies_s: list[float] = []
    subscribers = [
        Timekeeper(sent_at, latencies_s, stage.fail) for _ in range(stage.extent.scaled(PACED_SUBSCRIBERS))
    ]
    await stage.all_of([one.connect(stage.peer.port, counter) for one in subscribers])
    writer = await Writer(0, [], stage.fail).connect(stage.peer.port, counter)

    await _pace(stage, writer, sent_at, stage.extent.warmup_s)
    first, before = len(latencies_s), stage.read()
    await _pace(stage, writer, sent_at, stage.extent.seconds)
    spent, last = stage.read() - before, len(latencies_s)
    await _until_heard(subscribers, len(sent_at))

    figures = delivery_figures(last - first, spent) | latency_figures(latencies_s[first:]) | stage.memory()
    late = sum(len(sent_at) - one.events for one in subscribers)
    return Outcome(figures, not late, f"{late} deliveries missing" if late else "")


async def _pace(stage: Stage, writer: Writer, sent_at: list[float], seconds: float) -> None:
    start = perf_counter()
    for i in range(round(seconds * PACED_EVENTS_PER_S)):
        sent_at.append(writer.send())
        await stage.pause(max(0.0, start + (i + 1) / PACED_EVENTS_PER_S - perf_counter()))


async def _missing(subscribers: Sequence[Subscriber], witness: Witness, events: int) -> str:
    """What is wrong with what was heard, empty if every subscriber heard every event once, in order."""
    await _until_heard(subscribers, events)
    if witness.joined:
        return f"{witness.joined} events of {events} stand for several"
    if witness.gaps or witness.events != events:
        return f"the witness heard {witness.events} of {events} events, with {witness.gaps} gaps"
    other = sum((one.events, one.checksum) != (witness.events, witness.checksum) for one in subscribers)
    return f"{other} subscribers heard something else than the witness" if other else ""


async def _until_heard(subscribers: Sequence[Subscriber | Timekeeper], events: int) -> None:
    """Give the last events, which may come after the last result, time to arrive."""
    for _ in range(LAST_EVENTS_TIMEOUT_S * 100):
        if all(one.events >= events for one in subscribers):
            return
        await asyncio.sleep(0.01)


def _heard(subscribers: Sequence[Subscriber]) -> int:
    return sum(one.events for one in subscribers)


FANOUT_FULL = Case(
    name="fanout_full",
    about=f"{FULL_SUBSCRIBERS} subscribers, one writer at full speed; every subscriber must hear every event",
    headline="deliveries_per_cpu_s",
    play=full,
)
FANOUT_PACED = Case(
    name="fanout_paced",
    about=f"{PACED_SUBSCRIBERS} subscribers, {PACED_EVENTS_PER_S} events a second: from sending to receipt",
    headline="p99_ms",
    play=paced,
)
