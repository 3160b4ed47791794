"""The store's contract in a dict: for tests and simulations, with nothing underneath that could outlive a process."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from storage.errors import NOT_MEMBERS, StorageUnavailable
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
    Postponement,
)
from storage.store import ADDING, DELETION, Membership, OperationKey


class MemoryStore:
    """Every method does at once what `SqlStore` does in a transaction."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._counters: dict[str, CounterRecord] = {}
        self._names: dict[int, str] = {}
        self._operations: dict[int, list[OperationRecord]] = {}
        self._alarms: dict[tuple[int, str], AlarmRecord] = {}
        self._runs: list[AlarmRunRecord] = []
        self._ran: set[tuple[str, int]] = set()
        self._members: dict[Membership, MemberRecord] = {}
        self._notes: dict[str, str] = {}

    def claim(self, names: Sequence[str], version: int) -> list[CounterRecord]:
        claimed = []
        for name in dict.fromkeys(names):
            row = self._counters.get(name)
            if row is not None and row.placed > version:
                continue
            if row is None:
                row = CounterRecord(next(self._ids), name, 0, 0, 0, None, None, None, None)
                self._names[row.id] = name
                self._operations[row.id] = []
            row = self._counters[name] = row._replace(epoch=row.epoch + 1, placed=version)
            claimed.append(row)
        return claimed

    def placed(self, names: Sequence[str]) -> int:
        return max((self._counters[name].placed for name in names if name in self._counters), default=0)

    def commit(self, commit: Commit) -> frozenset[int]:
        writes: list[CounterWrite | DeadlineWrite] = [*commit.counters, *commit.deadlines]
        fenced = frozenset(write.id for write in writes if self._epoch(write.id) != write.epoch)
        keys = [(row.counter_id, row.operation_id) for row in commit.operations if row.counter_id not in fenced]
        if len(set(keys)) < len(keys) or self.find_operations(keys):
            raise StorageUnavailable("an operation id is there already")
        joined = [row for row in commit.joined if row.counter_id not in fenced]
        left = [key for key in commit.left if key[0] not in fenced]
        if any(row[:2] in self._members for row in joined) or not self._members.keys() >= set(left):
            raise StorageUnavailable(NOT_MEMBERS)
        steps = [each for each in commit.steps if each.before.counter_id not in fenced and self._fits(each)]
        if not self._ran.isdisjoint((each.run.key, each.run.run) for each in steps if each.run is not None):
            raise StorageUnavailable("an alarm's run is there already")
        for write in writes:
            if write.id not in fenced:
                row = self._counters[self._names[write.id]]
                row = row._replace(
                    value=write.value,
                    seq=write.seq,
                    updated_at=row.updated_at if write.updated_at is None else write.updated_at,
                    created_at=write.updated_at if row.created_at is None else row.created_at,
                    idle_since=write.idle_since,
                )
                if isinstance(write, DeadlineWrite):
                    row = row._replace(due_at=write.due_at, tick_at=write.tick_at)
                self._counters[row.name] = row
        for operation in commit.operations:
            if operation.counter_id not in fenced:
                self._operations[operation.counter_id].append(operation)
        for policy in commit.policies:
            if policy.id not in fenced:
                row = self._counters[self._names[policy.id]]
                created_by = row.created_by if policy.created_by is None else policy.created_by
                self._counters[row.name] = row._replace(policy=policy.policy, created_by=created_by)
        for place in commit.cancellations:
            if place[0] not in fenced:
                self._alarms.pop(place, None)
        for alarm in commit.alarms:
            if alarm.counter_id not in fenced:
                self._alarms[alarm.counter_id, alarm.id] = alarm
        self.step_alarms(steps)
        self._members |= {row[:2]: row for row in joined}
        for key in left:
            del self._members[key]
        for id in (*commit.cleared, *commit.deletions):
            if id not in fenced:
                self._members = {key: row for key, row in self._members.items() if key[0] != id}
        for id in commit.deletions:
            if id not in fenced:
                self._alarms = {place: each for place, each in self._alarms.items() if place[0] != id}
                self._runs = [run for run in self._runs if run.counter_id != id]
                del self._counters[self._names.pop(id)]
        return fenced

    def _epoch(self, id: int) -> int | None:
        name = self._names.get(id)
        return None if name is None else self._counters[name].epoch

    def seen(self, operation_ids: Sequence[str]) -> set[str]:
        return {row.operation_id for rows in self._operations.values() for row in rows} & set(operation_ids)

    def find_operations(self, keys: Sequence[OperationKey]) -> dict[OperationKey, OperationRecord]:
        wanted = set(keys)
        rows = (row for id in {id for id, _ in keys} for row in self._operations.get(id, ()))
        return {key: row for row in rows if (key := (row.counter_id, row.operation_id)) in wanted}

    def find_gone(self, operation_ids: Sequence[str]) -> dict[tuple[str, str], OperationRecord]:
        lives = (rows for rows in self._operations.values() if rows and rows[-1].type == DELETION)
        return {
            (rows[-1].reason or "", row.operation_id): row
            for rows in lives for row in rows if row.operation_id in operation_ids
        }  # fmt: skip

    def stale(self, owned: Sequence[tuple[int, int]]) -> frozenset[int]:
        return frozenset(id for id, epoch in owned if self._epoch(id) != epoch)

    def read(self, names: Sequence[str]) -> dict[str, CounterRecord]:
        rows = (self._counters.get(name) for name in names)
        return {row.name: row for row in rows if row is not None and row.created_at is not None}

    def page(self, prefix: str, after: str, limit: int) -> list[CounterRecord]:
        names = sorted(name for name in self._counters if name.startswith(prefix) and name > after)
        rows = (self._counters[name] for name in names)
        return [row for row in rows if row.created_at is not None][:limit]

    def latest(self, ends: Sequence[tuple[int, int]], limit: int) -> dict[int, list[OperationRecord]]:
        found = {id: [row for row in self._operations.get(id, ()) if row.seq > seq - limit] for id, seq in ends}
        return {id: rows for id, rows in found.items() if rows}

    def history(self, counter_id: int, before: int | None, limit: int) -> list[OperationRecord]:
        rows = self._operations.get(counter_id, [])
        return [row for row in reversed(rows) if before is None or row.seq < before][:limit]

    def since(self, counter_id: int, seq: int, limit: int) -> list[OperationRecord]:
        return [row for row in self._operations.get(counter_id, ()) if row.seq > seq][:limit]

    def added(self, counter_id: int, seq: int) -> int:
        rows = (row for row in self._operations.get(counter_id, ()) if row.seq > seq and row.type in ADDING)
        return sum(row.value - row.previous_value for row in rows)

    def forget(self, counter_id: int, seqs: Sequence[int]) -> None:
        if counter_id in self._operations:
            self._operations[counter_id] = [row for row in self._operations[counter_id] if row.seq not in set(seqs)]

    def memberships(self, keys: Sequence[Membership]) -> set[Membership]:
        return self._members.keys() & set(keys)

    def members(self, counter_id: int, after: str, limit: int) -> list[MemberRecord]:
        rows = sorted(row for row in self._members.values() if row.counter_id == counter_id and row.member > after)
        return rows[:limit]

    def due(self, steady: int, wall: int, limit: int) -> list[CounterRecord]:
        due = [row for row in self._counters.values() if row.due_at is not None and row.due_at <= steady]
        ticks = [row for row in self._counters.values() if row.tick_at is not None and row.tick_at <= wall]
        due.sort(key=lambda row: row.due_at or 0)
        ticks.sort(key=lambda row: row.tick_at or 0)
        return due[:limit] + ticks[:limit]

    def postpone(self, postponements: Sequence[Postponement]) -> None:
        for each in postponements:
            row = self._counters.get(self._names.get(each.id, ""))
            if row is not None and (row.due_at, row.tick_at, row.policy) == each[1:4]:
                self._counters[row.name] = row._replace(due_at=each.new_due_at, tick_at=each.new_tick_at)

    def after(self, id: int, limit: int) -> list[CounterRecord]:
        rows = sorted(row for row in self._counters.values() if row.id > id)
        return rows[:limit]

    def used(self, since: int, id: int, limit: int) -> list[CounterRecord]:
        return [row for row in self.after(id, len(self._counters)) if (row.idle_since or 0) >= since][:limit]

    def deleted(self, since: int, id: int, limit: int) -> list[OperationRecord]:
        rows = [row for rows in self._operations.values() for row in rows if row.type == DELETION]
        return sorted(row for row in rows if row.at >= since and row.counter_id > id)[:limit]

    def dead(self, before: int, limit: int) -> list[int]:
        last = (rows[-1] for rows in self._operations.values() if rows)
        return [row.counter_id for row in last if row.type == DELETION and row.at < before][:limit]

    def alarms(self, counter_id: int) -> list[AlarmRecord]:
        return sorted(each for each in self._alarms.values() if each.counter_id == counter_id)

    def alarm_runs(self, counter_id: int, limit: int) -> list[AlarmRunRecord]:
        runs = [run for run in self._runs if run.counter_id == counter_id]
        return sorted(runs, key=lambda run: (run.at, run.run), reverse=True)[:limit]

    def alarms_due(self, steady: int, wall: int, limit: int) -> list[tuple[str, AlarmRecord]]:
        due = sorted((each.due_at, each.id, each) for each in self._alarms.values() if each.due_at is not None)
        at = sorted((each.at, each.id, each) for each in self._alarms.values() if each.at is not None)
        found = [each for when, _, each in due if when <= steady][:limit]
        found += [each for when, _, each in at if when <= wall][:limit]
        return [(self._names[each.counter_id], each) for each in found]

    def _fits(self, step: AlarmStep) -> bool:
        """Whether the alarm is still as it was before the step."""
        alarm = self._alarms.get((step.before.counter_id, step.before.id))
        return alarm is not None and (alarm.key, alarm.run) == (step.before.key, step.before.run)

    def step_alarms(self, steps: Sequence[AlarmStep]) -> None:
        for each in steps:
            if not self._fits(each):
                continue
            before, after, run = each
            place = before.counter_id, before.id
            if after is None:
                del self._alarms[place]
            else:
                self._alarms[place] = after
            if run is not None:
                self._runs.append(run)
                self._ran.add((run.key, run.run))

    def agree(self, name: str, value: str) -> str:
        return self._notes.setdefault(name, value)

    def note(self, name: str, value: str) -> None:
        self._notes[name] = value

    def free(self) -> int | None:
        return None  # Nobody else is there.

    def close(self) -> None:
        self._counters.clear()
