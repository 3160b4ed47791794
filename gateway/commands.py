"""The client commands: `counters get|add|sub|set|reset|watch|list`.

They talk to a running service over HTTP and WebSocket and know nothing of the rooms behind it. In reading
order: errors, judging an answer, the service over HTTP, the commands, watching, the arguments.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import random
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Close, CloseCode
from websockets.sync.client import ClientConnection, connect

from gateway.terminal import Table, View, age, json_line, printable, view_for

DEFAULT_URL = "http://127.0.0.1:8094"

ATTEMPTS_MAX = 5  # With the pauses below, a service that is not there is given up after 3 s at the latest.
BACKOFF_BASE_S = 0.2
BACKOFF_MAX_S = 2.0
WATCH_BACKOFF_MAX_S = 15.0  # A watcher waits for ever, so it must not hurry a service that is coming back.
WINDOW_MAX_S = 60.0  # What a service may ask for, however many clients it has to spread.
RETRY_AFTER_MAX_S = 10.0  # Nobody looks at a silent prompt for longer; the refusal is shown instead.
REQUEST_TIMEOUT_S = 10.0
PATIENCE_S = 15.0  # After this long no further attempt is begun: five timeouts would be a minute of silence.
CLOSE_TIMEOUT_S = 1.0
NAMES_MAX = 1_000  # The service takes no more names in one question.
PAGE_MAX = 1_000  # Nor does it grant a longer page.
WATCH_NAMES_MAX = 100  # Each is a connection and two threads here.
INBOX_MAX = 1_000  # When the terminal is slower than the service, the service is left to coalesce.
DRAW_PAUSE_S = 0.05  # Nobody reads more than twenty values a second.

# A connection that dies is told in a line of ours; the library would add a traceback.
SILENT = logging.getLogger(f"{__name__}.websocket")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False

Reply = dict[str, Any]
Read = TypeVar("Read")


# Errors: what ends a command, and with which exit code.
#
# CommandError
#   Refused        1   the service was reached and said no
#   WrongUsage     2   what argparse cannot see
#   Unreachable    3   the service was not reached, or was lost before it answered


class CommandError(Exception):
    """Ends a command with one line on standard error, which closes with the advice."""

    exit_code = 1
    advice = ""


class Refused(CommandError):
    """The service answered with an error; printed as `CODE: message`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")


class WrongUsage(CommandError):
    """The arguments make no sense together."""

    exit_code = 2


class Unreachable(CommandError):
    """There was no answer; `what` says since when: never reached, or lost."""

    exit_code = 3
    advice = "start the service with `counters serve`, or name another with --url or COUNTERS_URL"

    def __init__(self, url: str, why: str, what: str = "cannot reach") -> None:
        super().__init__(f"{what} {shown(url)}: {why}")


@dataclass(frozen=True)
class Failure:
    """One attempt that did not work, and what may be done about it.

    `applied_perhaps` is false only when the request cannot have arrived, so that nothing can have changed.
    `spread_s` is the time over which the service asks its clients to come back.
    """

    error: CommandError
    again: bool
    retry_after_s: float | None = None
    applied_perhaps: bool = True
    spread_s: float = 0.0


# Judging an answer. Pure: chance and time come in as arguments.


class ErrorDetail(msgspec.Struct):
    """The `error` member of an error body."""

    code: str
    message: str
    data: Any = None
    retryable: bool = False


class ErrorBody(msgspec.Struct):
    """The body of every answer of the service that is not a success."""

    error: ErrorDetail


def judge(url: str, status: int, headers: Mapping[str, str], body: bytes) -> Reply | Failure:
    """Turn an HTTP answer into its JSON object, or into a failure that knows whether to try again."""
    if 200 <= status < 300:
        try:
            return msgspec.json.decode(body, type=Reply)
        except msgspec.DecodeError:
            return Failure(unexpected(url), again=False)
    retry_after_s = seconds(headers.get("retry-after"))
    try:
        error = msgspec.json.decode(body, type=ErrorBody).error
    except msgspec.DecodeError:
        # Not ours, so a proxy's: these three are how proxies say that the gateway behind them is away.
        return Failure(Refused(f"HTTP_{status}", phrase(status)), status in (502, 503, 504), retry_after_s)
    refused = Refused(error.code, explain(error))
    if retry_after_s is not None:
        refused.advice = f"try again in {retry_after_s:g} s"
    again = error.retryable or (status in (429, 503) and retry_after_s is not None)
    # Who is asked to slow down was stopped at the door; any other failure may hide a success.
    return Failure(refused, again, retry_after_s, applied_perhaps=status != HTTPStatus.TOO_MANY_REQUESTS)


