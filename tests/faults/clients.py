"""The clients that we ship, while gateways, hosts and the network are killed, cut and frozen at random.

    python -m tests.faults.clients
    python -m tests.faults.clients --python 0 --seconds 10

Each client goes on incrementing and watches some counters, through a network of ours. In the end every operation has
been acknowledged, the counters hold exactly what was acknowledged, and every watcher has heard every event once, in
order, up to the true value. The clients are those of the conformance suite, in their own languages.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.verdict import Verdict
from tests.conformance.clients import CLIENTS
from tests.conformance.driver import Driver
from tests.faults.command import Command, complain
from tests.support.kill import freeze, kill_actor, thaw, wait_until_back
from tests.support.service_process import Service
from tests.support.tcp_proxy import Proxy

WATCHED = 3  # Counters that each client watches.
CALM_S = 60.0  # In which everything has to come to rest afterwards.
OPTIONS = {"base": 0.1, "cap": 1.0, "quiet": 2.0, "patience": 2.0, "answer": 120.0}


@dataclass(frozen=True)
class Sizes:
    python: int = field(default=50, metadata={"help": "Python clients"})
    javascript: int = field(default=50, metadata={"help": "JavaScript clients"})
    counters: int = field(default=20, metadata={"help": "that they share"})
    seconds: float = field(default=60.0, metadata={"help": "of faults"})
    pause: float = field(default=0.2, metadata={"help": "seconds between two operations of a client, on average"})
    frozen: float = field(default=3.0, metadata={"help": "seconds that something stands still, at most"})
    seed: int = field(default=1, metadata={"help": "of everything that is left to chance"})


QUICK = Sizes(python=8, javascript=0, counters=4, seconds=0.0, pause=0.02, frozen=0.5)


class Stream:
    """What one client hears of one counter."""

    def __init__(self) -> None:
        self.life = self.seq = -1
        self.value: int | None = None
        self.wrong: list[str] = []
        self.events = self.snapshots = 0

    def hear(self, said: dict[str, Any]) -> None:
        """Each event follows on the one before it; a snapshot only leads forward."""
        if said["type"] == "snapshot":
            self.snapshots += 1
            if said["seq"] <= self.seq:
                self.wrong.append(f"a snapshot of {said['seq']} after {self.seq}")
        else:
            self.events += 1
            if said["seq"] - said["operations"] != self.seq or said["previous"] != self.value:
                self.wrong.append(f"{said['seq']} (for {said['operations']}) after {self.seq}")
        self.life, self.seq, self.value = said["life"], said["seq"], said["value"]


class Swarm:
    """Clients of one kind, in one process."""

    def __init__(self, kind: str, driver: Driver, url: str, names: list[str], sizes: Sizes) -> None:
        self.kind = kind
        self.streams: dict[tuple[str, str], Stream] = {}
        self.acknowledged: Counter[str] = Counter()
        self.failed: list[str] = []
        self._driver = driver
        self._names = names
        self._pause = sizes.pause
        self._chance = random.Random(f"{sizes.seed}{kind}")
        self._open: dict[str, str] = {}  # Operations without an answer, and their counters.
        self._going_on = True
        self._numbers = 0
        self._news = asyncio.Event()
        self._clients = [f"{kind}{number}" for number in range(getattr(sizes, kind))]
        for client in self._clients:
            driver.tell(do="open", client=client, url=url, options=OPTIONS)
            for name in self._chance.sample(names, WATCHED):
                driver.tell(do="watch", client=client, name=name)
                self.streams[client, name] = Stream()

    async def run(self) -> None:
        """Have each client operate, one operation after the other, and note what is said."""
        for client in self._clients:
            self._operate(client)
        while True:
            said = await self._driver.hear(CALM_S)
            match said["say"]:
                case "event":
                    self.streams[said["client"], said["name"]].hear(said)
                case "done" | "failed":
                    name = self._open.pop(said["as"])
                    if said["say"] == "done":
                        self.acknowledged[name] += 1
                    else:
                        self.failed.append(f"{self.kind}: {name} failed with {said['code']}")
                    if self._going_on:
                        pause_s = self._chance.uniform(0, 2 * self._pause)
                        asyncio.get_running_loop().call_later(pause_s, self._operate, said["client"])
                case "ended":
                    self.failed.append(f"{self.kind}: a watch ended with {said['code']}")
            self._news.set()

    def _operate(self, client: str) -> None:
        if self._going_on:
            self._numbers += 1
            number, name = str(self._numbers), self._chance.choice(self._names)
            self._open[number] = name
            self._driver.tell(do="increment", client=client, name=name, **{"as": number})

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for what is said to bring this about."""
        async with asyncio.timeout(CALM_S):
            while not reached():
                self._news.clear()
                await self._news.wait()

    async def acknowledged_more(self, number: int) -> None:
        """So many operations more have their answer."""
        wanted = self.acknowledged.total() + number
        await self.until(lambda: self.acknowledged.total() >= wanted)

    async def settle(self) -> None:
        """Begin no operation more, and wait for the answers to those that were begun."""
        self._going_on = False
        await self.until(lambda: not self._open)

    async def caught_up(self, counts: dict[str, int]) -> None:
        """Wait until everybody has heard the last event."""
        await self.until(lambda: all(each.seq >= counts[name] for (_, name), each in self.streams.items()))


