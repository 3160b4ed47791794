"""The client."""

from __future__ import annotations

import random
import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from counters_client.address import DEFAULT_URL, service_url, socket_url
from counters_client.core import wire
from counters_client.core.breaker import Breaker
from counters_client.core.connection import Connection, Limits, State
from counters_client.core.metrics import Metrics
from counters_client.errors import ClientClosed, UnexpectedAnswer, invalid
from counters_client.http import Http
from counters_client.likes import Likes
from counters_client.records import (
    Alarms,
    AlarmSet,
    AwakeCounter,
    CounterSource,
    Described,
    Drift,
    DueItem,
    Enriched,
    FullHistoryItem,
    Later,
    OperationType,
    Page,
    Policy,
    PolicyChanges,
    Position,
    Sessions,
    Synced,
    Total,
    ValueAt,
)
from counters_client.socket import OnState, Socket
from counters_client.watch import Watch

SOURCE_S = 620.0  # A query may take ten minutes, if its source says so.
RESTART_S = 600.0  # Replacing a host takes a few seconds, and there may be many.

T = TypeVar("T")


class _Value(msgspec.Struct):
    value: int


class _Values(msgspec.Struct):
    values: dict[str, int]


class _Configured(msgspec.Struct):
    policy: Policy


class _Success(msgspec.Struct):
    success: bool


class _Scaled(msgspec.Struct):
    hosts: int


class _Awake(msgspec.Struct):
    counters: list[AwakeCounter]


class _Cancelled(msgspec.Struct):
    cancelled: bool


class _Due(msgspec.Struct):
    due: list[DueItem]


class _Stats(msgspec.Struct):
    stats: dict[str, Total]


class _Sources(msgspec.Struct):
    sources: list[CounterSource]


class _Attached(msgspec.Struct):
    session: str


