"""What a server costs when nothing happens: its CPU when alone, its memory for sockets that wait."""

from __future__ import annotations

from loadtests.bench.cases.case import Case, Outcome
from loadtests.bench.load.websocket import Idler
from loadtests.bench.stage import Stage, new_name

SETTLE_S = 4.0  # Starting leaves work behind: compilers, worker pools, first metrics.
IDLE_SECONDS_MIN = 3.0
IDLE_FACTOR = 2  # Longer than others: CPU is counted in steps of 0.01 s a process.

SOCKETS = 5000
SOCKET_COUNTERS = 50
FIRST_SOCKETS = 100  # Opened before weighing: what is allocated once is not the price of a socket.
SOCKETS_SETTLE_S = 2.0


async def idle(stage: Stage) -> Outcome:
    await stage.pause(SETTLE_S)
    before = stage.read()
    await stage.pause(max(IDLE_SECONDS_MIN, IDLE_FACTOR * stage.extent.seconds))
    spent = stage.read() - before
    percent = 100 * spent.server_cpu_s / spent.at_s
    return Outcome({"idle_percent": percent, "processes": len(stage.peer.pids())} | stage.memory())


async def idle_sockets(stage: Stage) -> Outcome:
    count = stage.extent.scaled(SOCKETS)
    counters = [new_name("idle") for _ in range(SOCKET_COUNTERS)]
    await _open(stage, counters, FIRST_SOCKETS)
    before = stage.peer.pss_bytes()
    await _open(stage, counters, count)
    growth = stage.peer.pss_bytes() - before
    return Outcome({"bytes_per_socket": growth / count} | stage.memory())


async def _open(stage: Stage, counters: list[str], count: int) -> None:
    """Open sockets, evenly over the counters, and let the server come to rest."""
    idlers = [Idler(stage.fail) for _ in range(count)]
    port = stage.peer.port
    await stage.all_of([one.connect(port, counters[i % len(counters)]) for i, one in enumerate(idlers)])
    await stage.pause(SOCKETS_SETTLE_S)


IDLE = Case(
    name="idle",
    about="nothing is connected: CPU of all processes",
    headline="idle_percent",
    play=idle,
    fresh=True,
)
IDLE_SOCKETS = Case(
    name="idle_sockets",
    about=f"{SOCKETS} idle WebSockets over {SOCKET_COUNTERS} counters: growth of memory for each",
    headline="bytes_per_socket",
    play=idle_sockets,
    fresh=True,
)
