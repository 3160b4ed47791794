"""One connection for all counters: its state, what to send on it, and when to come back after it broke.

Nothing here waits, looks at a clock or opens a socket. Whoever owns a Connection tells it what happens (`opened`,
`received`, `ended`, `tick`) and what is wanted (`follow`, `submit`, …), each time with the time in seconds, and then
does what `effects` says, in that order. `due` is when to call `tick` at the latest.

    idle ──wanted──▶ connecting ──opened──▶ open
     ▲                 │    ▲                 │
     └──not wanted, ───┤    └──── waiting ◀───┤ it broke, or could not be made
        or refused     └─────────▶            │
    closed, from anywhere, for good ◀─────────┘
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any

import msgspec

from counters_client.core import wire
from counters_client.core.follow import Follow, Verdict
from counters_client.core.metrics import Metrics
from counters_client.core.outbox import Entry, Outbox
from counters_client.core.retry import Backoff, Failure, unreachable
from counters_client.errors import ClientClosed, CounterError, Invalid, TimedOut, Unavailable, error_for
from counters_client.records import Event, Position

FOLLOWS_MAX = 1_000  # The service listens for one connection to so many counters.


class State(StrEnum):
    """One word for how it stands."""

    IDLE = "idle"  # Nothing to connect for, or the service refused to.
    CONNECTING = "connecting"
    OPEN = "open"
    WAITING = "waiting"  # For the moment to connect again.
    CLOSED = "closed"


@dataclass(frozen=True)
class Limits:
    """How much, and how long. All times in seconds."""

    backoff: Backoff = field(default_factory=Backoff)
    quiet_s: float = 20.0  # Without any message for so long we ask whether anybody is there,
    patience_s: float = 10.0  # and without an answer for so long nobody is.
    answer_s: float = 30.0  # An operation fails when it has no answer by then, whatever happened meanwhile.
    outbox: int = 10_000  # Operations without an answer.
    window: int = 256  # Of those, sent: the service takes 1,000 of a connection.


@dataclass(frozen=True)
class Connect:
    """Open a connection, then call `opened` or `ended`."""


@dataclass(frozen=True)
class Drop:
    """Leave the connection without a word: it is dead. `ended` is not expected for it."""


@dataclass(frozen=True)
class Send:
    """Send this text."""

    text: str


@dataclass(frozen=True)
class Answered:
    """The operation `id` is done; `result` is JSON."""

    id: str
    result: bytes


@dataclass(frozen=True)
class Failed:
    """The operation `id` is not."""

    id: str
    error: CounterError


@dataclass(frozen=True)
class Heard:
    """Hand this to everybody who watches its counter."""

    event: Event


@dataclass(frozen=True)
class Ended:
    """Everybody who watches anything is told this, and watches no more."""

    error: CounterError


@dataclass(frozen=True)
class Complained:
    """The service said that something of ours is wrong, and not what."""

    error: CounterError


@dataclass(frozen=True)
class Became:
    """The state is another one; `error` is why, if it is for the worse."""

    state: State
    error: CounterError | None = None


Effect = Connect | Drop | Send | Answered | Failed | Heard | Ended | Complained | Became


class Connection:
    """See the module. `jitter` gives a number from 0 to 1."""

    def __init__(self, jitter: Callable[[], float], limits: Limits | None = None, every: bool = True) -> None:
        self.state = State.IDLE
        self.metrics = Metrics()
        self.limits = limits or Limits()
        self._jitter = jitter
        self._every = every
        self._effects: list[Effect] = []
        self._outbox = Outbox(self.limits.outbox, self.limits.window)
        self._follows: dict[str, Follow] = {}
        self._numbers = count(1)
        self._attempt = 0  # Since something was last heard: connections that could not be made, or broke at once.
        self._trouble = ""  # Why there is no connection, until something is heard.
        self._return_at = 0.0
        self._heard_at = 0.0
        self._pings: deque[tuple[float, list[str]]] = deque()  # When they were sent, and what was asked for before.

    def effects(self) -> list[Effect]:
        """Take what is to be done."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def due(self) -> float | None:
        """When to call `tick`; None if nothing happens by itself."""
        moments = [self._outbox.due]
        if self.state is State.WAITING:
            moments.append(self._return_at)
        elif self.state is State.OPEN:
            moments.append(self._silent_at)
        return min((moment for moment in moments if moment is not None), default=None)

    # What is wanted

    def follow(self, name: str, now: float, since: Position | None = None) -> Event | None:
        """Hear the events of a counter, after `since` or after a snapshot. What is known of it already is returned.

        Raises Invalid.
        """
        self._require_not_closed()
        follow = self._follows.get(wire.checked_name(name))
        if follow is None:
            if len(self._follows) >= FOLLOWS_MAX:
                reason = f"one client watches {FOLLOWS_MAX} counters at most"
                raise Invalid(reason, data={"field": "names", "reason": reason})
            self._follows[name] = Follow(since, self._every)
            self._ask([name], now)
        elif since is not None:
            reason = f"this client watches {name} already; only its first watch can go on from a place"
            raise Invalid(reason, data={"field": "since", "reason": reason})
        elif follow.newest is None and follow.position is not None:
            # It went on from a place and nothing has come since: nobody here knows the value.
            self._send(wire.subscriptions({name: None}))
        self._want(now)
        return None if follow is None else follow.newest

    def unfollow(self, name: str) -> None:
        """Nobody wants to hear it any more."""
        if self._follows.pop(name, None) is not None and self.state is State.OPEN:
            self._send(wire.unsubscriptions([name]))

    def submit(self, message: Mapping[str, Any], now: float) -> str:
        """Have an operation sent, and answered with its id. Raises OutboxFull, Invalid."""
        self._require_not_closed()
        id = str(next(self._numbers))
        self._outbox.add(Entry(id, wire.say({**message, "id": id}), now + self.limits.answer_s))
        self._flush()
        self._want(now)
        return id

    def withdraw(self, id: str) -> None:
        """Nobody waits for the answer any more."""
        self._outbox.remove(id)

    def close(self) -> None:
        """The end. Whoever owns this closes the connection, if there is one."""
        if self.state is not State.CLOSED:
            self._become(State.CLOSED)
            self._fail_all(ClientClosed("the client was closed"))

    # What happens

    def opened(self, now: float) -> None:
        """The connection that was asked for is there."""
        self.metrics.connects += 1
        self.metrics.reconnects += self.metrics.connects > 1
        self._heard_at = now
        self._pings.clear()
        self._become(State.OPEN)
        self._ask(self._follows, now)
        self._flush()

    def received(self, text: str | bytes, now: float) -> None:
        """A message has come."""
        self.metrics.received += 1
        message = wire.read(text)
        if message is None:
            self._break(unreachable("what answers there does not speak like a counters service"), now)
            return
        # Only now the attempt is a success: who accepts and closes at once must not be hurried.
        self._attempt = 0
        self._trouble = ""
        self._heard_at = now
        if message.type in wire.EVENTS:
            self._event(message, now)
        elif message.type in wire.RESULTS:
            if message.id is not None and self._outbox.remove(message.id) is not None:
                self._effects.append(Answered(message.id, bytes(message.result)))
        elif message.type == "error":
            self._refused(message, now)
        elif message.type == "pong" and self._pings:
            sent_at, names = self._pings.popleft()
            self.metrics.round_trip(now - sent_at)
            for name in names:
                if name in self._follows:
                    self._follows[name].asked = False
        # A type that is not known here is of a newer service, and for newer clients.
        self._flush()

    def ended(self, failure: Failure, now: float) -> None:
        """The connection broke, was closed by the other side, or could not be made."""
        if self.state is State.CLOSED:
            return
        self.metrics.failures += 1
        self._trouble = failure.error.message
        self._outbox.rewind()
        self._pings.clear()
        if not failure.again:
            self._become(State.IDLE, failure.error)
            self._fail_all(failure.error)
            return
        self._attempt += 1
        self._return_at = now + failure.pause_s(self.limits.backoff, self._attempt, self._jitter())
        if self._wanted:
            self._become(State.WAITING, failure.error)
        else:
            self._become(State.IDLE, failure.error)

    def tick(self, now: float) -> None:
        """Time has passed."""
        for entry in self._outbox.tick(now):
            trouble = self._trouble or entry.trouble
            said = f"no answer within {self.limits.answer_s:g} s" + (f": {trouble}" if trouble else "")
            error = TimedOut(said, uncertain=entry.sends > 0)
            self._effects.append(Failed(entry.id, error))
        if self.state is State.WAITING and now >= self._return_at:
            if self._wanted:
                self._connect()
            else:
                self._become(State.IDLE)
        elif self.state is State.OPEN and now >= self._silent_at:
            if self._pings:
                self.metrics.silences += 1
                self._break(unreachable(f"nothing was heard for {now - self._heard_at:.1f} s"), now)
            else:
                self._ping(now, [])
        self._flush()

    # How

    @property
    def _wanted(self) -> bool:
        return bool(self._follows) or len(self._outbox) > 0

    @property
    def _silent_at(self) -> float:
        """When silence has lasted too long for the next step: a question, or the end."""
        if self._pings:
            return max(self._heard_at, self._pings[0][0]) + self.limits.patience_s
        return self._heard_at + self.limits.quiet_s

    def _want(self, now: float) -> None:
        if self.state is State.IDLE and now < self._return_at:
            self._become(State.WAITING)
        elif self.state is State.IDLE:
            self._connect()

    def _connect(self) -> None:
        self._become(State.CONNECTING)
        self._effects.append(Connect())

    def _become(self, state: State, error: CounterError | None = None) -> None:
        self.state = state
        self._effects.append(Became(state, error))

    def _break(self, failure: Failure, now: float) -> None:
        self._effects.append(Drop())
        self.ended(failure, now)

    def _send(self, texts: Iterable[str]) -> None:
        if self.state is State.OPEN:
            for text in texts:
                self.metrics.sent += 1
                self._effects.append(Send(text))

    def _ping(self, now: float, names: list[str]) -> None:
        self._pings.append((now, names))
        self._send([wire.PING])

    def _ask(self, names: Iterable[str], now: float) -> None:
        """Subscribe, from where each of them stands. The ping tells when the service has read that."""
        if self.state is not State.OPEN:
            return
        asked = list(names)
        for name in asked:
            self._follows[name].asked = True
        self._send(wire.subscriptions({name: self._follows[name].position for name in asked}))
        self._ping(now, asked)

    def _flush(self) -> None:
        if self.state is State.OPEN:
            for entry in self._outbox.take():
                self.metrics.operations += entry.sends == 1
                self.metrics.resent += entry.sends > 1
                self._send([entry.text])

    def _event(self, message: wire.Message, now: float) -> None:
        event = wire.event_of(message)
        if event is None:
            self._break(unreachable("what answers there does not speak like a counters service"), now)
            return
        follow = self._follows.get(event.name)
        if follow is None:
            return  # On its way when we unsubscribed.
        asked = follow.asked
        match follow.take(event):
            case Verdict.NEW:
                self.metrics.events += 1
                self._effects.append(Heard(event))
            case Verdict.OLD:
                self.metrics.duplicates += 1
            case Verdict.GAP if not asked:
                self.metrics.gaps += 1
                self._ask([event.name], now)

    def _refused(self, message: wire.Message, now: float) -> None:
        self.metrics.errors += 1
        error = error_for(message.code, message.message, message.data, message.retryable)
        if message.id is None:
            self._effects.append(Complained(error))
        elif (entry := self._outbox.find(message.id)) is None:
            return
        elif isinstance(error, Unavailable):
            pause_s = self.limits.backoff.pause_s(entry.sends, self._jitter())
            entry.trouble = error.message
            self._outbox.rest(entry, now + pause_s)
        else:
            self._outbox.remove(entry.id)
            self._effects.append(Failed(entry.id, error))

    def _fail_all(self, error: CounterError) -> None:
        for entry in self._outbox.clear():
            again = type(error)(error.message, code=error.code, data=error.data, uncertain=entry.sends > 0)
            self._effects.append(Failed(entry.id, again))
        if self._follows:
            self._follows.clear()
            self._effects.append(Ended(error))

    def _require_not_closed(self) -> None:
        if self.state is State.CLOSED:
            raise ClientClosed("the client is closed")


def as_snapshot(event: Event) -> Event:
    """How its counter stands after an event, for somebody who comes later."""
    return msgspec.structs.replace(event, type="snapshot", previous_value=None, reason=None, operations=1)
