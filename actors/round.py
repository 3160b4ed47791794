"""One round of a host: what it took from its inbox, applied, made durable together and answered.

    prepare   in the storage thread: load what is not resident, look up ids that may have been applied before
    apply     in memory, operation by operation
    commit    in the storage thread: one transaction for all counters of the round
    encode    meanwhile: the bytes of results and events
    deliver   after the commit, and only then

Each step is a plain call without waiting; `Host` puts them in this order.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from actors import encoding
from actors.activation import Activation, item, read_policy
from actors.clock import iso
from actors.core import alarm
from actors.core.counter import ANOTHER_OPERATION, Change, Refusal
from actors.core.deadline import Deadlines, Moment, verdict
from actors.core.lifecycle import Event
from actors.core.likes import ADD, NOT_LIKES, TOGGLE, TYPES, LikeCounter, Unchanged, answered, counter_of
from actors.core.policy import FIELDS, Policies, complaint
from actors.inbox import Answerer, Call
from actors.members import Members
from actors.messages import Burst, Operation, Status
from actors.mirrored import Standing
from actors.upcoming import alarm_at
from storage.records import (
    AlarmRecord,
    AlarmRunRecord,
    AlarmStep,
    Commit,
    CounterRecord,
    CounterWrite,
    DeadlineWrite,
    MemberRecord,
    OperationRecord,
    PolicyWrite,
)
from storage.store import ADDING, DELETION, Store

_BRIEF = frozenset({"sync", "expire", *TYPES})
UNDO = "undo:"  # How the id of an undoing begins; the seq follows.


Outcome = Change | Unchanged | Refusal | bytes


class Prepared(NamedTuple):
    """What storage knew: rows now owned by this host, their newest history, and operations that are repeats."""

    rows: list[CounterRecord]
    refused: frozenset[str]  # Names that a newer table gave to somebody else.
    latest: dict[int, list[OperationRecord]]
    # (name, id) → that operation and the ones before it, of this life of the counter or of one that was deleted.
    repeats: dict[tuple[str, str], list[OperationRecord]]
    deletions: set[tuple[str, str]]  # (name, id) of deletions that were done before.
    alarms: dict[int, dict[str, AlarmRecord]]  # Counter id → its alarms, of those that were asked for.
    undone: dict[tuple[str, str], OperationRecord]  # (name, id of the undoing) → the operation that is to be undone.
    members: set[tuple[int, str]]  # (counter id, member) of those among the liking who are members.
    added: dict[tuple[int, tuple[int, int]], int]  # Counter id, `Operation.since` → what was added since then.


def prepare(
    store: Store,
    version: int,
    missing: list[str],
    doubtful: list[tuple[str, str]],
    ids: dict[str, int],
    alarmed: Sequence[str] = (),
    liking: Sequence[tuple[str, str]] = (),
    counted: Sequence[tuple[str, tuple[int, int]]] = (),
) -> Prepared:
    """Claim and load `missing` counters; find which of the `doubtful` operations (name, id) were applied before.

    Those are the ones that say so, and all of a counter that is not in memory: what was sent to an earlier owner may
    arrive late, after the same operation has come again and its counter was deleted.

    `version` is that of the table by which they are ours; what was claimed by a newer one is not in the rows returned.
    `ids` are the counter ids of those names that are resident. `alarmed` are names whose alarms are wanted, `liking`
    (name, member) those of whom it is to be known whether they are members, `counted` those (name, since) of which it
    is to be known what was added.
    """
    rows = store.claim(missing, version) if missing else []
    old = [(row.id, row.seq) for row in rows if row.seq]
    latest = store.latest(old, encoding.HISTORY_SHOWN) if old else {}
    repeats: dict[tuple[str, str], list[OperationRecord]] = {}
    ids = ids | {row.name: row.id for row in rows}
    undone: dict[tuple[str, str], OperationRecord] = {}
    # Nearly every id arrives for the first time.
    seen = store.seen([id for _, id in doubtful]) if doubtful else set[str]()
    doubtful = [(name, id) for name, id in doubtful if name in ids and (id in seen or id.startswith(UNDO))]
    if doubtful:
        found = store.find_operations([(ids[name], id) for name, id in doubtful])
        for name, id in doubtful:
            row = found.get((ids[name], id))
            if row is not None:
                repeats[name, id] = store.history(row.counter_id, row.seq + 1, encoding.HISTORY_SHOWN)
            elif id.startswith(UNDO):
                seq = int(id.removeprefix(UNDO))
                for each in store.history(ids[name], seq + 1, 1):
                    if each.seq == seq:
                        undone[name, id] = each
    gone = store.find_gone([id for _, id in doubtful if not id.startswith(UNDO)]) if doubtful else {}
    deletions = {key for key, row in gone.items() if row.type == DELETION}
    for key in gone.keys() & set(doubtful) - repeats.keys() - deletions:
        repeats[key] = store.history(gone[key].counter_id, gone[key].seq + 1, encoding.HISTORY_SHOWN)
    refused = frozenset(missing) - {row.name for row in rows} if len(rows) < len(missing) else frozenset[str]()
    alarms = {ids[name]: {each.id: each for each in store.alarms(ids[name])} for name in alarmed if name in ids}
    members = store.memberships([(ids[name], member) for name, member in liking if name in ids])
    added = {
        (ids[name], since): store.added(ids[name], since[1] if since[0] == ids[name] else 0)
        for name, since in counted
        if name in ids
    }
    return Prepared(rows, refused, latest, repeats, deletions, alarms, undone, members, added)


class Repetition(Exception):
    """An operation of the round was applied before. Nothing of the round is durable."""


def conclude(
    store: Store, commit: Commit | None, others: list[tuple[int, int]], new: Sequence[str] = ()
) -> frozenset[int]:
    """Make the round durable. Returns the ids of counters that this host does not own any more.

    `others` are counters (id, epoch) of which something is to be said without a change: a refusal is the owner's to
    speak, too. `new` are operation ids that the round took for new; raises Repetition if one is not. It need not be one
    transaction: nobody but the owner could apply such an operation meanwhile, and then there is nothing to commit.
    """
    if new and store.seen(new):
        raise Repetition
    fenced = store.commit(commit) if commit is not None else frozenset()
    return fenced | store.stale(others) if others else fenced


def refusal(code: str, message: str, field: str | None = None) -> bytes:
    """The body of an answer with status REFUSED."""
    data = None if field is None else {"field": field, "reason": message}
    return msgspec.json.encode({"code": code, "message": message, "data": data})


def not_found(name: str) -> bytes:
    """The body of an answer to whoever asked for a counter that is not there."""
    message = f"there is no counter {name}"
    return msgspec.json.encode({"code": "COUNTER_NOT_FOUND", "message": message, "data": {"name": name}})


class Round:
    """The state of one round."""

    def __init__(
        self,
        activations: dict[str, Activation],
        prepared: Prepared | None,
        now: Moment,
        policies: Policies,
        members: Members,
    ) -> None:
        self._activations = activations
        self._members = members  # It knows all that this round asks for, and is told of what changes.
        self._now = now
        self._rules = policies
        self._repeats = prepared.repeats if prepared else {}
        self._deletions = prepared.deletions if prepared else set()
        self._undone = prepared.undone if prepared else {}
        self._added = prepared.added if prepared else {}
        self._at = now.wall
        self._at_iso = iso(now.wall).encode()
        self._outcomes: list[tuple[Answerer, Operation, Activation, Outcome, bool]] = []
        self._touched: dict[str, Activation] = {}
        self._judged: dict[str, Activation] = {}  # Something is said of them that is not a change.
        self._moved: dict[str, Activation] = {}  # Their deadlines have to be looked at.
        self._recalled: list[Activation] = []
        self._operations: list[OperationRecord] = []
        self._policies: list[PolicyWrite] = []
        self._alarms = prepared.alarms if prepared else {}
        self._set: list[AlarmRecord] = []
        self._cancelled: list[tuple[int, str]] = []
        self._steps: list[AlarmStep] = []
        self._joined: dict[tuple[int, str], MemberRecord] = {}
        self._left: dict[tuple[int, str], None] = {}
        self._cleared: dict[str, int] = {}  # Counters that all members leave: name → id.
        self._ended: dict[str, Activation] = {}
        self._closed: set[str] = set()  # Operations of these wait for the next round.
        self._metadata: dict[str, bytes] = {}
        self._answers: dict[tuple[str, int], bytes] = {}
        self._bursts: dict[str, Burst] = {}
        self._ready: list[tuple[Answerer, int, int, bytes, Activation]] = []
        self.deferred: list[Call] = []
        self.begun: list[str] = []  # Counters made with another value than the 0 that they had for everybody before.

    def apply(self, calls: Sequence[Call]) -> None:
        """Apply all operations in order.

        Those behind the deletion of their counter, or behind a reset of its likes, wait for the next round.
        """
        at = self._at
        outcomes = self._outcomes
        for answerer, operation in calls:
            name = operation.name
            if name in self._closed:
                self.deferred.append((answerer, operation))
                continue
            activation = self._activations[name]
            counter = activation.counter
            if self._repeats:
                self._recall(activation, operation)
            seq = counter.seq
            kind = operation.type
            if kind in ("increment", "decrement", "setValue"):
                outcome: Outcome = counter.apply(
                    kind, operation.amount, operation.id, at, operation.actor, operation.reason, operation.source
                )
            else:
                outcome = self._apply_rare(activation, operation)
                counter = activation.counter  # It may have become one of likes.
                if counter.seq != seq and isinstance(counter, LikeCounter):
                    self._note_members(activation, outcome)
            fresh = counter.seq != seq
            if fresh:
                self._touched[name] = activation
                activation.idle_since = self._now.steady
                assert isinstance(outcome, Change)
                self._operations.append(OperationRecord(activation.id, *outcome))
            elif not isinstance(outcome, Change):
                self._judged[name] = activation
            outcomes.append((answerer, operation, activation, outcome, fresh))

    def _recall(self, activation: Activation, operation: Operation) -> None:
        rows = self._repeats.get((operation.name, operation.id))
        if rows:
            activation.counter.remember(Change(*rows[0][1:]))
            self._recalled.append(activation)

    def _apply_rare(self, activation: Activation, operation: Operation) -> Outcome:
        if operation.type == "sync":
            return self._sync(activation, operation)
        if operation.type == "reset":
            return activation.counter.apply(
                "reset", operation.amount, operation.id, self._at, operation.actor, operation.reason, operation.source
            )
        if operation.type in TYPES:
            return self._like(activation, operation)
        if operation.type == "undo":
            return self._undo(activation, operation)
        if operation.type == "delete":
            return self._delete(activation, operation)
        if operation.type == "expire":
            return self._expire(activation)
        if operation.type == "setAlarm":
            return self._set_alarm(activation, operation)
        if operation.type == "alarm":
            return self._run_alarm(activation, operation)
        if operation.type == "cancelAlarm":
            return self._cancel_alarm(activation, operation)
        return self._configure(activation, operation)

    def _like(self, activation: Activation, operation: Operation) -> Change | Unchanged | Refusal:
        member = operation.member or ""
        there = self._members.find(activation.id, activation.epoch, member)
        assert there is not None, "the host has asked"
        counter = activation.counter
        if not isinstance(counter, LikeCounter):
            done = answered(counter, operation.type, member, operation.id)
            if done is not None:
                return done
            if self._exists(activation) and (counter.seq or counter.value):
                return NOT_LIKES
            if operation.type not in (TOGGLE, ADD):
                return Unchanged(0, False)
            refused = self._become(activation, {"likes": True})
            if refused is not None:
                return refused
            counter = activation.counter
        assert isinstance(counter, LikeCounter)
        return counter.like(operation.type, member, there, operation.id, self._at, operation.source)

    def _note_members(self, activation: Activation, outcome: Outcome) -> None:
        """Its value has changed, and so have its members."""
        assert isinstance(outcome, Change)
        id, member = activation.id, outcome.actor or ""
        key = id, member
        if outcome.type == "reset":
            # Whoever comes behind waits, because storage takes all of them away at once.
            self._closed.add(activation.name)
            self._cleared[activation.name] = id
            self._members.forget(id)
            self._joined = {key: row for key, row in self._joined.items() if key[0] != id}
            self._left = {key: None for key in self._left if key[0] != id}
            return
        joins = outcome.type == "increment"
        self._members.set(id, activation.epoch, member, joins)
        if joins and key in self._left:
            del self._left[key]
        elif joins:
            self._joined[key] = MemberRecord(id, member, self._at)
        elif self._joined.pop(key, None) is None:
            self._left[key] = None

    def _sync(self, activation: Activation, operation: Operation) -> Change | Refusal | bytes:
        """Set it to what was counted elsewhere, and to what was added here since that began."""
        counter, wanted = activation.counter, operation.amount
        if operation.since is not None:
            done = counter.recall(operation.id)
            if done is not None:
                return done
            wanted += self._added[activation.id, operation.since]
            wanted += sum(
                each.value - each.previous_value
                for each in self._operations
                if each.counter_id == activation.id and each.type in ADDING
            )
        told = (wanted, operation.id, self._at, operation.actor, operation.reason or "sync", operation.source)
        change = counter.sync(*told) if self._exists(activation) else counter.apply("setValue", *told)
        return encoding.synced(counter.value, counter.value) if change is None else change

    def _undo(self, activation: Activation, operation: Operation) -> Change | Refusal:
        """Do the opposite of an operation, as far as the policy lets it; once for each."""
        counter, seq = activation.counter, operation.amount
        done = counter.recall(operation.id)
        if done is not None:
            return done
        if not self._exists(activation):
            return Refusal("COUNTER_NOT_FOUND", f"there is no counter {activation.name}")
        if seq > counter.seq:
            return Refusal("COUNTER_VALIDATION_ERROR", f"seq: there is no operation {seq}", "seq")
        row = self._undone.get((activation.name, operation.id))
        if row is None:
            return Refusal("HISTORY_NOT_KEPT", f"operation {seq} is not kept any more")
        added = row.value - row.previous_value
        if not added:
            return Refusal("COUNTER_VALIDATION_ERROR", f"seq: operation {seq} changed nothing", "seq")
        kind = "decrement" if added > 0 else "increment"
        return counter.apply(
            kind, abs(added), operation.id, self._at, operation.actor, f"undo {seq}", operation.source
        )

    def _delete(self, activation: Activation, operation: Operation) -> Refusal | bytes:
        name = activation.name
        if (name, operation.id) in self._deletions:  # Done before; whoever has begun anew meanwhile is spared.
            return _success(name)
        if not self._exists(activation):
            return Refusal("COUNTER_NOT_FOUND", f"there is no counter {name}")
        if activation.counter.knows(operation.id):
            return ANOTHER_OPERATION
        self._touched[name] = self._ended[name] = activation
        self._closed.add(name)
        self._operations.append(
            OperationRecord(
                counter_id=activation.id,
                seq=activation.counter.seq + 1,
                type=DELETION,
                amount=0,
                value=0,
                previous_value=activation.counter.value,
                at=self._at,
                operation_id=operation.id,
                actor=operation.actor,
                reason=name,
                source=operation.source,
            )
        )
        return _success(name)

    def _expire(self, activation: Activation) -> Change | bytes:
        """Somebody thinks that its time has come. We are the one who knows."""
        counter = activation.counter
        if not self._exists(activation):
            return encoding.expired(False, 0)
        self._moved[activation.name] = activation
        due_at, tick_at = activation.deadlines
        reason = verdict(counter.policy, counter.value, activation.idle_since, tick_at, self._now)
        if tick_at is not None and tick_at <= self._now.wall:
            activation.deadlines = Deadlines(due_at)  # Served, one way or the other.
        return encoding.expired(False, counter.value) if reason is None else counter.reset_itself(self._at, reason)

    def _set_alarm(self, activation: Activation, operation: Operation) -> Refusal | bytes:
        wish: dict[str, Any] = operation.alarm or {}
        mark = blake2b(f"{activation.id} {operation.id}".encode(), digest_size=12).hexdigest()
        id, when = wish.get("id") or mark, alarm.When(wish.get("at"), wish.get("every"))
        alarms = self._alarms[activation.id]
        if id not in alarms or not alarms[id].key.startswith(mark):  # Else it is a repetition.
            wrong = alarm.complaint(when, self._at)
            if wrong is not None:
                return Refusal("COUNTER_VALIDATION_ERROR", wrong[1], wrong[0])
            if id not in alarms and len(alarms) >= alarm.ALARMS_MAX:
                return Refusal("LIMIT_REACHED", f"a counter has at most {alarm.ALARMS_MAX} alarms")
            due_at = None if when.every is None else self._now.steady + when.every
            key = f"{mark}{self._now.steady:x}"  # Its runs must not be taken for those of one that was set before.
            alarms[id] = AlarmRecord(activation.id, id, key, wish["type"], wish["amount"], *when, due_at)
            self._set.append(alarms[id])
            self._moved[activation.name] = activation
            self._begin(activation)
        return _success(activation.name, id=id, next=iso(alarm_at(alarms[id], self._now)))

    def _run_alarm(self, activation: Activation, operation: Operation) -> Change | Refusal | bytes:
        """The timer says that an alarm is due. If there still is one, its operation and its run are one commit."""
        said: dict[str, Any] = operation.alarm or {}
        alarms = self._alarms[activation.id]
        one = alarms.get(said["id"])
        if one is None or (one.key, one.run) != (said["key"], said["run"]):
            return _success(activation.name)  # Cancelled, replaced, or it has run.
        outcome = activation.counter.apply(one.type, one.amount, operation.id, self._at, f"alarm:{one.id}", "alarm")
        error = outcome.code if isinstance(outcome, Refusal) else None
        ran = AlarmRunRecord(one.key, one.run, one.counter_id, one.id, self._at, said["attempt"], error)
        after = None
        if one.every is not None:
            due_at = alarm.following(one.due_at or 0, one.every, self._now.steady)
            after = alarms[one.id] = one._replace(due_at=due_at, run=one.run + 1, attempt=0, error=None)
        else:
            del alarms[one.id]
        self._steps.append(AlarmStep(one, after, ran))
        self._moved[activation.name] = activation
        return outcome

    def _exists(self, activation: Activation) -> bool:
        return bool(activation.created_at) or activation.name in self._touched

    def _begin(self, activation: Activation) -> None:
        """See to it that the counter exists."""
        if self._exists(activation):
            return
        self._touched[activation.name] = activation
        activation.idle_since = self._now.steady
        if activation.counter.value:
            self.begun.append(activation.name)

    def _cancel_alarm(self, activation: Activation, operation: Operation) -> bytes:
        id = str((operation.alarm or {})["id"])
        cancelled = self._alarms[activation.id].pop(id, None) is not None
        if cancelled:
            self._cancelled.append((activation.id, id))
            self._set = [each for each in self._set if (each.counter_id, each.id) != (activation.id, id)]
            self._moved[activation.name] = activation
        return _success(activation.name, cancelled=cancelled)

    def _configure(self, activation: Activation, operation: Operation) -> Refusal | bytes:
        create = operation.type == "create"
        if create and self._exists(activation):
            return _success(activation.name)
        refused = self._become(activation, operation.policy or {}, operation.actor if create else None)
        if refused is not None:
            return refused
        return _success(activation.name) if create else _success(activation.name, policy=activation.counter.policy)

    def _become(
        self, activation: Activation, changes: dict[str, Any], created_by: str | None = None
    ) -> Refusal | None:
        """Change what a counter says of its policy, and see to it that it exists."""
        counter, exists = activation.counter, self._exists(activation)
        own = _with(activation.own, changes)
        wanted = self._rules.of(activation.name, own)
        wrong = complaint(wanted)
        if wrong is None and wanted.likes != counter.policy.likes and exists and (counter.seq or counter.value):
            wrong = "likes", "what a counter counts is said before it counts"
        if wrong is not None:
            return Refusal("COUNTER_VALIDATION_ERROR", wrong[1], f"policy.{wrong[0]}")
        if wanted.reset_schedule != counter.policy.reset_schedule:
            activation.deadlines = Deadlines(activation.deadlines.due_at)  # The new one begins now.
        if wanted.likes != counter.policy.likes:
            counter = activation.counter = counter_of(counter.value, counter.seq, wanted)
        if not exists:
            counter.value = wanted.initial
            self._begin(activation)
        counter.policy = wanted
        activation.own = msgspec.json.encode(own).decode() if own else None
        self._touched[activation.name] = self._moved[activation.name] = activation
        self._policies.append(PolicyWrite(activation.id, activation.own, created_by))
        return None

    def commit(self) -> Commit | None:
        """What has to be durable before anything of this round may leave; None: nothing changed."""
        if not self._touched and not self._moved:
            return None
        counters: list[CounterWrite] = []
        deadlines: list[DeadlineWrite] = []
        for name, activation in self._touched.items():
            if name in self._moved or activation.rearmed:
                deadlines.append(activation.write_deadlines(self._at, self._now))
            else:
                counters.append(activation.write(self._at))
        for name, activation in self._moved.items():
            if name not in self._touched:
                deadlines.append(activation.write_deadlines(None, self._now))
        ended = [activation.id for activation in self._ended.values()]
        joined, left, cleared = [*self._joined.values()], [*self._left], [*self._cleared.values()]
        return Commit(
            counters, self._operations, self._policies, ended, deadlines, self._set, self._cancelled, self._steps,
            joined, left, cleared,
        )  # fmt: skip

    @property
    def touched(self) -> list[str]:
        """The counters that changed."""
        return list(self._touched)

    @property
    def needed(self) -> list[str]:
        """The counters that changed, and those that did not but were asked to."""
        return [*self._touched, *(name for name in self._judged if name not in self._touched)]

    @property
    def judged(self) -> list[tuple[int, int]]:
        """Counters (id, epoch) whose ownership the commit does not prove, but of which something is said."""
        written = self._touched.keys() | self._moved.keys()
        return [(each.id, each.epoch) for name, each in self._judged.items() if name not in written]

    def encode(self, watched: Container[str]) -> None:
        """Make the bytes of all results, and of events for the counters that somebody watches."""
        at = self._at_iso
        for answerer, operation, activation, outcome, fresh in self._outcomes:
            status: int = Status.OK
            if fresh:
                assert isinstance(outcome, Change)
                body = self._encode_fresh(activation, outcome, at, operation.name in watched)
            elif isinstance(outcome, bytes):
                body = outcome
            elif isinstance(outcome, Refusal):
                missing = outcome.code == "COUNTER_NOT_FOUND"
                status, body = Status.REFUSED, not_found(operation.name) if missing else refusal(*outcome)
            elif isinstance(outcome, Unchanged):
                body = self._encode_unchanged(activation, outcome)
            else:
                body = self._answers.get((outcome.operation_id, activation.id)) or self._encode_repeat(
                    activation, operation, outcome
                )
            if isinstance(outcome, Change) and operation.type in _BRIEF:
                body = self._encode_brief(activation, operation.type, outcome)
            self._ready.append((answerer, operation.tag, status, body, activation))
        for activation in self._ended.values():
            if activation.name in watched:
                self._encode_end(activation, at)

    def _encode_fresh(self, activation: Activation, change: Change, at: bytes, watched: bool) -> bytes:
        metadata, body = activation.encode(change, at)
        self._metadata[activation.name] = metadata
        self._answers[change.operation_id, activation.id] = body
        if watched:
            reason = change.reason
            if reason is None and change.type == "reset":
                reason = "manual"
            event = encoding.event(
                change.type, change.value, change.previous_value, metadata, at, reason, change.actor
            )
            self._add_event(activation, change.seq, change.type, event)
        return body

    def _encode_repeat(self, activation: Activation, operation: Operation, change: Change) -> bytes:
        """The answer that the operation had the first time, from its row and the ones before it."""
        rows = self._repeats[operation.name, operation.id]
        at, name = iso(change.at).encode(), activation.name.encode()
        metadata = encoding.metadata(*self._life(activation, change, name), at, change.seq)
        return encoding.result(name, change.value, change.previous_value, metadata, map(item, rows), at)

    def _life(self, activation: Activation, change: Change, name: bytes) -> tuple[int, bytes, int, bytes]:
        """Id, name, value and time of creation of the counter that a change was made to, perhaps in an earlier life."""
        rows = self._repeats.get((activation.name, change.operation_id))
        if not rows or rows[0].counter_id == activation.id:
            return activation.id, name, change.value, activation.created_at
        return rows[0].counter_id, name, change.value, iso(rows[-1].at).encode()  # The oldest that is looked at.

    def _encode_brief(self, activation: Activation, type: str, change: Change) -> bytes:
        """What is answered to operations whose answer is not enriched."""
        if type == "sync":
            return encoding.synced(change.previous_value, change.value)
        if type == "expire":
            return encoding.expired(True, change.value)
        at, name = iso(change.at).encode(), activation.name.encode()
        metadata = encoding.metadata(*self._life(activation, change, name), at, change.seq)
        return encoding.liked(name, change.value, change.type == "increment", metadata)

    def _encode_unchanged(self, activation: Activation, outcome: Unchanged) -> bytes:
        name, shown = activation.name.encode(), activation.shown
        metadata = self._metadata.get(activation.name) or (
            encoding.never(name) if shown is None else shown.metadata
        )
        return encoding.liked(name, outcome.value, outcome.liked, metadata)

    def _encode_end(self, activation: Activation, at: bytes) -> None:
        """A deleted counter reads 0 from now on, and its subscribers are told so. It is the last event of its life."""
        value, seq = activation.counter.value, activation.counter.seq + 1
        metadata = encoding.metadata(activation.id, activation.name.encode(), 0, activation.created_at or at, at, seq)
        event = encoding.event("reset", 0, value, metadata, at, "deleted")
        self._add_event(activation, seq, "reset", event)

    def _add_event(self, activation: Activation, seq: int, type: str, event: bytes) -> None:
        burst = self._bursts.get(activation.name)
        if burst is None:
            burst = self._bursts[activation.name] = Burst(activation.name, activation.id, seq, [], [])
        burst.types.append(type)
        burst.bodies.append(event)

    def settle(self, fenced: frozenset[int]) -> list[Burst]:
        """The commit is done: answer every call, show the new state, and return the events that may leave now."""
        for activation in self._touched.values():
            name = activation.name
            if activation.id in fenced:
                self._drop(name, Event.FENCE)
            elif name in self._ended:
                self._drop(name, Event.LOST)
            else:
                if not activation.created_at:
                    activation.created_at = self._at_iso
                activation.settle(self._metadata.get(name), self._at_iso)
        for name, activation in self._judged.items():
            if activation.id in fenced and name in self._activations:
                self._drop(name, Event.FENCE)
        self._forget()
        for answerer, tag, status, body, activation in self._ready:
            if activation.id in fenced:
                answerer.answer(tag, Status.MOVED, b"")
            else:
                answerer.answer(tag, status, body)
        return [burst for burst in self._bursts.values() if burst.counter_id not in fenced]

    def standings(self, fenced: frozenset[int]) -> Iterator[tuple[str, Standing]]:
        """Where the counters stand that have changed; call it after `settle`."""
        for name, activation in self._touched.items():
            counter = activation.counter
            if name in self._ended and activation.id not in fenced:
                yield name, Standing(activation.id, counter.seq + 1, None)
            elif activation.id not in fenced:
                yield name, Standing(activation.id, counter.seq, counter.value)

    def doubts(self) -> dict[str, Standing | None]:
        """Counters that may have changed, and where they stood before, if they were there."""
        return {
            name: None if activation.shown is None else Standing(activation.id, activation.shown.seq, None)
            for name, activation in self._touched.items()
        }

    def withdraw(self) -> None:
        """Nothing was written. Memory is ahead of the disk, so every counter it touched is loaded anew next time."""
        for name in {**self._touched, **self._moved}:
            self._drop(name, Event.LOST)
        self._forget()

    def abandon(self, status: Status) -> None:
        """The commit failed, or perhaps it did not: nobody is told a result."""
        self.withdraw()
        for answerer, operation, *_ in self._outcomes:
            answerer.answer(operation.tag, status, b"")

    def _drop(self, name: str, event: Event) -> None:
        activation = self._activations.pop(name)
        activation.on(event)
        activation.on(Event.RELEASE)

    def _forget(self) -> None:
        for activation in self._recalled:
            activation.counter.forget()


def _with(own: str | None, changes: dict[str, Any]) -> dict[str, Any]:
    """What a counter says of its policy, with some of it changed."""
    unknown = changes.keys() - FIELDS
    assert not unknown, unknown  # Doors validate.
    return changes if own is None else read_policy(own) | changes


def _success(name: str, **more: Any) -> bytes:
    return msgspec.json.encode({"success": True, "name": name, **more})
