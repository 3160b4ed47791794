"""What a case is, and what it says when it has been played."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loadtests.bench.stage import Stage


@dataclass(frozen=True)
class Outcome:
    figures: dict[str, float]  # By the names in `figures.FIGURES`.
    exact: bool | None = None  # Everything acknowledged was counted once and heard; None: does not apply.
    remark: str = ""  # Why it is not exact.


@dataclass(frozen=True)
class Case:
    name: str
    about: str  # What it does, one sentence for the report.
    headline: str  # The figure that stands for the case in plots.
    play: Callable[[Stage], Awaitable[Outcome]]
    fresh: bool = False  # Wants a server that has done nothing yet: memory is measured, or rest.


def compared(acknowledged: int, counted: int) -> tuple[bool, str]:
    """Exactness of a counter: what was acknowledged against its final value."""
    if acknowledged == counted:
        return True, ""
    return False, f"acknowledged {acknowledged}, counted {counted}"
