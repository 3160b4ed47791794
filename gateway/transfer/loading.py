"""What is made of the counters that come, what is left alone, and what is said about it.

A counter that is not there is made. One that is there, and the same, is left alone; so an import that was cut off is
simply run again. One that is there and different is left alone, too, and reported, unless it is to be replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from actors.clock import iso
from gateway.transfer.lines import Read
from storage.bulk import Bulk, Conflict, Whole
from storage.records import CounterRecord

BATCH = 1_000  # Counters in a transaction,
BATCH_ROWS = 20_000  # unless they have that many rows.


@dataclass
class Tally:
    """What became of counters."""

    made: int = 0
    same: int = 0
    different: int = 0
    refused: int = 0
    replaced: int = 0
    members: int = 0  # Of those that were made or replaced.
    mismatches: int = 0  # Between what a source counts and the members that it has.

    @property
    def good(self) -> bool:
        return not (self.different or self.refused or self.mismatches)

    def __str__(self) -> str:
        replaced = f", {self.replaced:,} replaced" if self.replaced else ""
        members = f" with {self.members:,} members" if self.members else ""
        mismatches = f", {self.mismatches:,} counted otherwise" if self.mismatches else ""
        return (
            f"{self.made:,} imported{replaced}{members}, {self.same:,} there already, {self.different:,} different, "
            f"{self.refused:,} refused{mismatches}"
        )


class Item(NamedTuple):
    """A counter and where it came from: `line 17: `, or nothing where its name says it."""

    place: str
    read: Read

    @property
    def row(self) -> CounterRecord:
        return self.read.whole.counter


class Loader:
    """Takes counters one by one, and writes them in batches."""

    def __init__(
        self, target: Bulk, report: Callable[[str], None], *, replacing: bool = False, writing: bool = True
    ) -> None:
        """`report` is given one line for each counter with which something is wrong. Without `writing` it compares."""
        self.tally = Tally()
        self._target = target
        self._report = report
        self._replacing = replacing
        self._writing = writing
        self._batch: dict[str, Item] = {}
        self._rows = 0
        self._open: tuple[Item, int | None] | None = None  # One that goes on, and its id; None: it is passed over.
        self._replaced: list[int] = []  # The ids of what it takes the place of.
        self._part = 1  # That has come of it,
        self._members = 0  # and so many members.

    def take(self, place: str, read: Read) -> None:
        """A counter, or the next part of the one before."""
        item = Item(place, read)
        name = item.row.name
        if self._open is not None and (self._open[0].row.name, self._part + 1) == (name, read.whole.part):
            self._go_on(item)
            return
        self._give_up_open()
        if read.whole.part > 1:
            self.refuse(f"{place}{name}", "goes on with a counter that is not in the line before")
            return
        if name in self._batch:
            self.flush()
        wrong = _contradiction(read.whole, len(read.whole.members))
        if wrong is not None:
            self.refuse(f"{place}{name}", wrong)
            return
        self._batch[name] = item
        self._rows += read.whole.rows
        if read.whole.more or len(self._batch) >= BATCH or self._rows >= BATCH_ROWS:
            self.flush()

    def refuse(self, place: str, why: str) -> None:
        """Something that is no counter has come."""
        self.tally.refused += 1
        self._report(f"{place}: {why}")

    def mismatch(self, place: str, why: str) -> None:
        """A source says two different things of one counter."""
        self.tally.mismatches += 1
        self._report(f"{place}: {why}")

    def finish(self) -> None:
        """Nothing more will come."""
        self.flush()
        self._give_up_open()

    def flush(self) -> None:
        """Write what has come so far."""
        batch, self._batch, self._rows = self._batch, {}, 0
        if not batch:
            return
        there = self._target.standing(list(batch))
        liking = [row.id for name, row in there.items() if batch[name].read.whole.members]
        members = self._target.members_of(liking) if liking else {}
        fresh: list[Item] = []
        doomed: list[int] = []
        replaced: list[int] = []
        for name, item in batch.items():
            row = there.get(name)
            if row is not None and row.created_at is not None:
                wrong = _difference(row, item.read, members.get(row.id))
                if wrong is None:
                    self.tally.same += 1
                    continue
                if not self._replacing:
                    self.tally.different += 1
                    self._report(f"{item.place}{name}: {wrong}")
                    continue
                # One that goes on takes its place when all of it is there.
                (replaced if item.read.whole.more else doomed).append(row.id)
            fresh.append(item)
        try:
            wholes = [_at_first(item.read.whole) for item in fresh]
            ids = self._target.make(wholes, doomed) if fresh and self._writing else {}
        except Conflict as conflict:
            self._one_by_one(fresh, conflict)
            return
        instead = len(doomed) + len(replaced)
        self.tally.made += len(fresh) - instead
        self.tally.replaced += instead
        self.tally.members += sum(len(item.read.whole.members) for item in fresh)
        last = next(reversed(batch.values()))
        if last.read.whole.more:
            self._open, self._part, self._replaced = (last, ids.get(last.row.name)), 1, replaced
            self._members = len(last.read.whole.members)

    def _one_by_one(self, items: Sequence[Item], conflict: Conflict) -> None:
        """One of them cannot be written; the others can."""
        if len(items) > 1:
            for item in items:
                self._batch[item.row.name] = item
                self.flush()
            return
        [item] = items
        self.refuse(f"{item.place}{item.row.name}", str(conflict))
        if item.read.whole.more:
            self._open, self._part = (item, None), 1

    def _go_on(self, item: Item) -> None:
        assert self._open is not None
        first, id = self._open
        whole = item.read.whole._replace(counter=first.row)
        if not whole.more:
            whole = whole._replace(alarms=first.read.whole.alarms, runs=first.read.whole.runs)
        self._open, self._part = ((first, id) if whole.more else None), whole.part
        if id is None:
            return
        self._members += len(whole.members)
        self.tally.members += len(whole.members)
        wrong = _contradiction(whole, self._members)
        try:
            if wrong is None:
                self._target.go_on(id, whole, self._replaced)
        except Conflict as conflict:
            wrong = str(conflict)
        if wrong is not None:
            self._open = first, id
            self._give_up_open(f"{item.place}{item.row.name}: {wrong}")

    def _give_up_open(self, why: str | None = None) -> None:
        if self._open is None:
            return
        (first, id), self._open = self._open, None
        if id is not None:
            self._target.remove([id])
            if self._replaced:
                self.tally.replaced -= 1
            else:
                self.tally.made -= 1
            self.tally.members -= self._members
            self.tally.refused += 1
            self._report(why or f"{first.place}{first.row.name}: the lines that it goes on in are missing")


def _at_first(whole: Whole) -> Whole:
    """What is made of it now. Alarms wait for the last part: until then nobody owns it who could run them."""
    return whole._replace(alarms=(), runs=()) if whole.more else whole


def _contradiction(whole: Whole, members: int) -> str | None:
    """What in a counter cannot be true; so many members have come of it, with this part."""
    row = whole.counter
    if not whole.more and members != row.value and (members or _likes(row)):
        return f"counts likes, and has {members} members, but its value is {row.value}"
    if whole.members and not _likes(row):
        return "has members, but its policy does not say that it counts likes"
    if whole.operations and whole.operations[-1].seq > row.seq:
        return f"its history goes to operation {whole.operations[-1].seq}, it has had {row.seq}"
    if not whole.operations or whole.more:
        return None
    last = whole.operations[-1]
    if (last.seq, last.value) != (row.seq, row.value):
        return f"its history ends with {last.value} (operation {last.seq}), it has {row.value} ({row.seq})"
    return None


def _likes(row: CounterRecord) -> bool:
    return row.policy is not None and "likes" in row.policy and bool(msgspec.json.decode(row.policy).get("likes"))


def _difference(there: CounterRecord, read: Read, members: int | None) -> str | None:
    """What one that is there, with so many members, is otherwise than the one that came."""
    row = read.whole.counter
    if read.whole.members and members != there.value:
        return f"has {members or 0} members here, and the value {there.value}"
    if read.bare:
        if there.value != row.value:
            return f"has the value {there.value} here, not {row.value}"
        return None if row.policy is None or _same_policy(there, row) else "has another policy here"
    if (there.value, there.seq) != (row.value, row.seq):
        return f"has {there.value} after {there.seq} operations here, not {row.value} after {row.seq}"
    if there.updated_at != row.updated_at:
        return f"was changed at {iso(there.updated_at or 0)} here, not at {iso(row.updated_at or 0)}"
    if (there.created_at, there.created_by) != (row.created_at, row.created_by):
        return "was created by somebody else, or at another time, here"
    return None if _same_policy(there, row) else "has another policy here"


def _same_policy(one: CounterRecord, other: CounterRecord) -> bool:
    if one.policy == other.policy:
        return True
    if one.policy is None or other.policy is None:
        return False
    same: bool = msgspec.json.decode(one.policy) == msgspec.json.decode(other.policy)
    return same
