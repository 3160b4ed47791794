"""The commands: `counters export`, `counters import`. They work on a database, whether a service runs on it or not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import BinaryIO, ParamSpec

from actors.clock import SystemClock
from gateway.config import Settings
from gateway.transfer import lines
from gateway.transfer.application import Queries, check, counters
from gateway.transfer.lines import BadLine, EndLine, HeadLine, Read
from gateway.transfer.loading import Loader
from gateway.transfer.progress import Bar
from storage.application import Application
from storage.bulk import Bulk, open_bulk
from storage.engine import shown
from storage.errors import StorageError, StorageMisconfigured

POLICIES = "policies"  # The note by which the timer tells for which settings all counters have their deadlines.

P = ParamSpec("P")


class CannotTransfer(Exception):
    """Ends a command; the message says why."""


def one_line(run: Callable[P, int]) -> Callable[P, int]:
    """Whatever ends a command is one line on standard error and an exit code."""

    @wraps(run)
    def guarded(*arguments: P.args, **named: P.kwargs) -> int:
        try:
            return run(*arguments, **named)
        except (StorageError, CannotTransfer) as error:
            print(f"counters: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:  # The reader, `head` for one, has what it wants.
            return 1
        except KeyboardInterrupt:
            return 130

    return guarded


@one_line
def export(settings: Settings, file: str, history: bool) -> int:
    """Write all counters to a file, or to standard output. Returns the exit code."""
    with ExitStack() as stack:
        source = stack.enter_context(_existing(settings.database_url))
        out = stack.enter_context(_written(file))
        bar = stack.enter_context(Bar("export", source.count()))
        out.write(lines.HEAD)
        count = 0
        for whole in source.wholes(history):
            out.write(lines.encode(whole))
            if whole.part == 1:
                count += 1
                bar.advance(count)
        out.write(lines.end(count))
    print(f"{count:,} counters exported from {shown(settings.database_url)}", file=sys.stderr)
    return 0


@one_line
def import_file(settings: Settings, file: str, replacing: bool) -> int:
    """Make the counters in a file. Returns the exit code."""
    with ExitStack() as stack:
        source = sys.stdin.buffer if file == "-" else stack.enter_context(_read(file))
        target = stack.enter_context(_opened(settings.database_url))
        size = None if file == "-" else os.fstat(source.fileno()).st_size
        bar = stack.enter_context(Bar("import", size))
        loader = Loader(target, bar.say, replacing=replacing)
        _load_lines(source, loader, bar)
        _arm(target, loader)
    return _concluded(loader, settings)


@one_line
def copy(settings: Settings, url: str, history: bool, replacing: bool) -> int:
    """Make the counters of another database here, and look at all of them once more. Returns the exit code."""
    with ExitStack() as stack:
        source = stack.enter_context(_existing(url))
        target = stack.enter_context(_opened(settings.database_url))
        loaders = []
        for what in ("copy", "verify"):
            with Bar(what, source.count()) as bar:
                loader = Loader(target, bar.say, replacing=replacing, writing=what == "copy")
                done = 0
                for whole in source.wholes(history):
                    loader.take("", Read(whole))
                    if whole.part == 1:
                        done += 1
                        bar.advance(done)
                loader.finish()
                loaders.append(loader)
        first, second = loaders
        _arm(target, first)
    code = _concluded(first, settings)
    missing = second.tally.made + second.tally.replaced
    print(f"verified: {second.tally.same:,} the same, {missing:,} missing, {second.tally.different:,} different")
    return 1 if missing or second.tally.different else code


@one_line
def import_queries(settings: Settings, url: str, queries: Queries, replacing: bool) -> int:
    """Make what two queries find in the database of an application. Returns the exit code."""
    with ExitStack() as stack:
        source = stack.enter_context(closing(Application(url)))
        check(source, queries)
        target = stack.enter_context(_opened(settings.database_url))
        bar = stack.enter_context(Bar("import", None))
        loader = Loader(target, bar.say, replacing=replacing)
        now_ms, count = SystemClock().now_ms(), 0
        for read in counters(source, queries, now_ms, loader.refuse, loader.mismatch):
            loader.take("", read)
            if read.whole.part == 1:
                count += 1
                bar.advance(count)
        loader.finish()
        if not count:
            raise CannotTransfer("the queries return nothing")
        _arm(target, loader)
    return _concluded(loader, settings)


def _load_lines(source: BinaryIO, loader: Loader, bar: Bar) -> None:
    clock = SystemClock()
    came, missing = 0, False
    for number, done, line in _lines(source):
        place = f"line {number}"
        try:
            read = lines.decode(line, clock.now_ms())
        except BadLine as bad:
            loader.refuse(place, str(bad))
            came += 1
            continue
        match read:
            case HeadLine():
                came, missing = 0, True
            case EndLine(counters):
                missing = came < counters
            case Read():
                loader.take(f"{place}: ", read)
                if read.whole.part == 1:
                    came += 1
                    bar.advance(done)
    if missing:
        loader.refuse("the last line", "more counters were exported than there are in the file")
    loader.finish()


def _lines(source: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Number, bytes so far, and text of each line that is not empty. One that is too long is cut, hence no JSON."""
    number = done = 0
    while line := source.readline(lines.LINE_MAX):
        number += 1
        done += len(line)
        end = line
        while not end.endswith(b"\n") and (end := source.readline(lines.LINE_MAX)):
            done += len(end)
        if line.strip():
            yield number, done, line


def _arm(target: Bulk, loader: Loader) -> None:
    """Have the timer of the next service look at the deadlines of all counters.

    Also of those that are the same: they may have been made by an import that was cut off before it came here.
    """
    if loader.tally.made or loader.tally.replaced or loader.tally.same:
        target.note(POLICIES, "imported")


def _concluded(loader: Loader, settings: Settings) -> int:
    print(f"{shown(settings.database_url)}: {loader.tally}")
    return 0 if loader.tally.good else 1


@contextmanager
def _opened(url: str) -> Iterator[Bulk]:
    bulk = open_bulk(url)
    try:
        yield bulk
    finally:
        bulk.close()


@contextmanager
def _existing(url: str) -> Iterator[Bulk]:
    """A database that is to be read: an empty one is not made for it."""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise StorageMisconfigured(f"there is no database at {url}; name another with --database or --data-dir")
    with _opened(url) as bulk:
        yield bulk


@contextmanager
def _read(file: str) -> Iterator[BinaryIO]:
    try:
        source = open(file, "rb")  # noqa: SIM115
    except OSError as error:
        raise CannotTransfer(f"cannot read {file}: {error.strerror}") from error
    with source:
        yield source


@contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """Standard output for `-`, or a device; else a file that is there when it is whole, and not before."""
    part = None if file == "-" or (Path(file).exists() and not Path(file).is_file()) else f"{file}.part"
    try:
        # A buffer of our own on standard output: Python's would be written once more at the end, and fail again.
        with open(part or file, "wb") if file != "-" else open(sys.stdout.fileno(), "wb", closefd=False) as out:
            yield out
            out.flush()
            if part:
                os.fsync(out.fileno())
        if part:
            os.replace(part, file)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CannotTransfer(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)
