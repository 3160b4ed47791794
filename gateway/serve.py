"""`counters serve`: from nothing to a service that accepts requests, and back to nothing."""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import io
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import IO, NoReturn

from actors.errors import AlreadyRunning
from actors.settings import ActorSettings
from gateway.config import LOOPBACK, ConfigError, Settings
from gateway.ray_watch import end_ray, watching_ray

FOLLOW_S = 0.25
REACH_S = 3.0
STOP_S = 12.0  # The longest that stopping may take.
OBJECT_STORE_BYTES = 80 * 2**20  # The least that Ray takes; nothing of ours goes through it.

log = logging.getLogger("counters.serve")


class CannotStart(Exception):
    """Why the service did not start, in one line for the terminal."""


class Stopped(Exception):
    """Somebody wants the service to stop before it has started."""


class _Terminal(io.TextIOWrapper):
    """Standard error as it was at the start. That nobody reads it any more (`| head`, `| tee`) ends no service."""

    def __init__(self) -> None:
        super().__init__(os.fdopen(os.dup(2), "wb"), line_buffering=True)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)


class _Stop:
    """SIGINT and SIGTERM: noted when they come, obeyed where nothing is half done.

    An exception out of nowhere, in the middle of Ray's start, would leave processes behind.
    """

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self.serving = False  # Nothing is left to do than to wait for them.
        self.listen()

    def listen(self) -> None:
        """Take the signals; Ray takes SIGTERM for itself when it starts."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: object) -> None:
        if not self._wanted.is_set():
            # Whoever ends a whole process group ends Ray's processes before us, and then nobody answers. Ray's
            # processes follow this one, so leaving is enough.
            leave = threading.Timer(STOP_S, os._exit, (1,))
            leave.daemon = True
            leave.start()
        self._wanted.set()

    @property
    def wanted(self) -> bool:
        """Whether a signal has come."""
        return self._wanted.is_set()

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self._wanted.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait so long. Raises Stopped as soon as a signal has come."""
        if self._wanted.wait(seconds):
            raise Stopped

    def wait(self) -> None:
        """Return when a signal comes."""
        self.serving = True
        self._wanted.wait()
        self.serving = False


def serve(settings: Settings) -> int:
    """Run the service until SIGINT or SIGTERM. Returns the exit code."""
    terminal = _Terminal()
    stop = _Stop()
    environment = dict(os.environ)
    _use_token(settings)
    try:
        port = _hold_port(settings)
        data = _prepare(settings)
        stop.check()
        _silence(data / "logs" / "ray.log")
        with tempfile.TemporaryDirectory(prefix="counters-") as run_dir:
            _listen_once(Path(run_dir))
            actors = ActorSettings(
                database=settings.database_url,
                run_dir=run_dir,
                secret=token_hex(16),
                log_file=str(data / "logs" / "counters.log"),
                clustered=settings.address != "local",
                dedicate_all=settings.dedicate_all,
                dedicated=settings.dedicate_most,
                dedicated_from=settings.dedicated_from,
                hibernate_after=settings.hibernate_after,
                max_resident=settings.max_resident,
                policies=settings.rules,
                sources=settings.sources,
                redis_url=settings.redis_url,
                counter_key=settings.counter_key,
                default_counter=settings.default_counter,
            )

            def lost(process: str) -> None:
                # Who ends us may end Ray as well (Ctrl-C, systemd); then the gateways, who have heard it, end.
                if not stop.wanted:
                    shutil.rmtree(run_dir, ignore_errors=True)
                    _go_on_without(process, settings, port, stop, terminal, environment)

            log_file = Path(actors.log_file or "")
            with _following(log_file, terminal), _ray(settings) as node, watching_ray(lost):
                _run(settings, replace(actors, node=node), terminal, stop)
    except (CannotStart, AlreadyRunning, ConfigError) as error:
        print(f"counters: {error}", file=terminal)
        return 1
    except OSError as error:  # Of a file or folder that cannot be used.
        print(f"counters: cannot start: {error}", file=terminal)
        return 1
    except Stopped:
        print("stopped while starting", file=terminal)
        return 130
    except Exception as error:
        print(f"counters: {error!r}; more in ray.log in the data directory", file=terminal)
        raise
    return 0


