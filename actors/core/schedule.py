"""Schedules: five fields of cron and a time zone, such as `0 0 * * * Europe/Berlin`; without a zone, UTC.

The hour that does not exist in spring and the one that comes twice in autumn are as in Debian's cron: what is scheduled
in the hour that is missing happens right after it, what is scheduled at an hour happens once in the one that comes
twice, and `*` in the place of the hour means both of them.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

LENGTH_MAX = 200
MINUTE_MS = 60_000
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")


def complaint(schedule: str) -> str | None:
    """Why `schedule` is none, or None when it is one."""
    if len(schedule) > LENGTH_MAX:
        return f"at most {LENGTH_MAX} characters"
    try:
        fields, zone = _read(schedule)
        next(CronSim(fields, datetime(2024, 1, 1, tzinfo=zone)))
    except ValueError as error:
        return str(error)
    except CronSimError as error:
        return f"not a cron expression of five fields: {error}"
    except StopIteration:
        return "it never comes to that time"
    return None


@lru_cache(4096)  # Counters with the same schedule are many, and a date takes 30 us to find.
def _next_tick(schedule: str, minute: int) -> int:
    fields, zone = _read(schedule)
    return round(next(CronSim(fields, datetime.fromtimestamp(minute * 60, zone))).timestamp() * 1000)


def next_tick(schedule: str, after: int) -> int:
    """The first time after `after` that is on the schedule. Both are wall times in milliseconds."""
    return _next_tick(schedule, after // MINUTE_MS)  # Seconds make no difference to a schedule of whole minutes.


def _read(schedule: str) -> tuple[str, ZoneInfo]:
    """The fields and the zone. Raises ValueError."""
    words = schedule.split()
    if len(words) not in (5, 6):
        raise ValueError("five fields of cron, then perhaps a time zone: 0 0 * * * Europe/Berlin")
    name = words[5] if len(words) == 6 else "UTC"
    try:
        if not _ZONE.fullmatch(name):
            raise ZoneInfoNotFoundError(name)
        return " ".join(words[:5]), ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError) as error:  # OSError: the name of a folder.
        raise ValueError(f"there is no time zone {name!r}") from error
