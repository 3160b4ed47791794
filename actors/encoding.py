"""The JSON of results and events, made once by the counter's owner and passed on as bytes.

Written with byte templates instead of an encoder: an enriched result shares its metadata and four of its five history
items with its neighbours, and joining finished bytes costs a third of encoding them again. It is safe because nothing
in them needs escaping: names are letters, digits and `_-.:`, types and reasons are our own words, the rest is numbers.
Where clients chose a text, it is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from actors.clock import iso
from actors.core.likes import member_of

HISTORY_SHOWN = 5  # Items in an enriched result.

_METADATA = b'{"id":%d,"name":"%b","value":%d,"createdAt":"%b","updatedAt":"%b","operationCount":%d}'
_NEVER = b'{"id":0,"name":"%b","value":0,"createdAt":null,"updatedAt":null,"operationCount":0}'
_ITEM = b'{"id":%d,"operation":"%b","previousValue":%d,"newValue":%d,"timestamp":"%b"}'
_RESULT = (
    b'{"name":"%b","value":%d,"previousValue":%d,"metadata":%b,"latestHistory":[%b],"timestamp":"%b"}'
)
_EVENT = b'{"type":"%b","value":%d,"previousValue":%d,"metadata":%b,"timestamp":"%b"}'
_EVENT_WITH_REASON = b'{"type":"%b","value":%d,"previousValue":%d,"metadata":%b,"timestamp":"%b","reason":"%b"}'
_LIKED = b'{"success":true,"name":"%b","newCount":%d,"isLiked":%b,"metadata":%b}'
_SNAPSHOT = b'{"type":"snapshot","value":%d,"metadata":%b,"timestamp":"%b"}'
_EXPIRED = b'{"success":true,"reset":%b,"value":%d}'
_SYNCED = b'{"oldCount":%d,"newCount":%d,"difference":%d}'


def metadata(id: int, name: bytes, value: int, created_at: bytes, updated_at: bytes, seq: int) -> bytes:
    """The metadata object. Times are already ISO 8601."""
    return _METADATA % (id, name, value, created_at, updated_at, seq)


def never(name: bytes) -> bytes:
    """The metadata object of a counter that was never written."""
    return _NEVER % name


def described(metadata: bytes, policy: bytes, resets_at: int | None) -> bytes:
    """The metadata object with the counter's policy, and the time of its next reset if there will be one."""
    reset = b"" if resets_at is None else b',"resetsAt":"%b"' % iso(resets_at).encode()
    return b'%b,"policy":%b%b}' % (metadata[:-1], policy, reset)


def item(seq: int, type: str, amount: int, previous_value: int, value: int, at: bytes) -> bytes:
    """One entry of the history, such as `increment(1)`."""
    operation = b"reset" if type == "reset" else b"%b(%d)" % (type.encode(), amount)
    return _ITEM % (seq, operation, previous_value, value, at)


def told(item: bytes, operation_id: str, subject: str | None, source: str | None, reason: str | None) -> bytes:
    """An entry of the history with everything that is known of it. Clients chose some of this, so it is escaped."""
    more = msgspec.json.encode({"operationId": operation_id, "subject": subject, "source": source, "reason": reason})
    return item[:-1] + b"," + more[1:]


def result(name: bytes, value: int, previous_value: int, metadata: bytes, items: Iterable[bytes], at: bytes) -> bytes:
    """The enriched answer to an operation; `items` are the newest history entries, newest first."""
    return _RESULT % (name, value, previous_value, metadata, b",".join(items), at)


def event(
    type: str,
    value: int,
    previous_value: int,
    metadata: bytes,
    at: bytes,
    reason: str | None,
    actor: str | None = None,
) -> bytes:
    """What subscribers receive."""
    if reason is None:
        return _EVENT % (type.encode(), value, previous_value, metadata, at)
    body = _EVENT_WITH_REASON % (type.encode(), value, previous_value, metadata, at, reason.encode())
    member = member_of(reason, actor)
    return body if member is None else b'%b,"member":%b}' % (body[:-1], msgspec.json.encode(member))


def liked(name: bytes, count: int, liked: bool, metadata: bytes) -> bytes:
    """The answer to a like."""
    return _LIKED % (name, count, b"true" if liked else b"false", metadata)


def snapshot(value: int, metadata: bytes, at: bytes) -> bytes:
    """The state as it is, for a subscriber that asked for it."""
    return _SNAPSHOT % (value, metadata, at)


def expired(reset: bool, value: int) -> bytes:
    """The answer to expire."""
    return _EXPIRED % (b"true" if reset else b"false", value)


def synced(old: int, new: int) -> bytes:
    """The answer to sync."""
    return _SYNCED % (old, new, new - old)
