"""Which browsers may talk to us: those on our own page, and those that the settings name.

A program that is no browser sends no Origin and is none of our business here. On a loopback address the Host header is
checked too: a page elsewhere could point a name of its own at 127.0.0.1 and would then look like our own page (DNS
rebinding).
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.config import LOOPBACK


class Origins:
    """The rule, made from the settings."""

    def __init__(self, bound_to: str, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)
        self._hosts = LOOPBACK if bound_to in LOOPBACK else None

    def admits(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with these headers may be served."""
        if origin is None:
            return True
        origin = origin.lower()
        if "*" in self._allowed or origin in self._allowed:
            return True
        try:
            here = urlsplit(f"//{host}")
            same = urlsplit(origin).netloc == (host or "").lower()
            return same and (self._hosts is None or here.hostname in self._hosts)
        except ValueError:  # Not a host at all.
            return False

    def knows(self, host: str | None) -> bool:
        """Whether we are called this, as far as we can tell."""
        try:
            return self._hosts is None or host is None or urlsplit(f"//{host}").hostname in self._hosts
        except ValueError:  # Not a host at all.
            return False

    def foreign(self, origin: str | None, host: str | None) -> bool:
        """Whether an admitted request comes from another origin, and its page has to be told that it may read on."""
        return origin is not None and urlsplit(origin.lower()).netloc != (host or "").lower()
