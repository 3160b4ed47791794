"""How far it has come: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

STEP = 1_000  # Counters between two looks at the bar, which would otherwise cost more than the work.


class Bar:
    """A bar on standard error, and lines above it."""

    def __init__(self, what: str, total: int | None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[count]:,} counters"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(what, total=total, count=0)
        self._count = 0

    def advance(self, done: int) -> None:
        """One counter more; `done` of the total."""
        self._count += 1
        if self._count % STEP == 0:
            self._progress.update(self._task, completed=done, count=self._count)

    def say(self, text: str) -> None:
        """A line on standard error."""
        self._console.print(text, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            total = self._progress.tasks[0].total
            self._progress.update(self._task, total=total or 1, completed=total or 1, count=self._count)
        self._progress.stop()
