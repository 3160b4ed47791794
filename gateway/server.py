"""uvicorn's server, looking at its clock once a second instead of ten times: an idle gateway is to be idle."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import uvicorn

TICK_S = 1.0  # The Date header is renewed as often.


class Server(uvicorn.Server):
    """A server that can be told to leave."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Accept nothing new, end what has begun, and return from `serve`."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), TICK_S)
