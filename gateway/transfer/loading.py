"""What is made of the counters that come, what is left alone, and what is said about it.

A counter that is not there is made. One that is there, and the same, is left alone; so an import that was cut off is
simply run again. One that is there and different is left alone, too, and reported, unless it is to be replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from actors.clock import iso
from gateway.transfer.lines import Read
from storage.bulk import Bulk, Whole
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

    @property
    def good(self) -> bool:
        return not self.different and not self.refused

    def __str__(self) -> str:
        replaced = f", {self.replaced:,} replaced" if self.replaced else ""
        return (
            f"{self.made:,} imported{replaced}, {self.same:,} there already, {self.different:,} different, "
            f"{self.refused:,} refused"
        )


class Item(NamedTuple):
    """A counter and where it came from: `line 17`."""

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
        self._part = 1  # That has come of it.

    def take(self, place: str, read: Read) -> None:
        """A counter, or the next part of the one before."""
        item = Item(place, read)
        name = item.row.name
        if self._open is not None and (self._open[0].row.name, self._part + 1) == (name, read.whole.part):
            self._go_on(item)
            return
        self._give_up_open()
        if read.whole.part > 1:
            self.refuse(place, f"{name}: goes on with a counter that is not in the line before")
            return
        if name in self._batch:
            self.flush()
        wrong = _contradiction(read.whole)
        if wrong is not None:
            self.refuse(place, f"{name}: {wrong}")
            return
        self._batch[name] = item
        self._rows += read.whole.rows
        if read.whole.more or len(self._batch) >= BATCH or self._rows >= BATCH_ROWS:
            self.flush()

    def refuse(self, place: str, why: str) -> None:
        """Something that is no counter has come."""
        self.tally.refused += 1
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
        fresh, doomed, tally = [], [], replace(self.tally)
        for name, item in batch.items():
            row = there.get(name)
            if row is None or row.created_at is None:
                tally.made += 1
            elif (wrong := _difference(row, item.read)) is None:
                tally.same += 1
                continue
            elif self._replacing:
                tally.replaced += 1
            else:
                tally.different += 1
                self._report(f"{item.place}: {name}: {wrong}")
                continue
            fresh.append(item)
            if row is not None:
                doomed.append(row.id)
        ids = self._target.make([item.read.whole for item in fresh], doomed) if fresh and self._writing else {}
        self.tally = tally
        last = next(reversed(batch.values()))
        if last.read.whole.more:
            self._open, self._part = (last, ids.get(last.row.name)), 1

    def _go_on(self, item: Item) -> None:
        assert self._open is not None
        first, id = self._open
        whole = item.read.whole._replace(counter=first.row)
        self._open, self._part = ((first, id) if whole.more else None), whole.part
        if id is None:
            return
        wrong = _contradiction(whole)
        if wrong is None and not self._target.go_on(id, whole):
            wrong = "somebody has begun it anew meanwhile"
        if wrong is not None:
            self._open = first, id
            self._give_up_open(f"{item.place}: {item.row.name}: {wrong}")

    def _give_up_open(self, why: str | None = None) -> None:
        if self._open is None:
            return
        (first, id), self._open = self._open, None
        if id is not None:
            self._target.remove([id])
            self.tally.made -= 1
            self.tally.refused += 1
            self._report(why or f"{first.place}: {first.row.name}: the lines that it goes on in are missing")


def _contradiction(whole: Whole) -> str | None:
    """What in a counter cannot be true."""
    row = whole.counter
    if whole.operations and whole.operations[-1].seq > row.seq:
        return f"its history goes to operation {whole.operations[-1].seq}, it has had {row.seq}"
    if not whole.operations or whole.more:
        return None
    last = whole.operations[-1]
    if (last.seq, last.value) != (row.seq, row.value):
        return f"its history ends with {last.value} (operation {last.seq}), it has {row.value} ({row.seq})"
    return None


def _difference(there: CounterRecord, read: Read) -> str | None:
    """What one that is there is otherwise than the one that came."""
    row = read.whole.counter
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
