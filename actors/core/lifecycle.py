"""The life of an activation, as a table.

Whatever may happen to a counter in a host is a row here; what has no row cannot happen, and `after` says so. The
diagram in docs/architecture.md is made from the table.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a counter is, as one host sees it."""

    ASLEEP = "asleep"  # Not in memory. Reads come from storage.
    LOADING = "loading"  # Being claimed: epoch + 1, row and newest history on their way.
    ACTIVE = "active"  # In memory, takes operations.
    DRAINING = "draining"  # Takes no more; leaves when the round that is under way has ended.
    FENCED = "fenced"  # Somebody else owns it. Nothing that is left of it may be shown or written.


class Event(StrEnum):
    """What happens to it."""

    WAKE = "wake"  # An operation has come.
    LOADED = "loaded"  # Claimed and read.
    REFUSED = "refused"  # Somebody claimed it by a newer table, or storage could not be asked.
    IDLE = "idle"  # No operation for `hibernate_after`, or the longest without one of too many.
    MOVED = "moved"  # A newer table gives it to somebody else, or may have done so in between.
    LOST = "lost"  # Its commit failed, or it was deleted: memory is not what storage has.
    FENCE = "fence"  # Storage says that somebody else has claimed it.
    RELEASE = "release"  # Out of memory.


TABLE: dict[tuple[State, Event], State] = {
    (State.ASLEEP, Event.WAKE): State.LOADING,
    (State.LOADING, Event.LOADED): State.ACTIVE,
    (State.LOADING, Event.REFUSED): State.ASLEEP,
    (State.ACTIVE, Event.IDLE): State.DRAINING,
    (State.ACTIVE, Event.MOVED): State.DRAINING,
    (State.ACTIVE, Event.LOST): State.DRAINING,
    (State.ACTIVE, Event.FENCE): State.FENCED,
    (State.DRAINING, Event.MOVED): State.DRAINING,
    (State.DRAINING, Event.LOST): State.DRAINING,
    (State.DRAINING, Event.FENCE): State.FENCED,
    (State.DRAINING, Event.RELEASE): State.ASLEEP,
    (State.FENCED, Event.MOVED): State.FENCED,
    (State.FENCED, Event.LOST): State.FENCED,
    (State.FENCED, Event.FENCE): State.FENCED,
    (State.FENCED, Event.RELEASE): State.ASLEEP,
}


def after(state: State, event: Event) -> State:
    """The state that follows. Raises AssertionError for what cannot happen: that is our own mistake."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise AssertionError(f"{event} cannot happen to a counter that is {state}") from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (before, event), then in TABLE.items():
        if before is not then:
            arrows.setdefault((before, then), []).append(event)
    lines = [f"    {before} --> {then}: {', '.join(events)}" for (before, then), events in arrows.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.ASLEEP}", *lines])
