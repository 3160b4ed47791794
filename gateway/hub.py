"""The hub: who listens to which counter, and the way of an event to all of them.

An event arrives as JSON, becomes one frame, and the same bytes go to every socket. Frames that arrive in one turn of
the event loop are joined, so a socket is written to once a turn, however many events there were.

The hub vouches for the order: a channel accepts the event that follows its seq and no other. At a gap it asks for what
is missing and lets nothing pass until that has come. It always knows the newest state of a counter that somebody
listens to, so a newcomer gets a snapshot without a question to anybody; what a returning one has missed comes from the
channel's recent events, which are fetched once and serve all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, Protocol

import msgspec

from actors.messages import Burst, Position, Query, Status
from gateway.frames import text_frame, text_of
from gateway.protocol import SESSIONS_MAX
from gateway.session import Subscription

Place = tuple[int, int]  # Counter id and seq.

FROM_NOW = -1  # Waits for nothing but the place where the counter stands.
ASK_AGAIN_S = 0.1
SUBSCRIBERS_MAX = 50_000  # Of one counter, in one gateway.
RECENT_MAX = 500  # Events a channel keeps for those who come back: some 150 KB, and only where somebody came back.

log = logging.getLogger("counters.hub")


class Watching(Protocol):
    """What the hub needs of the router."""

    def watch(self, name: str) -> None: ...

    def unwatch(self, name: str) -> None: ...

    def rewatch(self, name: str) -> None: ...

    def ask(self, query: Query, deliver: Any) -> None: ...


class Recent:
    """The newest events of a channel, without gaps: those after seq `base`."""

    __slots__ = ("base", "events")

    def __init__(self, base: int) -> None:
        self.base = base
        self.events: deque[tuple[str, bytes]] = deque()  # Type and frame.

    @property
    def end(self) -> int:
        """Seq of the newest event."""
        return self.base + len(self.events)

    def append(self, type: str, frame: bytes) -> None:
        self.events.append((type, frame))
        if len(self.events) > RECENT_MAX:
            self.events.popleft()
            self.base += 1

    def after(self, seq: int) -> list[tuple[str, bytes]] | None:
        """The events after `seq`; None when some of them are not here."""
        if not self.base <= seq <= self.end:
            return None
        return list(self.events)[seq - self.base :]


class Mark:
    """The place where some began to lag: how many, and the first event that they missed, once it has come."""

    __slots__ = ("first", "lagging")

    def __init__(self) -> None:
        self.lagging = 0
        self.first: bytes | None = None


class Channel:
    """Everybody who listens to one counter, and how far its events have come."""

    __slots__ = (
        "ahead",
        "at",
        "catching_up",
        "counter_id",
        "entering",
        "fetching",
        "first_pending",
        "impatient",
        "lagging",
        "last",
        "latest",
        "marks",
        "members",
        "name",
        "opening",
        "pending",
        "placed",
        "recent",
        "sent",
        "seq",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.counter_id = -1
        self.seq = 0
        self.at: Place = (-1, 0)  # Id and seq of the last event that was passed on,
        self.sent: Place = (-1, 0)  # and of the last one that was written.
        self.last: bytes = b""  # The newest state: an event, or a snapshot from the owner.
        self.placed = asyncio.Event()  # The owner knows that we listen, and we know where the counter stands.
        self.impatient = False  # Somebody was let in without waiting for that.
        self.catching_up = False
        self.opening = 0  # Handshakes on their way.
        self.members: dict[Subscription, None] = {}  # Get every event, in the order in which they came.
        self.entering: list[tuple[Subscription, int]] = []  # Members after this turn; have seen so many of `pending`.
        self.ahead: dict[Subscription, int] = {}  # Have seen everything up to this seq, which ours has yet to reach.
        self.waiting: dict[Subscription, int | None] = {}  # For what is after a seq, a snapshot (None), or FROM_NOW.
        self.lagging: dict[Subscription, Place] = {}  # Cannot or do not want every event; the last one they were sent.
        self.marks: dict[Place, Mark] = {}  # The places where somebody lags.
        self.latest: dict[str, tuple[Place, bytes]] = {}  # While somebody lags: the newest event of each type.
        self.pending: list[tuple[str, bytes]] = []  # Type and frame of events that this turn brought.
        self.first_pending: bytes = b""  # The first of them.
        self.recent: Recent | None = None
        self.fetching = False

    @property
    def count(self) -> int:
        """How many listen, wherever they stand."""
        return len(self.members) + len(self.entering) + len(self.ahead) + len(self.waiting) + len(self.lagging)

    def subscribers(self) -> Iterator[Subscription]:
        """All who listen."""
        return chain(self.members, (each for each, _ in self.entering), self.ahead, self.waiting, self.lagging)

    @property
    def empty(self) -> bool:
        return not (
            self.members or self.lagging or self.waiting or self.entering or self.ahead or self.opening
        )


class Hub:
    """All channels of one gateway."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._loop = asyncio.get_running_loop()
        self._dirty_channels: dict[Channel, None] = {}
        self._dirty_sessions: list[Any] = []
        self._flushing = False
        self._router: Watching | None = None

    def connect(self, router: Watching) -> None:
        """Name the router. It and the hub know each other, so one of them has to come second."""
        self._router = router

    # Subscribers come and go

    async def open(self, name: str, patience_s: float) -> None:
        """Have the owner of `name` know that we listen: whoever joins now misses nothing. Call `opened` afterwards."""
        channel = self._channel(name)
        channel.opening += 1
        if channel.placed.is_set():
            return
        try:
            await asyncio.wait_for(channel.placed.wait(), patience_s)
        except TimeoutError:
            # The owner is away. The subscriber is welcome all the same: it is served when the owner is back.
            channel.impatient = True
            log.warning("action=open_unplaced name=%s", name)
        except asyncio.CancelledError:
            self.opened(name)
            raise

    def opened(self, name: str) -> None:
        """What `open` began is over, whether somebody has joined or not."""
        channel = self._channels[name]
        channel.opening -= 1
        self._drop_if_empty(channel)

    def full(self, name: str) -> bool:
        """Whether `name` has as many subscribers as it may have here."""
        channel = self._channels.get(name)
        return channel is not None and channel.count + channel.opening >= SUBSCRIBERS_MAX

    def join(self, subscriber: Subscription, snapshot: bool = False, since: int | None = None) -> None:
        """Send `subscriber` the events of its counter from now on, if it asked for that, with what was before."""
        channel = self._channel(subscriber.name)
        if snapshot or since is not None:
            channel.waiting[subscriber] = since
        else:
            # Who was let in before the owner could be asked may have missed something, and is told the state.
            channel.waiting[subscriber] = None if channel.impatient else FROM_NOW
        if channel.placed.is_set():
            self._serve(channel)

    def leave(self, subscriber: Subscription) -> None:
        """Forget `subscriber`."""
        channel = self._channels.get(subscriber.name)
        if channel is None:
            return
        channel.members.pop(subscriber, None)
        channel.ahead.pop(subscriber, None)
        channel.waiting.pop(subscriber, None)
        if subscriber in channel.lagging:
            self._unmark(channel, channel.lagging.pop(subscriber))
        channel.entering = [each for each in channel.entering if each[0] is not subscriber]
        if subscriber.timer is not None:
            subscriber.timer.cancel()
        self._drop_if_empty(channel)

    def _drop_if_empty(self, channel: Channel) -> None:
        if channel.empty and self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._dirty_channels.pop(channel, None)
            if self._router is not None:
                self._router.unwatch(channel.name)

    def _channel(self, name: str) -> Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name)
            if self._router is not None:
                self._router.watch(name)
        return channel

    def _enter(self, channel: Channel, subscriber: Subscription) -> None:
        """`subscriber` has seen everything up to the channel's seq, or wants nothing of it."""
        if channel.pending:
            channel.entering.append((subscriber, len(channel.pending)))
        else:
            self._admit(channel, subscriber)

    def _admit(self, channel: Channel, subscriber: Subscription) -> None:
        channel.members[subscriber] = None
        if subscriber.rate or subscriber.session.blocked:
            self.lag(subscriber)

    def _serve(self, channel: Channel, asked: bool = False) -> None:
        """Give those who wait what they asked for, as far as it is known here; fetch the rest, once for all.

        `asked`: the owner has just said what it knows.
        """
        for subscriber, since in list(channel.waiting.items()):
            ahead = 0
            if since is not None and since >= 0 and subscriber.life not in (None, channel.counter_id):
                since = None  # What it knew is gone, and so are the events after it.
            if since == FROM_NOW or since == channel.seq:
                events = []
            elif since is None:
                events = [("snapshot", text_frame(snapshot(channel.last)))]
            else:
                recent = channel.recent
                if recent is None or recent.end < channel.seq or (since > recent.end and not asked):
                    self._fetch(channel)
                    continue
                missed = recent.after(since)
                if missed is None:  # Too long ago, or of another life: the newest state says more, sooner.
                    missed = [("snapshot", text_frame(snapshot(channel.last)))]
                else:
                    ahead = recent.end
                events = missed
            del channel.waiting[subscriber]
            for frame in subscriber.select(events):
                subscriber.session.push(frame)
            if ahead > channel.seq:
                channel.ahead[subscriber] = ahead
            else:
                self._enter(channel, subscriber)

    def _fetch(self, channel: Channel) -> None:
        if channel.fetching:
            return
        assert self._router is not None
        channel.fetching = True
        query = Query(0, "missed", [channel.name], before=max(0, channel.seq - RECENT_MAX))
        self._router.ask(query, lambda status, body: self._fetched(channel, status, body))

    def _fetched(self, channel: Channel, status: int, body: bytes) -> None:
        if self._channels.get(channel.name) is not channel:
            return  # Everybody has gone meanwhile.
        channel.fetching = False
        if status != Status.OK:
            # Nobody could answer in time, or there are too many questions already: not at once.
            self._loop.call_later(ASK_AGAIN_S, self._serve, channel)
            return
        answer: Burst | Position = _decode_answer(body)
        if (answer.counter_id or -1) != channel.counter_id:
            # Of a life that we have not heard of yet: its events are no continuation of this one's.
            self._loop.call_later(ASK_AGAIN_S, self._serve, channel)
            return
        if isinstance(answer, Position):
            channel.recent = Recent(answer.seq)
        else:
            channel.recent = Recent(answer.seq - 1)
            for type, event in zip(answer.types, answer.bodies, strict=True):
                channel.recent.append(type, text_frame(event))
        self._serve(channel, asked=True)  # What is still not known is asked for again.

    def sessions(self, names: Sequence[str], whole: bool) -> list[tuple[str, int, list[bytes]]]:
        """For each name how many listen to it here and, if `whole`, each of them as JSON, at most SESSIONS_MAX."""
        found: list[tuple[str, int, list[bytes]]] = []
        for name in names:
            channel = self._channels.get(name)
            if channel is None:
                found.append((name, 0, []))
            else:
                some = islice(channel.subscribers(), SESSIONS_MAX if whole else 0)
                found.append((name, channel.count, [each.described() for each in some]))
        return found

    # Events come

    def position(self, name: str) -> tuple[int, int]:
        channel = self._channels.get(name)
        return (-1, 0) if channel is None else (channel.counter_id, channel.seq)

    def place(self, position: Position) -> None:
        channel = self._channels.get(position.name)
        if channel is None:
            return
        channel.catching_up = False
        if not channel.placed.is_set():
            channel.counter_id, channel.seq = position.counter_id or -1, position.seq
            channel.last = position.snapshot
            channel.at = channel.sent = (channel.counter_id, channel.seq)
            self._place(channel)
            return
        there = (position.counter_id or -1, position.seq)
        deleted = there[0] == -1 and channel.counter_id > 0
        if deleted and position.asked != channel.counter_id:
            # Asked before we knew of this life, so it may have been read before it began.
            self._catch_up(channel)
            return
        if deleted or there > (channel.counter_id, channel.seq):
            # Too much was missed, or the counter was deleted or made anew. The newest state stands for all of it.
            channel.counter_id, channel.seq = there
            channel.recent = None
            self._pass_on(channel, "snapshot", position.snapshot)

    def publish(self, burst: Burst) -> None:
        channel = self._channels.get(burst.name)
        if channel is None:
            return
        skip = 0
        if burst.counter_id == channel.counter_id:
            skip = channel.seq + 1 - burst.seq
            if skip < 0:
                self._catch_up(channel)
                return
        elif channel.placed.is_set():
            # Another life of the counter: it begins with 1, and its id is higher.
            if burst.counter_id < channel.counter_id:
                return
            if burst.seq != 1:
                self._catch_up(channel)
                return
            channel.recent = None
        channel.catching_up = False
        channel.counter_id = burst.counter_id
        first = burst.seq
        for offset in range(skip, len(burst.bodies)):
            channel.seq = first + offset
            self._pass_on(channel, burst.types[offset], burst.bodies[offset])
        self._place(channel)

    def _place(self, channel: Channel) -> None:
        """We know where the counter stands."""
        if not channel.placed.is_set():
            channel.placed.set()
            self._serve(channel)

    def _catch_up(self, channel: Channel) -> None:
        if not channel.catching_up and self._router is not None:
            channel.catching_up = True
            log.info("action=catch_up name=%s after=%d", channel.name, channel.seq)
            self._router.rewatch(channel.name)

    def _pass_on(self, channel: Channel, type: str, body: bytes) -> None:
        frame = text_frame(body)
        channel.last = body
        if not channel.pending:
            channel.first_pending = body
        channel.pending.append((type, frame))
        self._dirty_channels[channel] = None
        if channel.marks:
            self._mark(channel, body)
            if channel.at[0] != channel.counter_id:
                channel.latest.clear()  # Of a life that is over; its places say nothing about this one's.
            channel.latest[type] = ((channel.counter_id, channel.seq), body)
        channel.at = (channel.counter_id, channel.seq)
        recent = channel.recent
        if recent is not None and recent.end == channel.seq - 1:
            recent.append(type, frame)
        if channel.ahead:
            self._pass_to_ahead(channel, type, frame)
        self._flush_soon()

    def _pass_to_ahead(self, channel: Channel, type: str, frame: bytes) -> None:
        for subscriber, seen in list(channel.ahead.items()):
            if channel.seq > seen:  # Only a jump by snapshot gets here: it skipped what the subscriber had seen.
                for each in subscriber.select([(type, frame)]):
                    subscriber.session.push(each)
            if channel.seq >= seen:
                del channel.ahead[subscriber]
                self._enter(channel, subscriber)

    # Frames leave

    def touch(self, session: Any) -> None:
        """`session` has something to be written at the end of this turn."""
        self._dirty_sessions.append(session)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what this turn brought: once per socket."""
        self._flushing = False
        channels, self._dirty_channels = self._dirty_channels, {}
        for channel in channels:
            self._broadcast(channel)
        sessions, self._dirty_sessions = self._dirty_sessions, []
        for session in sessions:
            session.write_out()

    def _broadcast(self, channel: Channel) -> None:
        pending, channel.pending = channel.pending, []
        channel.sent = channel.at
        data = b"".join([frame for _, frame in pending])
        for subscriber in list(channel.members):  # A write can make its session lag, which removes it.
            if subscriber.filters is not None:
                self._write(subscriber, b"".join(subscriber.select(pending)))
            elif subscriber.session.out:
                subscriber.session.out.append(data)
            else:
                subscriber.write(data)
        entering, channel.entering = channel.entering, []
        for subscriber, seen in entering:
            self._write(subscriber, b"".join(subscriber.select(pending[seen:])))
            self._admit(channel, subscriber)

    @staticmethod
    def _write(subscriber: Subscription, data: bytes) -> None:
        """Write `data`, behind what waits for the end of the turn already."""
        if not data:
            return
        if subscriber.session.out:
            subscriber.session.out.append(data)
        else:
            subscriber.write(data)

    # Slow readers

    def lag(self, subscriber: Subscription) -> None:
        """Stop sending it every event: it gets the newest state when `catch` says that it can take it."""
        channel = self._channels.get(subscriber.name)
        if channel is None or subscriber not in channel.members:
            return
        del channel.members[subscriber]
        seen = channel.sent if channel.pending else channel.at
        channel.lagging[subscriber] = seen
        mark = channel.marks.setdefault(seen, Mark())
        mark.lagging += 1
        if channel.pending and mark.first is None:
            mark.first = channel.first_pending
        for left, (type, frame) in enumerate(reversed(channel.pending)):
            place = (channel.counter_id, channel.seq - left)
            if channel.latest.get(type, (seen,))[0] < place:
                channel.latest[type] = (place, text_of(frame))
        if subscriber.rate and subscriber.timer is None:
            subscriber.timer = self._loop.call_later(1 / subscriber.rate, self._due, subscriber)

    def _due(self, subscriber: Subscription) -> None:
        subscriber.timer = None
        self.catch(subscriber)

    def catch(self, subscriber: Subscription) -> None:
        """It can take something again: one event that stands for all it missed."""
        channel = self._channels.get(subscriber.name)
        if channel is None or subscriber not in channel.lagging:
            return
        if subscriber.session.blocked or subscriber.timer is not None:
            return
        seen = channel.lagging.pop(subscriber)
        if seen != channel.at:
            self._make_up(channel, subscriber, seen)
        self._unmark(channel, seen)
        self._enter(channel, subscriber)

    def _make_up(self, channel: Channel, subscriber: Subscription, seen: Place) -> None:
        """Send the newest event that it wants of those after `seen`; it stands for all of them."""
        at, newest = channel.at, channel.last
        if subscriber.filters is not None:
            wanted = subscriber.filters | {"snapshot"}
            missed = [each for type, each in channel.latest.items() if type in wanted and each[0] > seen]
            if not missed:
                return
            at, newest = max(missed)
        operations = at[1] - seen[1] if seen[0] == at[0] else at[1]
        self._write(subscriber, text_frame(coalesce(newest, channel.marks[seen].first, operations)))

    @staticmethod
    def _mark(channel: Channel, body: bytes) -> None:
        """An event has come: remember it for those who lag, if it is the first that they miss."""
        if channel.at[0] != channel.counter_id:
            # Of a life that is over nobody needs to hear any more; this is the first event of the next.
            for mark in channel.marks.values():
                mark.first = body
        else:
            here = channel.marks.get(channel.at)
            if here is not None and here.first is None:
                here.first = body

    def _unmark(self, channel: Channel, seen: Place) -> None:
        mark = channel.marks[seen]
        mark.lagging -= 1
        if not mark.lagging:
            del channel.marks[seen]
            if not channel.marks:
                channel.latest.clear()


def coalesce(newest: bytes, first: bytes | None, operations: int) -> bytes:
    """One event in place of `operations` of them.

    It has the type and the value of the newest and the previous value of the first that was missed.
    """
    event: dict[str, Any] = msgspec.json.decode(newest)
    if operations > 1 and event["type"] != "snapshot":  # A snapshot stands for everything anyway.
        if first is not None:
            event["previousValue"] = msgspec.json.decode(first).get("previousValue", event.get("previousValue"))
        event["operations"] = operations
        event.pop("member", None)  # The likes of others are in it.
        newest = msgspec.json.encode(event)
    return newest


def snapshot(newest: bytes) -> bytes:
    """The state that the newest event, or the owner's snapshot, left behind."""
    state: dict[str, Any] = msgspec.json.decode(newest)
    return msgspec.json.encode(
        {"type": "snapshot", "value": state["value"], "metadata": state["metadata"], "timestamp": state["timestamp"]}
    )


_decode_answer = msgspec.msgpack.Decoder(Burst | Position).decode
