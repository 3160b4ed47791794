"""What the actors room may raise.

ActorsError
├── Refused        the operation cannot be applied as asked; nothing changed, asking again does not help
├── Unavailable    nobody could answer in time; the outcome is unknown, ask again with the same operation id
└── AlreadyRunning a service runs in this Ray cluster already
"""

from __future__ import annotations

from typing import Any


class ActorsError(Exception):
    """Base of everything that this room raises on purpose."""


class Refused(ActorsError):
    """The operation was refused and changed nothing. `code` is one of the codes of the wire."""

    def __init__(self, code: str, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return Refused, (self.code, self.message, self.data)  # Or it could not be brought back by a Ray call.


class Unavailable(ActorsError):
    """No answer in time. Whether the operation was applied is unknown: ask again with the same operation id."""


class AlreadyRunning(ActorsError):
    """Another service runs in this Ray cluster."""
