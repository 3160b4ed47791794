"""The host's end of a link without a link: what the host says is written down, decoded."""

from __future__ import annotations

import json
from typing import Any

from actors.messages import Attend, Burst, Position, Status


class RecordingLink:
    """Goes where a `HostEnd` goes. `said` holds everything in its order."""

    def __init__(self, gateway: str = "g", number: int = 0) -> None:
        self.gateway = gateway
        self.number = number
        self.said: list[Any] = []
        self.answers: dict[int, tuple[Status, Any]] = {}
        self.bodies: dict[int, bytes] = {}
        self.bursts: list[Burst] = []
        self.positions: list[Position] = []
        self.asked: list[Attend] = []
        self.reading = True
        self.closed = False

    def answer(self, tag: int, status: int, body: bytes) -> None:
        assert tag not in self.answers, f"{tag} is answered twice"
        self.answers[tag] = Status(status), json.loads(body) if body else None
        self.bodies[tag] = body
        self.said.append(("answer", tag))

    def publish(self, burst: Burst) -> None:
        self.bursts.append(burst)
        self.said.append(("burst", burst.seq, len(burst.bodies)))

    def place(self, position: Position) -> None:
        self.positions.append(position)
        self.said.append(("position", position.seq))

    def ask(self, attend: Attend) -> None:
        self.asked.append(attend)

    def beat(self, version: int) -> None:
        pass

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[dict[str, Any]]:
        """What subscribers would see."""
        return [json.loads(body) for burst in self.bursts for body in burst.bodies]

    def value(self, tag: int) -> int:
        """The value that a call was answered with."""
        status, body = self.answers[tag]
        assert status == Status.OK, (status, body)
        value = body["value"]
        assert isinstance(value, int)
        return value
