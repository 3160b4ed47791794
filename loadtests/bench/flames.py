"""Flame graphs of this service under each case: `python -m loadtests.bench.flames`.

A sampler looks at the gateway and at the host, four hundred times a second, while a case of the bench plays. It counts
only samples in which a thread holds Python's lock, so waiting does not hide the work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

from loadtests.bench.cases import CASES
from loadtests.bench.command import _raise_open_files, _take_cores
from loadtests.bench.peers import PEERS, Peer
from loadtests.bench.schedule import _play_case
from loadtests.bench.stage import Extent

PLAYED = ("http_hot", "ws_own", "ws_all", "fanout_full", "fanout_paced", "one_at_a_time")
ROLES = {"HostActor": "host", "GatewayActor": "gateway"}
RATE_HZ = 400


def main(argv: Sequence[str]) -> int:
    """Draw one picture for each case and process."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.flames", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/flames"))
    parser.add_argument("--cases", default=",".join(PLAYED))
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    _raise_open_files()
    _take_cores(0, 1)
    [peer] = [peer() for peer in PEERS if peer.name == "counters"]
    peer.prepare()
    wanted = options.cases.split(",")
    for case in CASES:
        if case.name in wanted:
            peer.start(0, Path(tempfile.gettempdir()))
            try:
                samplers = threading.Timer(2.0, _sample, (peer, case.name, options.seconds - 1, options.out))
                samplers.start()
                _play_case(case, peer, Extent(options.seconds))
                samplers.join()
            finally:
                peer.stop()
    return 0


def _sample(peer: Peer, case: str, seconds: float, out: Path) -> None:
    """Watch the two processes that do the work."""
    running = []
    for pid in peer.pids():
        title = " ".join(psutil.Process(pid).cmdline())
        role = next((role for name, role in ROLES.items() if f"ray::{name}" in title), None)
        if role is not None:
            picture = out / f"{case}-{role}.svg"
            command = [Path(sys.executable).with_name("py-spy"), "record", "--gil", "--pid", pid, "--output", picture]
            more = ["--rate", RATE_HZ, "--duration", max(1, round(seconds)), "--nonblocking"]
            sampler = subprocess.Popen([str(part) for part in (*command, *more)], stdout=subprocess.DEVNULL)
            running.append((sampler, picture))
    for process, picture in running:
        process.wait()
        picture.write_text(_nameless(picture.read_text()))


def _nameless(picture: str) -> str:
    """Without the folders of this machine: a file is called what it is called in the repository or its package."""
    here = Path(__file__).resolve().parents[2]
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), here):
        picture = picture.replace(f"{folder}/", "")
    return picture


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
