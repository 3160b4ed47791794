"""A whole service in one thread: real hosts, routers and hubs, over a network, disks and a clock made of chance.

Everything is drawn from one seed, so a run can be repeated. Faults differ from run to run in kind and number: some
runs have none of a kind, others are full of it. After a while everything heals; then the auditor judges.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from actors.host import Host
from actors.link import HostEnd
from actors.messages import Operation, Query, Status
from actors.placement import HostEntry, Placement, Table
from actors.router import DEADLINE_S, Router
from gateway.hub import Hub
from gateway.session import Services, Session
from tests.sim.auditor import MORTAL, POLICIES, Asked, Auditor, Journal
from tests.sim.weather import Disk, Storm
from tests.support.clock import LoopClock
from tests.support.loop import JumpingLoop, current
from tests.support.network import Network
from tests.support.stream import Stream

NAMES = ("free", "tight", "capped", "mortal")
LIKED, MEMBERS = "liked", ("ann", "bob")  # So few that they meet.
LIKING = ("like.add", "like.add", "like.remove", "like.toggle", "like.toggle", "delete", "delete")
STORM_S = 4.0  # How long things go wrong.
CALM_S = 11.0  # How long they may take to come to rest: two audits of a host.
SECRET = "secret"


class Plan:
    """What this run is made of."""

    def __init__(self, seed: int) -> None:
        chance = Random(seed)
        self.hosts = chance.choice((1, 2, 2, 3))
        self.gateways = chance.choice((1, 2))
        self.delay_s = chance.choice((0.001, 0.01, 0.1))
        self.disk_s = chance.choice((0.001, 0.02, 0.2))
        self.chopping = chance.random() < 0.5
        self.clients = chance.randint(2, 5)
        self.operations = chance.randint(4, 12)
        self.subscribers = chance.randint(2, 6)
        self.pause_s = chance.choice((0.0, 0.02, 0.3))
        self.disk_failures = chance.choice((0.0, 0.0, 0.05, 0.3))
        kinds = ("cut", "crash", "freeze", "banish_one", "dedicate", "stop_gateway", "retell")
        self.faults = [kind for kind in kinds if chance.random() < 0.4]
        self.faults_every_s = chance.choice((0.1, 0.4, 1.0))
        self.late_tables = chance.random() < 0.5
        self.deletions = chance.random() < 0.3
        self.likers = 0
        self.hibernate_after_s = chance.choice((0.1, 1.0, 10.0))
        self.max_resident = chance.choice((1, 2, 100))

    @classmethod
    def of_moves(cls, seed: int) -> Plan:
        """Owners change all the time, everybody hears of it late, and nobody has patience."""
        plan = cls(seed)
        plan.hosts, plan.gateways, plan.late_tables = 3, 2, True
        plan.delay_s, plan.disk_s, plan.pause_s = 0.1, 0.2, 0.0
        plan.clients, plan.operations = 6, 15
        plan.faults, plan.faults_every_s = ["banish_one", "freeze", "dedicate", "cut"], 0.2
        return plan

    @classmethod
    def of_likes(cls, seed: int) -> Plan:
        """Some like the same, take it back, and send everything again; and it is deleted in between."""
        plan = cls(seed)
        plan.likers = 3
        return plan


class SimDirectory:
    """The newest table that one party has heard of."""

    def __init__(self, world: World, name: str) -> None:
        self.placement = Placement.empty()
        self.frozen = False
        self._world = world
        self._name = name
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def take(self, table: Table) -> None:
        if table.version > self.placement.version and not self.frozen:
            self.placement = self.placement.followed_by(table)
            self._world.trace(f"{self._name} follows table {table.version}")
            for changed in self._listeners:
                changed()

    def report(self, host: HostEntry) -> None:
        self._world.loop.call_later(self._world.chance.random() * 0.2, self._world.suspect, host)

    def dedicate(self, name: str) -> None:
        """Nobody needs a host of its own here."""


class SimHost:
    """One process that runs counters."""

    def __init__(self, world: World, id: str, dedicated: str | None = None) -> None:
        self.world = world
        self.id = id
        self.dedicated = dedicated
        self.alive = False
        self.frozen = False
        self.start()

    def start(self) -> None:
        world = self.world
        world.incarnations += 1
        self.alive = True
        label = f"{self.id}.{world.incarnations}"
        path = f"/run/{label}"
        self.entry = HostEntry(self.id, label, "node", path, None, self.dedicated)
        self.disk = Disk(f"{world.seed}/disk/{label}", world.plan.disk_s, world.disk_failures)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("actors.host.StorageThread", lambda: self.disk)
            host = self.host = Host(
                self.id,
                world.journal,
                LoopClock(world.loop),
                hibernate_after=world.plan.hibernate_after_s,
                max_resident=world.plan.max_resident,
            )
        self.directory = SimDirectory(world, label)
        self.directory.subscribe(lambda: host.place(self.directory.placement))
        self.task = world.loop.create_task(host.run())
        self.task.add_done_callback(self.ended)
        world.network.listen(path, lambda: HostEnd(host, self.id, SECRET))
        world.trace(f"{label} starts")
        world.later(0.3, lambda: world.admit(self, self.entry))

    def ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.world.auditor.complain(f"{self.entry.incarnation} broke: {task.exception()!r}")

    def crash(self) -> None:
        if not self.alive:
            return
        self.world.trace(f"{self.entry.incarnation} crashes")
        self.alive = self.frozen = False
        self.directory.frozen = True
        self.disk.die()
        self.task.cancel()
        assert self.entry.unix is not None
        self.world.network.deafen(self.entry.unix)

    def revive(self) -> None:
        if not self.alive:
            self.start()

    def freeze(self) -> None:
        if self.alive and not self.frozen:
            self.world.trace(f"{self.entry.incarnation} freezes")
            self.frozen = self.directory.frozen = True
            self.disk.freeze()
            assert self.entry.unix is not None
            self.world.network.freeze(self.entry.unix)

    def thaw(self) -> None:
        if self.frozen:
            self.world.trace(f"{self.entry.incarnation} thaws")
            self.frozen = self.directory.frozen = False
            self.disk.thaw()
            assert self.entry.unix is not None
            self.world.network.thaw(self.entry.unix)
            self.world.tell(self.directory)


class PlainIds:
    """Operation ids of one gateway."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._next = 0

    def next(self) -> str:
        self._next += 1
        return f"{self._gateway}-{self._next}"


