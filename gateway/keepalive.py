"""Finding sockets whose peer is gone without a word: a laptop that was closed, a cable that was pulled.

One timer for all sockets of a gateway. Every second a twentieth of them is looked at: one that was heard from lately is
left alone, a silent one is sent a ping, and one that has not answered the last ping is given up. One that has not
read what was sent is left alone too: a ping would wait behind that. The kernel ends it when it reads nothing for
`STALLED_MS`.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Protocol

STALLED_MS = 300_000  # For TCP_USER_TIMEOUT, which also ends a peer that is there but keeps its window shut.
PERIOD_S = 20  # How often a socket is looked at. A dead one is found after two to three periods.


class Peer(Protocol):
    """A socket that can be looked at."""

    heard: bool  # Something arrived since the last look.
    pinged: bool  # The last ping is not answered.

    @property
    def blocked(self) -> bool:
        """What was written before is not read yet."""
        ...

    def ping(self) -> None: ...

    def give_up(self) -> None: ...


class Keepalive:
    """Looks at sockets, a part of them every second."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parts: list[set[Peer]] = [set() for _ in range(PERIOD_S)]
        self._turns = count()
        self._next = 0
        self._timer = self._loop.call_later(1, self._tick)

    def add(self, peer: Peer) -> int:
        """Look at `peer` from now on. Returns what `discard` wants to know."""
        part = next(self._turns) % PERIOD_S
        self._parts[part].add(peer)
        return part

    def discard(self, part: int, peer: Peer) -> None:
        """Look at `peer` no more."""
        self._parts[part].discard(peer)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(1, self._tick)
        self.look(self._next)
        self._next = (self._next + 1) % PERIOD_S

    def look(self, part: int) -> None:
        """Look at one part of the sockets."""
        for peer in list(self._parts[part]):
            if peer.heard or peer.blocked:
                peer.heard = peer.pinged = False
            elif peer.pinged:
                peer.give_up()
            else:
                peer.pinged = True
                peer.ping()
