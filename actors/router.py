"""The gateway's way to the hosts: every operation goes to the owner of its name, and comes back answered once.

A `Lane` is the way to one host: its link while there is one, and what waits to be sent. What one turn of the event
loop collects for a host leaves in one frame. When a link ends, everything unanswered on it is sent again with the same
operation ids, to whoever owns the names then; the owner applies no id twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Protocol

import msgspec

from actors.link import GatewayEnd
from actors.messages import (
    Attend,
    Attending,
    Burst,
    Events,
    Heartbeat,
    Hello,
    Operate,
    Operation,
    Position,
    Query,
    Results,
    Status,
    Unwatch,
    Watch,
)
from actors.placement import HostEntry, Placement
from actors.pressure import Lately, Pressure

PENDING_MAX = 50_000  # Calls without an answer, in one gateway. Beyond it callers hear UNAVAILABLE at once.
CROWD_MAX = 10_000  # Of these, for one counter.
DEADLINE_S = 10.0  # A call that nobody answered by then is answered UNAVAILABLE. A lost process is back in 2 to 4 s.
TICK_S = 0.05  # How often deadlines are checked and homeless calls are tried again.
IDLE_TICK_S = 0.5  # The same while nobody waits for anything.
MOVING_S = 1.0  # So long after a change of the table nobody is turned away for the sake of the delay.
SILENCE_S = 1.5  # A link that brings nothing for so long, not even a heartbeat, leads to a frozen host.
RECONNECT_S = 0.02
ASK_AGAIN_S = (1.0, DEADLINE_S + 1)  # After a change of the table: where does what has moved stand now?
ASK_EVERY_S = 1.0  # Changes that follow one another more quickly than this share one question.
UNSETTLED_S = 60.0  # So long after a change of the table somebody may still work by an earlier one.

Deliver = Callable[[int, bytes], None]

log = logging.getLogger("counters.router")


class Directory(Protocol):
    """Where the table comes from and complaints go to."""

    placement: Placement

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever there is a newer table."""
        ...

    def report(self, host: HostEntry) -> None:
        """Say that a host seems to be gone."""
        ...

    def dedicate(self, name: str) -> None:
        """Ask for a host of its own for `name`."""
        ...

    async def admin(self, method: str, *arguments: Any) -> Any:
        """Have the supervisor do something and return what it says. Raises Unavailable when it is away."""
        ...

    async def timer(self, method: str, *arguments: Any) -> Any:
        """Have the timer do something and return what it says. Raises Unavailable when it is away."""
        ...


class Listener(Protocol):
    """What a gateway does with the events of watched counters."""

    def publish(self, burst: Burst) -> None:
        """Take consecutive events of one counter."""
        ...

    def place(self, position: Position) -> None:
        """Take the place of one counter."""
        ...

    def position(self, name: str) -> tuple[int, int]:
        """Counter id and seq of the last event seen; (-1, 0): none yet."""
        ...

    def sessions(self, names: Sequence[str], whole: bool) -> list[tuple[str, int, list[bytes]]]:
        """For each name how many sessions listen to it and, if `whole`, each of them as JSON."""
        ...


class _Pending:
    """A call that has no answer yet."""

    __slots__ = ("deadline", "deliver", "lane", "message", "once", "telling")

    def __init__(self, message: Operation | Query, deliver: Deliver, deadline: float, once: bool = False) -> None:
        self.message = message
        self.deliver = deliver
        self.deadline = deadline
        self.telling = True  # How long it takes tells how busy its host is.
        self.once = once  # It is for one host and no other: what that cannot answer, nobody can.
        self.lane: _Lane | None = None  # Set while it is on its way on a link.


class _Lane:
    """The way to one host."""

    def __init__(self, entry: HostEntry) -> None:
        self.entry = entry
        self.end: GatewayEnd | None = None
        self.operations: list[Operation] = []
        self.queries: list[Query] = []
        self.names: dict[str, None] = {}  # What is watched at this host,
        self.watches: dict[str, None] = {}  # of these, what it is to be told at the end of this turn,
        self.unwatches: list[str] = []  # and what nobody listens to any more.
        self.heard_at = 0.0
        self.under_way = 0  # Calls that were sent on its link and are not answered.
        self.pressure = Pressure()
        self.task: asyncio.Task[None] | None = None