class SimGateway:
    """One process that clients are connected to."""

    def __init__(self, world: World, id: str) -> None:
        self.id = id
        self.open = True
        self.directory = SimDirectory(world, id)
        self.hub = Hub()
        self.router = Router(id, "node", SECRET, self.directory, self.hub)
        self.hub.connect(self.router)
        self.ids = PlainIds(id)
        self.services = Services(self.router, self.hub, LoopClock(world.loop), self.ids)  # type: ignore[arg-type]
        world.tell(self.directory)


class Subscriber:
    """One client that listens to one counter. It may go away and come back, anywhere, and go on where it was."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.chance = Random(f"{world.seed}/subscriber/{number}")
        self.name = self.chance.choice(NAMES)
        self.session: Session | None = None
        self.gateway: SimGateway | None = None
        self.visits = 0
        self.label = f"subscriber {number}"
        self.rate = self.chance.choice((0, 0, 0, 5))
        self.filters = self.chance.choice((None, None, None, frozenset({"increment"})))
        if world.plan.likers and number % 2:
            self.name = LIKED
        self.stream = Stream(world.journal.truth(self.name), complete=self.filters is None)

    def writer(self, stream: Stream) -> Callable[[bytes], None]:
        """Where the socket of one session ends."""

        def write(data: bytes) -> None:
            try:
                stream.take(data)
            except (AssertionError, KeyError) as error:
                self.world.complain(f"{self.label} of {self.name}: {error!r}")

        return write

    async def live(self) -> None:
        """Join, stay for a while, perhaps leave and come back."""
        while True:
            await asyncio.sleep(self.chance.random() * STORM_S / 2)
            await self.join()
            if self.chance.random() < 0.6:
                return
            await asyncio.sleep(self.chance.random() * STORM_S / 2)
            self.leave()

    async def join(self) -> None:
        self.visits += 1
        visit = self.visits
        gateway = self.gateway = self.chance.choice(self.world.gateways)
        wish = self.chance.choice(("plain", "snapshot", "since"))
        await gateway.hub.open(self.name, 0.5)
        if visit != self.visits:  # It has left again, or the gateway has stopped, while the handshake was on its way.
            gateway.hub.opened(self.name)
            return
        channel: Any = gateway.hub._channels[self.name]
        placed = channel.placed.is_set() and channel.catching_up is False
        truth = self.world.journal.truth(self.name)
        seen, since = None, None
        if wish == "since" and self.stream.seen is not None and self.name not in MORTAL and self.filters is None:
            seen, since = self.stream.seen, self.stream.seen.seq
        joined = len(truth.events) if placed and wish == "plain" else None
        self.stream = Stream(truth, seen, joined, self.filters is None)
        rate = 0 if since is not None else self.rate
        write = self.writer(self.stream)
        self.session = Session(gateway.services, self.name, write, filters=self.filters, rate=rate)
        self.session.subscribe(self.name, wish == "snapshot", since)
        gateway.hub.opened(self.name)
        self.world.trace(f"{self.label} joins {self.name} at {gateway.id}: {wish} {since}")

    def leave(self) -> None:
        self.visits += 1
        if self.session is not None:
            self.session.end()
            self.session = None
            self.world.trace(f"{self.label} leaves {self.name}")

    def toggle(self) -> None:
        if self.session is not None:
            if self.session.blocked:
                self.session.unblock()
            else:
                self.session.block()


class World:
    """One run."""

    def __init__(self, seed: int, trace: bool = False, plan: Plan | None = None) -> None:
        self.seed = seed
        self.plan = plan or Plan(seed)
        self.chance = Random(f"{seed}/world")
        self.loop: JumpingLoop = current()
        self.lines: list[str] | None = [] if trace else None
        self.network = Network.install(Storm(f"{seed}/weather", self.plan.delay_s, self.plan.chopping))
        self.journal = Journal(self.loop)
        self.auditor = Auditor(self.journal)
        self.stormy = False
        self.incarnations = 0
        self.table = Table(1)
        self.hosts = [SimHost(self, f"host:{number}") for number in range(self.plan.hosts)]
        self.gateways = [SimGateway(self, f"g{number}") for number in range(self.plan.gateways)]
        self.subscribers = [Subscriber(self, number) for number in range(self.plan.subscribers)]
        self.publish(tuple(host.entry for host in self.hosts))

    def trace(self, text: str) -> None:
        if self.lines is not None:
            self.lines.append(f"{self.loop.time():9.4f}  {text}")

    def complain(self, text: str) -> None:
        self.trace(text)
        self.auditor.complain(text)

    def later(self, within_s: float, do: Callable[[], Any]) -> None:
        self.loop.call_later(self.chance.random() * within_s, do)

    @property
    def disk_failures(self) -> float:
        return self.plan.disk_failures if self.stormy else 0.0

    # The table

    def publish(self, hosts: tuple[HostEntry, ...]) -> None:
        ordered = tuple(sorted(hosts, key=lambda host: host.id))
        self.table = Table(self.table.version + self.chance.randint(1, 3), ordered, False, self.table.version)
        self.trace(f"table {self.table.version}: {[host.incarnation for host in ordered]}")
        for directory in self.everybody():
            self.tell(directory)

    def everybody(self) -> list[SimDirectory]:
        return [host.directory for host in self.hosts if host.alive] + [gateway.directory for gateway in self.gateways]

    def tell(self, directory: SimDirectory) -> None:
        """Somebody hears of a table some time later: of this one, or of what is the newest by then."""
        table = self.table
        newest = self.chance.random() < 0.5
        within_s = 1.0 if self.plan.late_tables and self.stormy else 0.02
        self.later(within_s, lambda: directory.take(self.table if newest else table))

    def admit(self, host: SimHost, entry: HostEntry) -> None:
        """A host asks to be let in: it has started, or found itself left out."""
        if host.entry is entry and host.alive and not host.frozen and entry not in self.table.hosts:
            self.publish((*(each for each in self.table.hosts if each.id != entry.id), entry))

    def suspect(self, entry: HostEntry) -> None:
        """Somebody has lost a link: is anybody there?"""
        host = next((host for host in self.hosts if host.entry == entry), None)
        if (host is None or not host.alive or host.frozen) and entry in self.table.hosts:
            self.banish(entry)

    def banish(self, entry: HostEntry) -> None:
        self.publish(tuple(each for each in self.table.hosts if each != entry))

    # What goes wrong

    async def storm(self) -> None:
        """Things go wrong for a while, and heal."""
        self.stormy = True
        for host in self.hosts:
            host.disk.failures = self.disk_failures
        end = self.loop.time() + STORM_S
        while self.loop.time() < end:
            await asyncio.sleep(self.chance.random() * self.plan.faults_every_s)
            if self.chance.random() < 0.3:
                self.chance.choice(self.subscribers).toggle()
            if self.plan.faults:
                getattr(self, self.chance.choice(self.plan.faults))()
        self.stormy = False

    def cut(self) -> None:
        if self.network.connections:
            connection = self.chance.choice(self.network.connections)
            self.trace(f"the link to {connection.path} is cut")
            connection.cut()

    def crash(self) -> None:
        host = self.chance.choice(self.hosts)
        host.crash()
        if host.dedicated is None:
            self.later(1.5, host.revive)

    def freeze(self) -> None:
        host = self.chance.choice(self.hosts)
        host.freeze()
        self.later(2.0, host.thaw)
        self.later(1.0, lambda: self.suspect(host.entry))

    def retell(self) -> None:
        """A new table that says the same."""
        self.publish(self.table.hosts)

    def banish_one(self) -> None:
        host = self.chance.choice(self.hosts)
        if host.entry in self.table.hosts:
            self.banish(host.entry)
            self.later(0.5, lambda: self.admit(host, host.entry))

    def dedicate(self) -> None:
        """A counter gets a host of its own, or loses it."""
        own = [host for host in self.hosts if host.dedicated is not None]
        if own:
            host = own[0]
            self.hosts.remove(host)
            if host.entry in self.table.hosts:
                self.banish(host.entry)
            self.later(1.0, host.crash)
        else:
            name = self.chance.choice(NAMES)
            self.hosts.append(SimHost(self, f"counter:{name}", name))

    def stop_gateway(self) -> None:
        if len(self.gateways) < 2:
            return
        gateway = self.gateways.pop(0)
        self.trace(f"{gateway.id} stops")
        gateway.open = False
        self.loop.create_task(gateway.router.close())
        self.gateways.append(SimGateway(self, f"{gateway.id}'"))
        for subscriber in self.subscribers:
            if subscriber.gateway is gateway:
                subscriber.leave()
                self.loop.create_task(subscriber.join())

    # Clients

    async def client(self, number: int) -> None:
        """One after the other, each asked again until it is answered, if it has a key."""
        chance = Random(f"{self.seed}/client/{number}")
        for turn in range(self.plan.operations):
            name = chance.choice(NAMES if self.plan.deletions else NAMES[:3])
            type = chance.choice(("increment", "increment", "increment", "decrement", "setValue", "reset", "sync"))
            if name == "mortal" and chance.random() < 0.2:
                type = "delete"
            amount = {"reset": 0, "delete": 0}.get(type, chance.randint(1, 4))
            keyed = chance.random() < 0.5
            gateway = chance.choice(self.gateways)
            id = f"key:{number}.{turn}" if keyed else gateway.ids.next()
            asked = self.auditor.asked[id] = Asked(name, type, amount, id, self.loop.time())
            await self.ask(gateway, asked, keyed, chance)
            if chance.random() < 0.2:
                await self.read(gateway, name)
            await asyncio.sleep(chance.random() * self.plan.pause_s)

    async def liker(self, number: int) -> None:
        """Likes, takes it back, and now and then deletes it all. Some of that is sent again much later."""
        chance = Random(f"{self.seed}/liker/{number}")
        for turn in range(self.plan.operations):
            type = chance.choice(LIKING)
            member = chance.choice(MEMBERS) if type.startswith("like.") else None
            id = f"key:like.{number}.{turn}"
            asked = self.auditor.asked[id] = Asked(LIKED, type, 0, id, self.loop.time(), member)
            gateway = chance.choice(self.gateways)
            await self.ask(gateway, asked, True, chance)
            await asyncio.sleep(chance.random() * self.plan.pause_s)
            if chance.random() < 0.3:
                again = chance.choice([each for each in self.auditor.asked.values() if each.name == LIKED])
                await self.call(chance.choice(self.gateways), again, True)

    async def ask(self, gateway: SimGateway, asked: Asked, keyed: bool, chance: Random) -> None:
        calls = [self.call(gateway, asked, keyed)]
        if keyed and chance.random() < 0.3:  # Impatient, or a proxy that tries again.
            calls.append(self.call(chance.choice(self.gateways), asked, keyed))
        await asyncio.gather(*calls)

    async def call(self, gateway: SimGateway, asked: Asked, keyed: bool) -> None:
        for _ in range(5):
            status, body = await self.submit(gateway, asked, keyed)
            asked.answers.append((self.loop.time(), status, body))
            self.trace(f"{gateway.id} answers {asked.id} {asked.type} {asked.name}: {Status(status).name}")
            if status != Status.UNAVAILABLE or not keyed:
                return
            await asyncio.sleep(0.1)
            gateway = self.gateways[0]

    async def submit(self, gateway: SimGateway, asked: Asked, keyed: bool) -> tuple[int, bytes]:
        answer: asyncio.Future[tuple[int, bytes]] = self.loop.create_future()
        if not gateway.open:
            return Status.UNAVAILABLE, b""
        operation = Operation(0, asked.name, asked.type, asked.amount, asked.id, keyed, member=asked.member)
        operation.policy = POLICIES.get(asked.name) if asked.type == "create" else None
        gateway.router.submit(operation, lambda status, body: answer.set_result((status, body)))
        return await answer

    async def read(self, gateway: SimGateway, name: str) -> int | None:
        answer: asyncio.Future[tuple[int, bytes]] = self.loop.create_future()
        if not gateway.open:
            return None
        start = self.loop.time()
        gateway.router.ask(Query(0, "value", [name]), lambda status, body: answer.set_result((status, body)))
        status, body = await answer
        if status != Status.OK:
            return None
        value: int = json.loads(body)["value"]
        self.auditor.reads.append((name, start, self.loop.time(), value))
        return value

    # The run

    async def run(self) -> list[str]:
        """Everything, from the first counter to the verdict."""
        for name in POLICIES:
            asked = self.auditor.asked[f"create {name}"] = Asked(name, "create", 0, f"create {name}", 0.0)
            await self.call(self.gateways[0], asked, True)
        storm = self.loop.create_task(self.storm())
        listening = [self.loop.create_task(subscriber.live()) for subscriber in self.subscribers]
        clients = [self.loop.create_task(self.client(number)) for number in range(self.plan.clients)]
        clients += [self.loop.create_task(self.liker(number)) for number in range(self.plan.likers)]
        await storm
        self.heal()
        await asyncio.gather(*clients, *listening)
        self.heal()
        await asyncio.sleep(CALM_S)
        await self.judge()
        await self.end()
        return self.auditor.complaints

    def heal(self) -> None:
        self.trace("everything heals")
        # Disks may have much to catch up with; after that, nobody should have to wait.
        self.auditor.calm_since = min(self.auditor.calm_since, self.loop.time() + 2 * DEADLINE_S)
        for host in self.hosts:
            host.disk.failures = 0.0
            host.thaw()
            host.revive()
        self.publish(tuple(host.entry for host in self.hosts))
        for subscriber in self.subscribers:
            if subscriber.session is not None and subscriber.session.blocked:
                subscriber.session.unblock()

    async def judge(self) -> None:
        self.auditor.judge()
        for name in (*NAMES, LIKED):
            state = self.journal.read([name]).get(name)
            for gateway in self.gateways:
                value = await self.read(gateway, name)
                if value != (0 if state is None else state.value):
                    self.auditor.complain(f"{gateway.id} reads {name} as {value}, and it is {state}")
        for subscriber in self.subscribers:
            if subscriber.session is not None:
                try:
                    subscriber.stream.end()
                except AssertionError as error:
                    self.auditor.complain(f"{subscriber.label} of {subscriber.name} at the end: {error}")
        for gateway in self.gateways:
            if gateway.router.pending:
                self.auditor.complain(f"{gateway.id} still has {gateway.router.pending} calls without an answer")
        self.auditor.complaints += self.loop.complaints

    async def end(self) -> None:
        for gateway in self.gateways:
            await gateway.router.close()
        for host in self.hosts:
            host.task.cancel()
            with suppress(asyncio.CancelledError):
                await host.task
