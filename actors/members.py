"""Who is known to like what: the answers of storage, and what was changed since, for the likes asked for lately."""

from __future__ import annotations

from collections import OrderedDict

KNOWN_MAX = 20_000  # 5 MB, with names of the usual length. A round of operations needs a thousand at most.


class Members:
    """Belongs to a host. What it says of an activation is as new as that.

    A membership is known under the epoch of the counter, so nothing has to be done when a counter is given up, fenced
    or lost: whoever loads it again asks storage again.
    """

    def __init__(self, limit: int = KNOWN_MAX) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[int, int, str], bool] = OrderedDict()  # The longest unused first.

    def __len__(self) -> int:
        return len(self._known)

    def find(self, counter_id: int, epoch: int, member: str) -> bool | None:
        """Whether `member` likes the counter; None: storage has to be asked."""
        key = counter_id, epoch, member
        there = self._known.get(key)
        if there is not None:
            self._known.move_to_end(key)
        return there

    def set(self, counter_id: int, epoch: int, member: str, there: bool) -> None:
        """It is known now."""
        self._known[counter_id, epoch, member] = there
        self._known.move_to_end((counter_id, epoch, member))
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, counter_id: int) -> None:
        """All members of a counter have gone. Rare, so nothing is kept to make it quick."""
        for key in [key for key in self._known if key[0] == counter_id]:
            del self._known[key]
