"""A host: one event loop that runs counters, one storage thread that makes them durable.

Operations gather in the inbox while the disk works on the round before; that is the group commit. Counters are loaded
when the first operation for them arrives, and hibernate when none has come for a while: everything of theirs is in
storage, and whoever is connected to them is connected to a gateway. This is ordinary Python without Ray:
`actors.runtime` makes it an actor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from actors import queries
from actors.activation import Activation
from actors.attendance import Attendance, Present
from actors.clock import Clock, SystemClock, iso
from actors.core.deadline import Moment
from actors.core.lifecycle import Event
from actors.core.lifecycle import State as Life
from actors.core.policy import Policies
from actors.inbox import TIMED, TIMED_REST, TIMED_REST_MAX_S, Answerer, Call, Inbox
from actors.link import HostEnd
from actors.members import Members
from actors.messages import Attending, Burst, Operate, Operation, Position, Query, Status, Unwatch, Watch
from actors.mirrored import Standing
from actors.placement import Placement
from actors.queries import State
from actors.residents import HIBERNATE_AFTER_S, RESIDENT_MAX, Residents
from actors.round import Prepared, Repetition, Round, conclude, prepare
from actors.stand_in import StandIn
from actors.watchers import Watchers
from storage.errors import StorageError
from storage.records import CounterRecord
from storage.store import Store
from storage.thread import StorageThread

AUDIT_S = 5.0  # One query for all that is resident: 10 ms for 10,000 counters.
TELL_AGAIN_S = 0.5
PLACED_MAX = 50  # Positions told in one turn of the loop: a gateway may ask for thousands, and operations would wait.
PLAIN = frozenset({"increment", "decrement", "setValue", "reset"})  # They want nothing of storage but their commit.
WARY_S = 1.0  # After an operation that came again: for so long every id is looked up first.
INBOX_MAX = 20_000  # Operations waiting. Then links are not read until half of them are done.
HEARTBEAT_S = 0.5  # Gateways give up on a silent host after three of them.
STUCK_BEATS = 2  # Storage that works on one call for so many heartbeats may wait for somebody who is stopped.

log = logging.getLogger("counters.host")


class Mirrors(Protocol):
    """Somebody who shows elsewhere what is committed here; see `actors.mirror`."""

    def begin(self, steady: int) -> None: ...

    def load(self, standings: Iterable[tuple[str, Standing]]) -> None: ...

    def take(self, steady: int, standings: Iterable[tuple[str, Standing]], bursts: Iterable[Burst]) -> None: ...

    def doubt(self, steady: int, names: Mapping[str, Standing | None]) -> None: ...

    def figures(self) -> dict[str, float]: ...


class Host:
    """Runs the counters that the placement table gives it.

    A counter without operations for `hibernate_after` seconds leaves memory; so do the longest idle ones beyond
    `max_resident`. `on_asleep` hears the name of each. `on_newer` hears that storage has seen a newer table.
    `tell_touched` is for whoever asks for `touched`. `mirror` is told of everything that is committed.
    """

    def __init__(
        self,
        id: str,
        store: Store,
        clock: Clock | None = None,
        *,
        hibernate_after: float = HIBERNATE_AFTER_S,
        max_resident: int = RESIDENT_MAX,
        policies: Policies | None = None,
        on_asleep: Callable[[str], None] | None = None,
        on_newer: Callable[[int], None] | None = None,
        tell_touched: bool = False,
        mirror: Mirrors | None = None,
    ) -> None:
        self.id = id
        self._policies = policies or Policies()
        self._on_asleep = on_asleep
        self._on_newer = on_newer
        self._store = store
        self._clock = clock or SystemClock()
        self._placement = Placement.empty()
        self._lost: frozenset[str] = frozenset()  # Not ours, whatever our table says.
        self._storage = StorageThread()
        self._inbox = Inbox()
        self._wary_until = 0.0
        self._arrived = asyncio.Event()
        self._rest = asyncio.Event()  # Nothing is left to do.
        self._early: list[tuple[Answerer, Operation]] = []  # Ours by a table that we have not seen yet.
        self._residents = Residents(hibernate_after, max_resident, tell_touched)
        self._activations = self._residents.by_name
        self._members = Members()
        self._loading: frozenset[str] = frozenset()
        self._stand_in = StandIn(id, self._clock, self._due, self.expire)
        self._mirror = mirror
        self._attendance = Attendance()
        self._watchers = Watchers()
        self._heard: Container[str] = self._watchers if mirror is None else _Everybody()
        self._links: set[HostEnd] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False
        self._moved = False
        self._sleepy = False

    # What arrives

    def link_opened(self, link: HostEnd) -> None:
        # Of two links to one gateway, the older was given up. What it may still bring comes again on the newer one, and
        # there it may have arrived already.
        for each in [each for each in self._links if each.gateway == link.gateway]:
            if each.number < link.number:
                each.close()
            elif each.number > link.number:
                link.close()
        self._links.add(link)
        if self._paused:
            link.pause()
        log.info("action=link_opened host=%s gateway=%s", self.id, link.gateway)

    def link_closed(self, link: HostEnd) -> None:
        self._links.discard(link)
        self._watchers.forget(link)
        self._early = [call for call in self._early if call[0] is not link]  # They are sent again, perhaps elsewhere.
        self._attendance.link_closed(link)
        log.info("action=link_closed host=%s gateway=%s", self.id, link.gateway)

    def receive(self, link: HostEnd, message: Any) -> None:
        """Take one record from a link."""
        if isinstance(message, Operate):
            self._admit(link, message.version, message.operations)
        elif isinstance(message, Query):
            self._spawn(self._answer(link, message))
        elif isinstance(message, Watch):
            # At once: what takes it back may come with the next record.
            self._watchers.add([name for name, _, _ in message.positions], link)
            self._spawn(self._watch(link, message.positions, message.claim))
        elif isinstance(message, Unwatch):
            self._watchers.remove(message.names, link)
        elif isinstance(message, Attending):
            self._attendance.take(message)

    def _admit(self, answerer: Answerer, version: int, operations: Sequence[Operation]) -> None:
        if version == self._placement.version:
            for operation in operations:
                self._inbox.add((answerer, operation))
        else:
            self._sort([(answerer, operation) for operation in operations], version > self._placement.version)
        self._arrived.set()
        if len(self._inbox) > INBOX_MAX and not self._paused:
            self._paused = True
            for each in self._links:
                each.pause()

    def _sort(self, calls: Iterable[Call], early: bool = False) -> None:
        """Take what is ours by our table. The rest goes back, or waits for the newer one that its sender has."""
        for answerer, operation in calls:
            if self._owns(operation.name):
                self._inbox.add((answerer, operation))
            elif early and len(self._early) < INBOX_MAX:
                self._early.append((answerer, operation))
            else:
                answerer.answer(operation.tag, Status.MOVED, b"")

    async def operate(self, version: int, operations: Sequence[Operation]) -> list[tuple[int, int, bytes]]:
        """The Ray door: apply operations that were addressed by this version of the table.

        Returns (tag, status, body) for each, in any order.
        """
        if operations and operations[0].type in TIMED:
            self._stand_in.timer_asked()
        return await self._call(version, operations)

    async def _call(self, version: int, operations: Sequence[Operation]) -> list[tuple[int, int, bytes]]:
        door = _Door(len(operations))
        self._admit(door, version, operations)
        return await door.answers

    async def query(self, query: Query) -> tuple[int, bytes]:
        """Answer a question."""
        if query.kind == "sessions":
            return await self._sessions(query)
        if query.kind == "awake":
            return Status.OK, await self._awake()
        if query.kind == "figures":
            return Status.OK, self._figures()
        now = self._now()
        resident = {name: state for name in query.names if (state := self._state(name)) is not None}
        if query.kind == "metadata":
            for name, state in resident.items():
                activation = self._activations[name]
                resident[name] = state._replace(policy=activation.counter.policy, resets_at=activation.resets_at(now))
        try:
            return await self._storage.call(queries.answer, self._store, query, resident, self._policies, now)
        except StorageError as error:
            log.warning("action=query_failed host=%s kind=%s error=%s", self.id, query.kind, error)
            return Status.UNAVAILABLE, b""

    def place(self, placement: Placement) -> None:
        """Follow a newer table: counters that now belong elsewhere leave before the next round.

        So do all of them when a table was missed: in between, somebody else may have been their owner.
        """
        missed = placement.table.previous != self._placement.version
        self._placement = placement
        self._lost = frozenset()
        self._moved = True
        for name, activation in self._activations.items():
            if missed or not self._owns(name):
                activation.on(Event.MOVED)
        # What waits was admitted under an older table, and would take these counters back from their new owner.
        waiting = [*self._inbox.empty(), *self._early]
        self._early.clear()
        self._sort(waiting)
        self._arrived.set()

    async def finished(self) -> None:
        """Return when everything that has arrived so far is done, and what is not ours any more has left."""
        self._rest.clear()
        self._arrived.set()
        await self._rest.wait()

    @property
    def resident(self) -> int:
        """Counters in memory."""
        return len(self._activations)

    # The loop

    async def run(self) -> None:
        """Work until cancelled."""
        self._spawn(self._beat())
        self._spawn(self._audit())
        self._spawn(self._stand_in.run())
        try:
            while True:
                if not (self._inbox.ready or self._moved or self._sleepy):
                    if not self._inbox:
                        self._rest.set()
                    self._arrived.clear()
                    await self._arrived.wait()
                if self._moved:
                    self._release()
                if self._sleepy:
                    self._hibernate()
                begun, rested = self._clock.monotonic(), self._inbox.rests
                await self._round(self._take())
                if self._inbox.rests and not rested:
                    rest = (self._clock.monotonic() - begun) * TIMED_REST
                    asyncio.get_running_loop().call_later(min(rest, TIMED_REST_MAX_S), self._rested)
                if self._residents.surplus > 0:
                    self._sleepy = True
        finally:
            for task in self._tasks:
                task.cancel()
            self._storage.close()
            self._store.close()

    def _rested(self) -> None:
        self._inbox.rests = False
        self._arrived.set()

    async def _beat(self) -> None:
        call = looks = 0
        while True:
            for link in self._links:
                link.beat(self._placement.version)
            looks = looks + 1 if self._storage.under_way == call else 0
            call = self._storage.under_way
            if call and looks >= STUCK_BEATS:
                self._store.free()
            if self._activations:
                self._sleepy = True
                self._arrived.set()
            await asyncio.sleep(HEARTBEAT_S)

    def _take(self) -> list[Call]:
        calls = self._inbox.take()
        if self._paused and len(self._inbox) < INBOX_MAX // 2:
            self._paused = False
            for link in self._links:
                link.resume()
        return calls

    async def _round(self, calls: list[Call]) -> None:
        if not calls:
            return
        if self._lost:
            calls = self._send_on(calls, self._lost)
        version = self._placement.version
        try:
            prepared = await self._prepare(calls)
        except StorageError as error:
            log.error("action=load_failed host=%s error=%s", self.id, error)
            for answerer, operation in calls:
                answerer.answer(operation.tag, Status.UNAVAILABLE, b"")
            return
        if prepared is not None and prepared.refused:
            if version == self._placement.version:  # Else a newer table has come meanwhile, and may give them to us.
                self._lose(prepared.refused)
            calls = self._send_on(calls, prepared.refused)
        # Who has come meanwhile for a counter that is in memory does not wait for those that had to be loaded.
        new = calls if prepared is None else self._inbox.join(len(calls), self._ready)
        calls = calls if prepared is None else calls + new
        new_ids = [operation.id for _, operation in new if operation.repeated]
        now, mirror = self._now(), self._mirror
        if mirror is not None:
            mirror.begin(now.steady)
        round = Round(self._activations, prepared, now, self._policies, self._members)
        round.apply(calls)
        commit, judged = round.commit(), round.judged
        pending = None
        if judged or new_ids:
            pending = self._storage.call(conclude, self._store, commit, judged, new_ids)
        elif commit is not None:
            pending = self._storage.call(self._store.commit, commit)
        round.encode(self._heard)  # While the disk works.
        fenced: frozenset[int] = frozenset()
        if pending is not None:
            try:
                fenced = await pending
            except Repetition:
                if mirror is not None:
                    mirror.doubt(now.steady, round.doubts())
                round.withdraw()
                self._wary_until = self._clock.monotonic() + WARY_S
                self._again(calls)
                return
            except StorageError as error:
                log.error("action=commit_failed host=%s error=%s", self.id, error)
                watched = [name for name in round.touched if name in self._watchers]
                if mirror is not None:
                    mirror.doubt(now.steady, round.doubts())
                round.abandon(Status.UNAVAILABLE)
                self._again(round.deferred)
                if watched:
                    # It may have happened all the same, and then its events are owed.
                    self._spawn(self._tell(watched))
                return
        # Everything below here is durable. Nothing above here may leave.
        if fenced:
            log.warning("action=fenced host=%s counters=%d", self.id, len(fenced))
        bursts = round.settle(fenced)
        if mirror is not None:
            mirror.take(now.steady, round.standings(fenced), bursts)
        for burst in bursts:
            for link in self._watchers.of(burst.name):
                link.publish(burst)
        for name in round.begun:  # No operation, so no event; but those who were there before have seen a 0.
            for link in self._watchers.of(name):
                link.place(queries.snapshot(name, self._state(name)))
        self._residents.touch(round.needed, self._clock.monotonic())
        self._again(round.deferred)

    def _again(self, calls: Iterable[Call]) -> None:
        """Take these first in the next round. By now they may be somebody else's, who owns them or is about to."""
        mine = []
        for answerer, operation in calls:
            if self._owns(operation.name):
                mine.append((answerer, operation))
            else:
                answerer.answer(operation.tag, Status.MOVED, b"")
        self._inbox.again(mine)

    def _send_on(self, calls: list[Call], refused: frozenset[str]) -> list[Call]:
        """These are somebody else's by a newer table than ours. Returns the other calls."""
        mine = []
        for answerer, operation in calls:
            if operation.name in refused:
                answerer.answer(operation.tag, Status.MOVED, b"")
            else:
                mine.append((answerer, operation))
        return mine

    def _lose(self, names: frozenset[str]) -> None:
        """Storage has seen a newer table, by which `names` are somebody else's. Until we have it, so be it."""
        version = self._placement.version
        log.warning("action=claim_refused host=%s counters=%d version=%d", self.id, len(names), version)
        self._lost |= names
        self._spawn(self._report_newer(list(names)))

    async def _report_newer(self, names: Sequence[str]) -> None:
        try:
            version = await self._storage.call(self._store.placed, names)
        except StorageError as error:
            log.warning("action=placed_failed host=%s error=%s", self.id, error)
            return
        if self._on_newer is not None and version > self._placement.version:
            self._on_newer(version)

    async def _prepare(self, calls: list[Call]) -> Prepared | None:
        activations = self._activations
        missing = frozenset([operation.name for _, operation in calls if operation.name not in activations])
        doubtful = [(each.name, each.id) for _, each in calls if each.repeated or each.name in missing]
        special = [
            each for _, each in calls if each.alarm is not None or each.member is not None or each.since is not None
        ]
        alarmed = [each.name for each in special if each.alarm is not None]
        likes = {(each.name, each.member) for each in special if each.member is not None}
        liking = [each for each in likes if not self._knows(*each)]
        counted = [(each.name, each.since) for each in special if each.since is not None]
        if not (missing or alarmed or liking or counted) and self._takes_for_new(calls):
            return None
        named = (*(name for each in (doubtful, liking, counted) for name, _ in each), *alarmed)
        ids = {name: activations[name].id for name in named if name in activations}
        self._loading = missing
        try:
            prepared = await self._storage.call(
                prepare, self._store, self._placement.version, list(missing), doubtful, ids, alarmed, liking, counted
            )
        finally:
            self._loading = frozenset()
        at, now = self._clock.now_ms(), self._clock.monotonic()
        for row in prepared.rows:
            activations[row.name] = Activation(row, prepared.latest.get(row.id, ()), at, now, self._policies)
        for name, member in liking:
            mine = activations.get(name)
            if mine is not None:
                self._members.set(mine.id, mine.epoch, member, (mine.id, member) in prepared.members)
        if self._mirror is not None:
            # What the owner before has committed last, it may not have lived to mirror.
            loaded = ((row.name, Standing(row.id, row.seq, row.value)) for row in prepared.rows if row.created_at)
            self._mirror.load(loaded)
        return prepared

    def _ready(self, operation: Operation) -> bool:
        """Whether it can be applied without a question to storage."""
        activation = self._activations.get(operation.name)
        return (
            activation is not None
            and activation.state is Life.ACTIVE
            and operation.name not in self._lost
            and operation.type in PLAIN
            and (not operation.repeated or self._clock.monotonic() >= self._wary_until)
        )

    def _takes_for_new(self, calls: Sequence[Call]) -> bool:
        """Whether ids that clients have chosen need not be looked up before their operations are applied.

        Nearly all of them are new. It is seen to with the commit, which costs nothing more; if one is not new, then the
        round is taken back and begins again, warily.
        """
        chosen = {operation.type for _, operation in calls if operation.repeated}
        return not chosen or (chosen <= PLAIN and self._clock.monotonic() >= self._wary_until)

    def _knows(self, name: str, member: str) -> bool:
        """Whether it is known if `member` likes a counter."""
        mine = self._activations.get(name)
        return mine is not None and self._members.find(mine.id, mine.epoch, member) is not None

    async def _audit(self) -> None:
        """See now and then whether what is resident is still ours.

        A host that follows the table late can take a counter from its new owner for a moment. Whoever writes next
        finds out; a counter that nobody writes would show, and keep, the value from before.
        """
        while True:
            await asyncio.sleep(AUDIT_S)
            names = {each.id: name for name, each in self._activations.items()}
            owned = [(each.id, each.epoch) for each in self._activations.values()]
            try:
                stale = [names[id] for id in await self._storage.call(self._store.stale, owned)] if owned else []
                if not stale:
                    continue
                log.warning("action=stale host=%s counters=%d", self.id, len(stale))
                for name in stale:
                    if name in self._activations:
                        self._activations[name].on(Event.FENCE)
                self._moved = True
                self._arrived.set()
                await self._tell(stale)
            except StorageError as error:
                log.warning("action=audit_failed host=%s error=%s", self.id, error)

    async def _due(self, steady: int, wall: int, limit: int) -> list[CounterRecord]:
        return await self._storage.call(self._store.due, steady, wall, limit)

    def _release(self) -> None:
        """Let go of the counters that leave."""
        self._moved = False
        left = self._residents.release(self._owns)
        # Watchers of the others have been told of the new owner by the same table.
        self._watchers.keep(lambda name: self._placement.keeper(name) == self.id)
        if left:
            log.info("action=release host=%s counters=%d version=%d", self.id, left, self._placement.version)

    def _hibernate(self) -> None:
        self._sleepy = False
        for name in self._residents.hibernate(self._clock.monotonic()):
            if self._on_asleep is not None:
                self._on_asleep(name)

    def _now(self) -> Moment:
        return Moment(self._clock.steady_ms(), self._clock.now_ms())

    def _owns(self, name: str) -> bool:
        return self._placement.owner(name) == self.id

    # What may be seen

    def _state(self, name: str) -> State | None:
        activation = self._activations.get(name)
        if activation is None or activation.shown is None or activation.state is not Life.ACTIVE:
            return None
        return State(activation.id, activation.created_at, activation.shown)

    def activity(self) -> list[tuple[str, float]]:
        """The busiest counters and their operations a second; empty when there is nothing to speak of."""
        return self._residents.activity(self._clock.monotonic())

    def touched(self) -> dict[str, int | None]:
        """Counters that may reset themselves and were used since the last time, with the steady time of that."""
        return self._residents.touched()

    async def expire(self, names: Iterable[str]) -> None:
        """See whether those of `names` that are ours and exist are to be reset."""
        mine = [name for name in names if self._owns(name)]
        asleep = [name for name in mine if name not in self._activations]
        try:
            there = await self._storage.call(self._store.read, asleep) if asleep else {}
        except StorageError as error:
            log.warning("action=expire_failed host=%s error=%s", self.id, error)
            return
        asked = [name for name in mine if name in there or name not in asleep]
        if asked:
            expires = [Operation(tag, name, "expire", 0, "expire") for tag, name in enumerate(asked)]
            await self._call(self._placement.version, expires)

    async def _sessions(self, query: Query) -> tuple[int, bytes]:
        name = query.names[0]
        present = (await self._present([name], whole=True)).get(name, Present(0, []))
        sessions = present.sessions[: query.limit] if query.limit else present.sessions
        return Status.OK, b'{"name":"%b","count":%d,"sessions":[%b]}' % (
            name.encode(), present.number, b",".join(sessions)
        )  # fmt: skip

    async def _awake(self) -> bytes:
        """Everything that is awake here, as JSON."""
        now = self._clock.monotonic()
        entry = self._placement.hosts.get(self.id)
        rows = [
            {
                "name": name,
                "host": self.id,
                "dedicated": entry is not None and entry.dedicated is not None,
                "epoch": activation.epoch,
                "awakeSince": iso(activation.awake_since),
                "opsPerS": round(activation.ops_per_s(now), 1),
                "sessions": 0,
            }
            for name, activation in self._activations.items()
            if activation.state is Life.ACTIVE
        ]
        present = await self._present([name for name in self._activations if name in self._watchers], whole=False)
        for row in rows:
            row["sessions"] = present.get(str(row["name"]), Present(0, [])).number
        return msgspec.json.encode(rows)

    def _figures(self) -> bytes:
        """What whoever watches over the service wants to know, as JSON: name and number."""
        mirror = {} if self._mirror is None else self._mirror.figures()
        figures: dict[str, float] = {"resident": len(self._activations), "inbox": len(self._inbox)}
        figures |= {f"mirror_{name}": number for name, number in mirror.items()}
        return msgspec.json.encode({"host": self.id, "figures": figures})

    async def _present(self, names: Sequence[str], whole: bool) -> dict[str, Present]:
        listening: dict[HostEnd, list[str]] = {}
        for name in names:
            for link in self._watchers.of(name):
                listening.setdefault(link, []).append(name)
        return await self._attendance.ask(listening, whole)

    async def _answer(self, link: HostEnd, query: Query) -> None:
        try:
            status, body = await self.query(query)
        except Exception as error:  # A bug of ours. Without an answer the caller would wait, and nobody would know.
            log.error("action=query_broken host=%s kind=%s error=%r", self.id, query.kind, error, exc_info=error)
            status, body = Status.UNAVAILABLE, b""
        link.answer(query.tag, status, body)

    async def _watch(self, link: HostEnd, positions: Sequence[tuple[str, int, int]], claim: bool) -> None:
        names = [name for name, _, _ in positions]
        if link not in self._links:
            return
        try:
            if claim:
                # An earlier owner could still commit, and its event would reach nobody. Now it cannot.
                foreign = [name for name in names if not self._holds(name)]
                await self._storage.call(self._store.claim, foreign, self._placement.version)
            states = await self.states(names)
            behind = []
            for number, (name, id, seq) in enumerate(positions, 1):
                if number % PLACED_MAX == 0:
                    await asyncio.sleep(0)
                state = self._state(name) or states.get(name)
                if state is not None and id == state.id and 0 <= seq < state.shown.seq:
                    behind.append((state, name, seq))
                else:
                    link.place(queries.snapshot(name, state, id))
            found = await self._storage.call(_missed, self._store, behind) if behind else []
        except StorageError as error:
            # The gateway would wait for ever for a position that never comes; a new link asks again.
            log.warning("action=watch_failed host=%s error=%s", self.id, error)
            link.close()
            return
        for each in found:
            if isinstance(each, Burst):
                link.publish(each)
            else:
                link.place(each)

    def _holds(self, name: str) -> bool:
        """Whether it has been claimed for this host, or is about to be."""
        activation = self._activations.get(name)
        return name in self._loading if activation is None else activation.state is Life.ACTIVE

    async def _tell(self, names: Sequence[str]) -> None:
        """Tell those who watch where these counters stand, as soon as storage says so."""
        while True:
            try:
                states = await self.states(names)
                break
            except StorageError as error:
                log.warning("action=tell_failed host=%s error=%s", self.id, error)
                await asyncio.sleep(TELL_AGAIN_S)
        for name in names:
            for link in self._watchers.of(name):
                link.place(queries.snapshot(name, states.get(name)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside the rounds; the loop itself would hold the task only weakly."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def states(self, names: Sequence[str]) -> dict[str, State]:
        """The committed state of those counters that there are.

        A commit that is under way when this is called is part of it: reading waits for its turn behind the commit.
        """
        asleep = {name for name in names if self._state(name) is None}
        rows = await self._storage.call(self._store.read, list(asleep))
        states = {name: queries.from_row(row) for name, row in rows.items()}
        states |= {name: state for name in names if (state := self._state(name)) is not None}
        left = [name for name in names if name not in states and name not in asleep]
        return states | await self.states(left) if left else states


class _Everybody:
    """Every counter is listened to."""

    def __contains__(self, name: object) -> bool:
        return True


class _Door:
    """Gathers the answers of one call through the Ray door."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._received: list[tuple[int, int, bytes]] = []
        self.answers: asyncio.Future[list[tuple[int, int, bytes]]] = asyncio.get_running_loop().create_future()
        if not expected:
            self.answers.set_result([])

    def answer(self, tag: int, status: int, body: bytes) -> None:
        self._received.append((tag, status, body))
        if len(self._received) == self._expected and not self.answers.done():
            self.answers.set_result(self._received)


def _missed(store: Store, behind: Sequence[tuple[State, str, int]]) -> list[Burst | Position]:
    """What those have missed that were behind these states. Runs in the storage thread."""
    found = [queries.missed(store, name, state, state.id, seq) for state, name, seq in behind]
    # A state in place of events is read anew: what was committed since has been published, and whoever is catching up
    # has not taken it. With the state from before, he would stay there.
    rows = store.read([each.name for each in found if isinstance(each, Position)])
    return [
        queries.snapshot(name, queries.from_row(rows[name]) if name in rows else None, state.id)
        if isinstance(each, Position)
        else each
        for each, (state, name, _) in zip(found, behind, strict=True)
    ]
