"""The command alarms: what is going to happen by itself."""

from __future__ import annotations

import argparse
import sys

import msgspec

from gateway.commands.answers import Reply
from gateway.commands.service import Service
from gateway.commands.terminal import Table, json_line, print_lines, printable

LIMIT = 100
_DUE: tuple[str, ...] = ("AT", "NAME", "REASON", "ID")
_ALARM: tuple[str, ...] = ("NEXT", "ID", "OPERATION", "EVERY", "ATTEMPT")


class Due(msgspec.Struct):
    """The output of listDue; each entry keeps all its members for `--json`."""

    due: list[Reply]


class Alarms(msgspec.Struct):
    """The output of listAlarms."""

    alarms: list[Reply]


def run_alarms(args: argparse.Namespace) -> None:
    """Print the next resets and alarms of all counters, or the alarms of one."""
    with Service(args.url) as service:
        if args.name is None:
            rows = service.read("counter.listDue", {"limit": args.limit or LIMIT}, Due).due
            header, cells = _DUE, [_due(row) for row in rows]
        else:
            rows = service.read("counter.listAlarms", {"name": args.name}, Alarms).alarms
            header, cells = _ALARM, [_alarm(row) for row in rows]
    if args.json:
        print_lines(map(json_line, rows))
        return
    shown = [header] if sys.stdout.isatty() else []
    print_lines(Table(len(header)).lines([*shown, *cells]))


def _due(row: Reply) -> tuple[str, ...]:
    return tuple(printable(str(row.get(field) or "")) for field in ("at", "name", "reason", "id"))


def _alarm(row: Reply) -> tuple[str, ...]:
    does = row["operation"]
    amount = does.get("amount", does.get("value"))
    operation = does["type"] if amount is None else f"{does['type']}({amount})"
    every = "" if row["every"] is None else f"{row['every']} s"
    attempt = "" if not row["attempt"] else f"{row['attempt']}: {row['error']}"
    return tuple(map(printable, (row["next"], row["id"], operation, every, attempt)))
