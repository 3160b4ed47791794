"""What the commands of this folder share: sizes as options, a service to be cruel to, figures with their bars.

A command is a module with `COMMAND`; `python -m tests.faults.NAME` runs it. Exits with 0 when every bar was kept, with
1 when one was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import uvloop

from loadtests.service import raise_open_files
from loadtests.verdict import Verdict
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import Service

SHOWN = 10  # Of what is wrong; the rest is counted.


@dataclass(frozen=True)
class Command:
    """A fault, and what a service has to show for it.

    `sizes` is a frozen dataclass with the full sizes as its defaults, each an option of the command; `quick` has those
    for a test. `run` does it to a service that was started with `flags`.
    """

    about: str
    sizes: Any
    quick: Any
    flags: Callable[[Any], Mapping[str, object]]
    run: Callable[[Service, Any, Verdict], Awaitable[None]]

    def main(self) -> int:
        """The command line."""
        parser = options(self.about, self.sizes)
        parser.add_argument("--data-dir", type=Path, help="of the service, kept afterwards: its log is in there")
        parser.add_argument("--postgres", action="store_true", help="on a Postgres of its own instead of SQLite")
        given = parser.parse_args()
        sizes = chosen(given, self.sizes, self.quick)
        raise_open_files()
        signal.signal(signal.SIGTERM, _exit)  # As Ctrl-C: unwinds, so that the service is ended.
        verdict = Verdict()
        with ExitStack() as stack:
            flags = dict(self.flags(sizes))
            if given.postgres:
                flags["database"] = stack.enter_context(PostgresServer(flushed=True)).start().new_database()
            service = stack.enter_context(Service(given.data_dir, **flags)).start()
            self.on_loop(service, sizes, verdict)
            verdict.exactly("exit code of the service, which left nothing behind", service.stop(), 0)
        return 0 if verdict.kept else 1

    def on_loop(self, service: Service, sizes: Any, verdict: Verdict) -> None:
        """Do it to a service that runs."""
        began = time.monotonic()
        gc.collect()
        gc.freeze()
        gc.disable()  # A collection in here would look like a pause of the service.
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self.run(service, sizes, verdict))
        finally:
            gc.enable()
            gc.unfreeze()
        verdict.figure("time taken", time.monotonic() - began, "s")


def options(about: str, sizes: Any) -> argparse.ArgumentParser:
    """A command line with an option for every size."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes")
    for size in fields(sizes):
        flag, full = f"--{size.name.replace('_', '-')}", getattr(sizes, size.name)
        parser.add_argument(flag, type=type(full), metavar="N", help=f"{size.metadata['help']} ({full:,})")
    return parser


def chosen(given: argparse.Namespace, full: Any, quick: Any) -> Any:
    """The sizes that were asked for."""
    asked_for = {size.name: getattr(given, size.name) for size in fields(full)}
    said = {name: value for name, value in asked_for.items() if value is not None}
    return replace(quick if given.quick else full, **said)


def complain(verdict: Verdict, wrong: list[str]) -> None:
    """Print what is wrong in words, below the bar that counts it."""
    for each in wrong[:SHOWN]:
        verdict.remark(f"WRONG {each}")
    if len(wrong) > SHOWN:
        verdict.remark(f"WRONG and {len(wrong) - SHOWN} more")


def quantile(values: list[float], q: float) -> float:
    """Not a number when there are no values."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def _exit(number: int, frame: object) -> None:
    # Not by an exception from here: a loop that is in the middle of a callback would log it and go on.
    signal.raise_signal(signal.SIGINT)
