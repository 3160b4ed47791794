"""The client for scripts: the same, without asyncio.

A loop in a thread of its own runs a CounterClient; every method here waits for the one of the same name there.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from counters_client.client import CounterClient
from counters_client.core.connection import State
from counters_client.core.metrics import Metrics
from counters_client.errors import ClientClosed
from counters_client.likes import Likes
from counters_client.records import Event, Position
from counters_client.watch import Watch

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


class Face(Protocol[C_co]):
    """Stands in front of something with asyncio."""

    @property
    def client(self) -> C_co: ...

    def wait_for(self, work: Awaitable[T], /) -> T: ...


def _waiting(
    method: Callable[Concatenate[C, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Face[C], P], T]:
    """The method, for callers who wait."""

    @functools.wraps(method)
    def wait(self: Face[C], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.wait_for(method(self.client, *args, **kwargs))

    return wait


class SyncLikes:
    """`client.like`, as `Likes` has it."""

    def __init__(self, client: SyncCounterClient) -> None:
        self.client = client.client.like
        self.wait_for = client.wait_for

    toggle = _waiting(Likes.toggle)
    add = _waiting(Likes.add)
    remove = _waiting(Likes.remove)
    is_liked = _waiting(Likes.is_liked)
    get_count = _waiting(Likes.get_count)
    get_counts = _waiting(Likes.get_counts)
    get_statuses = _waiting(Likes.get_statuses)
    members = _waiting(Likes.members)


class SyncCounterClient:
    """A counters service, for as long as the `with` block lasts. Takes what CounterClient takes.

    Threads may share it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.client = CounterClient(*args, **options)
        self.like = SyncLikes(self)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="counters client", daemon=True)

    def __enter__(self) -> Self:
        if self._thread.ident is not None:
            raise ClientClosed("a client is opened once")
        self._thread.start()
        try:
            self.wait_for(self.client.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        if not self._thread.is_alive():
            return
        self.wait_for(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def state(self) -> State:
        """How the connection stands."""
        return self.client.state

    @property
    def metrics(self) -> Metrics:
        """What was counted so far."""
        return self.client.metrics

    def watch(self, *names: str, since: Mapping[str, Position] | None = None) -> Iterator[Event]:
        """The events of these counters, as CounterClient.watch has them; it begins with the first step of a loop."""
        watch = self.wait_for(self._watch(names, since))
        try:
            while (event := self.wait_for(anext(watch, None))) is not None:
                yield event
        finally:
            watch.close()

    async def _watch(self, names: tuple[str, ...], since: Mapping[str, Position] | None) -> Watch:
        return self.client.watch(*names, since=since)

    increment = _waiting(CounterClient.increment)
    decrement = _waiting(CounterClient.decrement)
    set_value = _waiting(CounterClient.set_value)
    reset = _waiting(CounterClient.reset)
    sync = _waiting(CounterClient.sync)
    drift = _waiting(CounterClient.drift)
    undo = _waiting(CounterClient.undo)
    delete = _waiting(CounterClient.delete)
    create = _waiting(CounterClient.create)
    configure = _waiting(CounterClient.configure)
    get_value = _waiting(CounterClient.get_value)
    get_values = _waiting(CounterClient.get_values)
    get_stats = _waiting(CounterClient.get_stats)
    list_sources = _waiting(CounterClient.list_sources)
    get_metadata = _waiting(CounterClient.get_metadata)
    get_history = _waiting(CounterClient.get_history)
    get_value_at = _waiting(CounterClient.get_value_at)
    get_sessions = _waiting(CounterClient.get_sessions)
    list_all = _waiting(CounterClient.list_all)
    set_alarm = _waiting(CounterClient.set_alarm)
    cancel_alarm = _waiting(CounterClient.cancel_alarm)
    list_alarms = _waiting(CounterClient.list_alarms)
    list_due = _waiting(CounterClient.list_due)
    set_attachment = _waiting(CounterClient.set_attachment)
    ps = _waiting(CounterClient.ps)
    scale = _waiting(CounterClient.scale)
    restart_hosts = _waiting(CounterClient.restart_hosts)

    def wait_for(self, work: Awaitable[T]) -> T:
        """Have the loop do it, and wait for the result. Ctrl-C, or any other end of the waiting, ends the work, too."""
        if not self._thread.is_alive():
            if asyncio.iscoroutine(work):
                work.close()
            raise ClientClosed("the client is not open: use it in `with`")

        async def run() -> T:
            return await work

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        finally:
            future.cancel()
