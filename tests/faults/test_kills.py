"""`kill -9` for one process after another, under load. The long runs are those that `make faults` makes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from tests.faults import durability, exactness
from tests.faults.exactness import Plan
from tests.support.service_process import Service

_seeds = count(1)


def check(service: Service, plan: Plan) -> None:
    report = asyncio.run(exactness.run(service, plan))
    print("\n".join(report.lines()))
    assert report.wrong == []
    assert report.acknowledged > exactness.WARM


@pytest.fixture
def seed() -> Iterator[int]:
    """Counters of its own for every test."""
    yield next(_seeds)


def test_exactly_once_while_hosts_are_killed(service: Service, seed: int) -> None:
    check(service, Plan(kills=1, seed=seed))


def test_the_gateways_own_ids_are_enough_while_hosts_are_killed(service: Service, seed: int) -> None:
    check(service, Plan(kills=1, ids=False, counters=50, seed=seed))


def test_exactly_once_while_gateways_are_killed(service: Service, seed: int) -> None:
    """Connections end with their gateway; what had no answer is sent again with its id."""
    check(service, Plan(kills=1, victims="gateway", counters=50, seed=seed))


def test_nothing_is_invented_while_gateways_are_killed(service: Service, seed: int) -> None:
    """Without ids nobody can ask again: the value lies between the acknowledged and those plus the open."""
    check(service, Plan(kills=1, victims="gateway", counters=50, ids=False, seed=seed))


def test_everything_killed_at_once(service: Service, seed: int) -> None:
    report = asyncio.run(durability.run(service, 1_000, seed))
    print(report.line())
    assert report.wrong == []
    assert report.reopened  # Else nothing was under way when it was killed.


@pytest.mark.long
@pytest.mark.parametrize("victims", ["host", "gateway", "supervisor"])
@pytest.mark.parametrize("ids", [True, False])
def test_five_kills_of_each(service: Service, seed: int, victims: str, ids: bool) -> None:
    check(service, Plan(kills=5, victims=victims, ids=ids, seed=seed))


@pytest.mark.long
def test_twenty_ends_of_everything(service: Service, seed: int) -> None:
    for round in range(20):
        report = asyncio.run(durability.run(service, 1_000, 100 * seed + round))
        assert report.wrong == []
