"""A transport that goes nowhere and writes down what it was told."""

from __future__ import annotations

import asyncio
from typing import Any


class RecordingTransport(asyncio.Transport):
    """Closed means told to close: it is the test that calls `connection_lost`."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes: list[bytes] = []
        self.reading = True
        self.closed = False
        self.aborted = False
        self.ended = False  # Nothing more will be written.
        self.backlog = 0  # What `get_write_buffer_size` says.
        self.high: int | None = None

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))
        self.written += data

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self.written)
        self.written.clear()
        self.writes.clear()
        return taken

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.backlog
