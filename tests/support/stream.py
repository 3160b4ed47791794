"""What one subscriber was sent, judged against what happened: in order, nothing twice, nothing left out."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from tests.support.frames import messages

EVENTS = ("increment", "decrement", "setValue", "reset")


class Place(NamedTuple):
    """Where a counter stands: which life of it, and how many operations of that life."""

    id: int
    seq: int


class Truth:
    """Everything that happened to one counter, life by life. A counter that is not there stands at (0, 0)."""

    def __init__(self) -> None:
        self.events: dict[Place, dict[str, Any]] = {}  # In the order in which they happened.
        self.order: dict[Place, int] = {}
        self.ends: dict[int, int] = {}  # Life → seq of its deletion.
        self.now = Place(0, 0)

    def add(self, event: dict[str, Any]) -> None:
        """The next event, as a subscriber is sent it."""
        place = place_of(event)
        assert place not in self.events
        self.order[place] = len(self.events)
        self.events[place] = event
        if event.get("reason") == "deleted":
            self.ends[place.id] = place.seq
            self.now = Place(0, 0)
        else:
            self.now = place

    def follows(self, place: Place, seen: Place) -> bool:
        """Whether the event at `place` is the first that somebody at `seen` has not seen."""
        if place.id == seen.id:
            return place.seq == seen.seq + 1
        return place.seq == 1 and place.id > seen.id


def place_of(message: dict[str, Any]) -> Place:
    return Place(message["metadata"]["id"], message["metadata"]["operationCount"])


class Stream:
    """One subscriber: `take` what its socket was written, `end` when everything has come to rest."""

    def __init__(
        self, truth: Truth, seen: Place | None = None, joined: int | None = None, complete: bool = True
    ) -> None:
        self.truth = truth
        self.seen = seen  # None: not known; the first message says where it begins.
        self.joined = joined  # How many events there were when it joined: from then on it misses none. None: no matter.
        self.complete = complete  # Every event is owed; not to somebody with a filter.
        self.heard: list[dict[str, Any]] = []
        self.others: list[dict[str, Any]] = []  # Answers, errors, pongs.

    def take(self, data: bytes) -> None:
        """Whole frames."""
        for text in messages(data):
            message = json.loads(text)
            if message["type"] == "snapshot":
                self._snapshot(message)
            elif message["type"] in EVENTS:
                self._event(message)
            else:
                self.others.append(message)

    def _snapshot(self, message: dict[str, Any]) -> None:
        place = place_of(message)
        if place.id == 0:
            place = Place(0, 0)
            assert message["value"] == 0, message
            gone = self.seen is None or self.seen.id in (0, *self.truth.ends)
            assert gone, f"{self.seen} still lives: {message}"
        elif place.seq:
            event = self.truth.events[place]
            for field in ("value", "metadata", "timestamp"):
                assert message[field] == event[field], (message, event)
        assert self.seen is None or place.id == 0 or place >= self.seen, f"{message} after {self.seen}"
        self.seen = place
        self.heard.append(message)

    def _event(self, message: dict[str, Any]) -> None:
        place = place_of(message)
        count = message.get("operations", 1)
        event = self.truth.events[place]
        if count == 1:
            assert message == event, (message, event)
        else:
            first = self.truth.events.get(Place(place.id, place.seq - count + 1))
            expected = {key: value for key, value in event.items() if key != "member"}  # It may have been several.
            expected["operations"] = count
            # Of the first that was missed; after a jump, or another life, nobody knows that one.
            if first is not None and message["previousValue"] == first["previousValue"]:
                expected["previousValue"] = first["previousValue"]
            elif self.seen is not None and self.seen.id != place.id:
                expected["previousValue"] = message["previousValue"]
            assert message == expected, (message, expected)
        if self.seen is not None:
            before = Place(place.id, place.seq - count + 1)
            if self.complete:
                assert self.truth.follows(before, self.seen), f"{message} after {self.seen}"
            else:
                assert place > self.seen, f"{message} after {self.seen}"
        elif self.complete and self.joined is not None:
            first = self.truth.order[place] - count + 1 <= self.joined or place.seq == count
            assert first, f"{message} comes after one that was missed"
        self.seen = place
        self.heard.append(message)

    def end(self) -> None:
        """It knows the true value, if it knows any."""
        if self.seen is None:
            if self.complete and self.joined is not None:
                gone = self.truth.now == Place(0, 0)  # As if nothing had been.
                assert gone or len(self.truth.events) <= self.joined, "it was told nothing"
            return
        if not self.complete:
            return
        now = self.truth.now
        if now == Place(0, 0):
            assert self.seen.seq in (0, self.truth.ends.get(self.seen.id)), (self.seen, now)
        else:
            assert self.seen == now, (self.seen, now)
