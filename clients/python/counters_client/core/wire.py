"""Messages on the connection, as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from counters_client.errors import Invalid, invalid
from counters_client.records import Event, Metadata, Position

NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.:-]{1,100}\Z")
MESSAGE_MAX = 64 * 2**10  # Bytes; the service closes the connection on a larger one.
NAMES_MAX = 100  # In one message: with their places they stay below MESSAGE_MAX, however long they are.
ATTACHMENT_MAX = 16 * 2**10  # Bytes of JSON.
RATE_MIN, RATE_MAX = 0.01, 1_000.0
PING = '{"type":"ping"}'
CHANGES = frozenset({"increment", "decrement", "setValue", "reset"})
EVENTS = CHANGES | {"snapshot"}
OPERATIONS = ("increment", "decrement", "setValue", "reset", "like.toggle", "like.add", "like.remove", "setAttachment")
RESULTS = frozenset(f"{operation}Result" for operation in OPERATIONS)


class Message(msgspec.Struct, rename="camel"):
    """Anything that the service says; which fields it has depends on its type."""

    type: str
    value: int | None = None
    previous_value: int | None = None
    metadata: Metadata | None = None
    timestamp: datetime | None = None
    reason: str | None = None
    operations: int = 1
    member: str | None = None
    id: str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    message: str = ""
    data: Any = None
    retryable: bool = False


_decode = msgspec.json.Decoder(Message).decode
_encoder = msgspec.json.Encoder()


def read(text: str | bytes) -> Message | None:
    """What the service said; None if it is nothing that a counters service says."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def event_of(message: Message) -> Event | None:
    """The event that a message tells; None if something is missing in it."""
    if message.value is None or message.metadata is None or message.timestamp is None:
        return None
    type: Any = message.type
    return Event(
        type,
        message.value,
        message.metadata,
        message.timestamp,
        message.previous_value,
        message.reason,
        max(1, message.operations),
        message.member,
    )


def say(message: Mapping[str, Any]) -> str:
    """A message of ours. Raises Invalid when it is too large, or no JSON."""
    try:
        text = _encoder.encode(message)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"this is no JSON: {error}", data={"field": "body", "reason": str(error)}) from error
    if len(text) > MESSAGE_MAX:
        reason = f"a message has at most {MESSAGE_MAX} bytes"
        raise Invalid(reason, data={"field": "body", "reason": reason})
    return text.decode()


def subscriptions(places: Mapping[str, Position | None]) -> Iterator[str]:
    """The messages that ask for these counters: from where we stand, or with a snapshot first."""
    for fresh in (True, False):
        names = [name for name, place in places.items() if (place is None) == fresh]
        for some in _slices(names):
            message: dict[str, Any] = {"type": "subscribe", "names": some}
            if fresh:
                message["snapshot"] = True
            else:
                known = {name: place for name in some if (place := places[name]) is not None}
                message["since"] = {name: place.seq for name, place in known.items()}
                # A counter that did not exist had no life; whatever it has now began after that.
                message["lives"] = {name: place.life for name, place in known.items() if place.life}
            yield say(message)


def unsubscriptions(names: Iterable[str]) -> Iterator[str]:
    """The messages that end these subscriptions."""
    for some in _slices(list(names)):
        yield say({"type": "unsubscribe", "names": some})


def checked_name(name: str) -> str:
    """The name. Raises Invalid when no counter can have it."""
    if not isinstance(name, str) or not NAME.match(name):
        raise invalid("name", "1 to 100 letters, digits and _ - . :")
    return name


def checked_names(names: Iterable[str]) -> list[str]:
    """The names. Raises Invalid when they are something else; one string would be its letters."""
    if isinstance(names, Iterable) and not isinstance(names, str):
        found = list(names)
        if all(isinstance(name, str) for name in found):
            return found
    raise invalid("names", "several strings, each a name")


def checked_places(since: Mapping[str, Position]) -> dict[str, Position]:
    """Where to go on; as two numbers, too, which is what JSON makes of a Position. Raises Invalid."""
    try:
        places = {name: Position(*place) for name, place in since.items() if place is not None}
    except (AttributeError, TypeError) as error:
        raise invalid("since", "the position of an event for each name") from error
    if not all(isinstance(part, int) and part >= 0 for place in places.values() for part in place):
        raise invalid("since", "a position is two numbers from 0")
    return places


def check_wishes(events: Collection[str] | None, rate: float | None, attachment: Any) -> None:
    """What is asked for at every connection. Raises Invalid; the service could only refuse the connection, for ever."""
    if events is not None:
        some = isinstance(events, Collection) and not isinstance(events, str) and len(events) > 0
        if not some or any(not isinstance(each, str) or each not in CHANGES for each in events):
            raise invalid("events", f"some of {', '.join(sorted(CHANGES))}, or None for all")
    if rate is not None and (not isinstance(rate, int | float) or not RATE_MIN <= rate <= RATE_MAX):
        raise invalid("rate", f"events per second, {RATE_MIN} to {RATE_MAX:.0f}")
    say({"attachment": attachment})
    if len(_encoder.encode(attachment)) > ATTACHMENT_MAX:
        raise invalid("attachment", f"at most {ATTACHMENT_MAX} bytes of JSON")


def _slices(names: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(names), NAMES_MAX):
        yield names[first : first + NAMES_MAX]