class Mischief:
    """What can happen to a service and its network."""

    def __init__(self, service: Service, network: Proxy, chance: random.Random, frozen_s: float) -> None:
        self._service = service
        self._network = network
        self._chance = chance
        self._frozen_s = frozen_s
        self.done: Counter[str] = Counter()
        self.kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "kills of a host": lambda: self._kill("host"),
            "kills of a gateway": lambda: self._kill("gateway"),
            "freezes of a host": lambda: self._freeze("host"),
            "freezes of a gateway": lambda: self._freeze("gateway"),
            "cuts of some cables": lambda: self._cut(0.3),
            "cuts of all cables": lambda: self._cut(1.0),
            "freezes of the network": self._freeze_network,
        }

    async def do(self, kind: str) -> None:
        """Do it; what is killed is back when this returns, and what is frozen moves again."""
        self.done[kind] += 1
        await self.kinds[kind]()

    async def _kill(self, kind: str) -> None:
        victim = self._chance.choice(sorted(await self._running(kind)))
        after = self._service.log_size()
        await asyncio.to_thread(kill_actor, self._service, kind, victim)
        await asyncio.to_thread(wait_until_back, self._service, kind, victim, after)

    async def _freeze(self, kind: str) -> None:
        victims = await self._running(kind)
        pid = victims[self._chance.choice(sorted(victims))]
        freeze(pid)
        try:
            await asyncio.sleep(self._chance.uniform(0, self._frozen_s))
        finally:
            # A host that was frozen while it held the write lock has been replaced meanwhile.
            if pid in (await self._running(kind)).values():
                thaw(pid)

    async def _running(self, kind: str) -> dict[str, int]:
        """Name and process id of those that always run: a host of one counter comes and goes."""
        actors = await asyncio.to_thread(self._service.actors, kind)
        return {name: pid for name, pid in actors.items() if name.startswith(f"{kind}:")}

    async def _cut(self, share: float) -> None:
        self._network.cut(share, self._chance)

    async def _freeze_network(self) -> None:
        self._network.freeze()
        try:
            await asyncio.sleep(self._chance.uniform(0, self._frozen_s))
        finally:
            self._network.thaw()


async def run(service: Service, sizes: Sizes, verdict: Verdict) -> None:
    """See the module."""
    chance = random.Random(sizes.seed)
    names = [f"shipped{sizes.seed}-{number}" for number in range(sizes.counters)]
    loop = asyncio.get_running_loop()
    async with Proxy(service.port) as network:
        drivers, swarms = [], []
        with tempfile.TemporaryDirectory() as folder:
            for kind in (kind for kind in CLIENTS if getattr(sizes, kind)):
                driver = Driver(CLIENTS[kind].command(Path(folder)))
                await driver.start()
                drivers.append(driver)
                swarms.append(Swarm(kind, driver, network.url, names, sizes))
            runs = [asyncio.create_task(swarm.run()) for swarm in swarms]
            try:
                mischief = Mischief(service, network, chance, sizes.frozen)
                await _each_once_and_then_at_random(mischief, swarms, chance, loop.time() + sizes.seconds)
                await _judge(service, names, swarms, mischief, verdict)
            finally:
                for each in runs:
                    each.cancel()
                gone = await asyncio.gather(*runs, return_exceptions=True)
                for driver in drivers:
                    await driver.kill()
            for error in gone:
                if not isinstance(error, asyncio.CancelledError):
                    raise AssertionError("a driver has failed") from error


async def _each_once_and_then_at_random(
    mischief: Mischief, swarms: list[Swarm], chance: random.Random, until: float
) -> None:
    """Between two faults every swarm does some work."""
    loop = asyncio.get_running_loop()
    for kind in mischief.kinds:
        await asyncio.gather(*(swarm.acknowledged_more(20) for swarm in swarms))
        await mischief.do(kind)
    while loop.time() < until:
        await asyncio.gather(*(swarm.acknowledged_more(chance.randrange(100)) for swarm in swarms))
        await mischief.do(chance.choice(list(mischief.kinds)))


async def _judge(
    service: Service, names: list[str], swarms: list[Swarm], mischief: Mischief, verdict: Verdict
) -> None:
    await asyncio.gather(*(swarm.settle() for swarm in swarms))
    found = [await asyncio.to_thread(service.call, "getMetadata", {"name": name}) for name in names]
    counts = {each["name"]: each["operationCount"] for each in found}
    await asyncio.gather(*(swarm.caught_up(counts) for swarm in swarms))
    for kind, times in mischief.done.items():
        verdict.count(kind, times)
    wrong: list[str] = []
    for swarm in swarms:
        streams = swarm.streams.values()
        verdict.count(f"{swarm.kind}: acknowledged operations", swarm.acknowledged.total())
        verdict.count(f"{swarm.kind}: events heard", sum(each.events for each in streams))
        verdict.count(f"{swarm.kind}: snapshots, the first of each included", sum(each.snapshots for each in streams))
        verdict.exactly(f"{swarm.kind}: operations that failed", len(swarm.failed), 0)
        repeated = [f"{client} {name}: {one}" for (client, name), each in swarm.streams.items() for one in each.wrong]
        verdict.exactly(f"{swarm.kind}: events missed or heard twice", len(repeated), 0)
        wrong += swarm.failed + repeated
    acknowledged = sum((swarm.acknowledged for swarm in swarms), Counter[str]())
    off = [f"{each['name']}: {each['value']} for {acknowledged[each['name']]}" for each in found
           if each["value"] != acknowledged[each["name"]]]  # fmt: skip
    verdict.exactly("counters that hold something else than was acknowledged", len(off), 0)
    behind = [
        f"{client} ended on {stream.value} of {name}"
        for swarm in swarms
        for (client, name), stream in swarm.streams.items()
        if stream.value != acknowledged[name]
    ]
    verdict.exactly("watchers that did not end on the true value", len(behind), 0)
    complain(verdict, wrong + off + behind)


COMMAND = Command(
    about=__doc__,
    sizes=Sizes(),
    quick=QUICK,
    flags=lambda sizes: {"hosts": 2, "gateways": 2, "dedicated": 0},
    run=run,
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