def unexpected(url: str) -> Refused:
    """The error for an answer that no counters service gives."""
    return Refused("UNEXPECTED_ANSWER", f"{shown(url)} does not answer like a counters service")


def explain(error: ErrorDetail) -> str:
    """The message of the service, with the field and the reason of a validation error if it left them out."""
    if not isinstance(error.data, dict):
        return error.message
    field, reason = error.data.get("field"), error.data.get("reason")
    if not isinstance(reason, str) or reason in error.message:
        return error.message
    return f"{error.message} ({field}: {reason})" if field else f"{error.message} ({reason})"


def phrase(status: int) -> str:
    """What an HTTP status says in words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no explanation given"


def seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After header; None if it is absent or a date, which this service never sends."""
    return float(retry_after) if retry_after and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", retry_after) else None


def backoff_s(attempt: int, jitter: float, limit_s: float = BACKOFF_MAX_S) -> float:
    """The pause after failed attempt number `attempt`, counted from 1.

    Full jitter: `jitter`, from 0 to 1, scales the whole pause. Clients that lost the service in the same
    instant would otherwise all come back in the same instant.
    """
    return jitter * min(limit_s, BACKOFF_BASE_S * 2.0 ** min(attempt - 1, 32))


def pause_s(failure: Failure, attempt: int, jitter: float) -> float | None:
    """How long to wait before attempt number `attempt` is repeated, or None to give up."""
    if not failure.again or attempt >= ATTEMPTS_MAX:
        return None
    if failure.retry_after_s is None:
        return backoff_s(attempt, jitter)
    if failure.retry_after_s > RETRY_AFTER_MAX_S:
        return None
    return failure.retry_after_s + backoff_s(attempt, jitter)


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in the operating system's words without its numbers."""
    text = re.sub(r"^\[[^\]]*\]\s*", "", str(error)).strip()
    return printable(text[:1].lower() + text[1:]) if text else type(error).__name__


# The service over HTTP.


def service_url(text: str) -> str:
    """Check the address of a service and bring it into one form, without a slash at its end.

    Raises argparse.ArgumentTypeError, so that argparse reports it as wrong usage.
    """
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address like {DEFAULT_URL}")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def shown(url: str) -> str:
    """The address as it may be printed: without a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Service:
    """A running service, asked over HTTP; one connection for as long as the `with` block lasts."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        self._http = httpx.Client(transport=transport, timeout=REQUEST_TIMEOUT_S)
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.close()

    def ask(self, procedure: str, question: Mapping[str, Any], key: str | None = None) -> Reply:
        """Call `counter.<procedure>` and return its output, trying again where that can help.

        A procedure that changes something needs a `key`: the service answers a key that it has seen with the
        first result, so a repetition never changes anything twice. Raises Refused or Unreachable.
        """
        patient_until = self._clock() + PATIENCE_S
        applied_perhaps = False
        attempt = 1
        while True:
            outcome = self._ask_once(procedure, question, key)
            if not isinstance(outcome, Failure):
                return outcome
            applied_perhaps |= outcome.again and outcome.applied_perhaps
            wait_s = pause_s(outcome, attempt, self._jitter())
            if wait_s is None or self._clock() > patient_until:
                if key is not None and applied_perhaps:
                    hint = f"it may have been applied: --key {key} repeats it safely"
                    outcome.error.advice = "; ".join(filter(None, (hint, outcome.error.advice)))
                raise outcome.error
            self._sleep(wait_s)
            attempt += 1

    def read(self, procedure: str, question: Mapping[str, Any], shape: type[Read]) -> Read:
        """Ask, and give the output the shape it should have. Raises Refused if it has another one."""
        return self.shaped(self.ask(procedure, question), shape)

    def shaped(self, reply: Reply, shape: type[Read]) -> Read:
        """The reply as typed data. Raises Refused if it is something else."""
        try:
            return msgspec.convert(reply, shape)
        except msgspec.ValidationError:
            raise unexpected(self.url) from None

    def _ask_once(self, procedure: str, question: Mapping[str, Any], key: str | None) -> Reply | Failure:
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            answer = self._http.post(f"{self.url}/rpc/counter.{procedure}", json=question, headers=headers)
        except httpx.RequestError as error:
            unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            gone = Unreachable(self.url, reason_of(error))
            return Failure(gone, again=True, applied_perhaps=not unsent)
        return judge(self.url, answer.status_code, answer.headers, answer.content)


