"""What is asked of the service as a whole: what is awake, how many hosts there are, what the sources say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from actors.errors import Unavailable
from actors.messages import Query, Status
from actors.source import TIMEOUT_MAX_S
from gateway.procedures import Command

QUERY_S = TIMEOUT_MAX_S + 15.0  # For what a query of a source may take, and its owner then.
LIST_S = 10.0

Deliver = Callable[[int, bytes], None]

log = logging.getLogger("counters.admin")


class AsksAll(Protocol):
    """What this needs of the router."""

    def ask_all(self, query: Query, deliver: Callable[[list[tuple[int, bytes]]], None]) -> None: ...


class Supervises(Protocol):
    """What this needs of the directory."""

    async def admin(self, method: str, *arguments: Any) -> Any: ...

    async def timer(self, method: str, *arguments: Any) -> Any: ...


class Admin:
    """Answers commands, each with one call of `deliver(status, body)`."""

    def __init__(self, router: AsksAll, supervisor: Supervises) -> None:
        self._router = router
        self._supervisor = supervisor
        self._tasks: set[asyncio.Task[None]] = set()  # The loop holds its tasks only weakly.

    def run(self, command: Command, deliver: Deliver) -> None:
        """Do what `command` says."""
        if command.kind == "ps":
            self._router.ask_all(Query(0, "awake", []), lambda answers: _awake(answers, deliver))
            return
        timed = command.kind in ("sync", "drift", "sources")
        work = self._ask_timer(command, deliver) if timed else self._supervise(command, deliver)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self, command: Command, deliver: Deliver) -> None:
        status, body = Status.UNAVAILABLE, b""
        arguments = (command.hosts,) if command.kind == "scale" else ()
        try:
            await self._supervisor.admin(command.kind, *arguments)
            said = {"success": True, "hosts": command.hosts} if arguments else {"success": True}
            status, body = Status.OK, msgspec.json.encode(said)
        except Unavailable as error:
            log.warning("action=%s_failed error=%s", command.kind, error)
        except Exception:  # A mistake of ours; all the same somebody waits for an answer.
            log.exception("action=%s_failed", command.kind)
        deliver(status, body)

    async def _ask_timer(self, command: Command, deliver: Deliver) -> None:
        status, body = Status.UNAVAILABLE, b""
        arguments: tuple[Any, ...] = (command.name,) if command.name else ()
        if command.kind == "sync":
            arguments = (command.name, command.id, command.source)
        try:
            async with asyncio.timeout(QUERY_S if command.name else LIST_S):
                status, body = await self._supervisor.timer(command.kind, *arguments)
        except (Unavailable, TimeoutError) as error:  # A timer that is frozen says nothing.
            log.warning("action=%s_failed error=%s", command.kind, error or "no answer")
        except Exception:  # A mistake of ours; all the same somebody waits for an answer.
            log.exception("action=%s_failed", command.kind)
        deliver(status, body)


def _awake(answers: list[tuple[int, bytes]], deliver: Deliver) -> None:
    """Join what the hosts said; a list that lacks a host would be wrong."""
    if any(status != Status.OK for status, _ in answers):
        deliver(Status.UNAVAILABLE, b"")
        return
    rows = [body[1:-1] for _, body in answers if body != b"[]"]
    deliver(Status.OK, b'{"counters":[%b]}' % b",".join(rows))
