"""A running service, asked over HTTP: procedures, again where that can help, and never applied twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
import msgspec

from counters_client.address import is_local
from counters_client.core.breaker import Breaker
from counters_client.core.metrics import Metrics
from counters_client.core.retry import Backoff, Failure, refused, unreachable
from counters_client.errors import CircuitOpen, CounterError, Invalid, UnexpectedAnswer, invalid

ATTEMPTS_MAX = 5
KEY = re.compile(r"[!-~]([ -~]{0,198}[!-~])?")  # A header loses the spaces at its ends on its way.

T = TypeVar("T")


class Http:
    """See the module. A call begins no attempt later than `answer_s` after its first; `jitter` is from 0 to 1."""

    def __init__(
        self,
        url: str,
        breaker: Breaker,
        metrics: Metrics,
        backoff: Backoff,
        answer_s: float,
        jitter: Callable[[], float],
    ) -> None:
        self._url = url
        self._breaker = breaker
        self._metrics = metrics
        self._backoff = backoff
        self._answer_s = answer_s
        self._jitter = jitter
        try:
            self._http = httpx.AsyncClient(timeout=answer_s, trust_env=not is_local(url))
        except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
            raise unusable(error) from error

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def call(
        self,
        procedure: str,
        input: Mapping[str, Any],
        shape: type[T],
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> T:
        """Call `counter.increment`, for one. What changes something needs a `key`, so that it can be repeated.

        Raises CounterError.
        """
        request = self._request(procedure, input, key, timeout_s)
        now = asyncio.get_running_loop().time
        until = now() + self._answer_s
        uncertain = False
        last: CounterError | None = None
        attempt = 1
        while True:
            if not self._breaker.admits(now()):
                error = CircuitOpen("the service does not answer; not asked", uncertain=uncertain)
                raise error from last
            outcome = await self._once(request)
            if isinstance(outcome, Failure) and outcome.away:
                self._breaker.failed(now())
            else:
                self._breaker.succeeded()
            if not isinstance(outcome, Failure):
                return _shaped(outcome, shape)
            last = outcome.error
            uncertain |= last.uncertain and key is not None
            pause_s = outcome.pause_s(self._backoff, attempt, self._jitter())
            if not outcome.again or attempt >= ATTEMPTS_MAX or now() + pause_s >= until:
                # A later answer that nothing was done says nothing of the earlier attempts.
                last.uncertain = uncertain and last.retryable
                raise last
            self._metrics.retries += 1
            await asyncio.sleep(pause_s)
            attempt += 1

    def _request(
        self, procedure: str, input: Mapping[str, Any], key: str | None, timeout_s: float | None
    ) -> httpx.Request:
        if key is not None and not (isinstance(key, str) and KEY.fullmatch(key)):
            raise invalid("key", "1 to 200 printable ASCII characters, with no space at either end")
        headers = {} if key is None else {"idempotency-key": key}
        timeout: Any = httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s
        url = f"{self._url}/rpc/{procedure}"
        try:
            return self._http.build_request("POST", url, json=input, headers=headers, timeout=timeout)
        except (TypeError, ValueError, RecursionError) as error:
            raise invalid("body", f"this is no JSON: {error}") from error

    async def _once(self, request: httpx.Request) -> bytes | Failure:
        self._metrics.requests += 1
        try:
            answer = await self._http.send(request)
        except httpx.RequestError as error:
            failure = unreachable(why(error))
            # Whoever was not reached has not done anything.
            failure.error.uncertain = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return failure
        if answer.is_success:
            return answer.content
        return refused(answer.status_code, answer.headers, answer.content)


def _shaped(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnexpectedAnswer(f"this is not what a counters service answers: {error}") from error


def unusable(error: BaseException) -> Invalid:
    """The error for a proxy, or certificates, that the environment names and that cannot be used."""
    return invalid("environment", f"its proxy or its certificates are of no use: {why(error)}")


def why(error: BaseException) -> str:
    """Why a connection failed, in words."""
    return str(error).strip() or type(error).__name__
