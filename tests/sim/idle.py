"""Counters that reset themselves, in a world where everything about it goes wrong: `python -m tests.sim.idle`.

Real hosts and a real timer on a clock that jumps. Clients touch counters and change their periods; hosts and the timer
crash and come back, calls and disks are slow, and the wall clock is set to and fro. What it is judged by:

* A counter that was touched within its period is never reset for inactivity.
* One that is left alone is reset once, within a second after its period, unless something was broken just then.

A run is made of one number, and the whole of it is printed when it fails: `python -m tests.sim.idle --seed N`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from time import perf_counter

import pytest

from actors import host as host_module
from actors import stand_in as stand_in_module
from actors.core.policy import Policies
from actors.errors import Unavailable
from actors.host import Host
from actors.messages import Operation, Status
from actors.placement import HostEntry, Placement, Table
from actors.timer import Timer
from storage.memory import MemoryStore
from storage.records import Commit, OperationRecord
from tests.sim.weather import Disk
from tests.support.clock import LoopClock
from tests.support.loop import JumpingLoop, current, run

NAMES = ("ann", "bob", "eve")
LATE_S = 1.0  # What the promise leaves for asking and committing.
HOUR_MS = 3_600_000
MINUTE, DAY = 60, 86_400


class Plan:
    """What a run is made of."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = Random(seed)
        # Long periods are looked for less often; else a month would be millions of looks.
        self.unit = chance.choice((1, 1, 1, MINUTE, DAY))
        self.look_s = 0.5 * self.unit
        self.periods = [chance.choice((1, 2, 3, 5)) * self.unit for _ in NAMES]
        self.hosts = chance.choice((1, 2))
        self.disk_s = chance.choice((0.001, 0.02, 0.05))
        self.call_s = chance.choice((0.001, 0.01, 0.1))
        self.hibernate_after = chance.choice((0.2, 1.0, 10.0)) * self.unit
        self.standing_in = chance.random() < 0.3  # Hosts do the timer's work while it is away.
        self.touches = chance.randint(3, 12)
        self.configures = chance.choice((0, 0, 1, 3))
        kinds = ("crash_host", "crash_timer", "step", "stall", "table")
        self.faults = [chance.choice(kinds) for _ in range(chance.choice((0, 1, 2, 4, 8)))]
        self.span_s = max(self.periods) * chance.choice((1.5, 3.0))


@dataclass
class Touch:
    """One operation of a client, or a change of the period (then `period` is the new one)."""

    asked: float
    answered: float
    id: str
    period: int | None = None


class Journal(MemoryStore):
    """The database, with a witness of when rows became durable."""

    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self.rows: dict[str, list[tuple[float, OperationRecord]]] = {name: [] for name in NAMES}
        self._loop = loop

    def commit(self, commit: Commit) -> frozenset[int]:
        names = dict(self._names)
        fenced = super().commit(commit)
        for row in commit.operations:
            if row.counter_id not in fenced:
                self.rows[names[row.counter_id]].append((self._loop.time(), row))
        return fenced

    def close(self) -> None:
        """Whoever goes leaves the database as it is."""


