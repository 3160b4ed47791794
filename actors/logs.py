"""Log lines of all processes go to one file, one line each; the command that started them shows that file."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


class OneLine(logging.Formatter):
    """A traceback stays on the line of its message."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def to_file(path: str | None) -> None:
    """Send this process's log lines to `path`. Several processes append to it: a line is one write."""
    if path is None:
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(OneLine(FORMAT))
    root = logging.getLogger("counters")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False
