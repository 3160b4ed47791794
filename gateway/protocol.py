"""The wire: what clients may send and what they are sent, as types that validate, document and decode.

`openapi` reads the same types, so the description cannot drift from what is accepted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.core.likes import MEMBER_MAX, MEMBER_PATTERN
from actors.core.name import PATTERN
from actors.core.policy import VALUE_MAX
from gateway.config import HOSTS_MAX
from gateway.errors import Problem, invalid
from gateway.policy import PolicyInput, Seconds, Value, said, seconds

NAMES_MAX = 1_000
PAGE_MAX = 1_000
HISTORY_MAX = 100
SESSIONS_MAX = 1_000
KEY_MAX = 200
ATTACHMENT_MAX = 16 * 2**10  # Bytes of JSON that a session may carry.
NAME_RULE = "1 to 100 letters, digits and _ - . :"
MEMBER_RULE = f"1 to {MEMBER_MAX} characters, none of them a control character or a line end"

Name = Annotated[str, Meta(pattern=PATTERN, min_length=1, max_length=100, description="1-100 of A-Z a-z 0-9 _ - . :")]
Amount = Annotated[int, Meta(ge=1, le=VALUE_MAX)]

Member = Annotated[
    str, Meta(pattern=MEMBER_PATTERN, min_length=1, max_length=MEMBER_MAX, description=MEMBER_RULE, examples=["ada"])
]


class Input(msgspec.Struct, forbid_unknown_fields=True):
    """Base of everything that comes in: what we do not know, we do not ignore."""


class Named(Input):
    name: Name


class Create(Input):
    name: Name
    policy: PolicyInput | None = None


class Configure(Input):
    name: Name
    policy: PolicyInput


class ChangeBy(Input):
    name: Name
    amount: Amount = 1


class SetValue(Input):
    name: Name
    value: Value


class Sync(Input, omit_defaults=True):
    name: Name
    actual: Value | UnsetType = UNSET


class GetValues(Input):
    names: Annotated[list[Name], Meta(max_length=NAMES_MAX)]


class GetHistory(Input):
    name: Name
    limit: Annotated[int, Meta(ge=1, le=HISTORY_MAX)] = 50
    before: Annotated[int, Meta(ge=1, le=VALUE_MAX)] | None = None


class GetValueAt(Input):
    name: Name
    at: Annotated[datetime, Meta(tz=True, examples=["2025-01-15T12:00:00Z"])]


class Undo(Input):
    name: Name
    seq: Annotated[int, Meta(ge=1, le=VALUE_MAX)]


class GetSessions(Input):
    name: Name
    limit: Annotated[int, Meta(ge=1, le=SESSIONS_MAX)] = 100


class ListAll(Input):
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{0,100}$(?!\n)")] = ""
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Name | None = None


class Like(Input):
    name: Name
    member: Member


class GetCounts(Input):
    names: Annotated[list[Name], Meta(max_length=NAMES_MAX)]


class GetStatuses(Input):
    names: Annotated[list[Name], Meta(max_length=NAMES_MAX)]
    member: Member


class ListMembers(Input):
    name: Name
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: Member | None = None


class IncrementLater(Input, tag="increment"):
    amount: Amount = 1


class DecrementLater(Input, tag="decrement"):
    amount: Amount = 1


class SetValueLater(Input, tag="setValue"):
    value: Value


class ResetLater(Input, tag="reset"):
    pass


Later = IncrementLater | DecrementLater | SetValueLater | ResetLater


class SetAlarm(Input):
    name: Name
    operation: Later
    id: Name | None = None
    at: Annotated[datetime, Meta(tz=True)] | None = None
    every: Seconds | None = None


class CancelAlarm(Input):
    name: Name
    id: Name


class ListDue(Input):
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 100


class Nothing(Input):
    """No input at all."""


class Scale(Input):
    hosts: Annotated[int, Meta(ge=1, le=HOSTS_MAX)]


# What goes out. Hosts encode the hot ones as bytes; these types describe them.


class Metadata(msgspec.Struct):
    id: int
    name: str
    value: int
    createdAt: str
    updatedAt: str
    operationCount: int


class HistoryItem(msgspec.Struct):
    id: int
    operation: Annotated[str, Meta(examples=["increment(1)", "reset"])]
    previousValue: int
    newValue: int
    timestamp: str


class FullHistoryItem(HistoryItem):
    """With everything that is known of it; `subject` is who asked for it."""

    operationId: str
    subject: str | None
    source: Annotated[str | None, Meta(examples=["http 192.0.2.7", "ws 192.0.2.7", "ray"])]
    reason: str | None


class Enriched(msgspec.Struct):
    name: str
    value: int
    previousValue: int
    metadata: Metadata
    latestHistory: list[HistoryItem]
    timestamp: str


class Success(msgspec.Struct):
    success: bool
    name: str


class PolicyOutput(msgspec.Struct):
    minimum: int
    maximum: int | None
    on_limit: Literal["clamp", "reject"]
    initial: int
    reset_after: int | None
    reset_schedule: str | None
    reset_to: int | None
    history_limit: int | None
    history_max_age: int | None
    missed: Literal["once", "skip"]
    likes: bool


class Described(Metadata, kw_only=True, omit_defaults=True):
    policy: PolicyOutput
    resetsAt: str | UnsetType = UNSET


class Configured(msgspec.Struct):
    success: bool
    name: str
    policy: PolicyOutput


class NameValue(msgspec.Struct):
    name: str
    value: int


class ValueAt(msgspec.Struct):
    name: str
    at: str
    value: int
    operationCount: int


class Values(msgspec.Struct):
    values: dict[str, int]


class Listed(msgspec.Struct):
    name: str
    value: int
    createdAt: str
    updatedAt: str
    createdBy: str | None
    likes: bool  # It counts its members: nothing but a like or a reset changes it.


class Page(msgspec.Struct, omit_defaults=True):
    counters: list[Listed]
    count: int
    cursor: str | UnsetType = UNSET


class Attendant(msgspec.Struct):
    id: str
    subscribedAt: str
    events: list[str] | None
    attachment: Any


class Attendance(msgspec.Struct):
    name: str
    count: int
    sessions: list[Attendant]


class AwakeCounter(msgspec.Struct):
    name: str
    host: str
    dedicated: bool
    epoch: int
    awakeSince: str
    opsPerS: float
    sessions: int


class Awake(msgspec.Struct):
    counters: list[AwakeCounter]


class AlarmSet(msgspec.Struct):
    success: bool
    name: str
    id: str
    next: str


class AlarmCancelled(msgspec.Struct):
    success: bool
    name: str
    cancelled: bool


class ListedAlarm(msgspec.Struct):
    id: str
    operation: Later
    next: str
    every: int | None
    run: int
    attempt: int
    error: str | None


class ListedRun(msgspec.Struct):
    id: str
    run: int
    at: str
    attempts: int
    error: str | None


class Alarms(msgspec.Struct):
    name: str
    alarms: list[ListedAlarm]
    runs: list[ListedRun]


class DueItem(msgspec.Struct, omit_defaults=True):
    name: str
    reason: Literal["inactivity", "schedule", "alarm"]
    at: str
    id: str | UnsetType = UNSET


class Due(msgspec.Struct):
    due: list[DueItem]


class Scaled(msgspec.Struct):
    success: bool
    hosts: int


class Done(msgspec.Struct):
    success: bool


class Synced(msgspec.Struct):
    oldCount: int
    newCount: int
    difference: int


class MaybeMetadata(msgspec.Struct):
    """As Metadata; for a counter never written, with an id of 0 and without times."""

    id: int
    name: str
    value: int
    createdAt: str | None
    updatedAt: str | None
    operationCount: int


class Liked(msgspec.Struct):
    success: bool
    name: str
    newCount: int
    isLiked: bool
    metadata: MaybeMetadata


class IsLiked(msgspec.Struct):
    name: str
    isLiked: bool


class NameCount(msgspec.Struct):
    name: str
    count: int


class Counts(msgspec.Struct):
    counts: dict[str, int]


class Statuses(msgspec.Struct):
    statuses: dict[str, bool]


class ListedMember(msgspec.Struct):
    member: str
    since: str


class Members(msgspec.Struct, omit_defaults=True):
    name: str
    members: list[ListedMember]
    cursor: str | UnsetType = UNSET


class Drift(msgspec.Struct):
    name: str
    value: int
    actual: int
    difference: int


class Total(msgspec.Struct):
    value: int
    lastIncrementAt: str | None


class Stats(msgspec.Struct):
    stats: dict[str, Total]


class ListedSource(msgspec.Struct):
    name: str
    schedule: str | None
    syncedAt: str | None
    difference: int | None
    error: Literal["unreachable", "query", "timeout", "rows", "value"] | None


class Sources(msgspec.Struct):
    sources: list[ListedSource]


# WebSocket, client to server.

MessageId = Annotated[str, Meta(pattern=r"^[^\x00]*$", min_length=1, max_length=KEY_MAX)]  # Postgres has no NUL.


class Ping(Input, tag="ping"):
    pass


class Filter(Input, tag="filter"):
    events: list[Literal["increment", "decrement", "setValue", "reset"]] | None


Place = Annotated[int, Meta(ge=0, le=VALUE_MAX)]


class Subscribe(Input, tag="subscribe"):
    names: Annotated[list[Name], Meta(max_length=NAMES_MAX)]
    snapshot: bool = False
    since: dict[Name, Place] | None = None
    lives: dict[Name, Place] | None = None


class Unsubscribe(Input, tag="unsubscribe"):
    names: Annotated[list[Name], Meta(max_length=NAMES_MAX)]


class IncrementMessage(Input, tag="increment"):
    amount: Amount = 1
    id: MessageId | None = None
    name: Name | None = None


class DecrementMessage(Input, tag="decrement"):
    amount: Amount = 1
    id: MessageId | None = None
    name: Name | None = None


class SetValueMessage(Input, tag="setValue"):
    value: Value
    id: MessageId | None = None
    name: Name | None = None


class ResetMessage(Input, tag="reset"):
    id: MessageId | None = None
    name: Name | None = None


class LikeMessage(Input):
    member: Member
    id: MessageId | None = None
    name: Name | None = None


class ToggleMessage(LikeMessage, tag="like.toggle"):
    pass


class AddMessage(LikeMessage, tag="like.add"):
    pass


class RemoveMessage(LikeMessage, tag="like.remove"):
    pass


class SetAttachment(Input, tag="setAttachment"):
    attachment: msgspec.Raw
    id: MessageId | None = None


Operate = (
    IncrementMessage | DecrementMessage | SetValueMessage | ResetMessage | ToggleMessage | AddMessage | RemoveMessage
)
ClientMessage = Ping | Filter | Subscribe | Unsubscribe | SetAttachment | Operate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)

_decode_message = msgspec.json.Decoder(ClientMessage).decode


def read_message(data: bytes) -> ClientMessage:
    """A client's WebSocket message. Raises Problem when it is none."""
    try:
        message: ClientMessage = _decode_message(data)
        return message
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise complaint(error) from error


