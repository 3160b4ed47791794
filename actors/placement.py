"""Where a counter lives: the versioned table from which everybody computes the same answer.

A name belongs to its dedicated host if it has one, else to the shared host with the highest score for it (rendezvous
hashing, Thaler and Ravishankar 1996): when a host comes or goes, only the names on it move.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

OWNERS_CACHED = 100_000  # Names whose owner is remembered until the table changes: about 20 MB.


class HostEntry(msgspec.Struct, frozen=True):
    """A living host. A restarted process has the same id and another incarnation."""

    id: str
    incarnation: str
    node: str
    unix: str | None  # Path of its socket, for gateways on the same node.
    tcp: str | None = None  # HOST:PORT, for the others.
    dedicated: str | None = None  # The one counter it runs; None: a shared host.


class Table(msgspec.Struct, frozen=True):
    """Who is there. A higher version is newer."""

    version: int = 0
    hosts: tuple[HostEntry, ...] = ()
    dedicate_all: bool = False  # Every awake counter has a host of its own.
    previous: int = 0  # The version before this one: who knows another has missed a table.


class Placement:
    """The table, made quick to ask."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.hosts = {host.id: host for host in table.hosts}
        self._shared = [(host.id, host.id.encode()) for host in table.hosts if host.dedicated is None]
        self._dedicated = {host.dedicated: host.id for host in table.hosts if host.dedicated is not None}
        self._owners: dict[str, str | None] = {}

    @classmethod
    def empty(cls) -> Placement:
        """Nobody is there yet."""
        return cls(Table())

    @property
    def version(self) -> int:
        return self.table.version

    def owner(self, name: str) -> str | None:
        """The id of the host that `name` belongs to; None when nobody can take it now."""
        try:
            return self._owners[name]
        except KeyError:
            pass
        owner = self._dedicated.get(name)
        if owner is None and not self.table.dedicate_all:
            owner = self._highest(name)
        if len(self._owners) >= OWNERS_CACHED:
            self._owners.clear()
        self._owners[name] = owner
        return owner

    def _highest(self, name: str) -> str | None:
        if len(self._shared) < 2:
            return self._shared[0][0] if self._shared else None
        key = name.encode()
        return max(self._shared, key=lambda host: (blake2b(key, digest_size=8, key=host[1][:64]).digest(), host[0]))[0]

    def any_host(self) -> str | None:
        """A host for questions that belong to no counter."""
        if self._shared:
            return self._shared[0][0]
        return next(iter(self.hosts), None)
