"""The arguments of the client commands, and how each of them ends."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable

from gateway.commands.address import DEFAULT_URL, service_url
from gateway.commands.alarms import run_alarms
from gateway.commands.counters import run_change, run_delete, run_get, run_list
from gateway.commands.errors import CommandError
from gateway.commands.history import LIMIT, run_history, run_undo
from gateway.commands.hosts import run_ps, run_restart, run_scale
from gateway.commands.policy import policy_field, run_policy
from gateway.commands.statistics import run_drift, run_sync
from gateway.commands.terminal import printable
from gateway.commands.watch import run_watch

DIGITS_MAX = 40  # Far beyond every number of the service, which says of most what is wrong with them.


def whole_number(text: str) -> int:
    """An integer, written with ASCII digits. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    if len(text) > DIGITS_MAX:
        raise argparse.ArgumentTypeError(f"{text[:DIGITS_MAX]}… is out of range: ±(2^53 − 1)")
    return int(text)


def positive_number(text: str) -> int:
    """An integer from 1. Raises argparse.ArgumentTypeError."""
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def operation_key(text: str) -> str:
    """An idempotency key, as a header can carry it. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"[!-~]([ -~]{0,198}[!-~])?", text):
        rule = "1 to 200 printable ASCII characters, with no space at either end"
        raise argparse.ArgumentTypeError(f"{text!r} is no key: {rule}")
    return text


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the client commands; each sets `run`, a function from its arguments to its exit code."""
    common = common_options()
    get = add_command(subparsers, "get", run_get, "print the value of counters", common)
    get.add_argument("names", nargs="+", metavar="NAME")

    add = add_change(subparsers, "add", "increment", "add to a counter", common)
    add_amount(add)
    sub = add_change(subparsers, "sub", "decrement", "subtract from a counter", common)
    add_amount(sub)
    put = add_change(subparsers, "set", "setValue", "give a counter a value", common)
    put.add_argument("value", type=whole_number, metavar="VALUE")
    put.set_defaults(fields=("value",))
    add_change(subparsers, "reset", "reset", "set a counter back to its initial value", common)
    delete = add_command(subparsers, "delete", run_delete, "remove a counter and its history", common)
    delete.add_argument("name", metavar="NAME")
    add_key(delete)

    history = add_command(subparsers, "history", run_history, "list what was done to a counter", common)
    history.add_argument("name", metavar="NAME")
    history.add_argument("--limit", type=positive_number, default=LIMIT, metavar="N", help=f"the newest N ({LIMIT})")
    undo = add_command(subparsers, "undo", run_undo, "take an operation back and print the new value", common)
    undo.add_argument("name", metavar="NAME")
    undo.add_argument("id", type=positive_number, metavar="ID", help="of the operation, as `history` prints it")
    policy = add_command(subparsers, "policy", run_policy, "print the rules of a counter, or change some", common)
    policy.add_argument("name", metavar="NAME")
    example = "minimum=0 on_limit=reject reset_after=20m"
    policy.add_argument("fields", nargs="*", type=policy_field, metavar="FIELD=VALUE", help=f"such as {example}")
    add_key(policy)

    watch = add_command(subparsers, "watch", run_watch, "show live values until Ctrl-C", common)
    watch.add_argument("names", nargs="+", metavar="NAME")
    listing = add_command(subparsers, "list", run_list, "list counters", common)
    listing.add_argument("--prefix", metavar="P", help="only names that begin with P")
    listing.add_argument("--limit", type=positive_number, metavar="N", help="at most N counters")

    sync = add_command(subparsers, "sync", run_sync, "set counters to what their sources say", common)
    sync.add_argument("name", nargs="?", metavar="NAME")
    sync.add_argument("--all", action="store_true", help="every counter that has a source")
    sync.add_argument("--actual", type=whole_number, metavar="N", help="to this instead; NAME needs no source then")
    drift = add_command(subparsers, "drift", run_drift, "print how far counters are from their sources", common)
    drift.add_argument("names", nargs="*", metavar="NAME", help="all that have a source, if none is named")

    alarms = add_command(subparsers, "alarms", run_alarms, "list what is due: resets and alarms", common)
    alarms.add_argument("name", nargs="?", metavar="NAME", help="only the alarms of this counter")
    alarms.add_argument("--limit", type=positive_number, metavar="N", help="at most N of all that is due (100)")

    add_command(subparsers, "ps", run_ps, "list the counters that are awake, and their hosts", common)
    scale = add_command(subparsers, "scale", run_scale, "change the number of host processes", common)
    scale.add_argument("--hosts", type=positive_number, metavar="N", required=True, help="so many shared hosts")
    add_command(subparsers, "restart-hosts", run_restart, "replace all host processes, one by one", common)


def common_options() -> argparse.ArgumentParser:
    """The options that all client commands share."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url",
        type=service_url,  # Also checks the default, if it is used.
        default=os.environ.get("COUNTERS_URL") or DEFAULT_URL,
        help=f"the service to talk to (default: COUNTERS_URL, else {DEFAULT_URL})",
    )
    common.add_argument("--json", action="store_true", help="one JSON object a line, for scripts")
    return common


def add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    common: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Register one command."""
    sentence = f"{summary[0].upper()}{summary[1:]}."
    parser = subparsers.add_parser(name, help=summary, description=sentence, parents=[common])
    parser.set_defaults(run=guarded(run))
    return parser


def add_change(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    procedure: str,
    summary: str,
    common: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Register a command that sends one operation; `fields` are the arguments that go with the name."""
    parser = add_command(subparsers, name, run_change, f"{summary} and print its new value", common)
    parser.add_argument("name", metavar="NAME")
    add_key(parser)
    parser.set_defaults(procedure=procedure, fields=())
    return parser


def add_key(parser: argparse.ArgumentParser) -> None:
    """Give a command the option --key."""
    parser.add_argument(
        "--key",
        type=operation_key,
        help="idempotency key (default: a random one); sent again it changes nothing a second time",
    )


def add_amount(parser: argparse.ArgumentParser) -> None:
    """Give a command the argument AMOUNT."""
    parser.add_argument("amount", nargs="?", type=positive_number, default=1, metavar="AMOUNT", help="1 by default")
    parser.set_defaults(fields=("amount",))


def guarded(run: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    """Turn how a command ends into an exit code, with one line on standard error and never a traceback."""

    def run_to_exit_code(args: argparse.Namespace) -> int:
        try:
            run(args)
            sys.stdout.flush()
        except CommandError as error:
            advice = f" ({error.advice})" if error.advice else ""
            print(printable(f"{error}{advice}"), file=sys.stderr)
            return error.exit_code
        except BrokenPipeError:
            discard_output()  # Its reader, `head` for one, has what it wants.
        except UnicodeEncodeError:
            print("counters: an argument is no text", file=sys.stderr)
            return 2
        except OSError as error:  # What the network says is a CommandError by now.
            discard_output()
            print(f"counters: cannot write: {error.strerror or error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130  # What a shell expects of a program ended by Ctrl-C.
        return 0

    return run_to_exit_code


def discard_output() -> None:
    """Python flushes once more at the end and would complain, so there must be something to flush to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