def _listen_once(directory: Path) -> None:
    """See that hosts can have their sockets there: 107 bytes are the most that the path of one may have."""
    path = directory / f"{'0' * 16}.sock"
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError as error:
        raise CannotStart(f"no sockets in {directory}: {error.strerror or error}; choose another TMPDIR") from error


def _prepare(settings: Settings) -> Path:
    """Find out what cannot work before anything is started."""
    data = Path(settings.data_dir).resolve()
    try:
        (data / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"cannot use the data directory {data}: {error.strerror}") from error
    _hold(data / "lock")
    from storage.errors import StorageError
    from storage.store import open_store

    try:
        open_store(settings.database_url).close()
    except StorageError as error:
        raise CannotStart(str(error)) from error
    return data


def _hold_port(settings: Settings) -> socket.socket | None:
    """Keep others off the port until what this returns is closed, or this process ends. Raises CannotStart.

    Gateways share it, and so would those of a second service that starts at the same moment: half of the clients would
    count in the other's database.
    """
    from gateway.deploy import bind

    try:
        port = bind(settings.host, settings.port, shared=False)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise CannotStart(f"cannot listen on {where}: {error.strerror or error}; choose another --port") from error
    if settings.address != "local":
        port.close()  # There gateways may run as another user, who could not share it with us.
        return None
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # For the gateways; who binds it alone is refused.
    return port


def _go_on_without(
    process: str,
    settings: Settings,
    port: socket.socket | None,
    stop: _Stop,
    terminal: _Terminal,
    environment: Mapping[str, str],
) -> NoReturn:
    """Ray has lost a process that it cannot do without: nothing that dies from now on would come back.

    So the service begins anew: this process runs the same command line again, and whoever watches over it sees nothing
    of it. While it starts, or in a cluster that it has joined and that may have no place for it any more, it ends.
    """
    again = stop.serving and settings.address == "local"
    print(f"counters: Ray has lost its {process}; {'starting anew' if again else 'ended'}", file=terminal)
    try:
        if again:
            end_ray()
            _await_port(settings, port, stop)
            os.dup2(terminal.fileno(), 2)
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except Stopped:
        print("stopped while starting", file=terminal)
    except Exception as error:
        print(f"counters: cannot start anew: {error}", file=terminal)
    os._exit(1)


def _await_port(settings: Settings, held: socket.socket | None, stop: _Stop) -> None:
    """Return when the gateways have ended: they would share the port with those that come.

    Raises CannotStart when they do not, and Stopped.
    """
    if held is not None:
        held.close()
    for left in range(round(STOP_S / FOLLOW_S), -1, -1):
        stop.pause(FOLLOW_S)
        try:
            free = _hold_port(settings)
        except CannotStart:
            if not left:
                raise
        else:
            if free is not None:
                free.close()
            return


def _hold(path: Path) -> None:
    """Keep others out of the data directory for as long as this process lives.

    Two services on one database would be safe, but would take every counter from each other with every operation.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CannotStart(f"another service uses {path.parent}; choose another --data-dir") from error


# What a Ray of one machine need not do so often: half of its CPU when nothing happens.
QUIET_RAY = {
    "RAY_raylet_report_resources_period_milliseconds": "1000",  # To schedule on other nodes; there is none.
    "RAY_memory_monitor_refresh_ms": "1000",  # Reads /proc for every process.
    "RAY_metrics_report_interval_ms": "60000",  # For a dashboard.
    "RAY_task_events_report_interval_ms": "0",
}


def _silence(path: Path) -> None:
    """What Ray and its libraries print goes to a file; the terminal is ours."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.stdout.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


