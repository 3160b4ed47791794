"""The storage thread of a host, in the hands of a test: every job waits until the test lets it happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from storage.errors import StorageUnavailable
from tests.support.loop import settle

T = TypeVar("T")


class Job:
    """Something that was handed to the thread and has not happened."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.name = function.__name__.lstrip("_")
        self.arguments = arguments
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._function = function

    def work(self) -> Any:
        """Do it; nobody is told yet."""
        return self._function(*self.arguments)

    async def finish(self) -> None:
        """Do it, and tell whoever waits."""
        try:
            self.future.set_result(self.work())
        except Exception as error:
            self.future.set_exception(error)
        await settle()

    async def fail(self) -> None:
        """Say that the database is away."""
        self.future.set_exception(StorageUnavailable("the disk is full"))
        await settle()


class HandThread:
    """Stands in for `storage.thread.StorageThread` and collects its jobs in order."""

    under_way = 0

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        job = Job(function, arguments)
        self.jobs.append(job)
        return job.future

    def close(self) -> None:
        """Whatever has not happened never will."""

    @property
    def names(self) -> list[str]:
        """What waits."""
        return [job.name for job in self.jobs]

    def take(self, name: str) -> Job:
        """The next job, which has to be this one."""
        assert self.names[:1] == [name], self.names
        return self.jobs.pop(0)

    def take_round(self) -> Job:
        """The next job, which has to be the end of a round, with or without a change in it."""
        assert self.names[:1] in (["commit"], ["conclude"]), self.names
        return self.jobs.pop(0)

    async def finish(self, *names: str) -> None:
        """Let these jobs happen, one after the other."""
        for name in names:
            await self.take(name).finish()
