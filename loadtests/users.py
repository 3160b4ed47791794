"""The users: those who listen, those who call, and those who do both.

What they see goes to locust's own statistics, one entry for each kind:

    ws delivery       an event, from the time that the service stamped it with to its arrival; one for each listener
    ws replay         the same of an event that is older than the connection: missed, and asked for with `since=`
    ws echo           an own operation, from sending it to hearing it as an event
    ws increment …    an operation over the socket, from sending it to its answer; likewise `rpc increment …`
    ws connect        a handshake; `ws reconnect` after a drop

and what has to be exact goes to the books of the process, see `verify`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from itertools import count
from typing import Any, TypeVar
from uuid import uuid4

import gevent
import msgspec
from gevent.event import AsyncResult, Event
from locust import FastHttpUser, User, between, constant, task
from locust.env import Environment
from websockets.exceptions import InvalidHandshake, WebSocketException

from loadtests.shapes import Names
from loadtests.verify import Heard, Ledger
from loadtests.wire import ClosedError, Socket, url_of

ANSWER_S = 15.0  # The service answers within 10, if only to say that it does not know.
CONNECT_S = 15.0
STORM_S = 2.0  # Within which all come back after a storm.
RETRY_S = 1.0  # After a handshake that failed.
AMOUNT_MAX = 3
LATELY = 100  # Events that are remembered, in case that the answer to an own operation comes after its event.
REFUSED = frozenset({"COUNTER_VALIDATION_ERROR", "OUT_OF_RANGE", "LIMIT_REACHED", "TOO_MANY_REQUESTS", "FORBIDDEN"})
UNKNOWN_FROM = 500  # HTTP statuses from here on, and 0 for a lost connection, say nothing about the outcome.

ledger = Ledger()  # The books of this process, for the test that runs.


class _Metadata(msgspec.Struct):
    id: int
    operationCount: int


class _Result(msgspec.Struct):
    value: int
    previousValue: int
    metadata: _Metadata


class _Message(msgspec.Struct):
    """Whatever a counter's socket brings."""

    type: str
    id: str | None = None
    code: str | None = None
    result: _Result | None = None
    metadata: _Metadata | None = None
    timestamp: str | None = None
    operations: int = 1


_decode = msgspec.json.Decoder(_Message).decode
_decode_result = msgspec.json.Decoder(_Result).decode


