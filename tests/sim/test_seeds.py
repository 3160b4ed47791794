"""Whatever goes wrong, in whatever order: nothing acknowledged is lost or applied twice, everybody ends on the truth.

A run is made of one number. When one fails, `python -m tests.sim NUMBER` tells its story; once it is understood, the
number joins FOUND. `python -m tests.sim 1000 5000` looks for more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from actors import host
from actors.round import prepare
from gateway.hub import Hub
from storage.memory import MemoryStore
from tests.sim.__main__ import played
from tests.sim.world import Plan

SEEDS = 160
FOUND = [
    193, 409, 428, 442, 553, 556, 658, 828, 956, 991, 1129, 1342, 1513, 1704, 1706, 1901, 1923, 2160, 2191, 2433, 5179,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of lines about links that are lost on purpose."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_seeds(first: int) -> None:
    for seed in range(first, first + 20):
        assert played(seed) == [], f"python -m tests.sim {seed}"


@pytest.mark.parametrize("seed", [*range(20), 149, 462, 550, 556, 752])
def test_moves(seed: int) -> None:
    assert played(seed, Plan.of_moves(seed)) == []


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_likes(first: int) -> None:
    for seed in range(first, first + 20):
        assert played(seed, Plan.of_likes(seed)) == [], seed


@pytest.mark.parametrize("seed", FOUND)
def test_found(seed: int) -> None:
    assert played(seed) == [], f"python -m tests.sim {seed}"


def everybody_is_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    class Current:
        def __ne__(self, other: object) -> bool:
            return False

    monkeypatch.setattr(MemoryStore, "_epoch", lambda self, id: Current() if id in self._names else None)
    monkeypatch.setattr(MemoryStore, "stale", lambda self, owned: frozenset())


def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "find_operations", lambda self, keys: {})


def nothing_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "seen", lambda self, operation_ids: set())


def positions_are_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Hub.place

    def careless(self: Hub, position: Any) -> None:
        channel = self._channels.get(position.name)
        if channel is None or not channel.placed.is_set():
            place(self, position)

    monkeypatch.setattr(Hub, "place", careless)


def repeats_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database refuses them, so nothing is applied twice; but then nobody is ever answered."""
    monkeypatch.setattr(
        host, "prepare", lambda store, version, missing, doubtful, *more: prepare(store, version, missing, [], *more)
    )


def commits_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says that it is done, and one in thirty is not."""
    commit, turns = MemoryStore.commit, count(1)

    def lossy(self: MemoryStore, what: Any) -> frozenset[int]:
        return commit(self, what) if next(turns) % 30 else frozenset()

    monkeypatch.setattr(MemoryStore, "commit", lossy)


@pytest.mark.parametrize(
    "breaks",
    [
        everybody_is_the_owner,
        nothing_is_remembered,
        nothing_was_seen,
        repeats_are_not_looked_up,
        positions_are_overlooked,
        commits_are_lost,
    ],
)
def test_a_broken_world_is_noticed(breaks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who guards the guards."""
    breaks(monkeypatch)
    assert any(played(seed, Plan.of_moves(seed)) for seed in range(100))
