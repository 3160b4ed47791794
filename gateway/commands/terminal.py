"""What the client commands print: plain functions from values to text, and the views of `watch`.

Nothing here talks to the service or reads a clock. Standard output carries values and nothing else, so that
it can be piped; everything said beside them goes to standard error.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TextIO

Message = Mapping[str, Any]
Position = tuple[Any, Any, Any]

AGE_UNITS_S = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def json_line(value: Any) -> str:
    """One JSON value on one line, as scripts like to read it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def printable(text: str) -> str:
    """The text without control characters: what a server says must not be able to steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def print_lines(lines: Iterable[str]) -> None:
    """Print to standard output."""
    for line in lines:
        print(line)


def age(then: str, now: datetime) -> str:
    """How long ago an ISO 8601 time was, in one unit: `12s`, `5m`, `3h`, `40d`.

    A time in the future is a clock that differs from ours: now. What is not a time is shown as it is.
    """
    try:
        elapsed_s = int((now - datetime.fromisoformat(then)).total_seconds())
    except (ValueError, TypeError):
        return printable(then)
    for unit, size_s in AGE_UNITS_S:
        if elapsed_s >= size_s:
            return f"{elapsed_s // size_s}{unit}"
    return "now"


def delta(message: Message) -> str:
    """What an event did to the value: `+3`, `-1`; nothing for a message that tells no previous value."""
    value, previous = message.get("value"), message.get("previousValue")
    if not isinstance(value, int) or not isinstance(previous, int):
        return ""
    return f"{value - previous:+d}"


def cause(message: Message) -> str:
    """Which operation an event reports, with its reason if it has one: `increment`, `reset (inactivity)`."""
    kind, reason = message.get("type"), message.get("reason")
    if kind == "snapshot" or not isinstance(kind, str):
        return ""
    return printable(f"{kind} ({reason})" if reason else kind)


def position(message: Message) -> Position:
    """Where a counter is in its history: its id (a name can be deleted and used anew), its seq, its value."""
    metadata = message.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return (known.get("id"), known.get("operationCount"), message["value"])


class Table:
    """Lines up rows of text. The columns only grow, so that pages that arrive one by one stay aligned."""

    def __init__(self, columns: int, right: Collection[int] = ()) -> None:
        """Column numbers in `right` are aligned to the right, as numbers should be."""
        self._widths = [0] * columns
        self._right = frozenset(right)

    def lines(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The rows as lines of text; every row has as many cells as the table has columns."""
        for row in rows:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        return [self._line(row) for row in rows]

    def _line(self, row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in self._right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, self._widths, strict=True))
        )
        return "  ".join(cells).rstrip()


class View(Protocol):
    """How `watch` shows what it hears. After any of the other calls, `draw` makes them visible."""

    def heard(self, name: str, message: Message) -> None:
        """A message with a value has arrived for this counter."""

    def lost(self, name: str) -> None:
        """The value of this counter may be out of date from now on."""

    def note(self, text: str) -> None:
        """Something to say beside the values."""

    def draw(self) -> None:
        """Bring everything to the screen or the pipe."""


class LinesView:
    """One line for each change, for pipes and logs: `name  value`, or the message as JSON."""

    def __init__(self, names: Sequence[str], out: TextIO, err: TextIO, *, as_json: bool) -> None:
        self._width = max(map(len, names))
        self._out, self._err = out, err
        self._as_json = as_json
        self._positions: dict[str, Position] = {}

    def heard(self, name: str, message: Message) -> None:
        """Write the line: lines are never joined, a reader may be counting them.

        The snapshot after a reconnect tells nothing new if the counter is where it was.
        """
        before, now = self._positions.get(name), position(message)
        self._positions[name] = now
        if message.get("type") == "snapshot" and before == now:
            return
        if self._as_json:
            self._out.write(json_line({"name": name, **message}) + "\n")
        else:
            self._out.write(f"{name:<{self._width}}  {message['value']}\n")

    def lost(self, name: str) -> None:
        """Nothing to write: the note says it, and lines already written stay true."""

    def note(self, text: str) -> None:
        """Say it on standard error, after what was heard before it."""
        self._out.flush()
        print(printable(text), file=self._err, flush=True)

    def draw(self) -> None:
        """Hand over what was written."""
        self._out.flush()


class BlockView:
    """A block of lines on a terminal, one for each counter, redrawn in place."""

    def __init__(self, names: Sequence[str], out: TextIO, err: TextIO) -> None:
        self._names = names
        self._out, self._err = out, err
        self._rows = {name: (name, "-", "", "") for name in names}
        self._stale = set(names)
        self._table = Table(columns=4, right=(1, 2))
        self._drawn = False

    def heard(self, name: str, message: Message) -> None:
        """Keep the newest value; it is seen with the next `draw`."""
        self._rows[name] = (name, str(message["value"]), delta(message), cause(message))
        self._stale.discard(name)

    def lost(self, name: str) -> None:
        """Mark the value as possibly old, instead of showing it as if it were live."""
        self._stale.add(name)

    def note(self, text: str) -> None:
        """Put a line above the block; the block moves down."""
        self._out.write(self._erase())
        self._out.flush()
        print(printable(text), file=self._err, flush=True)
        self.draw()

    def draw(self) -> None:
        """Draw the block over its former self, cut to the width that the terminal has now."""
        columns = shutil.get_terminal_size().columns
        rows = [self._rows[name] if name not in self._stale else self._waiting(name) for name in self._names]
        block = "".join(f"{line[: columns - 1]}\n" for line in self._table.lines(rows))
        self._out.write(self._erase() + block)
        self._out.flush()
        self._drawn = True

    def _waiting(self, name: str) -> tuple[str, str, str, str]:
        return (name, self._rows[name][1], "", "(connecting)")

    def _erase(self) -> str:
        """The escape codes that remove the block drawn last and leave the cursor where it began."""
        if not self._drawn:
            return ""
        self._drawn = False
        return f"\x1b[{len(self._names)}F\x1b[J"


def view_for(names: Sequence[str], out: TextIO, err: TextIO, *, as_json: bool) -> View:
    """The view that suits where the output goes.

    The block is for a terminal with room for it: one taller than the screen could not be redrawn in place.
    """
    if as_json or not out.isatty() or len(names) >= shutil.get_terminal_size().lines:
        return LinesView(names, out, err, as_json=as_json)
    return BlockView(names, out, err)
