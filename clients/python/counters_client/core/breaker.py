"""A circuit breaker: who has failed often enough in a row is left in peace for a while."""

from __future__ import annotations


class Breaker:
    """Opens after `failures` in a row; then lets one attempt through every `cooldown_s` until one succeeds."""

    def __init__(self, failures: int = 10, cooldown_s: float = 5.0) -> None:
        self._failures_max = failures
        self._cooldown_s = cooldown_s
        self._failures = 0
        self._probe_at = 0.0

    @property
    def open(self) -> bool:
        """Whether attempts are held back."""
        return self._failures >= self._failures_max

    def admits(self, now: float) -> bool:
        """Whether to try now. Who is let through while it is open is the only one for `cooldown_s`."""
        if not self.open:
            return True
        if now < self._probe_at:
            return False
        # The next one follows after a cooldown whether or not this one ever reports back.
        self._probe_at = now + self._cooldown_s
        return True

    def succeeded(self) -> None:
        """Somebody answered."""
        self._failures = 0

    def failed(self, now: float) -> None:
        """Nobody did."""
        self._failures += 1
        if self.open:
            self._probe_at = now + self._cooldown_s
