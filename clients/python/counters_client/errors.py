"""What can go wrong, for whoever calls.

CounterError
├── Refused                 the service said no, and would say it again
│   ├── Invalid             COUNTER_VALIDATION_ERROR: `field` and `reason`
│   ├── NotFound            COUNTER_NOT_FOUND
│   ├── OutOfRange          OUT_OF_RANGE: beyond ±(2^53 − 1)
│   ├── LimitReached        LIMIT_REACHED: the counter's policy rejects it
│   ├── HistoryNotKept      HISTORY_NOT_KEPT: it does not go back so far
│   ├── SourceFailed        SOURCE_FAILED: where the counter is counted, `reason` is what is wrong
│   ├── Unauthorized        UNAUTHORIZED
│   └── Forbidden           FORBIDDEN
├── ServiceFailed           COUNTER_OPERATION_FAILED: a mistake of the service; `data["incident"]` is in its log
├── UnexpectedAnswer        what answers there is no counters service, or something in between changes what it says
├── Unavailable             perhaps later: worth asking again
│   ├── Unreachable         no connection, or it broke
│   ├── TooManyRequests     TOO_MANY_REQUESTS
│   ├── TimedOut            no answer within the time that the client gives an operation
│   ├── CircuitOpen         not even tried: the last attempts all failed
│   └── OutboxFull          not even tried: too many operations wait already
└── ClientClosed            the client was closed

`retryable` says whether asking again can help. `uncertain` says whether an operation may have been applied all
the same; when it is false, nothing has changed.
"""

from __future__ import annotations

from typing import Any


class CounterError(Exception):
    """Base of all errors of this package. `code` is the word that the service, or this class, has for it."""

    code = "ERROR"
    retryable = False

    def __init__(
        self, message: str, *, code: str | None = None, data: Any = None, uncertain: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.data = data
        self.uncertain = uncertain

    def __str__(self) -> str:
        hint = " (it may have been applied)" if self.uncertain else ""
        return f"{self.code}: {self.message}{hint}"


class Refused(CounterError):
    """The service said no."""

    code = "REFUSED"


class Invalid(Refused):
    """The request is not what it should be."""

    code = "COUNTER_VALIDATION_ERROR"

    @property
    def field(self) -> str:
        """The field that is wrong; empty if the service did not say."""
        return str(self.data.get("field", "")) if isinstance(self.data, dict) else ""

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        return str(self.data.get("reason", self.message)) if isinstance(self.data, dict) else self.message


class NotFound(Refused):
    """There is no such counter."""

    code = "COUNTER_NOT_FOUND"


class OutOfRange(Refused):
    """The value would leave ±(2^53 − 1). Nothing changed."""

    code = "OUT_OF_RANGE"


class LimitReached(Refused):
    """The value would leave the bounds of a policy that rejects. Nothing changed."""

    code = "LIMIT_REACHED"


class HistoryNotKept(Refused):
    """The history does not go back so far; `data["since"]`, if there is one, is how far it does."""

    code = "HISTORY_NOT_KEPT"


class SourceFailed(Refused):
    """The counter's source gave no number. Nothing changed."""

    code = "SOURCE_FAILED"

    @property
    def reason(self) -> str:
        """`unreachable`, `query`, `timeout`, `rows` or `value`."""
        return str(self.data.get("reason", "")) if isinstance(self.data, dict) else ""


class Unauthorized(Refused):
    """The service wants to know who asks."""

    code = "UNAUTHORIZED"


class Forbidden(Refused):
    """Whoever asks may not."""

    code = "FORBIDDEN"


class ServiceFailed(CounterError):
    """A mistake of the service."""

    code = "COUNTER_OPERATION_FAILED"


class UnexpectedAnswer(CounterError):
    """This is not the answer of a counters service."""

    code = "UNEXPECTED_ANSWER"


class Unavailable(CounterError):
    """The service cannot do it now."""

    code = "UNAVAILABLE"
    retryable = True


class Unreachable(Unavailable):
    """There is no connection, or it broke before the answer."""

    code = "UNREACHABLE"


class TooManyRequests(Unavailable):
    """The service asks to slow down. Nothing changed."""

    code = "TOO_MANY_REQUESTS"


class TimedOut(Unavailable):
    """There was no answer in time."""

    code = "TIMED_OUT"


class CircuitOpen(Unavailable):
    """The service was not asked, because it did not answer lately."""

    code = "CIRCUIT_OPEN"


class OutboxFull(Unavailable):
    """The operation was not taken, because too many wait already."""

    code = "OUTBOX_FULL"


class ClientClosed(CounterError):
    """The client was closed before the answer came, or is not open."""

    code = "CLOSED"


def invalid(field: str, reason: str) -> Invalid:
    """The error for what is wrong before it is sent."""
    return Invalid(f"{field}: {reason}", data={"field": field, "reason": reason})


STOPPED = {"overloaded", "crowded"}  # Reasons of an UNAVAILABLE that was not even begun.

_BY_CODE: dict[str, type[CounterError]] = {
    kind.code: kind
    for kind in (
        *(Invalid, NotFound, OutOfRange, LimitReached, HistoryNotKept, SourceFailed, Unauthorized, Forbidden),
        *(ServiceFailed, TooManyRequests, Unavailable),
    )
}


def error_for(code: str, message: str, data: Any = None, retryable: bool = False) -> CounterError:
    """What the service said, as the error for it. A code that is not known here is Refused, or Unavailable."""
    kind = _BY_CODE.get(code) or (Unavailable if retryable else Refused)
    # Who is stopped at the door has changed nothing; any other answer that can be retried may hide a success.
    stopped = kind is TooManyRequests or (isinstance(data, dict) and data.get("reason") in STOPPED)
    uncertain = kind is ServiceFailed or (kind.retryable and not stopped)
    return kind(message, code=code, data=data, uncertain=uncertain)
