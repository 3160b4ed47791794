"""A counter as a line of JSON, and back.

    {"durableCounters":1}                                             the first line
    {"name":"votes","value":5,"operationCount":5,"createdAt":…,…}     a counter
    {"name":"views","value":2000,…,"history":[…],"more":true}         one that goes on
    {"name":"views","part":2,"history":[…]}                           in the next line
    {"counters":2}                                                    the last line: so many were written

Times are ISO 8601. Whoever writes such a file by hand needs neither the first nor the last line, and of a counter only
`name` and `value`: it then begins with that value, now.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from actors.clock import iso
from actors.core import alarm
from actors.core import name as names
from actors.core.likes import MEMBER_MAX, MEMBER_PATTERN
from actors.core.policy import VALUE_MAX, Policy, complaint
from gateway import policy as policies
from storage.bulk import Whole
from storage.records import AlarmRecord, AlarmRunRecord, CounterRecord, MemberRecord, OperationRecord

HEAD = b'{"durableCounters":1}\n'
LINE_MAX = 16 * 2**20  # Ours have 1 MB at most.
SAID_MAX = 100  # Characters of somebody else's text that are repeated in a message.
IMPORTED = "import"  # The reason of the one operation of a counter of which only the value is known.

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_YEAR_1 = -62_135_596_800_000

Value = Annotated[int, Meta(ge=-VALUE_MAX, le=VALUE_MAX)]
Count = Annotated[int, Meta(ge=0, le=VALUE_MAX)]
Id = Annotated[str, Meta(min_length=1, max_length=1_000)]
Text = Annotated[str, Meta(max_length=10_000)]
Reason = Annotated[str, Meta(pattern="^[A-Za-z0-9_.: -]{1,100}$")]  # Events carry it without escaping.
Time = Annotated[datetime, Meta(tz=True)]
Member = Annotated[str, Meta(pattern=MEMBER_PATTERN, max_length=MEMBER_MAX)]
Type = Literal["increment", "decrement", "setValue", "reset"]


class BadLine(Exception):
    """A line that is no counter; the message says why."""


class Line(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What every object in a file has in common."""


class AlarmLine(Line):
    id: Id
    key: Id
    type: Type
    amount: Value
    at: Time | None = None
    every: Count | None = None
    due_at: Time | None = None
    run: Count = 1
    attempt: Count = 0
    error: Text | None = None


class RunLine(Line):
    key: Id
    run: Count
    id: Id
    at: Time
    attempts: Count
    error: Text | None = None


class OperationLine(Line):
    seq: Annotated[int, Meta(ge=1, le=VALUE_MAX)]
    type: Type
    amount: Value
    value: Value
    previous_value: Value
    at: Time
    operation_id: Id
    actor: Text | None = None
    reason: Reason | None = None
    source: Text | None = None


class CounterLine(Line):
    name: str
    part: Annotated[int, Meta(ge=1)] = 1  # From 2 it goes on with the line before.
    value: Value | None = None  # Missing in these.
    operation_count: Count | None = None  # None: nothing is known but the value.
    created_at: Time | None = None
    updated_at: Time | None = None
    created_by: Text | None = None
    policy: dict[str, Any] | None = None
    idle_since: Time | None = None
    due_at: Time | None = None
    tick_at: Time | None = None
    alarms: list[AlarmLine] = []
    alarm_runs: list[RunLine] = []
    history: list[OperationLine] = []
    members: list[tuple[Member, Time]] = []
    more: bool = False


class HeadLine(Line):
    durable_counters: Literal[1]


class EndLine(Line):
    counters: int


class Read(NamedTuple):
    """A line that was understood."""

    whole: Whole
    bare: bool = False  # Nothing but the value is known, hence nothing else is compared.


_counter = msgspec.json.Decoder(CounterLine).decode
_head = msgspec.json.Decoder(HeadLine).decode
_end = msgspec.json.Decoder(EndLine).decode


def encode(whole: Whole) -> bytes:
    """The line of a counter, or of its next part."""
    row = whole.counter
    line: dict[str, Any] = {"name": row.name}
    if whole.part > 1:
        line["part"] = whole.part
    else:
        line |= {
            "value": row.value,
            "operationCount": row.seq,
            "createdAt": _iso(row.created_at),
            "updatedAt": _iso(row.updated_at),
            "createdBy": row.created_by,
            "policy": None if row.policy is None else msgspec.Raw(row.policy.encode()),
            "idleSince": _iso(row.idle_since),
            "dueAt": _iso(row.due_at),
            "tickAt": _iso(row.tick_at),
        }
    line["alarms"] = [_said(each, ("at", "due_at")) for each in whole.alarms]
    line["alarmRuns"] = [_said(each, ("at",)) for each in whole.runs]
    line["history"] = [_said(each, ("at",)) for each in whole.operations]
    line["members"] = [(each.member, iso(each.since)) for each in whole.members]
    line["more"] = whole.more
    # A line of a million need not say what there is not.
    said = {name: each for name, each in line.items() if each is not None and each is not False and each != []}
    return msgspec.json.encode(said) + b"\n"


def end(counters: int) -> bytes:
    """The last line."""
    return msgspec.json.encode({"counters": counters}) + b"\n"


