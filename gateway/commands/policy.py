"""The command policy: the rules of a counter, to read and to change."""

from __future__ import annotations

import argparse
import json
import secrets
from typing import Any

import msgspec

from gateway.commands.answers import Reply
from gateway.commands.service import Service
from gateway.commands.terminal import Table, json_line, print_lines, printable

Field = tuple[str, Any]


class Ruled(msgspec.Struct):
    """What is needed of the outputs of getMetadata and configure."""

    policy: Reply


def policy_field(text: str) -> Field:
    """`field=value`; a value that is no JSON is a text, so `reset_after=20m` needs no quotes.

    Raises argparse.ArgumentTypeError.
    """
    field, equals, value = text.partition("=")
    if not field or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE, such as minimum=0 or reset_after=20m")
    try:
        return field, json.loads(value, parse_constant=_no_json)
    except ValueError:
        return field, value


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is Python's, not JSON's, and cannot be sent")


def run_policy(args: argparse.Namespace) -> None:
    """Change the fields that are given, and print all of them."""
    with Service(args.url) as service:
        if args.fields:
            question = {"name": args.name, "policy": dict(args.fields)}
            key = args.key or secrets.token_hex(16)
            reply = service.ask("counter.configure", question, key=key)
        else:
            reply = service.ask("counter.getMetadata", {"name": args.name})
        policy = service.shaped(reply, Ruled).policy
    if args.json:
        print_lines([json_line(policy)])
    else:
        print_lines(Table(2).lines([(printable(field), _shown(value)) for field, value in policy.items()]))


def _shown(value: Any) -> str:
    return printable(value if isinstance(value, str) else json_line(value))
