"""The command line: `python -m loadtests.endurance --help`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import uvloop

from loadtests.bench.peers.peer import Peer, Unavailable
from loadtests.bench.stage import Extent, Stage
from loadtests.endurance import floods, leak, resume, slow_readers
from loadtests.service import service
from loadtests.verdict import Verdict

SETTLE_MAX_S = 20
IDLE_SHARE = 0.1  # Of one core: what a service at rest uses at most.

Run = Callable[[Stage, bool, Verdict], Awaitable[None]]

COMMANDS: Mapping[str, Run] = {
    "slow_readers": slow_readers.run,
    "resume": resume.run,
    "leak": leak.run,
    "floods": floods.run,
}


def main(argv: Sequence[str]) -> int:
    """Run some or all of them. 0: every bar was kept; 1: one was missed; 2: it could not be run."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _exit)  # As Ctrl-C: unwinds, so that the service is stopped.
    _take_core(options.generator_core)
    kept = True
    try:
        for command in options.commands or COMMANDS:
            # Each has a service that nothing has worn out yet.
            with service(options.url, options.pid, options.server_core) as peer:
                kept &= run(command, peer, options.quick).kept
    except Unavailable as reason:
        print(f"endurance: {reason}", file=sys.stderr)
        return 2
    return 0 if kept else 1


def run(command: str, peer: Peer, quick: bool, quiet: bool = False) -> Verdict:
    """Run `command` against a service that runs, and say what it showed."""
    verdict = Verdict(quiet)
    verdict.remark(f"{command}{', quick' if quick else ''}")
    began = time.monotonic()

    async def on_stage() -> None:
        stage = Stage(peer, Extent())
        await _settle(stage)
        await COMMANDS[command](stage, quick, verdict)

    gc.collect()
    gc.freeze()
    gc.disable()  # A collection in here would look like latency of the service.
    try:
        # A loop of its own: connections that were left open end with it.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(on_stage())
    finally:
        gc.enable()
        gc.unfreeze()
    verdict.figure("time taken", time.monotonic() - began, "s")
    return verdict


async def _settle(stage: Stage) -> None:
    """Wait for the end of what a start leaves behind: workers that Ray keeps ready, first metrics."""
    for _ in range(SETTLE_MAX_S):
        before = stage.read()
        await stage.pause(1.0)
        spent = stage.read() - before
        if spent.server_cpu_s < IDLE_SHARE * spent.at_s:
            return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.endurance",
        description="Wear a service out and see whether it keeps its bars. Starts one, or takes one that runs.",
    )
    parser.add_argument("commands", nargs="*", type=_command, metavar="command", help=f"of {', '.join(COMMANDS)} (all)")
    parser.add_argument("--quick", action="store_true", help="a fraction of the sizes: seconds, not minutes")
    parser.add_argument("--url", help="of a service that runs on this machine, e.g. http://127.0.0.1:8094")
    parser.add_argument("--pid", type=int, help="its first process, for its memory; needed with --url")
    parser.add_argument("--server-core", type=int, default=0, help="for a service that is started here (0)")
    parser.add_argument("--generator-core", type=int, default=1, help="for the clients (1)")
    return parser


def _command(text: str) -> str:
    if text not in COMMANDS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(COMMANDS)}")
    return text


def _take_core(core: int) -> None:
    """Hold the clients on one core, if the machine has it: they must not disturb what they measure."""
    if core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})


def _exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
