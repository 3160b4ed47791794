"""Every acknowledged operation exactly once, while host after host is killed.

    python -m tests.faults.exactness --kills 5 --hosts 2
    python -m tests.faults.exactness --victims gateway --no-ids
    python -m tests.faults.exactness --victims database
    python -m tests.faults.exactness --postgres --kills 10

Clients over HTTP and WebSocket hammer one hot counter and many others. Each operation carries an id of its client's;
those without an answer are sent again at the end and have to resolve to exactly once. With `--no-ids` only the
gateways' own ids are left, and the value has to lie between what was acknowledged and that plus what is open.
The victim `database` is a Postgres server of the test's own, killed with all its processes and started again.
Exits with 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from actors.placement import HostEntry, Placement, Table
from tests.support.hammer import Acknowledged, Hammer, Ledger, Subscriber, subscribe, until
from tests.support.hammer_audit import audit
from tests.support.kill import kill_actor, wait_until_back
from tests.support.postgres_server import PostgresServer
from tests.support.service_process import Service

WARM = 300  # Acknowledged operations before the first kill, and between one kill and the next.
SHADOW_S = 10.0  # An operation that was sent so long after a kill has nothing to do with it.


@dataclass(frozen=True)
class Plan:
    """What to do to a service."""

    kills: int = 5  # For each victim.
    victims: str = "host"  # Or gateway, supervisor, database.
    counters: int = 200
    http: int = 16
    sockets: int = 16
    subscribers: int = 2  # For each counter; the hot one has four times as many.
    ids: bool = True
    seconds: float = 0.0  # Of load without kills, before the first.
    seed: int = 1


@dataclass
class Kill:
    """One kill, and how long those waited who were hit by it."""

    victim: str
    at: float
    waits: list[float] = field(default_factory=list)


@dataclass
class Report:
    """What happened."""

    plan: Plan
    acknowledged: int
    reopened: int  # Operations that had no answer at first, and were sent again with their ids.
    open: int
    lost: int
    events: int
    joined: int
    snapshots: int
    seconds: float
    kills: list[Kill]
    wrong: list[str]

    def lines(self) -> list[str]:
        waits = sorted(wait for kill in self.kills for wait in kill.waits)
        worst = sorted(max(kill.waits, default=0.0) for kill in self.kills)
        ids = "ids of the clients'" if self.plan.ids else "no ids of the clients'"
        lines = [
            f"{self.acknowledged + self.open} operations in {self.seconds:.1f} s under load, {ids}: "
            f"{self.acknowledged} acknowledged, {self.reopened} sent again, {self.open} open; "
            f"{self.lost} connections lost",
            f"{self.events} events heard, {self.joined} of them joined, {self.snapshots} snapshots",
            f"{len(self.kills)} kills of {self.plan.victims}s",
        ]
        if waits:
            lines[-1] += (
                f": who was hit waited p50 {_quantile(waits, 0.5):.0f} ms, p99 {_quantile(waits, 0.99):.0f} ms; "
                f"the longest wait of a kill p50 {_quantile(worst, 0.5):.0f} ms, max {1000 * worst[-1]:.0f} ms"
            )
        return lines + [f"WRONG {each}" for each in self.wrong] + ["wrong" if self.wrong else "exact"]


def _quantile(ordered: list[float], q: float) -> float:
    return 1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def run(service: Service, plan: Plan, server: PostgresServer | None = None) -> Report:
    """Hammer, kill, settle, compare. `server` is what the victim `database` stands for."""
    names = [f"x{plan.seed}-hot", *(f"x{plan.seed}-{number}" for number in range(plan.counters))]
    ledger, kills = Ledger(), []
    subscribers = await subscribe(service.port, names[:1], 4 * plan.subscribers)
    subscribers += await subscribe(service.port, names[1:], plan.subscribers)
    begun = time.monotonic()
    hammer = Hammer(service.port, ledger, names, f"x{plan.seed}" if plan.ids else None, plan.seed)
    hammer.start(plan.http, plan.sockets)
    await _acknowledged(ledger, WARM)
    await asyncio.sleep(plan.seconds)
    for _ in range(plan.kills):
        if server is not None:
            kills.append(Kill("database", time.monotonic()))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await _acknowledged(ledger, WARM)
            continue
        for victim in await asyncio.to_thread(lambda: sorted(service.actors(plan.victims))):
            after = service.log_size()
            at = await asyncio.to_thread(kill_actor, service, plan.victims, victim)
            kills.append(Kill(victim, at))
            await asyncio.to_thread(wait_until_back, service, plan.victims, victim, after)
            await _acknowledged(ledger, WARM)
    await hammer.stop()
    seconds = time.monotonic() - begun
    for kill in kills:
        kill.waits = waits_of(ledger.acknowledged, kill, plan.victims == "host", sorted(service.actors("host")))
    reopened = await hammer.settle() if plan.ids else 0
    if plan.victims == "gateway":
        subscribers = _without_closed(subscribers)  # Their connections ended with their gateway.
    wrong = await audit(service, ledger, subscribers, names)
    if plan.ids and ledger.open:
        wrong.append(f"{len(ledger.open)} operations could not be resolved")
    if plan.victims != "gateway" and hammer.lost:
        wrong.append(f"{hammer.lost} connections were closed or left without an answer")
    for one in subscribers:
        one.close()
    return Report(
        plan,
        len(ledger.acknowledged),
        reopened,
        len(ledger.open),
        hammer.lost,
        sum(one.events for one in subscribers),
        sum(one.joined for one in subscribers),
        sum(one.snapshots for one in subscribers),
        seconds,
        kills,
        wrong,
    )


async def _acknowledged(ledger: Ledger, more: int) -> None:
    wanted = len(ledger.acknowledged) + more
    await until(f"{more} more operations are acknowledged", lambda: len(ledger.acknowledged) >= wanted, 60)


def _without_closed(subscribers: list[Subscriber]) -> list[Subscriber]:
    return [one for one in subscribers if not one.closed]


def waits_of(acknowledged: list[Acknowledged], kill: Kill, owned_only: bool, hosts: list[str]) -> list[float]:
    """How long the operations waited that were under way to the victim when it was killed, or sent while it was gone.

    Of each counter the first answer after the kill counts; what was answered before it was not held up.
    """
    placement = Placement(Table(1, tuple(HostEntry(host, "", "", None) for host in hosts)))
    first: dict[str, float] = {}
    for each in acknowledged:
        counter = each.operation.counter
        if owned_only and placement.owner(counter) != kill.victim:
            continue
        if kill.at < each.answered_at and each.sent_at < kill.at + SHADOW_S and each.sent_at <= kill.at + 0.05:
            wait = each.answered_at - max(kill.at, each.sent_at)
            first[counter] = min(wait, first.get(counter, wait))
    return list(first.values())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each victim (5)")
    parser.add_argument("--victims", choices=("host", "gateway", "supervisor", "database"), default="host")
    parser.add_argument("--database", metavar="URL", help="an empty one (a SQLite file)")
    parser.add_argument("--postgres", action="store_true", help="on a Postgres of its own instead")
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--counters", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.0, help="of load before the first kill (0)")
    parser.add_argument("--no-ids", action="store_true", help="operations without ids of the clients'")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    plan = Plan(
        given.kills,
        given.victims,
        given.counters,
        ids=not given.no_ids,
        seconds=given.seconds,
        seed=given.seed,
    )
    flags = {"hosts": given.hosts, "gateways": given.gateways}
    with ExitStack() as stack:
        victim = None
        if given.victims == "database" or given.postgres:
            server = stack.enter_context(PostgresServer(flushed=True)).start()
            flags["database"] = server.new_database()
            victim = server if given.victims == "database" else None
        elif given.database:
            flags["database"] = given.database
        service = stack.enter_context(Service(**flags)).start()
        report = asyncio.run(run(service, plan, victim))
        print("\n".join(report.lines()), flush=True)
        service.stop()
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
