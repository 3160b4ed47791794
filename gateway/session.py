"""One WebSocket: what it listens to, what it says, and what waits to be written to it.

A session does no I/O of its own. It is handed messages, hands operations to the router, and collects frames that the
hub has written at the end of the turn. It lives as long as its socket; its counters may sleep, move or crash meanwhile.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable, Iterable
from itertools import count
from typing import Protocol
from uuid import uuid4

import msgspec

from actors.clock import Clock, iso
from actors.core import likes
from actors.messages import Operation, Status
from gateway import protocol as wire
from gateway.errors import Problem, crowded, invalid, overloaded, refused
from gateway.frames import text_frame

IN_FLIGHT_MAX = 1_000  # Operations of one session that have no answer yet. Beyond it: TOO_MANY_REQUESTS.
OUT_MAX = 256  # Frames that wait for the end of a turn; more are written at once, so that a full socket is noticed.
SUBSCRIPTIONS_MAX = 1_000  # Counters that one connection may listen to.


class Submits(Protocol):
    """What a session needs of the router."""

    pressed: bool

    def admits(self, name: str) -> bool: ...

    def submit(self, operation: Operation, deliver: Callable[[int, bytes], None]) -> None: ...


class Subscribes(Protocol):
    """What a session needs of the hub."""

    def full(self, name: str) -> bool: ...

    def touch(self, session: Session) -> None: ...

    def join(self, subscriber: Subscription, snapshot: bool = False, since: int | None = None) -> None: ...

    def leave(self, subscriber: Subscription) -> None: ...

    def lag(self, subscriber: Subscription) -> None: ...

    def catch(self, subscriber: Subscription) -> None: ...


class Ids:
    """Operation ids of this gateway: unique, and growing, so that an index on them grows at its end only."""

    def __init__(self) -> None:
        self._prefix = uuid4().hex[:12]
        self._numbers = count(1)

    def next(self) -> str:
        return f"{self._prefix}-{next(self._numbers):010x}"


class Services:
    """What all sessions of a gateway share."""

    __slots__ = ("clock", "hub", "ids", "router")

    def __init__(self, router: Submits, hub: Subscribes, clock: Clock, ids: Ids) -> None:
        self.router = router
        self.hub = hub
        self.clock = clock
        self.ids = ids


class Subscription:
    """One session's interest in one counter."""

    __slots__ = ("at", "filters", "life", "name", "rate", "session", "timer", "write")

    def __init__(
        self,
        session: Session,
        name: str,
        write: Callable[[bytes], None],
        at: int,
        filters: frozenset[str] | None = None,
        rate: float = 0,
    ) -> None:
        self.session = session
        self.name = name
        self.write = write
        self.at = at  # When it began, in milliseconds.
        self.filters = filters
        self.rate = rate  # Events per second; 0: all of them.
        self.life: int | None = None  # Id of the counter it knew; a counter made anew has another one.
        self.timer: TimerHandle | None = None  # Runs while nothing may be sent for the sake of the rate.

    def select(self, events: Iterable[tuple[str, bytes]]) -> list[bytes]:
        """The frames of those events that are wanted. A snapshot is for everybody."""
        filters = self.filters
        if filters is None:
            return [frame for _, frame in events]
        return [frame for type, frame in events if type in filters or type == "snapshot"]

    def described(self) -> bytes:
        """Who listens, as JSON."""
        row = {
            "id": self.session.id,
            "subscribedAt": iso(self.at),
            "events": None if self.filters is None else sorted(self.filters),
            "attachment": msgspec.Raw(self.session.attachment or b"null"),
        }
        return msgspec.json.encode(row)


