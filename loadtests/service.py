"""The service that load is put on: one started for the occasion, or one that runs already.

Both are peers of the bench, so its clock, its meters and its process tree work on them.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from loadtests.bench.peers.counters import Counters
from loadtests.bench.peers.peer import Peer, Unavailable

LOOPBACK = frozenset({"127.0.0.1", "localhost"})
TITLES = {"gateway": "ray::GatewayActor", "host": "ray::HostActor"}  # What Ray calls the processes.
OPEN_FILES = 16_384  # Some thousands of sockets on this side, and as many again in what is started from here.


class Attached(Peer):
    """A service that somebody else started. `start` and `stop` leave it alone."""

    name = "attached"
    about = "a service that runs already"

    def __init__(self, port: int, pid: int | None) -> None:
        super().__init__()
        self.port = port
        if pid is not None:
            self.tree.adopt(pid)

    def prepare(self) -> None:
        """Nothing to install."""

    def version(self) -> str:
        return "unknown"

    def launch(self) -> None:
        """It runs."""


def pids_of(peer: Peer, kind: str) -> list[int]:
    """The processes of one kind, `gateway` or `host`."""
    return [pid for pid in peer.pids() if _title(pid).startswith(TITLES[kind])]


def pss_of(peer: Peer, kind: str) -> int:
    """Bytes of memory (PSS) of the processes of one kind."""
    found = pids_of(peer, kind)
    if not found:
        raise Unavailable(f"no {kind} process in the service's tree; name its first process with --pid")
    return sum(psutil.Process(pid).memory_full_info().pss for pid in found)


def open_files_of(peer: Peer, kind: str) -> int:
    """How many files, sockets included, the processes of one kind have open."""
    return sum(psutil.Process(pid).num_fds() for pid in pids_of(peer, kind))


@contextmanager
def service(url: str | None = None, pid: int | None = None, core: int = 0) -> Iterator[Peer]:
    """The service at `url`, whose first process is `pid`; without a URL a new one, held on `core`, until the end."""
    raise_open_files()
    if url is not None:
        yield Attached(port_of(url), pid)
        return
    peer = Counters()
    peer.prepare()
    try:
        peer.start(core, Path(tempfile.gettempdir()))
        yield peer
    finally:
        peer.stop()


def port_of(url: str) -> int:
    """The port in `http://127.0.0.1:<port>`. The clients here speak to this machine only."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK or parts.port is None:
        raise Unavailable(f"{url!r} is not http://127.0.0.1:<port>")
    return parts.port


def raise_open_files() -> None:
    """Let this process, and what it starts, open enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _title(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:  # It has ended meanwhile.
        return ""
