"""Whoever follows the table goes on, whatever its listeners do with it."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

from actors.directory import RayDirectory
from actors.placement import Table
from tests.support.loop import jumping


@jumping
async def test_a_listener_that_breaks_does_not_leave_the_process_on_its_table() -> None:
    tables = iter([Table(1), Table(2, previous=1)])
    followed = asyncio.Event()

    async def call(method: str, version: int) -> Table:
        table = next(tables, None)
        if table is None:
            followed.set()
            await asyncio.Event().wait()
        assert table is not None
        return table

    def breaks() -> None:
        if directory.placement.version == 1:
            raise ValueError("a bug of ours")

    directory = RayDirectory()
    directory.subscribe(breaks)
    with patch.object(directory, "call", call):
        task = asyncio.create_task(directory.follow())
        await followed.wait()
        task.cancel()
    assert directory.placement.version == 2
