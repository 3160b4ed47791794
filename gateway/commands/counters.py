"""The commands about counters: get, add, sub, set, reset, delete, list."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.commands.answers import Reply, unexpected
from gateway.commands.service import Service
from gateway.commands.terminal import Table, age, json_line, print_lines, printable

NAMES_MAX = 1_000  # The service takes no more names in one question.
PAGE_MAX = 1_000  # Nor does it grant a longer page.


class Changed(msgspec.Struct):
    """What the commands print of the result of an operation."""

    value: int


class Values(msgspec.Struct):
    """The output of getValues."""

    values: dict[str, int]


class Listed(msgspec.Struct, rename="camel"):
    """What the list shows of a counter."""

    name: str
    value: int
    updated_at: str | None = None


class Page(msgspec.Struct):
    """The output of listAll; each counter keeps all its members for `--json`."""

    counters: list[Reply]
    cursor: str | None = None


def run_get(args: argparse.Namespace) -> None:
    """Print the value of one counter, or name and value of several in the order asked for."""
    with Service(args.url) as service:
        values: dict[str, int] = {}
        for first in range(0, len(args.names), NAMES_MAX):
            some = list(dict.fromkeys(args.names[first : first + NAMES_MAX]))
            values |= service.read("counter.getValues", {"names": some}, Values).values
    if not values.keys() >= set(args.names):
        raise unexpected(args.url)
    if args.json:
        print_lines(json_line({"name": name, "value": values[name]}) for name in args.names)
    elif len(args.names) == 1:
        print_lines([str(values[args.names[0]])])
    else:
        print_lines(Table(2, right=(1,)).lines([(name, str(values[name])) for name in args.names]))


def run_change(args: argparse.Namespace) -> None:
    """Send one operation and print the new value."""
    question = {"name": args.name, **{field: getattr(args, field) for field in args.fields}}
    with Service(args.url) as service:
        reply = service.ask(f"counter.{args.procedure}", question, key=args.key or secrets.token_hex(16))
        value = service.shaped(reply, Changed).value
    print_lines([json_line(reply) if args.json else str(value)])


def run_delete(args: argparse.Namespace) -> None:
    """Remove a counter. Nothing is printed, as there is no value any more."""
    with Service(args.url) as service:
        reply = service.ask("counter.delete", {"name": args.name}, key=args.key or secrets.token_hex(16))
    if args.json:
        print_lines([json_line(reply)])


def run_list(args: argparse.Namespace) -> None:
    """Print the counters, page by page as they arrive."""
    table = Table(3, right=(1, 2))
    header = [("NAME", "VALUE", "CHANGED")] if sys.stdout.isatty() else []
    with Service(args.url) as service:
        for page in pages(service, args.prefix, args.limit):
            if args.json:
                print_lines(map(json_line, page))
                continue
            now = datetime.now(UTC)
            rows = [listed_row(service.shaped(counter, Listed), now) for counter in page]
            print_lines(table.lines(header + rows))
            header = []


def listed_row(counter: Listed, now: datetime) -> tuple[str, str, str]:
    """One line of the list: name, value, how long ago it changed."""
    changed = age(counter.updated_at, now) if counter.updated_at else "-"
    return printable(counter.name), str(counter.value), changed


def pages(service: Service, prefix: str | None, limit: int | None) -> Iterator[list[Reply]]:
    """The counters whose names begin with `prefix`, at most `limit`, following the cursors of the service."""
    left = sys.maxsize if limit is None else limit
    question: dict[str, Any] = {} if prefix is None else {"prefix": prefix}
    while left > 0:
        page = service.read("counter.listAll", {**question, "limit": min(left, PAGE_MAX)}, Page)
        yield page.counters[:left]
        left -= len(page.counters)
        # A service that repeats its cursor would keep us here for ever.
        if page.cursor is None or page.cursor == question.get("cursor"):
            return
        question["cursor"] = page.cursor
