"""The pictures beside the report: how many times better, how fast, how much work a core does, how large."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullFormatter

from loadtests.bench.bars import BARS, OURS, judge
from loadtests.bench.figures import FIGURES, times_better
from loadtests.bench.report import number, significant
from loadtests.bench.results import Results

COLOURS = {OURS: "#0b6e4f", "workerd": "#e07a1f", "redis-everysec": "#9aa5b1", "redis-always": "#52606d"}
OTHER_COLOUR = "#b8a1c9"
INK = "#323f4b"
TARGET_COLOUR = "#cf1124"
BAR_HEIGHT_INCHES = 0.24
STYLE: dict[Any, Any] = {
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

Columns = Mapping[str, Sequence[float | None]]  # By peer, one value a row.


@dataclass(frozen=True)
class Chart:
    """Horizontal bars: a group for each row, in it a bar for each peer; the axis is logarithmic."""

    file: str
    title: str
    rows: Sequence[str]
    values: Columns
    label: Callable[[int, str], str]  # What is written beside the bar of a row and a peer.
    tails: Columns = field(default_factory=dict)  # A pale continuation of the bar.
    baseline: float | None = None  # Bars begin here, to the left as well as to the right.
    targets: Sequence[tuple[int, str, float]] = ()  # Row, peer, and the value wanted there.


def draw(results: Results, out: Path) -> list[str]:
    """Write the pictures for which there are figures; their file names."""
    charts = (
        _ratios(results),
        _latency(results),
        _by_case(
            results,
            "per_cpu_second.svg",
            "What one second of server CPU does",
            ("ops_per_cpu_s", "deliveries_per_cpu_s"),
        ),
        _by_case(results, "memory.svg", "Memory of one", ("bytes_per_socket", "bytes_per_counter")),
    )
    drawn = [chart for chart in charts if chart.rows and chart.values]
    for chart in drawn:
        _save(chart, out / chart.file)
    return [chart.file for chart in drawn]


def _ratios(results: Results) -> Chart:
    """Headline figures: ours against each peer, above 1 always better."""
    others = [peer for peer in _measured(results) if peer != OURS]
    rows: list[str] = []
    targets: list[tuple[int, str, float]] = []
    values: dict[str, list[float | None]] = {peer: [] for peer in others}
    for case in results.cases:
        figure = FIGURES[case.headline]
        ours, *theirs = (results.medians(case.name, peer).get(figure.name) for peer in (OURS, *others))
        ratios = [
            None if ours is None or their is None else times_better(figure, ours, their) for their in theirs
        ]
        if not any(ratios):
            continue
        for peer, ratio in zip(others, ratios, strict=True):
            values[peer].append(ratio)
        targets += [(len(rows), peer, target) for peer, target in _targets(results, case.name, figure.name)]
        rows.append(f"{case.name}\n{figure.title}")
    return Chart(
        file="times_better.svg",
        title=f"How many times better {OURS} is (red: what is wanted)",
        rows=rows,
        values=values,
        label=lambda row, peer: f"{significant(values[peer][row] or 0)} ×",
        baseline=1.0,
        targets=targets,
    )


def _targets(results: Results, case: str, figure: str) -> list[tuple[str, float]]:
    """The bars of one figure as times better, each at the peer it is measured against."""
    found = []
    for bar in BARS:
        if (bar.case, bar.figure) == (case, figure) and (peer := judge(bar, results).peer):
            found.append((peer, bar.limit if FIGURES[figure].more_is_better else 1 / bar.limit))
    return found


def _latency(results: Results) -> Chart:
    cases = [case.name for case in results.cases]
    rows, p50s = _columns(results, [(case, "p50_ms") for case in cases])
    _, p99s = _columns(results, [(case, "p99_ms") for case in cases])
    return Chart(
        file="latency.svg",
        title="Latency: p50, pale up to p99",
        rows=[row.splitlines()[0] for row in rows],
        values=p50s,
        label=lambda row, peer: (
            f"{significant(p50s[peer][row] or 0)} / {significant(p99s[peer][row] or 0)} ms"
        ),
        tails=p99s,
    )


def _by_case(results: Results, file: str, title: str, figures: Sequence[str]) -> Chart:
    """Every case that has one of these figures, a row for each."""
    wanted = [(case.name, name) for name in figures for case in results.cases]
    rows, values = _columns(results, wanted)
    units = {f"{case}\n{FIGURES[name].title}": FIGURES[name] for case, name in wanted}
    return Chart(
        file, title, rows, values, label=lambda row, peer: number(units[rows[row]], values[peer][row])
    )


def _columns(results: Results, wanted: Sequence[tuple[str, str]]) -> tuple[list[str], Columns]:
    """The rows of those cases and figures that anybody has, and every peer's values in them."""
    peers = _measured(results)
    rows: list[str] = []
    values: dict[str, list[float | None]] = {peer: [] for peer in peers}
    for case, name in wanted:
        found = [results.medians(case, peer).get(name) for peer in peers]
        if any(found):
            rows.append(f"{case}\n{FIGURES[name].title}")
            for peer, value in zip(peers, found, strict=True):
                values[peer].append(value)
    return rows, values


