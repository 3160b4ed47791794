"""The owner of one counter without a host: what happened, and the answers to whoever watches."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from actors.messages import Burst, Position, Query
from tests.support.stream import Place, Truth


class Owner:
    """Commits operations of one counter and speaks of them as a host does."""

    def __init__(self, name: str = "votes", missed_max: int = 1_000) -> None:
        self.name = name
        self.truth = Truth()
        self.id = 0  # Of the present life; 0: the counter is not there.
        self.value = 0
        self.seq = 0
        self._lives = 0
        self._missed_max = missed_max

    def commit(self, type: str = "increment", amount: int = 1) -> Burst:
        """One operation, and its event."""
        if not self.id:
            self._lives += 1
            self.id, self.value, self.seq = self._lives, 0, 0
        value = {"increment": self.value + amount, "decrement": self.value - amount, "setValue": amount, "reset": 0}
        previous, self.value = self.value, value[type]
        self.seq += 1
        self.truth.add(self._event(type, previous))
        return self.burst(self.seq, self.seq)

    def delete(self) -> Burst:
        """The end of this life, and its last event."""
        previous, self.value = self.value, 0
        self.seq += 1
        event = self._event("reset", previous) | {"reason": "deleted"}
        self.truth.add(event)
        burst = self.burst(self.seq, self.seq)
        self.id = self.seq = 0
        return burst

    def burst(self, first: int, last: int, id: int | None = None) -> Burst:
        """The events from `first` to `last`, each included."""
        life = self.id if id is None else id
        events = [self.truth.events[Place(life, seq)] for seq in range(first, last + 1)]
        return Burst(self.name, life, first, [event["type"] for event in events], [encode(event) for event in events])

    def position(self, asked: int = -1) -> Position:
        """Where the counter stands; `asked`: which life of it whoever asked knew of."""
        state = {"value": self.value, "metadata": self._metadata(), "timestamp": self._time()}
        return Position(self.name, self.id, self.seq, encode({"type": "snapshot"} | state), asked)

    def missed(self, id: int, seq: int) -> Burst | Position:
        """What somebody who stands there has missed."""
        if self.id and id == self.id and 0 <= seq < self.seq and self.seq - seq <= self._missed_max:
            return self.burst(seq + 1, self.seq)
        return self.position(id)

    def answer(self, query: Query) -> bytes:
        """The body of an answer to the hub."""
        assert query.names == [self.name]
        if query.kind == "snapshot":
            return msgspec.msgpack.encode(self.position())
        assert query.kind == "missed"
        return msgspec.msgpack.encode(self.missed(self.id, query.before or 0))

    def _event(self, type: str, previous: int) -> dict[str, Any]:
        return {
            "type": type,
            "value": self.value,
            "previousValue": previous,
            "metadata": self._metadata(),
            "timestamp": self._time(),
        }

    def _metadata(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "value": self.value,
            "createdAt": self._time(1) if self.id else None,
            "updatedAt": self._time() if self.id else None,
            "operationCount": self.seq,
        }

    def _time(self, seq: int | None = None) -> str:
        return f"2025-01-01T00:{self.id:02}:{(self.seq if seq is None else seq) % 60:02}.000Z"


def encode(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
