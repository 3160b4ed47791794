"""HTTP increments of one counter, as fast as they are answered: alone, and from many connections."""

from __future__ import annotations

from itertools import repeat

from loadtests.bench.cases.case import Case, Outcome, compared
from loadtests.bench.load.http import Caller, post
from loadtests.bench.stage import Stage, new_name

HOT_CONNECTIONS = 32


async def increment(stage: Stage, connections: int) -> Outcome:
    counter = new_name("http")
    request = post("counter.increment", {"name": counter, "amount": 1})
    latencies_s: list[float] = []
    callers = [Caller(repeat(request), latencies_s, stage.fail) for _ in range(connections)]
    await stage.all_of([caller.connect(stage.peer.port) for caller in callers])
    for caller in callers:
        caller.start()
    figures = await stage.measured(latencies_s)
    for caller in callers:
        caller.stop()
    await stage.until(*(caller.idle for caller in callers))
    exact, remark = compared(len(latencies_s), await stage.value_of(counter))
    return Outcome(figures, exact, remark)


async def _hot(stage: Stage) -> Outcome:
    return await increment(stage, HOT_CONNECTIONS)


async def _one_at_a_time(stage: Stage) -> Outcome:
    return await increment(stage, connections=1)


HTTP_HOT = Case(
    name="http_hot",
    about=f"{HOT_CONNECTIONS} keep-alive connections increment one hot counter over HTTP",
    headline="ops_per_cpu_s",
    play=_hot,
)
ONE_AT_A_TIME = Case(
    name="one_at_a_time",
    about="one keep-alive connection, one HTTP increment at a time",
    headline="p50_ms",
    play=_one_at_a_time,
)
