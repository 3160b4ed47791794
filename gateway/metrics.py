"""`/metrics`: what the processes of the service tell of themselves, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from actors.messages import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Told(msgspec.Struct):
    """What one host tells."""

    host: str
    figures: dict[str, float]


class Sample(NamedTuple):
    """One line. A name that ends in `_total` only grows."""

    name: str
    label: str  # `host="host:0"`; empty: none.
    value: float


def of_hosts(answers: Iterable[tuple[int, bytes]]) -> list[Sample]:
    """The samples in what hosts have answered; one that is away has none."""
    samples = []
    for status, body in answers:
        if status == Status.OK:
            told = msgspec.json.decode(body, type=Told)
            label = f'host="{told.host}"'
            samples += [Sample(name, label, value) for name, value in told.figures.items()]
    return samples


def of_timer(figures: Iterable[tuple[str, str, float]]) -> list[Sample]:
    """The samples in what the timer has told: figure, counter and number."""
    return [Sample(name, f'name="{counter}"', value) for name, counter, value in figures]


def page(samples: Iterable[Sample]) -> str:
    """All samples, those of one name together."""
    lines: dict[str, list[str]] = {}
    for name, label, value in samples:
        kind = "counter" if name.endswith("_total") else "gauge"
        named = lines.setdefault(name, [f"# TYPE counters_{name} {kind}"])
        named.append(f"counters_{name}{{{label}}} {value!r}" if label else f"counters_{name} {value!r}")
    return "".join(f"{line}\n" for each in lines.values() for line in each)
