"""A counter that is touched is never reset for inactivity, one that is left alone is, once, whatever goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from actors import round as round_module
from actors import timer as timer_module
from actors.activation import Activation
from actors.core.agenda import Agenda
from actors.core.deadline import armed
from tests.sim.idle import played
from tests.support.clock import LoopClock

SEEDS = 200
FOUND = [1427, 17_470, 67_210, 100_381, 100_763, 102_327]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, 40))
def test_seeds(first: int) -> None:
    for seed in range(first, first + 40):
        assert played(seed)[0] == [], f"python -m tests.sim.idle --seed {seed}"


@pytest.mark.parametrize("seed", FOUND)
def test_found(seed: int) -> None:
    assert played(seed)[0] == [], f"python -m tests.sim.idle --seed {seed}"


def the_owner_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever the timer takes for idle is reset."""
    monkeypatch.setattr(
        round_module, "verdict", lambda policy, value, *_: "inactivity" if armed(policy, value) else None
    )


def the_wall_clock_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = LoopClock.steady_ms
    monkeypatch.setattr(LoopClock, "steady_ms", lambda self: steady(self) + self.wrong_ms)


def the_timer_trusts_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is half a second ahead, and nobody looks again."""
    the_owner_is_not_asked(monkeypatch)
    monkeypatch.setattr(timer_module, "_when", lambda row, now: now.steady)


def who_did_not_answer_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agenda, "failed", lambda self, key, now, chance: now)


def shorter_periods_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Activation.write_deadlines

    def late(self: Activation, at: int | None, now: Any) -> Any:
        before = self.deadlines.due_at
        written = write(self, at, now)
        return written if before is None or written.due_at is None else written._replace(due_at=before)

    monkeypatch.setattr(Activation, "write_deadlines", late)


@pytest.mark.parametrize(
    "breaks",
    [
        the_owner_is_not_asked,
        the_wall_clock_is_trusted,
        the_timer_trusts_its_own_clock,
        who_did_not_answer_is_forgotten,
        shorter_periods_are_not_written,
    ],
)
def test_a_broken_timer_is_noticed(breaks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who guards the guards."""
    breaks(monkeypatch)
    assert any(played(seed)[0] for seed in range(400))
