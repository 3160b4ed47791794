"""Which browsers may talk to us: those on our own page, and those that the settings name.

A program that is no browser sends no Origin and is none of our business here. On a loopback address the Host header is
checked too: a page elsewhere could point a name of its own at 127.0.0.1 and would then look like our own page (DNS
rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from gateway.config import LOOPBACK

# Whoever passes a request on says so with one of these.
FORWARDING = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)


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


def is_local(peer: str | None, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request comes from a program on this machine itself, and not through a proxy or from a foreign page."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    given = dict(headers)
    if not (getattr(address, "ipv4_mapped", None) or address).is_loopback or given.keys() & FORWARDING:
        return False
    own = Origins("127.0.0.1", ())
    host = given[b"host"].decode("latin-1") if b"host" in given else None
    origin = given[b"origin"].decode("latin-1") if b"origin" in given else None
    return own.knows(host) and own.admits(origin, host)
