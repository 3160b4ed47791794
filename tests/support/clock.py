"""Clocks that show what a test wants them to show."""

from __future__ import annotations

from tests.support.loop import JumpingLoop

NEW_YEAR_2025 = 1_735_689_600_000


class HandClock:
    """Stands still until somebody moves it. `wrong_ms` is how far off its wall clock is."""

    def __init__(self, now_ms: int = NEW_YEAR_2025) -> None:
        self.ms = now_ms
        self.wrong_ms = 0

    def now_ms(self) -> int:
        return self.ms + self.wrong_ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def steady_ms(self) -> int:
        return self.ms


class LoopClock:
    """Shows the time of a loop whose clock jumps. `wrong_ms` is how far off its wall clock is."""

    def __init__(self, loop: JumpingLoop) -> None:
        self._loop = loop
        self.wrong_ms = 0

    def now_ms(self) -> int:
        return self.steady_ms() + self.wrong_ms

    def monotonic(self) -> float:
        return self._loop.time()

    def steady_ms(self) -> int:
        return NEW_YEAR_2025 + round(self._loop.time() * 1000)
