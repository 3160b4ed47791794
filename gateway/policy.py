"""Policies as people write them: in requests, in counters.toml and on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.core.policy import VALUE_MAX

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Value = Annotated[int, Meta(ge=-VALUE_MAX, le=VALUE_MAX)]
Seconds = Annotated[Value | str, Meta(description="seconds, or 90s, 20m, 12h, 7d")]
Schedule = Annotated[str, Meta(max_length=200, examples=["0 0 * * * Europe/Berlin"])]


class PolicyInput(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The parts of a policy that are to be set."""

    minimum: Value | UnsetType = UNSET
    maximum: Value | UnsetType | None = UNSET
    on_limit: Literal["clamp", "reject"] | UnsetType = UNSET
    initial: Value | UnsetType = UNSET
    reset_after: Seconds | UnsetType | None = UNSET
    reset_schedule: Schedule | UnsetType | None = UNSET
    reset_to: Value | UnsetType | None = UNSET
    history_limit: Annotated[int, Meta(ge=1, le=VALUE_MAX)] | UnsetType | None = UNSET
    history_max_age: Seconds | UnsetType | None = UNSET
    missed: Literal["once", "skip"] | UnsetType = UNSET
    likes: bool | UnsetType = UNSET


def said(policy: PolicyInput) -> dict[str, Any]:
    """Only what was said, as a host wants it. Raises ValueError for a time that is none."""
    changes: dict[str, Any] = msgspec.to_builtins(policy)
    for field in ("reset_after", "history_max_age"):
        if isinstance(changes.get(field), str):
            changes[field] = seconds(changes[field])
    return changes


def from_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A policy from a configuration file. Raises ValueError."""
    if "likes" in table:
        raise ValueError("likes: only a counter itself can say that it counts likes")
    return said(msgspec.convert(dict(table), PolicyInput))  # msgspec's errors are ValueErrors.


def seconds(text: str) -> int:
    """A time such as 90s, 20m, 12h, 7d, or a number of seconds. Raises ValueError."""
    parts = re.fullmatch(r"(\d{1,9})([smhd]?)", text, re.ASCII)
    if parts is None:
        raise ValueError(f"{text[:40]!r} is not a time like 90s, 20m, 12h or 7d")
    return int(parts[1]) * UNITS_S[parts[2] or "s"]
