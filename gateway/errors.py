"""Every error a client can be told, in one table."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Row(NamedTuple):
    """What goes with a code."""

    status: int  # HTTP.
    retryable: bool
    message: str  # Said when nothing more precise is known.


#   code                        http  retry  message
ROWS = {
    "COUNTER_NOT_FOUND": Row(404, False, "there is no such counter"),
    "COUNTER_VALIDATION_ERROR": Row(400, False, "the request could not be understood"),
    "OUT_OF_RANGE": Row(409, False, "the value would leave the range of exact integers"),
    "LIMIT_REACHED": Row(409, False, "the counter is at its limit"),
    "HISTORY_NOT_KEPT": Row(410, False, "the history does not go back so far"),
    "SOURCE_FAILED": Row(502, False, "the source of the counter gave no number"),
    "UNAUTHORIZED": Row(401, False, "who are you?"),
    "FORBIDDEN": Row(403, False, "this is not allowed"),
    "NOT_FOUND": Row(404, False, "there is nothing here"),
    "METHOD_NOT_SUPPORTED": Row(405, False, "this method is not supported here"),
    "PAYLOAD_TOO_LARGE": Row(413, False, "the request is too large"),
    "UNSUPPORTED_MEDIA_TYPE": Row(415, False, "send JSON, with content-type: application/json"),
    "UPGRADE_REQUIRED": Row(426, False, "this is a WebSocket endpoint"),
    "TOO_MANY_REQUESTS": Row(429, True, "slow down"),
    "COUNTER_OPERATION_FAILED": Row(500, False, "something went wrong on our side"),
    "UNAVAILABLE": Row(503, True, "the counter cannot be reached now; ask again with the same operation id"),
}

# About the request, not about a procedure: no procedure's contract names them.
OUTSIDE = frozenset({"NOT_FOUND", "METHOD_NOT_SUPPORTED", "UNSUPPORTED_MEDIA_TYPE", "UPGRADE_REQUIRED"})
RETRY_AFTER_S = 1  # Sent with every retryable error: long enough for a lost host to be replaced.


class Problem(Exception):
    """An error on its way to a client."""

    def __init__(self, code: str, message: str | None = None, data: Any = None) -> None:
        self.code = code
        self.row = ROWS[code]
        self.message = message or self.row.message
        self.data = data
        super().__init__(f"{code}: {self.message}")

    def plain(self) -> bytes:
        """The body of a plain JSON answer."""
        return _encode(
            {"error": {"code": self.code, "message": self.message, "data": self.data, "retryable": self.row.retryable}}
        )

    def orpc(self) -> bytes:
        """The body of an oRPC answer."""
        error = {
            "defined": self.code not in OUTSIDE,
            "code": self.code,
            "status": self.row.status,
            "message": self.message,
            "data": self.data,
        }
        return _encode({"json": error})

    def frame(self, id: str | None = None) -> bytes:
        """The error as a WebSocket message; `id` is that of the message it answers."""
        message: dict[str, Any] = {"type": "error", "code": self.code, "message": self.message}
        if self.data is not None:
            message["data"] = self.data
        if self.row.retryable:
            message["retryable"] = True
        if id is not None:
            message["id"] = id
        return _encode(message)


def invalid(field: str, reason: str) -> Problem:
    """The input's `field` is wrong."""
    return Problem("COUNTER_VALIDATION_ERROR", f"{field}: {reason}", {"field": field, "reason": reason})


def refused(body: bytes) -> Problem:
    """What a host said when it refused an operation."""
    said = msgspec.json.decode(body)
    return Problem(said["code"], said["message"], said["data"])


def overloaded() -> Problem:
    """There is more to do than can be done in time, so this was not even begun."""
    message = "there is more to do than can be done in time; nothing was changed, come back in a moment"
    return Problem("UNAVAILABLE", message, {"reason": "overloaded"})


def crowded(name: str | None = None) -> Problem:
    """No more connections: to this counter, or to this gateway at all."""
    message = f"too many listen to {name}" if name else "too many connections"
    return Problem("UNAVAILABLE", f"{message}; come back later", {"reason": "crowded"})


_encode = msgspec.json.encode
