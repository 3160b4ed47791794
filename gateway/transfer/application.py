"""Counters from the database of an application: how many there are of each, and who, by two queries of its operator.

Who is there counts: a counter that has members has as many as they are, whatever was counted. Where the two say
different things, it is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby, islice
from typing import Any, NamedTuple

from actors.core.likes import MEMBER_MAX, MEMBER_PATTERN
from actors.core.policy import VALUE_MAX
from gateway.transfer.lines import SAID_MAX, BadLine, Read, bare, check_name, ms_of
from storage.application import Application
from storage.bulk import PART
from storage.errors import StorageMisconfigured
from storage.records import MemberRecord

LIKES = '{"likes":true}'

_is_member = re.compile(MEMBER_PATTERN).match

Say = Callable[[str, str], None]


class Queries(NamedTuple):
    """What to ask the application."""

    counts: str | None  # name, number
    members: str | None  # name, member and, if it is known, since when


class Member(NamedTuple):
    name: str
    member: str
    since: int


def check(source: Application, queries: Queries) -> None:
    """Raises StorageMisconfigured when a query has the wrong columns, or none can be read."""
    for flag, query, wanted in (("--counts", queries.counts, (2,)), ("--members", queries.members, (2, 3))):
        if query is not None:
            try:
                columns = source.columns(query)
            except StorageMisconfigured as error:
                raise StorageMisconfigured(f"{flag}: {error}") from error
            if columns not in wanted:
                what = "a name and a number" if flag == "--counts" else "a name, a member and, perhaps, a time"
                raise StorageMisconfigured(f"{flag}: the query has {columns} columns; it has to return {what}")


def counters(source: Application, queries: Queries, now_ms: int, refuse: Say, mismatch: Say) -> Iterator[Read]:
    """The counters by name, in parts of PART members. `refuse` is told of rows that are none."""
    counts = iter(()) if queries.counts is None else _counts(source.rows(queries.counts, 1), refuse)
    if queries.members is None:
        for name, number in counts:
            yield Read(bare(name, number, now_ms), bare=True)
        return
    # Twice the same: one is counted ahead, by the name, and the other one is passed on.
    ahead = _members(source.rows(queries.members, 2), now_ms, lambda where, why: None)
    members = _members(source.rows(queries.members, 2), now_ms, refuse)
    groups = ((name, sum(1 for _ in group)) for name, group in groupby(ahead, key=lambda each: each.name))
    for name, count, there in _side_by_side(counts, groups):
        if queries.counts is not None and count != there:
            mismatch(name, f"{'not counted' if count is None else f'counted {count}'}, has {there} members")
        yield from _liked(name, there, islice(members, there), now_ms)
    for _ in members:
        raise AssertionError("the source has changed although it is read as of one moment")


def _liked(name: str, there: int, members: Iterator[Member], now_ms: int) -> Iterator[Read]:
    whole = bare(name, there, now_ms)
    whole = whole._replace(counter=whole.counter._replace(policy=LIKES))
    left = there
    while True:
        part = [MemberRecord(0, each.member, each.since) for each in islice(members, PART)]
        left -= len(part)
        whole = whole._replace(members=part, more=left > 0)
        yield Read(whole, bare=True)
        if not whole.more:
            return
        whole = whole._replace(operations=[], part=whole.part + 1)


def _counts(rows: Iterator[tuple[Any, ...]], refuse: Say) -> Iterator[tuple[str, int]]:
    last = None
    for name, count in rows:
        try:
            _check_name(name)
            if name == last:
                raise BadLine("is there twice; the first counts")
            bare(name, number := _number(count), 0)
        except BadLine as bad:
            refuse(f"counts: {_quoted(name)}", str(bad))
            continue
        last = name
        yield name, number


def _members(rows: Iterator[tuple[Any, ...]], now_ms: int, refuse: Say) -> Iterator[Member]:
    last, wrong = None, None
    for name, member, *since in rows:
        if name == wrong and wrong is not None:
            continue  # Said once.
        try:
            _check_name(name)
        except BadLine as bad:
            wrong = name
            refuse(f"members: {_quoted(name)}", str(bad))
            continue
        try:
            if not isinstance(member, str) or _is_member(member) is None:
                raise BadLine(f"a member is 1 to {MEMBER_MAX} characters, none of which control anything")
            if (name, member) == last:
                raise BadLine("is there twice")
            at = _time(since[0], now_ms) if since else now_ms
        except BadLine as bad:
            refuse(f"members: {name}: {_quoted(member)}", str(bad))
            continue
        last = name, member
        yield Member(name, member, at)


def _side_by_side(
    counts: Iterator[tuple[str, int]], groups: Iterator[tuple[str, int]]
) -> Iterator[tuple[str, int | None, int]]:
    """Name, what was counted, how many are there. Both come by name."""
    count, group = next(counts, None), next(groups, None)
    while count is not None or group is not None:
        name = min(each[0] for each in (count, group) if each is not None)
        counted = there = None
        if count is not None and count[0] == name:
            counted, count = count[1], next(counts, None)
        if group is not None and group[0] == name:
            there = group[1]
        yield name, counted, there or 0
        if there is not None:
            group = next(groups, None)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise BadLine("name: is no text; write CAST(… AS TEXT) into the query" if name is not None else "name: is NULL")
    check_name(name)


def _number(count: Any) -> int:
    if isinstance(count, Decimal) and not (count.is_finite() and abs(count) <= VALUE_MAX):
        raise BadLine(f"number: {str(count)[:30]} does not lie within ±{VALUE_MAX}")
    if isinstance(count, bool) or not isinstance(count, int | Decimal) or count != int(count):
        raise BadLine(f"number: {'NULL' if count is None else _quoted(count)} is no whole number")
    return int(count)


def _time(since: Any, now_ms: int) -> int:
    if since is None:
        return now_ms
    try:
        at = datetime.fromisoformat(since) if isinstance(since, str) else since
        if isinstance(at, datetime):
            return ms_of(at if at.tzinfo else at.replace(tzinfo=UTC))
    except ValueError:
        pass
    raise BadLine(f"since: {_quoted(since)} is no time")


def _quoted(what: Any) -> str:
    return repr(what)[:SAID_MAX]