class Node:
    """A host that can crash."""

    def __init__(self, world: World, id: str) -> None:
        self.world, self.id, self.lives = world, id, 0
        self.start()

    def start(self) -> None:
        world, plan = self.world, self.world.plan
        self.lives += 1
        self.entry = HostEntry(self.id, str(self.lives), "node", None)
        self.disk = Disk(f"{world.seed}/{self.id}/{self.lives}", plan.disk_s, 0.0)
        self.gone: asyncio.Future[None] = world.loop.create_future()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("actors.host.StorageThread", lambda: self.disk)
            self.host = Host(self.id, world.journal, world.clock, hibernate_after=plan.hibernate_after)
        self.task = world.loop.create_task(self.host.run())

    def crash(self) -> None:
        self.disk.die()
        self.task.cancel()
        self.gone.set_result(None)

    async def operate(self, version: int, operations: Sequence[Operation]) -> list[tuple[int, int, bytes]]:
        """A call to this life of the host. Raises Unavailable when it ends before it has answered."""
        call = self.world.loop.create_task(self.host.operate(version, operations))
        await asyncio.wait({call, self.gone}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            call.cancel()
            raise Unavailable("it has crashed")
        return call.result()


class Owners:
    """How timer and clients reach hosts."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.placement = Placement.empty()
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def take(self, table: Table) -> None:
        self.placement = Placement(table)
        for changed in self._listeners:
            changed()

    def dedicate(self, name: str) -> None:
        """There is always a shared host, or will be."""

    async def operate(
        self, host: HostEntry, version: int, operations: Sequence[Operation]
    ) -> list[tuple[int, int, bytes]]:
        world = self.world
        await asyncio.sleep(world.chance.random() * world.plan.call_s + world.stalled())
        node = world.nodes.get(host.id)
        if node is None or node.entry != host or node.gone.done():
            raise Unavailable("it is not there")
        answers = await node.operate(version, operations)
        await asyncio.sleep(world.chance.random() * world.plan.call_s + world.stalled())
        return answers


class World:
    """One run."""

    def __init__(self, seed: int, trace: bool = False) -> None:
        self.seed = seed
        self.plan = Plan(seed)
        self.chance = Random(f"{seed}/world")
        self.loop = current()
        self.clock = LoopClock(self.loop)
        self.journal = Journal(self.loop)
        self.lines: list[str] | None = [] if trace else None
        self.disturbed: list[tuple[float, float]] = []  # When something was broken.
        self.stalls: list[tuple[float, float]] = []
        self.touches: dict[str, list[Touch]] = {name: [] for name in NAMES}
        self.complaints: list[str] = []
        self.owners = Owners(self)
        self.version = 0
        self.nodes = {f"h{number}": Node(self, f"h{number}") for number in range(self.plan.hosts)}
        self.publish()
        self.timer: asyncio.Task[None] | None = None
        self.start_timer()

    def trace(self, text: str) -> None:
        if self.lines is not None:
            self.lines.append(f"{self.loop.time():12.3f}  {text}")

    def stalled(self) -> float:
        """How much longer a call takes that is made now."""
        now = self.loop.time()
        return max((end - now for start, end in self.stalls if start <= now < end), default=0.0)

    # What goes wrong

    def publish(self) -> None:
        living = tuple(node.entry for node in self.nodes.values() if not node.gone.done())
        table = Table(self.version + 1, living, False, self.version)
        self.version = table.version
        for node in self.nodes.values():
            if not node.gone.done():
                node.host.place(Placement(table))
        self.owners.take(table)

    def start_timer(self) -> None:
        owners = self.timer_owners = Owners(self)
        owners.placement = self.owners.placement
        self.timer_disk = Disk(f"{self.seed}/timer/{self.loop.time()}", self.plan.disk_s, 0.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("actors.timer.StorageThread", lambda: self.timer_disk)
            timer = Timer(self.journal, owners, self.clock, self.chance.random, Policies(), self.plan.look_s)
        self.owners._listeners = [lambda: owners.take(self.owners.placement.table)]
        self.timer = self.loop.create_task(timer.run())
        self.timer.add_done_callback(self.broken)

    def broken(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.complaints.append(f"the timer broke: {task.exception()!r}")

    def disturb(self, seconds: float) -> None:
        now = self.loop.time()
        self.disturbed.append((now, now + seconds))

    async def crash_host(self) -> None:
        node = self.chance.choice(list(self.nodes.values()))
        if node.gone.done():
            return
        away, noticed = self.chance.random() * 3, self.chance.random() * 0.5
        self.trace(f"{node.id} crashes for {away:.2f} s")
        self.disturb(noticed + away + 1.0)
        node.crash()
        await asyncio.sleep(noticed)
        self.publish()
        await asyncio.sleep(away)
        node.start()
        self.publish()

    async def crash_timer(self) -> None:
        if self.timer is None:
            return
        away = self.chance.random() * 3
        self.trace(f"the timer crashes for {away:.2f} s")
        self.disturb(away + 2 * self.plan.look_s + 1.0)
        self.timer_disk.die()
        self.timer.cancel()
        self.timer = None
        await asyncio.sleep(away)
        self.start_timer()

    async def step(self) -> None:
        step = self.chance.choice((-HOUR_MS, HOUR_MS, -500, 500))
        self.trace(f"the wall clock is set by {step} ms")
        self.clock.wrong_ms += step

    async def stall(self) -> None:
        """Every call takes longer, and so does waking up."""
        now, length = self.loop.time(), self.chance.random() * 3
        self.trace(f"calls stall for {length:.2f} s")
        self.stalls.append((now, now + length))
        self.disturb(length + 1.0)

    async def table(self) -> None:
        self.disturb(0.5)
        self.publish()

    # Clients

    async def ask(self, name: str, operation: Operation) -> Touch:
        """Have an operation applied, however often it has to be sent."""
        asked = self.loop.time()
        while True:
            placement = self.owners.placement
            owner = placement.owner(name)
            if owner is not None:
                with suppress(Unavailable):
                    [answer] = await self.owners.operate(placement.hosts[owner], placement.version, [operation])
                    if answer[1] == Status.OK:
                        return Touch(asked, self.loop.time(), operation.id)
            operation.repeated = True
            await asyncio.sleep(0.02)

    async def configure(self, name: str, period: int) -> None:
        number = len(self.touches[name])
        operation = Operation(0, name, "configure", 0, f"{name}-c{number}", policy={"reset_after": period})
        touch = await self.ask(name, operation)
        touch.period = period
        self.trace(f"{name} has a period of {period} s")
        self.touches[name].append(touch)

    async def touch(self, name: str, number: int) -> None:
        touch = await self.ask(name, Operation(0, name, "increment", 1, f"{name}-{number}"))
        self.trace(f"{name} is touched, asked at {touch.asked:.3f}")
        self.touches[name].append(touch)

    async def client(self, name: str, period: int) -> None:
        chance = Random(f"{self.seed}/{name}")
        await self.configure(name, period)
        for number in range(self.plan.touches):
            # Often close to the moment at which it would be reset.
            near = period * chance.choice((1.0, 1.0, 0.5, 2.0)) + chance.uniform(-0.3, 0.3)
            await asyncio.sleep(max(0.0, near if chance.random() < 0.6 else chance.random() * period))
            if self.plan.configures and chance.random() < self.plan.configures / self.plan.touches:
                period = chance.choice((1, 2, 3, 5)) * self.plan.unit
                await self.configure(name, period)
            await self.touch(name, number)

    # The run

    async def run(self) -> list[str]:
        clients = [
            self.loop.create_task(self.client(name, period))
            for name, period in zip(NAMES, self.plan.periods, strict=True)
        ]
        faults = [self.loop.create_task(self.fault(kind)) for kind in self.plan.faults]
        await asyncio.gather(*clients, *faults)
        await asyncio.sleep(5 * self.plan.unit + 5)  # The longest period, and time for what was disturbed last.
        self.judge()
        await self.end()
        return self.complaints

    async def fault(self, kind: str) -> None:
        await asyncio.sleep(self.chance.random() * self.plan.span_s)
        await getattr(self, kind)()

    async def end(self) -> None:
        tasks = [node.task for node in self.nodes.values()] + ([self.timer] if self.timer else [])
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    # The verdict

    def judge(self) -> None:
        for name in NAMES:
            for at, row in self.journal.rows[name]:
                self.trace(f"{name}: {row.type} {row.reason or ''} durable at {at:.3f}, {row.value}")
            self._judge(name)

    def _judge(self, name: str) -> None:
        rows = self.journal.rows[name]
        touches = {touch.id: touch for touch in self.touches[name]}
        changes = [touch for touch in self.touches[name] if touch.period is not None]
        ids = Tally(row.operation_id for _, row in rows)
        asked = touches.keys() | {row.operation_id for _, row in rows if row.reason}
        if max(ids.values(), default=0) > 1 or ids.keys() - asked:
            self.complaints.append(f"{name}: applied twice, or never asked for: {ids}")
        last: Touch | None = None
        for place, (at, row) in enumerate(rows):
            if row.reason is None:
                last = touches[row.operation_id]
                self._left_alone(name, last, rows[place + 1 :], changes)
                continue
            if last is None or rows[place - 1][1].reason is not None:
                self.complaints.append(f"{name}: reset twice, or without a reason, at {at:.3f}")
                return
            # Whatever the period was when it decided: it was one of those that may have counted then.
            period = min(self._periods(changes, at))
            if at < last.asked + period - 0.002:  # Clocks show milliseconds.
                self.complaints.append(f"{name}: reset at {at:.3f}, touched at {last.asked:.3f}, period {period}")

    def _periods(self, changes: list[Touch], at: float) -> list[int]:
        """The periods that may have counted at a time: those being set just then, and the last one set before."""
        before = [change for change in changes if change.answered <= at - 1.0]
        around = [change for change in changes if change.asked <= at < change.answered + 1.0]
        return [change.period or 0 for change in (*before[-1:], *around)]

    def _left_alone(
        self, name: str, touch: Touch, later: list[tuple[float, OperationRecord]], changes: list[Touch]
    ) -> None:
        """Is what was left alone reset in time? Only where nothing was broken and no period was being changed."""
        after = [change for change in changes if change.answered > touch.asked]
        period = max(self._periods(changes, touch.answered))
        due = touch.answered + period
        for change in after:
            if change.asked > due + LATE_S + 0.5:
                break
            period = change.period or 0
            due = max(change.answered, touch.answered + period)
        until = due + LATE_S + 0.2  # The disk of the host may be slow, and the one of the timer.
        if later and later[0][0] <= until:
            return
        # Where something was broken just then, it may be later; all the same it may not be forgotten.
        for start, end in sorted(self.disturbed):
            if start - 0.5 <= until and end >= due - 2.0:
                until = max(until, end + LATE_S + 2 * self.plan.look_s + 1.0)
        if later and later[0][0] <= until:
            return
        if until < self.loop.time():
            self.complaints.append(f"{name}: touched at {touch.answered:.3f}, not reset by {until:.3f}")


def played(seed: int, trace: bool = False) -> tuple[list[str], list[str]]:
    """The complaints about one run, and its story."""

    async def play() -> tuple[list[str], list[str]]:
        with pytest.MonkeyPatch.context() as patch:
            plan = Plan(seed)
            unit = plan.unit
            patch.setattr(stand_in_module, "STAND_IN_S", stand_in_module.STAND_IN_S * unit)
            nothing_due = stand_in_module.NOTHING_DUE_S * unit if plan.standing_in else 1e12
            patch.setattr(stand_in_module, "NOTHING_DUE_S", nothing_due)
            patch.setattr(host_module, "HEARTBEAT_S", host_module.HEARTBEAT_S * unit)
            patch.setattr(host_module, "AUDIT_S", host_module.AUDIT_S * unit)
            world = World(seed, trace)
            return await world.run(), world.lines or []

    try:
        return run(play())
    except Exception as error:
        return [repr(error)], []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.idle", description=__doc__.split("\n\n")[0])
    parser.add_argument("--schedules", type=int, default=100_000, help="how many runs (100000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one (0)")
    parser.add_argument("--seed", type=int, help="tell the story of this one")
    options = parser.parse_args(arguments)
    logging.disable()
    if options.seed is not None:
        complaints, story = played(options.seed, trace=True)
        print(vars(Plan(options.seed)))
        print("\n".join([*story, *(complaints or ["nothing to complain of"])]))
        return bool(complaints)
    begun, failed = perf_counter(), []
    for done, seed in enumerate(range(options.first, options.first + options.schedules), 1):
        complaints, _ = played(seed)
        if complaints:
            failed.append(seed)
            print(f"seed {seed}: {complaints[0][:300]}", flush=True)
        if done % 10_000 == 0:
            print(f"{done} schedules in {perf_counter() - begun:.0f} s, {len(failed)} failed", flush=True)
    print(f"{options.schedules} schedules from seed {options.first}: {len(failed)} failed {failed[:20]}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
