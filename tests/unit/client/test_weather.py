"""Hundreds of lives of a client in bad weather: connections break in the middle of anything, and answers are lost.

A service that keeps its promise, with wires that do not. At the end of each life: every operation is answered and was
applied once, and every stream has every event once and in order.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict, deque
from typing import Any

import pytest

from counters_client.core import connection as core
from counters_client.core.connection import Connection, Limits, State
from counters_client.core.follow import Follow, Verdict
from counters_client.core.retry import Backoff, unreachable
from tests.unit.client.messages import event, snapshot, text

NAMES = ("a", "b", "c")
OPERATIONS = 60
REPLAY_MAX = 2  # More missed events than that become a snapshot.


class Service:
    """Counters, and the answers that were given."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.applied: dict[str, int] = {}  # By operation id.
        self.listeners: set[str] = set()

    def read(self, message: dict[str, Any], dice: random.Random) -> list[dict[str, Any]]:
        """What is said back."""
        match message:
            case {"type": "ping"}:
                return [{"type": "pong"}]
            case {"type": "subscribe", "names": names, **wishes}:
                self.listeners.update(names)
                return [each for name in names for each in self._missed(name, wishes.get("since", {}).get(name))]
            case {"type": "unsubscribe", "names": names}:
                self.listeners.difference_update(names)
                return []
            case {"type": "increment", "name": name, "id": id}:
                if dice.random() < 0.1:
                    return [{"type": "error", "id": id, "code": "UNAVAILABLE", "message": "", "retryable": True}]
                events = self.increment(name) if id not in self.applied else []
                value = self.applied.setdefault(id, self.counts[name])
                said = [*events, {"type": "incrementResult", "id": id, "result": {"value": value}}]
                dice.shuffle(said)
                return said
        raise AssertionError(message)

    def increment(self, name: str) -> list[dict[str, Any]]:
        self.counts[name] += 1
        return [event(self.counts[name], name=name)] if name in self.listeners else []

    def _missed(self, name: str, since: int | None) -> list[dict[str, Any]]:
        count = self.counts[name]
        if since is None or count - since > REPLAY_MAX:
            return [snapshot(count, int(count > 0), name)]
        return [event(seq, name=name) for seq in range(since + 1, count + 1)]


class World:
    """A client, a service and two wires. Time only passes when the client waits for it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.service = Service()
        limits = Limits(Backoff(0.1, 1), quiet_s=5, patience_s=2, answer_s=1e9, window=7)
        self.core = Connection(self.dice.random, limits)
        self.now = 0.0
        self.connected = False
        self.up: deque[dict[str, Any]] = deque()
        self.down: deque[dict[str, Any]] = deque()
        self.streams = {name: Follow() for name in NAMES}
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self.answers: dict[str, int] = {}

    def act(self) -> None:
        for effect in self.core.effects():
            match effect:
                case core.Send(said):
                    if self.connected:  # Else it goes into a dead wire.
                        self.up.append(json.loads(said))
                case core.Connect():
                    self.cut()
                    self.connected = self.dice.random() < 0.8
                    if self.connected:
                        self.core.opened(self.now)
                    else:
                        self.core.ended(unreachable("refused"), self.now)
                    self.act()
                case core.Drop():
                    self.cut()
                case core.Heard(heard):
                    assert self.streams[heard.name].take(heard) is Verdict.NEW, (heard, self.heard[heard.name][-3:])
                    self.heard[heard.name].append(heard)
                case core.Answered(id, result):
                    assert id not in self.answers
                    self.answers[id] = json.loads(result)["value"]
                case core.Became() | core.Complained():
                    pass
                case other:
                    raise AssertionError(other)

    def cut(self) -> None:
        self.connected = False
        self.up.clear()
        self.down.clear()
        self.service.listeners.clear()

    def step(self, rough: bool) -> None:
        """Anything that can happen next."""
        roll = self.dice.random()
        if self.connected and rough and roll < 0.03:
            self.cut()
            self.core.ended(unreachable("cut"), self.now)
        elif self.connected and rough and roll < 0.04:
            self.up.clear()  # Frozen: only silence tells.
            self.down.clear()
            self.connected = False
        elif rough and roll < 0.1:
            name = self.dice.choice(NAMES)
            self.down.extend(self.service.increment(name))  # Somebody else's.
        elif self.up and roll < 0.6:
            self.down.extend(self.service.read(self.up.popleft(), self.dice))
        elif self.down:
            self.core.received(text(self.down.popleft()), self.now)
        elif self.core.due is not None:
            self.now = max(self.now, self.core.due)
            self.core.tick(self.now)
        self.act()


@pytest.mark.parametrize("seed", range(100))
def test_every_operation_once_and_every_stream_whole(seed) -> None:
    world = World(seed)
    for name in NAMES:
        world.core.follow(name, 0.0)
    world.act()
    submitted = {}
    for _ in range(OPERATIONS):
        name = world.dice.choice(NAMES)
        submitted[world.core.submit({"type": "increment", "name": name}, world.now)] = name
        for _ in range(world.dice.randrange(12)):
            world.step(rough=True)
    for _ in range(100_000):
        followed = all(world.streams[name].position == (1, world.service.counts[name]) for name in NAMES)
        if len(world.answers) == OPERATIONS and followed and world.core.state is State.OPEN:
            break
        world.step(rough=False)
    else:
        pytest.fail("it did not settle")
    assert world.answers == world.service.applied
    for name in NAMES:
        mine = [world.answers[id] for id, of in submitted.items() if of == name]
        assert len(set(mine)) == len(mine)
        assert world.heard[name][-1].value == world.service.counts[name]


def test_the_weather_is_bad_enough() -> None:
    """Everything that the tests above are about has happened in some of them."""
    resent = silences = reconnects = snapshots = 0
    for seed in range(20):
        world = World(seed)
        for name in NAMES:
            world.core.follow(name, 0.0)
        world.act()
        for _ in range(OPERATIONS):
            world.core.submit({"type": "increment", "name": world.dice.choice(NAMES)}, world.now)
            for _ in range(world.dice.randrange(12)):
                world.step(rough=True)
        metrics = world.core.metrics
        resent, silences = resent + metrics.resent, silences + metrics.silences
        reconnects += metrics.reconnects
        snapshots += sum(each.type == "snapshot" for stream in world.heard.values() for each in stream)
    assert min(resent, silences, reconnects, snapshots - 20 * len(NAMES)) > 0
