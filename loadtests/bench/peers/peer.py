"""What the bench asks of every server it measures: start on one core, say where, be weighed, stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from loadtests.bench.process_tree import MARK, ProcessTree

START_TIMEOUT_S = 60  # A local Ray on one busy core needs ten to twenty.
STOP_GRACE_S = 20
LOG_TAIL_LINES = 20


class Unavailable(Exception):
    """This peer cannot run on this machine; the message says what is missing."""


class Peer(ABC):
    """A server with the counter's routes, in a process tree and a scratch directory of its own.

    After `start`, every process of it is held on one core. `stop` ends them all and removes what they
    stored; it must be called, also when `start` failed, and may be called when nothing runs.
    """

    name: ClassVar[str]  # In tables and on the command line.
    about: ClassVar[str]  # One line for the report.
    ready_path: ClassVar[str] = "/readyz"  # Answers 200 when, and only when, requests may come.

    def __init__(self) -> None:
        self.port = 0
        self.tree = ProcessTree(mark=uuid.uuid4().hex)
        self._environment: dict[str, str] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self._core = 0
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Install or find what the peer needs; raise `Unavailable` if that cannot be done."""

    @abstractmethod
    def version(self) -> str:
        """What was measured, for the report. Called after `prepare`."""

    @abstractmethod
    def launch(self) -> None:
        """Start the processes with `spawn`, listening on `self.port` and storing in `self.scratch`."""

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def scratch(self) -> Path:
        """Where it may store; only between `start` and `stop`."""
        assert self._directory is not None
        return Path(self._directory.name)

    def start(self, core: int, scratch: Path) -> None:
        """Start on `core` with a new directory below `scratch`; return when it is ready."""
        self._core = core
        mark = uuid.uuid4().hex
        self.tree = ProcessTree(mark)
        self._environment = {**os.environ, MARK: mark}
        self._directory = tempfile.TemporaryDirectory(
            prefix=f"bench-{self.name}-", dir=scratch, ignore_cleanup_errors=True
        )
        self.port = _free_port()
        self.launch()
        self._wait_until_ready()
        self.tree.pin(core)

    def stop(self) -> None:
        """Ask politely in reverse order of starting, end what remains, remove what was stored."""
        for process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._started.clear()
        self.tree.end(grace_s=2)
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def pids(self) -> list[int]:
        return self.tree.pids()

    def cpu_seconds(self) -> float:
        return self.tree.cpu_seconds()

    def pss_bytes(self) -> int:
        return self.tree.pss_bytes()

    def spawn(self, *command: str | Path, environment: Mapping[str, str] | None = None) -> None:
        """Start one process of the tree, on the core and with the mark; its output goes to the log."""
        with open(self._log, "ab") as log, _pinned(self._core):
            process = subprocess.Popen(
                [str(part) for part in command],
                env={**self._environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the bench, which then stops its peers in order.
            )
        self._started.append(process)
        self.tree.adopt(process.pid)

    @property
    def _log(self) -> Path:
        return self.scratch / "output.log"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(self.base_url + self.ready_path):
            ended = [process for process in self._started if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                what = "ended at once" if ended else f"was not ready after {START_TIMEOUT_S} s"
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
                raise Unavailable(f"{self.name} {what}:\n{tail}")
            time.sleep(0.05)


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    """A child inherits the cores of the thread that starts it; this one goes back afterwards."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
