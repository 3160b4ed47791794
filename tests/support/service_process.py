"""A whole service, started as a user starts it, and everything that belongs to it.

Ray's processes are not all children of the command that was started, and those that rename themselves overwrite the
environment that the kernel shows. So a process belongs to the service when it carries the mark, when its parent
belongs, or when it was seen to belong before.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

ROOT = Path(__file__).parents[2]
PORTS = range(20_000, 32_000)  # Below those that kernels give away, above those of Ray's workers.
MARK = "SERVICE_UNDER_TEST"  # The environment variable; its value is different for each service.
START_S = 60.0
STOP_S = 25.0
POLL_S = 0.02

_STARTED = {
    "host": re.compile(r"action=host_started host=(\S+) pid=(\d+)"),
    "gateway": re.compile(r"action=gateway_started .*name=(\S+) pid=(\d+)"),
    "timer": re.compile(r"action=timer_started name=(\S+) pid=(\d+)"),
}
_TITLES = {
    "supervisor": "ray::SupervisorActor",
    "host": "ray::HostActor",
    "gateway": "ray::GatewayActor",
    "timer": "ray::TimerActor",
}

T = TypeVar("T")


class Deadline(AssertionError):
    """Something that was waited for has not come."""


def wait_for(what: str, look: Callable[[], T], seconds: float = 30.0) -> T:
    """Look again and again until `look` returns something true, which is returned."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise Deadline(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_S)


def free_port() -> int:
    """A TCP port that nobody uses now, and that the kernel gives nobody who does not ask for it.

    Of those that it gives to anybody, Ray and every connection take many, perhaps this one before the service has it.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port is free in {PORTS}")


def environment(**more: str) -> dict[str, str]:
    """What a command of ours is started with: this tree's code, and no setting of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERS_", "RAY_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def command(*arguments: str | Path) -> list[str]:
    """`counters …`, from this tree."""
    return [sys.executable, "-m", "gateway.cli", *map(str, arguments)]


def run_command(*arguments: str | Path, timeout: float = 60.0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `counters …` to its end; `more` goes into its environment."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=timeout
    )


