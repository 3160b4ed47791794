"""Clocks that show what a test wants them to show."""

from __future__ import annotations

from tests.support.loop import JumpingLoop

NEW_YEAR_2025 = 1_735_689_600_000


class HandClock:
    """Stands still until somebody moves it."""

    def __init__(self, now_ms: int = NEW_YEAR_2025) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class LoopClock:
    """Shows the time of a loop whose clock jumps."""

    def __init__(self, loop: JumpingLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return NEW_YEAR_2025 + int(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()
