"""How many calls may be under way to one host before more of them would only wait.

Judged by delay, not by a fixed number: the host that answers 30,000 calls a second may have ten times as many under way
as the one that answers 3,000. By Little's law the calls under way are the rate times the delay, so a limit that brings
the delay to its target is the limit so far, times the target, divided by the delay.

A burst is not overload. What counts is the least delay of a window (as in CoDel, Nichols and Jacobson 2012): only a
queue that did not drain at any moment of it is one that stands. It may do so for a while, unless it is full: then what
comes is much more than the host can do, and every window that passes makes it worse. Nothing here reads a clock.
"""

from __future__ import annotations

from math import inf

LEAST = 128  # Never fewer: a commit for so many takes hardly longer than one for a single call.
MOST = 2_048  # Never more, even if there is no sign of pressure.
TARGET_S = 0.006  # The delay that a queue may stand at, at least.
TIMES_CALM = 3.0  # The same as a multiple of the delay in calm times; a slow disk is no overload.
CALM_MAX_S = 0.1  # No delay beyond it is taken for calm.
WINDOW_S = 0.025
PATIENCE_S = 0.5  # A queue that stands for less, and is not full, is a burst, or a disk that had to catch its breath.
IDLE_S = 0.5
STALLED_S = 0.25  # A host that answers nothing for so long is not slow but away, and calls wait for its successor.


class Pressure:
    """The limit of one host. Times are in seconds of any one clock."""

    __slots__ = ("_busiest", "_calm", "_least", "_stands_since", "_until", "answered_at", "limit", "refused")

    def __init__(self) -> None:
        self.limit = MOST
        self.refused = False  # Somebody was turned away since the last look.
        self.answered_at = -inf
        self._calm = 0.0  # What the delay is when little is under way.
        self._least = inf
        self._busiest = 0
        self._stands_since = inf
        self._until = -inf

    def answered(self, now: float, delay: float | None, under_way: int) -> None:
        """Answers came when so many calls were under way; one had taken `delay`, None: no telling."""
        self.answered_at = now
        self._busiest = max(self._busiest, under_way)
        if delay is not None and delay < self._least:
            self._least = delay
        if now >= self._until:
            self._look(now)

    def relax(self) -> None:
        """What was seen so far says nothing about what comes: the work has been dealt out anew."""
        self.limit, self._stands_since = MOST, inf

    def begun(self, now: float) -> None:
        """A call is sent when none was under way. After a while without any, whatever stood is gone."""
        if now - self.answered_at > IDLE_S:
            self.limit = MOST
            self._least, self._busiest, self._stands_since = inf, 0, inf
            self._until = now + WINDOW_S
        self.answered_at = now  # There was nothing to answer before.

    def stalled(self, now: float) -> bool:
        """Nothing is answered any more, all of a sudden: one that was slow before is slow, not away."""
        return self.limit == MOST and now - self.answered_at > STALLED_S

    def _look(self, now: float) -> None:
        """The end of a window: move the limit, and begin the next one."""
        least, busiest = self._least, self._busiest
        target = max(TARGET_S, TIMES_CALM * self._calm)
        if target < least < inf and busiest > LEAST:
            self._stands_since = min(self._stands_since, now)
            if self.limit < MOST or self.refused or now - self._stands_since >= PATIENCE_S:
                self.limit = max(LEAST, round(min(self.limit, busiest) * target / least))
        else:
            self._stands_since = inf
            self.limit = min(MOST, self.limit + self.limit // 8 if self.refused else self.limit * 2)
        if least < inf and busiest <= LEAST and not self.refused:
            self._calm += (min(least, CALM_MAX_S) - self._calm) / 8
        self.refused = False
        self._least, self._busiest = inf, 0
        self._until = now + max(WINDOW_S, least if least < inf else 0.0)


class Lately:
    """Names that were seen in the last seconds. What it forgets has been silent for `SPAN_S` to twice that."""

    SPAN_S = 5.0

    def __init__(self) -> None:
        self._now: set[str] = set()
        self._before: set[str] = set()
        self._rolls_at = 0.0

    def __contains__(self, name: str) -> bool:
        return name in self._now or name in self._before

    def add(self, name: str) -> bool:
        """Note `name`; whether it was known."""
        if name in self._now:
            return True
        self._now.add(name)
        return name in self._before

    def roll(self, now: float) -> None:
        """Forget; to be called now and then."""
        if now >= self._rolls_at:
            self._now, self._before = set(), self._now
            self._rolls_at = now + self.SPAN_S
