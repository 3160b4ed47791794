"""The commands about the service as a whole: ps, scale, restart-hosts. It answers them only on its own machine."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

import msgspec

from gateway.commands.service import Service
from gateway.commands.terminal import Table, age, json_line, print_lines, printable

RESTART_S = 600.0  # Replacing a host takes a few seconds, and there may be many.


class Row(msgspec.Struct, rename="camel"):
    """A counter that is awake; on the command line its fields are called as they are here."""

    name: str
    host: str
    dedicated: bool
    epoch: int
    awake_since: str
    ops_per_s: float
    sessions: int


class Awake(msgspec.Struct):
    """The output of ps."""

    counters: list[Row]


class Scaled(msgspec.Struct):
    """The output of scale."""

    hosts: int


class Done(msgspec.Struct):
    """The output of restartHosts."""

    success: bool


def run_ps(args: argparse.Namespace) -> None:
    """Print the counters that are awake, the busiest first."""
    with Service(args.url) as service:
        rows = service.read("admin.ps", {}, Awake).counters
    rows.sort(key=lambda row: (-row.ops_per_s, row.name))
    if args.json:
        print_lines(json_line({field: getattr(row, field) for field in Row.__struct_fields__}) for row in rows)
        return
    header = [("NAME", "HOST", "DEDICATED", "EPOCH", "AWAKE", "OP/S", "SESSIONS")] if sys.stdout.isatty() else []
    now = datetime.now(UTC)
    print_lines(Table(7, right=(3, 4, 5, 6)).lines(header + [cells(row, now) for row in rows]))


def cells(row: Row, now: datetime) -> tuple[str, ...]:
    """One line of the table."""
    dedicated = "dedicated" if row.dedicated else "shared"
    counts = str(row.epoch), age(row.awake_since, now), f"{row.ops_per_s:.1f}", str(row.sessions)
    return (printable(row.name), printable(row.host), dedicated, *counts)


def run_scale(args: argparse.Namespace) -> None:
    """Have so many shared hosts, and print how many there are to be."""
    with Service(args.url, timeout_s=RESTART_S) as service:
        reply = service.ask("admin.scale", {"hosts": args.hosts})
        hosts = service.shaped(reply, Scaled).hosts
    print_lines([json_line(reply) if args.json else f"{hosts} hosts"])


def run_restart(args: argparse.Namespace) -> None:
    """Replace all hosts, one by one, and return when that is done."""
    with Service(args.url, timeout_s=RESTART_S) as service:
        reply = service.ask("admin.restartHosts", {})
        service.shaped(reply, Done)
    print_lines([json_line(reply) if args.json else "all hosts are new"])