@contextlib.contextmanager
def _ray(settings: Settings) -> Iterator[str]:
    """A Ray cluster, our own or one that is joined; gives the id of this node."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's actors give way to everybody else on the machine (nice 15): right for a training job, wrong for a service.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    from actors.directory import NAMESPACE

    local = settings.address == "local"
    if local:
        for name, value in QUIET_RAY.items():
            os.environ.setdefault(name, value)
    _reach(settings.address)
    try:
        if local:
            _leave_out()
            ray.init(
                address="local",
                namespace=NAMESPACE,
                include_dashboard=settings.dashboard,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                configure_logging=False,
            )
        else:
            ray.init(address=settings.address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        hint = "" if local else "; is there a Ray? `ray start --head` starts one"
        raise CannotStart(f"cannot connect to Ray at {settings.address}: {str(error).splitlines()[0]}{hint}") from error
    try:
        yield ray.get_runtime_context().get_node_id()
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """See whether somebody listens at HOST:PORT; Ray would try for minutes before it said no."""
    host, _, port = address.rpartition(":")
    if host:
        try:
            socket.create_connection((host, int(port)), REACH_S).close()
        except (OSError, ValueError) as error:
            raise CannotStart(f"cannot connect to Ray at {address}: {error}; `ray start --head` starts one") from error


def _leave_out() -> None:
    """Keep Ray from starting what one machine does not need: the autoscaler's monitor and the log monitor.

    Together they cost 170 MB, a second at the start and half of an idle service's CPU. `ray start` has switches for
    them, `ray.init` does not, so this reaches into Ray; should it change there, both are started and nothing is lost.
    """
    from ray._private import parameter

    original = parameter.RayParams.__init__

    def lean(self: object, *arguments: object, **named: object) -> None:
        original(self, *arguments, **{"include_log_monitor": False, "no_monitor": True, **named})

    if {"include_log_monitor", "no_monitor"} <= set(inspect.signature(original).parameters):
        parameter.RayParams.__init__ = lean


def _use_token(settings: Settings) -> None:
    """Present Ray's token, where there is one, to a cluster that is named by its address.

    `ray start --head` asks for a token wherever one exists; `ray.init` brings it along for "auto" but not for an
    address. Ray reads this variable when it is imported.
    """
    if settings.address not in ("local", "auto") and (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _run(settings: Settings, actors: ActorSettings, terminal: IO[str], stop: _Stop) -> None:
    from actors import runtime
    from gateway import deploy

    stop.listen()
    stop.check()
    runtime.found(actors, settings.hosts)  # If that fails there is nothing of ours, and `stop` would end another's.
    try:
        runtime.start(actors, settings.hosts)
        stop.check()
        deploy.start(settings, actors)
        stop.check()
        shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
        print(f"Durable Counters at http://{shown}:{settings.port}  (Ctrl-C stops)", file=terminal)
        if settings.host not in LOOPBACK:
            print("counters: anybody who can reach this address can change every counter", file=terminal)
        stop.wait()
        print("stopping", file=terminal)
        deploy.drain(settings)
    finally:
        runtime.stop()


@contextlib.contextmanager
def _following(path: Path, terminal: IO[str]) -> Iterator[None]:
    """Show the log lines of all processes on the terminal, as they are written."""
    done = threading.Event()
    path.open("a").close()

    def follow() -> None:
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(0, os.SEEK_END)
            while True:
                last = done.wait(FOLLOW_S)
                shutil.copyfileobj(file, terminal)
                if last:
                    return

    thread = threading.Thread(target=follow, name="log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def stop(address: str) -> int:
    """End whatever runs of the service in a Ray cluster. Returns the exit code."""
    import ray

    from actors import runtime

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        print(f"counters: cannot connect to Ray at {address}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 3
    try:
        runtime.stop()
    finally:
        ray.shutdown()
    return 0
