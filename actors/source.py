"""Where the truth about a counter is, if it is counted elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from actors.core import schedule

DAILY = "0 3 * * *"
TIMEOUT_S = 30.0
TIMEOUT_MAX_S = 600.0  # Operations from before that have to be in the history still.


@dataclass(frozen=True, slots=True)
class Source:
    """Where the truth about a counter is."""

    database: str = field(repr=False)  # SQLAlchemy URL. It may hold a password.
    query: str  # One SELECT that returns one number.
    schedule: str = DAILY  # See actors.core.schedule; empty: only when somebody asks.
    timeout_s: float = TIMEOUT_S


def complaint(source: Source) -> tuple[str, str] | None:
    """The field that makes `source` impossible and why, or None when it is sound."""
    if "://" not in source.database:
        return "database", "not a database URL"
    if not re.match(r"\s*(SELECT|WITH)\b", source.query, re.IGNORECASE) or ";" in source.query:
        return "query", "one SELECT, without a semicolon"
    if not 0.1 <= source.timeout_s <= TIMEOUT_MAX_S:
        return "timeout", f"must lie between 100ms and {TIMEOUT_MAX_S:g} seconds"
    wrong = schedule.complaint(source.schedule) if source.schedule else None
    return None if wrong is None else ("schedule", wrong)