def _measured(results: Results) -> list[str]:
    return [peer.name for peer in results.peers if not peer.unavailable]


def _save(chart: Chart, path: Path) -> None:
    bars = len(chart.rows) * (len(chart.values) + 1)
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(9, 1.4 + BAR_HEIGHT_INCHES * bars), layout="constrained")
        axes = canvas.subplots()
        _frame(axes, chart)
        for row in range(len(chart.rows)):
            for place, peer in enumerate(chart.values):
                _bar(axes, chart, row, place, peer)
        canvas.savefig(path, metadata={"Date": None})


def _frame(axes: Axes, chart: Chart) -> None:
    """Everything but the bars."""
    shown = [value for column in (*chart.values.values(), *chart.tails.values()) for value in column if value]
    start = _start(chart)
    axes.set_xscale("log")
    # Room to the right for what is written beside the longest bar.
    axes.set_xlim(min(start, *(value / 1.5 for value in shown)), max(start * 2, *shown) * 4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("logarithmic")
    axes.set_ylim(_height(chart, len(chart.rows), 0) - 0.5, -1)
    middle = (len(chart.values) - 1) / 2
    axes.set_yticks([_height(chart, row, middle) for row in range(len(chart.rows))], chart.rows)
    if chart.baseline is not None:
        axes.axvline(chart.baseline, color=INK, linewidth=1)
    for row, peer, target in chart.targets:
        y = _height(chart, row, list(chart.values).index(peer))
        axes.plot([target, target], [y - 0.5, y + 0.5], color=TARGET_COLOUR, linewidth=2)
    for peer in chart.values:
        axes.barh([0], [0], color=_colour(peer), label=peer)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(chart.values), borderaxespad=0.2)
    axes.set_title(chart.title, loc="left", fontweight="bold", pad=24)


def _bar(axes: Axes, chart: Chart, row: int, place: int, peer: str) -> None:
    value = chart.values[peer][row]
    if not value:
        return
    start, y = _start(chart), _height(chart, row, place)
    axes.barh(y, value - start, left=start, height=0.9, color=_colour(peer))
    end = max(value, start, *(target for at, whose, target in chart.targets if (at, whose) == (row, peer)), 0)
    tail = chart.tails[peer][row] if chart.tails else None
    if tail:
        axes.barh(y, tail - value, left=value, height=0.9, color=_colour(peer), alpha=0.35)
        end = max(end, tail)
    axes.text(end * 1.06, y, chart.label(row, peer), va="center", fontsize=8, color=INK)


def _start(chart: Chart) -> float:
    """Where bars begin; a logarithmic axis has no zero."""
    return chart.baseline or min(value for column in chart.values.values() for value in column if value) / 3


def _height(chart: Chart, row: int, place: float) -> float:
    """Where a bar stands: rows from top to bottom, one bar's room between them."""
    return row * (len(chart.values) + 1) + place


def _colour(peer: str) -> str:
    return COLOURS.get(peer, OTHER_COLOUR)
