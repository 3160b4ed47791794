"""The counters in the memory of one host: which of them may sleep, which are busy, which were used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nlargest

from actors.activation import Activation
from actors.core.lifecycle import Event, State

HIBERNATE_AFTER_S = 10.0
RESIDENT_MAX = 100_000  # Counters in memory: about 130 MB.
BUSY_OPS_PER_S = 10.0  # A counter with fewer is not worth a word to the supervisor,
BUSIEST = 32  # and no more than so many are.


class Residents:
    """Activations by name, the longest idle first.

    One without operations for `hibernate_after` seconds may sleep, and so may the longest idle ones beyond `most`. All
    times are the host's monotonic ones. Between rounds only may one leave: a round relies on what it has loaded.
    """

    def __init__(self, hibernate_after: float, most: int, tell_touched: bool) -> None:
        self._hibernate_after = hibernate_after
        self._most = most
        self.by_name: dict[str, Activation] = {}
        self._busy: dict[str, Activation] = {}
        self._touched: dict[str, int | None] | None = {} if tell_touched else None

    @property
    def surplus(self) -> int:
        """So many more than there may be."""
        return len(self.by_name) - self._most

    def touch(self, names: Iterable[str], now: float) -> None:
        """These were needed just now: they will be the last to sleep."""
        by_name = self.by_name
        for name in names:
            activation = by_name.pop(name, None)
            if activation is not None:
                by_name[name] = activation
                if self._touched is not None and activation.counter.policy.reset_after is not None:
                    self._touched[name] = activation.due_at
                if activation.touch(now) >= BUSY_OPS_PER_S:
                    self._busy[name] = activation

    def hibernate(self, now: float) -> list[str]:
        """Let those sleep that have been idle for long, and the longest idle of too many. Returns their names."""
        idle_since, surplus = now - self._hibernate_after, self.surplus
        asleep: list[str] = []
        for name, activation in self.by_name.items():
            if activation.touched_at > idle_since and len(asleep) >= surplus:
                break
            activation.on(Event.IDLE)
            asleep.append(name)
        self._drop(asleep)
        return asleep

    def release(self, owned: Callable[[str], bool]) -> int:
        """Let go of those that have to leave, and of those that are not `owned` any more. Returns how many went."""
        leaving: list[str] = []
        for name, activation in self.by_name.items():
            if activation.state is State.ACTIVE and not owned(name):  # Loaded since the table came.
                activation.on(Event.MOVED)
            if activation.state is not State.ACTIVE:
                leaving.append(name)
        self._drop(leaving)
        return len(leaving)

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            self._busy.pop(name, None)
            self.by_name.pop(name).on(Event.RELEASE)

    def activity(self, now: float) -> list[tuple[str, float]]:
        """The busiest and their operations a second; empty when there is nothing to speak of."""
        rates = [(name, activation.ops_per_s(now)) for name, activation in self._busy.items()]
        for name, rate in rates:
            if rate < BUSY_OPS_PER_S or name not in self.by_name:
                del self._busy[name]
        return nlargest(BUSIEST, (each for each in rates if each[0] in self._busy), key=lambda each: each[1])

    def touched(self) -> dict[str, int | None]:
        """Those that may reset themselves and were used since the last time, with the steady time of that."""
        touched, self._touched = self._touched or {}, {}
        return touched