def decode(line: bytes, now_ms: int) -> Read | HeadLine | EndLine:
    """Understand a line. Raises BadLine."""
    try:
        if line.startswith(b'{"durableCounters"'):
            return _head(line)
        if line.startswith(b'{"counters"'):
            return _end(line)
        if b"\\u0000" in line:
            raise BadLine("a NUL character, which not every database can hold")
        return _read(_counter(line), now_ms)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what, _, where = str(error).partition(" - at ")
        raise BadLine(f"{where.strip('`').removeprefix('$.')}: {what[:SAID_MAX]}".removeprefix(": ")) from None
    except ValueError as error:  # A policy that is none.
        raise BadLine(f"policy: {error}"[:SAID_MAX]) from None


def bare(name: str, value: int, at: int) -> Whole:
    """A counter of which only the value is known. Raises BadLine."""
    check_name(name)
    if abs(value) > VALUE_MAX:
        raise BadLine(f"value: {str(value)[:30]} does not lie within ±{VALUE_MAX}")
    made = OperationRecord(0, 1, "setValue", value, value, 0, at, f"{IMPORTED}:{at}", None, IMPORTED)
    return Whole(CounterRecord(0, name, value, 1, 0, at, at, None, None, idle_since=at), operations=[made])


def check_name(name: str) -> None:
    """Raises BadLine when no counter can be called `name`."""
    if not names.valid(name):
        raise BadLine(f"name: {name[:SAID_MAX]!r} is not 1 to 100 letters, digits and _ - . :")


def _read(line: CounterLine, now_ms: int) -> Read:
    check_name(line.name)
    policy = None if line.policy is None else _policy(line.policy)
    if (line.value is None) != (line.part > 1):
        raise BadLine("value: missing" if line.value is None else "part: only one that goes on has no value")
    if line.part > 1 and (line.alarms or line.alarm_runs):
        raise BadLine("alarms: belong to the first part")
    if line.value is not None and line.operation_count is None:
        whole = bare(line.name, line.value, now_ms)
        if line.alarms or line.history:
            raise BadLine("operationCount: missing, although there is a history")
        row = whole.counter._replace(policy=policy)
        return Read(whole._replace(counter=row, members=_members(line), more=line.more), bare=True)
    row = CounterRecord(
        id=0,
        name=line.name,
        value=line.value or 0,
        seq=line.operation_count or 0,
        epoch=0,
        created_at=_ms(line.created_at) or now_ms,
        updated_at=_ms(line.updated_at) or now_ms,
        created_by=line.created_by,
        policy=policy,
        idle_since=_ms(line.idle_since),
        due_at=_ms(line.due_at),
        tick_at=_ms(line.tick_at),
    )
    alarms = [_alarm(each) for each in line.alarms]
    runs = [AlarmRunRecord(r.key, r.run, 0, r.id, _ms(r.at) or 0, r.attempts, r.error) for r in line.alarm_runs]
    operations = [
        OperationRecord(
            0, o.seq, o.type, o.amount, o.value, o.previous_value, _ms(o.at) or 0, o.operation_id, o.actor, o.reason,
            o.source,
        )
        for o in line.history
    ]  # fmt: skip
    _ascending([each.seq for each in operations])
    return Read(Whole(row, alarms, runs, operations, _members(line), line.part, line.more))


def _alarm(a: AlarmLine) -> AlarmRecord:
    """An alarm as its owner would store it; one that may have been due for long."""
    wrong = alarm.complaint(alarm.When(_ms(a.at), a.every), 0)
    if wrong is None and a.every is not None and a.due_at is None:
        wrong = "dueAt", "missing"
    if wrong is not None:
        raise BadLine(f"alarms: {wrong[0]}: {wrong[1]}")
    return AlarmRecord(
        0, a.id, a.key, a.type, a.amount, _ms(a.at), a.every, _ms(a.due_at), a.run, a.attempt, a.error
    )


def _members(line: CounterLine) -> list[MemberRecord]:
    return [MemberRecord(0, member, _ms(since) or 0) for member, since in line.members]


def _ascending(seqs: Sequence[int]) -> None:
    if any(later <= earlier for earlier, later in pairwise(seqs)):
        raise BadLine("history: not in the order of seq")


def _policy(said: dict[str, Any]) -> str:
    """The policy as its owner would store it. Raises ValueError."""
    checked = policies.said(msgspec.convert(said, policies.PolicyInput))
    wrong = complaint(Policy(**checked))
    if wrong is not None:
        raise ValueError(": ".join(wrong))
    return msgspec.json.encode(said if checked == said else checked).decode()


def _said(row: Any, times: Sequence[str]) -> dict[str, Any]:
    """A row of what belongs to a counter, without what is not known of it."""
    fields = row._asdict()
    del fields["counter_id"]
    return {
        _CAMEL[name]: iso(each) if name in times else each for name, each in fields.items() if each is not None
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


_CAMEL = {
    name: _camel(name) for record in (AlarmRecord, AlarmRunRecord, OperationRecord) for name in record._fields
}


def _iso(at: int | None) -> str | None:
    return None if at is None else iso(at)


def ms_of(at: datetime) -> int:
    """A time as it is stored. Raises BadLine when nobody could say it in UTC."""
    ms = (at - _EPOCH) // _MS
    if not _YEAR_1 <= ms <= alarm.AT_MAX:
        raise BadLine(f"{at} lies outside of the years 1 to 9999 of UTC")
    return ms


def _ms(at: datetime | None) -> int | None:
    return None if at is None else ms_of(at)
