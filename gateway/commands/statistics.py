"""The commands sync and drift: counters that are counted elsewhere."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Sequence

import msgspec

from gateway.commands.answers import Reply
from gateway.commands.errors import Refused, WrongUsage
from gateway.commands.service import Service
from gateway.commands.terminal import Table, json_line, print_lines, printable

TIMEOUT_S = 620.0  # A query may take ten minutes, if its source says so.


class Source(msgspec.Struct):
    """What is needed of an entry of listSources."""

    name: str


class Sources(msgspec.Struct):
    """The output of listSources."""

    sources: list[Source]


def run_sync(args: argparse.Namespace) -> None:
    """Set one counter, or all that have a source, to what their sources say."""
    if args.all == (args.name is not None):
        raise WrongUsage("say the name of a counter, or --all")
    if args.all and args.actual is not None:
        raise WrongUsage("--actual is the value of one counter")
    actual = {} if args.actual is None else {"actual": args.actual}

    def sync(service: Service, name: str) -> Reply:
        return service.ask("counter.sync", {"name": name, **actual}, key=secrets.token_hex(16))

    _each(args, None if args.all else [args.name], sync, ("oldCount", "newCount", "difference"))


def run_drift(args: argparse.Namespace) -> None:
    """Print how far counters are from their sources."""

    def drift(service: Service, name: str) -> Reply:
        return service.ask("counter.drift", {"name": name})

    _each(args, args.names or None, drift, ("value", "actual", "difference"))


def _each(
    args: argparse.Namespace,
    names: Sequence[str] | None,
    ask: Callable[[Service, str], Reply],
    fields: Sequence[str],
) -> None:
    """Ask about each counter and print what is said; None: all that have a source. One that fails stops nobody."""
    table, failed = Table(4, right=(1, 2, 3)), 0
    header = [("NAME", *(field.upper() for field in fields))] if sys.stdout.isatty() and not args.json else []
    with Service(args.url, timeout_s=TIMEOUT_S) as service:
        if names is None:
            names = [each.name for each in service.read("stats.listSources", {}, Sources).sources]
        for name in names:
            try:
                reply = ask(service, name)
            except Refused as error:
                if len(names) == 1:
                    raise
                failed += 1
                print(printable(f"{name}: {error}"), file=sys.stderr)
                continue
            if args.json:
                print_lines([json_line({"name": name} | reply)])
            else:
                print_lines(table.lines([*header, (printable(name), *(str(reply[field]) for field in fields))]))
                header = []
    if failed:
        raise Refused("SOURCE_FAILED", f"{failed} of {len(names)} counters have no answer from their source")
