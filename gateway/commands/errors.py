"""What ends a command, and with which exit code.

CommandError
├── Refused        1   the service was reached and said no
├── WrongUsage     2   what argparse cannot see
└── Unreachable    3   the service was not reached, or was lost before it answered
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.commands.address import shown


class CommandError(Exception):
    """Ends a command with one line on standard error, which closes with the advice."""

    exit_code = 1
    advice = ""


class Refused(CommandError):
    """The service answered with an error; printed as `CODE: message`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")


class WrongUsage(CommandError):
    """The arguments make no sense together."""

    exit_code = 2


class Unreachable(CommandError):
    """There was no answer; `what` says since when: never reached, or lost."""

    exit_code = 3
    advice = "start the service with `counters serve`, or name another with --url or COUNTERS_URL"

    def __init__(self, url: str, why: str, what: str = "cannot reach") -> None:
        super().__init__(f"{what} {shown(url)}: {why}")


@dataclass(frozen=True)
class Failure:
    """One attempt that did not work, and what may be done about it.

    `applied_perhaps` is false only when the request cannot have arrived, so that nothing can have changed.
    `spread_s` is the time over which the service asks its clients to come back.
    """

    error: CommandError
    again: bool
    retry_after_s: float | None = None
    applied_perhaps: bool = True
    spread_s: float = 0.0
