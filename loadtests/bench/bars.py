"""The bars: how this service has to compare with its peers, case by case."""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.bench.figures import FIGURES, KIB, Figure
from loadtests.bench.results import Results

OURS = "counters"
WORKERD = "workerd"
REDIS_ALWAYS = "redis-always"
EVERYBODY = (WORKERD, "redis-everysec", REDIS_ALWAYS)


@dataclass(frozen=True)
class Bar:
    """Ours has to be at least `limit` times the best of the peers (at most, where less is better).

    Without peers, `limit` is the figure itself.
    """

    case: str
    figure: str
    limit: float
    peers: tuple[str, ...] = ()


BARS = (
    Bar("http_hot", "ops_per_cpu_s", 4, (WORKERD,)),
    Bar("http_hot", "ops_per_cpu_s", 2.5, (REDIS_ALWAYS,)),
    Bar("ws_own", "ops_per_cpu_s", 5, (WORKERD,)),
    Bar("ws_all", "ops_per_s", 3, (WORKERD,)),
    Bar("fanout_full", "deliveries_per_cpu_s", 5, EVERYBODY),
    Bar("fanout_paced", "p99_ms", 0.5, EVERYBODY),
    Bar("one_at_a_time", "p50_ms", 1, (WORKERD,)),
    Bar("one_at_a_time", "ops_per_cpu_s", 1, (WORKERD,)),
    Bar("idle_sockets", "bytes_per_socket", 8 * KIB),
    Bar("resident", "bytes_per_counter", 2 * KIB),
    Bar("cold_touch", "total_s", 1.5),
    Bar("idle", "idle_percent", 3),
)


@dataclass(frozen=True)
class Verdict:
    """A bar with what was measured. `passed` is None when one side was not."""

    bar: Bar
    ours: float | None
    theirs: float | None  # The best of the bar's peers; None for a bar without peers.
    peer: str
    passed: bool | None

    @property
    def figure(self) -> Figure:
        return FIGURES[self.bar.figure]

    @property
    def ratio(self) -> float | None:
        """Ours divided by theirs, the number the limit speaks of."""
        if self.ours is None or not self.theirs:
            return None
        return self.ours / self.theirs


def judge(bar: Bar, results: Results) -> Verdict:
    figure = FIGURES[bar.figure]
    best = max if figure.more_is_better else min
    ours = results.medians(bar.case, OURS).get(bar.figure)
    found = {peer: results.medians(bar.case, peer).get(bar.figure) for peer in bar.peers}
    measured = {peer: value for peer, value in found.items() if value is not None}
    if ours is None or (bar.peers and not measured):
        return Verdict(bar, ours, None, "", None)
    if not bar.peers:
        return Verdict(bar, ours, None, "", _reaches(figure, ours, bar.limit))
    peer = best(measured, key=measured.__getitem__)
    return Verdict(bar, ours, measured[peer], peer, _reaches(figure, ours, bar.limit * measured[peer]))


def _reaches(figure: Figure, value: float, limit: float) -> bool:
    return value >= limit if figure.more_is_better else value <= limit