class Family:
    """The processes that carry one mark, and whatever they started."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._seen: set[psutil.Process] = set()

    def environment(self, **more: str) -> dict[str, str]:
        """What the first of them has to be started with."""
        return environment(**{MARK: self.mark}, **more)

    def processes(self) -> list[psutil.Process]:
        """Those that run now. What was seen once still belongs when it has lost its parent."""
        found = {process for process in self._seen if _runs(process)}
        for process in psutil.process_iter():
            if process not in found and self._marked(process):
                found.add(process)
        for process in list(found):
            found.update(child for child in _children(process) if _runs(child))
        self._seen = found
        return sorted(found, key=lambda process: process.pid)

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark and _runs(process)
        except psutil.Error:
            return False

    def titled(self, title: str) -> list[int]:
        """The process ids of those whose command line begins like this."""
        return [process.pid for process in self.processes() if _title(process).startswith(title)]

    def titles(self) -> list[str]:
        """The command lines of those that run now."""
        return [_title(process) for process in self.processes()]

    def kill(self) -> None:
        """`kill -9` for all of them, and wait until they are gone."""
        wait_for("every killed process is gone", lambda: not self._kill_all(), 10)

    def _kill_all(self) -> bool:
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.Error):  # It may be gone already.
                process.kill()
        return bool(processes)

    def check_nothing_left(self, seconds: float = 5.0) -> None:
        """Fails when one of them still runs after a while."""
        try:
            wait_for("every process is gone", lambda: not self.processes(), seconds)
        except Deadline:
            left = [_describe(process) for process in self.processes()]
            self.kill()
            raise AssertionError(f"left behind: {left}") from None


class Service:
    """`counters serve` with its own port, data directory and Ray.

    `settings` are flags of serve, such as `hosts=2`. A service can be started again after it was stopped or killed:
    on the same port and the same data. It runs the code in `tree`.
    """

    def __init__(
        self, data_dir: Path | None = None, port: int | None = None, tree: Path = ROOT, **settings: object
    ) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="cs-"))  # Short: a Unix socket's path has at most 107 bytes.
        self.data_dir = data_dir or self.scratch / "data"
        self.port = port or free_port()
        self.tree = tree
        self.settings = settings
        self.output = self.scratch / "terminal.log"
        self.family = Family()
        self.command: subprocess.Popen[bytes] | None = None
        self._printed = 0  # Where in its output the newest start begins.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the processes of the service log, one line for each event."""
        return self.data_dir / "logs" / "counters.log"

    @property
    def database(self) -> str:
        """Its URL."""
        return str(self.settings.get("database") or f"sqlite:///{self.data_dir / 'counters.db'}")

    # Start and end

    def launch(self, **more: str) -> Self:
        """Start it; `more` goes into its environment. It is not ready when this returns."""
        temporary = self.scratch / "tmp"
        temporary.mkdir(exist_ok=True)
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()]
        more = {"PYTHONPATH": str(self.tree), **more}
        marked = self.family.environment(RAY_TMPDIR=str(self.scratch), TMPDIR=str(temporary), **more)
        with self.output.open("ab") as output:
            self._printed = output.tell()
            self.command = subprocess.Popen(
                command("serve", "--port", str(self.port), "--data-dir", self.data_dir, *flags),
                cwd=self.tree,
                env=marked,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop their services in order.
            )
        return self

    def start(self, **more: str) -> Self:
        """Start it and wait until it is ready."""
        self.launch(**more)
        try:
            wait_for("the service is ready", self._ready_or_ended, START_S)
        except Deadline:
            self.kill_everything()
            raise Deadline(f"the service did not start:\n{self.tail()}") from None
        self.processes()
        return self

    def _ready_or_ended(self) -> bool:
        assert self.command is not None
        if self.command.poll() is not None:
            raise AssertionError(f"the service ended with {self.command.returncode}:\n{self.tail()}")
        # One gateway answers before the others are there; the line is printed when all of them are.
        return b"Durable Counters at " in self.output.read_bytes()[self._printed :] and self.ready()

    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = STOP_S) -> int:
        """End it as a user does, and return its exit code. Fails when anything of it outlives it."""
        assert self.command is not None
        self.processes()
        self.command.send_signal(number)
        try:
            code = self.command.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_everything()
            raise Deadline(f"the service did not stop within {seconds:g} s:\n{self.tail()}") from None
        self.check_nothing_left()
        return code

    def check_nothing_left(self, seconds: float = 5.0) -> None:
        """Fails when a process of the service still runs after a while."""
        try:
            self.family.check_nothing_left(seconds)
        except AssertionError as left:
            raise AssertionError(f"{left}\n{self.tail()}") from None

    def kill_everything(self) -> None:
        """`kill -9` for every process of it."""
        self.family.kill()
        if self.command is not None:
            self.command.wait()

    def close(self) -> None:
        """End it if it still runs, whatever that takes, and remove its files."""
        if self.command is not None:
            self.kill_everything()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Processes

    def processes(self) -> list[psutil.Process]:
        """Every process of it that runs now."""
        return self.family.processes()

    def pids(self, kind: str) -> list[int]:
        """The processes of one kind, `host`, `gateway`, `supervisor` or `timer`, in the order of their names."""
        return [pid for _, pid in sorted(self.actors(kind).items())]

    def actors(self, kind: str) -> dict[str, int]:
        """Name and process id of the actors of one kind that live now."""
        titled = set(self.family.titled(_TITLES[kind]))
        if kind not in _STARTED:
            return {f"{kind}:{index}": pid for index, pid in enumerate(sorted(titled))}
        named = {name: int(pid) for name, pid in _STARTED[kind].findall(self.log.read_text(errors="replace"))}
        return {name: pid for name, pid in named.items() if pid in titled}

    def gateways_of(self, local_ports: Iterable[int]) -> dict[int, int]:
        """Which gateway process serves a connection: client's port → process id."""
        wanted = set(local_ports)
        served = {}
        for pid in self.pids("gateway"):
            for connection in psutil.Process(pid).net_connections("tcp"):
                if connection.raddr and connection.raddr.port in wanted and connection.laddr.port == self.port:
                    served[connection.raddr.port] = pid
        return served

    # What it says

    def log_size(self) -> int:
        """How far the log has come; `wait_for_line` can start from here."""
        return self.log.stat().st_size if self.log.exists() else 0

    def wait_for_line(self, pattern: str, after: int = 0, seconds: float = 30.0) -> re.Match[str]:
        """Wait for a line of the log that matches `pattern`, behind the first `after` bytes."""
        compiled = re.compile(pattern)

        def look() -> re.Match[str] | None:
            with self.log.open("rb") as file:
                file.seek(after)
                return compiled.search(file.read().decode(errors="replace"))

        return wait_for(f"a log line like {pattern!r}", look, seconds)

    def tail(self, lines: int = 30) -> str:
        """The end of what it printed, for a failure's message."""
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def call(
        self, procedure: str, input: Mapping[str, Any], key: str | None = None, timeout: float = 15.0
    ) -> dict[str, Any]:
        """One call over HTTP that has to succeed, of `counter.increment` if it says `increment`."""
        path = procedure if "." in procedure else f"counter.{procedure}"
        headers = {"content-type": "application/json"} | ({} if key is None else {"idempotency-key": key})
        request = urllib.request.Request(
            f"{self.url}/rpc/{path}", json.dumps(input).encode(), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{procedure} {input}: {error.code} {error.read()!r}") from None

    def awake(self) -> list[dict[str, Any]]:
        """The counters that are awake, as `counters ps` lists them. Asks again while a host is away."""

        def look() -> dict[str, Any] | None:
            try:
                return self.call("admin.ps", {})
            except AssertionError as error:
                if "UNAVAILABLE" not in str(error):
                    raise
                return None

        listed: list[dict[str, Any]] = wait_for("all hosts to say what is awake", look)["counters"]
        return listed


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _describe(process: psutil.Process) -> str:
    return f"{process.pid} {_title(process)[:100]}"
