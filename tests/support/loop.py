"""A loop whose clock jumps: sleeping an hour costs nothing, and everything happens in the order it would have.

Nothing comes from outside: no threads and no sockets; `loop.network` stands for every Unix socket. When nothing is
scheduled and nothing can arrive, the loop says "deadlock" instead of hanging. What would only be logged (an exception
in a callback, a task that nobody looks at) fails the test.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Network(Protocol):
    """Stands for Unix sockets."""

    async def connect(self, factory: Callable[[], asyncio.Protocol], path: str) -> tuple[Any, Any]:
        """What `loop.create_unix_connection` does."""
        ...


class JumpingSelector(selectors.SelectSelector):
    """Keeps the books of a selector and never looks at a file: nothing is ever ready, and waiting moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled and nothing can arrive")
        self.now += max(timeout, 0)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, on a clock that jumps to the next thing to do."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)
        self.network: Network | None = None
        self.complaints: list[str] = []
        self.set_exception_handler(self._complain)

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context['message']}: {context.get('exception') or context.get('task')!r}")

    def time(self) -> float:
        return self._jumping.now

    async def create_unix_connection(self, protocol_factory: Any, path: Any = None, **_: Any) -> tuple[Any, Any]:
        if self.network is None:
            raise ConnectionRefusedError(f"nobody listens at {path}")
        return await self.network.connect(protocol_factory, path)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a loop whose clock jumps. Nothing that went wrong on the side stays unheard."""
    loop = JumpingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main)
    assert not loop.complaints, "\n".join(loop.complaints)
    return result


def jumping(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop whose clock jumps."""

    @functools.wraps(test)
    def sync(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return sync


async def settle() -> None:
    """Return when everything that can happen now has happened: the clock only moves when nothing is left to do."""
    await asyncio.sleep(1e-6)


def current() -> JumpingLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop)
    return loop
