"""The WebSocket: carries out what a Connection decides, and tells it what happens."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidStatus, InvalidURI, WebSocketException

from counters_client.address import is_local
from counters_client.core import connection as core
from counters_client.core.breaker import Breaker
from counters_client.core.retry import Failure, closed, refused, unreachable
from counters_client.errors import CounterError, UnexpectedAnswer
from counters_client.http import unusable, why
from counters_client.records import Position
from counters_client.watch import Inbox, Watch

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
BACKLOG = 1_000  # Events that wait for one reader; beyond it they are joined.

log = logging.getLogger("counters_client")

# A connection that dies is told as a state of ours; the library would add a traceback.
_SILENT = logging.getLogger("counters_client.websocket")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

OnState = Callable[[core.State, CounterError | None], None]


class _Straight(connect):
    """Follows no redirect: where operations go is for the user to say."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Socket:
    """One connection, for as long as the client lives. `url` is asked for each time that it connects."""

    def __init__(
        self,
        url: Callable[[], str],
        connection: core.Connection,
        breaker: Breaker,
        on_state: OnState | None,
        answer_s: float,
    ) -> None:
        self._url = url
        self._connection = connection
        self._breaker = breaker
        self._on_state = on_state
        self._open_timeout_s = min(OPEN_TIMEOUT_S, answer_s)
        self._loop = asyncio.get_running_loop()
        self._answers: dict[str, asyncio.Future[bytes]] = {}
        self._inboxes: dict[str, list[Inbox]] = {}
        self._out: deque[str] = deque()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._websocket: ClientConnection | None = None
        self._timer: asyncio.TimerHandle | None = None

    # For the client

    async def operate(self, message: Mapping[str, Any]) -> bytes:
        """Send an operation, and return its result as JSON. Raises CounterError."""
        number = self._connection.submit(message, self._loop.time())
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._answers[number] = answer
        self._act()
        try:
            return await answer
        finally:
            del self._answers[number]
            self._connection.withdraw(number)

    def watch(self, names: tuple[str, ...], since: Mapping[str, Position]) -> Watch:
        """Hear the events of these counters. Raises Invalid."""
        inbox = Inbox(tuple(dict.fromkeys(names)), BACKLOG)
        watch = Watch(inbox, self._leave)
        try:
            for name in inbox.names:
                known = self._connection.follow(name, self._loop.time(), since.get(name))
                self._inboxes.setdefault(name, []).append(inbox)
                if known is not None:
                    inbox.put(core.as_snapshot(known))
        except CounterError:
            self._leave(inbox)
            raise
        finally:
            self._act()
        return watch

    async def close(self) -> None:
        """Say goodbye. What is unanswered fails with ClientClosed, and watches end."""
        self._connection.close()
        task = self._task
        self._act()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._websocket is not None:
            await self._websocket.close()

    def _leave(self, inbox: Inbox) -> None:
        inbox.end(None)
        for name in inbox.names:
            inboxes = self._inboxes.get(name, [])
            if inbox in inboxes:
                inboxes.remove(inbox)
                if not inboxes:
                    del self._inboxes[name]
                    self._connection.unfollow(name)
        self._act()

    # What the connection decides

    def _act(self) -> None:
        """Do what it wants done, and look again when it is time."""
        for effect in self._connection.effects():
            match effect:
                case core.Send(text):
                    self._out.append(text)
                    self._more.set()
                case core.Heard(event):
                    for inbox in self._inboxes.get(event.name, ()):
                        inbox.put(event)
                case core.Answered(number, result):
                    if (answer := self._answers.get(number)) is not None and not answer.done():
                        answer.set_result(result)
                case core.Failed(number, error):
                    if (answer := self._answers.get(number)) is not None and not answer.done():
                        answer.set_exception(error)
                case core.Connect():
                    self._task = self._loop.create_task(self._run())
                case core.Drop():
                    self._drop()
                case core.Ended(error):
                    inboxes, self._inboxes = self._inboxes, {}
                    for inbox in {id(inbox): inbox for each in inboxes.values() for inbox in each}.values():
                        inbox.end(None if self._connection.state is core.State.CLOSED else error)
                case core.Complained(error):
                    log.warning("action=complained error=%s", error)
                case core.Became(state, error):
                    self._became(state, error)
        self._schedule()

    def _became(self, state: core.State, error: CounterError | None) -> None:
        log.debug("action=became state=%s error=%s", state, error)
        if state is core.State.OPEN:
            self._breaker.succeeded()
        if self._on_state is not None:
            # Not from here: what it raises is not ours to stumble over.
            self._loop.call_soon(self._on_state, state, error)

    def _schedule(self) -> None:
        due = self._connection.due
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return  # It looks early, and then again; with every message another timer would cost more.
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._connection.tick(self._loop.time())
        self._act()

    def _drop(self) -> None:
        if self._websocket is not None:
            self._websocket.transport.abort()
            self._websocket = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    # What happens

    async def _run(self) -> None:
        """One connection, from the attempt to its end."""
        failure = await self._connect_and_talk()
        self._websocket = self._task = None
        if failure.away:
            self._breaker.failed(self._loop.time())
        self._connection.ended(failure, self._loop.time())
        self._act()

    async def _connect_and_talk(self) -> Failure:
        url = self._url()
        try:
            websocket = await _Straight(
                url,
                proxy=None if is_local(url) else True,
                compression=None,
                open_timeout=self._open_timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,  # The core looks after silence.
                logger=_SILENT,
            )
        except InvalidStatus as error:
            answer = error.response
            return refused(answer.status_code, answer.headers, bytes(answer.body or b""))
        except InvalidURI as error:
            return Failure(UnexpectedAnswer(str(error)), again=False)
        except (ImportError, InvalidProxy) as error:
            return Failure(unusable(error), again=False)
        except TimeoutError:
            return unreachable(f"no connection within {self._open_timeout_s:g} s")
        except (OSError, EOFError, WebSocketException) as error:
            return unreachable(why(error))
        self._websocket = websocket
        return await self._talk(websocket)

    async def _talk(self, websocket: ClientConnection) -> Failure:
        self._out.clear()
        self._connection.opened(self._loop.time())
        self._act()
        writer = self._loop.create_task(self._write(websocket))
        try:
            while True:
                text = await websocket.recv(decode=False)
                self._connection.received(text, self._loop.time())
                self._act()
        except ConnectionClosed as error:
            return closed(None, "") if error.rcvd is None else closed(int(error.rcvd.code), error.rcvd.reason)
        finally:
            writer.cancel()

    async def _write(self, websocket: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # The reader hears of it, too.
            while True:
                while self._out:
                    await websocket.send(self._out.popleft())
                self._more.clear()
                await self._more.wait()
