"""The command line: `python -m loadtests.bench --help`."""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from loadtests.bench import machine, plots, report
from loadtests.bench.cases import CASES
from loadtests.bench.peers import PEERS, Peer, Unavailable
from loadtests.bench.results import CaseInfo, Conditions, PeerInfo, Results
from loadtests.bench.schedule import Plan, play
from loadtests.bench.stage import Extent

OPEN_FILES = 16384  # Five thousand sockets, or five thousand workerd databases of three files each.
QUICK_SHARE = 0.1


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


def main(argv: Sequence[str]) -> int:
    """Measure, write the report, and return 0 if every run worked and was exact."""
    options = _parser().parse_args(argv)
    if options.render is not None:
        results = Results.load(options.render)
        _write(results, options.out)
        return 0
    signal.signal(signal.SIGTERM, _exit)  # As Ctrl-C: unwinds, so that the server is stopped.
    results = measure(options, shlex.join(["python", "-m", "loadtests.bench", *argv]))
    _write(results, options.out)
    return 1 if results.faults() else 0


def measure(options: argparse.Namespace, command: str) -> Results:
    _raise_open_files()
    _take_cores(options.server_core, options.generator_core)
    scratch = Path(options.scratch or tempfile.gettempdir())
    peers, infos = _prepared(_chosen(options.peers, [peer() for peer in PEERS]))
    cases = _chosen(options.cases, CASES)
    quick: bool = options.quick
    seconds = options.seconds or (1.0 if quick else Extent.seconds)
    extent = Extent(seconds, 0.5, QUICK_SHARE) if quick else Extent(seconds)
    repeats = options.repeats or (1 if quick else 5)
    conditions = Conditions(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        seconds=seconds,
        repeats=repeats,
        quick=quick,
        machine=machine.describe(scratch),
    )
    plan = Plan(peers, cases, repeats, extent, options.server_core, scratch)
    with closing(play(plan)) as runs:
        played = list(runs)
    return Results(
        conditions, infos, [CaseInfo(case.name, case.about, case.headline) for case in cases], played
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.bench",
        description="Measure this service and its peers on one core each, and write a report.",
    )
    cases = ", ".join(case.name for case in CASES)
    peers = ", ".join(peer.name for peer in PEERS)
    parser.add_argument("--seconds", type=float, help="measured time per case and repeat (5)")
    parser.add_argument("--repeats", type=int, help="repeats, of which medians are taken (5)")
    parser.add_argument("--cases", help=f"comma-separated, of: {cases}")
    parser.add_argument("--peers", help=f"comma-separated, of: {peers}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, 1 s, once: does it run?")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="directory of the report")
    parser.add_argument("--scratch", help="where servers store, a real disk (the temporary directory)")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--generator-core", type=int, default=1)
    parser.add_argument("--render", type=Path, metavar="JSON", help="no run: the report of an earlier one")
    return parser


def _chosen(names: str | None, known: Sequence[Named]) -> list[Named]:
    """Those named, in the order in which they are known; all without a choice."""
    if names is None:
        return list(known)
    wanted = names.split(",")
    strangers = set(wanted) - {one.name for one in known}
    if strangers:
        raise SystemExit(f"unknown: {', '.join(sorted(strangers))}")
    return [one for one in known if one.name in wanted]


def _prepared(peers: Iterable[Peer]) -> tuple[list[Peer], list[PeerInfo]]:
    """Those that can run, and what the report says about each, also about those that cannot."""
    ready, infos = [], []
    for peer in peers:
        try:
            peer.prepare()
        except Unavailable as reason:
            print(f"{peer.name} is left out: {reason}", file=sys.stderr)
            infos.append(PeerInfo(peer.name, peer.about, "", str(reason)))
        else:
            ready.append(peer)
            infos.append(PeerInfo(peer.name, peer.about, peer.version()))
    return ready, infos


def _write(results: Results, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    results.save(out / "results.json")
    pictures = plots.draw(results, out)
    (out / "results.md").write_text(report.render(results, pictures))
    print(out / "results.md")


def _take_cores(server: int, generator: int) -> None:
    """Hold the generator on its core; the server gets its own when it starts."""
    missing = {server, generator} - os.sched_getaffinity(0)
    if missing or server == generator:
        raise SystemExit(f"the bench needs two cores; {server} and {generator} are not both there")
    os.sched_setaffinity(0, {generator})


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
