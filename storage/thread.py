"""The storage thread: calls that block, one after the other, away from the event loop.

What `ThreadPoolExecutor(1)` does, with one hand-over each way instead of two: a call on its own costs a third less of
CPU. The order of calls is the order of their results, and readers of a committed state rely on that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class StorageThread:
    """Runs calls for one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self.under_way = 0  # Number of the call that is being worked on; 0: none is.
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Have `function` called; the future has what it returned or raised."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((future, function, arguments))
        return future

    def close(self) -> None:
        """Wait for the calls that were made, and end."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        post, number = self._loop.call_soon_threadsafe, 0
        while (call := self._calls.get()) is not None:
            future, function, arguments = call
            self.under_way = number = number + 1
            try:
                result = function(*arguments)
            except Exception as error:
                post(_fail, future, error)
            else:
                post(_finish, future, result)
            self.under_way = 0


def _finish(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():  # Nobody waits any more when the task was cancelled.
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
