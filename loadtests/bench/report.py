"""`results.md`: the bars first, then every figure of every case, then how it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from loadtests.bench.bars import BARS, OURS, Verdict, judge
from loadtests.bench.figures import FIGURES, KIB, Figure, times_better
from loadtests.bench.results import CaseInfo, PeerInfo, Results

NOTHING = "–"
VERDICTS = {True: "pass", False: "**short**", None: NOTHING}
GENERATOR_BUSY_PERCENT_MAX = 85  # Above it, the generator may have been the limit.


def render(results: Results, plots: Sequence[str] = ()) -> str:
    """The whole report; `plots` are the file names of pictures beside it."""
    measured = [peer for peer in results.peers if not peer.unavailable]
    parts = [
        "# Benchmarks\n",
        _introduction(results),
        "## Bars\n",
        _bars(results),
        _doubts(results),
        "\n".join(f"![{name.removesuffix('.svg').replace('_', ' ')}]({name})\n" for name in plots),
        "## Cases\n",
        _legend(measured),
        *(_case(results, case, measured) for case in results.cases),
        "## How it was measured\n",
        _method(results),
    ]
    return "\n".join(part for part in parts if part)


def number(figure: Figure, value: float | None) -> str:
    """A value with three significant digits and its unit, e.g. `12,300 op/s`, `51.2 KiB`, `–`."""
    if value is None:
        return NOTHING
    value, unit = _in_unit(figure, value)
    return f"{significant(value)} {unit}".rstrip()


def significant(value: float) -> str:
    """Three significant digits, thousands separated, never in scientific notation."""
    if value == 0 or (float(value).is_integer() and abs(value) < 1000):
        return f"{value:.0f}"
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---", *(["---:"] * (len(header) - 1))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows)) + "\n"


def _introduction(results: Results) -> str:
    conditions = results.conditions
    machine = conditions.machine
    text = (
        f"Run of {conditions.started_at} on {machine['cpu']}, {machine['cores']} cores. Medians of "
        f"{conditions.repeats} repeats of {conditions.seconds:g} s; every repeat is in "
        "[results.json](results.json). Each server ran alone with all its processes on one core, the "
        "generator on another.\n"
    )
    if conditions.quick:
        text += "\n**A quick run: sizes are a tenth and times are short, so its verdicts do not count.**\n"
    return text


def _bars(results: Results) -> str:
    played = {case.name for case in results.cases}
    verdicts = [judge(bar, results) for bar in BARS if bar.case in played]
    header = ["case", "figure", "ours", "peer's", "ours ÷ peer's", "wanted", "verdict"]
    return table(header, [_bar_row(verdict) for verdict in verdicts])


def _bar_row(verdict: Verdict) -> list[str]:
    figure = verdict.figure
    theirs = number(figure, verdict.theirs) + (f" ({verdict.peer})" if verdict.peer else "")
    ratio = NOTHING if verdict.ratio is None else significant(verdict.ratio)
    return [
        verdict.bar.case,
        figure.title,
        number(figure, verdict.ours),
        theirs,
        ratio,
        wanted(verdict),
        VERDICTS[verdict.passed],
    ]


def wanted(verdict: Verdict) -> str:
    """The bar in words, e.g. `≥ 4 × workerd`, `≤ 8 KiB`."""
    bar = verdict.bar
    sign = "≥" if verdict.figure.more_is_better else "≤"
    if not bar.peers:
        limit, unit = _in_unit(verdict.figure, bar.limit)
        return f"{sign} {limit:g} {unit}"
    return f"{sign} {bar.limit:g} × {bar.peers[0] if len(bar.peers) == 1 else 'the best peer'}"


def _doubts(results: Results) -> str:
    """Whatever speaks against the figures: failures, wrong counts, a generator at its limit."""
    lines = []
    for run in results.faults():
        fault = _one_line(run.error) or f"not exact: {run.remark}"
        lines.append(f"* {run.case} on {run.peer}, repeat {run.repeat}: {fault}")
    for case in results.cases:
        for peer in results.peers:
            busy = results.medians(case.name, peer.name).get("generator_busy_percent", 0)
            if busy > GENERATOR_BUSY_PERCENT_MAX:
                lines.append(f"* {case.name} on {peer.name}: the generator was {busy:.0f} % busy")
    missing = [peer for peer in results.peers if peer.unavailable]
    lines += [f"* {peer.name} was not measured: {_one_line(peer.unavailable)}" for peer in missing]
    if lines:
        return "Doubts:\n\n" + "\n".join(lines) + "\n"
    return "Every run was exact: what was acknowledged was counted once, and every subscriber heard it.\n"


def _one_line(text: str) -> str:
    """What happened and, of a log that follows, the last word."""
    first, *log = text.splitlines() or [""]
    return f"{first} {log[-1]}" if log else first


def _legend(measured: Sequence[PeerInfo]) -> str:
    lines = [f"* **{peer.name}**: {peer.about} ({peer.version})" for peer in measured]
    ratios = f"The columns “{OURS} : peer” say how many times better {OURS} is; below 1 it is worse.\n"
    return "\n".join(lines) + "\n\n" + ratios


def _case(results: Results, case: CaseInfo, measured: Sequence[PeerInfo]) -> str:
    columns = {peer.name: results.medians(case.name, peer.name) for peer in measured}
    others = [peer.name for peer in measured if peer.name != OURS and OURS in columns]
    header = ["", *columns, *(f"{OURS} : {peer}" for peer in others)]
    rows = []
    for name, figure in FIGURES.items():
        values = {peer: found.get(name) for peer, found in columns.items()}
        if any(value is not None for value in values.values()):
            ratios = [_ratio(figure, values[OURS], values[peer]) for peer in others]
            rows.append([figure.title, *(number(figure, value) for value in values.values()), *ratios])
    padding = [""] * len(others)
    rows.append([_spread_title(case), *(_spread(results, case, peer) for peer in columns), *padding])
    verdicts = [results.exact(case.name, peer) for peer in columns]
    if any(verdict is not None for verdict in verdicts):
        words = {True: "yes", False: "**no**", None: NOTHING}
        rows.append(["exact", *(words[verdict] for verdict in verdicts), *padding])
    return f"### {case.name}\n\n{case.about[0].upper()}{case.about[1:]}.\n\n{table(header, rows)}"


def _in_unit(figure: Figure, value: float) -> tuple[float, str]:
    """The value in the unit it is best read in."""
    if figure.unit == "B" and abs(value) >= KIB:
        return value / KIB, "KiB"
    return value, figure.unit


def _ratio(figure: Figure, ours: float | None, theirs: float | None) -> str:
    if ours is None or theirs is None:
        return NOTHING
    ratio = times_better(figure, ours, theirs)
    return NOTHING if ratio is None else significant(ratio)


def _spread_title(case: CaseInfo) -> str:
    return f"*spread of {FIGURES[case.headline].title}*"


def _spread(results: Results, case: CaseInfo, peer: str) -> str:
    """How far the repeats lie apart: lowest to highest, in percent of the median."""
    runs = results.of(case.name, peer)
    values = [run.figures[case.headline] for run in runs if case.headline in run.figures]
    if len(values) < 2 or median(values) == 0:
        return NOTHING
    return f"{100 * (max(values) - min(values)) / median(values):.0f} %"


def _method(results: Results) -> str:
    conditions = results.conditions
    machine = "\n".join(f"* {key.replace('_', ' ')}: {value}" for key, value in conditions.machine.items())
    return f"""\
CPU is user and system time of the whole process tree of a server; memory is its PSS, shared pages divided
among those who share them, without what the kernel holds for sockets. A delivery is one event received by
one subscriber. “CPU second” is of the server: it says what a core is worth, also where a server waits for
its disk. The peers take turns within each repeat, and each repeat begins with another one. A case that
weighs memory gets a server that was started for it.

{machine}

Command: `{conditions.command}`
"""
