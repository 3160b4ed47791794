"""Operations without an answer: how many, in which order they are sent, and until when an answer is of use."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum

from counters_client.errors import OutboxFull


class Stage(Enum):
    """Where an operation is."""

    WAITING = "waiting"  # To be sent as soon as there is room.
    SENT = "sent"  # On this connection; the answer is yet to come.
    RESTING = "resting"  # It was answered with an error that asks to come again later.


@dataclass
class Entry:
    """One operation. `text` is the message, the same each time it is sent."""

    id: str
    text: str
    deadline: float
    sends: int = 0
    stage: Stage = Stage.WAITING
    wakes_at: float = 0.0
    trouble: str = ""  # Why the service could not do it the last time.


class Outbox:
    """At most `size` operations, of which at most `window` are on their way at any time.

    Deadlines are in the order in which operations are added.
    """

    def __init__(self, size: int, window: int) -> None:
        self._size = size
        self._window = window
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._queue: deque[Entry] = deque()  # Those that wait; and some that do not any more, which are passed over.
        self._resting: list[Entry] = []
        self._sent = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Take an operation. Raises OutboxFull."""
        if len(self._entries) >= self._size:
            raise OutboxFull(f"{self._size} operations have no answer yet")
        self._entries[entry.id] = entry
        self._queue.append(entry)

    def take(self) -> list[Entry]:
        """What is to be sent now, in order; it is on its way afterwards."""
        entries = []
        while self._queue and self._sent < self._window:
            entry = self._queue.popleft()
            if entry.stage is Stage.WAITING and entry.id in self._entries:
                entry.stage = Stage.SENT
                entry.sends += 1
                self._sent += 1
                entries.append(entry)
        return entries

    def remove(self, id: str) -> Entry | None:
        """It has its answer, or nobody waits for it any more. None if it is not here."""
        entry = self._entries.pop(id, None)
        if entry is not None and entry.stage is Stage.SENT:
            self._sent -= 1
        return entry

    def find(self, id: str) -> Entry | None:
        """The operation, if it is here."""
        return self._entries.get(id)

    def rest(self, entry: Entry, until: float) -> None:
        """Send it again, but not before `until`."""
        if entry.stage is Stage.SENT:
            self._sent -= 1
        entry.stage = Stage.RESTING
        entry.wakes_at = until
        self._resting.append(entry)

    def rewind(self) -> None:
        """The connection is gone: what was on its way has to be sent again, in its order and before all else."""
        self._sent = 0
        for entry in self._entries.values():
            if entry.stage is Stage.SENT:
                entry.stage = Stage.WAITING
        self._queue = deque(entry for entry in self._entries.values() if entry.stage is Stage.WAITING)

    def tick(self, now: float) -> list[Entry]:
        """Wake those that have rested; take out and return those whose time is over."""
        awake = [entry for entry in self._resting if entry.wakes_at <= now]
        if awake:
            self._resting = [entry for entry in self._resting if entry.wakes_at > now]
            for entry in awake:
                entry.stage = Stage.WAITING
            self._queue.extend(awake)
        late = []
        while self._entries and (first := next(iter(self._entries.values()))).deadline <= now:
            self.remove(first.id)
            late.append(first)
        return late

    def clear(self) -> list[Entry]:
        """Take out everything, in order."""
        entries = list(self._entries.values())
        self._entries.clear()
        self._queue.clear()
        self._resting.clear()
        self._sent = 0
        return entries

    @property
    def due(self) -> float | None:
        """When `tick` has something to do; None if nothing is here."""
        if not self._entries:
            return None
        first = next(iter(self._entries.values())).deadline
        return min([first, *(entry.wakes_at for entry in self._resting)])
