"""The life of an activation: the table, and that the documents show the same one."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from actors.core.lifecycle import TABLE, Event, State, after, diagram

ARCHITECTURE = Path(__file__).parents[2] / "docs/architecture.md"
DIAGRAM = re.compile(r"(?<=```mermaid\n)stateDiagram-v2.*?(?=\n```)", re.DOTALL)


def test_what_has_no_row_cannot_happen() -> None:
    assert after(State.ACTIVE, Event.IDLE) is State.DRAINING
    with pytest.raises(AssertionError, match="loaded cannot happen to a counter that is active"):
        after(State.ACTIVE, Event.LOADED)


def test_every_state_can_be_reached_and_left_for_sleep() -> None:
    reached = {State.ASLEEP}
    while more := {then for (before, _), then in TABLE.items() if before in reached} - reached:
        reached |= more
    assert reached == set(State)
    for state in State:
        assert State.ASLEEP in _all_after(state), state


def _all_after(state: State) -> set[State]:
    found: set[State] = set()
    wanted = {state}
    while wanted:
        found |= wanted
        wanted = {then for (before, _), then in TABLE.items() if before in wanted} - found
    return found


def test_whatever_was_loaded_can_be_fenced() -> None:
    for state in (State.ACTIVE, State.DRAINING, State.FENCED):
        assert after(state, Event.FENCE) is State.FENCED


def test_what_is_fenced_only_leaves() -> None:
    assert {then for (before, _), then in TABLE.items() if before is State.FENCED} == {State.FENCED, State.ASLEEP}


def test_the_documents_show_this_table() -> None:
    text = ARCHITECTURE.read_text()
    if os.environ.get("REWRITE"):
        ARCHITECTURE.write_text(DIAGRAM.sub(lambda _: diagram(), text))
    else:
        assert DIAGRAM.findall(text) == [diagram()], "REWRITE=1 brings it up to date"