# The commands.


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
            values |= service.read("getValues", {"names": some}, Values).values
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
        reply = service.ask(args.procedure, question, key=args.key or secrets.token_hex(16))
        value = service.shaped(reply, Changed).value
    print_lines([json_line(reply) if args.json else str(value)])


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
        page = service.read("listAll", {**question, "limit": min(left, PAGE_MAX)}, Page)
        yield page.counters[:left]
        left -= len(page.counters)
        # A service that repeats its cursor would keep us here for ever.
        if page.cursor is None or page.cursor == question.get("cursor"):
            return
        question["cursor"] = page.cursor


def print_lines(lines: Iterator[str] | Sequence[str]) -> None:
    """Print to standard output."""
    for line in lines:
        print(line)


# Watching: a listener for each counter puts what it hears into one inbox, which the main thread shows.


@dataclass(frozen=True)
class Heard:
    """A message of the service has arrived."""

    name: str
    message: Reply


@dataclass(frozen=True)
class Lost:
    """The connection is gone; the listener is trying to get it back."""

    name: str
    why: str


@dataclass(frozen=True)
class Ended:
    """The listener has stopped for good."""

    error: Exception


Item = Heard | Lost | Ended


def socket_url(url: str, name: str) -> str:
    """The WebSocket address of a counter, asking for its current value first."""
    return f"{re.sub('^http', 'ws', url)}/ws/counter/{quote(name, safe='')}?snapshot=1"


def after_close(url: str, close: Close | None) -> Failure:
    """What the end of an open connection means, from the close frame of the service, if it sent one.

    1008 and the codes from 4400 to 4499 mirror the HTTP errors that a repetition does not cure; timeouts (08)
    and limits (29) among them, and all other codes, are a service that goes away and comes back.
    """
    if close is None:
        return Failure(Unreachable(url, "the connection broke", "lost"), again=True)
    code = int(close.code)
    if code == CloseCode.POLICY_VIOLATION or (4400 <= code < 4500 and code not in (4408, 4429)):
        return Failure(Refused(f"CLOSED_{code}", close.reason or "the service refused to go on"), again=False)
    spread_s = window_s(close.reason) if code == CloseCode.SERVICE_RESTART else 0.0
    return Failure(Unreachable(url, str(close), "lost"), again=True, spread_s=spread_s)


def window_s(reason: str) -> float:
    """The reconnect window that a draining gateway names in its close reason; 0 if it names none."""
    number = re.search(r"\d{1,4}(\.\d{1,3})?", reason)
    return min(float(number[0]), WINDOW_MAX_S) if number else 0.0


