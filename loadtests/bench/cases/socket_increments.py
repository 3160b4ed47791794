"""Increments over WebSockets: each connection its own counter, or all of them on one."""

from __future__ import annotations

import asyncio

from loadtests.bench.cases.case import Case, Outcome, compared
from loadtests.bench.load.websocket import Writer
from loadtests.bench.stage import Stage, new_name

CONNECTIONS = 16
IN_FLIGHT = 8
LAST_EVENTS_TIMEOUT_S = 10


async def own(stage: Stage) -> Outcome:
    counters = [new_name("own") for _ in range(CONNECTIONS)]
    writers, figures = await _write(stage, counters)
    counted = await stage.all_of([stage.value_of(counter) for counter in counters])
    verdicts = [compared(one.acknowledged, value) for one, value in zip(writers, counted, strict=True)]
    remarks = [remark for _, remark in verdicts if remark]
    return Outcome(figures, not remarks, "; ".join(remarks))


async def everybody(stage: Stage) -> Outcome:
    counter = new_name("all")
    writers, figures = await _write(stage, [counter] * CONNECTIONS)
    acknowledged = sum(writer.acknowledged for writer in writers)
    exact, remark = compared(acknowledged, await stage.value_of(counter))
    await _events(writers, acknowledged)
    heard = sorted({writer.events for writer in writers})
    if exact and heard != [acknowledged]:
        exact, remark = False, f"{acknowledged} events, but subscribers heard {heard[0]} to {heard[-1]}"
    # Every operation is heard by every connection.
    for name in ("per_s", "per_cpu_s"):
        if f"ops_{name}" in figures:
            figures[f"deliveries_{name}"] = figures[f"ops_{name}"] * CONNECTIONS
    return Outcome(figures, exact, remark)


async def _write(stage: Stage, counters: list[str]) -> tuple[list[Writer], dict[str, float]]:
    latencies_s: list[float] = []
    writers = [Writer(IN_FLIGHT, latencies_s, stage.fail) for _ in counters]
    pairs = zip(writers, counters, strict=True)
    await stage.all_of([writer.connect(stage.peer.port, counter) for writer, counter in pairs])
    for writer in writers:
        writer.start()
    figures = await stage.measured(latencies_s)
    for writer in writers:
        writer.stop()
    await stage.until(*(writer.idle for writer in writers))
    return writers, figures


async def _events(writers: list[Writer], expected: int) -> None:
    """Give the last events, which may come after the last result, time to arrive."""
    for _ in range(LAST_EVENTS_TIMEOUT_S * 100):
        if all(writer.events >= expected for writer in writers):
            return
        await asyncio.sleep(0.01)


WS_OWN = Case(
    name="ws_own",
    about=f"{CONNECTIONS} WebSockets, each on a counter of its own, {IN_FLIGHT} increments in flight each",
    headline="ops_per_cpu_s",
    play=own,
)
WS_ALL = Case(
    name="ws_all",
    about=f"{CONNECTIONS} WebSockets on one hot counter, all write ({IN_FLIGHT} in flight) and all hear all",
    headline="ops_per_s",
    play=everybody,
)
