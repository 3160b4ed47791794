"""The hub: which sessions listen to which counter, and the way of an event to all of them.

An event arrives as JSON, becomes one frame, and the same bytes go to every socket. Frames that arrive in one turn of
the event loop are joined, so a socket is written to once a turn, however many events there were.

The hub vouches for the order: a channel accepts the event that follows its seq and no other. At a gap it asks for what
is missing and lets nothing pass until that has come.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

import msgspec

from actors.messages import Burst, Position, Query, Status
from gateway.frames import text_frame
from gateway.session import Session

log = logging.getLogger("counters.hub")


class Watching(Protocol):
    """What the hub needs of the router."""

    def watch(self, name: str) -> None: ...

    def unwatch(self, name: str) -> None: ...

    def rewatch(self, name: str) -> None: ...

    def ask(self, query: Query, deliver: Any) -> None: ...


class Channel:
    """Everybody who listens to one counter, and how far its events have come."""

    __slots__ = (
        "catching_up",
        "counter_id",
        "joining",
        "lagging",
        "last",
        "marks",
        "members",
        "name",
        "opening",
        "pending",
        "placed",
        "seq",
        "wanted",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.counter_id = -1
        self.seq = 0
        self.placed: asyncio.Event = asyncio.Event()  # The owner knows that we listen.
        self.opening = 0  # Sessions on their way in.
        self.catching_up = False
        self.members: dict[Session, None] = {}  # Get every event, in the order in which they came.
        self.joining: dict[Session, int] = {}  # Have seen everything up to this seq, which may lie ahead of ours.
        self.lagging: dict[Session, int] = {}  # Cannot or do not want every event; seq of the last one they were sent.
        self.pending: list[tuple[str, bytes]] = []  # Type and frame of events that this turn brought.
        self.last: bytes = b""  # The newest event.
        self.wanted: set[int] = set()  # Seqs of events that somebody who lags will be the first to miss,
        self.marks: dict[int, bytes] = {}  # and those events, once they have come.

    @property
    def empty(self) -> bool:
        return not (self.members or self.joining or self.lagging or self.opening)


class Hub:
    """All channels of one gateway."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}
        self._loop = asyncio.get_running_loop()
        self._dirty_channels: dict[Channel, None] = {}
        self._dirty_sessions: list[Session] = []
        self._flushing = False
        self._router: Watching | None = None

    def connect(self, router: Watching) -> None:
        """Name the router. It and the hub know each other, so one of them has to come second."""
        self._router = router

    @property
    def sessions(self) -> int:
        """Sessions that listen to anything."""
        return sum(len(c.members) + len(c.joining) + len(c.lagging) for c in self._channels.values())

    # Sessions come and go

    async def open(self, name: str, patience_s: float) -> None:
        """Have the owner of `name` know that we listen, so that a session that joins now misses nothing after."""
        channel = self._channel(name)
        channel.opening += 1
        if not channel.placed.is_set():
            try:
                await asyncio.wait_for(channel.placed.wait(), patience_s)
            except TimeoutError:
                # The owner is away. The session is welcome all the same: what it misses is made up for at the gap.
                log.warning("action=open_unplaced name=%s", name)

    def opened(self, name: str) -> None:
        """What `open` began is over, whether a session has joined or not."""
        channel = self._channels[name]
        channel.opening -= 1
        self._drop_if_empty(channel)

    def join(self, session: Session, snapshot: bool = False, since: int | None = None) -> None:
        """Send `session` the events of its counter from now on, if asked with what was before."""
        channel = self._channel(session.name)
        if since is None and not snapshot:
            self._admit(channel, session)
            return
        channel.joining[session] = -1
        kind = "snapshot" if since is None else "missed"
        self._ask(session, Query(0, kind, [session.name], before=since))

    def leave(self, session: Session) -> None:
        """Forget `session`."""
        channel = self._channels.get(session.name)
        if channel is None:
            return
        channel.members.pop(session, None)
        channel.joining.pop(session, None)
        channel.lagging.pop(session, None)
        self._drop_if_empty(channel)

    def _drop_if_empty(self, channel: Channel) -> None:
        if channel.empty:
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

    def _admit(self, channel: Channel, session: Session) -> None:
        if session.rate:
            self.lag(session)
        else:
            channel.members[session] = None

    def _ask(self, session: Session, query: Query) -> None:
        assert self._router is not None
        self._router.ask(query, lambda status, body: self._answered(session, query, status, body))

    def _answered(self, session: Session, query: Query, status: int, body: bytes) -> None:
        channel = self._channels.get(session.name)
        if channel is None or session not in channel.joining:
            return  # Gone meanwhile.
        if status != Status.OK:
            self._ask(session, query)  # The deadline of a question is long enough to wait between two of them.
            return
        answer: Burst | Position = _decode_answer(body)
        if isinstance(answer, Position):
            session.push(text_frame(answer.snapshot))
            seen = answer.seq
        else:
            for frame in session.select(zip(answer.types, map(text_frame, answer.bodies), strict=True)):
                session.push(frame)
            seen = answer.seq + len(answer.bodies) - 1
        if seen < channel.seq and answer.counter_id == channel.counter_id:
            self._ask(session, Query(0, "missed", [session.name], before=seen))  # Answered by an earlier owner.
        else:
            channel.joining[session] = seen  # The channel is there, or will be.
            self._loop.call_soon(self._graduate, channel, session)

    # Events come

    def position(self, name: str) -> tuple[int, int]:
        channel = self._channels.get(name)
        return (-1, 0) if channel is None else (channel.counter_id, channel.seq)

    def place(self, position: Position) -> None:
        channel = self._channels.get(position.name)
        if channel is None:
            return
        channel.placed.set()
        channel.catching_up = False
        if channel.counter_id == -1:
            channel.counter_id, channel.seq = position.counter_id or -1, position.seq
        elif (position.counter_id, position.seq) > (channel.counter_id, channel.seq):
            # Too much was missed, or the counter was deleted and made anew. The newest state stands for all of it.
            channel.counter_id, channel.seq = position.counter_id, position.seq
            self._pass_on(channel, "snapshot", position.snapshot)

    def publish(self, burst: Burst) -> None:
        channel = self._channels.get(burst.name)
        if channel is None:
            return
        channel.placed.set()
        skip = 0
        if burst.counter_id == channel.counter_id:
            skip = channel.seq + 1 - burst.seq
            if skip < 0:
                self._catch_up(channel)
                return
        elif channel.counter_id != -1 and (burst.counter_id < channel.counter_id or burst.seq != 1):
            if burst.counter_id > channel.counter_id:
                self._catch_up(channel)
            return
        channel.catching_up = False
        channel.counter_id = burst.counter_id
        first = burst.seq
        for offset in range(skip, len(burst.bodies)):
            channel.seq = first + offset
            self._pass_on(channel, burst.types[offset], burst.bodies[offset])

    def _catch_up(self, channel: Channel) -> None:
        if not channel.catching_up and self._router is not None:
            channel.catching_up = True
            log.info("action=catch_up name=%s after=%d", channel.name, channel.seq)
            self._router.rewatch(channel.name)

    def _pass_on(self, channel: Channel, type: str, body: bytes) -> None:
        frame = text_frame(body)
        channel.last = body
        channel.pending.append((type, frame))
        self._dirty_channels[channel] = None
        if channel.seq in channel.wanted:
            channel.wanted.discard(channel.seq)
            channel.marks[channel.seq] = body
        if channel.joining:
            self._pass_to_joining(channel, type, frame)
        self._flush_soon()

    def _pass_to_joining(self, channel: Channel, type: str, frame: bytes) -> None:
        for session, seen in list(channel.joining.items()):
            if seen == -1:
                continue  # Its question is not answered yet; the answer will cover this event.
            if channel.seq > seen:
                for each in session.select([(type, frame)]):
                    session.push(each)
                channel.joining[session] = seen = channel.seq
            if channel.seq == seen:
                # From the next turn on: this turn's frames are on their way to the members already.
                self._loop.call_soon(self._graduate, channel, session)

    def _graduate(self, channel: Channel, session: Session) -> None:
        if channel.joining.get(session, -1) == channel.seq and not channel.pending:
            del channel.joining[session]
            self._admit(channel, session)

    # Frames leave

    def touch(self, session: Session) -> None:
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
        data = b"".join([frame for _, frame in pending])
        for session in list(channel.members):  # A write can make its session lag, which removes it.
            if session.filters is not None:
                part = b"".join(session.select(pending))
                if part:
                    session.write(part)
            elif session.out:
                session.out.append(data)
            else:
                session.write(data)

    # Slow readers

    def lag(self, session: Session) -> None:
        """Stop sending `session` every event: it gets the newest state when `catch` says that it can take it."""
        channel = self._channels.get(session.name)
        if channel is None or session in channel.joining:
            return
        channel.members.pop(session, None)
        if session not in channel.lagging:
            channel.lagging[session] = channel.seq
            channel.wanted.add(channel.seq + 1)
        if session.rate:
            self._loop.call_later(1 / session.rate, self.catch, session)

    def catch(self, session: Session) -> None:
        """`session` can take something again: one event that stands for all it missed."""
        channel = self._channels.get(session.name)
        if channel is None or session not in channel.lagging or session.blocked:
            return
        seen = channel.lagging.pop(session)
        missed = channel.seq - seen
        if missed > 0:
            event = coalesce(channel.last, channel.marks.get(seen + 1), missed)
            if not channel.lagging:
                channel.wanted.clear()
                channel.marks.clear()
            if session.select([(event[0], b"")]):
                session.write(text_frame(event[1]))
        if session.blocked or session.rate:
            self.lag(session)
        else:
            channel.members[session] = None


def coalesce(newest: bytes, first: bytes | None, operations: int) -> tuple[str, bytes]:
    """The type and the body of one event in place of `operations` of them.

    It has the type and the value of the newest and the previous value of the first that was missed.
    """
    event: dict[str, Any] = msgspec.json.decode(newest)
    if operations > 1:
        if first is not None:
            event["previousValue"] = msgspec.json.decode(first).get("previousValue", event.get("previousValue"))
        event["operations"] = operations
        newest = msgspec.json.encode(event)
    return event["type"], newest


_decode_answer = msgspec.msgpack.Decoder(Burst | Position).decode
