"""A running service, asked over HTTP."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
import msgspec

from gateway.commands.address import is_local
from gateway.commands.answers import Json, Reply, judge, pause_s, reason_of, unexpected, unusable
from gateway.commands.errors import Failure, Unreachable

REQUEST_TIMEOUT_S = 10.0
PATIENCE_S = 15.0  # After this long no further attempt is begun: five timeouts would be a minute of silence.

Read = TypeVar("Read")


class Service:
    """A running service, asked over HTTP; one connection for as long as the `with` block lasts."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        try:
            self._http = httpx.Client(transport=transport, timeout=timeout_s, trust_env=not is_local(url))
        except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
            raise unusable(error) from error
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.close()

    def ask(self, procedure: str, question: Mapping[str, Any], key: str | None = None) -> Reply:
        """Call a procedure, `counter.increment` for one, and return its output, trying again where that can help.

        A procedure that changes something needs a `key`: the service answers a key that it has seen with the
        first result, so a repetition never changes anything twice. Raises Refused or Unreachable.
        """
        return self.shaped(self._ask(procedure, question, key), Reply)

    def read(self, procedure: str, question: Mapping[str, Any], shape: type[Read]) -> Read:
        """Ask, and give the output the shape it should have. Raises Refused if it has another one."""
        return self.shaped(self._ask(procedure, question), shape)

    def shaped(self, reply: Json, shape: type[Read]) -> Read:
        """The reply as typed data. Raises Refused if it is something else."""
        try:
            return msgspec.convert(reply, shape)
        except msgspec.ValidationError:
            raise unexpected(self.url) from None

    def _ask(self, procedure: str, question: Mapping[str, Any], key: str | None = None) -> Json:
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

    def _ask_once(self, procedure: str, question: Mapping[str, Any], key: str | None) -> Json | Failure:
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            answer = self._http.post(f"{self.url}/rpc/{procedure}", json=question, headers=headers)
        except httpx.RequestError as error:
            unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            gone = Unreachable(self.url, reason_of(error))
            return Failure(gone, again=True, applied_perhaps=not unsent)
        return judge(self.url, answer.status_code, answer.headers, answer.content)