class Ear:
    """Listens to one counter for one user, comes back after every drop, and notices what is missing."""

    all: set[Ear] = set()  # noqa: RUF012 - of this process; a storm drops them.

    def __init__(self, environment: Environment, base: str, counter: str) -> None:
        self._environment = environment
        self._base = base
        self.counter = counter
        self._heard = Heard()
        self._connected_at = 0.0  # Wall clock.
        self._socket: Socket | None = None
        self._answers: dict[str, AsyncResult[_Message]] = {}
        self._key = uuid4().hex[:12]  # With it, an id means the same operation on every connection of ours.
        self._ids = count(1)
        self._connected = Event()
        self._watched: dict[int, float] = {}  # Own operations not heard of yet: operationCount → when it was sent.
        self._lately: dict[int, float] = {}  # The last events and when they came: one may come before its answer.
        self._connect("ws connect")
        self._greenlet = gevent.spawn(self._listen)
        Ear.all.add(self)

    def close(self) -> None:
        """Listen no more."""
        Ear.all.discard(self)
        self._greenlet.kill()
        self._lose()

    def drop(self) -> None:
        """Lose the connection. It comes back a moment later."""
        if self._socket is not None:
            self._socket.drop()

    def ask(self, message: dict[str, Any]) -> _Message:
        """Say something and wait for its answer. Raises gevent.Timeout: nobody knows.

        After a drop it is said again, with the same id: the service does it once and gives the first answer.
        """
        id = str(next(self._ids))
        with gevent.Timeout(ANSWER_S):
            while True:
                self._connected.wait()
                answer = self._answers[id] = AsyncResult()
                try:
                    assert self._socket is not None
                    self._socket.send({**message, "id": id})
                    said: _Message = answer.get()
                    return said
                except (ClosedError, OSError, WebSocketException):
                    gevent.sleep(0)  # Whoever listens will notice, too.
                finally:
                    del self._answers[id]

    def expect(self, seq: int, sent_at: float) -> None:
        """Tell locust how long it took from `sent_at` until the event with this operationCount came or comes."""
        arrived = self._lately.get(seq)
        if arrived is not None:
            self._report("ws echo", arrived - sent_at)
        elif self._heard.last is None or seq > self._heard.last:
            self._watched[seq] = sent_at

    def _listen(self) -> None:
        while True:
            try:
                assert self._socket is not None
                for data in self._socket.receive():
                    self._take(_decode(data), len(data))
            except (ClosedError, OSError, WebSocketException):
                self._lose()
                gevent.sleep(random.uniform(0, STORM_S))
                while not self._return():
                    gevent.sleep(RETRY_S)

    def _return(self) -> bool:
        try:
            self._connect("ws reconnect")
        except (OSError, InvalidHandshake, ClosedError):
            return False
        return True

    def _connect(self, name: str) -> None:
        wishes: dict[str, object] = {"key": self._key}
        wishes |= self._heard.since
        began = time.perf_counter()
        try:
            self._socket = Socket(url_of(self._base, self.counter, wishes), CONNECT_S)
        except Exception as error:
            self._report(name, time.perf_counter() - began, error=error)
            raise
        self._connected_at = time.time()
        self._connected.set()
        self._report(name, time.perf_counter() - began)

    def _lose(self) -> None:
        self._connected.clear()
        self.drop()
        self._socket = None
        for answer in list(self._answers.values()):
            answer.set_exception(ClosedError(1006, "the connection was lost"))

    def _take(self, message: _Message, length: int) -> None:
        if message.metadata is not None and message.timestamp is not None:
            self._hear(message, message.metadata, message.timestamp, length)
        elif message.id in self._answers:
            self._answers[message.id].set(message)

    def _hear(self, event: _Message, metadata: _Metadata, timestamp: str, length: int) -> None:
        now = time.perf_counter()
        seq = metadata.operationCount
        self._heard.hear(ledger, metadata.id, seq, event.type == "snapshot" or event.operations > 1)
        self._lately[seq] = now
        self._lately.pop(seq - LATELY, None)
        for own in [own for own in self._watched if own <= seq]:
            self._report("ws echo", now - self._watched.pop(own))
        if event.type != "snapshot":  # A snapshot is as old as the last change.
            at = datetime.fromisoformat(timestamp).timestamp()
            name = "ws delivery" if at >= self._connected_at else "ws replay"
            self._report(name, max(0.0, time.time() - at), length)

    def _report(self, name: str, seconds: float, length: int = 0, error: Exception | None = None) -> None:
        report(self._environment, name, seconds, length, error)


U = TypeVar("U", bound="Finishing")


def to_the_end(method: Callable[[U], None]) -> Callable[[U], None]:
    """A task that ends even if locust ends its user in the middle: the outcome belongs into the books."""

    @wraps(method)
    def run(user: U) -> None:
        user.under_way = gevent.spawn(method, user)
        user.under_way.get()

    return run


class Finishing:
    """A user whose tasks are done `to_the_end`."""

    under_way: gevent.Greenlet | None = None

    def on_stop(self) -> None:
        if self.under_way is not None:
            self.under_way.join(ANSWER_S)


class Listening(Finishing):
    """A user with a socket. Its class gives it `environment` and `host`."""

    environment: Environment
    host: str | None
    ear: Ear | None = None

    def listen(self, names: Names) -> Ear:
        """Open the socket; until it can be opened, try again."""
        assert self.host is not None
        while self.ear is None:
            try:
                self.ear = Ear(self.environment, self.host, names.pick())
            except (OSError, InvalidHandshake, ClosedError):
                gevent.sleep(RETRY_S)
        return self.ear

    def on_stop(self) -> None:
        super().on_stop()
        if self.ear is not None:
            self.ear.close()


