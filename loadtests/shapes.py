"""How many users there are when, and what else happens: `--shape steady|ramp|spike|storm`.

`--users`, `--spawn-rate` and `--run-time` keep their meaning: the most there are, how fast they come, and the end.
"""

from __future__ import annotations

import math

from locust import LoadTestShape

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


class Shape(LoadTestShape):
    """The shape that `--shape` names."""

    use_common_options = True

    def __init__(self) -> None:
        super().__init__()
        self._storms = 0

    def reset_time(self) -> None:
        super().reset_time()
        self._storms = 0

    def tick(self) -> tuple[int, float] | None:
        """Called once a second by whoever leads the test."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        seconds, run_s = self.get_run_time(), options.run_time or math.inf
        if seconds >= run_s:
            # Here and now, and not by leaving: with several processes, locust waits for their books only this way.
            self.runner.stop()
            return None
        storms = storms_by(options.shape, seconds, run_s)
        if storms > self._storms:
            self._storms = storms
            self.runner.send_message(STORM_MESSAGE, {"number": storms})
        share = 0.0 if run_s == math.inf else seconds / run_s
        users = users_at(options.shape, share, options.num_users or 1)
        rate = options.spawn_rate or 1
        return users, min(SPAWN_RATE_MAX, users if options.shape == SPIKE else rate)
