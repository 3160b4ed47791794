"""Log lines of all processes go to one file, one line each; the command that started them shows that file."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")

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


def failing(log: logging.Logger) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Awaitable[None]]]:
    """Have what an actor's constructor raises in the log: Ray would only say to its callers that it is dead."""

    def decorate(begin: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        @wraps(begin)
        async def telling(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                await begin(*args, **kwargs)
            except Exception as error:
                log.critical("action=start_failed error=%r", error, exc_info=error)
                raise

        return telling

    return decorate
