"""Events that nobody has read yet, joined when they are too many: a slow reader gets the newest state."""

from __future__ import annotations

from collections import deque

import msgspec

from counters_client.records import Event


def join(first: Event, second: Event) -> Event:
    """One event that stands for both, as the service joins them: the newer one, from where the older one began."""
    if "snapshot" in (first.type, second.type):
        return msgspec.structs.replace(second, type="snapshot", previous_value=None, reason=None, operations=1)
    same_life = first.metadata.id == second.metadata.id
    operations = second.operations + (first.operations if same_life else 0)
    return msgspec.structs.replace(second, previous_value=first.previous_value, operations=operations)


class Backlog:
    """What waits for one reader: `size` events, and one more for each counter at most."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._events: deque[list[Event]] = deque()
        self._newest: dict[str, list[Event]] = {}  # The last one of each counter that waits, in a cell of its own.

    def __len__(self) -> int:
        return len(self._events)

    def push(self, event: Event) -> None:
        """Add an event; beyond the size it is joined with the last one of its counter."""
        cell = self._newest.get(event.name)
        if cell is not None and len(self._events) >= self._size:
            cell[0] = join(cell[0], event)
            return
        cell = [event]
        self._events.append(cell)
        self._newest[event.name] = cell

    def pop(self) -> Event:
        """The oldest. Raises IndexError when there is none."""
        cell = self._events.popleft()
        event = cell[0]
        if self._newest.get(event.name) is cell:
            del self._newest[event.name]
        return event