class Session:
    """One WebSocket."""

    __slots__ = (
        "_idle", "_in_flight", "_services", "_subscriptions", "_write", "attachment", "blocked", "filters", "id",
        "key", "name", "out", "rate", "source",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        name: str | None,
        write: Callable[[bytes], None],
        filters: frozenset[str] | None = None,
        key: str | None = None,
        rate: float = 0,
        attachment: bytes | None = None,
        source: str = "ws",
    ) -> None:
        self._services = services
        self._write = write  # Straight to the socket.
        self._subscriptions: dict[str, Subscription] = {}
        self._in_flight = 0
        self._idle: Callable[[], None] | None = None
        self.id = services.ids.next()
        self.name = name  # The one counter of a socket that has one; None: it says which in every message.
        self.filters = filters
        self.key = key
        self.rate = rate
        self.attachment = attachment  # Whatever the client wants others to know of it, as JSON.
        self.source = source  # For the history of what it changes.
        self.out: list[bytes] = []
        self.blocked = False  # The socket takes no more for now.

    def subscribe(
        self, name: str, snapshot: bool = False, since: int | None = None, life: int | None = None
    ) -> None:
        """Listen to a counter, or listen to it anew. `since` belongs to the counter whose id was `life`."""
        before = self._subscriptions.get(name)
        if before is not None and not snapshot and since is None:
            return  # It hears every event already.
        # Where many counters share the socket, events wait for the end of the turn: one write for all of them.
        write = self._write if self.name is not None else self.push
        subscription = self._subscriptions[name] = Subscription(
            self, name, write, self._services.clock.now_ms() if before is None else before.at, self.filters, self.rate
        )
        subscription.life = life
        self._services.hub.join(subscription, snapshot, since)
        if before is not None:
            # Only now: without any subscriber the counter would be let go, and its owner asked about it again.
            self._services.hub.leave(before)

    def unsubscribe(self, name: str) -> None:
        """Listen to it no more."""
        subscription = self._subscriptions.pop(name, None)
        if subscription is not None:
            self._services.hub.leave(subscription)

    def end(self) -> None:
        """The socket is gone."""
        for name in list(self._subscriptions):
            self.unsubscribe(name)

    def block(self) -> None:
        """The socket takes no more: what comes now is made up for later."""
        self.blocked = True
        for subscription in self._subscriptions.values():
            self._services.hub.lag(subscription)

    def unblock(self) -> None:
        """The socket takes more."""
        self.blocked = False
        for subscription in self._subscriptions.values():
            self._services.hub.catch(subscription)

    def push(self, frame: bytes) -> None:
        """Have `frame` written at the end of this turn."""
        if not self.out:
            self._services.hub.touch(self)
        self.out.append(frame)
        if len(self.out) >= OUT_MAX:
            self.write_out()

    def write_out(self) -> None:
        """Write what was pushed."""
        if self.out:
            out, self.out = self.out, []
            self._write(out[0] if len(out) == 1 else b"".join(out))

    def receive(self, data: bytes) -> None:
        """Take one text message. Whatever it says, it is answered; nothing it says ends the session."""
        if data == b"ping":
            self.push(text_frame(b"pong"))
            return
        try:
            message = wire.read_message(data)
            if message.__class__ in _TYPES:
                self._operate(message)  # type: ignore[arg-type]
            elif isinstance(message, wire.Ping):
                self.push(text_frame(b'{"type":"pong","timestamp":"%b"}' % iso(self._services.clock.now_ms()).encode()))
            elif isinstance(message, wire.Filter):
                self._filter(message)
            elif isinstance(message, wire.Subscribe):
                self._subscribe(message)
            elif isinstance(message, wire.Unsubscribe):
                self._require_many()
                for name in message.names:
                    self.unsubscribe(name)
            else:
                self._attach(message)  # type: ignore[arg-type]
        except Problem as problem:
            self.push(text_frame(problem.frame(_id_of(data))))

    def refuse_binary(self) -> None:
        """Answer a binary message."""
        problem = Problem("COUNTER_VALIDATION_ERROR", "send text, not binary", {"field": "body", "reason": "binary"})
        self.push(text_frame(problem.frame()))

    def _filter(self, message: wire.Filter) -> None:
        self.filters = None if message.events is None else frozenset(message.events)
        for subscription in self._subscriptions.values():
            subscription.filters = self.filters

    def _attach(self, message: wire.SetAttachment) -> None:
        self.attachment = wire.read_attachment(message.attachment)
        result = {"session": self.id}
        self.push(text_frame(_result(b"setAttachment", message.id, msgspec.json.encode(result))))

    def _subscribe(self, message: wire.Subscribe) -> None:
        self._require_many()
        since, lives = message.since or {}, message.lives or {}
        if len(self._subscriptions.keys() | set(message.names)) > SUBSCRIPTIONS_MAX:
            raise invalid("names", f"one connection listens to {SUBSCRIPTIONS_MAX} counters at most")
        for name in message.names:
            if self._services.hub.full(name):
                raise crowded(name)
        for name in message.names:
            self.subscribe(name, message.snapshot, since.get(name), lives.get(name))

    def _require_many(self) -> None:
        if self.name is not None:
            raise invalid("type", f"this connection belongs to the counter {self.name}; /ws takes many")

    def _operate(self, message: wire.Operate) -> None:
        if self._in_flight >= IN_FLIGHT_MAX:
            raise Problem("TOO_MANY_REQUESTS", f"{IN_FLIGHT_MAX} operations of this connection have no answer yet")
        name = self.name if message.name is None else message.name
        if name is None or (self.name is not None and name != self.name):
            raise invalid("name", "say which counter" if name is None else f"this connection belongs to {self.name}")
        router = self._services.router
        if router.pressed and not router.admits(name):
            self.push(text_frame(_OVERLOADED % (b"" if message.id is None else _ID % _encode(message.id))))
            return
        type, amount, reason, member = _TYPES[message.__class__], 0, None, None
        if isinstance(message, wire.SetValueMessage):
            amount = message.value
        elif isinstance(message, wire.ResetMessage):
            reason = "manual"
        elif isinstance(message, wire.LikeMessage):
            member = message.member
        else:
            amount = message.amount
        keyed = self.key is not None and message.id is not None
        # The length keeps "a/b" + "c" and "a" + "b/c" apart.
        id = f"ws:{len(self.key or '')}:{self.key}/{message.id}" if keyed else self._services.ids.next()
        self._in_flight += 1
        operation = Operation(0, name, type, amount, id, keyed, None, reason, source=self.source, member=member)
        router.submit(operation, _Answer(self, type, message.id))

    def answer(self, type: str, id: str | None, status: int, body: bytes) -> None:
        """The operation that was sent as message `id` is done."""
        self._in_flight -= 1
        if status == Status.OK:
            self.push(text_frame(_result(type.encode(), id, body)))
        else:
            problem = refused(body) if status == Status.REFUSED else Problem("UNAVAILABLE")
            self.push(text_frame(problem.frame(id)))
        if self._idle is not None and not self._in_flight:
            self._idle()

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call this as soon as every operation is answered."""
        self._idle = call
        if not self._in_flight:
            call()


class _Answer:
    """Remembers which message an answer belongs to; lighter than a closure."""

    __slots__ = ("_id", "_session", "_type")

    def __init__(self, session: Session, type: str, id: str | None) -> None:
        self._session = session
        self._type = type
        self._id = id

    def __call__(self, status: int, body: bytes) -> None:
        self._session.answer(self._type, self._id, status, body)


def _result(type: bytes, id: str | None, body: bytes) -> bytes:
    quoted = b"" if id is None else b'"id":%b,' % _encode(id)
    return b'{"type":"%bResult",%b"result":%b}' % (type, quoted, body)


_encode = msgspec.json.encode
_OVERLOADED = overloaded().frame().replace(b"%", b"%%")[:-1] + b"%b}"
_ID = b',"id":%b'

_TYPES: dict[type, str] = {
    wire.IncrementMessage: "increment",
    wire.DecrementMessage: "decrement",
    wire.SetValueMessage: "setValue",
    wire.ResetMessage: "reset",
    wire.ToggleMessage: likes.TOGGLE,
    wire.AddMessage: likes.ADD,
    wire.RemoveMessage: likes.REMOVE,
}


class _Identified(msgspec.Struct):
    id: str | None = None


_decode_id = msgspec.json.Decoder(_Identified).decode


def _id_of(data: bytes) -> str | None:
    """The id of a message that is wrong otherwise, so that its sender knows which one it was."""
    try:
        return _decode_id(data).id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
