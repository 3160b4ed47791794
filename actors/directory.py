"""Following the placement table over Ray, for gateways and hosts alike."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.errors import ActorsError, Unavailable
from actors.placement import HostEntry, Placement, Table

NAMESPACE = "counters"
SUPERVISOR = "supervisor"
TIMER = "timer"
RETRY_S = 0.2

log = logging.getLogger("counters.directory")


class RayDirectory:
    """The newest table this process has heard of. While the supervisor is away, the last one stays in force."""

    def __init__(self) -> None:
        self.placement = Placement.empty()
        self._listeners: list[Callable[[], None]] = []
        self._telling: dict[tuple[str, HostEntry | str | int], asyncio.Task[None]] = {}
        self._supervisor: Any = None  # Its handle stays good when Ray starts it again.

    def subscribe(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    async def follow(self) -> None:
        """Keep the table current until cancelled: one call to the supervisor is always waiting for a newer one."""
        while True:
            try:
                self.take(await self.call("newer_table", self.placement.version))
            except Unavailable as error:
                log.info("action=supervisor_away error=%s", error)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # A bug of ours, in whoever is told of the table. The next one is followed, too.
                log.error("action=follow_broken error=%r", error, exc_info=error)
                await asyncio.sleep(RETRY_S)

    def take(self, table: Table) -> None:
        """Adopt `table` when it is newer."""
        if table.version > self.placement.version:
            self.placement = self.placement.followed_by(table)
            for changed in self._listeners:
                changed()

    def report(self, host: HostEntry) -> None:
        """Tell the supervisor that `host` seems to be gone."""
        self._tell("report", host)

    def dedicate(self, name: str) -> None:
        """Ask the supervisor for a host of its own for `name`."""
        if self.placement.table.dedicate_all:
            self._tell("dedicate", name)

    def seen(self, version: int) -> None:
        """Tell the supervisor that storage has seen `version` of the table."""
        self._tell("seen", version)

    async def admin(self, method: str, *arguments: Any) -> Any:
        """Have the supervisor do something and return what it says. Raises Unavailable when it is away."""
        return await self.call(method, *arguments)

    async def timer(self, method: str, *arguments: Any) -> Any:
        """Have the timer do something and return what it says. Raises Unavailable when it is away."""
        try:
            return await getattr(ray.get_actor(TIMER, namespace=NAMESPACE), method).remote(*arguments)
        except (RayError, ValueError) as error:  # ValueError: no actor of that name at this moment.
            raise Unavailable(f"the timer is away: {type(error).__name__}") from error

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call the supervisor. Raises Unavailable when it is away, and what it raises on purpose."""
        try:
            if self._supervisor is None:
                self._supervisor = supervisor()
            return await getattr(self._supervisor, method).remote(*arguments)
        except (RayError, ValueError) as error:  # ValueError: no actor of that name at this moment.
            if isinstance(error, RayTaskError):
                if isinstance(error.cause, ActorsError):
                    raise error.cause from None
                log.error("action=supervisor_failed method=%s error=%r", method, error.cause)
            self._supervisor = None
            raise Unavailable(f"the supervisor is away: {type(error).__name__}") from error

    def _tell(self, method: str, argument: HostEntry | str | int) -> None:
        """Call the supervisor, unless the same call is under way."""
        if (method, argument) in self._telling:
            return

        async def tell() -> None:
            try:
                await self.call(method, argument)
            except Unavailable as error:
                log.info("action=supervisor_away method=%s error=%s", method, error)
                await asyncio.sleep(RETRY_S)  # Whoever still wants it asks again.
            finally:
                del self._telling[method, argument]

        self._telling[method, argument] = asyncio.get_running_loop().create_task(tell())


def supervisor() -> Any:
    """The handle of the supervisor actor. Raises ValueError when there is none."""
    return ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
