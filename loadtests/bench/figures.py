"""What is measured: the vocabulary of figures, their units, and the arithmetic on them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True)
class Figure:
    """One measured number. `more_is_better` is None for what only explains the others."""

    name: str
    title: str
    unit: str
    more_is_better: bool | None


_ALL = (
    Figure("ops_per_s", "operations per second", "op/s", True),
    Figure("ops_per_cpu_s", "operations per server CPU second", "op/CPU s", True),
    Figure("server_cpu_us_per_op", "server CPU per operation", "µs", False),
    Figure("deliveries_per_s", "deliveries per second", "1/s", True),
    Figure("deliveries_per_cpu_s", "deliveries per server CPU second", "1/CPU s", True),
    Figure("p50_ms", "latency p50", "ms", False),
    Figure("p95_ms", "latency p95", "ms", False),
    Figure("p99_ms", "latency p99", "ms", False),
    Figure("total_s", "time for all of them", "s", False),
    Figure("bytes_per_socket", "server memory per socket", "B", False),
    Figure("bytes_per_counter", "server memory per counter", "B", False),
    Figure("idle_percent", "CPU with nothing to do", "% of a core", False),
    Figure("processes", "processes", "", None),
    Figure("memory_mib", "server memory (PSS)", "MiB", False),
    Figure("server_busy_percent", "server core busy", "%", None),
    Figure("generator_busy_percent", "generator core busy", "%", None),
    Figure("generator_cpu_us_per_op", "generator CPU per operation", "µs", None),
)
FIGURES: Mapping[str, Figure] = {figure.name: figure for figure in _ALL}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the sorted samples do not exceed.

    Nearest rank, so it is always a latency that somebody saw.
    """
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency_figures(latencies_s: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    ordered = sorted(latencies_s)
    return {f"p{share}_ms": percentile(ordered, share / 100) * 1e3 for share in (50, 95, 99)}


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Figure by figure, the median over repeats; of those repeats that have it."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}


def times_better(figure: Figure, ours: float, theirs: float) -> float | None:
    """How many times better `ours` is: above 1 is better, whichever direction is better.

    None where there is no better, or where one of them is nothing.
    """
    if figure.more_is_better is None:
        return None
    better, worse = (ours, theirs) if figure.more_is_better else (theirs, ours)
    return better / worse if better > 0 and worse > 0 else None
