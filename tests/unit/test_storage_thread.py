"""Blocking calls, one after the other, away from the loop. The thread here is a real one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from storage.errors import StorageUnavailable
from storage.thread import StorageThread


def with_thread(test: Callable[[Any, StorageThread], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    async def play(self: Any) -> None:
        thread = StorageThread()
        try:
            await test(self, thread)
        finally:
            thread.close()

    return lambda self: asyncio.run(play(self))


class TestStorageThread:
    @with_thread
    async def test_a_call_happens_elsewhere_and_its_result_comes_back(self, thread: StorageThread) -> None:
        assert await thread.call(lambda a, b: a + b, 1, 2) == 3
        assert await thread.call(threading.get_ident) != threading.get_ident()

    @with_thread
    async def test_calls_and_their_results_keep_their_order(self, thread: StorageThread) -> None:
        happened: list[int] = []
        heard: list[int] = []
        calls = [thread.call(happened.append, number) for number in range(100)]
        for number, call in enumerate(calls):
            call.add_done_callback(lambda _, number=number: heard.append(number))  # type: ignore[misc]
        await asyncio.gather(*calls)
        await asyncio.sleep(0)
        assert happened == heard == list(range(100))

    @with_thread
    async def test_an_error_is_raised_where_it_is_waited_for(self, thread: StorageThread) -> None:
        def fails() -> None:
            raise StorageUnavailable("away")

        with pytest.raises(StorageUnavailable, match="away"):
            await thread.call(fails)
        assert await thread.call(lambda: "still there") == "still there"

    @with_thread
    async def test_nobody_has_to_wait_for_a_result(self, thread: StorageThread) -> None:
        go = threading.Event()
        call = thread.call(go.wait)
        call.cancel()
        go.set()
        assert await thread.call(lambda: "next") == "next"

    def test_closing_waits_for_what_was_asked_for(self) -> None:
        done: list[int] = []

        async def play() -> None:
            thread = StorageThread()
            calls = [thread.call(done.append, number) for number in range(50)]
            thread.close()
            assert done == list(range(50))
            await asyncio.gather(*calls)

        asyncio.run(play())
