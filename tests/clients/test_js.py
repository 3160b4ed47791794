"""The npm package in `clients/js`: its own tests, its types, its sizes, and what would be published."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node import node, run_in
from tests.support.service_process import ROOT

PACKAGE = ROOT / "clients" / "js"
pytestmark = pytest.mark.timeout(400)  # The first test installs, and the live ones start and kill services.


def npx(*command: str, timeout: float = 300) -> str:
    """Run a tool of the package's own; what it printed. Fails when it does."""
    runner = node(PACKAGE)
    tool = PACKAGE / "node_modules" / ".bin" / command[0]
    run: subprocess.CompletedProcess[str] = run_in(
        PACKAGE, runner, tool.resolve(), *command[1:], timeout=timeout, COUNTERS_PYTHON=sys.executable
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_types() -> None:
    npx("tsc", "--noEmit")


def test_the_core_without_sockets() -> None:
    npx("vitest", "run", "--project", "unit")


def test_against_a_service_whose_processes_are_killed() -> None:
    npx("vitest", "run", "--project", "live")


def test_sizes_are_within_their_limits() -> None:
    run = run_in(PACKAGE, node(PACKAGE), "scripts/sizes.mjs")
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_committed_page_is_what_its_sources_give() -> None:
    run = run_in(PACKAGE, node(PACKAGE), "scripts/page.mjs", "--check")
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_packed_can_be_imported(tmp_path: Path) -> None:
    runner = node(PACKAGE)
    run = run_in(PACKAGE, "npm", "pack", "--json", f"--pack-destination={tmp_path}")
    assert run.returncode == 0, run.stdout + run.stderr
    packed = json.loads(run.stdout[run.stdout.index("[") :])[0]
    names = {file["path"] for file in packed["files"]}
    assert {"README.md", "dist/src/index.js", "dist/src/index.d.ts", "dist/react/index.js"} <= names
    assert not {name for name in names if "test" in name or "node_modules" in name}
    package = tmp_path / "node_modules" / "durable-counters"
    package.mkdir(parents=True)
    subprocess.run(
        ["tar", "-xzf", tmp_path / packed["filename"], "-C", package, "--strip-components=1"], check=True, timeout=30
    )
    program = "const { CounterClient } = await import('durable-counters'); console.log(new CounterClient().state)"
    said = run_in(tmp_path, runner, "--input-type=module", "-e", program)
    assert said.stdout == "idle\n", said.stderr
