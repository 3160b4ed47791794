"""What locust loads: the users, the shape, the arguments, and the books that are checked in the end.

    locust --locustfile loadtests/locustfile.py --host http://127.0.0.1:8094 --class-picker
    locust … --headless --users 100 --spawn-rate 20 --run-time 1m --shape storm --zipf 1.2 --processes 2

Users write to the books of their process. When a test stops, every process sends its own to the one that leads, which
asks the service for the final values. The exit code is 1 when anything is not exact, or when a request failed.
"""

from __future__ import annotations

import logging
import math
from argparse import ArgumentParser
from typing import Any

import gevent
from locust import LoadTestShape, events
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtests import users
from loadtests.shapes import SHAPES, SPAWN_RATE_MAX, SPIKE, STEADY, STORM_MESSAGE, storms_by, users_at
from loadtests.users import Caller, Ear, Listener, Player
from loadtests.verify import Finding, Ledger, check, values_of

__all__ = ["Caller", "Listener", "Player", "Shape"]

BOOKS_MESSAGE = "books"
BOOKS_S = 20.0  # How long the books of other processes are waited for.
STOP_S = 20  # A user that is stopped ends what it has begun: an operation takes 15 s at most.

log = logging.getLogger("counters.load")


class Lead:
    """The process that leads: the books of all, and what came of them."""

    def __init__(self) -> None:
        self._books = Ledger()
        self._expected: set[str] = set()
        self._findings: list[Finding] = []
        self._open = False  # A test has begun whose books are not checked.

    def begin(self, environment: Environment) -> None:
        """A test starts."""
        assert environment.parsed_options is not None
        environment.parsed_options.prefix = users.new_prefix()  # locust tells the others.
        self._books = Ledger()
        runner = environment.runner
        self._expected = set(runner.clients) if isinstance(runner, MasterRunner) else {"local"}
        self._open = True

    def take(self, process: str, packed: dict[str, Any]) -> None:
        """The books of a process have come."""
        self._books.add(packed)
        self._expected.discard(process)

    def end(self, environment: Environment) -> None:
        """A test has stopped."""
        if not self._open:
            return
        self._open = False
        with gevent.Timeout(BOOKS_S, False):
            while self._expected:
                gevent.sleep(0.05)
        try:
            values = values_of(environment.host or "", self._books.accounts)
        except OSError as error:
            finding = Finding([], [f"the service does not tell its values: {error}"])
        else:
            finding = check(self._books, values, sorted(self._expected))
        self._findings.append(finding)
        log.log(logging.INFO if finding.exact else logging.ERROR, "verification: %s", str(finding).replace("\n", "; "))

    @property
    def exact(self) -> bool:
        return all(finding.exact for finding in self._findings)

    def __str__(self) -> str:
        return "\n".join(f"Verification\n{finding}" for finding in self._findings)


class Shape(LoadTestShape):
    """The shape that `--shape` names."""

    use_common_options = True

    def __init__(self) -> None:
        super().__init__()
        self._storms = 0

    def reset_time(self) -> None:
        super().reset_time()
        self._storms = 0

    def tick(self) -> tuple[int, float] | None:
        """Called once a second by whoever leads the test."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        seconds, run_s = self.get_run_time(), options.run_time or math.inf
        if seconds >= run_s:
            # Here and now, and not by leaving: with several processes, locust waits for their books only this way.
            self.runner.stop()
            return None
        storms = storms_by(options.shape, seconds, run_s)
        if storms > self._storms:
            self._storms = storms
            self.runner.send_message(STORM_MESSAGE, {"number": storms})
        share = 0.0 if run_s == math.inf else seconds / run_s
        users = users_at(options.shape, share, options.num_users or 1)
        rate = options.spawn_rate or 1
        return users, min(SPAWN_RATE_MAX, users if options.shape == SPIKE else rate)


lead = Lead()


@events.init_command_line_parser.add_listener
def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--shape", choices=SHAPES, default=STEADY, help="how the number of users goes (steady)")
    parser.add_argument("--zipf", type=float, default=1.0, help="skew of the choice of counters; 0: none (1.0)")
    parser.add_argument("--counters", type=int, default=100, help="how many there are (100)")
    parser.add_argument("--prefix", default="", include_in_web_ui=False, help="of their names; chosen for each test")


@events.init.add_listener
def wire(environment: Environment, runner: Runner, **_: Any) -> None:
    """Know each other: those who lead, those who follow, and the one process that does both."""
    environment.stop_timeout = max(environment.stop_timeout, STOP_S)
    runner.register_message(STORM_MESSAGE, drop_all)
    runner.register_message(BOOKS_MESSAGE, lambda environment, msg: lead.take(msg.node_id, msg.data))
    if not isinstance(runner, WorkerRunner):
        # After locust's own listener, and therefore before it: these are called in reverse.
        environment.events.quitting.add_listener(quitting)
        environment.events.quit.add_listener(lambda **_: print(f"\n{lead}", flush=True))


@events.test_start.add_listener
def test_start(environment: Environment, **_: Any) -> None:
    users.ledger = Ledger()
    if not isinstance(environment.runner, WorkerRunner):
        lead.begin(environment)


@events.test_stop.add_listener
def test_stop(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    assert runner is not None
    if not isinstance(runner, MasterRunner):
        runner.send_message(BOOKS_MESSAGE, users.ledger.packed())
    if not isinstance(runner, WorkerRunner):
        lead.end(environment)


def quitting(environment: Environment, **_: Any) -> None:
    """Stop the test, if it still runs, and let its exactness decide the exit code."""
    if environment.runner is not None:
        environment.runner.stop()
    if not lead.exact:
        environment.process_exit_code = 1


def drop_all(environment: Environment, **_: Any) -> None:
    """A storm: all sockets of this process are gone at once."""
    for ear in list(Ear.all):
        ear.drop()
