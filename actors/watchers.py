"""Which links want to hear of which counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actors.link import HostEnd

NOBODY: frozenset[HostEnd] = frozenset()


class Watchers:
    """Links by the names of the counters that they watch."""

    def __init__(self) -> None:
        self._links: dict[str, frozenset[HostEnd]] = {}
        # Most counters are watched by the same links, and a set for each would weigh as much as a sleeping counter may.
        self._audiences: dict[frozenset[HostEnd], frozenset[HostEnd]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._links

    def of(self, name: str) -> frozenset[HostEnd]:
        """Who watches a counter."""
        return self._links.get(name, NOBODY)

    def add(self, names: Iterable[str], link: HostEnd) -> None:
        """`link` watches these, too."""
        for name in names:
            self._set(name, self.of(name) | {link})

    def remove(self, names: Iterable[str], link: HostEnd) -> None:
        """`link` does not watch these any more."""
        for name in names:
            self._set(name, self.of(name) - {link})

    def forget(self, link: HostEnd) -> None:
        """It is gone."""
        self.remove([name for name, links in self._links.items() if link in links], link)
        self._audiences.clear()

    def keep(self, stays: Callable[[str], bool]) -> None:
        """Only counters that `stays` says yes to are watched here any more."""
        for name in [name for name in self._links if not stays(name)]:
            del self._links[name]

    def _set(self, name: str, links: frozenset[HostEnd]) -> None:
        if links:
            self._links[name] = self._audiences.setdefault(links, links)
        else:
            self._links.pop(name, None)
