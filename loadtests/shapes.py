"""How many users there are when, what else happens, and which counters they choose.

    --shape steady|ramp|spike|storm  --zipf 1.0  --counters 100

`--users`, `--spawn-rate` and `--run-time` keep their meaning: the most there are, how fast they come, and the end.
"""

from __future__ import annotations

import math
import random
from itertools import accumulate

STEADY, RAMP, SPIKE, STORM = "steady", "ramp", "spike", "storm"
SHAPES = (STEADY, RAMP, SPIKE, STORM)

RAMP_SHARE = 0.8  # Of the time, in steps; then all of them for the rest.
RAMP_STEPS = 10
SPIKE_FROM, SPIKE_TO = 0.4, 0.7  # Of the time.
SPIKE_BASE = 0.2  # Of the users, before and after.
STORM_EVERY_S = 8.0
STORM_MESSAGE = "storm"
SPAWN_RATE_MAX = 100.0  # What locust recommends.


def users_at(shape: str, share: float, most: int) -> int:
    """How many users there are when this share of the time is over, from 0 to 1."""
    if shape == RAMP:
        step = math.floor(share / RAMP_SHARE * RAMP_STEPS) + 1
        return max(1, round(most * min(1.0, step / RAMP_STEPS)))
    if shape == SPIKE and not SPIKE_FROM <= share < SPIKE_TO:
        return max(1, round(most * SPIKE_BASE))
    return most


def storms_by(shape: str, seconds: float, run_s: float) -> int:
    """How many storms there were by then. None in the last moments: who is thrown out also has to come back."""
    if shape != STORM:
        return 0
    return math.floor(min(seconds, run_s - STORM_EVERY_S / 2) / STORM_EVERY_S)


class Names:
    """The counters of a test, of which the k-th is chosen in proportion to 1/k^s (Zipf). s = 0: all alike."""

    def __init__(self, prefix: str, number: int, s: float) -> None:
        self.all = [f"{prefix}-{rank}" for rank in range(1, number + 1)]
        self._weights = list(accumulate(1 / rank**s for rank in range(1, number + 1)))

    def pick(self) -> str:
        return random.choices(self.all, cum_weights=self._weights)[0]
