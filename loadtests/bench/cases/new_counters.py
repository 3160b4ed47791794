"""Counters nobody has touched before: how fast they come to life, and what each then occupies."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from loadtests.bench.cases.case import Case, Outcome
from loadtests.bench.load.http import Caller, post
from loadtests.bench.stage import Stage, new_name, operation_figures

CONNECTIONS = 16
FIRST_COUNTERS = 500  # Touched before weighing: what is allocated once is not the price of a counter.
COLD_COUNTERS = 5000
RESIDENT_COUNTERS = 20000
# Hibernation would take them out of memory again; workerd's and ours both begin after ten seconds.
RESIDENT_SECONDS_MAX = 8.0
TIMEOUT_S = 120


async def cold_touch(stage: Stage) -> Outcome:
    await _touch(stage, FIRST_COUNTERS)
    before = stage.read()
    latencies_s = await _touch(stage, stage.extent.scaled(COLD_COUNTERS))
    spent = stage.read() - before
    figures = operation_figures(latencies_s, spent) | stage.memory()
    return Outcome({"total_s": spent.at_s} | figures)


async def resident(stage: Stage) -> Outcome:
    await _touch(stage, FIRST_COUNTERS)
    before = stage.peer.pss_bytes()
    touched = len(await _touch(stage, stage.extent.scaled(RESIDENT_COUNTERS), RESIDENT_SECONDS_MAX))
    growth = stage.peer.pss_bytes() - before
    return Outcome({"bytes_per_counter": growth / touched} | stage.memory())


async def _touch(stage: Stage, count: int, seconds_max: float = TIMEOUT_S) -> list[float]:
    """Increment `count` new counters once each, or as many as there is time for; their latencies."""
    latencies_s: list[float] = []
    requests = _until(perf_counter() + seconds_max, _first_increments(count))
    callers = [Caller(requests, latencies_s, stage.fail) for _ in range(CONNECTIONS)]
    await stage.all_of([caller.connect(stage.peer.port) for caller in callers])
    for caller in callers:
        caller.start()
    await stage.until(*(caller.idle for caller in callers), timeout_s=TIMEOUT_S)
    for caller in callers:
        caller.close()
    return latencies_s


def _first_increments(count: int) -> Iterator[bytes]:
    prefix = new_name("new")
    return (post("counter.increment", {"name": f"{prefix}-{i}", "amount": 1}) for i in range(count))


def _until(deadline: float, requests: Iterator[bytes]) -> Iterator[bytes]:
    for request in requests:
        if perf_counter() > deadline:
            return
        yield request


COLD_TOUCH = Case(
    name="cold_touch",
    about=f"{COLD_COUNTERS} counters that never existed, incremented once over HTTP, {CONNECTIONS} at a time",
    headline="total_s",
    play=cold_touch,
    fresh=True,
)
RESIDENT = Case(
    name="resident",
    about=f"up to {RESIDENT_COUNTERS} counters touched within {RESIDENT_SECONDS_MAX:g} s: memory for each",
    headline="bytes_per_counter",
    play=resident,
    fresh=True,
)
