"""Where a counter lives: the versioned table from which everybody computes the same answer.

A name belongs to its dedicated host if it has one, else to the shared host with the highest score for it (rendezvous
hashing, Thaler and Ravishankar 1996): when a host comes or goes, only the names on it move.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

import msgspec

OWNERS_CACHED = 100_000  # Names whose shared host is remembered until those hosts change: about 20 MB.


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
    shared: int = 0  # So many shared hosts there should be. It stands here so that it outlives the supervisor.


class Placement:
    """The table, made quick to ask."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.hosts = {host.id: host for host in table.hosts}
        self._shared = {host.id: host for host in table.hosts if host.dedicated is None}
        self._dedicated = {host.dedicated: host.id for host in table.hosts if host.dedicated is not None}
        self._highest: dict[str, str] = {}

    @classmethod
    def empty(cls) -> Placement:
        """Nobody is there yet."""
        return cls(Table())

    def followed_by(self, table: Table) -> Placement:
        """The placement that `table` makes of this one. What the two have in common is not computed again."""
        after = Placement(table)
        if after._shared.keys() == self._shared.keys():
            after._highest = self._highest
        return after

    @property
    def version(self) -> int:
        return self.table.version

    def owner(self, name: str) -> str | None:
        """The id of the host that `name` belongs to; None when nobody can take it now."""
        owner = self._dedicated.get(name)
        if owner is None and not self.table.dedicate_all:
            owner = self._shared_host(name)
        return owner

    def keeper(self, name: str) -> str | None:
        """The id of the host that knows who watches `name`: its owner or, while it has none, a shared host."""
        return self._dedicated.get(name) or self._shared_host(name)

    def moved(self, before: Placement, names: Collection[str]) -> list[str]:
        """Those of `names` whose keeper is another process than it was `before`."""
        if self._shared == before._shared:  # Then nothing has changed but who has a host of its own.
            names = [name for name in dict.fromkeys([*before._dedicated, *self._dedicated]) if name in names]
        return [name for name in names if self.process(name) != before.process(name)]

    def process(self, name: str) -> HostEntry | None:
        """The keeper of `name`, and which of its lives."""
        keeper = self.keeper(name)
        return self.hosts[keeper] if keeper is not None else None

    def _shared_host(self, name: str) -> str | None:
        if len(self._shared) < 2:
            return next(iter(self._shared), None)
        try:
            return self._highest[name]
        except KeyError:
            pass
        if len(self._highest) >= OWNERS_CACHED:
            self._highest.clear()
        key = name.encode()
        highest = max(self._shared, key=lambda id: (blake2b(key, digest_size=8, key=id.encode()[:64]).digest(), id))
        self._highest[name] = highest
        return highest

    def any_host(self) -> str | None:
        """A host for questions that belong to no counter."""
        return next(iter(self._shared), None) or next(iter(self.hosts), None)
