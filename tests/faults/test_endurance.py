"""Short versions of what wears a service out, and locust.

Bars on latencies are left to the commands, `python -m loadtests.endurance`: this may be a busy machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.service_process import ROOT, Service

pytest.importorskip("picows", reason="needs the `load` extra")
pytest.importorskip("psutil")

from loadtests.endurance.command import COMMANDS, run
from loadtests.service import Attached, raise_open_files

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def worn() -> Iterator[Service]:
    """A service to wear out: one host, one gateway. It has to stop as if nothing had happened."""
    raise_open_files()
    with Service(hosts=1, gateways=1).start() as running:
        yield running
        assert running.stop() == 0, running.tail()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_bars_are_kept(worn: Service, command: str) -> None:
    assert worn.command is not None
    verdict = run(command, Attached(worn.port, worn.command.pid), quick=True)
    assert [str(line) for line in verdict.missed if not line.timed] == []


@pytest.mark.parametrize("arguments", [["--shape", "storm", "--zipf", "1.5"], ["--shape", "spike", "--processes", "2"]])
def test_locust_finds_everything_exact(worn: Service, arguments: list[str]) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "loadtests", "--users", "40", "--run-time", "14s", *arguments],
        cwd=ROOT,
        env={**os.environ, "COUNTERS_URL": worn.url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.endswith("exact\n")
    assert "ws delivery" in told.stderr
