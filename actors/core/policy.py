"""What a counter is allowed to be and when it resets itself, and where that is said: by the counter, by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

from actors.core import schedule

VALUE_MAX = 2**53 - 1  # The largest integer that every JSON client sees exactly (JavaScript's MAX_SAFE_INTEGER).
RESET_AFTER_MAX_S = 366 * 24 * 3600  # Who means longer than a year means a schedule, or has the wrong unit.

HISTORY_LIMIT = 100_000  # Some 15 MB of a counter.
HISTORY_MAX_AGE_S = 100 * 366 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one counter. `clamp` stops at a bound; `reject` refuses the operation and changes nothing."""

    minimum: int = 0
    maximum: int | None = None
    on_limit: Literal["clamp", "reject"] = "clamp"
    initial: int = 0
    reset_after: int | None = None  # Seconds without an operation.
    reset_schedule: str | None = None  # See actors.core.schedule.
    reset_to: int | None = None  # What inactivity and schedule set; None: `initial`.
    history_limit: int | None = HISTORY_LIMIT  # Operations that are kept; None: all.
    history_max_age: int | None = None  # Seconds for which they are kept; None: for ever.
    missed: Literal["once", "skip"] = "once"  # What to do about a schedule that came while nobody could reset.
    likes: bool = False  # It counts its members; see actors.core.likes. Only a counter itself says so.


FIELDS = frozenset(Policy.__dataclass_fields__)
DEFAULT = Policy()


def complaint(policy: Policy) -> tuple[str, str] | None:
    """The field that makes `policy` impossible and why, or None when it is sound."""
    for name in ("minimum", "maximum", "initial", "reset_to"):
        value = getattr(policy, name)
        if value is not None and abs(value) > VALUE_MAX:
            return name, f"must lie within ±{VALUE_MAX}"
    if policy.maximum is not None and policy.maximum < policy.minimum:
        return "maximum", "must not be below minimum"
    for name in ("initial", "reset_to"):
        value = getattr(policy, name)
        if value is None:
            continue
        if policy.likes and value:
            return name, "must be 0 for a counter of likes"
        if value < policy.minimum or (policy.maximum is not None and value > policy.maximum):
            return name, "must lie between minimum and maximum"
    if policy.reset_after is not None and not 1 <= policy.reset_after <= RESET_AFTER_MAX_S:
        return "reset_after", f"must lie between 1 and {RESET_AFTER_MAX_S} seconds"
    if policy.history_limit is not None and not 1 <= policy.history_limit <= VALUE_MAX:
        return "history_limit", f"must lie between 1 and {VALUE_MAX}, or be null"
    if policy.history_max_age is not None and not 1 <= policy.history_max_age <= HISTORY_MAX_AGE_S:
        return "history_max_age", f"must lie between 1 and {HISTORY_MAX_AGE_S} seconds, or be null"
    if policy.reset_schedule is not None:
        wrong = schedule.complaint(policy.reset_schedule)
        if wrong is not None:
            return "reset_schedule", wrong
    return None


@dataclass(frozen=True)
class Policies:
    """What the service says about counters that say nothing themselves: for all, and for names that fit a pattern.

    In a pattern, `*` stands for any characters. The first one that fits a name counts. What is said for a name goes
    before what is said for all, and what a counter says itself goes before both, field by field.
    """

    every: Mapping[str, Any] = field(default_factory=dict)
    patterns: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def of(self, name: str, own: Mapping[str, Any] | None = None) -> Policy:
        """The policy of counter `name`, whose own says `own`."""
        said = self._for(name)
        if own is None:
            return said
        policy = Policy(**{each: own[each] if each in own else getattr(said, each) for each in FIELDS})
        # Each was sound when it was said, the two together need not be.
        return policy if complaint(policy) is None else Policy(**own)

    def _for(self, name: str) -> Policy:
        for fits, policy in self._compiled:
            if fits.fullmatch(name):
                return policy
        return self._default

    def digest(self) -> str:
        """Different when something different is said; empty when nothing is."""
        said = repr((sorted(self.every.items()), [(each, sorted(said.items())) for each, said in self.patterns]))
        return blake2b(said.encode(), digest_size=16).hexdigest() if self.every or self.patterns else ""

    @cached_property
    def _default(self) -> Policy:
        return Policy(**self.every) if self.every else DEFAULT

    @cached_property
    def _compiled(self) -> list[tuple[re.Pattern[str], Policy]]:
        return [
            (re.compile(".*".join(map(re.escape, pattern.split("*")))), Policy(**{**self.every, **said}))
            for pattern, said in self.patterns
        ]

    def complaint(self) -> tuple[str, str] | None:
        """What is impossible and why, or None. The place is empty for what is said for all, else `likes:* maximum`."""
        wrong = complaint(self._default)
        if wrong is not None:
            return "", wrong[1]
        for (pattern, _), (_, policy) in zip(self.patterns, self._compiled, strict=True):
            wrong = complaint(policy)
            if wrong is not None:
                return f"{pattern} {wrong[0]}", wrong[1]
        return None