class Listener(Listening, User):
    """Holds a socket and listens."""

    weight = 4
    wait_time = constant(1)

    def on_start(self) -> None:
        self.listen(names_of(self.environment))

    @task
    def nothing(self) -> None:
        """Everything happens in the ear."""


class Caller(Finishing, FastHttpUser):
    """Calls procedures, each time of another counter."""

    weight = 2
    wait_time = between(0.05, 0.25)

    def on_start(self) -> None:
        self.names = names_of(self.environment)

    @task(6)
    @to_the_end
    def increment(self) -> None:
        call(self, self.names.pick(), random.randint(1, AMOUNT_MAX))

    @task(2)
    @to_the_end
    def decrement(self) -> None:
        call(self, self.names.pick(), -1)

    @task(2)
    def get_value(self) -> None:
        self.client.post("/rpc/counter.getValue", json={"name": self.names.pick()}, name="rpc getValue")

    @task(1)
    def get_values(self) -> None:
        names = list(self.names.all[:100])
        self.client.post("/rpc/counter.getValues", json={"names": names}, name="rpc getValues")


class Player(Listening, FastHttpUser):
    """Listens to one counter and operates it, over the socket and over HTTP."""

    weight = 3
    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        self.listen(names_of(self.environment))

    @task(3)
    @to_the_end
    def over_the_socket(self) -> None:
        assert self.ear is not None
        change = random.choice((1, 1, 2, -1))
        name, began = ("increment" if change > 0 else "decrement"), time.perf_counter()
        error: Exception | None = None
        told = False  # Whether the outcome is in the books.
        try:
            answer = self.ear.ask({"type": name, "amount": abs(change)})
            if answer.result is not None:
                ledger.acknowledge(self.ear.counter, answer.result.value - answer.result.previousValue)
                self.ear.expect(answer.result.metadata.operationCount, began)
                told = True
            else:
                error = RuntimeError(answer.code)
                told = answer.code in REFUSED
        except gevent.Timeout:
            error = TimeoutError(f"no answer in {ANSWER_S:g} s")
        finally:
            if not told:
                ledger.lose(self.ear.counter, change)
        report(self.environment, f"ws {name}", time.perf_counter() - began, error=error)

    @task(1)
    @to_the_end
    def over_http(self) -> None:
        assert self.ear is not None
        began = time.perf_counter()
        result = call(self, self.ear.counter, 1)
        if result is not None:
            self.ear.expect(result.metadata.operationCount, began)


def call(user: FastHttpUser, counter: str, change: int) -> _Result | None:
    """Change a counter over HTTP and write down the outcome. None: it was refused, or nobody knows."""
    procedure = "increment" if change > 0 else "decrement"
    told = False
    try:
        with user.client.post(
            f"/rpc/counter.{procedure}",
            json={"name": counter, "amount": abs(change)},
            name=f"rpc {procedure}",
            catch_response=True,
        ) as response:
            if response.status_code != 200:
                told = 0 < response.status_code < UNKNOWN_FROM
                response.failure(f"status {response.status_code}")
                return None
            result = _decode_result(response.content)
            ledger.acknowledge(counter, result.value - result.previousValue)
            told = True
            return result
    finally:
        if not told:
            ledger.lose(counter, change)


def report(
    environment: Environment, name: str, seconds: float, length: int = 0, error: Exception | None = None
) -> None:
    """Tell locust of something that took so long, and brought so many bytes."""
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type="WS",
        name=name,
        response_time=seconds * 1e3,
        response_length=length,
        exception=error,
        context={},
    )


def names_of(environment: Environment) -> Names:
    """The counters of the test that runs."""
    options = environment.parsed_options
    assert options is not None
    return Names(options.prefix, options.counters, options.zipf)


def new_prefix() -> str:
    """For the names of one test: nobody has used them."""
    return f"load-{uuid4().hex[:8]}"
