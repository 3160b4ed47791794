"""Whoever is stopped while it holds the database is ended; whoever merely works is not."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.holder import end_stopped_holder
from storage.records import Commit, CounterWrite
from storage.store import open_store

HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock on `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def test_a_stopped_holder_is_ended(tmp_path: Path) -> None:
    with holding(tmp_path / "turn") as process:
        stop(process)
        assert end_stopped_holder(tmp_path / "turn") == process.pid
        assert process.wait() == -signal.SIGKILL
        fcntl.flock(os.open(tmp_path / "turn", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_one_that_works_is_left_alone(tmp_path: Path) -> None:
    with holding(tmp_path / "turn") as process:
        assert end_stopped_holder(tmp_path / "turn") is None
        assert process.poll() is None


def test_a_stopped_process_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "turn").touch()
    with holding(tmp_path / "another") as process:
        stop(process)
        assert end_stopped_holder(tmp_path / "turn") is None
        assert process.poll() is None


def test_without_a_file_or_a_holder_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert end_stopped_holder(tmp_path / "missing") is None
    (tmp_path / "turn").touch()
    assert end_stopped_holder(tmp_path / "turn") is None


def test_a_commit_that_waited_for_it_goes_through(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'counters.db'}")
    [row] = store.claim(["votes"], 0)
    with holding(tmp_path / "counters.db.turn") as process:
        stop(process)
        assert store.free() == process.pid
        assert store.commit(Commit([CounterWrite(row.id, row.epoch, 7, 1, 1)])) == frozenset()
    assert store.read(["votes"])["votes"].value == 7
    store.close()
