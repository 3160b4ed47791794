"""A gateway asks where thousands of counters stand: operations go on meanwhile, and nothing old is said after them."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest

from actors.host import PLACED_MAX
from actors.messages import Position, Status, Unwatch, Watch
from actors.queries import MISSED_MAX
from tests.support.link import RecordingLink
from tests.support.loop import jumping, settle
from tests.support.stage import operation, stage

NAMES = [f"seat{n:03}" for n in range(4 * PLACED_MAX)]


class InterruptedLink(RecordingLink):
    """Has something happen when it is told the first position."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens = happens

    def place(self, position: Position) -> None:
        if not self.positions:
            self._happens()
        super().place(position)


class TestTakenBack:
    @jumping
    async def test_who_stops_watching_in_the_same_breath_is_not_told(self) -> None:
        async with stage() as s:
            s.host.receive(s.link, Watch([("votes", -1, 0)]))  # type: ignore[arg-type]
            s.host.receive(s.link, Unwatch(["votes"]))  # type: ignore[arg-type]
            await s.work()
            await s.call(operation())
            assert not [each for each in s.link.said if each[0] == "burst"]


class TestQuestions:
    @jumping
    async def test_one_that_breaks_is_answered_all_the_same(self) -> None:
        async with stage() as s:
            with patch("actors.queries.answer", side_effect=ValueError("a bug of ours")):
                assert await s.asked("value", "votes") == (Status.UNAVAILABLE, None)


class TestFarBehind:
    @pytest.mark.parametrize("ends", ["increment", "delete"])
    @jumping
    async def test_the_state_in_place_of_the_events_is_the_one_when_it_is_said(self, ends: str) -> None:
        async with stage() as s:
            await s.call(*(operation() for _ in range(MISSED_MAX + 2)))
            s.watch("votes", 1, 0)  # It reads the state,
            await settle()
            s.send(operation(ends, 0 if ends == "delete" else 1))  # which is committed anew before the events are.
            await s.work()
            said = [position for position in s.link.positions if position.asked == 1]
            assert [(each.counter_id, each.seq) for each in said] == [
                (0, 0) if ends == "delete" else (1, MISSED_MAX + 3)
            ]


class TestManyPositions:
    @jumping
    async def test_an_operation_is_answered_between_them_and_its_counter_is_told_as_it_is_by_then(self) -> None:
        async with stage() as s:
            await s.call(*(operation(name=name) for name in NAMES))

            def commits() -> None:
                job = s.thread.take_round()
                job.future.set_result(job.work())

            other = InterruptedLink(commits)
            s.host.link_opened(other)  # type: ignore[arg-type]
            s.host.receive(other, Watch([(name, -1, 0) for name in NAMES]))  # type: ignore[arg-type]
            await settle()
            [tag] = s.send(operation(name=NAMES[-1]), link=other)
            await settle()
            await s.thread.finish("read")  # And with it, in one go, everything that follows.

            assert other.answers[tag][0] is Status.OK
            told = {each.name: each.seq for each in other.positions}
            assert told == {name: 1 for name in NAMES[:-1]} | {NAMES[-1]: 2}
            event = other.said.index(("burst", 2, 1))
            assert PLACED_MAX - 1 <= event < 2 * PLACED_MAX, "the operation waited for all the positions"
