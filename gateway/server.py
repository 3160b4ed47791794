"""uvicorn's server, looking at its clock once a second instead of ten times: an idle gateway is to be idle."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import uvicorn

LINGER_S = 0.2  # So long clients of a gateway that stops can learn from an answer that their connection ends.
LOOK_S = 0.02
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing new, answer what is under way, and end every connection."""
        for server in self.servers:
            server.close()
        # A request that arrives while we close an idle connection gets no answer. So busy ones are ended by an answer
        # that says so, and only those that are still there are closed.
        self.config.http_protocol_class.leaving = True  # type: ignore[attr-defined]
        await asyncio.sleep(LINGER_S)
        await super().shutdown(sockets)

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), TICK_S)

    async def ended(self, patience_s: float) -> None:
        """Returns when no connection is left, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self.server_state.connections:
                    await asyncio.sleep(LOOK_S)
