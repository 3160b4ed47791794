"""Judging an answer: what it says, and whether to ask again. Pure: chance and time come in as arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.commands.address import shown
from gateway.commands.errors import Failure, Refused, WrongUsage
from gateway.commands.terminal import printable

ATTEMPTS_MAX = 5  # With the pauses below, a service that is not there is given up after 3 s at the latest.
BACKOFF_BASE_S = 0.2
BACKOFF_MAX_S = 2.0
RETRY_AFTER_MAX_S = 10.0  # Nobody looks at a silent prompt for longer; the refusal is shown instead.

Reply = dict[str, Any]
Json = Reply | list[Any]


class ErrorDetail(msgspec.Struct):
    """The `error` member of an error body."""

    code: str
    message: str
    data: Any = None
    retryable: bool = False


class ErrorBody(msgspec.Struct):
    """The body of every answer of the service that is not a success."""

    error: ErrorDetail


def judge(url: str, status: int, headers: Mapping[str, str], body: bytes) -> Json | Failure:
    """Turn an HTTP answer into its JSON object or array, or into a failure that knows whether to try again."""
    if 200 <= status < 300:
        try:
            said: Json = msgspec.json.decode(body, type=Json)
            return said
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


def unusable(error: BaseException) -> WrongUsage:
    """The error for a proxy, or certificates, that the environment names and that cannot be used."""
    return WrongUsage(f"counters: the proxy or the certificates of the environment are of no use: {reason_of(error)}")


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
