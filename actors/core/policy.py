"""What a counter is allowed to be: its bounds, and what happens at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VALUE_MAX = 2**53 - 1  # The largest integer that every JSON client sees exactly (JavaScript's MAX_SAFE_INTEGER).


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one counter. `clamp` stops at a bound; `reject` refuses the operation and changes nothing."""

    minimum: int = 0
    maximum: int | None = None
    on_limit: Literal["clamp", "reject"] = "clamp"
    initial: int = 0


DEFAULT = Policy()


def complaint(policy: Policy) -> tuple[str, str] | None:
    """The field that makes `policy` impossible and why, or None when it is sound."""
    for field in ("minimum", "maximum", "initial"):
        value = getattr(policy, field)
        if value is not None and abs(value) > VALUE_MAX:
            return field, f"must lie within ±{VALUE_MAX}"
    if policy.maximum is not None and policy.maximum < policy.minimum:
        return "maximum", "must not be below minimum"
    if policy.initial < policy.minimum or (policy.maximum is not None and policy.initial > policy.maximum):
        return "initial", "must lie between minimum and maximum"
    return None
