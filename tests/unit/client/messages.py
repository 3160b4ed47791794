"""What a service says, for tests of the client's core."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from counters_client.records import Event

AT = "2026-11-22T02:18:45.634Z"


def metadata(name: str, life: int, seq: int, value: int) -> dict[str, Any]:
    at = AT if life else None
    return {"id": life, "name": name, "value": value, "createdAt": at, "updatedAt": at, "operationCount": seq}


def event(seq: int, life: int = 1, name: str = "votes", type: str = "increment", **more: Any) -> dict[str, Any]:
    """Of a counter that is only ever incremented by 1, so that its value is its seq."""
    said = {"type": type, "value": seq, "metadata": metadata(name, life, seq, seq), "timestamp": AT, **more}
    return said if type == "snapshot" else {"previousValue": seq - 1, **said}


def snapshot(seq: int, life: int = 1, name: str = "votes") -> dict[str, Any]:
    return event(seq, life, name, "snapshot")


def told(**said: Any) -> Event:
    """An event as the client has it."""
    return msgspec.convert(event(**said), Event)


def text(message: dict[str, Any]) -> str:
    return json.dumps(message)
