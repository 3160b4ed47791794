"""How long to wait before the next attempt, and whether there should be one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from counters_client.errors import CounterError, Refused, Unavailable, UnexpectedAnswer, Unreachable, error_for

WINDOW_MAX_S = 60.0  # What a service may ask for, however many clients it has to spread.
AWAY = {502, 503, 504}  # How proxies say that what is behind them is gone; 503 is also the service's own.
LATER = AWAY | {408, 425, 429}

Seconds = Annotated[float, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Backoff:
    """Pauses that grow with every attempt that failed, up to a limit."""

    base_s: float = 0.2
    max_s: float = 15.0

    def pause_s(self, attempt: int, jitter: float) -> float:
        """The pause after failed attempt number `attempt`, counted from 1.

        Full jitter: `jitter`, from 0 to 1, scales the whole pause. Clients that lost the service in the same instant
        would otherwise all come back in the same instant.
        """
        return jitter * min(self.max_s, self.base_s * 2.0 ** min(attempt - 1, 32))


@dataclass(frozen=True)
class Failure:
    """Something did not work.

    `again`: the next attempt may. `away`: nobody is there, rather than somebody who says no. `at_least_s`: not sooner.
    `window`: the service asks its clients to come back at a random moment between so many seconds from now.
    """

    error: CounterError
    again: bool
    away: bool = False
    at_least_s: float = 0.0
    window: tuple[float, float] | None = None

    def pause_s(self, backoff: Backoff, attempt: int, jitter: float) -> float:
        """How long to wait after attempt number `attempt`."""
        if self.window is not None:
            first, last = self.window
            return first + jitter * (last - first)
        return self.at_least_s + backoff.pause_s(attempt, jitter)


class _Detail(msgspec.Struct):
    code: str
    message: str
    data: Any = None
    retryable: bool = False


class _Body(msgspec.Struct):
    error: _Detail


class _Window(msgspec.Struct):
    reconnect: tuple[Seconds, Seconds]


def unreachable(why: str) -> Failure:
    """There was no answer, or no connection."""
    return Failure(Unreachable(why), again=True, away=True)


def refused(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What an HTTP answer that is no success means, to a request or to the handshake of a WebSocket."""
    at_least_s = _seconds(headers.get("retry-after"))
    try:
        said = msgspec.json.decode(body, type=_Body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Not the service's own words, so those of something between it and us.
        message = f"HTTP {status} {_phrase(status)}"
        if 300 <= status < 400:
            message += f"; use the address it leads to: {headers.get('location', 'none')}"
        if status in LATER:
            return Failure(Unavailable(message, uncertain=True), True, status in AWAY, at_least_s)
        kind = Refused if status in (401, 403, 407) else UnexpectedAnswer
        return Failure(kind(message), again=False)
    error = error_for(said.code, said.message, said.data, said.retryable)
    again = said.retryable or error.retryable or status in LATER
    return Failure(error, again, status in AWAY, at_least_s)


def closed(code: int | None, reason: str) -> Failure:
    """What the end of an open connection means. `code` is None when there was no close frame.

    1008 and 4400 to 4499 mirror the HTTP errors that a repetition does not cure; among them timeouts (08) and limits
    (29), and all other codes, are a service that goes away and comes back.
    """
    if code is None:
        return unreachable("the connection broke")
    said = f"closed with {code}" + (f": {reason}" if reason else "")
    if code == 1008 or (4400 <= code < 4500 and code not in (4408, 4429)):
        return Failure(Refused(said, code=f"CLOSED_{code}"), again=False)
    window = _window(reason) if code == 1012 else None
    return Failure(Unreachable(said), again=True, away=True, window=window)


def _window(reason: str) -> tuple[float, float] | None:
    try:
        first, last = sorted(msgspec.json.decode(reason, type=_Window).reconnect)
    except msgspec.DecodeError:
        return None
    return min(first, WINDOW_MAX_S), min(last, WINDOW_MAX_S)


def _seconds(retry_after: str | None) -> float:
    """The seconds of a Retry-After header; 0 if it is absent or a date, which this service never sends."""
    if retry_after is None or not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", retry_after.strip()):
        return 0.0
    return min(float(retry_after), WINDOW_MAX_S)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no such status)"
