"""The timer's questions: whatever becomes of one, the next one is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from unittest.mock import patch

import pytest

from actors.core.policy import Policies
from actors.messages import Operation, Status
from actors.placement import HostEntry, Placement, Table
from actors.timer import Timer
from storage.memory import MemoryStore
from tests.support.clock import HandClock
from tests.support.loop import jumping, settle
from tests.support.stage import entry
from tests.support.storage_thread import HandThread


class OneHost:
    """The owner of everything, which is started again when the test says so."""

    def __init__(self) -> None:
        self.placement = Placement(Table(1, (entry("h", "1"),)))
        self.asked: list[list[str]] = []
        self._changed: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        self._changed.append(changed)

    def dedicate(self, name: str) -> None:
        """There is one."""

    async def operate(
        self, host: HostEntry, version: int, operations: Sequence[Operation]
    ) -> list[tuple[int, int, bytes]]:
        self.asked.append([each.name for each in operations])
        return [(each.tag, Status.OK, b"{}") for each in operations]

    def restart(self) -> None:
        table = self.placement.table
        self.placement = Placement(Table(table.version + 1, (entry("h", "2"),), previous=table.version))
        for changed in self._changed:
            changed()


@pytest.fixture(autouse=True)
def by_hand() -> Iterator[None]:
    with patch("actors.timer.StorageThread", HandThread):
        yield


@jumping
async def test_a_host_that_is_replaced_before_its_question_has_left_is_asked_again() -> None:
    owners, clock = OneHost(), HandClock()
    timer = Timer(MemoryStore(), owners, clock, lambda: 0.5, Policies())
    timer._agenda.put(("votes", ""), 0)
    timer._serve()
    owners.restart()  # In the same turn of the loop: the question is cancelled, and has not begun.
    await settle()
    clock.ms += 60_000
    timer._serve()
    await settle()
    assert owners.asked == [["votes"]]
    assert timer._asking == {}
    assert timer._agenda.next_at is None
