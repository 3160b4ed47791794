"""Comparing what clients were told with what the service says, what is stored, and what subscribers heard."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import psycopg

from tests.support.hammer import HttpConnection, Ledger, Subscriber
from tests.support.service_process import Service

COMPLAINTS_SHOWN = 20
ASKED = 5  # Connections that are asked for every value, so that every gateway is among them.
ASKED_FOR = 1_000  # Names in one question.
END_S = 20.0


class _Values(msgspec.Struct):
    values: dict[str, int]


class _Metadata(msgspec.Struct):
    value: int
    operationCount: int


class Stored(msgspec.Struct):
    """One counter as the database has it."""

    value: int
    seq: int
    rows: int
    operation_ids: int
    highest_seq: int


def read_database(url: str) -> dict[str, Stored]:
    """Every counter that was ever written."""
    connection: Any
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
    else:
        connection = psycopg.connect(url.replace("+psycopg", ""))
    with closing(connection):
        rows = connection.execute(
            "SELECT name, counter.value, operation_count, count(seq), count(DISTINCT operation_id), "
            "coalesce(max(seq), 0) FROM counter LEFT JOIN operation ON counter_id = counter.id GROUP BY counter.id"
        )
        return {name: Stored(*rest) for name, *rest in rows}


async def audit(
    service: Service, ledger: Ledger, subscribers: Sequence[Subscriber], counters: Sequence[str]
) -> list[str]:
    """What is wrong, with the books or with what subscribers heard."""
    wrong = await audit_books(service, ledger, counters)
    wrong += await audit_streams(service, subscribers)
    if len(wrong) > COMPLAINTS_SHOWN:
        wrong[COMPLAINTS_SHOWN:] = [f"and {len(wrong) - COMPLAINTS_SHOWN} more"]
    return wrong


async def audit_books(service: Service, ledger: Ledger, counters: Sequence[str]) -> list[str]:
    """What was lost, doubled or refused. With no operation open, everything has to agree; every operation adds one."""
    wrong = [f"refused: {each}" for each in ledger.refused]
    acknowledged, open = ledger.by_counter(), ledger.open_by_counter()
    stored = read_database(service.database)
    for counter in counters:
        answers, unknown = acknowledged.get(counter, []), open.get(counter, 0)
        row = stored.get(counter, Stored(0, 0, 0, 0, 0))
        if not len(answers) <= row.value <= len(answers) + unknown:
            wrong.append(f"{counter}: {len(answers)} acknowledged, {unknown} open, but its value is {row.value}")
        if not row.value == row.seq == row.rows == row.operation_ids == row.highest_seq:
            wrong.append(f"{counter}: stored as {row}")
        if len({each.value for each in answers}) != len(answers):
            wrong.append(f"{counter}: a value was given to two callers")
        if any(each.value != each.seq for each in answers):
            wrong.append(f"{counter}: a result whose value is not its place in the order")
    return wrong + await _compare_reads(service, stored, counters)


async def _compare_reads(service: Service, stored: dict[str, Stored], counters: Sequence[str]) -> list[str]:
    """Whoever is asked tells the stored value."""
    wrong = []
    for asked in range(ASKED):
        connection = await HttpConnection.open(service.port)
        values = {}
        for first in range(0, len(counters), ASKED_FOR):
            some = list(counters[first : first + ASKED_FOR])
            status, body = await connection.call("getValues", msgspec.json.encode({"names": some}))
            assert status == 200, body
            values |= msgspec.json.decode(body, type=_Values).values
        wrong += [
            f"{counter}: read as {values[counter]}, stored as {stored[counter].value} (connection {asked})"
            for counter in counters
            if counter in stored and values[counter] != stored[counter].value
        ]
        for counter in (counters[0], counters[-1]):
            status, body = await connection.call("getMetadata", msgspec.json.encode({"name": counter}))
            told = msgspec.json.decode(body, type=_Metadata) if status == 200 else None
            if counter in stored and (told is None or told.operationCount != stored[counter].seq):
                wrong.append(f"{counter}: getMetadata says {status} {told}, stored is {stored[counter]}")
        connection.close()
    return wrong


async def audit_streams(service: Service, subscribers: Sequence[Subscriber]) -> list[str]:
    """Every subscriber ends on the stored state, and missed nothing on the way."""
    stored = read_database(service.database)

    def behind() -> list[Subscriber]:
        return [one for one in subscribers if not one.closed and one.seq != _seq(stored, one.counter)]

    loop = asyncio.get_running_loop()
    end = loop.time() + END_S
    while behind() and loop.time() < end:
        await asyncio.sleep(0.05)
    wrong = [f"{one.counter}: a subscriber ended on {one.seq}, not {_seq(stored, one.counter)}" for one in behind()]
    for one in subscribers:
        wrong += one.complaints
        if one.closed:
            wrong.append(f"{one.counter}: a subscriber's socket was closed with {one.socket.closed.result()}")
        elif one.seq and one.counter in stored and one.value != stored[one.counter].value:
            wrong.append(f"{one.counter}: a subscriber ended on the value {one.value}, not {stored[one.counter].value}")
    return wrong


def _seq(stored: dict[str, Stored], counter: str) -> int:
    return stored[counter].seq if counter in stored else 0
