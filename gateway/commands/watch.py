"""The command `watch`: a listener for each counter puts what it hears into one inbox, which the main thread shows."""

from __future__ import annotations

import argparse
import logging
import queue
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidStatus, WebSocketException
from websockets.frames import Close, CloseCode
from websockets.sync.client import ClientConnection, connect

from gateway.commands.address import is_local, socket_url
from gateway.commands.answers import ATTEMPTS_MAX, Reply, backoff_s, judge, reason_of, unexpected, unusable
from gateway.commands.errors import Failure, Refused, Unreachable, WrongUsage
from gateway.commands.terminal import View, view_for

WATCH_BACKOFF_MAX_S = 15.0  # A watcher waits for ever, so it must not hurry a service that is coming back.
WINDOW_MAX_S = 60.0  # What a service may ask for, however many clients it has to spread.
CLOSE_TIMEOUT_S = 1.0
WATCH_NAMES_MAX = 100  # Each is a connection and two threads here.
INBOX_MAX = 1_000  # When the terminal is slower than the service, the service is left to coalesce.
DRAW_PAUSE_S = 0.05  # Nobody reads more than twenty values a second.

NonNegative = Annotated[float, msgspec.Meta(ge=0)]

# A connection that dies is told in a line of ours; the library would add a traceback.
SILENT = logging.getLogger(f"{__name__}.websocket")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


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


class Window(msgspec.Struct):
    """The close reason of a gateway that stops: come back at a random moment between these seconds from now."""

    reconnect: tuple[NonNegative, NonNegative]


def window_s(reason: str) -> float:
    """The reconnect window that a draining gateway names in its close reason; 0 if it names none."""
    try:
        return min(msgspec.json.decode(reason, type=Window).reconnect[1], WINDOW_MAX_S)
    except msgspec.DecodeError:
        return 0.0


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
            with connect(
                socket_url(self._url, self._name),
                proxy=None if is_local(self._url) else True,
                compression=None,
                close_timeout=CLOSE_TIMEOUT_S,
                logger=SILENT,
            ) as self._socket:
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
        except (ImportError, InvalidProxy) as error:
            return Failure(unusable(error), again=False)
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
