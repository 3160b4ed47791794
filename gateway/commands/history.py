"""The commands history and undo: what was done to a counter, and taking it back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import msgspec

from gateway.commands.answers import Reply
from gateway.commands.counters import Changed
from gateway.commands.service import Service
from gateway.commands.terminal import Table, json_line, print_lines, printable

LIMIT = 20
PAGE_MAX = 100  # The service grants no more at once.
_HEADER = ("ID", "AT", "OPERATION", "BEFORE", "AFTER", "SOURCE", "REASON")


class Item(msgspec.Struct, rename="camel"):
    """What is shown of an operation."""

    id: int
    operation: str
    previous_value: int
    new_value: int
    timestamp: str
    source: str | None = None
    reason: str | None = None


def run_history(args: argparse.Namespace) -> None:
    """Print the newest operations, the newest first, page by page as they arrive."""
    table = Table(len(_HEADER), right=(0, 3, 4))
    header = [_HEADER] if sys.stdout.isatty() else []
    with Service(args.url) as service:
        for page in pages(service, args.name, args.limit):
            if args.json:
                print_lines(map(json_line, page))
            else:
                print_lines(table.lines([*header, *(_row(service.shaped(item, Item)) for item in page)]))
                header = []


def run_undo(args: argparse.Namespace) -> None:
    """Take one operation back and print the new value. Who repeats it is answered with the first time."""
    with Service(args.url) as service:
        reply = service.ask("counter.undo", {"name": args.name, "seq": args.id})
        value = service.shaped(reply, Changed).value
    print_lines([json_line(reply) if args.json else str(value)])


def pages(service: Service, name: str, limit: int) -> Iterator[list[Reply]]:
    """At most `limit` operations, in pages. Each keeps all its members for `--json`."""
    before: int | None = None
    while limit > 0:
        question = {"name": name, "limit": min(limit, PAGE_MAX)} | ({} if before is None else {"before": before})
        page = service.read("counter.getHistory", question, list[Reply])
        if not page:
            return
        yield page[:limit]
        limit -= len(page)
        oldest = service.shaped(page[-1], Item).id
        if before is not None and oldest >= before:
            return  # A service that repeats itself would keep us here for ever.
        before = oldest


def _row(item: Item) -> tuple[str, ...]:
    before, after = str(item.previous_value), str(item.new_value)
    words = (item.timestamp, item.operation), (item.source or "-", item.reason or "")
    return (str(item.id), *map(printable, words[0]), before, after, *map(printable, words[1]))
