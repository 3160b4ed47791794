"""One counter, hit as fast as it goes, by a process of its own.

    python -m tests.support.flood PORT COUNTER KEY SOCKETS

Goes on until its standard input ends, and then says what became of its operations.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Self

import msgspec
import uvloop

from tests.support.hammer import Hammer, Ledger
from tests.support.service_process import ROOT, environment

GIVES_WAY = 19  # The niceness. It stands for clients elsewhere, which would leave the service its cores.
AUTOGROUP = Path("/proc/self/autogroup")


class Tally(msgspec.Struct, frozen=True):
    """What became of the operations."""

    acknowledged: int
    failed: int
    lost: int  # Connections that were closed.


class Flood:
    """The process, as the one sees it that started it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int, counter: str, key: str, sockets: int) -> Self:
        given = (str(port), counter, key, str(sockets))
        module = ("-m", "tests.support.flood")
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *module,
                *given,
                stdin=PIPE,
                stdout=PIPE,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
            )
        )

    async def stop(self) -> Tally:
        """Let it end."""
        said, _ = await self._process.communicate(b"")  # Ends its standard input.
        return msgspec.json.decode(said, type=Tally)


async def _flood(port: int, counter: str, key: str, sockets: int) -> Tally:
    ledger = Ledger()
    hammer = Hammer(port, ledger, [counter], key)
    hammer.start(0, sockets)
    await asyncio.to_thread(sys.stdin.read)
    await hammer.stop()
    return Tally(len(ledger.acknowledged), len(ledger.open) + len(ledger.refused), hammer.lost)


def _give_way() -> None:
    os.nice(GIVES_WAY)
    if AUTOGROUP.exists():  # Linux shares the cores between sessions first, and heeds niceness only within one.
        AUTOGROUP.write_text(str(GIVES_WAY))


def main() -> None:
    """The command."""
    _give_way()
    port, counter, key, sockets = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(_flood(int(port), counter, key, int(sockets)))
    print(msgspec.json.encode(tally).decode())


if __name__ == "__main__":
    main()
