"""Where a service is."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import msgspec

DEFAULT_URL = "http://127.0.0.1:8094"


def service_url(text: str) -> str:
    """The address of a service in one form, without a slash at its end. Raises ValueError when it is none."""
    text = re.sub(r"^ws(?=s?://)", "http", text)
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not an address like {DEFAULT_URL}")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def is_local(url: str) -> bool:
    """Whether the service is on this machine, to which no proxy leads."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def socket_url(url: str, key: str, events: Collection[str] | None, rate: float | None, attachment: Any) -> str:
    """Where its WebSocket for many counters is. `key` makes the ids of messages operation ids."""
    wishes = {"key": key}
    if events is not None:
        wishes["events"] = ",".join(sorted(events))
    if rate is not None:
        wishes["rate"] = f"{rate:g}"
    if attachment is not None:
        wishes["attachment"] = msgspec.json.encode(attachment).decode()
    return f"{re.sub('^http', 'ws', url)}/ws?{urlencode(wishes, quote_via=quote)}"
