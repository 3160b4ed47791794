"""How far the stream of one counter has come: what is new, what was heard before, what is missing."""

from __future__ import annotations

from enum import Enum

from counters_client.records import Event, Position


class Verdict(Enum):
    """What an event is to a stream."""

    NEW = "new"
    OLD = "old"  # Heard before.
    GAP = "gap"  # Something before it is missing: not to be handed on, but to be asked for again.


class Follow:
    """The stream of one counter.

    Position = (life, seq): an event is new if it follows directly on what was heard last. A snapshot is how the counter
    stands, so it is new unless it is what we know. When `every` is false (a filter, a rate) gaps are expected.
    """

    __slots__ = ("_ended", "_every", "asked", "newest", "position")

    def __init__(self, position: Position | None = None, every: bool = True) -> None:
        self.position = position
        self.newest: Event | None = None
        self.asked = False  # On this connection, and the first answer is yet to come.
        self._every = every
        self._ended = 0  # The newest life that is known to be over.

    def take(self, event: Event) -> Verdict:
        """Judge an event, and go on from it if it is new."""
        verdict = self._judge(event)
        if verdict is Verdict.GAP:
            return verdict
        # What is old answers a question, too: it was repeated up to a place that we have already come to.
        self.asked = False
        if verdict is Verdict.NEW:
            self.newest = event
            self.position = event.position
            if event.reason == "deleted":
                # The next one of this name is another counter, and begins with 1.
                self._ended = event.position.life
                self.position = Position(0, 0)
        return verdict

    def _judge(self, event: Event) -> Verdict:
        life, seq = event.position
        before = self.position
        if event.type == "snapshot":
            return Verdict.OLD if before == (life, seq) and self.newest is not None else Verdict.NEW
        if life <= self._ended or (before is not None and (life, seq) <= before):
            return Verdict.OLD
        if before is None:
            # Nothing is known until the snapshot has come that was asked for.
            return Verdict.GAP
        heard = before.seq if life == before.life else 0
        return Verdict.GAP if self._every and seq - event.operations > heard else Verdict.NEW
