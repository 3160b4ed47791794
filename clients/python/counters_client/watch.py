"""What somebody who watches reads."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Self

from counters_client.core.backlog import Backlog
from counters_client.errors import CounterError
from counters_client.records import Event


class Inbox:
    """Events on their way to one reader."""

    def __init__(self, names: tuple[str, ...], size: int) -> None:
        self.names = names
        self._backlog = Backlog(size)
        self._news = asyncio.Event()
        self._over = False
        self._error: CounterError | None = None

    def put(self, event: Event) -> None:
        """Add an event."""
        self._backlog.push(event)
        self._news.set()

    def end(self, error: CounterError | None) -> None:
        """Nothing more will come; the reader gets the error behind the last event."""
        self._over, self._error = True, error
        self._news.set()

    async def get(self) -> Event | None:
        """The next event; None at the end. Raises what the end came from."""
        while not len(self._backlog):
            if self._over:
                if self._error is not None:
                    raise self._error
                return None
            self._news.clear()
            await self._news.wait()
        return self._backlog.pop()


class Watch:
    """The events of some counters, to be read with `async for`, each counter's in order, none missing and none twice.

    It ends when it is closed, or left as a context manager, or when nobody refers to it any more; and with the client.
    """

    def __init__(self, inbox: Inbox, leave: Callable[[Inbox], None]) -> None:
        self._inbox = inbox
        loop = asyncio.get_running_loop()
        self._finalizer = weakref.finalize(self, _leave_later, loop, leave, inbox)
        self._finalizer.atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._inbox.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Watch no more."""
        self._finalizer()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _leave_later(loop: asyncio.AbstractEventLoop, leave: Callable[[Inbox], None], inbox: Inbox) -> None:
    # The collector may run this in any thread, also after the loop.
    if not loop.is_closed():
        loop.call_soon_threadsafe(leave, inbox)