class CounterClient:
    """A counters service, for as long as the `async with` block lasts.

    Operations and events share one WebSocket, which is opened when the first of them is wanted and comes back by
    itself. Questions, and operations with a `key` of yours, go over HTTP. Whatever is lost on the way is sent again,
    and applied once. Every method raises CounterError.

    `events` and `rate` are what the service is to send of what is watched: only these types, at most so many a second.
    `attachment` is what others are told of this client. `on_state` is called at each change of `state`. Raises Invalid,
    and ValueError for a `url` that is none.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        events: Collection[OperationType] | None = None,
        rate: float | None = None,
        attachment: Any = None,
        limits: Limits | None = None,
        on_state: OnState | None = None,
    ) -> None:
        wire.check_wishes(events, rate, attachment)
        self.url = service_url(url)
        self._limits = limits or Limits()
        self._events = events
        self._rate = rate
        self._attachment = attachment
        self._on_state = on_state
        self.like = Likes(self._operate, self._call)  # Counters of likes.
        self._key = secrets.token_hex(16)
        self._connection = Connection(random.random, self._limits, every=events is None and rate is None)
        self._breaker = Breaker()
        self._socket: Socket | None = None
        self._http: Http | None = None

    async def __aenter__(self) -> Self:
        if self.state is State.CLOSED or self._socket is not None:
            raise ClientClosed("a client is opened once")
        limits = self._limits
        self._http = Http(self.url, self._breaker, self.metrics, limits.backoff, limits.answer_s, random.random)
        self._socket = Socket(self._socket_url, self._connection, self._breaker, self._on_state, limits.answer_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. What has no answer fails with ClientClosed; watches end."""
        socket, http = self._socket, self._http
        self._socket = self._http = None
        try:
            if socket is not None:
                await socket.close()
        finally:
            if http is not None:
                await http.close()

    @property
    def state(self) -> State:
        """How the connection stands."""
        return self._connection.state

    @property
    def metrics(self) -> Metrics:
        """What was counted so far; it goes on counting."""
        return self._connection.metrics

    # Live

    def watch(self, *names: str, since: Mapping[str, Position] | None = None) -> Watch:
        """The events of these counters: of each a snapshot first, then every one.

        With `since` it goes on after that place instead, as far as the service remembers, else with a snapshot. A
        reader that is more than 1,000 events behind gets joined ones.
        """
        socket = self._open_socket()
        if not names:
            raise invalid("names", "one at least")
        return socket.watch(tuple(wire.checked_names(names)), wire.checked_places(since or {}))

    async def set_attachment(self, attachment: Any) -> str:
        """Change what others are told of this client: any JSON; None takes it away. Returns the id of the session."""
        message = {"type": "setAttachment", "attachment": attachment}
        attached = _decode(await self._open_socket().operate(message), _Attached)
        self._attachment = attachment
        return attached.session

    # Operations

    async def increment(self, name: str, amount: int = 1, *, key: str | None = None) -> Enriched:
        """Add `amount`. A `key` names the operation, for you to repeat it: from anywhere, at any time, applied once."""
        return await self._operate("counter.increment", {"name": name, "amount": amount}, Enriched, key)

    async def decrement(self, name: str, amount: int = 1, *, key: str | None = None) -> Enriched:
        """Take `amount`."""
        return await self._operate("counter.decrement", {"name": name, "amount": amount}, Enriched, key)

    async def set_value(self, name: str, value: int, *, key: str | None = None) -> Enriched:
        """Set the value."""
        return await self._operate("counter.setValue", {"name": name, "value": value}, Enriched, key)

    async def reset(self, name: str, *, key: str | None = None) -> Enriched:
        """Go back to the initial value."""
        return await self._operate("counter.reset", {"name": name}, Enriched, key)

    async def sync(self, name: str, actual: int | None = None, *, key: str | None = None) -> Synced:
        """Set the value to what it truly is, by you or else by its source, and learn the difference.

        Raises SourceFailed when there is no number to be had.
        """
        input: dict[str, Any] = {"name": name} if actual is None else {"name": name, "actual": actual}
        timeout_s = SOURCE_S if actual is None else None
        return await self._call("counter.sync", input, Synced, _key(key), timeout_s)

    async def drift(self, name: str) -> Drift:
        """How far a counter is from its source. Raises SourceFailed."""
        return await self._call("counter.drift", {"name": name}, Drift, timeout_s=SOURCE_S)

    async def undo(self, name: str, seq: int) -> Enriched:
        """Take operation `seq` of the history back, by one that does the opposite; once, however often it is asked.

        Raises HistoryNotKept.
        """
        return await self._call("counter.undo", {"name": name, "seq": seq}, Enriched)

    async def delete(self, name: str, *, key: str | None = None) -> None:
        """Delete a counter. Raises NotFound when there is none."""
        await self._call("counter.delete", {"name": name}, _Success, _key(key))

    async def create(self, name: str, policy: PolicyChanges | None = None) -> None:
        """Make a counter, unless it exists; then it stays as it is, with its policy."""
        input: dict[str, Any] = {"name": name} if policy is None else {"name": name, "policy": policy}
        await self._call("counter.create", input, _Success)

    async def configure(self, name: str, policy: PolicyChanges) -> Policy:
        """Set these parts of a counter's policy, and return all of it."""
        return (await self._call("counter.configure", {"name": name, "policy": policy}, _Configured)).policy

    async def set_alarm(
        self,
        name: str,
        operation: Later,
        *,
        at: datetime | None = None,
        every: int | str | timedelta | None = None,
        id: str | None = None,
        key: str | None = None,
    ) -> AlarmSet:
        """Have an operation applied at a time, or every so many seconds; in place of the alarm with this id."""
        input: dict[str, Any] = {"name": name, "operation": operation}
        input |= {} if at is None else {"at": _instant(at)}
        input |= {} if every is None else {"every": _seconds(every) if isinstance(every, timedelta) else every}
        input |= {} if id is None else {"id": id}
        return await self._call("counter.setAlarm", input, AlarmSet, _key(key))

    async def cancel_alarm(self, name: str, id: str, *, key: str | None = None) -> bool:
        """Take an alarm back. Returns whether there was one."""
        return (
            await self._call("counter.cancelAlarm", {"name": name, "id": id}, _Cancelled, _key(key))
        ).cancelled

    # Questions

    async def list_alarms(self, name: str) -> Alarms:
        """The alarms of a counter, and what became of them."""
        return await self._call("counter.listAlarms", {"name": name}, Alarms)

    async def list_due(self, limit: int = 100) -> list[DueItem]:
        """The next resets and alarms of all counters, at most 1,000."""
        return (await self._call("counter.listDue", {"limit": limit}, _Due)).due

    async def get_value(self, name: str) -> int:
        """The value; 0 for a counter that was never written."""
        return (await self._call("counter.getValue", {"name": name}, _Value)).value

    async def get_values(self, names: Collection[str]) -> dict[str, int]:
        """The values of up to 1,000 counters."""
        return (await self._call("counter.getValues", {"names": wire.checked_names(names)}, _Values)).values

    async def get_stats(self, names: Collection[str]) -> dict[str, Total]:
        """The values of up to 1,000 counters, and when each changed last."""
        return (await self._call("stats.get", {"names": wire.checked_names(names)}, _Stats)).stats

    async def list_sources(self) -> list[CounterSource]:
        """The counters that are counted elsewhere."""
        return (await self._call("stats.listSources", {}, _Sources)).sources

    async def get_metadata(self, name: str) -> Described:
        """What is known of a counter. Raises NotFound."""
        return await self._call("counter.getMetadata", {"name": name}, Described)

    async def get_history(self, name: str, limit: int = 50, before: int | None = None) -> list[FullHistoryItem]:
        """The newest operations first, at most 100; `before` is the id of the last one you have. Raises NotFound."""
        input = {"name": name, "limit": limit} | ({} if before is None else {"before": before})
        return await self._call("counter.getHistory", input, list[FullHistoryItem])

    async def get_value_at(self, name: str, at: datetime) -> ValueAt:
        """The value at a time in the past, as far back as history is kept. `at` has a time zone.

        Raises HistoryNotKept, NotFound.
        """
        return await self._call("counter.getValueAt", {"name": name, "at": _instant(at)}, ValueAt)

    async def get_sessions(self, name: str, limit: int = 100) -> Sessions:
        """Who listens to a counter now."""
        return await self._call("counter.getSessions", {"name": name, "limit": limit}, Sessions)

    async def list_all(self, prefix: str = "", limit: int = 100, cursor: str | None = None) -> Page:
        """Counters by name, at most 1,000 at a time."""
        input = {"prefix": prefix, "limit": limit} | ({} if cursor is None else {"cursor": cursor})
        return await self._call("counter.listAll", input, Page)

    # The service as a whole, from its own machine

    async def ps(self) -> list[AwakeCounter]:
        """The counters that are awake."""
        return (await self._call("admin.ps", {}, _Awake)).counters

    async def scale(self, hosts: int) -> int:
        """Run so many shared hosts."""
        return (await self._call("admin.scale", {"hosts": hosts}, _Scaled, timeout_s=RESTART_S)).hosts

    async def restart_hosts(self) -> None:
        """Replace all hosts, one by one; returns when that is done."""
        await self._call("admin.restartHosts", {}, _Success, timeout_s=RESTART_S)

    # How

    async def _operate(self, procedure: str, input: Mapping[str, Any], shape: type[T], key: str | None) -> T:
        if key is not None:
            return await self._call(procedure, input, shape, key)
        message = {"type": procedure.removeprefix("counter."), **input}
        return _decode(await self._open_socket().operate(message), shape)

    async def _call(
        self,
        procedure: str,
        input: Mapping[str, Any],
        shape: type[T],
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> T:
        if self._http is None:
            raise ClientClosed("the client is not open: use it in `async with`")
        return await self._http.call(procedure, input, shape, key, timeout_s)

    def _open_socket(self) -> Socket:
        if self._socket is None:
            raise ClientClosed("the client is not open: use it in `async with`")
        return self._socket

    def _socket_url(self) -> str:
        return socket_url(self.url, self._key, self._events, self._rate, self._attachment)


def _decode(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedAnswer(f"this is not what a counters service answers: {error}") from error


def _instant(at: datetime) -> str:
    try:
        return at.astimezone(UTC).isoformat()
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise invalid("at", "a datetime") from error


def _seconds(every: timedelta) -> int:
    seconds, rest = divmod(every, timedelta(seconds=1))
    if rest:
        raise invalid("every", "whole seconds")
    return seconds


def _key(key: str | None) -> str:
    return secrets.token_hex(16) if key is None else key
