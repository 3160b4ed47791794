"""A host: one event loop that runs counters, one storage thread that makes them durable.

Operations gather in the inbox while the disk works on the round before; that is the group commit. Counters are loaded
when the first operation for them arrives. This is ordinary Python without Ray: `actors.runtime` makes it an actor.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from actors import queries
from actors.activation import Activation
from actors.clock import Clock, SystemClock
from actors.link import HostEnd
from actors.messages import Burst, Operate, Operation, Query, Status, Unwatch, Watch
from actors.placement import Placement
from actors.queries import State
from actors.round import Answerer, Call, Prepared, Round, conclude, prepare
from storage.errors import StorageError
from storage.store import Store
from storage.thread import StorageThread

ROUND_MAX = 1_000  # Operations in one transaction: past it a commit takes longer than the callers should wait.
AUDIT_S = 5.0  # One query for all that is resident: 10 ms for 10,000 counters.
TELL_AGAIN_S = 0.5
INBOX_MAX = 20_000  # Operations waiting. Then links are not read until half of them are done.
HEARTBEAT_S = 0.5  # Gateways give up on a silent host after three of them.

log = logging.getLogger("counters.host")


class Host:
    """Runs the counters that the placement table gives it."""

    def __init__(self, id: str, store: Store, clock: Clock | None = None) -> None:
        self.id = id
        self._store = store
        self._clock = clock or SystemClock()
        self._placement = Placement.empty()
        self._storage = StorageThread()
        self._inbox: deque[Call] = deque()
        self._arrived = asyncio.Event()
        self._activations: dict[str, Activation] = {}
        self._watchers: dict[str, set[HostEnd]] = {}
        self._links: set[HostEnd] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._paused = False
        self._moved = False
        self._leaving: set[str] = set()

    # What arrives

    def link_opened(self, link: HostEnd) -> None:
        self._links.add(link)
        log.info("action=link_opened host=%s gateway=%s", self.id, link.gateway)

    def link_closed(self, link: HostEnd) -> None:
        self._links.discard(link)
        for name in [name for name, links in self._watchers.items() if link in links]:
            self._forget_watcher(link, name)
        log.info("action=link_closed host=%s gateway=%s", self.id, link.gateway)

    def receive(self, link: HostEnd, message: Any) -> None:
        """Take one record from a link."""
        if isinstance(message, Operate):
            self._admit(link, message.version, message.operations)
        elif isinstance(message, Query):
            self._spawn(self._answer(link, message))
        elif isinstance(message, Watch):
            self._spawn(self._watch(link, message.positions, message.claim))
        elif isinstance(message, Unwatch):
            for name in message.names:
                self._forget_watcher(link, name)

    def _admit(self, answerer: Answerer, version: int, operations: Sequence[Operation]) -> None:
        if version < self._placement.version:
            # Sent by an older table. What is not ours by ours goes back; the sender will have ours soon.
            for operation in operations:
                if self._owns(operation.name):
                    self._inbox.append((answerer, operation))
                else:
                    answerer.answer(operation.tag, Status.MOVED, b"")
        else:
            # A newer table than ours says that these are ours; the epochs see to it that no harm comes of it.
            self._inbox.extend([(answerer, operation) for operation in operations])
        self._arrived.set()
        if len(self._inbox) > INBOX_MAX and not self._paused:
            self._paused = True
            for each in self._links:
                each.pause()

    async def operate(self, version: int, operations: Sequence[Operation]) -> list[tuple[int, int, bytes]]:
        """The Ray door: apply operations that were addressed by this version of the table.

        Returns (tag, status, body) for each, in any order.
        """
        door = _Door(len(operations))
        self._admit(door, version, operations)
        return await door.answers

    async def query(self, query: Query) -> tuple[int, bytes]:
        """Answer a question."""
        resident = {name: state for name in query.names if (state := self._state(name)) is not None}
        try:
            return await self._storage.call(queries.answer, self._store, query, resident)
        except StorageError as error:
            log.warning("action=query_failed host=%s kind=%s error=%s", self.id, query.kind, error)
            return Status.UNAVAILABLE, b""

    def place(self, placement: Placement) -> None:
        """Follow a newer table: counters that now belong elsewhere leave before the next round.

        So do all of them when a table was missed: in between, somebody else may have been their owner.
        """
        missed = placement.table.previous != self._placement.version
        self._placement = placement
        self._moved = True
        self._leaving.update(name for name in self._activations if missed or not self._owns(name))
        # What waits was admitted under an older table, and would take these counters back from their new owner.
        inbox, self._inbox = self._inbox, deque()
        for answerer, operation in inbox:
            if self._owns(operation.name):
                self._inbox.append((answerer, operation))
            else:
                answerer.answer(operation.tag, Status.MOVED, b"")
        self._arrived.set()

    # The loop

    async def run(self) -> None:
        """Work until cancelled."""
        self._spawn(self._beat())
        self._spawn(self._audit())
        try:
            while True:
                if not self._inbox and not self._moved:
                    self._arrived.clear()
                    await self._arrived.wait()
                if self._moved:
                    self._release()
                await self._round(self._take())
        finally:
            for task in self._tasks:
                task.cancel()
            self._storage.close()
            self._store.close()

    async def _beat(self) -> None:
        while True:
            for link in self._links:
                link.beat(self._placement.version)
            await asyncio.sleep(HEARTBEAT_S)

    def _take(self) -> list[Call]:
        inbox = self._inbox
        calls = [inbox.popleft() for _ in range(min(len(inbox), ROUND_MAX))]
        if self._paused and len(inbox) < INBOX_MAX // 2:
            self._paused = False
            for link in self._links:
                link.resume()
        return calls

    async def _round(self, calls: list[Call]) -> None:
        if not calls:
            return
        try:
            prepared = await self._prepare(calls)
        except StorageError as error:
            log.error("action=load_failed host=%s error=%s", self.id, error)
            for answerer, operation in calls:
                answerer.answer(operation.tag, Status.UNAVAILABLE, b"")
            return
        round = Round(self._activations, prepared, self._clock.now_ms())
        round.apply(calls)
        commit, judged = round.commit(), round.judged
        pending = None
        if judged:
            pending = self._storage.call(conclude, self._store, commit, judged)
        elif commit is not None:
            pending = self._storage.call(self._store.commit, commit)
        round.encode(self._watchers)  # While the disk works.
        fenced: frozenset[int] = frozenset()
        if pending is not None:
            try:
                fenced = await pending
            except StorageError as error:
                log.error("action=commit_failed host=%s error=%s", self.id, error)
                watched = [name for name in round.touched if name in self._watchers]
                round.abandon(Status.UNAVAILABLE)
                self._inbox.extendleft(reversed(round.deferred))
                if watched:
                    # It may have happened all the same, and then its events are owed.
                    self._spawn(self._tell(watched))
                return
        # Everything below here is durable. Nothing above here may leave.
        if fenced:
            log.warning("action=fenced host=%s counters=%d", self.id, len(fenced))
        for burst in round.settle(fenced):
            for link in self._watchers.get(burst.name, ()):
                link.publish(burst)
        self._inbox.extendleft(reversed(round.deferred))

    async def _prepare(self, calls: list[Call]) -> Prepared | None:
        activations = self._activations
        missing = {operation.name for _, operation in calls if operation.name not in activations}
        doubtful = [(operation.name, operation.id) for _, operation in calls if operation.repeated]
        if not missing and not doubtful:
            return None
        ids = {name: activations[name].id for name, _ in doubtful if name in activations}
        prepared = await self._storage.call(prepare, self._store, list(missing), doubtful, ids)
        for row in prepared.rows:
            activations[row.name] = Activation(row, prepared.latest.get(row.id, ()))
        return prepared

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
                self._leaving.update(stale)
                self._moved = True
                self._arrived.set()
                await self._tell(stale)
            except StorageError as error:
                log.warning("action=audit_failed host=%s error=%s", self.id, error)

    def _release(self) -> None:
        """Let go of the counters that leave. Between rounds, because a round relies on what it has loaded."""
        leaving, self._leaving = self._leaving, set()
        leaving.update(name for name in self._activations if not self._owns(name))  # Loaded since the table came.
        self._moved = False
        for name in leaving:
            self._activations.pop(name, None)
        for name in [name for name in self._watchers if not self._owns(name)]:
            del self._watchers[name]  # Its watchers have been told of the new owner by the same table.
        if leaving:
            log.info("action=release host=%s counters=%d version=%d", self.id, len(leaving), self._placement.version)

    def _owns(self, name: str) -> bool:
        return self._placement.owner(name) == self.id

    # What may be seen

    def _state(self, name: str) -> State | None:
        activation = self._activations.get(name)
        if activation is None or activation.shown is None or name in self._leaving:
            return None
        return State(activation.id, activation.created_at, activation.shown)

    async def _answer(self, link: HostEnd, query: Query) -> None:
        status, body = await self.query(query)
        link.answer(query.tag, status, body)

    async def _watch(self, link: HostEnd, positions: Sequence[tuple[str, int, int]], claim: bool) -> None:
        for name, _, _ in positions:
            self._watchers.setdefault(name, set()).add(link)
        names = [name for name, _, _ in positions]
        if link not in self._links:
            return
        try:
            if claim:
                # An earlier owner could still commit, and its event would reach nobody. Now it cannot.
                mine = self._activations.keys() - self._leaving
                await self._storage.call(self._store.claim, [name for name in names if name not in mine])
            states = await self._states(names)
            behind = []
            for name, id, seq in positions:
                state = states.get(name)
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

    async def _tell(self, names: Sequence[str]) -> None:
        """Tell those who watch where these counters stand, as soon as storage says so."""
        while True:
            try:
                states = await self._states(names)
                break
            except StorageError as error:
                log.warning("action=tell_failed host=%s error=%s", self.id, error)
                await asyncio.sleep(TELL_AGAIN_S)
        for name in names:
            for link in self._watchers.get(name, ()):
                link.place(queries.snapshot(name, states.get(name)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done beside the rounds; the loop itself would hold the task only weakly."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _states(self, names: Sequence[str]) -> dict[str, State]:
        """The committed state of those counters that there are.

        A commit that is under way when this is called is part of it: reading waits for its turn behind the commit.
        """
        asleep = {name for name in names if self._state(name) is None}
        rows = await self._storage.call(self._store.read, list(asleep))
        states = {name: queries.from_row(row) for name, row in rows.items()}
        states |= {name: state for name in names if (state := self._state(name)) is not None}
        left = [name for name in names if name not in states and name not in asleep]
        return states | await self._states(left) if left else states

    def _forget_watcher(self, link: HostEnd, name: str) -> None:
        links = self._watchers.get(name)
        if links is not None:
            links.discard(link)
            if not links:
                del self._watchers[name]


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


def _missed(store: Store, behind: Sequence[tuple[State, str, int]]) -> list[Any]:
    return [queries.missed(store, name, state, state.id, seq) for state, name, seq in behind]
