"""Figures, and the bars that some of them must keep."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MIB = 2**20


@dataclass(frozen=True)
class Line:
    """One figure. `kept` is None for what only explains the others."""

    title: str
    value: str
    bar: str = ""
    kept: bool | None = None
    timed: bool = False  # A busy machine can miss it all by itself.

    def __str__(self) -> str:
        mark = {None: "    ", True: "ok  ", False: "MISS"}[self.kept]
        return f"{mark}  {self.title:<52} {self.value:>14}  {self.bar}".rstrip()


@dataclass
class Verdict:
    """What a run showed. Each line is printed as it is added, so that a long run can be watched."""

    quiet: bool = False
    lines: list[Line] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether no bar was missed."""
        return not self.missed

    @property
    def missed(self) -> list[Line]:
        return [line for line in self.lines if line.kept is False]

    def figure(self, title: str, value: float, unit: str = "") -> None:
        """A figure without a bar."""
        self._add(Line(title, number(value, unit)))

    def count(self, title: str, value: int) -> None:
        """A whole number without a bar."""
        self._add(Line(title, f"{value:,}"))

    def at_most(self, title: str, value: float, bar: float, unit: str = "", timed: bool = False) -> None:
        """A figure that must not exceed `bar`; one that is not a number does. `timed`: it is made of latencies."""
        self._add(Line(title, number(value, unit), f"at most {number(bar, unit)}", value <= bar, timed))

    def exactly(self, title: str, value: int, bar: int, timed: bool = False) -> None:
        """A count that must be `bar`. `timed`: it depends on latencies."""
        self._add(Line(title, f"{value:,}", f"exactly {bar:,}", value == bar, timed))

    def require(self, title: str, kept: bool, said: str = "") -> None:
        """Something that must be so; `said` is what was found."""
        self._add(Line(title, said or ("yes" if kept else "no"), "", kept))

    def remark(self, text: str) -> None:
        """A heading, or why something was left out."""
        self._add(Line(text, ""))

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        if not self.quiet:
            print(line, flush=True)


def number(value: float, unit: str = "") -> str:
    """Three significant digits, thousands separated: 1,234,567 → "1,230,000"."""
    if not math.isfinite(value):
        text = str(value)
    elif value == 0:
        text = "0"
    else:
        digits = 2 - math.floor(math.log10(abs(value)))
        text = f"{round(value, digits):,.{max(0, digits)}f}"
    return f"{text} {unit}".rstrip()