class Router:
    """Sends operations and queries to their owners and keeps watch on counters, across moves and crashes."""

    def __init__(self, gateway: str, node: str, secret: str, directory: Directory, listener: Listener) -> None:
        self._gateway = gateway
        self._node = node
        self._secret = secret
        self._directory = directory
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._tags = count(1)
        self._links = count(1)
        self._pending: dict[int, _Pending] = {}  # In the order of their deadlines.
        self._lanes: dict[str, _Lane] = {}
        self._homeless: list[Operation | Query] = []
        self._watched: dict[str, _Lane | None] = {}  # Name → where it is watched; None: there is no host for it now.
        self.pressed = False  # Not everybody is admitted.
        self._full: set[_Lane] = set()  # Those on which new calls would only wait.
        self._crowded: frozenset[str] = frozenset()  # Counters with too many calls under way.
        self._lately = Lately()  # Counters that were operated on, and so are awake.
        self._flushing = False
        self._placement = Placement.empty()
        self._moved_at = -MOVING_S
        self._past: deque[tuple[float, Placement]] = deque()  # Until when they were in force.
        self._doubts: dict[float, deque[tuple[float, Placement]]] = {after: deque() for after in ASK_AGAIN_S}
        self._again: dict[float, asyncio.TimerHandle] = {}
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        directory.subscribe(self._follow)
        self._follow()

    def submit(self, operation: Operation, deliver: Deliver) -> None:
        """Have `operation` applied once. `deliver(status, body)` is called exactly once, never with MOVED."""
        if len(self._pending) >= PENDING_MAX:
            self._loop.call_soon(deliver, Status.UNAVAILABLE, b"")
            return
        tag = operation.tag = next(self._tags)
        call = self._pending[tag] = _Pending(operation, deliver, self._loop.time() + DEADLINE_S)
        if not self._lately.add(operation.name):
            call.telling = False  # It wakes its counter, which takes its time.
        self._route(operation)

    def admits(self, name: str, wakes: bool = True) -> bool:
        """Whether a call for `name` is worth sending; to be asked when `pressed`.

        If not, nothing has happened, and the caller should hear so at once. What wakes a counter is let in: it is no
        overload when many wake up. `wakes` is False for questions.
        """
        if name in self._crowded:
            return False
        owner = self._placement.owner(name)
        lane = self._lanes.get(owner) if owner is not None else None
        if lane is None or lane not in self._full or (wakes and name not in self._lately):
            return True
        lane.pressure.refused = True
        return False

    def ask(self, query: Query, deliver: Deliver) -> None:
        """Have `query` answered. `deliver(status, body)` is called exactly once."""
        if len(self._pending) >= PENDING_MAX:
            self._loop.call_soon(deliver, Status.UNAVAILABLE, b"")
            return
        tag = query.tag = next(self._tags)
        self._pending[tag] = _Pending(query, deliver, self._loop.time() + DEADLINE_S)
        self._route(query)

    def ask_all(self, query: Query, deliver: Callable[[list[tuple[int, bytes]]], None]) -> None:
        """Ask every host. `deliver` is called once, with all answers; a host that cannot answer is UNAVAILABLE."""
        lanes = list(self._lanes.values())
        answers: list[tuple[int, bytes]] = []

        def take(status: int, body: bytes) -> None:
            answers.append((status, body))
            if len(answers) == len(lanes):
                deliver(answers)

        for lane in lanes:
            each = msgspec.structs.replace(query, tag=next(self._tags))
            self._pending[each.tag] = _Pending(each, take, self._loop.time() + DEADLINE_S, once=True)
            lane.queries.append(each)
        if lanes:
            self._flush_soon()
        else:
            self._loop.call_soon(deliver, answers)

    def watch(self, name: str) -> None:
        """Bring the events of `name` to the listener from now on. That alone gives no counter a host of its own."""
        keeper = self._placement.keeper(name)
        self._watch_at(self._lanes.get(keeper) if keeper is not None else None, name)

    def unwatch(self, name: str) -> None:
        """No more events of `name`."""
        lane = self._watched.pop(name, None)
        if lane is not None:
            del lane.names[name]
            lane.watches.pop(name, None)
            lane.unwatches.append(name)
            self._flush_soon()

    def rewatch(self, name: str) -> None:
        """Ask again for the events after the listener's position: there is a gap."""
        if name in self._watched:
            self.watch(name)

    @property
    def ready(self) -> bool:
        """True when there are hosts and a link to each of them."""
        lanes = self._lanes.values()
        return bool(lanes) and all(lane.end is not None for lane in lanes)

    @property
    def pending(self) -> int:
        """Calls without an answer."""
        return len(self._pending)

    async def close(self) -> None:
        """End all links. Calls without an answer are answered UNAVAILABLE."""
        for timer in (self._ticker, *self._again.values()):
            timer.cancel()
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            self._abandon(lane)
        pending, self._pending = self._pending, {}
        for each in pending.values():
            each.deliver(Status.UNAVAILABLE, b"")

    # To the hosts

    def _route(self, message: Operation | Query) -> None:
        placement = self._placement
        names = message.names if isinstance(message, Query) else None
        if names is None:
            owner = placement.owner(message.name)  # type: ignore[union-attr]
        else:
            owner = (placement.keeper(names[0]) if len(names) == 1 else None) or placement.any_host()
        lane = self._lanes.get(owner) if owner is not None else None
        if lane is None:
            if owner is None and names is None:
                self._directory.dedicate(message.name)  # type: ignore[union-attr]
            self._leave_homeless(message)
            return
        if isinstance(message, Operation):
            lane.operations.append(message)
        else:
            lane.queries.append(message)
        if lane.under_way + len(lane.operations) >= lane.pressure.limit:
            self._judge(lane)
        self._flush_soon()

    def _judge(self, lane: _Lane) -> None:
        """See whether new calls to this host would only wait.

        Where there is no link, or nothing is answered any more, they may: it is for the host that will be the next.
        So may they when counters have just moved: to be loaded at a new place takes a moment, and passes.
        """
        now = self._loop.time()
        waiting = lane.under_way + len(lane.operations) + len(lane.queries)
        slow = lane.end is not None and not lane.pressure.stalled(now) and now - self._moved_at > MOVING_S
        if slow and waiting >= lane.pressure.limit:
            self._full.add(lane)
        else:
            self._full.discard(lane)
        self.pressed = bool(self._full or self._crowded)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for lane in self._lanes.values():
            if lane.end is not None:
                self._send_watches(lane, lane.end)
                if lane.end.writable:
                    self._send(lane, lane.end)

    def _send_watches(self, lane: _Lane, end: GatewayEnd) -> None:
        if lane.unwatches:
            names, lane.unwatches = lane.unwatches, []
            end.send(Unwatch(names))
        if lane.watches:
            watches, lane.watches = lane.watches, {}
            by_claim: dict[bool, list[tuple[str, int, int]]] = {}
            for name in watches:
                by_claim.setdefault(self._unsettled(name), []).append((name, *self._listener.position(name)))
            for claim, positions in by_claim.items():
                end.send(Watch(positions, claim))

    def _send(self, lane: _Lane, end: GatewayEnd) -> None:
        pending = self._pending
        if lane.operations:
            operations, lane.operations = lane.operations, []
            live = []
            for operation in operations:
                call = pending.get(operation.tag)
                if call is not None:  # Else its caller has been told by now that nobody knows.
                    call.lane = lane
                    live.append(operation)
            if live:
                end.send(Operate(self._placement.version, live))
                if not lane.under_way:
                    lane.pressure.begun(self._loop.time())
                lane.under_way += len(live)
        if lane.queries:
            queries, lane.queries = lane.queries, []
            for query in queries:
                call = pending.get(query.tag)
                if call is not None:
                    end.send(query)
                    call.lane = lane
                    lane.under_way += 1

    # From the hosts

    def _receive(self, lane: _Lane, message: Any) -> None:
        lane.heard_at = self._loop.time()
        if isinstance(message, Results):
            pending = self._pending
            self._measure(lane, message.results)
            for tag, status, body in message.results:
                if status == Status.OK or status == Status.REFUSED:
                    call = pending.pop(tag, None)
                    if call is not None:
                        call.deliver(status, body)
                else:
                    self._try_again(lane, tag, status)
        elif isinstance(message, Events):
            for burst in message.bursts:
                self._listener.publish(burst)
        elif isinstance(message, Position):
            self._listener.place(message)
        elif isinstance(message, Attend):
            if lane.end is not None:
                lane.end.send(Attending(message.tag, self._listener.sessions(message.names, message.whole)))
        elif isinstance(message, Heartbeat):
            pass

    def _measure(self, lane: _Lane, results: list[tuple[int, int, bytes]]) -> None:
        now = lane.heard_at
        call = self._pending.get(results[0][0]) if results else None
        delay = now - (call.deadline - DEADLINE_S) if call is not None and call.telling else None
        lane.pressure.answered(now, delay, lane.under_way)
        lane.under_way -= len(results)
        if self._full:
            self._judge(lane)

    def _try_again(self, lane: _Lane, tag: int, status: int) -> None:
        call = self._pending.get(tag)
        if call is None:
            return
        call.lane = None
        call.telling = False
        message = call.message
        if isinstance(message, Operation):
            if status == Status.UNAVAILABLE:
                message.repeated = True  # A commit that failed may have happened all the same.
            elif self._placement.owner(message.name) != lane.entry.id:
                self._route(message)  # We know of the move by now; else our table is older than the host's.
                return
        self._leave_homeless(message)

    def _leave_homeless(self, message: Operation | Query) -> None:
        """Nobody takes it now; it is tried again in a moment."""
        if not self._homeless:
            self._ticker.cancel()
            self._ticker = self._loop.call_later(TICK_S, self._tick)
        self._homeless.append(message)

    # Time

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK_S if self._pending else IDLE_TICK_S, self._tick)
        now = self._loop.time()
        late = []
        for tag, call in self._pending.items():
            if call.deadline > now:
                break
            late.append(tag)
        for tag in late:
            self._pending.pop(tag).deliver(Status.UNAVAILABLE, b"")
        self._lately.roll(now)
        self._count_crowds()
        for lane in list(self._full):
            self._judge(lane)
        if self._homeless:
            self._rehouse()
        for lane in self._lanes.values():
            if lane.end is not None and now - lane.heard_at > SILENCE_S:
                lane.heard_at = now
                log.warning("action=suspect host=%s reason=silent", lane.entry.id)
                self._directory.report(lane.entry)

    def _count_crowds(self) -> None:
        """Find the counters that have too many calls under way, so that one of them cannot take the place of all."""
        crowded: frozenset[str] = frozenset()
        if len(self._pending) > CROWD_MAX:
            operations = (call.message for call in self._pending.values() if isinstance(call.message, Operation))
            names = Counter(operation.name for operation in operations)
            crowded = frozenset(name for name, count in names.items() if count > CROWD_MAX)
        self._crowded = crowded
        self.pressed = bool(self._full or crowded)

    def _rehouse(self) -> None:
        homeless, self._homeless = self._homeless, []
        for message in homeless:
            call = self._pending.get(message.tag)
            if call is None:
                continue
            if call.once:
                self._pending.pop(message.tag).deliver(Status.UNAVAILABLE, b"")
            else:
                self._route(message)

    # Links

    def _follow(self) -> None:
        """The table has changed: open and close lanes, and let everything that waits look for its host again."""
        before, self._placement = self._placement, self._directory.placement
        if self._placement.table.previous != before.version:
            before = Placement.empty()  # We have missed a table, in which anything may have been elsewhere.
        hosts = self._placement.hosts
        for id, lane in list(self._lanes.items()):
            if hosts.get(id) != lane.entry:
                del self._lanes[id]
                self._abandon(lane)
        for id, entry in hosts.items():
            if id not in self._lanes:
                lane = self._lanes[id] = _Lane(entry)
                lane.task = self._loop.create_task(self._connect(lane))
        for lane in self._lanes.values():
            self._homeless += lane.operations
            self._homeless += lane.queries
            lane.operations, lane.queries = [], []
        self._rehouse()
        now = self._moved_at = self._loop.time()
        for lane in self._lanes.values():
            lane.pressure.relax()
        self._past.append((now, before))
        while now - self._past[0][0] > UNSETTLED_S:
            self._past.popleft()
        self._move_watches(before)
        for after, doubts in self._doubts.items():
            doubts.append((now + after, before))
            if len(doubts) == 1:
                self._again[after] = self._loop.call_later(after, self._ask_again, after)

    def _move_watches(self, *before: Placement) -> None:
        """Watch what has moved since `before` at its new place; at the old one it is watched until that lets go of it.

        Make before break: an owner that follows the table late may still commit, and its events are owed.
        """
        for name in {name: None for past in before for name in self._placement.moved(past, self._watched)}:
            self.watch(name)

    def _ask_again(self, after: float) -> None:
        """Ask where that stands which moved so long ago: by now nobody works by an earlier table any more.

        An owner that was frozen while its links were cut may commit when it thaws, and tells nobody.
        """
        now, doubts = self._loop.time(), self._doubts[after]
        due = []
        while doubts and doubts[0][0] <= now + TICK_S:
            due.append(doubts.popleft()[1])
        self._move_watches(*due)
        if doubts:
            self._again[after] = self._loop.call_at(max(doubts[0][0], now + ASK_EVERY_S), self._ask_again, after)

    def _watch_at(self, lane: _Lane | None, name: str) -> None:
        before = self._watched.get(name)
        if before is not None and before is not lane:
            del before.names[name]
            before.watches.pop(name, None)
        self._watched[name] = lane
        if lane is not None:
            lane.names[name] = lane.watches[name] = None
            self._flush_soon()

    def _unsettled(self, name: str) -> bool:
        """True while somebody may still take `name` for his own by an earlier table."""
        now, process = self._loop.time(), self._placement.process(name)
        return any(now - until < UNSETTLED_S and past.process(name) != process for until, past in self._past)

    async def _connect(self, lane: _Lane) -> None:
        entry = lane.entry

        def end() -> GatewayEnd:
            hello = Hello(self._secret, self._gateway, next(self._links))
            return GatewayEnd(hello, lambda message: self._receive(lane, message), lambda _: self._ended(lane))

        while True:
            try:
                if entry.unix is not None and entry.node == self._node:
                    _, protocol = await self._loop.create_unix_connection(end, entry.unix)
                else:
                    host, _, port = (entry.tcp or "").rpartition(":")
                    _, protocol = await self._loop.create_connection(end, host, int(port))
                break
            except OSError:
                self._directory.report(entry)
                await asyncio.sleep(RECONNECT_S)
        lane.end = protocol
        lane.heard_at = self._loop.time()
        protocol.on_drained = self._flush
        lane.watches, lane.unwatches = dict(lane.names), []
        self._send_watches(lane, protocol)
        self._send(lane, protocol)
        log.info("action=link_open host=%s", lane.entry.id)

    def _ended(self, lane: _Lane) -> None:
        """The link is gone: whatever it carried may or may not have happened."""
        if self._lanes.get(lane.entry.id) is not lane:
            return  # We ended it ourselves.
        log.warning("action=link_lost host=%s", lane.entry.id)
        self._directory.report(lane.entry)
        self._abandon(lane)
        fresh = self._lanes[lane.entry.id] = _Lane(lane.entry)
        for name in list(lane.names):
            self._watch_at(fresh, name)
        fresh.task = self._loop.create_task(self._connect(fresh))
        self._rehouse()

    def _abandon(self, lane: _Lane) -> None:
        """Take back everything that went this way or was about to."""
        if lane.task is not None:
            lane.task.cancel()
        end, lane.end = lane.end, None
        self._judge(lane)
        for call in self._pending.values():
            if call.lane is lane:
                call.lane = None
                call.telling = False
                if isinstance(call.message, Operation):
                    call.message.repeated = True
                self._homeless.append(call.message)
        self._homeless += lane.operations
        self._homeless += lane.queries
        lane.operations, lane.queries = [], []
        if end is not None:
            end.close()
