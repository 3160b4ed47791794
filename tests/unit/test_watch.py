"""A gateway asks where thousands of counters stand: operations go on meanwhile, and nothing old is said after them."""

from __future__ import annotations

from collections.abc import Callable

from actors.host import PLACED_MAX
from actors.messages import Position, Status, Watch
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