def read_attachment(text: bytes | msgspec.Raw) -> bytes | None:
    """What a session wants to carry, as JSON; None for null. Raises Problem when it cannot."""
    json = bytes(text)
    if len(json) > ATTACHMENT_MAX:
        raise invalid("attachment", f"at most {ATTACHMENT_MAX} bytes of JSON")
    try:
        value = msgspec.json.decode(json)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise invalid("attachment", "not valid JSON") from error
    return None if value is None else json


def complaint(error: Exception) -> Problem:
    """What msgspec says, as an error that names the field."""
    if not isinstance(error, msgspec.ValidationError):
        return invalid("body", "not valid JSON" if not isinstance(error, RecursionError) else "nested too deeply")
    reason, _, place = str(error).partition(" - at ")
    path = re.search(r"`\$\.?([^`]*)`", place)
    field = path[1] if path else ""
    named = re.search(r"field `(\w+)`", reason)
    if named:
        field = f"{field}.{named[1]}".lstrip(".")
    if "matching regex" in reason:
        rules = {
            "0,100": "letters, digits and _ - . :", "x1f": MEMBER_RULE, "x00": "no NUL characters",
        }  # fmt: skip
        reason = next((rule for mark, rule in rules.items() if mark in reason), NAME_RULE)
    return invalid(field or "body", reason[0].lower() + reason[1:])


def moment(at: datetime) -> int:
    """Milliseconds since 1970 UTC. Raises Problem for one that UTC has no year for."""
    ms = (at - _EPOCH) // timedelta(milliseconds=1)
    if not _FIRST_MS <= ms <= _LAST_MS:
        raise invalid("at", "the year must be from 1 to 9999 in UTC")
    return ms


def alarm(wish: SetAlarm) -> dict[str, int | str | None]:
    """An alarm, as a host wants it. Raises Problem."""
    try:
        every = seconds(wish.every) if isinstance(wish.every, str) else wish.every
    except ValueError as error:
        raise invalid("every", str(error)) from error
    later = wish.operation
    return {
        "id": wish.id,
        "type": str(later.__struct_config__.tag),
        "amount": later.value if isinstance(later, SetValueLater) else getattr(later, "amount", 0),
        "at": None if wish.at is None else int(wish.at.timestamp() * 1000),
        "every": None if every is None else every * 1000,
    }


def policy_changes(policy: PolicyInput | None) -> dict[str, Any] | None:
    """Only what was said, as a host wants it. Raises Problem."""
    try:
        return None if policy is None else said(policy)
    except ValueError as error:
        raise invalid("policy.reset_after", str(error)) from error