class Listener:
    """Keeps one WebSocket open for one counter, in a thread of its own, until it is stopped or refused."""

    def __init__(self, url: str, name: str, inbox: queue.Queue[Item], reached: threading.Event) -> None:
        """`reached` is shared by all listeners: once one of them got through, none gives up any more."""
        self._url = url
        self._name = name
        self._inbox = inbox
        self._reached = reached
        self._stopped = threading.Event()
        self._socket: ClientConnection | None = None
        self._attempt = 0
        self._thread = threading.Thread(target=self._run, name=f"watch {name}", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye to the service; takes no longer than CLOSE_TIMEOUT_S."""
        self._stopped.set()
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._attempt += 1
                failure = self._listen()
                if not failure.again or (not self._reached.is_set() and self._attempt >= ATTEMPTS_MAX):
                    raise failure.error
                if self._reached.is_set():
                    self._inbox.put(Lost(self._name, str(failure.error)))
                self._stopped.wait(self._pause_s(failure))
        except Exception as error:
            # The main thread decides what it means; dying in silence would leave an old value on show.
            self._inbox.put(Ended(error))

    def _pause_s(self, failure: Failure) -> float:
        jitter = random.random()
        pause_s = backoff_s(self._attempt, jitter, WATCH_BACKOFF_MAX_S)
        return (failure.retry_after_s or 0) + max(pause_s, jitter * failure.spread_s)

    def _listen(self) -> Failure:
        """Connect and pass on what is heard, until the connection ends."""
        try:
            address = socket_url(self._url, self._name)
            with connect(address, compression=None, close_timeout=CLOSE_TIMEOUT_S, logger=SILENT) as self._socket:
                self._reached.set()
                while True:
                    message = msgspec.json.decode(self._socket.recv(), type=Reply)
                    # Only now is it a success: a service that accepts and closes at once must not be hurried.
                    self._attempt = 0
                    self._inbox.put(Heard(self._name, message))
        except ConnectionClosed as closed:
            return after_close(self._url, closed.rcvd)
        except InvalidStatus as refused:
            answer = refused.response
            outcome = judge(self._url, answer.status_code, answer.headers, bytes(answer.body or b""))
            return outcome if isinstance(outcome, Failure) else Failure(unexpected(self._url), again=False)
        except msgspec.DecodeError:
            return Failure(unexpected(self._url), again=False)
        except (OSError, EOFError, WebSocketException) as error:
            return Failure(Unreachable(self._url, reason_of(error)), again=True)


def run_watch(args: argparse.Namespace) -> None:
    """Show values as they change, until Ctrl-C."""
    names = list(dict.fromkeys(args.names))
    if len(names) > WATCH_NAMES_MAX:
        raise WrongUsage(f"counters watch: {len(names)} names, {WATCH_NAMES_MAX} at most")
    inbox: queue.Queue[Item] = queue.Queue(INBOX_MAX)
    reached = threading.Event()
    listeners = [Listener(args.url, name, inbox, reached) for name in names]
    try:
        try:
            for listener in listeners:
                listener.start()
            show(inbox, view_for(names, sys.stdout, sys.stderr, as_json=args.json))
        finally:
            stop_all(listeners)
    except KeyboardInterrupt:
        # The way to end it, hence a success, also for who is in a hurry and does it twice. The terminal has
        # shown ^C; the prompt gets a line of its own.
        if sys.stdout.isatty():
            print()


def show(inbox: queue.Queue[Item], view: View) -> None:
    """Hand what is heard to the view, without end. Raises what ended a listener."""
    lost: set[str] = set()
    view.draw()
    while True:
        show_one(inbox.get(), view, lost)
        for _ in range(min(inbox.qsize(), INBOX_MAX)):
            show_one(inbox.get_nowait(), view, lost)
        view.draw()
        time.sleep(DRAW_PAUSE_S)


def show_one(item: Item, view: View, lost: set[str]) -> None:
    """Show one item. `lost` holds the counters without a connection, so that one outage is told once."""
    match item:
        case Ended(error):
            raise error
        case Lost(name, why):
            view.lost(name)
            if not lost:
                view.note(f"{why}; reconnecting")
            lost.add(name)
        case Heard(name, {"type": "error", "code": code, "message": text}):
            view.note(f"{name}: {code}: {text}")
        case Heard(name, {"value": int()} as message):
            view.heard(name, message)
            if name in lost and len(lost) == 1:
                view.note("connected again")
            lost.discard(name)


def stop_all(listeners: Sequence[Listener]) -> None:
    """Stop all listeners at the same time, so that it takes no longer than one."""
    threads = [threading.Thread(target=listener.stop, daemon=True) for listener in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLOSE_TIMEOUT_S)


# The arguments.


def whole_number(text: str) -> int:
    """An integer, written with ASCII digits. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def positive_number(text: str) -> int:
    """An integer from 1. Raises argparse.ArgumentTypeError."""
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


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

    watch = add_command(subparsers, "watch", run_watch, "show live values until Ctrl-C", common)
    watch.add_argument("names", nargs="+", metavar="NAME")
    listing = add_command(subparsers, "list", run_list, "list counters", common)
    listing.add_argument("--prefix", metavar="P", help="only names that begin with P")
    listing.add_argument("--limit", type=positive_number, metavar="N", help="at most N counters")


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
    parser.add_argument(
        "--key", help="idempotency key (default: a random one); sent again it changes nothing a second time"
    )
    parser.set_defaults(procedure=procedure, fields=())
    return parser


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
            # The reader of our output, `head` for one, has what it wants. Python flushes once more at the
            # end and would complain, so there must be something to flush to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            return 130  # What a shell expects of a program ended by Ctrl-C.
        return 0

    return run_to_exit_code
