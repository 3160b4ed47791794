"""What is counted."""

from __future__ import annotations

from dataclasses import dataclass

SMOOTHING = 0.2  # Weight of the newest round trip.


@dataclass
class Metrics:
    """Since the client was opened. The client goes on counting in it."""

    connects: int = 0  # Connections that were opened,
    reconnects: int = 0  # and those of them that were not the first.
    failures: int = 0  # Attempts to connect that failed, and connections that broke.
    silences: int = 0  # Connections given up because nothing came any more.
    sent: int = 0  # Messages,
    received: int = 0  # and those of the service.
    events: int = 0  # Handed on to watchers,
    duplicates: int = 0  # left out because they were heard before,
    gaps: int = 0  # missing, and asked for again.
    operations: int = 0  # Sent over the connection,
    resent: int = 0  # and sent again.
    errors: int = 0  # Error messages of the service.
    requests: int = 0  # HTTP,
    retries: int = 0  # and those of them that were repeated.
    latency_s: float | None = None  # Of a round trip on the connection, smoothed.

    def round_trip(self, seconds: float) -> None:
        """A ping was answered."""
        before = seconds if self.latency_s is None else self.latency_s
        self.latency_s = before + SMOOTHING * (seconds - before)
