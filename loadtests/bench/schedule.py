"""Who plays when: peers take turns in each repeat, and every case meets each of them alone."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loadtests.bench.cases import Case, Outcome
from loadtests.bench.figures import FIGURES
from loadtests.bench.peers import Peer, Unavailable
from loadtests.bench.results import Run
from loadtests.bench.stage import Extent, Stage


@dataclass(frozen=True)
class Plan:
    peers: Sequence[Peer]
    cases: Sequence[Case]
    repeats: int
    extent: Extent
    server_core: int
    scratch: Path


def play(plan: Plan) -> Generator[Run, None, None]:
    """Yield the runs as they are made. The server of the moment is stopped when the iterator is closed."""
    for repeat in range(1, plan.repeats + 1):
        first = (repeat - 1) % len(plan.peers) if plan.peers else 0
        # Another one begins each time, so that no peer always gets the cooler or the quieter machine.
        for peer in (*plan.peers[first:], *plan.peers[:first]):
            for run in _play_peer(plan, peer, repeat):
                _tell(plan, run)
                yield run


def _play_peer(plan: Plan, peer: Peer, repeat: int) -> Generator[Run, None, None]:
    """All cases on one peer, restarted for those that want it fresh and after each failure."""
    restart = True  # The next case needs a new server.
    try:
        for case in plan.cases:
            try:
                if restart or case.fresh:
                    peer.stop()
                    peer.start(plan.server_core, plan.scratch)
                outcome = _play_case(case, peer, plan.extent)
            except Unavailable as failure:
                # It will not start for the other cases either.
                yield Run(repeat, peer.name, case.name, error=str(failure))
                return
            except Exception as failure:
                # One broken case must not cost the figures of all others; it is reported as a fault.
                yield Run(repeat, peer.name, case.name, error=f"{type(failure).__name__}: {failure}")
                restart = True
            else:
                yield Run(repeat, peer.name, case.name, outcome.figures, outcome.exact, outcome.remark)
                restart = False
    finally:
        peer.stop()


def _play_case(case: Case, peer: Peer, extent: Extent) -> Outcome:
    async def on_stage() -> Outcome:
        return await case.play(Stage(peer, extent))

    gc.collect()
    gc.freeze()
    gc.disable()  # A collection in the generator would look like latency of the server.
    try:
        # A loop for each case: connections that were left open end with it.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(on_stage())
    finally:
        gc.enable()


def _tell(plan: Plan, run: Run) -> None:
    headline = next(FIGURES[case.headline] for case in plan.cases if case.name == run.case)
    said = run.error or f"{run.figures[headline.name]:,.2f} {headline.unit}"
    doubt = f"  NOT EXACT: {run.remark}" if run.exact is False else ""
    clock = time.strftime("%H:%M:%S")
    line = f"{clock}  {run.repeat}/{plan.repeats}  {run.peer:<15} {run.case:<14} {said}{doubt}"
    print(line, file=sys.stderr, flush=True)
