"""The pictures beside the report: how many times better, how fast, how much work a core does, how large."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from .bars import BARS, OURS, Bar, judge
from .figures import FIGURES, times_better
from .report import number, significant
from .results import Results

COLOURS = {OURS: "#0b6e4f", "workerd": "#e07a1f", "redis-everysec": "#9aa5b1", "redis-always": "#52606d"}
OTHER_COLOUR = "#b8a1c9"
BAR_HEIGHT_INCHES = 0.24
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # Text stays text: smaller files, and the page's own font.
    "svg.hashsalt": "bench",  # The same run gives the same bytes.
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.left": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": "#e4e7eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Chart:
    """Horizontal bars: a group for each row, in it a bar for each peer; the axis is logarithmic."""

    file: str
    title: str
    rows: Sequence[str]
    values: Mapping[str, Sequence[float | None]]  # By peer, one value a row.
    label: Callable[[int, float], str]  # What is written beside the bar of a row.
    baseline: float | None = None  # Bars begin here, to the left as well as to the right.
    targets: Sequence[tuple[int, str, float]] = ()  # Row, peer and the value wanted there.


def draw(results: Results, out: Path) -> list[str]:
    """Write the pictures for which there are figures; their file names."""
    charts = [
        _ratios(results),
        _figures(results, "latency.svg", "Latency, p50 and p99", ("p50_ms", "p99_ms")),
        _figures(
            results,
            "per_cpu_second.svg",
            "What one second of server CPU does",
            ("ops_per_cpu_s", "deliveries_per_cpu_s"),
        ),
        _figures(results, "memory.svg", "Memory", ("bytes_per_socket", "bytes_per_counter", "memory_mib")),
    ]
    drawn = [chart for chart in charts if chart.rows and chart.values]
    for chart in drawn:
        _save(chart, out / chart.file)
    return [chart.file for chart in drawn]


def _ratios(results: Results) -> Chart:
    """Headline figures: ours against each peer, above 1 always better."""
    others = [peer for peer in _measured(results) if peer != OURS]
    rows, targets = [], []
    values: dict[str, list[float | None]] = {peer: [] for peer in others}
    for case in results.cases:
        figure = FIGURES[case.headline]
        ours = results.medians(case.name, OURS).get(figure.name)
        ratios = {}
        for peer in others:
            theirs = results.medians(case.name, peer).get(figure.name)
            ratios[peer] = None if ours is None or theirs is None else times_better(figure, ours, theirs)
        if all(ratio is None for ratio in ratios.values()):
            continue
        for peer in others:
            values[peer].append(ratios[peer])
        targets += [(len(rows), *target) for target in _targets(results, case.name, figure.name)]
        rows.append(f"{case.name}\n{figure.title}")
    return Chart(
        file="times_better.svg",
        title=f"How many times better {OURS} is (ticks: what is wanted)",
        rows=rows,
        values=values,
        label=lambda _, value: f"{significant(value)} ×",
        baseline=1.0,
        targets=targets,
    )


def _targets(results: Results, case: str, figure: str) -> list[tuple[str, float]]:
    """The bars of one figure as ratios, each at the peer it is measured against."""
    found = []
    for bar in BARS:
        if (bar.case, bar.figure) == (case, figure) and bar.peers:
            peer = judge(bar, results).peer
            if peer:
                found.append((peer, _as_times_better(bar)))
    return found


def _as_times_better(bar: Bar) -> float:
    return bar.limit if FIGURES[bar.figure].more_is_better else 1 / bar.limit


def _figures(results: Results, file: str, title: str, names: Sequence[str]) -> Chart:
    """Every case that has one of these figures, a row for each."""
    peers = _measured(results)
    rows, figures = [], []
    values: dict[str, list[float | None]] = {peer: [] for peer in peers}
    for name in names:
        for case in results.cases:
            if name == "memory_mib" and case.name != "idle":
                continue  # What a server weighs is told once, before it has done anything.
            found = {peer: results.medians(case.name, peer).get(name) for peer in peers}
            if all(value is None for value in found.values()):
                continue
            for peer in peers:
                values[peer].append(found[peer])
            rows.append(f"{case.name}\n{FIGURES[name].title}")
            figures.append(FIGURES[name])
    return Chart(file, title, rows, values, label=lambda row, value: number(figures[row], value))


def _measured(results: Results) -> list[str]:
    return [peer.name for peer in results.peers if not peer.unavailable]


def _save(chart: Chart, path: Path) -> None:
    bars = len(chart.rows) * (len(chart.values) + 1)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + BAR_HEIGHT_INCHES * bars), layout="constrained")
        _bars(axes, chart)
        axes.set_title(chart.title, loc="left", fontweight="bold", pad=24)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def _bars(axes: Axes, chart: Chart) -> None:
    shown = [value for column in chart.values.values() for value in column if value]
    start = chart.baseline or min(shown, default=1) / 3
    axes.set_xscale("log")
    axes.set_xlim(min([start, *(value / 2 for value in shown)]), max([start * 2, *shown]) * 4)
    for place, (peer, column) in enumerate(chart.values.items()):
        colour = COLOURS.get(peer, OTHER_COLOUR)
        for row, value in enumerate(column):
            if not value:
                continue
            y = _height(chart, row, place)
            axes.barh(y, value - start, left=start, height=0.9, color=colour)
            end = max(value, start)
            axes.text(end * 1.04, y, chart.label(row, value), va="center", fontsize=8, color="#323f4b")
        axes.barh([0], [0], color=colour, label=peer)
    for row, peer, target in chart.targets:
        y = _height(chart, row, list(chart.values).index(peer))
        axes.plot([target, target], [y - 0.5, y + 0.5], color="#cf1124", linewidth=2)
    if chart.baseline is not None:
        axes.axvline(chart.baseline, color="#323f4b", linewidth=1)
    middle = (len(chart.values) - 1) / 2
    axes.set_yticks([_height(chart, row, middle) for row in range(len(chart.rows))], chart.rows)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(chart.values), borderaxespad=0.2)


def _height(chart: Chart, row: int, place: float) -> float:
    """Where a bar stands: rows from top to bottom, one bar's room between them."""
    return row * (len(chart.values) + 1) + place
