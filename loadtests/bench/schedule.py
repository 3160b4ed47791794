"""Who plays when: peers take turns in each repeat, and every case meets each of them alone."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from .cases import Case, Outcome
from .figures import FIGURES
from .peers import Peer
from .results import Run
from .stage import Extent, Stage


@dataclass(frozen=True)
class Plan:
    peers: Sequence[Peer]
    cases: Sequence[Case]
    repeats: int
    extent: Extent
    server_core: int
    scratch: Path


def play(plan: Plan) -> Iterator[Run]:
    """Yield the runs as they are made. The server of the moment is stopped when the iterator is closed."""
    for repeat in range(plan.repeats):
        first = repeat % len(plan.peers) if plan.peers else 0
        # Another one begins each time, so that no peer always gets the cooler or the quieter machine.
        for peer in (*plan.peers[first:], *plan.peers[:first]):
            for run in _play_peer(plan, peer, repeat):
                _tell(plan, run)
                yield run


def _play_peer(plan: Plan, peer: Peer, repeat: int) -> Iterator[Run]:
    """All cases on one peer, restarted for those that want it fresh and after each failure."""
    state = "stopped"
    try:
        for case in plan.cases:
            try:
                if state == "used" and case.fresh:
                    peer.stop()
                    state = "stopped"
                if state == "stopped":
                    peer.start(plan.server_core, plan.scratch)
                state = "used"
                outcome = _play_case(case, peer, plan.extent)
                yield Run(repeat, peer.name, case.name, outcome.figures, outcome.exact, outcome.remark)
            except Exception as failure:
                # One broken case must not cost the figures of all others; it is reported as a fault.
                peer.stop()
                state = "stopped"
                yield Run(repeat, peer.name, case.name, error=f"{type(failure).__name__}: {failure}")
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
    line = f"{clock}  {run.repeat + 1}/{plan.repeats}  {run.peer:<15} {run.case:<14} {said}{doubt}"
    print(line, file=sys.stderr, flush=True)
