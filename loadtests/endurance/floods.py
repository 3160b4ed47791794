"""Clients that mean harm, or are broken, and one that behaves and must not notice them.

Every flood is limited by a typed error, ended with the right close code, or harmless; and the p99 of the client that
behaves stays within twice of what it was just before.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from time import perf_counter

from loadtests.bench.stage import Stage
from loadtests.endurance.assaults import ASSAULTS, Assault, Deaf
from loadtests.endurance.probe import Noticed, Probe
from loadtests.verdict import Verdict

LATENCY_BAR = 2.0
RECOVERY_BAR_S = 1.0
WARM_S = 2.0
DEAF_BAR_S = 65.0  # Three periods of the gateway's keepalive, and a little.
DEAF_SOCKETS = 50


@dataclass(frozen=True)
class Size:
    rounds: int = 3  # Medians over these are the figures: a machine has its moments.
    seconds: float = 5.0  # Without, and then with, in each round.
    wait_for_deaf: bool = True


QUICK = Size(seconds=1.0, wait_for_deaf=False)


async def run(stage: Stage, quick: bool, verdict: Verdict) -> None:
    """See the module."""
    size = QUICK if quick else Size()
    deaf = Deaf(stage, DEAF_SOCKETS)
    await deaf.begin()
    probe = await Probe(stage).connect()
    await probe.measure(WARM_S)
    for assault in [make(stage) for make in ASSAULTS]:
        await _one(probe, assault, size, verdict)
    verdict.exactly("errors for the client that behaves", probe.source.errors, 0)
    verdict.require("it was served exactly", await probe.exact())
    await _deaf(stage, deaf, size.wait_for_deaf, verdict)


async def _one(probe: Probe, assault: Assault, size: Size, verdict: Verdict) -> None:
    """Measure without and with the assault, and let it say how it was received."""
    without: list[Noticed] = []
    within: list[Noticed] = []
    slow_for: list[float] = []
    for _ in range(size.rounds):
        without.append(await probe.measure(size.seconds))
        await assault.begin()
        task = assault.start(size.seconds)
        within.append(await probe.measure(size.seconds))
        await task
        slow_for.append(await probe.recovered())
        await assault.end()
    verdict.remark(assault.title)
    for what in Noticed._fields:
        before, during = (statistics.median(getattr(each, what) for each in all) for all in (without, within))
        title = what.replace("_", " ")
        ms = f"{before * 1e3:.2f} ms → {during * 1e3:.2f} ms"
        verdict.at_most(f"  {title}: {ms}", during / before, LATENCY_BAR, timed=True)
    verdict.at_most("  a new client is served well again after", statistics.median(slow_for), RECOVERY_BAR_S, "s")
    assault.judge(verdict)


async def _deaf(stage: Stage, deaf: Deaf, patient: bool, verdict: Verdict) -> None:
    verdict.remark(deaf.title)
    if patient:
        while deaf.open and perf_counter() - deaf.began < DEAF_BAR_S:
            await stage.pause(0.5)
        verdict.exactly("  sockets that are still open", deaf.open, 0)
        verdict.at_most("  until the last was closed", deaf.longest_s, DEAF_BAR_S, "s")
    else:
        verdict.remark("  not waited for: they are found after a minute")
    await deaf.end()
