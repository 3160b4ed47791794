"""Where a service is: its address as it is given, as it is printed, and that of its sockets."""

from __future__ import annotations

import argparse
import re
from ipaddress import ip_address
from urllib.parse import quote, urlsplit, urlunsplit

DEFAULT_URL = "http://127.0.0.1:8094"


def service_url(text: str) -> str:
    """Check the address of a service and bring it into one form, without a slash at its end.

    Raises argparse.ArgumentTypeError, so that argparse reports it as wrong usage.
    """
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address like {DEFAULT_URL}")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def is_local(url: str) -> bool:
    """Whether the service is on this machine, to which no proxy leads."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def shown(url: str) -> str:
    """The address as it may be printed: without a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def socket_url(url: str, name: str) -> str:
    """The WebSocket address of a counter, asking for its current value first."""
    return f"{re.sub('^http', 'ws', url)}/ws/counter/{quote(name, safe='')}?snapshot=1"
