"""HTTP increments of one counter, as fast as they are answered: alone, and from many connections."""

from __future__ import annotations

from itertools import count, repeat

from loadtests.bench.cases.case import Case, Outcome, compared
from loadtests.bench.load.http import Caller, post
from loadtests.bench.stage import Stage, new_name

HOT_CONNECTIONS = 32


async def increment(stage: Stage, connections: int, keyed: bool = False) -> Outcome:
    counter = new_name("http")
    body = {"name": counter, "amount": 1}
    request = post("counter.increment", body)
    # Made one by one, while the clock does not run.
    requests = (post("counter.increment", body, f"{counter}-{n}") for n in count()) if keyed else repeat(request)
    latencies_s: list[float] = []
    callers = [Caller(requests, latencies_s, stage.fail) for _ in range(connections)]
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


async def _keyed(stage: Stage) -> Outcome:
    return await increment(stage, connections=1, keyed=True)


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
KEYED = Case(
    name="keyed",
    about="the same, and each has an Idempotency-Key, as our own clients' have; of the peers, none looks at it",
    headline="p50_ms",
    play=_keyed,
)
